"""What the readers of all formats share: what a user declares, channels to leads, millivolts, limb leads."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, canonical_lead
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.ecg.units import MILLIVOLTS_PER_UNIT
from ecgprism.errors import ReadError, nearest

MAX_SAMPLES = 2_000_000_000  # of all channels together; more is a damaged length field
MAX_AGE_YEARS = 130
MAX_ELEMENTS = 200_000  # of an XML file; ECGs have some thousands


@dataclass(frozen=True)
class Declared:
    """What a user says of files that do not say it themselves; what a file says wins, except for lead spellings.

    `lead_aliases` maps spellings to canonical leads, `leads` names the columns of a table without names.
    `accept_damaged` reads what contradicts its own check sums and counts, and says so in `details["damaged"]`.
    """

    lead_aliases: Mapping[str, str] = field(default_factory=dict)
    rate_hz: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] | None = None
    accept_damaged: bool = False


@dataclass(frozen=True, eq=False)
class Channel:
    """One channel as a file has it: its name there, samples (T,) that are `unit` after gain and offset, its rate.

    One whose electrode was off (`connected` false) is a lead, but no lead is derived from it.
    """

    name: str
    samples: NDArray[Any]
    unit: str
    rate_hz: float
    gain: float = 1.0
    offset: float = 0.0
    connected: bool = True


@dataclass(frozen=True, eq=False)
class Found:
    """What a reader found in a file, before leads are named and millivolts made; `skipped` it names with the reason."""

    channels: Sequence[Channel]
    metadata: Mapping[str, float | str] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    patient_id: str | None = None
    skipped: tuple[str, ...] = ()


def millivolts_per(unit: str, where: str) -> float:
    """Return how many millivolts one `unit` is. Raises ReadError, with the way to declare it, for an unknown unit."""
    step = re.fullmatch(r"\s*([\d.]*)\s*(\S*)\s*", unit)  # `5uV`: steps of so much
    factor = MILLIVOLTS_PER_UNIT.get(step[2].lower()) if step else None
    if factor is not None and step and step[1]:
        factor *= _number(step[1]) or 0.0
    if not factor:
        said = f"has unit {unit!r}" if unit.strip() else "says no unit"
        raise ReadError(
            f"{where} {said}{nearest(unit, ['mV', 'uV', 'nV', 'V'])} Declare it, as in --unit uV or --unit 5uV"
        )
    return factor


def assembled(path: Path, name: str, found: Found, declared: Declared) -> Recording:
    """Return the recording of a file in format `name`: ECG leads by canonical name, the others listed as skipped.

    Limb leads are derived when two of I, II, III are there. Raises ReadError for no ECG channel, an unknown unit, leads
    of different rates or lengths.
    """
    if not found.channels:
        raise ReadError(f"{path}: {name} without any channel")
    leads = [canonical_lead(channel.name, declared.lead_aliases) for channel in found.channels]
    kept = [(lead, channel) for lead, channel in zip(leads, found.channels, strict=True) if lead]
    if not kept:
        names = [channel.name for channel in found.channels]
        raise ReadError(
            f"{path}: no channel is a known ECG lead (channels: {', '.join(map(repr, names[:20]))})"
            f"{nearest(names[0], LEADS)} Declare other spellings, as in --lead {names[0].strip() or 'NAME'}=I"
        )
    first = kept[0][1]
    for lead, channel in kept:
        if channel.rate_hz != first.rate_hz:
            raise ReadError(f"{path}: lead {lead} has {channel.rate_hz:g} Hz, lead {kept[0][0]} {first.rate_hz:g} Hz")
        if len(channel.samples) != len(first.samples):
            raise ReadError(
                f"{path}: lead {lead} has {len(channel.samples)} samples, lead {kept[0][0]} {len(first.samples)}"
            )
    if len(kept) * len(first.samples) > MAX_SAMPLES:
        raise ReadError(f"{path}: {len(kept)} leads of {len(first.samples)} samples cannot be one recording")
    signal = np.empty((len(kept), len(first.samples)), dtype=np.float32)
    for row, (lead, channel) in enumerate(kept):
        unit = channel.unit if channel.unit.strip() else declared.unit or ""
        factor = millivolts_per(unit, f"{path}: lead {lead}")
        gain, offset = channel.gain * factor, channel.offset * factor
        values = channel.samples if gain == 1 else channel.samples * gain
        signal[row] = values if offset == 0 else values + offset
    if not math.isfinite(float(signal.sum())):
        signal[~np.isfinite(signal)] = np.nan
    return with_limb_leads(
        Recording(
            signal=signal,
            rate_hz=float(first.rate_hz),
            leads=tuple(lead for lead, _ in kept),
            patient_id=found.patient_id or None,
            metadata=found.metadata,
            skipped=(*(c.name for lead, c in zip(leads, found.channels, strict=True) if not lead), *found.skipped),
            path=path,
            format=name,
            units=tuple(channel.unit.strip() or declared.unit or "" for _, channel in kept),
            annotations=found.annotations,
            details=found.details,
        ),
        frozenset(lead for lead, channel in kept if not channel.connected),
    )


#: the limb leads as sums of two that may be there (Einthoven, Goldberger)
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
_FROM = {
    ("I", "II"): ((1, 0), (0, 1), (-1, 1), (-0.5, -0.5), (1, -0.5), (-0.5, 1)),
    ("I", "III"): ((1, 0), (1, 1), (0, 1), (-1, -0.5), (0.5, -0.5), (0.5, 1)),
    ("II", "III"): ((1, -1), (1, 0), (0, 1), (-1, 0.5), (0.5, -1), (0.5, 0.5)),
}


def with_limb_leads(recording: Recording, unconnected: frozenset[str] = frozenset()) -> Recording:
    """Return the recording with the limb leads that follow from two of I, II, III, in canonical order."""
    held = dict(zip(recording.leads, range(len(recording.leads)), strict=True))
    pair = next(
        (pair for pair in _FROM if not unconnected.intersection(pair) and all(lead in held for lead in pair)), None
    )
    if pair is None or all(lead in held for lead in _LIMB):
        return recording
    a, b = (recording.signal[held[lead]] for lead in pair)
    rows = {lead: recording.signal[at] for lead, at in held.items()}
    units = dict(zip(recording.leads, recording.units, strict=False))
    for lead, (x, y) in zip(_LIMB, _FROM[pair], strict=True):
        if lead not in rows:
            rows[lead] = (x * a + y * b).astype(np.float32)
            units[lead] = "derived"
    order = [lead for lead in LEADS if lead in rows]
    return replace(
        recording,
        signal=np.stack([rows[lead] for lead in order]),
        leads=tuple(order),
        units=tuple(units[lead] for lead in order) if recording.units else (),
    )


def damaged(path: Path, declared: Declared, faults: Sequence[str]) -> dict[str, str]:
    """Return the detail that tells of faults (sums and counts that do not fit) which the user accepts.

    Raises ReadError with the first one where damage is not accepted.
    """
    if not faults:
        return {}
    if not declared.accept_damaged:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ReadError(f"{path}: {faults[0]}{more}: it is damaged; --accept-damaged reads it all the same")
    return {"damaged": " | ".join(faults[:20])}


def check_xml(path: Path) -> None:
    """Raise ReadError for an XML file with more elements than any ECG has: a tree of them would fill the memory."""
    count = path.read_bytes().count(b"<") // 2
    if count > MAX_ELEMENTS:
        raise ReadError(f"{path}: XML of about {count} elements; expected at most {MAX_ELEMENTS} of an ECG")


def demographics(
    age: object = None, sex: object = None, height_cm: object = None, weight_kg: object = None
) -> dict[str, float | str]:
    """Return metadata of what a file says of the patient; what is missing or impossible is left out."""
    out: dict[str, float | str] = {}
    for key, value, limit in (("age", age, MAX_AGE_YEARS), ("height", height_cm, 260), ("weight", weight_kg, 400)):
        number = _number(value)
        if number is not None and 0 <= number <= limit and (number > 0 or key == "age"):
            out[key] = number
    letter = str(sex or "").strip().lower()
    if letter in ("f", "female", "w", "woman"):
        out["sex"] = "female"
    elif letter in ("m", "male", "man"):
        out["sex"] = "male"
    return out


def _number(value: object) -> float | None:
    match = re.fullmatch(r"\s*(\d+(\.\d+)?)\s*", str(value)) if value is not None else None
    return float(match[1]) if match else None
