"""The ledger: Shapley values of known games, planted views that it must find, resumption, any number of workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgprism.config import Config, parse_config
from ecgprism.corpus.ingestion import ingest
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.evidence import verdicts
from ecgprism.evidence.ablation import Ablation, Training, every_subset, plan
from ecgprism.evidence.comparison import compare
from ecgprism.evidence.evaluation import evaluate
from ecgprism.evidence.ledger import Ledger, ablate, shapley_weights
from ecgprism.evidence.reports import LedgerReport, Support
from ecgprism.files import locked
from ecgprism.interface.answers import Answers
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.intervals import Difference, Estimate

from .records import write_csv, write_wfdb

FREQ = {"view": {"spectrum": {"window_s": 2.0}}, "encoder": {"mlp": {"hidden": 8}}}
META = {"view": "metadata", "encoder": {"mlp": {"hidden": 8}}}
PARTS = {"freq": FREQ, "meta": META}
TIMES = ("training_seconds", "inference_ms")


# Shapley values


def shapley(worth: Mapping[tuple[int, ...], float], players: int) -> NDArray[np.float64]:
    weights = shapley_weights(players)
    assert set(weights) == set(worth)
    return np.sum([weights[subset] * value for subset, value in worth.items()], axis=0)


def coalitions(players: int) -> list[tuple[int, ...]]:
    return [subset for size in range(players + 1) for subset in combinations(range(players), size)]


def test_shapley_of_the_glove_game() -> None:
    """One left glove, two right ones, a pair is worth 1: 2/3 for the left, 1/6 for each right (Shapley 1953)."""
    worth = {s: float(0 in s and (1 in s or 2 in s)) for s in coalitions(3)}
    np.testing.assert_allclose(shapley(worth, 3), [2 / 3, 1 / 6, 1 / 6])


def test_shapley_of_the_airport_game() -> None:
    """A runway costs what the largest plane needs: who needs a part shares it (Littlechild and Owen 1973)."""
    needed = (1.0, 2.0, 4.0)
    worth = {s: max((needed[i] for i in s), default=0.0) for s in coalitions(3)}
    np.testing.assert_allclose(shapley(worth, 3), [1 / 3, 1 / 3 + 1 / 2, 1 / 3 + 1 / 2 + 2])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_shapley_is_efficient_symmetric_and_gives_a_dummy_its_own_worth(players: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    worth = {s: float(rng.normal()) for s in coalitions(players)}
    values = shapley(worth, players)
    assert values.sum() == pytest.approx(worth[tuple(range(players))] - worth[()])
    turned = tuple(reversed(range(players)))
    mirrored = {tuple(sorted(turned[i] for i in s)): value for s, value in worth.items()}
    np.testing.assert_allclose(shapley(mirrored, players), values[::-1], atol=1e-12)
    with_dummy = {s: worth[tuple(i for i in s if i < players)] + 3.0 * (players in s) for s in coalitions(players + 1)}
    np.testing.assert_allclose(shapley(with_dummy, players + 1), [*values, 3.0], atol=1e-12)


def test_every_subset_of_the_views_once() -> None:
    rows = every_subset(3)
    assert {tuple(np.flatnonzero(row)) for row in rows} == {s for s in coalitions(3) if s}
    assert len(rows) == 7
    assert rows[-1].all()


# Planted views


def planted(folder: Path, *, tone: bool, records: int = 240) -> Path:
    """Two seconds of noise each, two records a patient; `b` has a tone of 8 Hz in it, or a large `marker` instead."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(records):
        label = int(rng.random() < 0.4)
        signal = 100 * rng.normal(size=200) + 400 * np.sin(0.16 * np.pi * np.arange(200) + rng.uniform(0, 6)) * (
            label and tone
        )
        write_wfdb(folder, f"r{number:03d}", np.clip(signal, -1000, 1000).astype(int)[:, None])
        marker = rng.normal() + 2.5 * (label and not tone)
        row = {"path": f"r{number:03d}", "record_id": f"r{number:03d}", "patient_id": f"p{number // 2}"}
        rows.append({**row, "labels": "ab"[label], "marker": f"{marker:.4f}"})
    write_csv(folder / "m.csv", rows)
    ingest("manifest", folder / "m.csv", folder / "corpus", workers=1, options={"kind": "multiclass"})
    return folder / "corpus"


