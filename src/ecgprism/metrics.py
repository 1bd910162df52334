"""Metrics: pure functions of (target, score), and the patient-clustered bootstrap over them.

Every metric is a function of *weighted counts* of records, so a bootstrap is a matrix of weights and not a loop over
copies of the data. Axis legend: N records, K classes, R resamples. `target` is bool (N, K), `score` probabilities
(N, K), `decided` bool (N, K), `weights` (R, N) or None (every record once; the R axis is then absent from the result).
NaN means undefined (no positives in that resample, say): never 0.5, never an exception. A NaN among the scores makes
every metric that reads it NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecgprism.errors import EcgprismError

Kind = Literal["multilabel", "multiclass"]
Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Statistic = Callable[[Floats | None], Mapping[str, Floats]]

#: a resample block of this many weights (32 MiB) keeps the working set of every metric here below 0.5 GB
_BLOCK_WEIGHTS = 2**22


def auroc(target: Bools, score: Floats, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve per class, (K,) or (R, K): P(positive outranks negative), a tie counts one half.

    The Mann-Whitney form (Hanley and McNeil 1982). NaN without positives or without negatives.
    """
    target, score, rows = _checked(target, score, weights)
    result = np.full((len(rows), target.shape[1]), np.nan)
    for k, values, positive, negative in _ranked_classes(target, score):
        below = _cumulated(rows[:, negative])
        lower, upper = (np.searchsorted(values[negative], values[positive], side) for side in ("left", "right"))
        own = rows[:, positive]
        wins = np.einsum("rn,rn->r", own, below[:, lower] + below[:, upper]) / 2
        result[:, k] = _ratio(wins, own.sum(1) * below[:, -1])
    return _unrowed(result, weights)


def auprc(target: Bools, score: Floats, weights: Floats | None = None) -> Floats:
    """Average precision per class, (K,) or (R, K): the precision at each positive's score, averaged over positives.

    The step-wise sum of scikit-learn's `average_precision_score`, records of equal score entering together. NaN
    without positives (scikit-learn: 0); without negatives it is 1.
    """
    target, score, rows = _checked(target, score, weights)
    result = np.full((len(rows), target.shape[1]), np.nan)
    for k, values, positive, negative in _ranked_classes(target, -score):
        own = rows[:, positive]
        hits = _cumulated(own)[:, np.searchsorted(values[positive], values[positive], "right")]
        misses = _cumulated(rows[:, negative])[:, np.searchsorted(values[negative], values[positive], "right")]
        # a positive that this resample left out has weight 0; its 0/0 precision must not spread
        precision = _ratio(hits, hits + misses, undefined=0.0)
        result[:, k] = _ratio(np.einsum("rn,rn->r", own, precision), own.sum(1))
    return _unrowed(result, weights)


@dataclass(frozen=True, eq=False)
class Rates:
    """What decisions are worth per class, each (K,) or (R, K)."""

    f1: Floats
    sensitivity: Floats
    specificity: Floats
    ppv: Floats


def rates(target: Bools, decided: Bools, weights: Floats | None = None) -> Rates:
    """F1 = 2TP / (2TP+FP+FN), sensitivity = TP / (TP+FN), specificity = TN / (TN+FP), ppv = TP / (TP+FP) per class.

    Each is NaN only where its denominator is 0; for F1, where a class is neither present nor decided
    (scikit-learn's default is 0 there, which would punish a model for being right).
    """
    target, decided, rows = _checked(target, decided, weights)
    hits, positives, decisions = (rows @ x.astype(np.float64) for x in (target & decided, target, decided))
    rejected, negatives = (rows @ x.astype(np.float64) for x in (~target & ~decided, ~target))
    return Rates(
        f1=_unrowed(_ratio(2 * hits, positives + decisions), weights),
        sensitivity=_unrowed(_ratio(hits, positives), weights),
        specificity=_unrowed(_ratio(rejected, negatives), weights),
        ppv=_unrowed(_ratio(hits, decisions), weights),
    )


def accuracy(target: Bools, decided: Bools, weights: Floats | None = None) -> Floats:
    """Share of records with every class decided rightly, () or (R,); for one-hot decisions the usual accuracy."""
    target, decided, rows = _checked(target, decided, weights)
    return _unrowed(_mean(rows, (target == decided).all(1)), weights)


