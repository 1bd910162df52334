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
from numpy.typing import NDArray

from ecgprism import metrics
from ecgprism.errors import EcgprismError, nearest
from ecgprism.evaluation import METRICS, PREDICTIONS
from ecgprism.metrics import Bools, Floats, Kind
from ecgprism.model import CARD
from ecgprism.significance import delong_difference, holm, mcnemar

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
    """A run's answers on its test items, ordered by item: clusters (N,), target, probabilities, decisions (N, K)."""

    name: str
    kind: Kind
    classes: tuple[str, ...]
    item: list[tuple[str, int]]
    cluster: NDArray[np.int64]
    target: Bools
    probabilities: Floats
    decided: Bools


def tested(run: str | Path, classes: Sequence[str] | None = None) -> Tested:
    """Read an evaluated run, its classes in the order given. Raises EcgprismError when it was not evaluated."""
    run = Path(run)
    if not (run / PREDICTIONS).is_file():
        hint = f"run `ecgprism evaluate {run}` first" if (run / CARD).is_file() else "not a run's folder"
        raise EcgprismError(f"{run}: has no {PREDICTIONS}: {hint}")
    # evaluated runs have their report, those of an ablation only the model's card; both tell kind, classes, thresholds
    told = json.loads((run / (METRICS if (run / METRICS).is_file() else CARD)).read_text())
    if "classes" not in told or "cluster" not in (table := pd.read_parquet(run / PREDICTIONS)):
        raise EcgprismError(f"{run}: was evaluated by an older ecgprism; run `ecgprism evaluate {run}` again")
    own = tuple(told["classes"])
    wanted = tuple(classes or own)
    for name in wanted:
        if name not in own:
            raise EcgprismError(f"{run}: has no class {name!r}{nearest(name, own)}")
    if len(own) != len(wanted):
        raise EcgprismError(f"{run}: has classes {', '.join(own)}, the others {', '.join(wanted)}")
    table = table.sort_values(["record_id", "start"], kind="stable", ignore_index=True)
    probabilities = table[[f"p_{name}" for name in wanted]].to_numpy(float)
    thresholds = told["thresholds"]
    chosen = 0.5 if thresholds is None else np.array([thresholds[own.index(name)] for name in wanted])
    return Tested(
        str(run),
        told["kind"],
        wanted,
        list(zip(table["record_id"], table["start"], strict=True)),
        table["cluster"].to_numpy(np.int64),
        table[[f"target_{name}" for name in wanted]].to_numpy(bool),
        probabilities,
        metrics.decide(probabilities, told["kind"], chosen),
    )


def compare(runs: Sequence[str | Path], *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare two runs or more, every pair of them, as plain data.

    Raises EcgprismError when fewer than two are given, when one was not evaluated, or when their test items differ.
    """
    if len(runs) < 2:
        raise EcgprismError("compare needs two runs or more")
    first = tested(runs[0])
    sides = [first, *(tested(run, first.classes) for run in runs[1:])]
    if len({side.name for side in sides}) < len(sides):
        raise EcgprismError("a run is named twice; a model does not differ from itself")
    for other in sides[1:]:
        _same_items(first, other)
    target, classes, cluster = first.target, first.classes, first.cluster
    pairs = list(combinations(range(len(sides)), 2))
    repeated = len(np.unique(cluster)) < len(cluster)

    def statistic(weights: Floats | None) -> Mapping[str, Floats]:
        found = [metrics.essentials(target, s.probabilities, s.decided, classes, weights) for s in sides]
        out = {f"{i}|{key}": value for i, values in enumerate(found) for key, value in values.items()}
        for a, b in pairs:
            out |= {f"{a}-{b}|{key}": found[a][key] - found[b][key] for key in found[a]}
        return out

    intervals = metrics.bootstrap(statistic, cluster, resamples, seed)
    overall = [key.partition("|")[2] for key in intervals if key.startswith("0|")]
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
            {"run": side.name, "metrics": {key: metrics.plain(intervals[f"{i}|{key}"]) for key in overall}}
            for i, side in enumerate(sides)
        ],
        "pairs": [],
    }
    for a, b in pairs:
        prefix = f"{a}-{b}"
        right = [(side.decided == target).all(axis=1) for side in (sides[a], sides[b])]
        only_a, only_b, p = mcnemar(*right)
        by_class = {}
        for k, label in enumerate(classes):
            scores = (sides[a].probabilities[:, k], sides[b].probabilities[:, k])
            area = delong_difference(target[:, k], *scores, cluster if repeated else None)
            by_class[label] = {
                "delong": metrics.none_for_nan(vars(area)),
                **{key: metrics.plain(intervals[f"{prefix}|{key}"][k]) for key in PER_CLASS},
            }
        accuracy: dict[str, Any] = {"only_first": only_a, "only_second": only_b}
        if repeated:
            accuracy |= {"p": intervals[f"{prefix}|accuracy"].p.item(), "test": "clustered bootstrap"}
        else:
            accuracy |= {"p": p, "test": "McNemar"}
        report["pairs"].append({
            "first": sides[a].name,
            "second": sides[b].name,
            "metrics": {key: metrics.plain(intervals[f"{prefix}|{key}"]) for key in overall},
            "per_class": by_class,
            "accuracy": accuracy,
        })  # fmt: skip
    _correct(report["pairs"])
    return report


def _same_items(a: Tested, b: Tested) -> None:
    """Raise EcgprismError unless both were tested on the same items with the same labels."""
    if a.item != b.item:
        alone = sorted(set(a.item) ^ set(b.item))
        where = f"first in one only: {alone[0][0]}" if alone else "in another order"
        raise EcgprismError(
            f"{a.name} and {b.name} were tested on different records ({len(a.item)} and {len(b.item)}; {where}): "
            "evaluate both on the same split of the same corpus"
        )
    differing = np.flatnonzero((a.target != b.target).any(axis=1))
    if differing.size:
        record = a.item[differing[0]][0]
        raise EcgprismError(f"{a.name} and {b.name} were tested with different labels, first of record {record}")
    if not np.array_equal(np.unique(a.cluster, return_inverse=True)[1], np.unique(b.cluster, return_inverse=True)[1]):
        raise EcgprismError(f"{a.name} and {b.name} were tested with different patients behind the same records")


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
