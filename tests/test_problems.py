"""Problems reach a Python caller: as warnings at the line of theirs, and as a column of the table; never nowhere."""

from __future__ import annotations

import csv
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import ecgprism as ep
from ecgprism.cli.entry import app
from ecgprism.config import parse_config
from ecgprism.formats.conversion import write
from ecgprism.simulator.simulation import simulate
from ecgprism.training.watch import LineWatch, WarningWatch, usual_watch

from .conftest import small_tree
from .ingests import ingest_these, recording, wave


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect what is warned of, and check that each stands at a line of this file."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    for each in caught:
        if each.category is UserWarning:
            assert each.filename == __file__, (each.filename, each.message)
            said.append(str(each.message))


def test_ingest_says_what_it_rejected_masked_and_took_for_something_else(tmp_path: Path) -> None:
    flat = np.vstack([wave(1), np.zeros((1, 300), np.float32)])
    given = [recording(wave(0, 2)), recording(flat), ep.ReadError("x: damaged")]
    collected: list[str] = []
    report = ingest_these(given, tmp_path / "a", note=collected.append)
    assert collected == list(report.problems)
    assert f"1 recordings rejected, see {tmp_path / 'a' / 'rejected.csv'}" in collected[0]
    assert "1 flat leads, masked" in collected[1]
    X = np.stack([wave(n, 2) for n in range(30)])
    X[3, 1] = 0
    with told() as said:
        report = ep.ingest_arrays(X, ["a", "b"] * 15, tmp_path / "b", rate_hz=100, unit="mV", leads=("I", "II"))
    assert said == list(report.problems)
    assert sum("every row has one label" in each for each in said) == 1
    assert any("1 flat leads, masked" in each for each in said)


def test_an_evaluation_says_what_its_reader_should_know_and_what_a_recording_lacks(
    run_path: Path, tmp_path: Path
) -> None:
    with told() as said:
        done = ep.evaluate(run_path, split="val", out=tmp_path, resamples=10)
    assert said == done.report.notes
    assert any("split val" in each for each in said)
    assert set(done.predictions["problem"]) == {""}


def test_a_recording_without_a_lead_has_its_problem_in_the_table(run_path: Path, tmp_path: Path) -> None:
    recordings = [simulate(n, rate_hz=100, duration_s=10) for n in range(12)]
    held = [each.recording for each in recordings]
    held[1] = replace(held[1], signal=held[1].signal[:6], leads=held[1].leads[:6])
    still = held[2].signal.copy()
    still[7] = 0
    held[2] = replace(held[2], signal=still)
    for number, each in enumerate(held):
        write(each, tmp_path / f"r{number}.hea", note=None)
    with (tmp_path / "m.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "record_id", "labels"])
        rows.writerows([f"r{n}", f"r{n}", "NORM" if n % 2 else "MI"] for n in range(12))
    with told() as said:
        corpus = ep.ingest("manifest", tmp_path / "m.csv", tmp_path / "c", options={"kind": "multilabel"}, workers=1)
        done = ep.evaluate(run_path, corpus=corpus.path, out=tmp_path / "e", resamples=10)
    problems = dict(zip(done.predictions["record_id"], done.predictions["problem"], strict=True))
    assert problems.pop("r1") == "leads missing: V1, V2, V3, V4, V5, V6"
    assert problems.pop("r2") == "flat: V2"
    assert set(problems.values()) == {""}
    assert any("1 flat leads, masked" in each for each in said)


def test_a_prediction_warns_at_the_line_of_its_caller(run_path: Path) -> None:
    X = np.stack([simulate(n, rate_hz=100, duration_s=10).recording.signal for n in range(3)])
    X[1, 7] = 0
    leads = ep.PrismModel.load(run_path).spec.leads
    for ask in (ep.predict, ep.embed):
        with told() as said:
            table = ask(run_path, X, rate_hz=100, unit="mV", leads=leads)
        assert said == ["X[1]: flat: V2"]
        assert table["problem"].tolist() == ["", "flat: V2", ""]


def test_a_report_says_what_is_undefined_and_what_rests_on_few() -> None:
    targets, p = np.array([[1, 0], [0, 0], [1, 0], [0, 0]]), np.full((4, 2), 0.5)
    with told() as said:
        found = ep.report(targets, p, classes=["a", "b"], resamples=5)
    assert said == found.notes
    assert said[0].startswith("without items, or in all of them: b: their AUROC")
    assert said[1].startswith("4 patients, fewer than 10")
    many = np.tile(np.eye(2, dtype=int), (20, 1))
    with told() as said:
        assert ep.report(many, np.full((40, 2), 0.5), resamples=5).notes == []
    assert said == []


def test_a_conversion_says_what_it_leaves_out(tmp_path: Path) -> None:
    held = replace(simulate(0, rate_hz=100, duration_s=2).recording, skipped=("RESP",))
    write(held, tmp_path / "a.hea")
    with told() as said:
        write(held, tmp_path / "a.edf")
    assert any("channels left out: RESP" in each for each in said)


def test_a_training_warns_of_what_matters_and_is_quiet_on_the_command_line(
    corpus_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = small_tree(corpus_path, epochs=1) | {"views": {"meta": {"view": "metadata", "encoder": "mlp"}}}
    with told() as said:
        ep.fit(parse_config(tree), tmp_path / "a")
    assert any(each.startswith("thresholds are 0.5 for") for each in said)
    assert capsys.readouterr().out == ""
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        app(["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "b"), "--json"], standalone_mode=False)


def test_a_training_in_a_notebook_prints_a_line_per_epoch(
    corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert type(usual_watch()) is WarningWatch
    module = types.ModuleType("IPython")
    module.get_ipython = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert type(usual_watch()) is WarningWatch  # a terminal has no kernel
    module.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    assert type(usual_watch()) is LineWatch
    tree = small_tree(corpus_path, epochs=2) | {"views": {"meta": {"view": "metadata", "encoder": "mlp"}}}
    with told() as said:
        run = ep.fit(parse_config(tree), tmp_path / "a")
    first, *epochs = capsys.readouterr().out.splitlines()
    assert "views meta; 2 epochs, about" in first
    assert [line.split("  ")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert f"AUROC {run.history[0]['val_macro_auroc']:.4f}" in epochs[0]
    assert epochs[0].endswith("best")
    assert said
