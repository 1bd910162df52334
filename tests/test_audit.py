"""The label audit: what is doubted and what is not, and the whole of it on a trained run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.evidence.evaluation import evaluate
from ecgprism.evidence.suspects import _exclusive, _labels, audit


def test_flipped_labels_of_exclusive_classes_are_the_ones_that_are_doubted() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    logits = rng.normal(0, 0.7, (300, 3)) + 3.5 * np.eye(3)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = truth.copy()
    flipped = rng.choice(300, 20, replace=False)
    label[flipped] = (truth[flipped] + 1) % 3
    found = _exclusive(p, np.eye(3, dtype=bool)[label])
    doubted = {n: other for n, _, other, _, _ in found}
    assert len(set(flipped) & set(doubted)) >= 17
    assert len(set(doubted) - set(flipped)) <= 3
    assert all(doubted[n] == truth[n] for n in set(flipped) & set(doubted))
    for n, given, other, p_given, p_other in found:
        assert (given, p_given, p_other) == (label[n], p[n, given], p[n, other])


def test_no_item_is_suggested_a_class_that_has_no_items_and_a_sure_label_is_not_doubted() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert _exclusive(p, np.eye(3, dtype=bool)[[0, 0, 1]]) == []


def test_of_several_labels_one_too_many_and_one_missing_are_doubted() -> None:
    p = np.array([[0.95, 0.1], [0.9, 0.9], [0.05, 0.1], [0.1, 0.05], [0.9, 0.1], [0.05, 0.95]])
    target = np.array([[1, 0], [1, 1], [0, 0], [1, 0], [0, 0], [0, 1]], dtype=bool)
    found = sorted((n, given, other) for n, given, other, _, _ in _labels(p, target))
    assert found == [(3, 0, ~0), (4, ~0, 0)]


def test_an_audit_of_a_run_judges_its_test_split_by_what_evaluate_says(run_path: Path, tmp_path: Path) -> None:
    found = audit([run_path])
    predictions = evaluate(run_path, out=tmp_path / "e", resamples=10).predictions.set_index("record_id")
    labelled = Corpus(found.corpus.path).select("superdiagnostic", ("train", "val", "test"))
    assert found.judged == len(predictions) < found.items == len(labelled)
    assert [each.doubt for each in found.suspects] == sorted((each.doubt for each in found.suspects), reverse=True)
    for each in found.suspects:
        name = each.label.removeprefix("not ")
        there = each.label == name
        p = predictions.loc[each.record_id, f"p_{name}"]
        assert each.p_label == pytest.approx(p if there else 1 - p, abs=1e-6)
        assert bool(predictions.loc[each.record_id, f"target_{name}"]) == there
    twice = audit([run_path, run_path])
    assert [(each.record_id, each.label) for each in twice.suspects] == [
        (each.record_id, each.label) for each in found.suspects
    ]


def test_the_command_writes_a_table_and_pictures(run_path: Path, tmp_path: Path) -> None:
    words = ["audit", str(run_path), "--out", "s/suspects.csv", "--pictures", "p", "--most", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "ecgprism", *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "s" / "suspects.csv")
    assert list(table) == ["record_id", "patient_id", "start", "label", "suggested", "p_label", "p_suggested", "doubt"]
    assert "not judged" in done.stdout
    assert len(list((tmp_path / "p").glob("*.png"))) == min(2, len(table)) > 0


def test_runs_of_nothing_and_of_other_records_are_refused() -> None:
    with pytest.raises(EcgprismError, match="expected the folder of a run"):
        audit([])