def confusion_matrix(target: Bools, decided: Bools) -> NDArray[np.int64]:
    """Count (K, K) records by true class (row) and decided class (column); both one-hot."""
    target, decided, _ = _checked(target, decided, None)
    for name, labels in (("target", target), ("decided", decided)):
        wrong = np.flatnonzero(labels.sum(1) != 1)
        if wrong.size:
            raise ValueError(f"{name} is not one-hot: record {wrong[0]} has {labels[wrong[0]].sum()} classes")
    return target.T.astype(np.int64) @ decided.astype(np.int64)


def macro(per_class: Floats) -> Floats:
    """Plain mean over classes, (..., K) -> (...); NaN where any class is undefined, so all means are of the same."""
    return np.asarray(per_class).mean(axis=-1)


def cinc2017_f1(f1_per_class: Floats, classes: tuple[str, ...]) -> Floats:
    """Score of the PhysioNet/CinC Challenge 2017, (..., K) -> (...): mean F1 of normal, AF and other rhythm.

    The class of noisy recordings does not count (Clifford et al. 2017). `classes` names the K columns.
    """
    missing = [name for name in ("N", "A", "O") if name not in classes]
    if missing:
        raise ValueError(f"the CinC 2017 score needs classes N, A and O; {missing[0]} is not in {', '.join(classes)}")
    return macro(np.asarray(f1_per_class)[..., [classes.index(name) for name in ("N", "A", "O")]])


def essentials(
    target: Bools, score: Floats, decided: Bools, classes: tuple[str, ...], weights: Floats | None = None
) -> dict[str, Floats]:
    """What two models are compared by: `auroc` and `f1` per class, their macro means, accuracy; with N, A and O the
    challenge's F1. Values are () and (K,), or (R,) and (R, K).
    """
    per_class = {"auroc": auroc(target, score, weights), "f1": rates(target, decided, weights).f1}
    out = {f"macro_{name}": macro(values) for name, values in per_class.items()}
    out["accuracy"] = accuracy(target, decided, weights)
    if primary(classes) == "cinc2017_f1":
        out["cinc2017_f1"] = cinc2017_f1(per_class["f1"], classes)
    return out | per_class


def primary(classes: tuple[str, ...]) -> str:
    """Return the name of the essential that models of these classes are judged by."""
    return "cinc2017_f1" if set(classes) >= {"N", "A", "O"} else "macro_auroc"


def fmax(target: Bools, score: Floats, weights: Floats | None = None, thresholds: int = 101) -> Floats:
    """Sample-centric Fmax, () or (R,): the best F1 of mean precision and mean recall over one common threshold.

    At each of `thresholds` values from 0 to 1 (decision: score >= threshold) precision is averaged over the records
    with any decision, recall over those with any label (CAFA: Radivojac et al. 2013; PTB-XL: Strodthoff et al. 2021).
    """
    target, score, rows = _checked(target, score, weights)
    # classes first: sums over the short axis are then additions of whole rows
    labels, values = np.ascontiguousarray(target.T), np.ascontiguousarray(score.T)
    n_labels = labels.sum(0)
    labelled = rows @ (n_labels > 0).astype(np.float64)
    best = np.full(len(rows), np.nan)
    if np.isnan(values).any():
        return _unrowed(best, weights)
    for step in range(thresholds):
        decided = values >= step / (thresholds - 1)
        n_decided, hits = decided.sum(0), (decided & labels).sum(0)
        precision = _ratio(rows @ _ratio(hits, n_decided, undefined=0.0), rows @ (n_decided > 0).astype(np.float64))
        recall = _ratio(rows @ _ratio(hits, n_labels, undefined=0.0), labelled)
        # both 0 is F1 = 0; no decision at all (NaN precision) leaves the best of the other thresholds
        f1 = np.where(precision + recall == 0, 0.0, _ratio(2 * precision * recall, precision + recall))
        best = np.fmax(best, f1)
    return _unrowed(best, weights)


def brier(target: Bools, score: Floats, weights: Floats | None = None, *, kind: Kind) -> Floats:
    """Brier score, () or (R,), mean over records of the squared error of the probabilities.

    multiclass: summed over classes, 0 to 2 (Brier 1950); multilabel: averaged over classes, 0 to 1.
    """
    target, score, rows = _checked(target, score, weights)
    error = (score - target) ** 2
    return _unrowed(_mean(rows, error.sum(1) if _is_multiclass(kind) else error.mean(1)), weights)


