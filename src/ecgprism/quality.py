"""Signal quality of each lead: flat, clipped, noisy, not connected. Flags for people and for filters, no model input.

Thresholds are those of a first look, chosen so that clean resting recordings pass: they find gross faults, they grade
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from ecgprism.recording import Recording

FLAGS = ("flat", "clipped", "noisy", "off")

FLAT_MV = 0.005  # a lead that never moves by more is flat
CLIPPED_SHARE = 0.02  # of the samples at the largest or smallest value, in runs
NOISY_SHARE = 0.5  # of the power above 1 Hz that lies above 35 Hz
OFF_MV = 5.0  # drift of an electrode without contact, within a second
OFF_SHARE = 0.1  # of the seconds


@dataclass(frozen=True)
class Quality:
    """Which leads are flat, clipped, noisy or off, by name; `missing` is the share of the signal that is NaN."""

    flat: tuple[str, ...]
    clipped: tuple[str, ...]
    noisy: tuple[str, ...]
    off: tuple[str, ...]
    missing: float

    @property
    def good(self) -> bool:
        """Whether no lead is flagged."""
        return not (self.flat or self.clipped or self.noisy or self.off)


def assess(recording: Recording) -> Quality:
    """Return the quality flags of every lead of a recording."""
    signal, rate_hz = recording.signal, recording.rate_hz
    found: dict[str, list[str]] = {flag: [] for flag in FLAGS}
    for lead, values in zip(recording.leads, signal, strict=True):
        there = values[~np.isnan(values)].astype(np.float64)
        if not len(there) or np.ptp(there) < FLAT_MV:
            found["flat"].append(lead)
            continue
        holds = {"clipped": _clipped(there), "noisy": _noisy(there, rate_hz), "off": _off(there, rate_hz)}
        for flag, is_so in holds.items():
            if is_so:
                found[flag].append(lead)
    missing = float(np.isnan(signal).mean())
    return Quality(**{flag: tuple(leads) for flag, leads in found.items()}, missing=missing)


def _clipped(values: NDArray[np.float64]) -> bool:
    """Whether many samples in runs of three or more stand at one of the two extreme values."""
    stands = np.zeros(len(values), dtype=bool)
    for extreme in (values.max(), values.min()):
        at = values == extreme
        run = at[:-2] & at[1:-1] & at[2:]
        stands[:-2] |= run
    return bool(stands.mean() > CLIPPED_SHARE)


def _noisy(values: NDArray[np.float64], rate_hz: float) -> bool:
    """Whether most of the power lies where an ECG has little."""
    if rate_hz < 100 or len(values) < rate_hz:
        return False
    power = np.abs(np.fft.rfft(values - values.mean())) ** 2
    f_hz = np.fft.rfftfreq(len(values), 1 / rate_hz)
    return bool(power[f_hz > 35].sum() > NOISY_SHARE * power[f_hz > 1].sum())


def _off(values: NDArray[np.float64], rate_hz: float) -> bool:
    """Whether the baseline runs away in many of the seconds."""
    if len(values) < 2 * rate_hz:
        return False
    low = sosfiltfilt(butter(2, 1.0, "lowpass", fs=rate_hz, output="sos"), values)
    width = round(rate_hz)
    seconds = low[: len(low) // width * width].reshape(-1, width)
    return bool((np.ptp(seconds, axis=1) > OFF_MV).mean() > OFF_SHARE)
