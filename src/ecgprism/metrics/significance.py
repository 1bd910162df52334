"""Significance of a difference between two models on the same items: DeLong, McNemar, Holm.

Axis legend: M models, N items. `target` is bool (N,), one class; `score` (M, N).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from ecgprism.metrics.intervals import Difference
from ecgprism.metrics.scores import Bools, Floats


def delong(target: Bools, score: Floats, clusters: NDArray[Any] | None = None) -> tuple[Floats, Floats]:
    """Return the areas under the ROC curves (M,) and their covariance (M, M).

    DeLong, DeLong and Clarke-Pearson (1988); with `clusters` (N,), items of one patient depend on each other
    (Obuchowski 1997, doi:10.2307/2533958). Where every item is its own cluster the two are the same. NaN where either
    class has fewer than two clusters.
    """
    score = np.atleast_2d(np.asarray(score, dtype=np.float64))
    models, n = score.shape
    if target.shape != (n,):
        raise ValueError(f"expected target ({n},) and score (M, {n}); got {target.shape} and {score.shape}")
    positives, negatives = int(target.sum()), int((~target).sum())
    if not positives or not negatives:
        return np.full(models, np.nan), np.full((models, models), np.nan)
    placements = np.empty_like(score)  # of a positive: the share of negatives below; of a negative: of positives above
    for row, values in zip(placements, score, strict=True):
        row[target] = _share_below(values[target], values[~target])
        row[~target] = 1 - _share_below(values[~target], values[target])
    area = placements[:, target].mean(axis=1)
    code = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    about = placements - area[:, None]
    a = _by_cluster(about * target, code)
    b = _by_cluster(about * ~target, code)
    i10, i01, i = (len(np.unique(code[chosen])) for chosen in (target, ~target, np.ones(n, dtype=bool)))
    if min(i10, i01) < 2:
        return area, np.full((models, models), np.nan)
    s10 = i10 / ((i10 - 1) * positives) * a @ a.T
    s01 = i01 / ((i01 - 1) * negatives) * b @ b.T
    s11 = i / (i - 1) * a @ b.T
    return area, s10 / positives + s01 / negatives + (s11 + s11.T) / (positives * negatives)


def _share_below(values: Floats, others: Floats) -> Floats:
    """Return for each value the share of others below it, equal ones counting one half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(ordered))


def _by_cluster(values: Floats, code: NDArray[np.intp]) -> Floats:
    """Return the sums (M, C) of values (M, N) over clusters."""
    return np.array([np.bincount(code, each) for each in values])


def delong_difference(
    target: Bools, a: Floats, b: Floats, clusters: NDArray[Any] | None = None, level: float = 0.95
) -> Difference:
    """Return the area of scores `a` (N,) minus that of `b` (N,) with its normal interval; NaN where undefined."""
    area, covariance = delong(target, np.stack([a, b]), clusters)
    value = float(area[0] - area[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if np.isnan(variance):
        return Difference(value=value, low=np.nan, high=np.nan, p=np.nan)
    # the two curves may be the same: rounding leaves a variance of some 1e-18, of either sign
    error = np.sqrt(variance) if variance > 1e-15 else 0.0
    z = float(norm.ppf((1 + level) / 2))
    p = float(2 * norm.sf(abs(value) / error)) if error else (1.0 if abs(value) < 1e-12 else 0.0)
    return Difference(value=value, low=value - z * error, high=value + z * error, p=p)


def mcnemar(right_a: Bools, right_b: Bools) -> tuple[int, int, float]:
    """Return how many items only `a` and only `b` (N,) has right, and the exact two-sided p value (McNemar 1947)."""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def holm(p: Floats) -> Floats:
    """Return p values adjusted for their number (Holm 1979); NaN ones are not counted and stay."""
    p = np.asarray(p, dtype=np.float64)
    out = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * (len(order) - np.arange(len(order)))
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return out
