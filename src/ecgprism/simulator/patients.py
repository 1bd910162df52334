"""Patients: who they are, the anatomy that their recordings share, and what they chronically have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecgprism.ecg.electrodes import TORSO, Floats
from ecgprism.simulator.conditions import compatible

METADATA = ("age", "sex", "height", "weight")


@dataclass(frozen=True, eq=False)
class Patient:
    """What the records of one patient share. `known` names the metadata that were written down.

    `chronic` maps conditions to severities; `fibrillates` is the chance that a record is in atrial fibrillation.
    """

    age_years: float
    sex: Literal["female", "male"]
    height_cm: float
    weight_kg: float
    known: frozenset[str]
    axes_rad: Floats  # (3,) rotation vector of the heart
    torso: Floats  # (8, 3) the leads I, II, V1..V6 of a dipole
    strength: float  # of the ventricular dipole; 1 is a middle-aged man's
    qrs_ms: float  # QRS duration without any delay
    pr_s: float
    qt_ms: float  # added to the usual QT
    rest_bpm: float
    respiratory: float  # depth of the respiratory variation of RR
    t_over_usual: float
    wall: Floats  # (3,) variation of the initial, main and terminal QRS dipole
    chronic: Mapping[str, float]
    fibrillates: float

    @property
    def metadata(self) -> dict[str, float | str]:
        """The metadata that were written down; a value that was not is absent."""
        values = (self.age_years, self.sex, self.height_cm, self.weight_kg)
        return {key: value for key, value in zip(METADATA, values, strict=True) if key in self.known}


def usual_voltage(age_years: float, sex: str) -> float:
    """Return the QRS voltage of the healthy, less in women and with age (Macfarlane 2018); 1 is that of men of 50."""
    return (0.85 if sex == "female" else 1.0) * math.exp(-0.005 * (age_years - 50))


def draw_patient(patient: int, *, seed: int = 0) -> Patient:
    """Draw a patient from a hospital's population: the same (seed, patient), the same person."""
    rng = np.random.default_rng([seed, patient, 0])
    female = rng.random() < 0.5
    sex: Literal["female", "male"] = "female" if female else "male"
    age = round(18 + 77 * rng.beta(2.2, 1.9))
    height = rng.normal(163 if female else 176, 7) - 0.06 * (age - 50)
    weight = rng.lognormal(math.log(26.3), 0.17) * (height / 100) ** 2
    lost = rng.random()  # height and weight are mostly lost together
    known = {"sex"} | ({"height"} if lost > 0.4 else set()) | ({"weight"} if 0.36 < lost < 0.96 else set())
    if rng.random() > 0.03:
        known.add("age")
    old = (age - 18) / 77
    # the electrical axis turns to the left with age and weight (Macfarlane 2018)
    frontal = -0.006 * (age - 55) - 0.005 * (weight - 75) + 0.06 + rng.normal(0, 0.33)
    return Patient(
        age_years=float(age),
        sex=sex,
        height_cm=float(round(height)),
        weight_kg=float(round(weight)),
        known=frozenset(known),
        axes_rad=np.array([rng.normal(0, 0.12), rng.normal(0, 0.22), frontal]),
        torso=TORSO + rng.normal(0, 0.08, (8, 3)) * np.linalg.norm(TORSO, axis=1, keepdims=True),
        strength=usual_voltage(age, sex) * rng.lognormal(0.03, 0.25),
        qrs_ms=float(np.clip(rng.normal(83 if female else 89, 7), 70, 106)),
        pr_s=float(np.clip(rng.normal(0.148 + 0.022 * old, 0.018), 0.124, 0.196)),
        qt_ms=(8.0 if female else -6.0) + 14.0 * (old - 0.5) + rng.normal(0, 11),
        rest_bpm=(71 if female else 68) * rng.lognormal(0, 0.16),
        respiratory=0.09 * math.exp(-1.6 * old) * rng.lognormal(0, 0.4),
        t_over_usual=rng.lognormal(0, 0.28) * (1.0 if female else 1.12) * (1.1 - 0.25 * old),
        wall=rng.lognormal(0, [0.45, 0.1, 0.3]),
        chronic=_chronic(old, female, rng),
        fibrillates=0.85 if rng.random() < 0.32 * old**2 else 0.0,
    )


def _chronic(old: float, female: bool, rng: np.random.Generator) -> dict[str, float]:
    """Return what a hospital's patient chronically has, with severities; `old` is 0 at 18 and 1 at 95 years."""
    chance = {
        "lbbb": 0.09 * old,
        "rbbb": 0.05 + 0.08 * old,
        "lafb": 0.04 + 0.08 * old,
        "wpw": 0.03 * (1 - old),
        "lvh": 0.05 + 0.2 * old,
        "rvh": 0.025,
        "av_block_1": 0.02 + 0.07 * old,
        "mi_anterior_old": (0.11 if female else 0.16) * old,
        "mi_inferior_old": (0.11 if female else 0.16) * old,
        "mi_lateral_old": (0.05 if female else 0.07) * old,
        "st_depression": 0.04 + 0.04 * old,
        "t_inversion": 0.05 + 0.07 * old,
        "long_qt": 0.04 if female else 0.02,
    }
    held: dict[str, float] = {}
    for name, u, severity in zip(chance, rng.random(len(chance)), rng.random(len(chance)), strict=True):
        if u < chance[name] and all(compatible(name, other) for other in held):
            held[name] = float(severity)
    return held
