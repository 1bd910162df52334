"""Recordings held as arrays: (N, L, T), or a list of (L, T), with rate, unit and leads declared, never guessed.

Axis legend: N recordings, L leads, T samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, canonical_lead
from ecgprism.ecg.recording import Recording, check_rate
from ecgprism.ecg.rows import is_array, plain_array, rows_of
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ConfigError, ReadError, nearest

LARGE_MV, SMALL_MV = 20.0, 0.001  # a median absolute value beyond is no ECG in millivolts
SAMPLED = 32  # recordings that are looked at for that


@dataclass(frozen=True, eq=False)
class ArrayRecordings:
    """Recordings in memory or mapped from disk; each is made a Recording when it is asked for."""

    signals: Sequence[NDArray[Any]] | NDArray[Any]
    rate_hz: float
    leads: tuple[str, ...]
    unit: str
    factor: float

    @classmethod
    def of(
        cls,
        given: Sequence[NDArray[Any]] | NDArray[Any],
        rate_hz: float | None,
        leads: Sequence[str] | None,
        unit: str | None,
        lead_aliases: Mapping[str, str] | None = None,
    ) -> ArrayRecordings:
        """Check what is declared; `lead_aliases` are other spellings of leads.

        Raises ConfigError for what is missing or cannot be, naming the argument.
        """
        signals = _signals(given)
        shape = _shape(signals)
        if rate_hz is None:
            raise ConfigError("rate_hz is missing: arrays do not tell their sampling rate, as in rate_hz=500")
        if unit is None:
            raise ConfigError("unit is missing: arrays do not tell it, as in unit='mV' or unit='4.88uV' (of one step)")
        if leads is None:
            raise ConfigError(f"leads are missing: name the {shape[0]} rows in order, as in leads=['I', 'II', ...]")
        try:
            check_rate(float(rate_hz), "rate_hz: ")
        except ReadError as error:
            raise ConfigError(str(error)) from None
        except (TypeError, ValueError):
            raise ConfigError(f"rate_hz = {rate_hz!r}: expected a number of Hz") from None
        if not isinstance(unit, str):
            raise ConfigError(f"unit = {unit!r}: expected a text, as in 'mV' or '4.88uV' (of one step)")
        factor = millivolts(unit)
        if factor is None:
            raise ConfigError(f"unit = {unit!r}: no unit of voltage{nearest(unit, ('mV', 'uV', 'nV', 'V'))}")
        names = tuple(_lead((lead_aliases or {}).get(name, name)) for name in rows_of(leads, "leads"))
        if len(set(names)) < len(names):
            raise ConfigError(f"leads: {', '.join(names)}: one stands twice")
        if len(names) != shape[0]:
            turned = shape[1] == len(names)
            hint = ": the axes are (N, T, L); give X.transpose(0, 2, 1)" if turned else ""
            raise ConfigError(f"leads: {len(names)} names for signals of shape {shape} (leads, samples){hint}")
        return cls(signals, float(rate_hz), names, unit, factor)

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.signals)

    def read(self, number: int, metadata: dict[str, float | str] | None = None) -> Recording:
        """Return one recording in mV. Raises ReadError when it has another shape than leads by samples."""
        each = self.signals[number]
        held = plain_array(each, f"X[{number}]") if is_array(each) else np.asarray(each)
        if held.ndim != 2 or held.shape[0] != len(self.leads) or not np.issubdtype(held.dtype, np.number):
            expected = f"expected numbers of {len(self.leads)} leads by samples"
            raise ReadError(f"X[{number}]: {held.dtype} of shape {held.shape}; {expected}")
        signal = np.asarray(held, dtype=np.float32) * np.float32(self.factor)
        signal[~np.isfinite(signal)] = np.nan
        units = (self.unit,) * len(self.leads)
        where = Path(f"X[{number}]")
        return Recording(
            signal, self.rate_hz, self.leads, metadata=metadata or {}, path=where, format="array", units=units
        )

    def doubt(self) -> str | None:
        """Return a sentence when the values cannot be those of ECGs in the declared unit, from some of them."""
        some = np.linspace(0, len(self) - 1, min(len(self), SAMPLED)).astype(int)
        values = [np.abs(np.asarray(self.signals[i], dtype=np.float32)).ravel()[::7] for i in some]
        each = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in values]) * self.factor
        typical = float(np.median(each)) if each.size else 0.0
        if each.size and not SMALL_MV <= typical <= LARGE_MV:
            return (
                f"the median of the values is {typical:.3g} mV in the declared unit {self.unit}, of ECGs about 0.1 mV: "
                "is the unit right?"
            )
        return None


def _signals(given: Any) -> Sequence[NDArray[Any]] | NDArray[Any]:
    """Return tensors as arrays, masked values as not recorded; anything that is indexed as it is (HDF5, a list)."""
    if is_array(given):
        held = given if type(given) is np.memmap else plain_array(given, "X")
        if not held.ndim:
            raise ConfigError("X: one number given; expected (N, leads, samples)")
        return held
    if isinstance(given, str | bytes | Mapping) or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise ConfigError(
            f"X: a {type(given).__name__} given; expected (N, leads, samples), or a list of (leads, samples)"
        )
    return cast("Sequence[NDArray[Any]]", given)


def _shape(signals: Sequence[NDArray[Any]] | NDArray[Any]) -> tuple[int, int]:
    """Return leads and samples of the first recording. Raises ConfigError for what holds no recordings."""
    if not len(signals):
        raise ConfigError("X holds no recording")
    dimensions = getattr(signals, "ndim", 3)
    first = np.shape(signals[0])
    if dimensions != 3 or len(first) != 2:
        got = getattr(signals, "shape", f"a list whose first element has shape {first}")
        raise ConfigError(f"X: {got}; expected (N, leads, samples), or a list of (leads, samples)")
    return int(first[0]), int(first[1])


def _lead(name: Any) -> str:
    lead = canonical_lead(name) if isinstance(name, str) else None
    if lead is None:
        raise ConfigError(f"leads: {name!r} is no lead{nearest(str(name), LEADS)}")
    return lead
