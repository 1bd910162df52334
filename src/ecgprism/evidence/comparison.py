"""Comparison of evaluated runs on the same test records: paired bootstrap, DeLong, McNemar, Holm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgprism.errors import EcgprismError, nearest
from ecgprism.interface.answers import Answers
from ecgprism.interface.card import Kind
from ecgprism.interface.storage import MODEL, read_card
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.scores import Floats
from ecgprism.metrics.significance import delong_difference, holm, mcnemar
from ecgprism.training.folder import METRICS, PREDICTIONS

PER_CLASS = ("auroc", "f1")
RULES = {
    "difference": "first minus second; 95% percentile bootstrap over patients, the same resamples for both",
    "p": "two-sided, by the share of resamples beyond zero",
    "delong": "AUROC of one class; repeated patients by Obuchowski's clustered covariance",
    "mcnemar": "exact, on all classes decided rightly; where patients repeat, the clustered bootstrap instead",
    "p_holm": "the p value corrected for the number of pairs of runs, within one quantity",
}


@dataclass(frozen=True)
class Tested:
    """An evaluated run: its name and its answers, ordered by item."""

    name: str
    answers: Answers


def tested(run: str | Path, classes: Sequence[str] | None = None) -> Tested:
    """Read an evaluated run, its classes in the order given. Raises EcgprismError when it was not evaluated."""
    run = Path(run)
    if not (run / PREDICTIONS).is_file():
        hint = f"run `ecgprism evaluate {run}` first" if (run / MODEL).is_file() else "not a run's folder"
        raise EcgprismError(f"{run}: has no {PREDICTIONS}: {hint}")
    kind, own, thresholds = _decided_by(run)
    table = pd.read_parquet(run / PREDICTIONS)
    if "cluster" not in table:
        raise EcgprismError(f"{run}: was evaluated by an older ecgprism; run `ecgprism evaluate {run}` again")
    wanted = tuple(classes or own)
    for name in wanted:
        if name not in own:
            raise EcgprismError(f"{run}: has no class {name!r}{nearest(name, own)}")
    if len(own) != len(wanted):
        raise EcgprismError(f"{run}: has classes {', '.join(own)}, the others {', '.join(wanted)}")
    chosen = None if thresholds is None else [thresholds[own.index(name)] for name in wanted]
    return Tested(str(run), Answers.from_table(table, kind, wanted, chosen).sorted())


def _decided_by(run: Path) -> tuple[Kind, tuple[str, ...], Sequence[float] | None]:
    """Return kind, classes and thresholds: of an evaluated run from its report, of an ablation's from the model."""
    if not (run / METRICS).is_file():
        card = read_card(run)
        return card.kind, card.classes, card.thresholds
    report = json.loads((run / METRICS).read_text())
    if "classes" not in report:
        raise EcgprismError(f"{run}: was evaluated by an older ecgprism; run `ecgprism evaluate {run}` again")
    return report["kind"], tuple(report["classes"]), report["thresholds"]


