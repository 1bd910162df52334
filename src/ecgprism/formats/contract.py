"""What the readers of all formats share: what a user declares, channels to leads, millivolts, limb leads."""

from __future__ import annotations

import math
import re
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, canonical_lead
from ecgprism.ecg.recording import FLAT_MV, MAX_RATE_HZ, MIN_RATE_HZ, Annotation, Recording, check_rate
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ReadError, nearest

MAX_SAMPLES = 2_000_000_000  # of all channels together; more is a damaged length field
FREE_SAMPLES = 5_000_000  # however small a file is, so many may come of it; beyond, two of each byte
MAX_CHANNELS = 10_000
MAX_ELEMENTS = 200_000  # of an XML file; ECGs have some thousands
LEFT_OUT = "-"  # among declared leads: this channel is none


@dataclass(frozen=True)
class Declaration:
    """What a user says of a file. It wins where the file says nothing, or nothing that can be.

    `lead_aliases` maps spellings to canonical leads (`ECG#2` is the second channel called ECG); `leads` names all
    channels, or all ECG channels, by position (`-` for one that is left out), or else chooses among the leads of the
    file. A rate or unit that the file says otherwise is an error. `zero` is the number that means 0 mV in a table. With
    `accept_damaged` a file whose sums or counts do not fit is read, and the recording marked.
    """

    lead_aliases: Mapping[str, str] = field(default_factory=dict)
    rate_hz: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] | None = None
    zero: float | None = None
    accept_damaged: bool = False

    def with_aliases(self, aliases: Mapping[str, str]) -> Declaration:
        """Return the same with further lead spellings, which hold before its own."""
        return replace(self, lead_aliases={**self.lead_aliases, **aliases})

    @property
    def step(self) -> str | None:
        """The unit where it tells the size of a step (`5uV`): what calibrates a channel that has no gain."""
        return self.unit if self.unit and self.unit.strip()[:1].isdigit() else None


@dataclass(frozen=True, eq=False)
class Channel:
    """One channel as a file has it: its name there, samples (T,), unit, rate.

    The samples are `unit` after `(samples - zero) * gain + offset`; `missing` marks a sample that was not recorded.
    Where there is a `problem`, the channel is not read but listed with it. One whose electrode was off (`connected`
    false) is a lead, but no lead is derived from it.
    """

    name: str
    samples: NDArray[Any]
    unit: str
    rate_hz: float
    gain: float = 1.0
    offset: float = 0.0
    zero: float = 0.0
    missing: int | None = None
    problem: str = ""
    connected: bool = True


@dataclass(frozen=True, eq=False)
class FileContent:
    """What a reader found in a file, before leads are named and millivolts made.

    `skipped` names what the reader itself left out, with the reason.
    """

    channels: Sequence[Channel]
    metadata: Mapping[str, float | str] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    patient_id: str | None = None
    skipped: tuple[str, ...] = ()


def check_regular(path: Path) -> int:
    """Return the size of a file in bytes. Raises ReadError where there is none.

    A pipe, a socket or a device is none: opening one may wait for ever, reading it never end.
    """
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with NUL in it is none
        raise ReadError(f"{path}: no such file") from None
    if not stat.S_ISREG(state.st_mode):
        raise ReadError(f"{path}: {'a folder' if stat.S_ISDIR(state.st_mode) else 'a pipe, socket or device'}, no file")
    return state.st_size


def check_size(path: Path, samples: int, held_bytes: int) -> None:
    """Raise ReadError where so many samples (of all channels) cannot come of so many bytes."""
    if samples > min(MAX_SAMPLES, FREE_SAMPLES + 2 * held_bytes):
        raise ReadError(
            f"{path}: announces {samples:.12g} samples, gaps included, and holds {held_bytes} bytes; if that is right, "
            "read parts of it: ecgprism.open_recording(path).read(start_s, stop_s)"
        )


def millivolts_per(unit: str, where: str) -> float:
    """Return how many millivolts one `unit` is. Raises ReadError, with the way to declare it, for an unknown unit."""
    factor = millivolts(unit)
    if factor is None:
        said = f"has unit {unit[:40]!r}" if unit.strip() else "says no unit"
        hint = nearest(unit[:40], ["mV", "uV", "nV", "V"])
        raise ReadError(f'{where} {said}{hint} Declare it, as in --unit uV or --unit 5uV (unit="5uV")')
    return factor


