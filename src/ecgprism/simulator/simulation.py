"""One simulated recording with everything that is true of it.

`draw` decides what a record is, and so its labels, without a waveform; `simulate` then plays it. Axis legend: L leads,
T samples, K beats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.ecg.electrodes import TWELVE, Floats
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording, check_rate
from ecgprism.errors import ConfigError
from ecgprism.simulator.acquisition import Acquisition, acquire
from ecgprism.simulator.beats import Waves, atrial, conducted, ventricular
from ecgprism.simulator.conditions import CONDITIONS, check_combination, compatible, statements
from ecgprism.simulator.patients import Patient, draw_patient
from ecgprism.simulator.playing import Extent, add, effective_rr_s, extent
from ecgprism.simulator.rhythm import Breath, Span, Timeline, timeline

RECORDS_PER_PATIENT = 2

#: AAMI EC57 classes of the kinds of beats
AAMI = {"N": "N", "L": "N", "R": "N", "j": "N", "A": "S", "V": "V", "E": "V", "/": "Q"}
WAVE_COLUMNS = tuple(f"{wave}_{point}_s" for wave in ("p", "qrs", "t") for point in ("onset", "peak", "offset"))


@dataclass(frozen=True, eq=False)
class Traits:
    """What a record is before it is played: its patient, its conditions (name -> severity) and its labels by task."""

    patient_id: str
    patient: Patient
    conditions: Mapping[str, float]
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of a record.

    `r_peaks_s` (K,) are the R peaks inside it, `symbols` (K,) their WFDB symbols, `waves` by column the onset, peak and
    offset (K,) of P, QRS and T in s, NaN where there is no wave. `p_only_s` are onsets of P waves that were not
    conducted. `levels_mv` is the RMS of each kind of noise at the electrodes.
    """

    r_peaks_s: Floats
    symbols: NDArray[np.str_]
    waves: Mapping[str, Floats]
    p_only_s: Floats
    spans: tuple[Span, ...]
    conditions: Mapping[str, float]
    snr_db: float
    levels_mv: Mapping[str, float]

    def beats(self) -> pd.DataFrame:
        """Return one row per beat: r_s, rr_s to the beat before, symbol (WFDB), aami (N, S, V, F, Q), then `waves`."""
        classes = [AAMI[symbol] for symbol in self.symbols]
        rr_s = np.diff(self.r_peaks_s, prepend=np.nan)
        return pd.DataFrame(
            {"r_s": self.r_peaks_s, "rr_s": rr_s, "symbol": self.symbols, "aami": classes, **self.waves}
        )


@dataclass(frozen=True, eq=False)
class SimulatedRecord:
    """A simulated recording, the same without noise (L, T) mV, its truth and its traits."""

    recording: Recording
    clean: NDArray[np.float32]
    truth: Truth
    traits: Traits


class _Beats(NamedTuple):
    """The waves of a record's beats by kind."""

    p: Waves
    p_premature: Waves
    by_kind: dict[str, Waves]


