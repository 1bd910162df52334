"""Intervals: the patient-clustered bootstrap over any statistic, paired where the resamples are the same.

Axis legend: N records, K classes, R resamples. NaN means undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator

from ecgprism.metrics.scores import Bools, Floats

Name = TypeVar("Name", bound=Hashable)
Statistic = Callable[[Floats | None], Mapping[Name, Floats]]
#: NaN where it is undefined, which is null in JSON
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]

#: a resample block of this many weights (32 MiB) keeps the working set of every metric below 0.5 GB
_BLOCK_WEIGHTS = 2**22


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


class Estimate(BaseModel, frozen=True):
    """One number with its 95% interval. `defined` counts the resamples that it exists in (None: a closed form);
    `shaky`: it lacks more than 5% of them, too few positives to trust the interval.
    """

    value: Number
    low: Number
    high: Number
    defined: int | None = None
    shaky: bool = False

    @property
    def known(self) -> bool:
        """Whether value and interval exist."""
        return not (math.isnan(self.value) or math.isnan(self.low))

    def __str__(self) -> str:
        """Return value and interval, as in `0.893 (0.871-0.912)`; `?` after one of too few resamples."""
        if math.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f}" + (f" ({self.low:.3f}-{self.high:.3f}){'?' * self.shaky}" if self.known else "")


class Difference(Estimate, frozen=True):
    """What is compared with 0: `p` is two-sided, `p_holm` corrected for the number of comparisons (None: not)."""

    p: Number
    p_holm: Number | None = None

    @property
    def sign(self) -> int:
        """1 or -1 when the interval lies above or below zero, 0 when it contains zero or is undefined."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        """Return value and interval with their signs; `*` where the interval does not contain zero."""
        if math.isnan(self.value):
            return "undefined"
        return f"{self.value:+.3f}" + (f" ({self.low:+.3f} to {self.high:+.3f}){'*' * bool(self.sign)}"
                                       if self.known else "")  # fmt: skip


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

    def estimate(self) -> Estimate:
        """Return one quantity as plain numbers."""
        return Estimate(**self._plain())

    def difference(self) -> Difference:
        """Return one quantity, with its p value, as plain numbers."""
        return Difference(**self._plain(), p=float(self.p))

    def _plain(self) -> dict[str, Any]:
        numbers = {name: float(getattr(self, name)) for name in ("value", "low", "high")}
        return {**numbers, "defined": int(self.defined), "shaky": bool(self.shaky)}


def bootstrap(
    statistic: Statistic[Name], clusters: NDArray[Any], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[Name, Interval]:
    """Percentile intervals (Efron and Tibshirani 1993) of named quantities, whole clusters being resampled.

    `statistic(weights)` returns {name: array}: (R,) or (R, K) for weights (R, N); () or (K,) for None, the value
    itself. For a paired comparison let it return the difference of two models under the same weights.
    """
    drawn = resampled(statistic, clusters, resamples, seed)
    return {name: interval(*values, level) for name, values in drawn.items()}


def resampled(
    statistic: Statistic[Name], clusters: NDArray[Any], resamples: int = 1000, seed: int = 0
) -> dict[Name, tuple[Floats, Floats]]:
    """Return by name the value, () or (K,), and what every resample gives, (R,) or (R, K).

    Equal clusters and seed give equal resamples: differences between two calls are paired. Of a single cluster every
    resample would be the same: what it gives is NaN, for an interval without width would be no interval.
    """
    point = statistic(None)
    if len(np.unique(clusters)) == 1:
        return {name: (np.asarray(v), np.full((resamples, *np.shape(v)), np.nan)) for name, v in point.items()}
    blocks = [statistic(weights) for weights in cluster_weights(clusters, resamples, seed)]
    return {name: (np.asarray(value), np.concatenate([b[name] for b in blocks])) for name, value in point.items()}


def interval(value: Floats, drawn: Floats, level: float = 0.95) -> Interval:
    """Return the percentile interval of a value, () or (K,), from its resamples, (R,) or (R, K).

    p is twice the smaller tail beyond zero, never 0: the observed value counts as one resample more, on either side
    (Davison and Hinkley 1997, ch. 4). It is NaN where the value is undefined.
    """
    tails = [(1 - level) / 2, (1 + level) / 2]
    shape = drawn.shape[1:]
    kept = [column[~np.isnan(column)] for column in drawn.reshape(len(drawn), -1).T]
    bounds = np.array([np.quantile(column, tails) if column.size else (np.nan, np.nan) for column in kept])
    p = [_p(float(each), column) for each, column in zip(np.ravel(value), kept, strict=True)]
    low, high = (bound.reshape(shape)[()] for bound in bounds.T)
    defined = np.array([column.size for column in kept]).reshape(shape)[()]
    return Interval(np.asarray(value)[()], low, high, defined, len(drawn), np.array(p).reshape(shape)[()])


def _p(value: float, drawn: Floats) -> float:
    if math.isnan(value) or not drawn.size:
        return math.nan
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (drawn.size + 1))
