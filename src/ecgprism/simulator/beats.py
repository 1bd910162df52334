"""The waves of one beat: sums of Gaussians of the heart's dipole, after McSharry et al. 2003 and Sameni et al. 2007.

The normal beat is a fit of the mean beat of normal recordings of PTB-XL (folds of its training split) through Dower's
matrix (`bench/normal_beat.py`), but for the septum, which points to the feet: a heart with a leftward axis keeps its
small r in III and aVF, which the mean beat of all axes does not show. Conditions change the beat by their quantities.
Axis legend: G Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ecgprism.ecg.electrodes import TORSO, Floats, rotation
from ecgprism.simulator.conditions import CONDITIONS
from ecgprism.simulator.patients import Patient

#: a part of a beat: rows (G, 6) of centre s, width s, stretch, X, Y, Z mV. Times count from the onset of the P wave
#: (parts P) or of the QRS complex (all others); after an interval RR (s) they are stretched by RR ** stretch.
Part = Floats
Waves = dict[str, Part]
#: how a condition changes the waves: its quantity, its severity, the patient
Change = Callable[[Waves, float, float, Patient], None]

_UNITS = np.array([1e-3, 1e-3, 1, 1e-3, 1e-3, 1e-3])
_P = np.array([[44, 24, 0.2, 66, 80, -15], [80, 17, 0.2, 30, 15, 14]]) * _UNITS
_QRS = np.array([[19, 9.5, 0, -25, 60, -380], [36, 9.1, 0, 1520, 735, 350], [50, 11, 0, -250, 15, 690]]) * _UNITS
_ST = np.array([[150, 50, 1 / 3, 14, 8, -75]]) * _UNITS
_T = np.array([[273, 44, 1 / 3, 85, 0, -150], [310, 52, 1 / 3, 235, 150, -95]]) * _UNITS
_U = np.array([[480, 35, 1 / 3, 16, 8, -14]]) * _UNITS
#: from the onset to the end of the QRS complex above
_QRS_MS = 78.0
#: a Gaussian is taken to end this many widths from its centre
_EDGE = 2.2

#: where the walls of the left ventricle lie: X, Y, Z
_WALL = {
    "anterior": np.array([0.25, -0.30, -1.0]),
    "inferior": np.array([-0.25, 1.0, 0.15]),
    "lateral": np.array([1.0, -0.35, 0.10]),
}
#: late wave and T change of a blocked branch, X, Y, Z mV. Left: a slurred R in I and V6, a deep S in V1. Right: R' in
#: V1, a broad S in I and V6.
_BRANCH = {
    "lbbb": (np.array([0.95, 0.06, 0.85]), np.array([-0.55, -0.15, -0.38])),
    "rbbb": (np.array([-0.70, 0.04, -0.80]), np.array([0.06, 0.0, 0.28])),
}


def atrial(patient: Patient, conditions: Mapping[str, float], premature: bool, rng: np.random.Generator) -> Waves:
    """Return the P wave: of the sinus node, or of a focus elsewhere in the atria when premature."""
    p = _P.copy()
    p[:, 3:] *= rng.lognormal(0, 0.25) * (1 - 0.85 * conditions.get("hyperkalaemia", 0.0))
    if premature:  # from below or from the left: another direction, a shorter way
        p[:, 3:] = p[:, 3:] @ rotation(np.array([rng.uniform(0.8, 2.2), rng.normal(0, 0.5), rng.normal(0, 0.6)])).T
        p[:, :2] *= 0.85
    p[:, 3:] = p[:, 3:] @ rotation(0.6 * patient.axes_rad).T
    return {"P": p}


def conducted(patient: Patient, conditions: Mapping[str, float], rng: np.random.Generator) -> Waves:
    """Return QRS, ST, T and U of a beat that comes through the AV node, changed by every condition that holds."""
    turn = rotation(patient.axes_rad).T
    qrs, st, t, u = _QRS.copy(), _ST.copy(), _T.copy(), _U.copy()
    qrs[:, :2] *= patient.qrs_ms / _QRS_MS
    qrs[:, 3:] = (qrs[:, 3:] * (patient.strength * patient.wall)[:, None]) @ turn
    for part in (st, t, u):
        part[:, 3:] = (part[:, 3:] * patient.t_over_usual) @ turn
    u[:, 3:] *= rng.uniform(0, 1.5)
    t[:, 0] += 1e-3 * patient.qt_ms
    waves = {"QRS": qrs, "ST": st, "T": t, "U": u}
    for name, severity in conditions.items():
        change = _CHANGES.get(name)
        if change is not None:
            change(waves, CONDITIONS[name].at(severity), severity, patient)
        elif name.startswith("mi_"):
            _, wall, age = name.split("_")
            (_acute if age == "acute" else _old)(waves, CONDITIONS[name].at(severity), _WALL[wall], patient)
    return waves


def ventricular(patient: Patient, paced: bool, slow: bool, rng: np.random.Generator) -> Waves:
    """Return a beat that begins in the ventricles: wide, its T against its QRS; `paced` from the right apex."""
    qrs_s = rng.uniform(0.135, 0.175)
    if paced:
        way = np.array([0.55, -0.85, 0.55])
    elif rng.random() < 0.5:  # from the right ventricle, towards the left and back
        way = np.array([0.8, rng.choice([-0.7, 0.7]), 0.6])
    else:
        way = np.array([-0.6, rng.choice([-0.6, 0.6]), -0.8])
    way = way + rng.normal(0, 0.2, 3)
    way *= patient.strength * rng.uniform(1.0, 1.6) * (0.75 if slow else 1.0) / np.linalg.norm(way)
    first, last = rng.normal(0, 0.25, (2, 3)) * np.linalg.norm(way)
    width = 0.155 * qrs_s
    qrs = np.array(
        [
            [_EDGE * width, width, 0, *(0.45 * way + first)],
            [0.5 * qrs_s, width, 0, *way],
            [qrs_s - _EDGE * width, width, 0, *(0.5 * way + last)],
        ]
    )
    st = np.array([[qrs_s + 0.06, 0.05, 1 / 3, *(-0.12 * way)]])
    t = np.array([[qrs_s + 0.20, 0.055, 1 / 3, *(-0.32 * way)]])
    waves = {"QRS": qrs, "ST": st, "T": t}
    if paced:
        waves["spike"] = np.array([[-0.004, 0.001, 0, *(np.array([-0.4, 1.6, 0.3]) * rng.uniform(0.7, 1.6))]])
    return waves


def qrs_end_s(waves: Waves) -> float:
    """Return the time from QRS onset at which the last of its Gaussians ends."""
    return float((waves["QRS"][:, 0] + _EDGE * waves["QRS"][:, 1]).max())


def _block(name: str) -> Change:
    late, against = _BRANCH[name]

    def change(waves: Waves, qrs_ms: float, severity: float, patient: Patient) -> None:
        width = 0.017 + 0.008 * severity
        if name == "lbbb":  # the septum is activated from the right, then the front slowly crosses the left wall
            width = 0.021 + 0.006 * severity
            waves["QRS"][0, 3:] *= -0.5
            waves["QRS"][1:, 0] += 0.012
            waves["QRS"][1:, 1] *= 1.8
            waves["QRS"][1:, 3:] *= 0.55
        size = (0.85 + 0.25 * severity) * patient.strength
        late_wave = [1e-3 * qrs_ms - _EDGE * width, width, 0, *(late * size)]
        waves["QRS"] = np.vstack([waves["QRS"], late_wave])
        _delay(waves, 1e-3 * qrs_ms - 0.09)
        waves["T"][:, 3:] += against * size / 2
        waves["ST"][:, 3:] += against * size / 4

    return change


def _delay(waves: Waves, by_s: float) -> None:
    """Let repolarisation come later, as a longer QRS complex makes it."""
    for part in ("ST", "T", "U"):
        waves[part][:, 0] += max(by_s, 0.0)


def _frontal_axis_rad(dipole: Floats) -> float:
    """Return the axis of a dipole in the frontal plane from leads I and aVF; 0 is left, positive to the feet."""
    one, two = TORSO[:2] @ dipole
    return math.atan2((two - one / 2) * 2 / math.sqrt(3), one)


def _lafb(waves: Waves, axis_degrees: float, severity: float, patient: Patient) -> None:
    qrs = waves["QRS"]
    qrs[0, 3:] += np.array([-0.10, 0.22, 0.0]) * patient.strength  # q in aVL, r in the inferior leads
    for _ in range(4):  # a torso is no rotation: a few turns reach the axis
        turn = rotation(np.array([0, 0, math.radians(axis_degrees) - _frontal_axis_rad(qrs[1, 3:])])).T
        qrs[1:3, 3:] = qrs[1:3, 3:] @ turn
    qrs[1:, 1] *= 1.1


def _wpw(waves: Waves, pr_s: float, severity: float, patient: Patient) -> None:
    # the wave before the normal activation makes the complex as long as the criterion says, however narrow it was
    by_s = max(0.030 + 0.015 * severity, 0.126 + 0.02 * severity - qrs_end_s(waves))
    waves["QRS"][:, 0] += by_s
    delta = np.array([0.75, 0.30, -0.50]) * (0.50 + 0.10 * severity) * patient.strength
    waves["QRS"] = np.vstack([waves["QRS"], [0.022 + 0.5 * by_s, 0.010 + 0.17 * by_s, 0, *delta]])
    _delay(waves, by_s)
    waves["T"][:, 3:] *= 1 - 1.1 * severity


def _lvh(waves: Waves, times: float, severity: float, patient: Patient) -> None:
    qrs = waves["QRS"]
    qrs[:, 3:] *= times
    qrs[1, 5] += 0.25 * patient.strength * severity  # the heavy wall turns the vector back
    qrs[:, :2] *= 1.06
    main = qrs[1, 3:] / np.linalg.norm(qrs[1, 3:])
    strain = max(severity - 0.25, 0.0)
    waves["ST"][:, 3:] -= 0.22 * strain * main
    waves["T"][:, 3:] *= 1 - 1.2 * strain
    waves["T"][:, 3:] -= 0.22 * strain * main


def _rvh(waves: Waves, rightward_mv: float, severity: float, patient: Patient) -> None:
    qrs = waves["QRS"]
    qrs[1, 3] *= 0.55 - 0.35 * severity
    qrs[2, 5] *= 0.3
    late = np.array([-0.9, 0.15, -0.75]) * rightward_mv
    waves["QRS"] = np.vstack([qrs, [1.05 * qrs[2, 0], qrs[2, 1], 0, *late]])
    strain = np.array([0.14, -0.05, 0.24]) * (0.3 + severity)
    waves["T"][:, 3:] += strain / 2
    waves["ST"][:, 3:] += strain / 3


def _acute(waves: Waves, st_mv: float, wall: Floats, patient: Patient) -> None:
    end_s = qrs_end_s(waves)
    waves["ST"] = np.vstack(
        [
            waves["ST"],
            [end_s + 0.020, 0.030, 0, *(0.75 * st_mv * wall)],
            [end_s + 0.085, 0.040, 0.2, *(st_mv * wall)],
        ]
    )
    waves["T"][:, 3:] += 0.45 * st_mv * wall


def _old(waves: Waves, share: float, wall: Floats, patient: Patient) -> None:
    qrs = waves["QRS"]
    way = wall / np.linalg.norm(wall)
    along = np.maximum(qrs[:, 3:] @ way, 0)[:, None]
    along[0] = max(along[0, 0], 0.15)  # what the septum gives towards the wall goes first
    qrs[:, 3:] -= share * np.array([1.0, 0.55, 0.4, *[0.0] * (len(qrs) - 3)])[:, None] * along * way
    q = [0.024 * patient.qrs_ms / _QRS_MS, 0.011, 0, *(-0.75 * share * patient.strength * way)]
    waves["QRS"] = np.vstack([qrs, q])
    waves["T"][:, 3:] -= 0.16 * share * way


def _st_depression(waves: Waves, st_mv: float, severity: float, patient: Patient) -> None:
    end_s = qrs_end_s(waves)
    down = -st_mv * np.array([0.8, 0.5, -0.35])
    waves["ST"] = np.vstack([waves["ST"], [end_s + 0.02, 0.03, 0, *(0.8 * down)], [end_s + 0.085, 0.04, 0.2, *down]])
    waves["T"][:, 3:] *= 0.6


def _t_inversion(waves: Waves, times: float, severity: float, patient: Patient) -> None:
    waves["T"][:, 3:] *= times


def _hyperkalaemia(waves: Waves, times: float, severity: float, patient: Patient) -> None:
    waves["T"][:, 3:] *= times
    waves["T"][:, 1] *= 0.62
    waves["T"][0, 0] = waves["T"][1, 0] - 0.02  # narrow, steep and symmetric
    before_s = qrs_end_s(waves)
    waves["QRS"][:, :2] *= 1.1 + 0.5 * severity
    _delay(waves, qrs_end_s(waves) - before_s)


def _long_qt(waves: Waves, added_ms: float, severity: float, patient: Patient) -> None:
    waves["T"][:, 0] += 1e-3 * added_ms
    waves["T"][:, 1] *= 1.1
    waves["U"][:, 0] += 1e-3 * added_ms


_CHANGES: Mapping[str, Change] = {
    "lbbb": _block("lbbb"),
    "rbbb": _block("rbbb"),
    "lafb": _lafb,
    "wpw": _wpw,
    "lvh": _lvh,
    "rvh": _rvh,
    "st_depression": _st_depression,
    "t_inversion": _t_inversion,
    "hyperkalaemia": _hyperkalaemia,
    "long_qt": _long_qt,
}