def assembled(path: Path, name: str, found: FileContent, declared: Declaration) -> Recording:
    """Return the recording of a file in format `name`: ECG leads by canonical name, the others listed as skipped.

    Of leads of several rates the most common one is read (the highest of equally common ones). Raises ReadError for no
    ECG channel, an unknown unit, a declaration that contradicts the file, leads of different lengths.
    """
    if not found.channels:
        raise ReadError(f"{path}: {name} without any channel")
    kept, skipped = _chosen(path, found.channels, declared)
    samples = len(kept[0][1].samples)
    for lead, channel in kept:
        if len(channel.samples) != samples:
            raise ReadError(f"{path}: lead {lead} has {len(channel.samples)} samples, lead {kept[0][0]} {samples}")
    if len(kept) * samples > MAX_SAMPLES:
        raise ReadError(f"{path}: {len(kept)} leads of {samples} samples cannot be one recording")
    signal = np.empty((len(kept), samples), dtype=np.float32)
    for row, (_, channel), factor in zip(signal, kept, _factors(path, kept, declared), strict=True):
        _fill(row, channel, factor)
    if not math.isfinite(float(signal.sum())):
        signal[~np.isfinite(signal)] = np.nan
    return Recording(
        signal=signal,
        rate_hz=_rate(path, kept[0][1].rate_hz, declared),
        leads=tuple(lead for lead, _ in kept),
        patient_id=found.patient_id or None,
        metadata=found.metadata,
        skipped=(*skipped, *found.skipped),
        path=path,
        format=name,
        units=tuple(channel.unit.strip() or declared.unit or "" for _, channel in kept),
        annotations=found.annotations,
        details=found.details,
        unconnected=tuple(lead for lead, channel in kept if not channel.connected),
    )


def _fill(row: NDArray[np.float32], channel: Channel, millivolts_per_unit: float) -> None:
    """Write the samples of a channel as millivolts (T,)."""
    gain, offset = channel.gain * millivolts_per_unit, channel.offset * millivolts_per_unit
    values = channel.samples
    if channel.zero:
        values = np.subtract(values, channel.zero, dtype=np.float64)
    if offset:
        row[:] = np.multiply(values, gain, dtype=np.float64) + offset
    else:
        np.multiply(values, gain, out=row, dtype=np.float64, casting="unsafe")
    if channel.missing is not None:
        absent = channel.samples == channel.missing
        if absent.any():
            row[absent] = np.nan


def _chosen(
    path: Path, channels: Sequence[Channel], declared: Declaration
) -> tuple[list[tuple[str, Channel]], list[str]]:
    """Return the channels that become leads, by canonical name, and what the others are called, with reasons."""
    kept: list[tuple[str, Channel]] = []
    skipped: list[str] = []
    problems: list[str] = []
    for lead, channel in zip(lead_names(path, channels, declared), channels, strict=True):
        if lead and not channel.problem:
            kept.append((lead, channel))
        elif lead:
            problems.append(f"lead {channel.name} is {channel.problem}")
            skipped.append(f"{channel.name} ({channel.problem})")
        else:
            skipped.append(channel.name)
    if problems and not kept:
        raise ReadError(f"{path}: {problems[0]}")
    if not kept:
        names = [channel.name for channel in channels]
        raise ReadError(
            f"{path}: no channel is a known ECG lead (channels: {', '.join(map(repr, names[:20]))})"
            f"{nearest(names[0][:40], LEADS)} Declare other spellings (lead_aliases={{...}}), as in --lead "
            f"{_option(names[0] + '#1' if names.count(names[0]) > 1 else names[0])}"
        )
    if len({channel.rate_hz for _, channel in kept}) > 1:
        rates = Counter(channel.rate_hz for _, channel in kept)
        best = max(rates, key=lambda rate_hz: (rates[rate_hz], rate_hz))
        others = [channel for _, channel in kept if channel.rate_hz != best]
        skipped += [f"{c.name} ({c.rate_hz:g} Hz, the leads that were read have {best:g} Hz)" for c in others]
        kept = [(lead, channel) for lead, channel in kept if channel.rate_hz == best]
    leads = [lead for lead, _ in kept]
    double = next((lead for lead in leads if leads.count(lead) > 1), None)
    if double:
        names = [channel.name for lead, channel in kept if lead == double]
        by_position = ",".join(LEADS[: len(channels)][:12])
        raise ReadError(
            f"{path}: lead {double} is there more than once ({', '.join(map(repr, names[:5]))}); say which is which, "
            f"as in --leads {by_position} (leads=[...]), or as in --lead {_option(names[0] + '#2')}"
        )
    return kept, skipped


def _option(name: str) -> str:
    """Return `NAME=I` as it is typed into a shell."""
    word = f"{name.strip() or 'NAME'}=I"
    return word if re.fullmatch(r"[\w.,=:/+-]*", word) else "'" + word.replace("'", "'\\''") + "'"


def lead_names(path: Path, channels: Sequence[Channel], declared: Declaration) -> list[str | None]:
    """Return the canonical lead of every channel, None for one that is none or is not wanted."""
    named = [canonical_lead(channel.name, declared.lead_aliases) for channel in channels]
    if any("#" in spelling for spelling in declared.lead_aliases):
        seen: Counter[str] = Counter()
        for at, channel in enumerate(channels):
            name = channel.name.strip(" \t\r\n\x00")
            seen[name] += 1
            named[at] = declared.lead_aliases.get(f"{name}#{seen[name]}", named[at])
    if not declared.leads:
        return named
    wanted = [_declared_lead(path, text, declared) for text in declared.leads]
    if len(wanted) == len(named):
        return wanted
    ecg = [at for at, lead in enumerate(named) if lead]
    if len(wanted) == len(ecg):
        by_position = dict(zip(ecg, wanted, strict=True))
        return [by_position.get(at) for at in range(len(named))]
    if set(wanted) <= set(named):
        return [lead if lead in wanted else None for lead in named]
    raise ReadError(
        f"{path}: {len(named)} channels ({', '.join(repr(c.name) for c in channels[:12])}), {len(ecg)} of them ECG "
        f"leads, {len(wanted)} declared leads; name all of them by position, or choose among them"
    )


