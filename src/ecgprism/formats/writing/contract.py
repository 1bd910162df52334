"""What the writers of all formats share: integers for millivolts, gaps, patient, packages that not everybody has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.formats.wfdb import NOT_RECORDED

Note = Callable[[str], None]

#: what one integer may mean; every one divides 1 mV, so that a whole number of mV is a whole number of steps
STEPS_UV = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
LIMIT = 32_000  # integers used on either side of zero: physical ranges become short decimal numbers
MAX_MILLIVOLTS = 5000.0


class ConversionError(EcgprismError):
    """A recording that the wanted format cannot hold, with the reason and what can hold it."""


@dataclass(frozen=True)
class DigitalSignal:
    """Integers (L, T) between -LIMIT and LIMIT, NOT_RECORDED for NaN; microvolts are offset + step * integer."""

    integers: NDArray[np.int16]
    steps_uv: tuple[float, ...]
    offsets_uv: tuple[int, ...]


def digitise(recording: Recording) -> DigitalSignal:
    """Choose for every lead the finest step that holds its range, and round."""
    integers = np.empty(recording.signal.shape, dtype=np.int16)
    steps, offsets = [], []
    for row, lead in enumerate(recording.leads):
        microvolts = recording.signal[row].astype(np.float64) * 1e3
        recorded = ~np.isnan(microvolts)
        low, high = (microvolts[recorded].min(), microvolts[recorded].max()) if recorded.any() else (0.0, 0.0)
        if max(-low, high) > MAX_MILLIVOLTS * 1e3:
            raise ConversionError(
                f"lead {lead} reaches {max(-low, high) / 1e3:g} mV; at most {MAX_MILLIVOLTS:g} mV can be written"
            )
        # An offset only where it spares digits: most readers are tested without one.
        offset = 0 if max(-low, high) <= LIMIT else round((low + high) / 2000) * 1000
        step = next(step for step in STEPS_UV if max(offset - low, high - offset) <= LIMIT * step)
        integers[row] = np.where(recorded, np.rint((np.nan_to_num(microvolts) - offset) / step), NOT_RECORDED)
        steps.append(step)
        offsets.append(offset)
    return DigitalSignal(integers, tuple(steps), tuple(offsets))


def filled(recording: Recording, digitised: DigitalSignal, target: Path, fill: bool, note: Note) -> NDArray[np.int16]:
    """Return integers (L, T) with 0 mV, or the nearest that the lead holds, where nothing was recorded.

    Raises ConversionError where there are gaps and `fill` does not allow it.
    """
    gaps = digitised.integers == NOT_RECORDED
    if not gaps.any():
        return digitised.integers
    lead = recording.leads[int(gaps.any(axis=1).argmax())]
    what = f"{int(gaps.sum())} samples were not recorded (the first ones in lead {lead})"
    if not fill:
        raise ConversionError(
            f"{target}: {what} and {target.suffix} cannot say so; write WFDB, or 0 mV with --fill (fill=True)"
        )
    note(f"{target}: {what}; written as 0 mV")
    return np.where(gaps, zeros(digitised), digitised.integers).astype(np.int16)


def zeros(digitised: DigitalSignal) -> NDArray[np.int64]:
    """Return the integers (L, 1) of 0 mV, or of what is nearest to it in the range of a lead far from zero."""
    integers = [round(-o / step) for o, step in zip(digitised.offsets_uv, digitised.steps_uv, strict=True)]
    return np.clip(integers, -LIMIT, LIMIT)[:, None]


def age_years(recording: Recording) -> float | None:
    """Return the age, where the recording has one."""
    age = recording.metadata.get("age")
    return float(age) if isinstance(age, int | float) and 0 <= age < 200 else None


def spelled_sex(recording: Recording, letters: Mapping[str, str]) -> str:
    """Return the sex as a format spells it, or nothing."""
    return letters.get(str(recording.metadata.get("sex", "")), "")


def moment(recording: Recording) -> datetime | None:
    """Return when a recording was acquired, where its details tell a time or a day."""
    try:
        return datetime.fromisoformat(recording.details.get("acquired", ""))
    except ValueError:
        return None


def filters(recording: Recording) -> dict[str, float]:
    """Return the filters that the device says it used, in Hz: `highpass_hz`, `lowpass_hz`, `notch_hz`."""
    found = {}
    for key in ("highpass_hz", "lowpass_hz", "notch_hz"):
        try:
            value = float(recording.details.get(key, ""))
        except ValueError:
            continue
        if 0 < value < 1e5:
            found[key] = value
    return found
