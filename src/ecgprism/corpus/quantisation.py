"""Quantisation: millivolts as int16 with a scale and a zero per lead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.conditioning import extremes

NOT_RECORDED = -32768


def quantise(
    signal: NDArray[np.float32],
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Turn (L, T) mV into int16 with a scale and a zero per lead; NaN becomes the mark of not recorded.

    The range of the lead is the range of the integers, so that clipping cannot happen. Returns values (L, T),
    scale (L,), zero (L,), and bool (L,): which leads hold nothing.
    """
    low, high = extremes(signal)
    flat = ~(high >= low)
    with np.errstate(invalid="ignore"):
        zero = np.where(flat, 0.0, (high + low) / 2).astype(np.float32)
        # the larger of the two distances: the rounding of zero to float32 must not push a sample out of range
        reach = np.maximum(high - zero, zero - low) / 32_766
        scale = np.where(flat, 1.0, np.maximum(reach, np.finfo(np.float32).tiny)).astype(np.float32)
        steps = signal - zero[:, None]
        steps /= scale[:, None]
        np.rint(steps, out=steps)
        if not np.isfinite(steps.sum()):
            steps[np.isnan(steps)] = NOT_RECORDED
        values = steps.astype("<i2")
    return values, scale, zero, flat