def config_of(corpus: Path, views: dict[str, Any], **train: Any) -> Config:
    options = {"epochs": 5, "batch_size": 32, "lr": 1e-2, "ema": 0.5, "view_dropout": 0.3, **train}
    return parse_config({"corpus": str(corpus), "window_s": 2, "views": views, "dim": 8, "train": options})


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("marked"), tone=False)


@pytest.fixture(scope="module")
def marked_ledger(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    out = tmp_path_factory.mktemp("ablations") / "marked"
    return ablate(config_of(marked, PARTS), out, seeds=1, folds=2, workers=2, resamples=300)


def test_the_view_that_alone_knows_the_label_is_found(marked_ledger: Ledger) -> None:
    report = marked_ledger.report
    assert set(report.best_single.values()) == {"meta"}
    assert report.worth["meta"].sentence.startswith("meta carries what no other view has")
    assert not report.worth["freq"].sentence.startswith("freq carries")
    values = {view: entry["macro_auroc"] for view, entry in report.shapley.items()}
    assert values["meta"].low > 0.3
    assert values["freq"].high < 0.1
    assert report.models["meta alone"].metrics["macro_auroc"].value > 0.9
    assert marked_ledger.verdict.startswith(("No ", "No, "))


def test_shapley_values_share_out_what_the_whole_adds_to_nothing(marked_ledger: Ledger) -> None:
    report = marked_ledger.report
    for metric in ("macro_auroc", "macro_f1", "accuracy"):
        total = sum(entry[metric].value for entry in report.shapley.values())
        if metric == "macro_auroc":
            worth = report.coalitions
            assert worth["nothing"]["macro_auroc"].value == pytest.approx(0.5, abs=0.02)
            assert total == pytest.approx(
                worth["freq+meta"]["macro_auroc"].value - worth["nothing"]["macro_auroc"].value
            )
            assert worth["freq+meta"]["macro_auroc"] == report.models["fused"].metrics["macro_auroc"]
        assert np.isfinite(total)


def test_the_ledger_agrees_with_the_predictions_in_the_runs(marked_ledger: Ledger) -> None:
    """Pooled over folds, from the files alone: the AUROC, and that every record was tested once, by unseen patients."""
    tables = [
        pd.read_parquet(marked_ledger.path / "runs" / "freq+meta" / f"fold{k}-seed0" / "test.parquet") for k in (1, 2)
    ]
    pooled = pd.concat(tables)
    assert len(pooled) == pooled["record_id"].nunique() == marked_ledger.report.items == 240
    assert not set(tables[0]["patient_id"]) & set(tables[1]["patient_id"])
    target, p = (pooled[[f"{kind}_{name}" for name in "ab"]].to_numpy() for kind in ("target", "p"))
    expected = metrics.auroc(target.astype(bool), p).mean()
    value = marked_ledger.report.models["fused"].metrics["macro_auroc"].value
    assert value == pytest.approx(expected, abs=1e-12)


def test_values_under_masks_that_training_never_showed_are_said_to_be_so(
    marked: Path, marked_ledger: Ledger, tmp_path: Path
) -> None:
    assert marked_ledger.report.notes == []
    config = config_of(marked, PARTS, view_dropout=0, coalitions=0, epochs=1)
    assert "of an untrained case" in ablate(config, tmp_path / "o", seeds=1, resamples=20).report.notes[0]


def test_the_control_has_at_least_the_parameters_of_the_fused_side(marked_ledger: Ledger) -> None:
    models = marked_ledger.report.models
    assert models["control"].parameters >= models["fused"].parameters
    assert models["control"].members > models["fused"].members == 1
    assert models["average of singles"].parameters == sum(models[f"{view} alone"].parameters for view in PARTS)


def test_a_duplicate_of_a_view_brings_nothing(tmp_path: Path) -> None:
    """With a tone that each copy hears and records enough: of few, two copies learn more than one, like an ensemble."""
    corpus = planted(tmp_path, tone=True, records=600)
    views = {"freq": FREQ, "again": FREQ}
    ledger = ablate(config_of(corpus, views, epochs=32), tmp_path / "out", seeds=1, folds=2, workers=2, resamples=300)
    assert ledger.report.models["fused"].metrics["macro_auroc"].value > 0.98
    for view in views:
        lost = ledger.report.differences[f"fused - without {view}"].metrics["macro_auroc"]
        assert lost.low <= 0 <= lost.high
    assert ledger.verdict.startswith("No gain")


# Resumption and workers


def without_times(held: str | LedgerReport) -> dict[str, Any]:
    report = json.loads(held if isinstance(held, str) else held.to_json())
    for entry in report["models"].values():
        for key in TIMES:
            entry.pop(key, None)
    return report


def test_one_worker_gives_what_two_give(marked: Path, marked_ledger: Ledger, tmp_path: Path) -> None:
    alone = ablate(config_of(marked, PARTS), tmp_path / "one", seeds=1, folds=2, workers=1, resamples=300)
    assert without_times(alone.report) == without_times(marked_ledger.report)
    weights = [sorted(path.glob("runs/*/*/model.safetensors")) for path in (alone.path, marked_ledger.path)]
    assert [w.relative_to(alone.path) for w in weights[0]] == [w.relative_to(marked_ledger.path) for w in weights[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*weights, strict=True))


def ablating(config: Path, out: Path) -> list[str]:
    options = ["--seeds", "1", "--folds", "2", "--workers", "2", "--resamples", "300"]
    return [sys.executable, "-m", "ecgprism", "ablate", str(config), "--out", str(out), *options]


def test_an_ablation_killed_in_the_middle_goes_on_to_the_same_ledger(
    marked: Path, marked_ledger: Ledger, tmp_path: Path
) -> None:
    config, out = tmp_path / "c.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(config_of(marked, PARTS).plain()))
    process = subprocess.Popen(ablating(config, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(out.glob("runs/*/*/test.parquet")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/test.parquet")}
    assert finished
    assert not (out / "ledger.json").exists()
    time.sleep(4)  # the workers follow their parent: nobody writes there any more
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    time.sleep(2)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == files
    done = subprocess.run(ablating(config, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "against the best" in done.stdout
    assert without_times((out / "ledger.json").read_text()) == without_times(marked_ledger.report)
    assert all(path.stat().st_mtime_ns == at for path, at in finished.items())
    assert (out / "ledger.png").stat().st_size > 10_000


def test_a_worker_ends_with_its_parent(marked: Path, tmp_path: Path) -> None:
    """A training of minutes must not go on writing where a second ablation takes it up."""
    config, out = tmp_path / "c.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(config_of(marked, PARTS, epochs=2000, patience=2000).plain()))
    process = subprocess.Popen(ablating(config, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(out.glob("runs/*/*/history.csv")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(4)
    histories = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/history.csv")}
    assert histories
    time.sleep(3)
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/history.csv")} == histories


def test_a_run_of_an_ablation_may_be_evaluated_and_compared_and_the_ledger_stays(
    marked: Path, marked_ledger: Ledger, tmp_path: Path
) -> None:
    """The ledger once read what the last evaluation had written: other items, or maxima of windows."""
    out = tmp_path / "copy"
    shutil.copytree(marked_ledger.path, out)
    fused, alone = (out / "runs" / views / "fold1-seed0" for views in ("freq+meta", "meta"))
    before = compare([fused, alone], resamples=20)
    evaluate(fused, resamples=10)
    assert compare([fused, alone], resamples=20).to_json() == before.to_json()
    evaluate(fused, split="all", resamples=10)
    with pytest.raises(EcgprismError, match="tested on different records"):
        compare([fused, alone], resamples=20)
    again = ablate(config_of(marked, PARTS), out, seeds=1, folds=2, workers=1, resamples=300)
    assert again.report.to_json() == marked_ledger.report.to_json()


def test_a_finished_ablation_is_only_accounted_again(marked: Path, marked_ledger: Ledger) -> None:
    before = {path: path.stat().st_mtime_ns for path in marked_ledger.path.glob("runs/*/*/*")}
    again = ablate(config_of(marked, PARTS), marked_ledger.path, seeds=1, folds=2, workers=2, resamples=300)
    assert again.report.to_json() == marked_ledger.report.to_json()
    assert {path: path.stat().st_mtime_ns for path in marked_ledger.path.glob("runs/*/*/*")} == before


# What is refused


def test_what_cannot_be_ablated_is_refused_before_anything_is_written(marked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="at least two views; there is only meta"):
        ablate(config_of(marked, {"meta": META}), out)
    with pytest.raises(ConfigError, match="makes its own folds"):
        ablate(config_of(marked, PARTS).model_copy(update={"fold": "1/2"}), out)
    with pytest.raises(EcgprismError, match="no 200 folds"):
        ablate(config_of(marked, PARTS), out, folds=200)
    assert not out.exists()


def test_another_ablation_or_other_files_in_the_folder_are_refused(
    marked: Path, marked_ledger: Ledger, tmp_path: Path
) -> None:
    with pytest.raises(EcgprismError, match="begun with seeds: 1, now 2"):
        ablate(config_of(marked, PARTS), marked_ledger.path, seeds=2, folds=2)
    with pytest.raises(EcgprismError, match="begun with config: other content"):
        ablate(config_of(marked, PARTS, epochs=6), marked_ledger.path, seeds=1, folds=2)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(EcgprismError, match="no ablation"):
        ablate(config_of(marked, PARTS), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_training_that_fails_is_named(marked: Path, tmp_path: Path) -> None:
    config = config_of(marked, PARTS, lr=1, weight_decay=1e30)
    with pytest.raises(EcgprismError, match=r"runs/(freq|meta)/seed0: the loss became"):
        ablate(config, tmp_path / "out", seeds=1, workers=1)


# Plans and verdicts


def test_the_plan_of_an_ablation(marked: Path, tmp_path: Path) -> None:
    ablation = plan(config_of(marked, {**PARTS, "again": FREQ}), tmp_path, 2, 3)
    assert ablation.full == ("freq", "meta", "again")
    assert ablation.without["meta"] == ("freq", "again")
    assert Training(("freq", "meta"), 2, 1).folder == Path("runs/freq+meta/fold2-seed1")
    assert Training(("freq",), 0, 1).folder == Path("runs/freq/seed1")
    assert len(ablation.trainings(ablation.solos)) == 3 * 3 * 2
    config = ablation.config_of(Training(("freq", "again"), 2, 1))
    assert (list(config.views), config.fold, config.train.seed) == (["freq", "again"], "2/3", 1)
    sizes = {("a",): 10, ("a", "b"): 25}
    assert Ablation(config, tmp_path, 2, 0, sizes).size[("a",)] == 10
    small = config.model_copy(update={"views": {"a": config.views["freq"], "b": config.views["again"]}})
    assert Ablation(small, tmp_path, 2, 0, sizes).control_seeds("a") == 5
    assert Ablation(small, tmp_path, 2, 0, {("a",): 50, ("a", "b"): 25}).control_seeds("a") == 2


MANY = Support(items=900, patients=800, fewest=90, of="b")


def difference(low: float | None, high: float | None) -> Difference:
    value = None if low is None or high is None else (low + high) / 2
    return Difference.model_validate({"value": value, "low": low, "high": high, "p": None})


@pytest.mark.parametrize(
    ("best", "control", "begins"),
    [
        (
            (0.01, 0.03),
            (0.005, 0.02),
            "Yes, fusion pays: macro_auroc 0.900, +0.020 (+0.010 to +0.030) against",
        ),
        ((0.01, 0.03), (-0.005, 0.02), "No gain beyond size"),
        ((-0.01, 0.03), (-0.005, 0.02), "No gain beyond size"),
        ((-0.01, 0.02), (-0.005, 0.03), "No gain: "),
        ((-0.03, -0.01), (-0.02, -0.01), "No, fusion loses"),
        ((-0.01, 0.01), (-0.02, -0.01), "No gain, and less than the control"),
        ((-0.02, -0.01), (-0.01, 0.01), "No gain, and less than the best single view"),
        (
            (-0.01, 0.03),
            (0.005, 0.02),
            "Whether fusion pays cannot be told on 900 items of 800 patients (90 of",
        ),
        ((0.01, 0.03), (-0.005, 0.05), "Whether fusion pays cannot be told"),
        ((-0.2, 0.2), (-0.3, 0.1), "Whether fusion pays cannot be told"),
        ((None, None), (0.005, 0.02), "Whether fusion pays cannot be told"),
    ],
)
def test_the_verdict_needs_both_intervals_and_says_when_they_are_too_wide(
    best: tuple[float, float], control: tuple[float, float], begins: str
) -> None:
    fused = Estimate(value=0.9, low=0.8, high=0.95)
    said = verdicts.of_fusion("macro_auroc", fused, difference(*best), difference(*control), MANY)
    assert said.startswith(begins)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.02, "wave carries"), (-0.01, 0.02, "wave is not needed"), (-0.02, -0.01, "wave harms"),
        (-0.02, 0.021, "wave: whether it is needed cannot be told on 900 items"),
        (-0.1, 0.1, "wave: whether it is needed cannot be told on 900 items"),
        (None, None, "wave: whether it is needed cannot be told on 900 items"),
    ],
)  # fmt: skip
def test_the_sentence_of_a_view(low: float | None, high: float | None, said: str) -> None:
    sentence = verdicts.of_view("wave", "macro_auroc", difference(low, high), MANY)
    assert sentence.startswith(said)
    assert os.linesep not in sentence


def test_few_patients_tell_nothing_however_narrow_the_interval() -> None:
    """One positive among 29 may be ranked first in every resample: an interval without width that means nothing."""
    few = Support(items=29, patients=29, fewest=4, of="MI")
    for found in (difference(0.0, 0.0), difference(0.1, 0.2)):
        sentence = verdicts.of_view("wave", "macro_auroc", found, few)
        assert "cannot be told on 29 items of 29 patients (4 of them with MI" in sentence
    assert verdicts.outcome(difference(0.1, 0.2).model_copy(update={"shaky": True}), MANY) == "unclear"


def test_support_counts_patients_on_the_smaller_side_of_a_class() -> None:
    target = np.array([[1, 1], [1, 1], [0, 1], [0, 1], [0, 0]], bool)
    p = np.full((5, 2), 0.5)
    items = tuple((str(i), 0) for i in range(5))
    answers = Answers("multilabel", ("a", "b"), items, p, p > 0, np.array([0, 0, 1, 2, 3]), target)
    assert Support.count(answers) == Support(items=5, patients=4, fewest=1, of="a")
    answers = replace(answers, cluster=np.arange(5))
    assert Support.count(answers) == Support(items=5, patients=5, fewest=1, of="no b")


# Film, whose modulating view is gone


@pytest.mark.parametrize(("by", "gone"), [(None, "meta"), ("meta", "meta"), ("freq", "freq")])
def test_film_is_not_modulated_by_another_view_when_its_own_is_left_out(
    marked: Path, tmp_path: Path, by: str | None, gone: str
) -> None:
    views = {"again": FREQ, **PARTS}
    tree = config_of(marked, views).plain() | {"fusion": {"film": {"by": by}} if by else "film"}
    ablation = Ablation(parse_config(tree), tmp_path, 1, 0)
    for view, rest in ablation.without.items():
        fusion = ablation.config_of(Training(rest, 0, 0)).fusion
        assert fusion.name == ("concat" if view == gone else "film")
        assert fusion.options.get("by") == (None if view == gone else by)


def test_a_second_ablation_into_one_folder_is_refused_while_the_first_runs(marked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with locked(out, "ablation"), pytest.raises(EcgprismError, match="another ablation is writing here"):
        ablate(config_of(marked, PARTS, epochs=1), out, seeds=1)
    assert not (out / "runs").exists()


def test_overwrite_deletes_what_an_ablation_made_and_nothing_else(marked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "runs" / "old").mkdir(parents=True)
    (out / "ablation.yaml").write_text("seeds: 7\n")
    (out / "ledger.json").write_text("{}")
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(EcgprismError, match="begun with seeds: 7, now 1"):
        ablate(config_of(marked, PARTS, epochs=1), out, seeds=1, resamples=10)
    ablate(config_of(marked, PARTS, epochs=1), out, seeds=1, resamples=10, overwrite=True)
    assert not (out / "runs" / "old").exists()
    assert (out / "thesis.txt").read_text() == "mine"
    assert LedgerReport.read(out / "ledger.json").seeds == 1
