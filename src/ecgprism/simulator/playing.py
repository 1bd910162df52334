"""Playing a timeline: beats at their times as one dipole, and where their waves begin, peak and end.

Axis legend: T samples, K beats, G Gaussians, W samples of a beat's window.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ecgprism.ecg.electrodes import Floats
from ecgprism.simulator.beats import Part, Waves

_VISIBLE = 0.04  # of a wave's height: where it is taken to begin and to end
_LEAST_MV = 0.012  # a wave lower than this is not there
_GRID_MS = 2  # in which borders of waves are found
_FILTER_S = 0.35  # of a sample: the recorder's low pass as the width of a Gaussian


class Extent(NamedTuple):
    """Where a wave begins, peaks and ends (s, from its event) and how it stretches with RR."""

    onset_s: float
    peak_s: float
    offset_s: float
    stretch: float


def add(dipole: Floats, waves: Waves, at_s: Floats, rr_s: Floats, rate_hz: float, usual_rr_s: float) -> None:
    """Add the beats at `at_s` (K,) to `dipole` (T, 3) mV. Only a window around each beat is evaluated."""
    if not len(at_s):
        return
    part: Part = np.concatenate(list(waves.values()))
    rr = effective_rr_s(rr_s, usual_rr_s)
    stretch = (rr[:, None] ** part[:, 2])[:, None, :]  # (K, 1, G)
    longest = float(rr.max()) ** part[:, 2]
    first_s = float((longest * (part[:, 0] - 4 * part[:, 1])).min())
    last_s = float((longest * (part[:, 0] + 4 * part[:, 1])).max())
    window = np.arange(math.floor(min(first_s, 0) * rate_hz) - 1, math.ceil(last_s * rate_hz) + 2)
    index = np.rint(at_s * rate_hz).astype(np.intp)[:, None] + window  # (K, W)
    after_s = (index / rate_hz - at_s[:, None])[:, :, None]
    width_s = stretch * part[:, 1]
    # the low pass in closed form: a Gaussian filtered by a Gaussian is a wider, lower one
    seen_s = np.hypot(width_s, _FILTER_S / rate_hz)
    # single precision is finer than any converter, and its exponential takes a third of the time
    away = ((after_s - stretch * part[:, 0]) / seen_s).astype(np.float32)
    shape = np.exp(np.float32(-0.5) * away * away) * (width_s / seen_s).astype(np.float32)
    inside = (index >= 0) & (index < len(dipole))
    beats = (shape @ part[:, 3:].astype(np.float32)).astype(np.float64)  # adding across precisions is slow
    np.add.at(dipole, index[inside], beats[inside])


def effective_rr_s(rr_s: Floats, usual_rr_s: float) -> Floats:
    """Return the intervals (K,) that waves stretch with: repolarisation follows the rate slowly, half and half."""
    return np.clip(0.5 * (rr_s + usual_rr_s), 0.3, 1.6)


def extent(part: Part) -> Extent | None:
    """Return where a wave is above 4% of its height, or None when there is none."""
    if not len(part):
        return None
    t_s = _grid(round(1e3 * float((part[:, 0] - 3.5 * part[:, 1]).min())),
                round(1e3 * float((part[:, 0] + 3.5 * part[:, 1]).max())))  # fmt: skip
    dipole = np.exp(-0.5 * ((t_s[:, None] - part[:, 0]) / part[:, 1]) ** 2) @ part[:, 3:]
    height = np.sqrt((dipole**2).sum(axis=1))
    top = float(height.max())
    if top < _LEAST_MV:
        return None
    seen = np.flatnonzero(height > max(_VISIBLE * top, 0.4 * _LEAST_MV))
    return Extent(float(t_s[seen[0]]), float(t_s[height.argmax()]), float(t_s[seen[-1]]), float(part[0, 2]))


@lru_cache(maxsize=4096)
def _grid(first_ms: int, last_ms: int) -> Floats:
    return np.asarray(1e-3 * np.arange(first_ms, last_ms + 1, _GRID_MS))
