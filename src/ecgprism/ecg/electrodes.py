"""From the heart's dipole to twelve leads: electrode potentials, limb relations, swapped electrodes.

Axis legend: E electrodes, T samples. The dipole is in the Frank axes X (to the left), Y (to the feet), Z (to the back).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ecgprism.errors import ConfigError, nearest

Floats = NDArray[np.float64]

#: the electrodes, in the order of every potential (E, T) here
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

#: the leads I, II, V1..V6 of a dipole (Dower et al. 1980, doi:10.1002/clc.1980.3.2.87)
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

#: the mean torso: Dower's matrix moved by ridge regression towards the mean normal beat (`bench/normal_beat.py`), of
#: which it leaves 1.0% unexplained, Dower's own 2.5%
TORSO = np.array(
    [
        [0.69, -0.19, 0.01],
        [0.24, 1.07, -0.15],
        [-0.47, 0.18, -0.80],
        [0.04, 0.16, -1.54],
        [0.88, 0.10, -1.20],
        [1.19, 0.11, -0.53],
        [1.11, 0.11, -0.08],
        [0.86, 0.10, 0.16],
    ]
)

#: the leads I, II, V1..V6 of potentials (8, E): limb differences, Wilson's terminal for the chest
EIGHT = np.zeros((8, 9))
EIGHT[0, :2] = -1, 1
EIGHT[1, [0, 2]] = -1, 1
EIGHT[2:, :3] = -1 / 3
EIGHT[2:, 3:] = np.eye(6)

#: the twelve standard leads of I, II, V1..V6 (12, 8); Einthoven: III = II - I; Goldberger: aVR, aVL, aVF
TWELVE = np.zeros((12, 8))
TWELVE[:6, :2] = [[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [-0.5, -0.5], [1.0, -0.5], [-0.5, 1.0]]
TWELVE[6:, 2:] = np.eye(6)

#: potentials (E, 8) of the leads I, II, V1..V6, against Wilson's terminal: a right inverse of EIGHT
POTENTIALS = np.zeros((9, 8))
POTENTIALS[:3, :2] = [[-1 / 3, -1 / 3], [2 / 3, -1 / 3], [-1 / 3, 2 / 3]]
POTENTIALS[3:, 2:] = np.eye(6)


def swapped(potentials: Floats, pairs: Iterable[str]) -> Floats:
    """Return potentials (E, T) as recorded with electrodes exchanged; a pair is written `LA/RA`.

    Raises ConfigError for what is no pair of two electrodes.
    """
    order = list(range(len(ELECTRODES)))
    for pair in pairs:
        names = pair.split("/")
        for name in names:
            if name not in ELECTRODES:
                raise ConfigError(f"swap {pair!r}: no electrode {name!r}{nearest(name, ELECTRODES)}")
        if len(names) != 2 or names[0] == names[1]:
            raise ConfigError(f"swap {pair!r}: expected two electrodes, as in LA/RA")
        a, b = (ELECTRODES.index(name) for name in names)
        order[a], order[b] = order[b], order[a]
    return potentials[order]


def rotation(vector_rad: tuple[float, float, float] | Floats) -> Floats:
    """Return the matrix (3, 3) that turns by the length of a vector around its direction (Rodrigues 1840)."""
    x, y, z = map(float, vector_rad)
    angle = math.sqrt(x * x + y * y + z * z)
    if angle == 0:
        return np.eye(3)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