def draw(index: int, *, seed: int = 0, conditions: Mapping[str, float] | None = None) -> Traits:
    """Draw what record `index` is, without playing it; `conditions` (name -> severity) replaces what nature would give.

    Raises ConfigError for an unknown condition, an impossible combination or a severity outside 0 to 1.
    """
    patient = draw_patient(index // RECORDS_PER_PATIENT, seed=seed)
    rng = np.random.default_rng([seed, index, 1])
    if conditions is None:
        held = _conditions(patient, rng)
    else:
        check_combination(conditions)
        held = {name: float(severity) for name, severity in conditions.items()}
        for name, severity in held.items():
            if not 0 <= severity <= 1:
                raise ConfigError(f"{name}: severity {severity:g}; expected 0 to 1")
        held = _with_rhythm(held, patient)
    return Traits(f"p{index // RECORDS_PER_PATIENT:06d}", patient, held, statements(held))


def simulate(
    index: int,
    *,
    seed: int = 0,
    rate_hz: float = 100.0,
    duration_s: float = 10.0,
    conditions: Mapping[str, float] | None = None,
    acquisition: Acquisition | None = None,
) -> SimulatedRecord:
    """Simulate record `index`: twelve standard leads in mV. The same arguments, the same record.

    Labels and beats depend neither on `rate_hz` nor on the noise. Raises ConfigError and ReadError for impossible
    arguments.
    """
    check_rate(rate_hz)
    if not (math.isfinite(duration_s) and duration_s >= 1):
        raise ConfigError(f"duration_s = {duration_s:g}: expected 1 s or more")
    traits = draw(index, seed=seed, conditions=conditions)
    patient = traits.patient
    rng = np.random.default_rng([seed, index, 2])
    samples = round(duration_s * rate_hz)
    breath = Breath(rng.uniform(0.17, 0.33), rng.uniform(0, 2 * np.pi))
    line = timeline(traits.conditions, patient, duration_s, breath, rng)
    beats = _beats(traits, line, rng)
    t_s = np.arange(samples) / rate_hz
    chest = np.sin(2 * np.pi * breath.hz * t_s + breath.phase)
    dipole = _dipole(line, beats, samples, rate_hz)
    if line.waves == "fibrillation":
        dipole += _f_waves(t_s, line.waves_hz, rng)
    elif line.waves == "flutter":
        dipole += _flutter_waves(t_s, line.waves_hz, rate_hz, rng)
    _breathe(dipole, chest, rng)
    body = math.exp(-0.006 * (patient.weight_kg - 75))
    contact = np.concatenate([[1, 1], rng.lognormal(0, 0.09, 6)])  # chest electrodes are never placed twice alike
    eight = (contact * body)[:, None] * (patient.torso @ dipole.T)
    r_peaks_s, symbols, waves, p_only_s = _truth(line, beats, duration_s, traits)
    noise_rng = np.random.default_rng([seed, index, 3])
    acquired = acquire(eight, chest, np.rint(r_peaks_s * rate_hz), rate_hz, acquisition or Acquisition(), noise_rng)
    recording = Recording(
        acquired.signal.astype(np.float32), rate_hz, STANDARD_LEADS, traits.patient_id, patient.metadata
    )
    truth = Truth(
        r_peaks_s, symbols, waves, p_only_s, line.spans, traits.conditions, acquired.snr_db, acquired.levels_mv
    )
    return SimulatedRecord(recording, (TWELVE @ eight).astype(np.float32), truth, traits)


def _conditions(patient: Patient, rng: np.random.Generator) -> dict[str, float]:
    """Return what a record of a hospital's patient shows: the rhythm of the day, then what the patient has."""
    u = rng.random(12)
    old = (patient.age_years - 18) / 77
    severity = rng.random(12)
    held: dict[str, float] = {}
    if u[0] < patient.fibrillates:
        held["atrial_fibrillation"] = float(severity[0])
    elif u[1] < 0.012 + 0.03 * old:
        held["atrial_flutter" if u[2] < 0.6 else "atrial_flutter_variable"] = float(severity[0])
    elif u[1] > 0.985:
        return {"ventricular_tachycardia": float(severity[0])}
    elif u[3] < 0.06 * old**2:
        return {"paced": float(severity[0])}
    else:
        bpm = patient.rest_bpm * rng.lognormal(0, 0.13) * (1.45 if u[4] < 0.1 else 1.0)
        held.update(_sinus(bpm))
        if "sinus_rhythm" in held and u[5] < 0.12 * (1 - old):
            held = {"sinus_arrhythmia": float(severity[1])}
    blocks = ("av_block_2_wenckebach", "av_block_2_mobitz", "av_block_3")
    ectopy = ("premature_atrial", "premature_ventricular", "bigeminy")
    wanted: dict[str, float] = {}
    if u[6] < 0.03 * old:
        wanted[blocks[int(3 * severity[2])]] = float(severity[3])
    if u[7] < 0.1 + 0.1 * old:
        wanted[ectopy[int(u[8] > 0.5) + int(u[8] > 0.88)]] = float(severity[4])
    if u[9] < 0.015 + 0.05 * old:
        wanted[f"mi_{_wall(u[10])}_acute"] = float(severity[5])
    if u[11] < 0.015:
        wanted["hyperkalaemia"] = float(severity[6])
    wanted |= patient.chronic
    for name, amount in wanted.items():
        if all(compatible(name, other) for other in held):
            held[name] = amount
    return held


def _wall(u: float) -> str:
    return "anterior" if u < 0.45 else "inferior" if u < 0.85 else "lateral"


def _sinus(bpm: float) -> dict[str, float]:
    """Return the sinus rhythm of this rate and the severity that stands for it."""
    name = "sinus_bradycardia" if bpm < 60 else "sinus_tachycardia" if bpm > 100 else "sinus_rhythm"
    low, high = CONDITIONS[name].low, CONDITIONS[name].high
    return {name: min(max((bpm - low) / (high - low), 0.0), 1.0)}


def _with_rhythm(held: dict[str, float], patient: Patient) -> dict[str, float]:
    """Return the conditions with a sinus rhythm at the patient's own rate when they name no rhythm."""
    if any(CONDITIONS[name].aspect == "rhythm" for name in held):
        return held
    return {**_sinus(min(max(patient.rest_bpm, 62.0), 98.0)), **held}


def _beats(traits: Traits, line: Timeline, rng: np.random.Generator) -> _Beats:
    """Return the waves of every kind of beat that the timeline has."""
    patient, conditions = traits.patient, traits.conditions
    p = atrial(patient, conditions, False, rng)
    early = atrial(patient, conditions, True, rng) if line.premature.any() else p
    by_kind: dict[str, Waves] = {}
    for kind in sorted(set(line.kind.tolist())):
        if kind in "VE/":
            by_kind[kind] = ventricular(patient, kind == "/", kind == "E", rng)
        else:
            by_kind.setdefault("N", conducted(patient, conditions, rng))
            by_kind[kind] = by_kind["N"]
    return _Beats(p, early, by_kind)


def _dipole(line: Timeline, beats: _Beats, samples: int, rate_hz: float) -> Floats:
    """Return the dipole (T, 3) mV of all beats."""
    dipole = np.zeros((samples, 3))
    usual = float(np.median(line.rr_s)) if len(line.rr_s) else 0.85
    for premature, waves in ((False, beats.p), (True, beats.p_premature)):
        at_s = line.atrial_s[line.premature == premature]
        add(dipole, waves, at_s, np.full(len(at_s), usual), rate_hz, usual)
    for kind, waves in beats.by_kind.items():
        of_kind = line.kind == kind
        add(dipole, waves, line.beat_s[of_kind], line.rr_s[of_kind], rate_hz, usual)
    return dipole


def _truth(
    line: Timeline, beats: _Beats, duration_s: float, traits: Traits
) -> tuple[Floats, NDArray[np.str_], dict[str, Floats], Floats]:
    """Return R peaks, symbols and waves of the beats inside the record, and the P onsets that lead to no beat."""
    usual = float(np.median(line.rr_s)) if len(line.rr_s) else 0.85
    n = len(line.beat_s)
    points = {column: np.full(n, np.nan) for column in WAVE_COLUMNS}
    for kind, waves in beats.by_kind.items():
        of_kind = line.kind == kind
        rr = effective_rr_s(line.rr_s[of_kind], usual)
        for wave in ("QRS", "T"):
            _write(points, wave.lower(), extent(waves[wave]), of_kind, line.beat_s[of_kind], rr)
    owner = np.full(len(line.atrial_s), -1)  # the beat that a P wave leads to
    for a, k in enumerate(np.searchsorted(line.beat_s, line.atrial_s)):
        if k < n and line.kind[k] in "NA/" and 0.06 < line.beat_s[k] - line.atrial_s[a] < 0.62:
            later = a + 1 < len(line.atrial_s) and line.atrial_s[a + 1] < line.beat_s[k]
            owner[a] = -1 if later else k
    for premature, waves in ((False, beats.p), (True, beats.p_premature)):
        led = np.flatnonzero((line.premature == premature) & (owner >= 0))
        rr = effective_rr_s(np.full(len(led), usual), usual)
        _write(points, "p", extent(waves["P"]), owner[led], line.atrial_s[led], rr)
    branch = next((mark for name, mark in (("lbbb", "L"), ("rbbb", "R")) if name in traits.conditions), "N")
    symbols = np.where(line.kind == "N", branch, line.kind)
    r_s = points["qrs_peak_s"]
    inside = (r_s >= 0) & (r_s < duration_s)
    alone = line.atrial_s[owner < 0]
    waves_inside = {column: values[inside] for column, values in points.items()}
    return r_s[inside], symbols[inside], waves_inside, alone[(alone >= 0) & (alone < duration_s)]


def _write(
    points: dict[str, Floats], wave: str, found: Extent | None, rows: NDArray[Any], at_s: Floats, rr: Floats
) -> None:
    if found is None:
        return
    stretch = rr**found.stretch
    for point in ("onset", "peak", "offset"):
        points[f"{wave}_{point}_s"][rows] = at_s + stretch * getattr(found, f"{point}_s")


def _breathe(dipole: Floats, chest: Floats, rng: np.random.Generator) -> None:
    """Let respiration (T,) turn the heart in the frontal plane and change the size of its dipole (T, 3), in place."""
    turn = rng.uniform(0.0, 0.07) * chest
    x, y = dipole[:, 0].copy(), dipole[:, 1].copy()
    dipole[:, 0] += -turn * y - 0.5 * turn**2 * x
    dipole[:, 1] += turn * x - 0.5 * turn**2 * y
    dipole *= 1 + rng.uniform(0, 0.06) * chest[:, None]


def _f_waves(t_s: Floats, hz: float, rng: np.random.Generator) -> Floats:
    """Return the dipole (T, 3) mV of fibrillating atria: a sawtooth of drifting 4-9 Hz (Stridh and Sornmo 2001)."""
    phase = 2 * np.pi * hz * t_s + rng.uniform(0, 2 * np.pi)
    phase += rng.uniform(0.5, 2.5) * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * t_s + rng.uniform(0, 7))
    order = np.arange(1, 4)
    sawtooth = np.sin(phase[:, None] * order) @ (1 / order)
    sawtooth *= 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * t_s + rng.uniform(0, 7))
    way = np.array([0.15, 0.5, -0.8]) + rng.normal(0, 0.2, 3)
    return np.asarray(rng.uniform(0.015, 0.08) * sawtooth[:, None] * way)


def _flutter_waves(t_s: Floats, hz: float, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Return the dipole (T, 3) mV of a flutter circle: a steep descent in II, III and aVF, a slow rise after it."""
    phase = 2 * np.pi * hz * t_s + rng.uniform(0, 2 * np.pi)
    order = np.arange(1, max(min(6, int(0.45 * rate_hz / hz) + 1), 2))
    sawtooth = np.sin(phase[:, None] * order) @ (np.exp(-0.12 * order) / order)
    way = np.array([0.1, -1.0, -0.45]) + rng.normal(0, 0.12, 3)
    return np.asarray(rng.uniform(0.06, 0.16) * sawtooth[:, None] * way)