def compare(runs: Sequence[str | Path], *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare two runs or more, every pair of them, as plain data.

    Raises EcgprismError when fewer than two are given, when one was not evaluated, or when their test items differ.
    """
    if len(runs) < 2:
        raise EcgprismError("compare needs two runs or more")
    sides = [tested(runs[0])]
    first = sides[0].answers
    sides += [tested(run, first.classes) for run in runs[1:]]
    if len({side.name for side in sides}) < len(sides):
        raise EcgprismError("a run is named twice; a model does not differ from itself")
    for other in sides[1:]:
        _same_items(sides[0], other)
    target, classes, cluster = first.truth, first.classes, first.patients
    pairs = list(combinations(range(len(sides)), 2))
    repeated = len(np.unique(cluster)) < len(cluster)

    def statistic(weights: Floats | None) -> Mapping[str, Floats]:
        each = [side.answers for side in sides]
        found = [metrics.essentials(target, a.probabilities, a.decided, classes, weights) for a in each]
        out = {f"{i}|{key}": value for i, values in enumerate(found) for key, value in values.items()}
        for a, b in pairs:
            out |= {f"{a}-{b}|{key}": found[a][key] - found[b][key] for key in found[a]}
        return out

    found_intervals = intervals.bootstrap(statistic, cluster, resamples, seed)
    overall = [key.partition("|")[2] for key in found_intervals if key.startswith("0|")]
    overall = [key for key in overall if key not in PER_CLASS]
    report: dict[str, Any] = {
        "kind": first.kind,
        "classes": list(classes),
        "metric": metrics.primary(classes),
        "items": len(target),
        "patients": len(np.unique(cluster)),
        "repeated_patients": repeated,
        "positives": dict(zip(classes, target.sum(axis=0).tolist(), strict=True)),
        "resamples": resamples,
        "rules": RULES,
        "runs": [
            {"run": side.name, "metrics": {key: intervals.plain(found_intervals[f"{i}|{key}"]) for key in overall}}
            for i, side in enumerate(sides)
        ],
        "pairs": [],
    }
    for a, b in pairs:
        prefix = f"{a}-{b}"
        right = [(side.answers.decided == target).all(axis=1) for side in (sides[a], sides[b])]
        only_a, only_b, p = mcnemar(*right)
        by_class = {}
        for k, label in enumerate(classes):
            scores = (sides[a].answers.probabilities[:, k], sides[b].answers.probabilities[:, k])
            area = delong_difference(target[:, k], *scores, cluster if repeated else None)
            by_class[label] = {
                "delong": intervals.none_for_nan(vars(area)),
                **{key: intervals.plain(found_intervals[f"{prefix}|{key}"][k]) for key in PER_CLASS},
            }
        accuracy: dict[str, Any] = {"only_first": only_a, "only_second": only_b}
        if repeated:
            accuracy |= {"p": found_intervals[f"{prefix}|accuracy"].p.item(), "test": "clustered bootstrap"}
        else:
            accuracy |= {"p": p, "test": "McNemar"}
        report["pairs"].append({
            "first": sides[a].name,
            "second": sides[b].name,
            "metrics": {key: intervals.plain(found_intervals[f"{prefix}|{key}"]) for key in overall},
            "per_class": by_class,
            "accuracy": accuracy,
        })  # fmt: skip
    _correct(report["pairs"])
    return report


def _same_items(one: Tested, other: Tested) -> None:
    """Raise EcgprismError unless both were tested on the same items with the same labels."""
    a, b, both = one.answers, other.answers, f"{one.name} and {other.name}"
    if a.item != b.item:
        alone = sorted(set(a.item) ^ set(b.item))
        where = f"first in one only: {alone[0][0]}" if alone else "in another order"
        raise EcgprismError(
            f"{both} were tested on different records ({len(a)} and {len(b)}; {where}): "
            "evaluate both on the same split of the same corpus"
        )
    differing = np.flatnonzero((a.truth != b.truth).any(axis=1))
    if differing.size:
        record = a.item[differing[0]][0]
        raise EcgprismError(f"{both} were tested with different labels, first of record {record}")
    if not np.array_equal(np.unique(a.patients, return_inverse=True)[1], np.unique(b.patients, return_inverse=True)[1]):
        raise EcgprismError(f"{both} were tested with different patients behind the same records")


def _correct(pairs: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm` to every p value: over the pairs, within one quantity."""

    def correct(entries: Sequence[dict[str, Any]]) -> None:
        p = np.array([np.nan if entry["p"] is None else entry["p"] for entry in entries])
        for entry, corrected in zip(entries, holm(p), strict=True):
            entry["p_holm"] = None if np.isnan(corrected) else float(corrected)

    for key in pairs[0]["metrics"]:
        correct([pair["metrics"][key] for pair in pairs])
    for label, tests in pairs[0]["per_class"].items():
        for key in tests:
            correct([pair["per_class"][label][key] for pair in pairs])
    correct([pair["accuracy"] for pair in pairs])
