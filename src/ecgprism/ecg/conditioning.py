"""Conditioning: a recording as models get it, in training and in use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.recording import Recording
from ecgprism.ecg.resampling import resample
from ecgprism.errors import ReadError

FLAT_MV = 0.005  # a lead whose peak-to-peak stays below is not connected
ABSURD_MV = 500.0  # a body-surface ECG never reaches this; a wrong unit does


def prepared_signal(recording: Recording, rate_hz: float) -> NDArray[np.float32]:
    """Return the signal (L, T) at `rate_hz` as models get it, in training and in use: flat leads are NaN.

    Raises ReadError when the amplitude cannot be millivolts of an ECG, or when every lead is flat or empty.
    """
    low, high = extremes(recording.signal)
    peak = np.maximum(np.abs(low), np.abs(high), where=high >= low, out=np.zeros_like(low))
    at = recording.path or "the recording"
    if (peak > ABSURD_MV).any():
        lead = recording.leads[int(peak.argmax())]
        raise ReadError(f"{at}: lead {lead} reaches {peak.max():g} mV; over {ABSURD_MV:g} mV the unit or gain is wrong")
    flat = ~(high - low >= FLAT_MV)
    if flat.all():
        raise ReadError(f"{at}: every lead is flat or empty")
    signal = recording.signal
    if flat.any():
        signal = np.where(flat[:, None], np.float32(np.nan), signal)
    return resample(signal, recording.rate_hz, rate_hz)


def filled(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a signal (..., T) whose gaps (NaN) hold the mean of what was recorded of their row; an empty row is 0.

    A gap then counts in no mean and is no step, as one of 0 mV beside a signal with an offset would be.
    """
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    count = np.maximum((~missing).sum(axis=-1, keepdims=True), 1)
    mean = np.where(missing, 0, signal).sum(axis=-1, keepdims=True, dtype=np.float64) / count
    return np.where(missing, mean.astype(signal.dtype), signal)


def extremes(signal: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest value of each lead (L,); infinite the wrong way round for an empty one."""
    low, high = np.fmin.reduce(signal, axis=1), np.fmax.reduce(signal, axis=1)  # NaN only where all of a lead is NaN
    empty = np.isnan(low)
    return np.where(empty, np.inf, low).astype(np.float64), np.where(empty, -np.inf, high).astype(np.float64)