def ece(target: Bools, score: Floats, weights: Floats | None = None, *, kind: Kind, bins: int = 15) -> Floats:
    """Expected calibration error, () or (R,), over equal-width bins (lower, upper] of probability.

    multiclass: confidence of the top class against its accuracy (Guo et al. 2017); multilabel: probability against
    frequency per class, averaged over classes.
    """
    target, score, rows = _checked(target, score, weights)
    if _is_multiclass(kind):
        top = score.argmax(1)[:, None]
        target, score = np.take_along_axis(target, top, 1), np.take_along_axis(score, top, 1)
    inner_edges = np.arange(1, bins) / bins
    gaps = []
    for outcome, probability in zip(target.T, score.T, strict=True):
        surplus = np.zeros((len(probability), bins))
        surplus[np.arange(len(probability)), np.searchsorted(inner_edges, probability)] = outcome - probability
        gaps.append(_ratio(np.abs(rows @ surplus).sum(1), rows.sum(1)))
    return _unrowed(np.mean(gaps, axis=0), weights)


def best_thresholds(target: Bools, score: Floats) -> Floats:
    """Threshold per class, (K,), whose decisions (score >= threshold) have the highest F1; for validation data.

    Every threshold down to the next lower score decides alike; the middle of that gap is taken (0 counts as the lowest
    score). Of several best gaps the uppermost wins; a class without positives gets 0.5.
    """
    target, score, _ = _checked(target, score, None)
    _refuse_nan(score)
    result = np.full(target.shape[1], 0.5)
    for k in np.flatnonzero(target.any(0)):
        order = np.argsort(-score[:, k])
        values, hits = score[order, k], np.cumsum(target[order, k])
        # a threshold cannot part equal scores: only the last record of each tie is a candidate
        last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
        at = last[np.argmax(2 * hits[last] / (last + 1 + hits[-1]))]
        upper, lower = values[at], values[at + 1] if at + 1 < len(values) else 0.0
        middle = (upper + lower) / 2
        result[k] = middle if middle > lower else upper  # neighbouring floats have no middle
    return result


def decide(score: Floats, kind: Kind, thresholds: Floats | float = 0.5) -> Bools:
    """Decisions, bool (N, K): the top class (multiclass, one-hot) or score >= thresholds (multilabel, () or (K,))."""
    score = np.asarray(score)
    _refuse_nan(score)
    if _is_multiclass(kind):
        return np.arange(score.shape[1]) == score.argmax(1)[:, None]
    return score >= thresholds


