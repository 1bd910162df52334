"""Weights that come with the package: by name, from any folder, with what is known of them; copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ecgprism as ep
from ecgprism.errors import EcgprismError
from ecgprism.interface.storage import MODEL, about, pull, read_card, weights
from ecgprism.simulator.simulation import simulate
from ecgprism.sources.synthesis import write_wfdb

NAMES = list(weights())


def test_the_weights_that_the_documents_name_are_in_the_box() -> None:
    assert NAMES == [
        "rhythm-1lead", "rhythm-1lead-tiny", "superdiagnostic-12lead", "superdiagnostic-12lead-tiny",
    ]  # fmt: skip
    for name in NAMES:
        assert name in Path("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_say_what_they_were_made_of_and_what_they_are_not(name: str) -> None:
    said = about(name)
    for heading in ("**Use.**", "**Training data.**", "**Measured**", "**Limits.**", "no medical device"):
        assert heading in said
    assert ("ODC-By" if name.startswith("rhythm") else "CC BY 4.0") in said
    assert weights()[name].stat().st_size < 5e6
    assert set(read_card(name).classes) <= {word.strip("|, ") for word in said.replace("|", " ").split()}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("superdiagnostic")])
def test_a_name_is_a_model_and_tells_a_bundle_branch_block_from_a_normal_ecg(name: str) -> None:
    found = {}
    for kind, conditions in (("block", {"lbbb": 1.0}), ("normal", {"sinus_rhythm": 0.2})):
        made = [simulate(index, seed=5, rate_hz=100, conditions=conditions).recording for index in range(4)]
        signals, leads = [each.signal for each in made], made[0].leads
        found[kind] = ep.predict(name, signals, rate_hz=100, unit="mV", leads=leads, note=lambda said: None)
    assert found["block"]["p_CD"].min() > found["normal"]["p_CD"].max()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("rhythm")])
def test_a_name_is_a_model_and_tells_fibrillation_fibrillation_from_sinus_rhythm(name: str, tmp_path: Path) -> None:
    for kind in ("atrial_fibrillation", "sinus_rhythm"):
        conditions = {kind: 0.8} if kind != "sinus_rhythm" else {}
        for index in range(4):
            record = simulate(index, seed=5, rate_hz=300, duration_s=30, conditions=conditions)
            write_wfdb(record, tmp_path, f"{kind}{index}")
    with pytest.warns(UserWarning, match="the model looks at I alone"):
        table = ep.predict(name, [tmp_path]).set_index("record_id")
    for index in range(4):
        assert table.loc[f"atrial_fibrillation{index}", "p_A"] > table.loc[f"sinus_rhythm{index}", "p_A"]
    assert (table.filter(like="sinus", axis=0)["p_A"] < 0.2).all()


def test_from_the_command_line_in_an_empty_folder(tmp_path: Path) -> None:
    write_wfdb(simulate(0, rate_hz=300, duration_s=20), tmp_path, "a")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ecgprism", *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    assert run("predict", "rhythm-1lead", "a.hea").stdout.startswith("record_id,path,p_N,p_A,p_O,p_~,labels")
    assert "rhythm-1lead: Rhythm of a single-lead ECG" in run("pull").stdout
    assert "**Limits.**" in run("pull", "rhythm-1lead").stdout
    assert (tmp_path / "rhythm-1lead" / MODEL).is_file()
    again = run("pull", "rhythm-1lead")
    assert (again.returncode, again.stderr) == (2, "error: rhythm-1lead: exists already; choose another folder\n")
    wrong = run("predict", "rhytm-1lead", "a.hea")
    assert wrong.returncode == 2
    assert "nor the name of weights that come with ecgprism; did you mean 'rhythm-1lead'?" in " ".join(
        wrong.stderr.split()
    )


def test_a_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ep.PrismModel.of(["waveform"], ["x", "y"]).save("rhythm-1lead")
    assert read_card("rhythm-1lead").classes == ("x", "y")
    (tmp_path / "rhythm-1lead" / MODEL).unlink()
    with pytest.raises(
        EcgprismError, match=r"no model here \(model.safetensors is missing\): not a finished training run$"
    ):
        read_card("rhythm-1lead")


def test_an_unknown_name_is_not_pulled(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="no weights of that name come with ecgprism; did you mean 'rhythm-1lead'"):
        pull("rhythm", tmp_path / "x")
    assert not (tmp_path / "x").exists()
