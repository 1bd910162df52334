"""Calibration: temperature and thresholds, both from validation alone. Axis legend: N records or windows, K classes."""

from __future__ import annotations

import math

import numpy as np

from ecgprism.interface.answers import NO_CHOICE, refuse_nan
from ecgprism.interface.card import Kind, is_multiclass
from ecgprism.metrics.scores import Bools, Floats, checked

LEAST_POSITIVES = 10  # of a class in validation, to choose a threshold from


def enough_positives(target: Bools, least: int = LEAST_POSITIVES) -> Bools:
    """Return which classes (K,) have enough positives among (N, K) to choose a threshold from."""
    return np.asarray(np.asarray(target, dtype=bool).sum(axis=0) >= max(least, 1))


def best_thresholds(target: Bools, score: Floats, least_positives: int = LEAST_POSITIVES) -> Floats:
    """Threshold per class, (K,), whose decisions (score >= threshold) have the highest F1; for validation data.

    Every threshold down to the next lower score decides alike; the middle of that gap is taken (0 counts as the lowest
    score). Of several best gaps the uppermost wins. A class of fewer positives gets 0.5: three say nothing.
    """
    target, score, _ = checked(target, score, None)
    refuse_nan(score)
    result = np.full(target.shape[1], NO_CHOICE)
    for k in np.flatnonzero(enough_positives(target, least_positives)):
        order = np.argsort(-score[:, k])
        values, hits = score[order, k], np.cumsum(target[order, k])
        # a threshold cannot part equal scores: only the last record of each tie is a candidate
        last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
        at = last[np.argmax(2 * hits[last] / (last + 1 + hits[-1]))]
        upper, lower = values[at], values[at + 1] if at + 1 < len(values) else 0.0
        middle = (upper + lower) / 2
        result[k] = middle if middle > lower else upper  # neighbouring floats have no middle
    return result


def temperature(logits: Floats, target: Bools, kind: Kind) -> float:
    """Return the temperature (0.1 to 10) that minimises the log loss of logits (N, K) (Guo et al. 2017)."""
    logits, truth = np.asarray(logits, dtype=np.float64), np.asarray(target, dtype=bool)

    def log_loss(log_t: float) -> float:
        scaled = logits / math.exp(log_t)
        if is_multiclass(kind):
            top = scaled.max(axis=1, keepdims=True)
            total = np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0]
            return float((total - scaled[truth]).mean())
        return float((np.logaddexp(0.0, scaled) - scaled * truth).mean())

    low, high, golden = math.log(0.1), math.log(10.0), (math.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if log_loss(a) < log_loss(b) else (a, high)
    return math.exp((low + high) / 2)
