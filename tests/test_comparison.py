"""Comparison of runs on the same records: what it computes, what it clusters, what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ecgprism.errors import EcgprismError
from ecgprism.evidence.comparison import compare
from ecgprism.evidence.evaluation import evaluate
from ecgprism.evidence.reports import Discordance
from ecgprism.metrics.significance import delong_difference, holm, mcnemar

CLASSES = ("N", "A", "O")


def evaluated_run(
    folder: Path, strength: float, seed: int, *, clusters: NDArray[np.int64] | None = None, kind: str = "multiclass",
    classes: Sequence[str] = CLASSES, records: int = 120, shuffled: bool = False,
) -> Path:  # fmt: skip
    """Write what `ecgprism evaluate` leaves of a run that knows the truth with some strength."""
    truth = np.random.default_rng(0).integers(0, 3, 120)[:records]
    target = np.eye(3, dtype=bool)[truth]
    raw = np.exp(strength * target + np.random.default_rng(seed).normal(size=target.shape))
    p = raw / raw.sum(axis=1, keepdims=True)
    table = pd.DataFrame({"record_id": [f"r{i:03d}" for i in range(records)], "start": 0})
    table["cluster"] = np.arange(records) if clusters is None else clusters[:records]
    for k, name in enumerate(CLASSES):
        table[f"target_{name}"], table[f"p_{name}"] = target[:, k], p[:, k]
    if shuffled:
        table = table.sample(frac=1.0, random_state=0)
    folder.mkdir(parents=True)
    table.to_parquet(folder / "predictions.parquet")
    thresholds = None if kind == "multiclass" else [0.2 + 0.1 * CLASSES.index(name) for name in classes]
    how = {"kind": kind, "classes": list(classes), "thresholds": thresholds, "metric": "cinc2017_f1"}
    (folder / "metrics.json").write_text(json.dumps(how))
    return folder


def test_two_runs_compared_by_hand(tmp_path: Path) -> None:
    a, b = evaluated_run(tmp_path / "a", 2.0, 1), evaluated_run(tmp_path / "b", 1.0, 2)
    report = compare([a, b], resamples=200)
    tables = [pd.read_parquet(run / "predictions.parquet") for run in (a, b)]
    target = tables[0][[f"target_{name}" for name in CLASSES]].to_numpy()
    p = [table[[f"p_{name}" for name in CLASSES]].to_numpy() for table in tables]
    (pair,) = report.pairs
    for k, name in enumerate(CLASSES):
        found = pair.per_class[name]
        assert found["auroc"].value == pytest.approx(
            roc_auc_score(target[:, k], p[0][:, k]) - roc_auc_score(target[:, k], p[1][:, k])
        )
        expected = delong_difference(target[:, k], p[0][:, k], p[1][:, k])
        assert found["delong"] == expected.model_copy(update={"p_holm": expected.p})
    right = [each.argmax(axis=1) == target.argmax(axis=1) for each in p]
    only_a, only_b, value = mcnemar(*right)
    assert pair.accuracy == Discordance(only_first=only_a, only_second=only_b, p=value, p_holm=value, test="McNemar")
    assert pair.metrics["accuracy"].value == pytest.approx(right[0].mean() - right[1].mean())
    assert pair.metrics["macro_auroc"].low > 0
    assert "cinc2017_f1" in pair.metrics
    assert (report.metric, report.repeated_patients) == ("cinc2017_f1", False)


def test_three_runs_are_corrected_for_their_number(tmp_path: Path) -> None:
    runs = [
        evaluated_run(tmp_path / name, strength, seed)
        for seed, (name, strength) in enumerate(zip("abc", (1.4, 1.2, 1), strict=True))
    ]
    report = compare(runs, resamples=200)
    assert [(Path(p.first).name, Path(p.second).name) for p in report.pairs] == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    for at in (
        lambda pair: pair.metrics["macro_auroc"],
        lambda pair: pair.per_class["A"]["delong"],
        lambda pair: pair.accuracy,
    ):
        entries = [at(pair) for pair in report.pairs]
        np.testing.assert_allclose([e.p_holm for e in entries], holm(np.array([e.p for e in entries])))


def test_repeated_patients_are_clustered_everywhere(tmp_path: Path) -> None:
    clusters = np.arange(120) // 4
    runs = [evaluated_run(tmp_path / name, 1.0 + i, i, clusters=clusters) for i, name in enumerate("ab")]
    report = compare(runs, resamples=200)
    (pair,) = report.pairs
    assert report.patients == 30
    assert report.repeated_patients
    assert pair.accuracy.test == "clustered bootstrap"
    assert pair.accuracy.p == pair.metrics["accuracy"].p
    tables = [pd.read_parquet(run / "predictions.parquet") for run in runs]
    given = (tables[0]["target_A"].to_numpy(), *(table["p_A"].to_numpy() for table in tables))
    assert pair.per_class["A"]["delong"].p == delong_difference(*given, clusters).p
    assert pair.per_class["A"]["delong"].p != delong_difference(*given).p


def test_order_of_records_and_of_classes_is_irrelevant(tmp_path: Path) -> None:
    a, b = (
        evaluated_run(tmp_path / "a", 2.0, 1, kind="multilabel"),
        evaluated_run(tmp_path / "b", 1.0, 2, kind="multilabel"),
    )
    turned = evaluated_run(tmp_path / "c", 1.0, 2, kind="multilabel", classes=("O", "N", "A"), shuffled=True)
    expected, found = (compare([a, other], resamples=100).pairs[0] for other in (b, turned))
    assert found.model_copy(update={"second": expected.second}) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"records": 119}, "different records (120 and 119; first in one only: r119)"),
        ({"classes": ("N", "A", "X")}, "no class 'O'"),
        ({"classes": ("N", "A", "O", "~")}, "the others N, A, O"),
    ],
)
def test_runs_that_were_not_tested_alike_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    a, b = evaluated_run(tmp_path / "a", 2.0, 1), evaluated_run(tmp_path / "b", 1.0, 2, **change)
    with pytest.raises(EcgprismError) as error:
        compare([a, b])
    assert said in str(error.value)


def test_other_labels_or_patients_are_refused(tmp_path: Path) -> None:
    a, b = evaluated_run(tmp_path / "a", 2.0, 1), evaluated_run(tmp_path / "b", 1.0, 2)
    table = pd.read_parquet(b / "predictions.parquet")
    table.assign(target_A=~table["target_A"]).to_parquet(b / "predictions.parquet")
    with pytest.raises(EcgprismError, match="different labels, first of record r000"):
        compare([a, b])
    table.assign(cluster=0).to_parquet(b / "predictions.parquet")
    with pytest.raises(EcgprismError, match="different patients"):
        compare([a, b])
    table.drop(columns="cluster").to_parquet(b / "predictions.parquet")
    with pytest.raises(EcgprismError, match="older ecgprism"):
        compare([a, b])


def test_one_run_twice_or_alone_or_without_predictions_is_refused(tmp_path: Path, run_path: Path) -> None:
    a = evaluated_run(tmp_path / "a", 2.0, 1)
    with pytest.raises(EcgprismError, match="two runs or more"):
        compare([a])
    with pytest.raises(EcgprismError, match="named twice"):
        compare([a, a])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EcgprismError, match="not a run's folder"):
        compare([a, tmp_path / "empty"])
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.safetensors").write_bytes((run_path / "model.safetensors").read_bytes())
    with pytest.raises(EcgprismError, match=r"run `ecgprism evaluate .*bare` first"):
        compare([bare, a])


def test_evaluated_runs_compare(run_path: Path, tmp_path: Path) -> None:
    for aggregate in ("mean", "max"):
        evaluate(run_path, split="test", out=tmp_path / aggregate, aggregate=aggregate, resamples=10)
    report = compare([tmp_path / "mean", tmp_path / "max"], resamples=20)
    # ten seconds are one window: mean and maximum are the same answers
    assert all(entry.value == 0 or math.isnan(entry.value) for entry in report.pairs[0].metrics.values())
    assert report.pairs[0].accuracy.p == 1.0
