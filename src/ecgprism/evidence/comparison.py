"""Comparison of evaluated runs on the same test records: paired bootstrap, DeLong, McNemar, Holm."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from ecgprism.errors import EcgprismError, nearest
from ecgprism.evidence.reports import ComparisonReport, Discordance, PairReport, RunReport, Terms
from ecgprism.evidence.run import Run
from ecgprism.interface.answers import Answers
from ecgprism.interface.storage import MODEL
from ecgprism.metrics.contrasts import Pair, ScoreTable, minus, tabulate
from ecgprism.metrics.intervals import Difference
from ecgprism.metrics.significance import delong_difference, holm, mcnemar
from ecgprism.training.folder import METRICS, PREDICTIONS, TEST

P = TypeVar("P", Difference, Discordance)  # what has a p value
RULES = {
    "difference": "first minus second; 95% percentile bootstrap over patients, the same resamples for both",
    "p": "two-sided, by the share of resamples beyond zero",
    "delong": "AUROC of one class; repeated patients by Obuchowski's clustered covariance",
    "mcnemar": "exact, on all classes decided rightly; where patients repeat, the clustered bootstrap instead",
    "p_holm": "the p value corrected for the number of pairs of runs, within one quantity",
}


def terms_of(run: str | Path) -> Terms:
    """Return how a run was judged: by the report of its evaluation, in an ablation by the model.

    Raises EcgprismError when it was not evaluated.
    """
    run = Path(run)
    if _predictions(run).name == PREDICTIONS and (run / METRICS).is_file():
        return Terms.read(run / METRICS)
    opened = Run.open(run)
    card = opened.card
    return Terms(kind=card.kind, classes=card.classes, metric=opened.metric, thresholds=card.thresholds)


def answers_of(run: str | Path, classes: Sequence[str] | None = None) -> Answers:
    """Return the answers of an evaluated run, its classes in the order given, ordered by item. Raises EcgprismError."""
    run, terms = Path(run), terms_of(run)
    table = pd.read_parquet(_predictions(run))
    if "cluster" not in table:
        raise EcgprismError(f"{run}: was evaluated by an older ecgprism; run `ecgprism evaluate {run}` again")
    wanted = tuple(classes or terms.classes)
    for name in wanted:
        if name not in terms.classes:
            raise EcgprismError(f"{run}: has no class {name!r}{nearest(name, terms.classes)}")
    if len(terms.classes) != len(wanted):
        raise EcgprismError(f"{run}: has classes {', '.join(terms.classes)}, the others {', '.join(wanted)}")
    chosen = None if terms.thresholds is None else [terms.thresholds[terms.classes.index(name)] for name in wanted]
    answers = Answers.from_table(table, terms.kind, wanted, chosen).sorted()
    if answers.target is None:
        raise EcgprismError(f"{run}: was tested on data without labels of all of its classes; it cannot be compared")
    return answers


def _predictions(run: Path) -> Path:
    """Return the file of a run's answers: of its last evaluation, else of its ablation. Raises EcgprismError."""
    for name in (PREDICTIONS, TEST):
        if (run / name).is_file():
            return run / name
    hint = f"run `ecgprism evaluate {run}` first" if (run / MODEL).is_file() else "not a run's folder"
    raise EcgprismError(f"{run}: has no {PREDICTIONS}: {hint}")


def compare(runs: Sequence[str | Path], *, resamples: int = 1000, seed: int = 0) -> ComparisonReport:
    """Compare two runs or more, every pair of them.

    Raises EcgprismError when fewer than two are given, when one was not evaluated, or when their test items differ.
    """
    names = [str(run) for run in runs]
    if len(names) < 2:
        raise EcgprismError("compare needs two runs or more")
    if len({Path(name).resolve() for name in names}) < len(names):
        raise EcgprismError("a run is named twice; a model does not differ from itself")
    terms, first = terms_of(names[0]), answers_of(names[0])
    answers = {names[0]: first, **{name: answers_of(name, first.classes) for name in names[1:]}}
    for name in names[1:]:
        _same_items(names[0], first, name, answers[name])
    found = tabulate(answers, {pair: minus(*pair) for pair in combinations(names, 2)}, terms.metric, resamples, seed)
    patients = len(np.unique(first.patients))
    return ComparisonReport(
        kind=terms.kind, classes=first.classes, metric=terms.metric, items=len(first), patients=patients,
        repeated_patients=patients < len(first),
        positives=dict(zip(first.classes, first.truth.sum(axis=0).tolist(), strict=True)),
        resamples=resamples, rules=RULES,
        runs=[RunReport(run=name, metrics=found.models[name].metrics) for name in names],
        pairs=_corrected([_pair(pair, answers, found, patients < len(first)) for pair in found.contrasts]),
    )  # fmt: skip


def _pair(pair: Pair, answers: dict[str, Answers], found: ScoreTable, repeated: bool) -> PairReport:
    """Return one pair of runs; `repeated`: patients have several items, so that tests must know of them."""
    a, b = (answers[name] for name in pair)
    target, scores = a.truth, found.contrasts[pair]
    clusters = a.patients if repeated else None
    only_a, only_b, p = mcnemar(*((each.decided == target).all(axis=1) for each in (a, b)))
    if repeated:
        p = scores.metrics["accuracy"].p
    areas = {
        label: delong_difference(target[:, k], a.probabilities[:, k], b.probabilities[:, k], clusters)
        for k, label in enumerate(a.classes)
    }
    return PairReport(
        first=pair[0], second=pair[1], metrics=scores.metrics,
        per_class={label: {"delong": area, **scores.per_class[label]} for label, area in areas.items()},
        accuracy=Discordance(
            only_first=only_a, only_second=only_b, p=p, test="clustered bootstrap" if repeated else "McNemar"
        ),
    )  # fmt: skip


def _same_items(first: str, a: Answers, second: str, b: Answers) -> None:
    """Raise EcgprismError unless both were tested on the same items with the same labels."""
    both = f"{first} and {second}"
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


def _corrected(pairs: Sequence[PairReport]) -> list[PairReport]:
    """Return the pairs with `p_holm` beside every p value: over the pairs, within one quantity."""
    metrics = {key: _holm([pair.metrics[key] for pair in pairs]) for key in pairs[0].metrics}
    per_class = {
        label: {key: _holm([pair.per_class[label][key] for pair in pairs]) for key in tests}
        for label, tests in pairs[0].per_class.items()
    }
    accuracy = _holm([pair.accuracy for pair in pairs])
    return [
        pair.model_copy(
            update={
                "metrics": {key: each[i] for key, each in metrics.items()},
                "per_class": {label: {key: each[i] for key, each in t.items()} for label, t in per_class.items()},
                "accuracy": accuracy[i],
            }
        )
        for i, pair in enumerate(pairs)
    ]


def _holm(each: Sequence[P]) -> list[P]:
    corrected = holm(np.array([one.p for one in each]))
    return [one.model_copy(update={"p_holm": float(p)}) for one, p in zip(each, corrected, strict=True)]