def cluster_weights(
    clusters: NDArray[Any], resamples: int = 1000, seed: int = 0, rows: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield blocks (r, N) of record weights: C clusters (patients) drawn with replacement out of C, per resample.

    A record weighs as often as its cluster was drawn. `clusters` (N,) gives each record's cluster; the weights depend
    on it and on `seed`, not on `rows`, the resamples per block (default: blocks of at most 32 MiB).
    """
    names, code = np.unique(clusters, return_inverse=True)
    if not names.size:
        raise ValueError("no records to resample")
    rows = rows or max(1, _BLOCK_WEIGHTS // len(code))
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        drawn = [
            np.bincount(rng.integers(names.size, size=names.size), minlength=names.size)
            for _ in range(min(rows, resamples - start))
        ]
        yield np.take(np.array(drawn, dtype=np.float64), code, axis=1)


@dataclass(frozen=True, eq=False)
class Interval:
    """A value with its bootstrap interval; fields are () for one quantity, (K,) for one per class (`interval[k]`).

    `defined` counts the resamples in which the quantity exists, out of `resamples`; only these make `low` and `high`.
    `p` is two-sided against zero, by the share of resamples beyond it: it means something for a difference.
    """

    value: Floats
    low: Floats
    high: Floats
    defined: NDArray[np.int64]
    resamples: int
    p: Floats

    @property
    def shaky(self) -> Bools:
        """Whether more than 5% of the resamples left the quantity undefined: too few positives to trust `low, high`."""
        return 20 * (self.resamples - self.defined) > self.resamples

    def __getitem__(self, k: int) -> Interval:
        """Return the interval of class `k`."""
        return Interval(self.value[k], self.low[k], self.high[k], self.defined[k], self.resamples, self.p[k])

    def __iter__(self) -> Iterator[Interval]:
        """Yield the interval of each class."""
        return (self[k] for k in range(len(self.value)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python numbers (or lists of them) for JSON."""
        fields = {name: getattr(self, name) for name in ("value", "low", "high", "defined", "shaky")}
        return {name: field.tolist() for name, field in fields.items()} | {"resamples": self.resamples}


def bootstrap(
    statistic: Statistic, clusters: NDArray[Any], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Percentile intervals (Efron and Tibshirani 1993) of named quantities, whole clusters being resampled.

    `statistic(weights)` returns {name: array}: (R,) or (R, K) for weights (R, N); () or (K,) for None, the value
    itself. For a paired comparison let it return the difference of two models under the same weights.
    """
    drawn = resampled(statistic, clusters, resamples, seed)
    return {name: interval(*values, level) for name, values in drawn.items()}


def resampled(
    statistic: Statistic, clusters: NDArray[Any], resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[Floats, Floats]]:
    """Return by name the value, () or (K,), and what every resample gives, (R,) or (R, K).

    Equal clusters and seed give equal resamples: differences between two calls are paired.
    """
    point = statistic(None)
    blocks = [statistic(weights) for weights in cluster_weights(clusters, resamples, seed)]
    return {name: (np.asarray(value), np.concatenate([b[name] for b in blocks])) for name, value in point.items()}


def interval(value: Floats, drawn: Floats, level: float = 0.95) -> Interval:
    """Return the percentile interval of a value, () or (K,), from its resamples, (R,) or (R, K)."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    shape = drawn.shape[1:]
    kept = [column[~np.isnan(column)] for column in drawn.reshape(len(drawn), -1).T]
    bounds = np.array([np.quantile(column, tails) if column.size else (np.nan, np.nan) for column in kept])
    # twice the smaller tail beyond zero, never 0: the point itself counts as one more resample
    p = [(2 * min((column <= 0).sum(), (column >= 0).sum()) + 1) / (column.size + 1) for column in kept]
    low, high = (bound.reshape(shape)[()] for bound in bounds.T)
    defined = np.array([column.size for column in kept]).reshape(shape)[()]
    return Interval(np.asarray(value)[()], low, high, defined, len(drawn), np.minimum(p, 1.0).reshape(shape)[()])


def plain(found: Interval) -> dict[str, Any]:
    """Return value, interval and p value of one quantity as JSON has them."""
    numbers = {"value": found.value, "low": found.low, "high": found.high, "p": found.p}
    return none_for_nan(numbers) | {"shaky": bool(found.shaky)}


def none_for_nan(numbers: Mapping[str, Any]) -> dict[str, float | None]:
    """Return plain numbers, None for what is undefined: JSON has no NaN."""
    return {key: None if np.isnan(x) else float(x) for key, x in numbers.items()}


def _checked(target: Bools, other: Floats | Bools, weights: Floats | None) -> tuple[Bools, Any, NDArray[np.float64]]:
    """Check the shapes; return target, score (float64) or decisions (bool), and the weights as rows (R, N)."""
    target, values = np.asarray(target, dtype=bool), np.asarray(other)
    if target.ndim != 2 or target.shape != values.shape:
        raise ValueError(f"expected two arrays of one shape (N, K); got {target.shape} and {values.shape}")
    # float64 throughout: sums of float32 weights over 100,000 records would lose digits
    rows = np.ones((1, len(target))) if weights is None else np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(target):
        raise ValueError(f"expected weights of shape (R, {len(target)}); got {rows.shape}")
    return target, values if values.dtype == bool else values.astype(np.float64), rows


def _is_multiclass(kind: str) -> bool:
    """Tell the two kinds apart, and a misspelt one from both."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r}; expected one of {', '.join(get_args(Kind))}")
    return kind == "multiclass"


def _unrowed(result: Floats, weights: Floats | None) -> Floats:
    """Drop the R axis again when no weights were given."""
    return result[0] if weights is None else result


def _ranked_classes(target: Bools, score: Floats) -> Iterator[tuple[int, Floats, NDArray[np.intp], NDArray[np.intp]]]:
    """Yield class, its scores, its positives and its negatives by ascending score; skip a class with a NaN score."""
    for k in np.flatnonzero(~np.isnan(score).any(0)):
        order = np.argsort(score[:, k])
        yield int(k), score[:, k], order[target[order, k]], order[~target[order, k]]


def _cumulated(rows: Floats) -> Floats:
    """Sums (R, n + 1) of the first 0, 1, ..., n weights."""
    result = np.zeros((len(rows), rows.shape[1] + 1))
    np.cumsum(rows, axis=1, out=result[:, 1:])
    return result


def _ratio(numerator: Floats, denominator: Floats, undefined: float = np.nan) -> Floats:
    """Quotient, `undefined` where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), undefined), where=denominator != 0)


def _mean(rows: Floats, values: Floats | Bools) -> Floats:
    """Weighted mean (R,) of values (N,)."""
    return _ratio(rows @ values.astype(np.float64), rows.sum(1))


def _refuse_nan(score: Floats) -> None:
    """Raise where a decision would have to be made up."""
    lost = np.isnan(score).any(1).sum()
    if lost:
        raise EcgprismError(f"{lost} of {len(score)} records have a NaN score; no class can be decided from it")
