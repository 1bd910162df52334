"""When the atria and the ventricles of a record fire.

Axis legend: A atrial beats, K ventricular beats. Times are seconds from the start of the record; beats before it and
after it are there too, because their waves reach into it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.electrodes import Floats
from ecgprism.simulator.conditions import CONDITIONS
from ecgprism.simulator.patients import Patient

BEFORE_S, AFTER_S = 3.0, 1.0  # how far the beats go on outside the record

#: the rhythm as WFDB annotations write it; (BIII and (AVN are of this package
RHYTHM_NOTES = {
    "sinus_bradycardia": "(SBR",
    "atrial_fibrillation": "(AFIB",
    "atrial_flutter": "(AFL",
    "atrial_flutter_variable": "(AFL",
    "ventricular_tachycardia": "(VT",
    "paced": "(P",
    "bigeminy": "(B",
    "av_block_2_wenckebach": "(BII",
    "av_block_2_mobitz": "(BII",
    "av_block_3": "(BIII",
    "wpw": "(PREX",
}


class Breath(NamedTuple):
    """Respiration: frequency (Hz) and phase (rad)."""

    hz: float
    phase: float


class Span(NamedTuple):
    """A stretch of one rhythm, as WFDB annotations name it."""

    start_s: float
    stop_s: float
    note: str


@dataclass(frozen=True, eq=False)
class Timeline:
    """P onsets `atrial_s` (A,), which of them are premature; QRS onsets `beat_s` (K,), their kinds, RR before them.

    Kinds are WFDB symbols: N conducted, A premature atrial, V ventricular, / paced, j junctional and E ventricular
    escape. `waves` tells what the atria do between P waves, at `waves_hz`.
    """

    atrial_s: Floats
    premature: NDArray[np.bool_]
    beat_s: Floats
    kind: NDArray[np.str_]
    rr_s: Floats
    spans: tuple[Span, ...]
    waves: Literal["none", "fibrillation", "flutter"] = "none"
    waves_hz: float = 0.0


def timeline(
    conditions: Mapping[str, float], patient: Patient, duration_s: float, breath: Breath, rng: np.random.Generator
) -> Timeline:
    """Return the beats of a record under these conditions (name -> severity)."""
    play = _Player(conditions, patient, duration_s, breath, rng)
    if "atrial_fibrillation" in conditions:
        made = play.fibrillation()
    elif "atrial_flutter" in conditions or "atrial_flutter_variable" in conditions:
        made = play.flutter()
    elif "paced" in conditions:
        made = play.paced()
    else:
        made = play.sinus()
    if "ventricular_tachycardia" in conditions:
        made = play.tachycardia(made)
    return made


class _Player:
    """The rhythms of one record; each method returns a whole timeline."""

    def __init__(
        self,
        conditions: Mapping[str, float],
        patient: Patient,
        duration_s: float,
        breath: Breath,
        rng: np.random.Generator,
    ) -> None:
        self.conditions, self.patient, self.duration_s = conditions, patient, duration_s
        self.breath, self.rng = breath, rng
        self.stop_s = duration_s + AFTER_S
        self.note = next((RHYTHM_NOTES[name] for name in conditions if name in RHYTHM_NOTES), "(N")

    def value(self, name: str) -> float:
        """Return the quantity of a condition that holds."""
        return CONDITIONS[name].at(self.conditions[name])

    def sinus(self) -> Timeline:
        """The sinus node leads; premature beats and AV conduction as the conditions say."""
        rr = self._sinus_intervals()
        early = np.zeros(len(rr), dtype=bool)
        if "premature_atrial" in self.conditions:
            early = self._chosen(self._times(rr), self.value("premature_atrial"))
            rr[early] *= self.rng.uniform(0.58, 0.75)
            rr[np.flatnonzero(early[:-1]) + 1] *= self.rng.uniform(1.0, 1.2)
        atrial_s = self._times(rr)
        if "av_block_3" in self.conditions:
            escape_s, kind = self._escape()
            return self._timeline(atrial_s, early, escape_s, kind)
        pr_s, conducted = self._conduction(atrial_s)
        beat_s = atrial_s + pr_s
        kind = np.where(early, "A", "N")
        if "premature_ventricular" in self.conditions or "bigeminy" in self.conditions:
            beat_s, kind = self._premature_ventricular(beat_s, kind)
        return self._timeline(atrial_s, early, beat_s[conducted], kind[conducted])

    def fibrillation(self) -> Timeline:
        """Independent RR above the refractory period of the AV node (Goldstein and Barnett 1967), no P."""
        mean_s = 60 / self.value("atrial_fibrillation")
        least_s = min(0.3, 0.75 * mean_s)
        shape = ((1 - least_s / mean_s) / self.rng.uniform(0.15, 0.28)) ** 2
        count = math.ceil(1.6 * (self.stop_s + BEFORE_S) / mean_s) + 8
        rr = least_s + (mean_s - least_s) * self.rng.gamma(shape, 1 / shape, count)
        beat_s = self._times(rr)
        kind = np.full(len(beat_s), "N")
        if "premature_ventricular" in self.conditions or "bigeminy" in self.conditions:
            beat_s, kind = self._premature_ventricular(beat_s, kind)
        none = np.zeros(0)
        return self._timeline(none, none.astype(bool), beat_s, kind, "fibrillation", self.rng.uniform(4.5, 8.5))

    def flutter(self) -> Timeline:
        """One beat for every second to fourth cycle of the atria."""
        cycle_s = 60 / self.rng.uniform(240, 340)
        count = math.ceil((self.stop_s + BEFORE_S) / (2 * cycle_s)) + 4
        if "atrial_flutter" in self.conditions:
            cycles = np.full(count, round(self.value("atrial_flutter")))
        else:
            changed = self.rng.random(count) < self.value("atrial_flutter_variable")
            cycles = np.where(changed, self.rng.integers(2, 6, count), 3)
        beat_s = self._times(cycles * cycle_s + self.rng.normal(0, 0.004, count))
        none = np.zeros(0)
        return self._timeline(none, none.astype(bool), beat_s, np.full(len(beat_s), "N"), "flutter", 1 / cycle_s)

    def paced(self) -> Timeline:
        """A ventricular pacemaker that follows the P waves, or one under fibrillating atria."""
        rr_s = 60 / self.value("paced")
        count = math.ceil((self.stop_s + BEFORE_S) / rr_s) + 4
        beat_s = self._times(np.full(count, rr_s) + self.rng.normal(0, 0.001, count))
        kind = np.full(len(beat_s), "/")
        if self.rng.random() < 0.35:
            none = np.zeros(0)
            hz = self.rng.uniform(4.5, 8.5)
            return self._timeline(none, none.astype(bool), beat_s, kind, "fibrillation", hz)
        return self._timeline(beat_s - 0.16, np.zeros(len(beat_s), dtype=bool), beat_s, kind)

    def tachycardia(self, sinus: Timeline) -> Timeline:
        """A ventricular focus takes over: for the whole record or a run in it; the P waves go on on their own."""
        rr_s = 60 / self.value("ventricular_tachycardia")
        start_s, stop_s = -BEFORE_S, self.stop_s
        if self.rng.random() < 0.4 and self.duration_s >= 6:
            start_s = self.rng.uniform(0.1, 0.3) * self.duration_s
            if self.rng.random() < 0.5:
                stop_s = start_s + self.rng.uniform(0.5, 0.65) * self.duration_s
        count = math.ceil((stop_s - start_s) / (0.9 * rr_s)) + 2
        run_s = start_s + np.cumsum(rr_s * (1 + self.rng.normal(0, 0.012, count)))
        run_s = run_s[run_s < stop_s]
        kept = (sinus.beat_s < start_s) | (sinus.beat_s > run_s[-1] + 0.6)
        beat_s = np.concatenate([sinus.beat_s[kept], run_s])
        kind = np.concatenate([sinus.kind[kept], np.full(len(run_s), "V")])
        order = np.argsort(beat_s)
        borders = [0.0, max(start_s, 0.0), min(stop_s, self.duration_s), self.duration_s]
        notes = ("(N", "(VT", "(N")
        spans = tuple(Span(a, b, n) for a, b, n in zip(borders, borders[1:], notes, strict=False) if b > a)
        return self._timeline(sinus.atrial_s, sinus.premature, beat_s[order], kind[order], spans=spans)

    def _timeline(
        self,
        atrial_s: Floats,
        premature: NDArray[np.bool_],
        beat_s: Floats,
        kind: NDArray[np.str_],
        waves: Literal["none", "fibrillation", "flutter"] = "none",
        waves_hz: float = 0.0,
        spans: tuple[Span, ...] | None = None,
    ) -> Timeline:
        rr_s = np.diff(beat_s, prepend=np.nan)
        rr_s[:1] = np.nanmean(rr_s) if len(rr_s) > 1 else 0.85
        spans = spans or (Span(0.0, self.duration_s, self.note),)
        return Timeline(atrial_s, premature, beat_s, kind, rr_s, spans, waves, waves_hz)

    def _times(self, rr: Floats) -> Floats:
        """Return the times of beats with these intervals, from before the record until after it."""
        return np.asarray(np.cumsum(rr) - rr[0] - BEFORE_S)

    def _sinus_intervals(self) -> Floats:
        """Return intervals (A,) with respiratory variation, the 0.1 Hz band (Mayer waves) and a little of its own."""
        bpm = next(
            (self.value(n) for n in ("sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia") if n in self.conditions),
            min(max(self.patient.rest_bpm, 62.0), 98.0),
        )
        if "bigeminy" in self.conditions:
            bpm = min(bpm, 85.0)
        rr_s = 60 / bpm
        # the vagus makes the variation, and a fast heart has little of it
        depth = min(self.patient.respiratory, 0.09) * min((rr_s / 0.85) ** 2, 1.2)
        if "sinus_arrhythmia" in self.conditions:
            depth = self.value("sinus_arrhythmia")
        count = math.ceil((1 + depth) * (self.stop_s + BEFORE_S) / rr_s) + 6
        at_s = rr_s * np.arange(count)
        rr = 1 + depth * np.sin(2 * np.pi * self.breath.hz * at_s + self.breath.phase)
        slow = self.rng.uniform(0, 0.02) * min(rr_s / 0.85, 1.0)
        rr += slow * np.sin(2 * np.pi * 0.1 * at_s + self.rng.uniform(0, 2 * np.pi))
        rr += 0.008 * self.rng.standard_normal(count)
        rr *= rr_s
        rr[0] *= self.rng.random()  # the phase of the first beat
        return np.asarray(np.concatenate([[0.0], rr]))

    def _chosen(self, times_s: Floats, share: float) -> NDArray[np.bool_]:
        """Return which beats are premature: none two in a row, at least one of them well inside the record."""
        chosen = self.rng.random(len(times_s)) < share
        inside = np.flatnonzero((times_s > 0.15 * self.duration_s) & (times_s < 0.85 * self.duration_s - 0.2))
        if len(inside) and not chosen[inside].any():
            chosen[self.rng.choice(inside)] = True
        chosen[:2] = False
        for k in np.flatnonzero(chosen):
            if chosen[k - 1]:
                chosen[k] = False
        return chosen

    def _premature_ventricular(self, beat_s: Floats, kind: NDArray[np.str_]) -> tuple[Floats, NDArray[np.str_]]:
        """Return the beats with ventricular ones instead of conducted ones; the sinus goes on: a full pause follows."""
        if "bigeminy" in self.conditions:
            chosen = np.arange(len(beat_s)) % 2 == 1
            early = self.value("bigeminy") + self.rng.normal(0, 0.01, len(beat_s))
        else:
            chosen = self._chosen(beat_s, self.value("premature_ventricular"))
            early = self.rng.uniform(0.5, 0.72) + self.rng.normal(0, 0.015, len(beat_s))
        beat_s, kind = beat_s.copy(), kind.copy()
        at = np.flatnonzero(chosen)
        at = at[at > 0]
        gap_s = beat_s[at] - beat_s[at - 1]
        beat_s[at] = beat_s[at - 1] + np.maximum(early[at] * gap_s, 0.3)
        kind[at] = "V"
        return beat_s, kind

    def _conduction(self, atrial_s: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return PR (A,) s and which P waves are conducted."""
        n = len(atrial_s)
        pr_s = self.patient.pr_s + self.rng.normal(0, 0.002, n)
        conducted = np.ones(n, dtype=bool)
        if "av_block_1" in self.conditions:
            pr_s += self.value("av_block_1") - self.patient.pr_s
        elif "wpw" in self.conditions:
            pr_s += self.value("wpw") - self.patient.pr_s
        elif "av_block_2_wenckebach" in self.conditions:
            cycle = int(self.rng.integers(3, 6))
            place = (np.arange(n) + self.rng.integers(cycle)) % cycle
            # every increment is smaller than the one before
            grown = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, cycle))])
            pr_s += self.value("av_block_2_wenckebach") * grown[place]
            conducted = place != cycle - 1
        elif "av_block_2_mobitz" in self.conditions:
            cycle = round(1 / self.value("av_block_2_mobitz"))
            conducted = (np.arange(n) + self.rng.integers(cycle)) % cycle != cycle - 1
        if "hyperkalaemia" in self.conditions:
            pr_s += 0.06 * self.conditions["hyperkalaemia"]
        return pr_s, conducted

    def _escape(self) -> tuple[Floats, NDArray[np.str_]]:
        """Return the beats of a focus below a complete block: junctional when fast, ventricular when slow."""
        bpm = self.value("av_block_3")
        count = math.ceil(1.2 * (self.stop_s + BEFORE_S) * bpm / 60) + 4
        rr = 60 / bpm * (1 + self.rng.normal(0, 0.01, count))
        rr[0] *= self.rng.random()
        beat_s = np.cumsum(rr) - BEFORE_S
        return beat_s, np.full(count, "j" if bpm >= 40 else "E")
