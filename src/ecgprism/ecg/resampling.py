"""Resampling: one polyphase filter for ingest, prediction and stress tests alike."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly


def resample(signal: NDArray[np.float32], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Resample (L, T) by a polyphase anti-aliasing filter; what was not recorded (NaN) stays so."""
    if from_hz == to_hz:
        return signal
    up, down = _ratio(from_hz, to_hz)
    missing = np.isnan(signal)
    filled = signal
    if missing.any():
        filled, at = signal.copy(), np.arange(signal.shape[1])
        for row, gaps in zip(filled, missing, strict=True):
            row[gaps] = np.interp(at[gaps], at[~gaps], row[~gaps]) if not gaps.all() else 0.0
    out = resample_poly(filled, up, down, axis=1, window=_anti_alias(up, down), padtype="line").astype(np.float32)
    if missing.any():
        nearest_sample = np.minimum(np.arange(out.shape[1]) * down // up, signal.shape[1] - 1)
        out[missing[:, nearest_sample]] = np.nan
    return out


@lru_cache(maxsize=32)
def _ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    return Fraction(to_hz / from_hz).limit_denominator(10_000).as_integer_ratio()


@lru_cache(maxsize=32)
def _anti_alias(up: int, down: int) -> NDArray[np.float32]:
    """Return the filter that scipy.signal.resample_poly would design anew at every call."""
    widest = max(up, down)
    return firwin(20 * widest + 1, 1.0 / widest, window=("kaiser", 5.0)).astype(np.float32)
