"""Resampling: one polyphase filter for ingest, prediction and stress tests alike."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LEAST_OUTPUTS = 16  # of a window: fewer would copy more than they compute
MOST_FILTERS = 1024  # of a window that are kept as a matrix: 1,000 -> 999 Hz and all usual rates; 8 MB


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
    """Return what scipy.signal.resample_poly gives with padtype "line", within float32.

    One matrix product, so that half a second of importing scipy.signal is spared: samples out repeat their filter
    taps every `up`, while the window that they see moves on by `down`.
    """
    if max(up, down) > MOST_FILTERS:
        from scipy.signal import resample_poly  # noqa: PLC0415  (half a second, for rates that nearly nothing has)

        return np.ascontiguousarray(resample_poly(signal, up, down, axis=1, padtype="line"))
    matrix, before = _window_filters(up, down)
    width, outputs = matrix.shape
    moved = outputs // up * down
    kept = -(-signal.shape[1] * up // down)
    windows = -(-kept // outputs)
    extended = _extend(signal, before, (windows - 1) * moved + width - before)
    seen = np.lib.stride_tricks.sliding_window_view(extended, width, axis=1)[:, ::moved]
    return np.ascontiguousarray((seen @ matrix).reshape(len(signal), -1)[:, :kept])


def _extend(signal: NDArray[np.float32], before: int, end: int) -> NDArray[np.float32]:
    """Return samples -before to end of (L, T), outside along the line from the first sample to the last."""
    samples = signal.shape[1]
    after = max(end - samples, 0)
    extended = np.empty((len(signal), before + samples + after), dtype=np.float32)
    extended[:, before : before + samples] = signal
    slope = (signal[:, -1:] - signal[:, :1]) / max(samples - 1, 1)
    extended[:, :before] = signal[:, :1] + slope * np.arange(-before, 0, dtype=np.float32)
    extended[:, before + samples :] = signal[:, -1:] + slope * np.arange(1, after + 1, dtype=np.float32)
    return extended[:, : before + end]


@lru_cache(maxsize=32)
def _window_filters(up: int, down: int) -> tuple[NDArray[np.float32], int]:
    """Return the filters (window, samples out) of one window, and how many of its samples come before the first out."""
    taps = _anti_alias(up, down)
    half = len(taps) // 2
    outputs = up * -(-LEAST_OUTPUTS // up)
    before = half // up
    width = before + ((outputs - 1) * down + half) // up + 1
    distance = np.arange(outputs) * down - (np.arange(width)[:, None] - before) * up
    return np.where(np.abs(distance) <= half, taps[np.clip(half + distance, 0, 2 * half)], np.float32(0)), before


def _anti_alias(up: int, down: int) -> NDArray[np.float32]:
    """Return the low-pass filter at the lower Nyquist frequency: a sinc under a Kaiser window (Kaiser 1974), beta 5."""
    widest = max(up, down)
    half = 10 * widest
    taps = np.sinc(np.arange(-half, half + 1) / widest) * np.kaiser(2 * half + 1, 5.0)
    return (taps * (up / taps.sum())).astype(np.float32)
