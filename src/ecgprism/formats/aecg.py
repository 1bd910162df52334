"""HL7 annotated ECG: every rhythm series on one time line, increments as written.

ANSI/HL7 V3 ECG R1-2004: value = origin + scale * digit; the time sequence of a set gives its begin and increment.
The format carries neither check sums nor counts.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # to write one; defusedxml read it

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.recording import MAX_RATE_HZ, MIN_RATE_HZ, Recording
from ecgprism.errors import ReadError
from ecgprism.formats import datakit
from ecgprism.formats.contract import Channel, Declaration, assembled
from ecgprism.formats.groups import MAX_GROUPS, Group, merged

TITLE = "HL7 aECG"
_SECONDS = {"s": "1", "ms": "0.001", "us": "0.000001", "µs": "0.000001"}
_A_DATE = 1e9  # seconds; a begin beyond is a moment of history, not one of the recording
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(?:\.(\d{1,9}))?([+-]\d{4})?")


def read(path: Path, declared: Declaration) -> Recording:
    """Read the rhythm series of a file; averaged beats are named as skipped. Raises ReadError with the reason."""
    root = datakit.xml(path, TITLE)
    parts = _described(path, root)
    groups: list[Group] = []
    skipped, notes = list[str](), list[str]()
    for number, series in enumerate(root.findall("component/series"), 1):
        averaged = _code(series) == "REPRESENTATIVE_BEAT"
        held = _groups(path, series, f"series {number}", declared, skipped, averaged=averaged)
        if not averaged:
            notes += _span(path, series, f"series {number}", held)
        groups += held
        for derived in series.findall("derivation/derivedSeries"):
            count = sum("_ECG_LEAD_" in _code(each) for each in derived.iter("sequence"))
            skipped.append(f"averaged beat ({count} leads)")
    if len(groups) > MAX_GROUPS:
        raise ReadError(f"{path}: {TITLE} of {len(groups)} series and sets; expected at most {MAX_GROUPS}")
    channels, left = merged(_timed(groups), declared)
    if not channels:
        raise ReadError(f"{path}: {TITLE} without a rhythm waveform")
    found = datakit.found(parts, channels, declared, skipped=(*skipped, *left), notes=notes)
    return assembled(path, TITLE, found, declared)


def _described(path: Path, root: Any) -> datakit.ParsedFile:
    """Return what ecgdatakit says of patient, device and statements: it gets a copy without the samples."""
    texts = [(each, each.text) for each in root.iter("digits") if (each.text or "").strip()]
    for each, _ in texts:
        each.text = "0"
    try:
        content = ElementTree.tostring(root)
    except RecursionError:
        raise ReadError(f"{path}: no valid {TITLE} (nested too deeply)") from None
    with tempfile.TemporaryDirectory(prefix="ecgprism-") as folder:
        copy = Path(folder, "copy.xml")
        copy.write_bytes(content)
        for each, text in texts:
            each.text = text
        try:
            return datakit.parsed(copy, TITLE, "hl7_aecg", "HL7aECGParser")
        except ReadError as error:
            raise ReadError(str(error).replace(str(copy), str(path))) from None


def _groups(
    path: Path, series: Any, name: str, declared: Declaration, skipped: list[str], *, averaged: bool
) -> list[Group]:
    """Return a group for every sequence set; what is no lead is named in `skipped`."""
    groups = []
    for number, held in enumerate(series.findall("component/sequenceSet"), 1):
        where = name if number == 1 else f"{name}, set {number}"
        sequences = held.findall("component/sequence")
        timed = next((each for each in sequences if _code(each).startswith("TIME_")), None)
        rate_hz, start_s = (None, 0.0) if timed is None else _time(path, timed, where)
        channels = []
        for each in sequences:
            code = _code(each)
            if code.startswith("TIME_"):
                continue
            if "_ECG_LEAD_" not in code or rate_hz is None:
                skipped.append(f"{code or 'a sequence without a code'} ({where})")
                continue
            channels.append(_channel(path, each, code.split("_ECG_LEAD_", 1)[1], rate_hz))
        kept, lost = datakit.usable(channels, declared)
        skipped += lost
        if kept:
            groups.append(Group(where, kept, start_s, averaged))
    return groups


def _channel(path: Path, sequence: Any, lead: str, rate_hz: float) -> Channel:
    value = sequence.find("value")
    samples = _digits(path, lead, value)
    scale, origin = _quantity(value, "scale"), _quantity(value, "origin")
    if scale is None or not scale[0]:
        return Channel(lead, samples, "", rate_hz)
    gain, unit = float(scale[0]), scale[1]
    if origin is None or not origin[0]:
        return Channel(lead, samples, unit, rate_hz, gain)
    if origin[1] not in ("", unit):
        raise ReadError(f"{path}: {TITLE} lead {lead} has its origin in {origin[1]!r} and its scale in {unit!r}")
    return Channel(lead, samples, unit, rate_hz, gain, float(origin[0]))


def _digits(path: Path, lead: str, value: Any) -> NDArray[np.float64]:
    digits = None if value is None else value.find("digits")
    text = "" if digits is None else (digits.text or "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy stops at what is no number, with a warning
            return np.fromstring(text, sep=" ")
    except (ValueError, DeprecationWarning):
        raise ReadError(f"{path}: {TITLE} lead {lead} has digits that are no numbers") from None


def _quantity(value: Any, name: str) -> tuple[Decimal, str] | None:
    found = None if value is None else value.find(name)
    if found is None:
        return None
    try:
        number = Decimal((found.get("value") or "").strip())
    except InvalidOperation:
        return None
    return (number, (found.get("unit") or "").strip()[:40]) if number.is_finite() else None


def _time(path: Path, sequence: Any, where: str) -> tuple[float, float]:
    """Return rate (Hz) and begin (s, of an unknown or a common moment) of a set."""
    value = sequence.find("value")
    step = _quantity(value, "increment")
    if step is None or step[1] not in _SECONDS or not 0 < step[0] < 10**9:
        said = None if value is None or value.find("increment") is None else str(value.find("increment").attrib)[:100]
        raise ReadError(f"{path}: {TITLE} {where} has a time increment of {said}; expected s, ms or us")
    rate_hz = float(1 / (step[0] * Decimal(_SECONDS[step[1]])))
    head = value.find("head")
    if head is None:
        return rate_hz, 0.0
    if _code(sequence) == "TIME_ABSOLUTE":
        return rate_hz, _moment((head.get("value") or "").strip()) or 0.0
    begin = _quantity(value, "head")
    return rate_hz, float(begin[0] * Decimal(_SECONDS.get(begin[1], "1"))) if begin else 0.0


def _timed(groups: list[Group]) -> list[Group]:
    """Return groups with begins from the first date on: some writers give dates, some a time, some none at all."""
    first = min((group.start_s for group in groups if group.start_s >= _A_DATE), default=0.0)
    return [replace(group, start_s=group.start_s - (first if group.start_s >= _A_DATE else 0.0)) for group in groups]


def _moment(text: str) -> float | None:
    """Return seconds of a time stamp, exact to the microsecond, or None for what is none."""
    match = _TIME.fullmatch(text)
    if not match or match[5] is None:
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    shift = int(match[8][:3]) * 3600 + int(match[8][0] + match[8][3:]) * 60 if match[8] else 0
    return (moment - datetime(1, 1, 1)) / timedelta(seconds=1) - shift + float(f"0.{match[7] or 0}")


def _span(path: Path, series: Any, name: str, groups: list[Group]) -> list[str]:
    """Return what is said where the times of a series tell of another length than its samples and increment.

    Raises ReadError where another rate would explain it; an excerpt of a few samples is none.
    """
    low, high = (_moment(_value(series, f"effectiveTime/{edge}")) for edge in ("low", "high"))
    if low is None or high is None or high <= low or not groups:
        return []
    ends = [group.start_s + group.samples / group.channels[0].rate_hz for group in groups]
    held_s, said_s = max(ends) - min(group.start_s for group in groups), high - low
    if abs(held_s - said_s) <= max(2.0, 0.05 * held_s):  # time stamps often end at whole seconds
        return []
    said = f"{TITLE} {name} lasts {said_s:g} s by its times, {held_s:g} s by its samples and increment"
    if MIN_RATE_HZ <= groups[0].channels[0].rate_hz * held_s / said_s <= MAX_RATE_HZ:
        raise ReadError(f"{path}: {said}")
    return [said]


def _value(element: Any, path: str) -> str:
    found = element.find(path)
    return "" if found is None else (found.get("value") or "").strip()


def _code(element: Any) -> str:
    found = element.find("code")
    return "" if found is None else (found.get("code") or "").strip().upper()[:100]
