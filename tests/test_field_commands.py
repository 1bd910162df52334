"""What a user declares reaches every command that reads recordings, and the advice of an error can be followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ecgprism as ep
from ecgprism.cli import models, recordings  # noqa: F401  (they bring the commands)
from ecgprism.cli.terminal import app
from ecgprism.errors import EcgprismError
from ecgprism.formats.contract import Declaration
from ecgprism.prediction import files
from tests.field_files import beats, edf, written
from tests.records import digital, write_raw, write_wfdb

OPTIONS = ("--lead", "--rate", "--unit", "--leads", "--zero", "--accept-damaged")


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], terminal_width=200)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("command", ["info", "convert", "predict", "embed"])
def test_every_command_that_reads_recordings_has_the_same_options(command: str) -> None:
    said = run(command, "--help")
    for option in OPTIONS:
        assert option in said, (command, option)


def test_info_shows_what_is_declared_and_what_is_doubtful(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "\n".join(f"{1024 + round(200 * v)},3" for v in beats(600)))
    with pytest.raises(EcgprismError, match="--rate 500"):
        run("info", path)
    said = run("info", path, "--rate", 200, "--unit", "5uV", "--leads", "II,V1", "--zero", 1024)
    assert "600 samples at 200 Hz" in said
    assert "II, V1" in said
    assert "5uV" in said
    still = written(tmp_path / "b.csv", "\n".join(f"{v * 0.02:.6f}" for v in beats(600)))
    assert "is the unit right?" in run("info", still, "--rate", 200, "--unit", "mV", "--leads", "I")


def test_channels_are_declared_by_position_and_by_number(tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", edf([("ECG", beats(600)), ("ECG", beats(600, 0.7))]))
    assert "II, V1" in run("info", path, "--leads", "II,V1")
    assert "V1" in run("info", path, "--leads", "-,V1")
    assert "II, V1" in run("info", path, "--lead", "ECG#1=II", "--lead", "ECG#2=V1")
    target = tmp_path / "b.hea"
    run("convert", path, target, "--leads", "II,V1")
    np.testing.assert_allclose(ep.read(target).signal[0], beats(600), atol=1e-3)


def test_a_damaged_file_is_converted_when_that_is_accepted(tmp_path: Path) -> None:
    content = edf([("ECG I", beats(600))], records=9)
    path = written(tmp_path / "a.edf", content)
    with pytest.raises(EcgprismError, match="truncated or longer"):
        run("convert", path, tmp_path / "b.hea")
    run("convert", path, tmp_path / "b.hea", "--accept-damaged")
    assert ep.read(tmp_path / "b.hea").signal.shape == (1, 600)
    assert "announces 9" in run("info", path, "--accept-damaged")


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_prediction_gets_what_is_declared(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def stop(*_: object, **options: object) -> None:
        given.update(options)
        raise EcgprismError("enough")

    monkeypatch.setattr(files, command, stop)
    arguments = (
        "--rate",
        360,
        "--unit",
        "5uV",
        "--leads",
        "II,V5",
        "--zero",
        1024,
        "--lead",
        "MLII=II",
        "--accept-damaged",
    )
    with pytest.raises(EcgprismError, match="enough"):
        run(command, tmp_path, tmp_path / "x.csv", *arguments, "--out", tmp_path / "out")
    assert given["declared"] == Declaration({"MLII": "II"}, 360, "5uV", ("II", "V5"), 1024, True)


def test_the_advice_of_an_error_can_be_typed(tmp_path: Path) -> None:
    import shlex

    path = write_wfdb(tmp_path, "a", digital(1), ["Kanal 'x' 1"])
    with pytest.raises(EcgprismError) as caught:
        run("info", path)
    words = shlex.split(str(caught.value)[str(caught.value).index("--lead ") :])
    assert "I" in run("info", path, *words)
    header = "a 1 100 100\na.dat 16 0 16 0 0 0 0 II\n"
    path = write_raw(tmp_path, header, digital(1, 100).astype("<i2").tobytes())
    with pytest.raises(EcgprismError, match="--unit 5uV"):
        run("info", path)
    assert "5uV" in run("info", path, "--unit", "5uV")
