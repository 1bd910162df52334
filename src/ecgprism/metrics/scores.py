"""Metrics: pure functions of (target, score), and the patient-clustered bootstrap over them.

Every metric is a function of *weighted counts* of records, so a bootstrap is a matrix of weights and not a loop over
copies of the data. Axis legend: N records, K classes, R resamples. `target` is bool (N, K), `score` probabilities
(N, K), `decided` bool (N, K), `weights` (R, N) or None (every record once; the R axis is then absent from the result).
NaN means undefined (no positives in that resample, say): never 0.5, never an exception. A NaN among the scores makes
every metric that reads it NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.interface.card import Kind, is_multiclass

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]


def auroc(target: Bools, score: Floats, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve per class, (K,) or (R, K): P(positive outranks negative), a tie counts one half.

    The Mann-Whitney form (Hanley and McNeil 1982). NaN without positives or without negatives.
    """
    target, score, rows = checked(target, score, weights)
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
    target, score, rows = checked(target, score, weights)
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
    target, decided, rows = checked(target, decided, weights)
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
    target, decided, rows = checked(target, decided, weights)
    return _unrowed(_mean(rows, (target == decided).all(1)), weights)


def confusion_matrix(target: Bools, decided: Bools) -> NDArray[np.int64]:
    """Count (K, K) records by true class (row) and decided class (column); both one-hot."""
    target, decided, _ = checked(target, decided, None)
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


def fmax(target: Bools, score: Floats, weights: Floats | None = None, thresholds: int = 101) -> Floats:
    """Sample-centric Fmax, () or (R,): the best F1 of mean precision and mean recall over one common threshold.

    At each of `thresholds` values from 0 to 1 (decision: score >= threshold) precision is averaged over the records
    with any decision, recall over those with any label (CAFA: Radivojac et al. 2013; PTB-XL: Strodthoff et al. 2021).
    """
    target, score, rows = checked(target, score, weights)
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
    target, score, rows = checked(target, score, weights)
    error = (score - target) ** 2
    return _unrowed(_mean(rows, error.sum(1) if is_multiclass(kind) else error.mean(1)), weights)


def ece(target: Bools, score: Floats, weights: Floats | None = None, *, kind: Kind, bins: int = 15) -> Floats:
    """Expected calibration error, () or (R,), over equal-width bins (lower, upper] of probability.

    multiclass: confidence of the top class against its accuracy (Guo et al. 2017); multilabel: probability against
    frequency per class, averaged over classes.
    """
    target, score, rows = checked(target, score, weights)
    if is_multiclass(kind):
        top = score.argmax(1)[:, None]
        target, score = np.take_along_axis(target, top, 1), np.take_along_axis(score, top, 1)
    inner_edges = np.arange(1, bins) / bins
    gaps = []
    for outcome, probability in zip(target.T, score.T, strict=True):
        surplus = np.zeros((len(probability), bins))
        surplus[np.arange(len(probability)), np.searchsorted(inner_edges, probability)] = outcome - probability
        gaps.append(_ratio(np.abs(rows @ surplus).sum(1), rows.sum(1)))
    return _unrowed(np.mean(gaps, axis=0), weights)


def checked(target: Bools, other: Floats | Bools, weights: Floats | None) -> tuple[Bools, Any, NDArray[np.float64]]:
    """Check the shapes; return target, score (float64) or decisions (bool), and the weights as rows (R, N)."""
    target, values = np.asarray(target, dtype=bool), np.asarray(other)
    if target.ndim != 2 or target.shape != values.shape:
        raise ValueError(f"expected two arrays of one shape (N, K); got {target.shape} and {values.shape}")
    # float64 throughout: sums of float32 weights over 100,000 records would lose digits
    rows = np.ones((1, len(target))) if weights is None else np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(target):
        raise ValueError(f"expected weights of shape (R, {len(target)}); got {rows.shape}")
    return target, values if values.dtype == bool else values.astype(np.float64), rows


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
