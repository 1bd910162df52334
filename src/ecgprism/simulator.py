"""A 12-lead ECG simulator with known labels: a moving cardiac dipole seen by nine electrodes.

The dipole is a sum of Gaussians in the Frank axes X (to the left), Y (to the feet), Z (to the back), in mV, after
McSharry et al. 2003 (doi:10.1109/tbme.2003.808805) and Sameni et al. 2007 (doi:10.1155/2007/43407). Dower's matrix
(Dower et al. 1980, doi:10.1002/clc.1980.3.2.87) projects it onto the eight independent leads. Everything that decides
a label is drawn by `draw`, which costs no waveform; `simulate` then plays the record.

Axis legend: L leads, T samples, K beats, G Gaussians of a beat, W samples of a beat's window, E electrodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgprism.recording import STANDARD_LEADS, Recording

Floats = NDArray[np.float64]

CLASSES = ("NORM", "AFIB", "TACHY", "WIDE", "HYP")
METADATA = ("age", "sex", "height", "weight")
RECORDS_PER_PATIENT = 2

#: leads I, II, V1..V6 from the Frank axes X, Y, Z (Dower et al. 1980)
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
#: leads I, II, V1..V6 from the electrodes RA, LA, LL, V1..V6: limb differences, Wilson's terminal for the chest
ELECTRODES = np.zeros((8, 9))
ELECTRODES[0, :2] = -1, 1
ELECTRODES[1, [0, 2]] = -1, 1
ELECTRODES[2:, :3] = -1 / 3
ELECTRODES[2:, 3:] = np.eye(6)
#: the twelve standard leads from I, II, V1..V6 (Einthoven: III = II - I; Goldberger: aVR, aVL, aVF)
TWELVE = np.zeros((12, 8))
TWELVE[:6, :2] = [[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [-0.5, -0.5], [1.0, -0.5], [-0.5, 1.0]]
TWELVE[6:, 2:] = np.eye(6)


class Waves(NamedTuple):
    """The Gaussians of one beat, times relative to the R wave: centre and width (G,) s, dipole (G, 3) mV.

    A beat after an interval RR (s) has centres and widths times RR ** `stretch` (G,): T by Fridericia's cube root.
    """

    centre_s: Floats
    width_s: Floats
    stretch: Floats
    dipole_mv: Floats


#: centre ms, width ms, stretch, X, Y, Z uV of the normal beat: right and left atrium, septum, free walls, base, T
_NORMAL = np.array(
    [
        [-138, 17, 0.2, 25, 85, -45],
        [-112, 18, 0.2, 60, 60, 40],
        [-22, 7, 0, -130, -70, -330],
        [0, 10, 0, 1150, 900, 380],
        [24, 10, 0, -230, -150, 780],
        [240, 55, 1 / 3, 150, 110, -80],
        [285, 34, 1 / 3, 190, 140, -110],
    ]
) * np.array([1e-3, 1e-3, 1, 1e-3, 1e-3, 1e-3])
_P, _QRS, _T, _SEPTUM, _BASE = slice(0, 2), slice(2, 5), slice(5, 7), 2, 4
#: a Gaussian is taken to begin and end this many widths from its centre (there it has fallen to 9 %)
_EDGE = 2.2
#: duration of the QRS complex above
_QRS_MS = 1e3 * (_NORMAL[_BASE, 0] - _NORMAL[_SEPTUM, 0] + _EDGE * (_NORMAL[_BASE, 1] + _NORMAL[_SEPTUM, 1]))

#: the late wave of a fully delayed bundle branch and the T wave against it, X, Y, Z uV. Left: a slurred R in I and V6,
#: a deep S in V1. Right: R' in V1, a broad S in I and V6.
_BLOCK = {
    "left": np.array([[950, 60, 850], [-450, -120, -250]]) * 1e-3,
    "right": np.array([[-620, 40, -760], [60, 0, 230]]) * 1e-3,
}
#: the delay after which a bundle branch counts as blocked: its late wave is complete
_FULL_DELAY_MS = 60.0


@dataclass(frozen=True)
class Patient:
    """What the records of one patient share. `known` names the metadata that were written down."""

    age_years: float
    sex: Literal["female", "male"]
    height_cm: float
    weight_kg: float
    known: frozenset[str]
    axes_rad: tuple[float, float, float]  # rotation vector of the heart
    strength: float  # of the ventricular dipole; 1 is a middle-aged man's
    narrow_ms: float  # QRS duration without any delay
    delay_ms: float  # of the delayed bundle branch
    branch: Literal["left", "right"]
    fibrillates: bool
    strain: float  # how far repolarisation gives way to high voltage

    @property
    def metadata(self) -> dict[str, float | str]:
        """The metadata that were written down; a value that was not is absent."""
        values = (self.age_years, self.sex, self.height_cm, self.weight_kg)
        return {key: value for key, value in zip(METADATA, values, strict=True) if key in self.known}


@dataclass(frozen=True, eq=False)
class Traits:
    """One record before it is played: everything that its labels depend on.

    `qrs_ms` is the QRS duration, `voltage` the larger of the Sokolow-Lyon and the Cornell voltage over its limit for
    this age and sex, in a body of 70 kg and without the delay.
    """

    patient_id: str
    patient: Patient
    fibrillating: bool
    rate_bpm: float
    waves: Waves
    qrs_ms: float
    voltage: float
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Simulated:
    """A simulated recording with its truth: names of the classes that hold, times of the R waves (K,) s, traits."""

    recording: Recording
    labels: tuple[str, ...]
    r_peaks_s: Floats
    traits: Traits


def tachycardia_bpm(age_years: float) -> float:
    """Return the ventricular rate above which a record is TACHY: it falls with age as the maximal rate does."""
    return 150.0 - 0.75 * age_years


def wide_ms(sex: str) -> float:
    """Return the QRS duration above which a record is WIDE."""
    return 106.0 if sex == "female" else 116.0


def usual_voltage(age_years: float, sex: str) -> float:
    """Return the voltage of the healthy, less in women and with age; 1 is that of men of 50."""
    return (0.78 if sex == "female" else 1.0) * math.exp(-0.008 * (age_years - 50))


def draw_patient(patient: int, *, seed: int = 0) -> Patient:
    """Draw a patient from the population."""
    rng = np.random.default_rng([seed, patient, 0])
    female = rng.random() < 0.5
    sex: Literal["female", "male"] = "female" if female else "male"
    age = round(18 + 77 * rng.beta(2.2, 1.9))
    height = rng.normal(163 if female else 176, 7)
    weight = rng.lognormal(math.log(26.5), 0.17) * (height / 100) ** 2
    lost = rng.random()  # height and weight are mostly lost together
    known = {"sex"} | ({"height"} if lost > 0.4 else set()) | ({"weight"} if 0.36 < lost < 0.96 else set())
    if rng.random() > 0.03:
        known.add("age")
    # the electrical axis turns to the left with age and weight
    frontal = -0.004 * (age - 55) - 0.004 * (weight - 75) + rng.normal(0, 0.2)
    return Patient(
        age_years=float(age),
        sex=sex,
        height_cm=float(round(height)),
        weight_kg=float(round(weight)),
        known=frozenset(known),
        axes_rad=(rng.normal(0, 0.1), rng.normal(0, 0.15), frontal),
        strength=usual_voltage(age, sex) * rng.lognormal(0.19, 0.28),
        narrow_ms=rng.normal(85 if female else 95, 6),
        delay_ms=min(rng.gamma(2, 15), 1.2 * _FULL_DELAY_MS) if rng.random() < 0.45 else 0.0,
        branch="left" if rng.random() < 0.5 else "right",
        fibrillates=bool(rng.random() < 0.55 * ((age - 18) / 77) ** 2),
        strain=rng.random(),
    )


def draw(index: int, *, seed: int = 0) -> Traits:
    """Draw the traits and labels of record `index`, without playing it."""
    number = index // RECORDS_PER_PATIENT
    patient = draw_patient(number, seed=seed)
    rng = np.random.default_rng([seed, index, 1])
    fibrillating = bool(patient.fibrillates and rng.random() < 0.8)
    usual_bpm = (116 - 0.55 * patient.age_years) * (1.1 if fibrillating else 1.0)
    rate_bpm = min(max(usual_bpm * rng.lognormal(0, 0.22), 38.0), 190.0)
    qrs_ms, voltage = patient.narrow_ms + patient.delay_ms, _voltage(patient)
    waves = _beat(patient, fibrillating, voltage, rng)
    # a reader's calipers are not exact; this and the continuous severities are the only softness of the borders
    read_ms, read_voltage = qrs_ms + rng.normal(0, 3), voltage * rng.lognormal(0, 0.03)
    holds = {
        "AFIB": fibrillating,
        "TACHY": rate_bpm > tachycardia_bpm(patient.age_years),
        "WIDE": read_ms > wide_ms(patient.sex),
        "HYP": read_voltage > 1,
    }
    holds["NORM"] = not any(holds.values())
    labels = tuple(name for name in CLASSES if holds[name])
    return Traits(f"p{number:06d}", patient, fibrillating, rate_bpm, waves, qrs_ms, voltage, labels)


def simulate(index: int, *, seed: int = 0, rate_hz: float = 100.0, duration_s: float = 10.0) -> Simulated:
    """Simulate record `index`: signal (L, T) mV of the twelve standard leads. The same (seed, index), the same record.

    Labels and traits depend neither on `rate_hz` nor on `duration_s`.
    """
    traits = draw(index, seed=seed)
    rng = np.random.default_rng([seed, index, 2])
    t_s = np.arange(max(round(duration_s * rate_hz), 1)) / rate_hz
    breath_hz, breath_phase = rng.uniform(0.17, 0.33), rng.uniform(0, 2 * np.pi)
    r_s, rr_s = _r_waves(traits, duration_s, breath_hz, breath_phase, rng)
    dipole = _play(traits.waves, r_s, rr_s, rate_hz, len(t_s))
    breath = np.sin(2 * np.pi * breath_hz * t_s + breath_phase)
    dipole *= 1 + rng.uniform(0, 0.08) * breath[:, None]
    if traits.fibrillating:
        dipole += _f_waves(t_s, rng)
    body = math.exp(-0.008 * (traits.patient.weight_kg - 70))
    contact = np.concatenate([[1, 1], rng.lognormal(0, 0.07, 6)])  # chest electrodes are never placed twice alike
    leads = (contact * body)[:, None] * (DOWER @ dipole.T) + ELECTRODES @ _noise(breath, rate_hz, rng)
    signal = (TWELVE @ leads).astype(np.float32)
    recording = Recording(signal, rate_hz, STANDARD_LEADS, traits.patient_id, traits.patient.metadata)
    return Simulated(recording, traits.labels, r_s[(r_s >= 0) & (r_s < duration_s)], traits)


def _voltage(patient: Patient) -> float:
    """Return the larger of two voltages over their limits: S(V1) + R(V5 or V6) and R(aVL) + S(V3).

    Their classical limits, 3.5 mV (Sokolow and Lyon 1949) and 2.8 mV (Casale et al. 1985), are those of men of 50 here.
    """
    t_s = 1e-3 * np.arange(-40, 61, 2)[:, None]
    waves = _NORMAL[_QRS]
    dipole = np.exp(-0.5 * ((t_s - waves[:, 0]) / waves[:, 1]) ** 2) @ waves[:, 3:]
    leads = TWELVE @ DOWER @ _rotation(patient.axes_rad) @ dipole.T * patient.strength
    r, s = dict(zip(STANDARD_LEADS, leads.max(1), strict=True)), dict(zip(STANDARD_LEADS, -leads.min(1), strict=True))
    ratio = max((s["V1"] + max(r["V5"], r["V6"])) / 3.5, (r["aVL"] + s["V3"]) / 2.8)
    return float(ratio / usual_voltage(patient.age_years, patient.sex))


def _beat(patient: Patient, fibrillating: bool, voltage: float, rng: np.random.Generator) -> Waves:
    """Return the beat of a record: the normal one, with this patient's size, delay and repolarisation."""
    table = _NORMAL.copy()
    table[_P, 3:] *= 0.0 if fibrillating else rng.lognormal(-0.1, 0.3)
    table[_QRS, :2] *= patient.narrow_ms / _QRS_MS
    table[_QRS, 3:] *= patient.strength
    strain = patient.strain * np.clip(3 * (voltage - 0.85), 0, 1)
    table[_T, 3:] *= rng.lognormal(0, 0.25) * (1 - 1.3 * strain)
    severity = patient.delay_ms / _FULL_DELAY_MS
    late, against = _BLOCK[patient.branch] * severity
    if patient.branch == "left":
        table[_SEPTUM, 3:] *= 1 - 1.6 * severity  # the septum is then activated from the right
    table[_T, 3:] += against / 2
    table[_T, 0] += 0.5e-3 * patient.delay_ms
    # the late wave ends when the QRS complex does
    width_s = 1e-3 * (10 + 15 * severity)
    end_s = table[_BASE, 0] + _EDGE * table[_BASE, 1] + 1e-3 * patient.delay_ms
    late_wave = [end_s - _EDGE * width_s, width_s, 0, *(late * patient.strength)]
    table = np.vstack([table, late_wave])
    return Waves(table[:, 0], table[:, 1], table[:, 2], table[:, 3:] @ _rotation(patient.axes_rad).T)