def _declared_lead(path: Path, text: str, declared: Declaration) -> str | None:
    if text.strip() == LEFT_OUT:
        return None
    lead = canonical_lead(text, declared.lead_aliases)
    if lead is None:
        raise ReadError(f"{path}: the declared lead {text[:40]!r} is none{nearest(text[:40], LEADS)}")
    return lead


def _factors(path: Path, kept: Sequence[tuple[str, Channel]], declared: Declaration) -> list[float]:
    """Return the millivolts of each lead's unit: the file's, or what is declared where that is none.

    Where no lead leaves it open, another unit than the file's is an error.
    """
    said = [millivolts(channel.unit) for _, channel in kept]
    if declared.unit is None:
        return [f or millivolts_per(c.unit, f"{path}: lead {lead}") for f, (lead, c) in zip(said, kept, strict=True)]
    given = millivolts(declared.unit)
    if given is None:
        hint = nearest(declared.unit[:40], ["mV", "uV", "nV", "V"])
        raise ReadError(f"{path}: the declared unit {declared.unit[:40]!r} is none{hint}")
    for factor, (lead, channel) in zip(said, kept, strict=True):
        if None not in said and factor is not None and not math.isclose(factor, given):
            unit = channel.unit.strip()
            raise ReadError(
                f"{path}: lead {lead} has unit {unit!r}; declared is {declared.unit!r}: one of them is wrong"
            )
    return [given if factor is None else factor for factor in said]


def _rate(path: Path, said_hz: float, declared: Declaration) -> float:
    """Return the rate: the file's, or what is declared where that is none of an ECG."""
    given_hz = declared.rate_hz
    if given_hz is None or said_hz == given_hz:
        return float(said_hz)
    check_rate(given_hz, f"{path}: declared ")
    if MIN_RATE_HZ <= said_hz <= MAX_RATE_HZ and not math.isclose(said_hz, given_hz, rel_tol=1e-6):
        raise ReadError(f"{path}: has a rate of {said_hz:g} Hz; declared are {given_hz:g} Hz: one of them is wrong")
    return float(given_hz if not MIN_RATE_HZ <= said_hz <= MAX_RATE_HZ else said_hz)


#: the limb leads as sums of two that may be there (Einthoven, Goldberger)
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
_FROM = {
    ("I", "II"): ((1, 0), (0, 1), (-1, 1), (-0.5, -0.5), (1, -0.5), (-0.5, 1)),
    ("I", "III"): ((1, 0), (1, 1), (0, 1), (-1, -0.5), (0.5, -0.5), (0.5, 1)),
    ("II", "III"): ((1, -1), (1, 0), (0, 1), (-1, 0.5), (0.5, -1), (0.5, 0.5)),
}
SOURCES_OF_LIMB_LEADS = _LIMB[:3]


def connected(recording: Recording) -> frozenset[str]:
    """Return those of leads I, II, III that are no flat line and were not off: others are no source of leads."""
    found = set()
    for lead, values in zip(recording.leads, recording.signal, strict=True):
        if lead in recording.unconnected:
            continue
        if lead in SOURCES_OF_LIMB_LEADS and np.fmax.reduce(values) - np.fmin.reduce(values) >= FLAT_MV:
            found.add(lead)
    return frozenset(found)


def with_limb_leads(recording: Recording, sources: Collection[str] | None = None) -> Recording:
    """Return the recording with the limb leads that follow from two of I, II, III, in canonical order.

    `sources` are the leads that are connected, where more is known than this recording shows: a part of one.
    """
    held = dict(zip(recording.leads, range(len(recording.leads)), strict=True))
    pairs = [pair for pair in _FROM if pair[0] in held and pair[1] in held]
    if not pairs or all(lead in held for lead in _LIMB):
        return recording
    usable = connected(recording) if sources is None else sources
    pair = next((pair for pair in pairs if pair[0] in usable and pair[1] in usable), None)
    if pair is None:
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


def damaged(path: Path, declared: Declaration, faults: Sequence[str]) -> dict[str, str]:
    """Return the detail that tells of faults (sums and counts that do not fit) which the user accepts.

    Raises ReadError with the first one where damage is not accepted.
    """
    if not faults:
        return {}
    if not declared.accept_damaged:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ReadError(
            f"{path}: {faults[0]}{more}: it is damaged; --accept-damaged (accept_damaged=True) reads it all the same"
        )
    return {"damaged": " | ".join(faults[:20])}


def check_xml(path: Path) -> None:
    """Raise ReadError for an XML file with more elements than any ECG has: a tree of them would fill the memory."""
    count = path.read_bytes().count(b"<") // 2
    if count > MAX_ELEMENTS:
        raise ReadError(f"{path}: XML of about {count} elements; expected at most {MAX_ELEMENTS} of an ECG")
