"""Every condition of the simulator shows its clinical criterion in the signal, and no normal record does.

What measures here shares nothing with the generator: no truth table, no wave, no constant. Leads are in mV, times of
detected points in samples. Axis legend: L leads, T samples, K beats, W samples of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from ecgprism.recording import STANDARD_LEADS
from ecgprism.simulator import Acquisition

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Criterion = Callable[[NDArray[np.float32], float], bool]

RATE_HZ = 500.0
CLEAN = Acquisition(snr_db=math.inf)
PATIENTS = range(20)
NORMAL = {"sinus_rhythm": 0.3}
INDEPENDENT = [STANDARD_LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]


# --- measuring


@dataclass(frozen=True, eq=False)
class Measured:
    """What an electrocardiographer reads from one record (12, T)."""

    signal: Floats
    rate_hz: float

    def samples(self, ms: float) -> int:
        return round(1e-3 * ms * self.rate_hz)

    def lead(self, name: str) -> Floats:
        return self.signal[STANDARD_LEADS.index(name)]

    @cached_property
    def speed(self) -> Floats:
        """(T,) mV/s of the leads together."""
        smooth = uniform_filter1d(self.signal[INDEPENDENT], self.samples(8), axis=1)
        return np.sqrt((np.gradient(smooth, 1 / self.rate_hz, axis=1) ** 2).sum(0))

    @cached_property
    def height(self) -> Floats:
        """(T,) mV of the leads together, from their usual level."""
        leads = self.signal[INDEPENDENT]
        return np.sqrt(((leads - np.median(leads, axis=1, keepdims=True)) ** 2).sum(0))

    @cached_property
    def spikes(self) -> Ints:
        """Samples of deflections that are over within a few ms, as no heart makes them."""
        bend = np.abs(np.diff(self.signal, 2, axis=1)).max(0)
        return find_peaks(bend, height=0.3, distance=self.samples(20))[0] + 1

    @cached_property
    def unpaced(self) -> Floats:
        """(T,) speed without the spikes."""
        speed, half = self.speed.copy(), self.samples(14)
        for at in self.spikes:
            a, b = max(at - half, 0), min(at + half, len(speed) - 1)
            speed[a : b + 1] = np.minimum(speed[a : b + 1], np.linspace(speed[a], speed[b], b - a + 1))
        return speed

    @cached_property
    def complexes(self) -> Ints:
        """(K, 3) onset, place and end of every QRS complex that lies wholly inside."""
        path = uniform_filter1d(self.unpaced, self.samples(90))
        at = find_peaks(path, height=0.3 * np.percentile(path, 98), distance=self.samples(200))[0]
        found: list[tuple[int, int, int]] = []
        fast_before = 0.0
        for k in at:
            first = max(k - self.samples(60), 0)
            top = first + int(self.unpaced[first : k + self.samples(60)].argmax())
            fast = float(self.unpaced[top])
            core = min(0.35 * fast, 26.0)
            rise = self._last_above(top, -1, core)
            if found and rise - found[-1][2] < self.samples(190) and fast < 0.62 * fast_before:
                continue  # a tall T wave
            limit = min(max(0.1 * fast, 7.0), 14.0)
            onset, end = self._below(rise, -1, limit), self._below(self._last_above(top, 1, core), 1, limit)
            if found and onset < found[-1][2]:
                continue
            found.append((onset, top, end))
            fast_before = fast
        inside = [row for row in found if row[0] > self.samples(20) and row[2] < len(path) - self.samples(20)]
        return np.array(inside, dtype=np.int64).reshape(-1, 3)

    def _last_above(self, at: int, step: int, limit: float) -> int:
        """Return the last sample from here above the limit; up to 45 ms below it are a notch."""
        last, most = at, self.samples(45)
        while 0 <= at < len(self.unpaced) and abs(at - last) <= most:
            if self.unpaced[at] > limit:
                last = at
            at += step
        return last

    def _below(self, at: int, step: int, limit: float) -> int:
        """Return the first sample from here at which less moves than the limit, or more than a sample before."""
        while 0 < at < len(self.unpaced) - 1:
            speed, following = self.unpaced[at], self.unpaced[at + step]
            if speed < limit or speed <= following < 2 * limit:
                break
            at += step
        return at

    @property
    def onset(self) -> Ints:
        return self.complexes[:, 0]

    @property
    def end(self) -> Ints:
        return self.complexes[:, 2]

    @cached_property
    def r(self) -> Ints:
        """(K,) where the leads together are highest in the QRS complex."""
        return np.array([a + int(self.height[a : b + 1].argmax()) for a, b in zip(self.onset, self.end, strict=True)])

    @cached_property
    def rr_s(self) -> Floats:
        return np.diff(self.onset) / self.rate_hz

    @property
    def bpm(self) -> float:
        return 60 / float(self.rr_s.mean())

    @property
    def irregularity(self) -> float:
        return float(self.rr_s.std() / self.rr_s.mean())

    @property
    def jumpiness(self) -> float:
        """Of RR from beat to beat; a smooth variation has little."""
        return float(np.sqrt((np.diff(self.rr_s) ** 2).mean()) / self.rr_s.mean())

    @property
    def widths_ms(self) -> Floats:
        return 1e3 * (self.end - self.onset) / self.rate_hz

    @cached_property
    def usual(self) -> Bools:
        """(K,) which beats look like most of them."""
        span = np.arange(-self.samples(20), self.samples(160))
        inside = np.clip(self.onset[:, None] + span, 0, self.signal.shape[1] - 1)
        shape = self.signal[INDEPENDENT][:, inside].transpose(1, 0, 2).reshape(len(inside), -1)
        alike = np.corrcoef(shape) > 0.93
        return np.asarray(alike[alike.sum(1).argmax()])

    @cached_property
    def qrs_ms(self) -> float:
        return float(np.median(self.widths_ms[self.usual]))

    # the median beat

    BEFORE_MS = 420

    @cached_property
    def beat(self) -> Floats:
        """(12, W) the median of the usual beats; its QRS begins at `zero`, the PR segment is 0."""
        after = self.samples(min(900, 960 * float(np.median(self.rr_s))))
        span = np.arange(-self.samples(self.BEFORE_MS), after)
        onset = self.onset[self.usual]
        whole = onset[(onset + span[0] >= 0) & (onset + span[-1] < self.signal.shape[1])]
        beat = np.median(self.signal[:, whole[:, None] + span], axis=1)
        level = beat[:, self.zero - self.samples(14) : self.zero - self.samples(2)].mean(1, keepdims=True)
        return np.asarray(beat - level)

    @cached_property
    def zero(self) -> int:
        return self.samples(self.BEFORE_MS)

    @cached_property
    def j(self) -> int:
        return self.zero + self.samples(self.qrs_ms)

    def qrs(self, lead: str) -> Floats:
        return self.beat[STANDARD_LEADS.index(lead), self.zero : self.j + 1]

    def tallest(self, lead: str) -> float:
        return max(float(self.qrs(lead).max()), 0.0)

    def deepest(self, lead: str) -> float:
        return max(-float(self.qrs(lead).min()), 0.0)

    def q(self, lead: str) -> tuple[float, float]:
        """Return depth (mV) and duration (ms) of what is negative before the first R wave; all of it in a QS."""
        qrs = self.qrs(lead)
        up = np.flatnonzero(qrs > 0.04)
        first = qrs[: up[0]] if len(up) else qrs
        down = first < -0.02
        return max(-float(first.min(initial=0.0)), 0.0), 1e3 * float(down.sum()) / self.rate_hz

    def st(self, lead: str, after_ms: float = 60) -> float:
        return float(self.beat[STANDARD_LEADS.index(lead), self.j + self.samples(after_ms)])

    @cached_property
    def axis(self) -> float:
        """Degrees, of the net area of QRS in I and aVF."""
        one, foot = (float(self.qrs(lead).sum()) for lead in ("I", "aVF"))
        return math.degrees(math.atan2(foot * 2 / math.sqrt(3), one))

    @cached_property
    def t_window(self) -> slice:
        """Of the median beat: from the ST segment to the next P wave."""
        rr = self.samples(1e3 * float(np.median(self.rr_s)))
        last = self.zero + rr - self.samples(self.pr_ms + 10 if np.isfinite(self.pr_ms) else 40)
        return slice(self.j + self.samples(70), max(min(last, self.beat.shape[1]), self.j + self.samples(160)))

    @cached_property
    def t_height(self) -> Floats:
        return np.sqrt((self.beat[INDEPENDENT, self.t_window] ** 2).sum(0))

    @cached_property
    def t_peak(self) -> int:
        """In samples of the median beat."""
        return self.t_window.start + int(self.t_height.argmax())

    def t(self, lead: str) -> float:
        """Return the amplitude (mV) with sign, near the peak of T of all leads."""
        near = self.beat[STANDARD_LEADS.index(lead), self.t_peak - self.samples(40) : self.t_peak + self.samples(40)]
        return float(near[np.abs(near).argmax()])

    @cached_property
    def t_end(self) -> int:
        """Where the tangent of the steepest descent of T meets the level between the beats."""
        fall = self.t_height[self.t_peak - self.t_window.start :]
        level = float(fall.min())
        steepest = int(np.gradient(fall).argmin()) if len(fall) > 2 else 0
        slope = float(np.gradient(fall)[steepest]) if len(fall) > 2 else -1.0
        return self.t_peak + steepest + round((fall[steepest] - level) / -slope)

    @property
    def qtc_ms(self) -> float:
        """After Fridericia."""
        qt_ms = 1e3 * (self.t_end - self.zero) / self.rate_hz
        return qt_ms / float(np.median(self.rr_s)) ** (1 / 3)

    @property
    def t_half_ms(self) -> float:
        """Width of T at half of its height."""
        high, at = self.t_height > self.t_height.max() / 2, self.t_peak - self.t_window.start
        low = np.flatnonzero(~high)
        left, right = low[low < at], low[low > at]
        return 1e3 * float((right[0] if len(right) else len(high)) - (left[-1] if len(left) else 0)) / self.rate_hz

    # atria

    @cached_property
    def p(self) -> Ints:
        """(P, 2) onset and peak of what can be a P wave: a low, short hump outside QRS and T."""
        height = uniform_filter1d(self.height, self.samples(10))
        hidden = np.zeros(len(height), dtype=bool)
        for k, (onset, end) in enumerate(zip(self.onset, self.end, strict=True)):
            following = self.onset[k + 1] if k + 1 < len(self.onset) else len(height)
            last = min(end + self.samples(400), end + int(0.62 * (following - end)), len(height))
            hidden[max(onset - self.samples(10), 0) : end + self.samples(60)] = True
            late = height[end + self.samples(60) : last]
            if len(late):
                top = end + self.samples(60) + int(late.argmax())
                stop = top
                while stop + 1 < len(height) and height[stop] > 0.12 * height[top] and height[stop + 1] <= height[stop]:
                    stop += 1
                hidden[end : stop + self.samples(10)] = True
        peaks, shape = find_peaks(height, prominence=0.03, width=self.samples(20), rel_height=0.5)
        kept = ~hidden[peaks] & (shape["widths"] < self.samples(130))
        found = []
        for peak in peaks[kept]:
            onset = peak
            while onset > 0 and height[onset] > 0.12 * height[peak] and height[onset - 1] <= height[onset]:
                onset -= 1
            found.append((onset, peak))
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def pr_each_ms(self) -> Floats:
        """(K,) from the onset of the last P before a QRS to the onset of that QRS, NaN without."""
        pr = np.full(len(self.onset), np.nan)
        for k, onset in enumerate(self.onset):
            least = self.end[k - 1] if k else 0
            before = self.p[(self.p[:, 1] < onset) & (self.p[:, 0] > max(least, onset - self.samples(460))), 0]
            if len(before):
                pr[k] = 1e3 * (onset - before[-1]) / self.rate_hz
        return pr

    @cached_property
    def pr_ms(self) -> float:
        return float(np.nanmedian(self.pr_each_ms)) if np.isfinite(self.pr_each_ms).any() else math.nan

    @property
    def p_before_every_qrs(self) -> bool:
        """A P before (nearly) all, always equally long before."""
        pr = self.pr_each_ms[1:]
        near = np.abs(pr - np.nanmedian(pr)) < 30 if np.isfinite(pr).any() else np.zeros(1, dtype=bool)
        return bool(near.mean() >= 0.85)


@lru_cache(maxsize=512)
def _measured(data: bytes, rate_hz: float) -> Measured:
    return Measured(np.frombuffer(data, dtype=np.float32).reshape(12, -1).astype(np.float64), rate_hz)


def measured(signal: NDArray[np.float32], rate_hz: float) -> Measured:
    return _measured(np.ascontiguousarray(signal).tobytes(), rate_hz)
