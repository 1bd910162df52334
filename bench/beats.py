"""Median beats of recordings, measured without the simulator's code; shared by normal_beat.py and realism.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, find_peaks, sosfiltfilt

from ecgprism.corpus.store import Corpus
from ecgprism.ecg.leads import STANDARD_LEADS

Floats = NDArray[np.float64]
BEFORE_S, AFTER_S = 0.30, 0.55


class Beat(NamedTuple):
    """Median beat (12, T) mV over its PR segment, from BEFORE_S before the steepest place, and the heart rate."""

    signal: Floats
    rate_bpm: float


def median_beat(signal: Floats, rate_hz: float) -> Beat | None:
    """Return the median beat of a recording (12, T) mV, or None when fewer than three beats are found."""
    high = sosfiltfilt(butter(2, 0.5, "highpass", fs=rate_hz, output="sos"), signal, axis=1)
    band = sosfiltfilt(butter(3, (5, 20), "bandpass", fs=rate_hz, output="sos"), high, axis=1)
    width = round(0.08 * rate_hz)
    energy = np.convolve(np.sqrt((band**2).sum(axis=0)), np.ones(width) / width, "same")
    at, _ = find_peaks(energy, height=0.35 * np.percentile(energy, 98), distance=round(0.3 * rate_hz))
    before, after = round(BEFORE_S * rate_hz), round(AFTER_S * rate_hz)
    at = at[(at > before) & (at < signal.shape[1] - after)]
    if len(at) < 3:
        return None
    beat = np.median([high[:, k - before : k + after] for k in at], axis=0)
    segment = slice(before - round(0.08 * rate_hz), before - round(0.05 * rate_hz))
    beat -= np.median(beat[:, segment], axis=1, keepdims=True)
    return Beat(beat, 60 * rate_hz / float(np.median(np.diff(at))))


def normal_signals(corpus: Corpus, splits: tuple[str, ...]) -> list[Floats]:
    """Return the recordings (12, T) mV of a PTB-XL corpus whose only superdiagnostic label is NORM."""
    examples = corpus.select("superdiagnostic", splits, ("NORM", "MI", "STTC", "CD", "HYP"))
    normal = np.flatnonzero(examples.target[:, 0] & (examples.target.sum(axis=1) == 1))
    zero = np.zeros(1, dtype=np.int64)
    return [
        corpus.windows(examples.record[[k]], zero, examples.length[[k]], STANDARD_LEADS)[0][0].astype(np.float64)
        for k in normal
    ]