def _rotation(vector_rad: tuple[float, float, float]) -> Floats:
    """Return the matrix (3, 3) that turns by the length of a vector around its direction (Rodrigues 1840)."""
    x, y, z = vector_rad
    angle = math.sqrt(x * x + y * y + z * z)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / 2 / np.pi) ** 2 * (cross @ cross)


def _r_waves(
    traits: Traits, duration_s: float, breath_hz: float, breath_phase: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the times of the R waves (K,) s and the intervals before them, from before the record until after it."""
    rr_s = 60 / traits.rate_bpm
    count = math.ceil(1.5 * (duration_s + 4) / rr_s) + 8
    if traits.fibrillating:  # independent intervals above the refractory period of the atrioventricular node
        least_s = min(0.3, 0.6 * rr_s)
        shape = ((1 - least_s / rr_s) / rng.uniform(0.13, 0.28)) ** 2
        rr = least_s + (rr_s - least_s) * rng.gamma(shape, 1 / shape, count)
    else:
        beat_s = rr_s * np.arange(count)
        depth = 0.10 * math.exp(-(traits.patient.age_years - 18) / 35) * rng.lognormal(0, 0.4)
        rr = 1 + depth * np.sin(2 * np.pi * breath_hz * beat_s + breath_phase)
        rr += rng.uniform(0, 0.03) * np.sin(2 * np.pi * 0.1 * beat_s + rng.uniform(0, 2 * np.pi))
        rr += 0.01 * rng.standard_normal(count)
        if rng.random() < 0.25:  # premature atrial beats: irregular, and no fibrillation
            early = rng.random(count) < rng.uniform(0.05, 0.25)
            rr = rr * np.where(early, 0.68, 1) * np.where(np.roll(early, 1) & ~early, 1.25, 1)
        rr *= rr_s
    times_s = np.cumsum(rr) - 2 - rng.random() * rr_s
    kept = times_s < duration_s + 1
    return times_s[kept], rr[kept]


def _play(waves: Waves, r_s: Floats, rr_s: Floats, rate_hz: float, samples: int) -> Floats:
    """Return the dipole (T, 3) mV of the beats at `r_s` (K,). Only a window around each beat is evaluated."""
    window = np.arange(math.floor(-0.35 * rate_hz), math.ceil(0.8 * rate_hz))
    index = np.rint(r_s * rate_hz).astype(np.intp)[:, None] + window  # (K, W)
    after_s = (index / rate_hz - r_s[:, None])[:, :, None]
    # repolarisation follows the rate slowly: half of the interval before, half of the mean
    stretch = ((0.5 * (rr_s + rr_s.mean()))[:, None] ** waves.stretch)[:, None, :]  # (K, 1, G)
    width_s = stretch * waves.width_s
    # the recorder's low pass in closed form: a Gaussian filtered by a Gaussian is a wider, lower one
    seen_s = np.hypot(width_s, 0.35 / rate_hz)
    shape = np.exp(-0.5 * ((after_s - stretch * waves.centre_s) / seen_s) ** 2) * (width_s / seen_s)
    dipole = np.zeros((samples, 3))
    inside = (index >= 0) & (index < samples)
    np.add.at(dipole, index[inside], (shape @ waves.dipole_mv)[inside])
    return dipole


def _f_waves(t_s: Floats, rng: np.random.Generator) -> Floats:
    """Return the dipole (T, 3) mV of fibrillating atria: a sawtooth of drifting 4-9 Hz (Stridh and Sornmo 2001)."""
    phase = 2 * np.pi * rng.uniform(5, 8) * t_s + rng.uniform(0, 2 * np.pi)
    phase += rng.uniform(0.5, 2.5) * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * t_s)
    order = np.arange(1, 4)
    sawtooth = np.sin(phase[:, None] * order) @ (1 / order)
    direction = np.array([0.1, 0.5, -0.85]) + rng.normal(0, 0.15, 3)
    return rng.uniform(0.02, 0.08) * sawtooth[:, None] * direction


def _noise(breath: Floats, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Return what electrodes pick up besides the heart, (E, T) mV: breathing, drift, muscle.

    Drift and muscle come from their one-sided spectral densities, so that they are the same at every rate.
    """
    electrodes, samples = ELECTRODES.shape[1], len(breath)
    # twice the length: the Fourier series is periodic, drift is not
    f_hz = np.fft.rfftfreq(2 * samples, 1 / rate_hz)
    drift_mv = rng.lognormal(math.log(0.03), 0.5) * rng.lognormal(0, 0.3, (electrodes, 1))
    muscle_mv = rng.lognormal(math.log(0.012), 0.5) * rng.lognormal(0, 0.4, (electrodes, 1))
    drift = 2 / (0.15 * math.sqrt(np.pi)) * np.exp(-((f_hz / 0.15) ** 2))
    muscle = f_hz / 40**2 * np.exp(-f_hz / 40)
    spectrum = np.sqrt(rate_hz * samples / 2 * (drift_mv**2 * drift + muscle_mv**2 * muscle)) * (
        rng.standard_normal((electrodes, len(f_hz))) + 1j * rng.standard_normal((electrodes, len(f_hz)))
    )
    spectrum[:, 0] = 0
    noise = np.fft.irfft(spectrum, 2 * samples)[:, :samples]
    return noise + rng.normal(0, 0.02, (electrodes, 1)) * breath
