"""Recorded noise: the records of the MIT-BIH Noise Stress Test Database, halved, so that none is trained and tested on.

Axis legend: L leads, T samples, C channels of a noise record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import wfdb
from numpy.typing import NDArray

from ecgprism.ecg.electrodes import EIGHT, ELECTRODES, TWELVE
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.noise import GENERATORS
from ecgprism.ecg.resampling import resample
from ecgprism.errors import ReadError

#: kind of noise -> its record (Moody, Muldrow and Mark 1984)
RECORD = {"wander": "bw", "muscle": "ma", "motion": "em"}
Half = Literal["first", "second"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RecordedNoise:
    """Half of each noise record that there is, float32 (C, T) in mV by kind, at one rate."""

    kinds: Mapping[str, NDArray[np.float32]]
    rate_hz: float

    @classmethod
    def read(cls, folder: str | Path, rate_hz: float, half: Half) -> RecordedNoise:
        """Read `bw`, `ma` and `em` of a folder, as far as they are there, at a rate; the first half is for training.

        Raises ReadError when none is there or one cannot be read.
        """
        folder = Path(folder)
        kinds = {}
        for kind, name in RECORD.items():
            if not (folder / f"{name}.hea").is_file():
                continue
            try:
                record = wfdb.rdrecord(str(folder / name))
            except Exception as error:  # wfdb raises whatever the damaged file leads to
                raise ReadError(f"{folder / name}: {' '.join(str(error).split())}") from None
            signal = np.nan_to_num(record.p_signal.T.astype(np.float32))
            middle = signal.shape[1] // 2
            part = signal[:, :middle] if half == "first" else signal[:, middle:]
            kinds[kind] = resample(part, float(record.fs), rate_hz)
        if not kinds:
            raise ReadError(f"{folder}: none of the noise records {', '.join(RECORD.values())} (.hea, .dat) is here")
        return cls(kinds, rate_hz)

    def draw(self, kind: str, channels: int, samples: int, rng: np.random.Generator) -> Floats:
        """Return noise (channels, T): each from a random place of a random channel, without its mean."""
        held = self.kinds[kind]
        at = rng.integers(0, held.shape[1], channels)[:, None] + np.arange(samples)
        # a record longer than the noise hears it again from its beginning, as with `nst`
        drawn = held[rng.integers(0, len(held), channels)[:, None], at % held.shape[1]].astype(np.float64)
        return np.asarray(drawn - drawn.mean(axis=1, keepdims=True))


def in_leads(
    kind: str, leads: Sequence[str], samples: int, rate_hz: float, rng: np.random.Generator,
    recorded: RecordedNoise | None = None,
) -> Floats:  # fmt: skip
    """Return noise (L, T) of a kind as leads pick it up: recorded where that kind is at hand, else simulated.

    Several standard leads share their electrodes: what disturbs one electrode stands in all leads that it makes.
    """
    of_electrodes = len(leads) > 1 and set(leads) <= set(STANDARD_LEADS)
    channels = len(ELECTRODES) if of_electrodes else len(leads)
    if recorded is not None and kind in recorded.kinds:
        picked_up = recorded.draw(kind, channels, samples, rng)
    else:
        picked_up = GENERATORS[kind](channels, samples, rate_hz, rng)
    if not of_electrodes:
        return np.asarray(picked_up)
    twelve = TWELVE @ (EIGHT @ picked_up)
    return np.asarray(twelve[[STANDARD_LEADS.index(lead) for lead in leads]])
