"""Signal quality of each lead: flat, clipped, noisy, not connected. Flags for people and for filters, no model input.

Thresholds are those of a first look, chosen so that clean resting recordings pass: they find gross faults, they grade
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from ecgprism.ecg.recording import FLAT_MV, Recording

FLAGS = ("flat", "clipped", "noisy", "off")

CLIPPED_SHARE = 0.02  # of the samples at the largest or smallest value, in runs
NOISY_SHARE = 0.5  # of the power above 1 Hz that lies above 35 Hz
OFF_MV = 5.0  # drift of an electrode without contact, within a second
OFF_SHARE = 0.1  # of the seconds
#: the baseline moves by at most so many times as much as the signal: 1.14, the norm of its filter, and a margin
OFF_GAIN = 1.2
USUAL_MV = (0.1, 50.0)  # peak-to-peak of the liveliest lead of a recording; outside, its unit or gain may be wrong
USUAL_HZ = (50.0, 5000.0)
LEAST_SHARE, LEAST_S = 0.5, 2.0  # of a recording that an answer can be given on without a word


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
    gaps = 0
    for lead, values in zip(recording.leads, signal, strict=True):
        there = values if np.isfinite(values.sum()) else values[~np.isnan(values)]
        gaps += len(values) - len(there)
        low, high = (there.min(), there.max()) if len(there) else (0.0, 0.0)
        if high - low < FLAT_MV:
            found["flat"].append(lead)
            continue
        if _clipped(there, low, high):
            found["clipped"].append(lead)
        if len(there) < rate_hz:
            continue
        doubtful = (_may_be_noisy(there, rate_hz), _may_be_off(there, high - low, rate_hz))
        if not any(doubtful):
            continue
        spectrum = rfft(there - np.linspace(*_ends(there, rate_hz), len(there), dtype=np.float32))
        for flag, may_be, is_so in zip(("noisy", "off"), doubtful, (_noisy, _off), strict=True):
            if may_be and is_so(spectrum, len(there), rate_hz):
                found[flag].append(lead)
    return Quality(**{flag: tuple(leads) for flag, leads in found.items()}, missing=gaps / max(signal.size, 1))


def doubts(recording: Recording) -> tuple[str, ...]:
    """Return what makes the unit or the rate of a recording doubtful, in words; nothing is wrong with most."""
    spans = [np.fmax.reduce(row) - np.fmin.reduce(row) for row in recording.signal]
    span = float(np.fmax.reduce(np.array(spans, dtype=np.float64)))
    said = []
    if not USUAL_MV[0] <= span <= USUAL_MV[1]:
        what = "moves by more than" if span < USUAL_MV[0] else "moves by"
        said.append(f"{'no lead' if span < USUAL_MV[0] else 'a lead'} {what} {span:.3g} mV: is the unit right?")
    if not USUAL_HZ[0] <= recording.rate_hz <= USUAL_HZ[1]:
        said.append(f"a sampling rate of {recording.rate_hz:g} Hz is unusual for an ECG")
    return tuple(said)


def too_little(recording: Recording) -> tuple[str, ...]:
    """Return what leaves little of a recording to go by: gaps in most of it, fewer seconds than two beats take."""
    recorded = ~np.isnan(recording.signal)
    share, longest = float(recorded.mean()), int(recorded.sum(axis=1).max(initial=0))
    said = [f"{100 * (1 - share):.0f}% of it is not recorded"] if share < LEAST_SHARE else []
    if longest < LEAST_S * recording.rate_hz:
        said.append(f"{longest / recording.rate_hz:.3g} s recorded, less than two beats")
    return tuple(said)


def _clipped(values: NDArray[np.float32], low: float, high: float) -> bool:
    """Whether many samples in runs of three or more stand at one of the two extreme values."""
    extremes = [values == high, values == low]
    if sum(map(np.count_nonzero, extremes)) <= CLIPPED_SHARE * len(values):
        return False
    stands = np.zeros(len(values), dtype=bool)
    for at in extremes:
        stands[:-2] |= at[:-2] & at[1:-1] & at[2:]
    return bool(stands.mean() > CLIPPED_SHARE)


def _may_be_noisy(values: NDArray[np.float32], rate_hz: float) -> bool:
    """Whether enough of the power can lie above 35 Hz, from two differences: a spectrum costs, most leads are fine.

    Differencing multiplies the power at f by 4 sin^2(pi f / rate), which grows with f. If half of the power is above
    35 Hz, so is half of that of the first difference, and the second multiplies it by at least half of that factor.
    """
    if rate_hz < 100:
        return False
    once = values[1:] - values[:-1]
    twice = once[1:] - once[:-1]
    factor = 4 * math.sin(math.pi * 35 / rate_hz) ** 2
    return bool(np.vdot(twice, twice) > 0.45 * factor * np.vdot(once, once))


def _may_be_off(values: NDArray[np.float32], span_mv: float, rate_hz: float) -> bool:
    """Whether the signal, less the line between its ends, moves far enough for its baseline to run away."""
    if OFF_GAIN * 2 * span_mv <= OFF_MV:  # the line moves by no more than the signal
        return False
    first, last = _ends(values, rate_hz)
    return bool(OFF_GAIN * (span_mv + abs(last - first)) > OFF_MV)


def _ends(values: NDArray[np.float32], rate_hz: float) -> tuple[np.float32, np.float32]:
    """Return where a lead begins and ends (mV): a Fourier transform goes in circles, so that line is left out."""
    width = max(round(rate_hz / 4), 1)
    return values[:width].mean(), values[-width:].mean()


def _noisy(spectrum: NDArray[np.complex64], samples: int, rate_hz: float) -> bool:
    """Whether most of the power lies where an ECG has little."""
    if rate_hz < 100:
        return False
    power = spectrum.real**2 + spectrum.imag**2
    slow, fast = (int(f_hz * samples / rate_hz) + 1 for f_hz in (1, 35))
    return bool(power[fast:].sum() > NOISY_SHARE * power[slow:].sum())


def _off(spectrum: NDArray[np.complex64], samples: int, rate_hz: float) -> bool:
    """Whether the baseline (below 1 Hz, as a Butterworth filter of order 2 forwards and back gives it) runs away."""
    seconds = int(samples / rate_hz)
    if seconds < 2:
        return False
    kept = min(len(spectrum), int(10 * samples / rate_hz) + 1)  # above 10 Hz the filter leaves a ten-thousandth
    f_hz = np.arange(kept, dtype=np.float32) * np.float32(rate_hz / samples)
    n = 2 * (kept - 1)
    baseline = irfft(spectrum[:kept] / (1 + f_hz**4), n) * (n / samples)
    width = n // seconds
    return bool((np.ptp(baseline[: width * seconds].reshape(seconds, width), axis=1) > OFF_MV).mean() > OFF_SHARE)
