"""Resampling: one polyphase filter for ingest, prediction and stress tests alike."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, upfirdn


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
    out = _polyphase(np.asarray(filled, dtype=np.float32), up, down)
    if missing.any():
        nearest_sample = np.minimum(np.arange(out.shape[1]) * down // up, signal.shape[1] - 1)
        out[missing[:, nearest_sample]] = np.nan
    return out


@lru_cache(maxsize=32)
def _ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    return Fraction(to_hz / from_hz).limit_denominator(10_000).as_integer_ratio()


def _polyphase(signal: NDArray[np.float32], up: int, down: int) -> NDArray[np.float32]:
    """Return what scipy.signal.resample_poly gives with padtype "line", its filter designed once and not every time."""
    taps, before = _anti_alias(up, down)
    samples = signal.shape[1]
    kept = -(-samples * up // down)
    missing = (before + kept - 1) * down + 1 - ((samples - 1) * up + len(taps))
    if missing > 0:
        taps = np.pad(taps, (0, missing))
    return np.ascontiguousarray(upfirdn(taps, signal, up, down, axis=1, mode="line")[:, before : before + kept])


@lru_cache(maxsize=32)
def _anti_alias(up: int, down: int) -> tuple[NDArray[np.float32], int]:
    """Return the filter, shifted so that samples out stand on samples in, and how many samples out come before that."""
    widest = max(up, down)
    half = 10 * widest
    taps = firwin(2 * half + 1, 1.0 / widest, window=("kaiser", 5.0)).astype(np.float32) * np.float32(up)
    shift = down - half % down
    return np.pad(taps, (shift, 0)), (half + shift) // down
