"""ecgdatakit's parsers behind one door: what they raise is one line, what they warn of is kept."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.metadata import demographics
from ecgprism.errors import ReadError, one_line
from ecgprism.extras import library, needs
from ecgprism.formats.contract import Channel, Declaration, FileContent
from ecgprism.formats.groups import Group, merged

MAX_MARKUP = 40_000  # `<` of an XML file; ECGs have some thousands
_DECLARATION = 1024  # bytes; longer ones are none, and patterns of the library are slow on them
_OURS = re.compile(r"auto_scale=False|rounded to \d+ Hz|only the first is read|Leads \[")
#: the orthogonal leads as standards code them
FRANK = {"X": "VX", "Y": "VY", "Z": "VZ"}


@dataclass(frozen=True, eq=False)
class ParsedFile:
    """A record of ecgdatakit (samples as stored), what it warned of, and the check sums that did not fit."""

    record: Any
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def parsed(path: Path, title: str, module: str, parser: str) -> ParsedFile:
    """Parse a file with one parser of ecgdatakit. Raises ReadError with the format and the reason."""
    package = library(f"ecgdatakit.parsing.parsers.{module}", f"{path}: reading {title}", ReadError)
    sums = library("ecgdatakit.exceptions", f"{path}: reading {title}", ReadError).ChecksumWarning
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            record = getattr(package, parser)().parse(path)
    except ImportError as error:
        raise ReadError(needs(f"{path}: reading {title}", error.name or "ecgdatakit")) from None
    except RecursionError:
        raise ReadError(f"{path}: no valid {title} (nested too deeply)") from None
    except OSError:
        raise
    except Exception as error:  # the library wraps what its parsers stumble over, in kinds of its own
        reason = one_line(str(error).replace(f" in {path}", "").replace(f" of {path}", ""), 300)
        raise ReadError(f"{path}: no valid {title} ({reason or type(error).__name__})") from None
    if not record.leads or not any(len(lead.samples) for lead in record.leads):
        raise ReadError(f"{path}: {title} without a rhythm waveform")
    said = {one_line(w.message): w for w in caught if not issubclass(w.category, DeprecationWarning)}
    faults = tuple(text for text, w in said.items() if issubclass(w.category, sums))
    notes = tuple(text for text in said if text not in faults and not _OURS.search(text))
    return ParsedFile(record, notes, faults)


def xml(path: Path, title: str) -> Any:
    """Return the root of an XML file, namespaces taken off. Raises ReadError for one that is broken, big or a trap."""
    data = path.read_bytes()
    count = data.count(b"<")
    if count > MAX_MARKUP:
        raise ReadError(f"{path}: XML of about {count} elements; expected at most {MAX_MARKUP // 2} of an ECG")
    if data.lstrip()[:5] == b"<?xml" and b"?>" not in data.lstrip()[:_DECLARATION]:
        raise ReadError(f"{path}: no valid {title} (its XML declaration has no end)")
    try:
        return library("ecgdatakit.parsing.helpers.xml", f"{path}: reading {title}", ReadError).parse_xml_root(data)
    except RecursionError:
        raise ReadError(f"{path}: no valid {title} (nested too deeply)") from None
    except Exception as error:  # malformed XML, entities, encodings: the parsers raise what they like
        raise ReadError(f"{path}: no valid {title} ({one_line(error)})") from None


def text(element: Any, path: str) -> str:
    """Return the text of what stands at `path` below an element, or nothing."""
    found = None if element is None else element.find(path)
    return "" if found is None else " ".join("".join(found.itertext()).split())


def stored(lead: Any, rate_hz: float, **given: Any) -> Channel:
    """Return a lead of ecgdatakit as it is stored: samples, steps and unit; a number that makes it unique taken off."""
    unit, label = lead.resolution_unit or lead.units, lead.label[:100]
    base, _, number = label.rpartition("_")
    if number.isdigit() and (base in FRANK or canonical_lead(base)):
        label = base
    return Channel(
        label,
        lead.samples,
        unit,
        rate_hz,
        float(lead.resolution) if unit else 1.0,
        float(lead.offset) if unit else 0.0,
        **given,
    )


def usable(channels: Iterable[Channel], declared: Declaration) -> tuple[list[Channel], tuple[str, ...]]:
    """Return channels that are calibrated, Frank leads by our names, and those left out, each with the reason.

    Where no channel says its unit, all stay: the user is asked to declare it.
    """
    named = []
    for channel in channels:
        frank = channel.name in FRANK and channel.name not in declared.lead_aliases
        finite = channel.gain != 0 and math.isfinite(channel.gain) and math.isfinite(channel.offset)
        said = channel if finite else replace(channel, unit="", gain=1.0, offset=0.0)
        named.append(replace(said, name=FRANK[channel.name]) if frank else said)
    known = [bool(each.unit.strip() or declared.unit) for each in named]
    if not any(known):
        return named, ()
    lost = tuple(f"{each.name} (not calibrated)" for each, is_known in zip(named, known, strict=True) if not is_known)
    return [each for each, is_known in zip(named, known, strict=True) if is_known], lost


def medians(record: Any) -> tuple[str, ...]:
    """Return how the averaged beats of a record are named among what was skipped."""
    count = len(record.median_beats or ())
    return (f"averaged beat ({count} leads)",) if count else ()


def found(
    parts: ParsedFile,
    channels: Sequence[Channel],
    declared: Declaration,
    *,
    skipped: Iterable[str] = (),
    notes: Iterable[str] = (),
    details: dict[str, str] | None = None,
) -> FileContent:
    """Return what was found in a file that ecgdatakit parsed: patient, device and statements are its own."""
    kept, lost = usable(channels, declared)
    kept, again = merged([Group("rhythm", kept)], declared)
    patient = parts.record.patient
    return FileContent(
        kept,
        demographics(patient.age, patient.sex, patient.height, patient.weight),
        details=noted({**_details(parts.record), **(details or {})}, [*parts.notes, *notes]),
        patient_id=patient.patient_id or None,
        skipped=(*lost, *again, *skipped),
    )


def noted(details: dict[str, str], notes: Iterable[str]) -> dict[str, str]:
    """Return details with the notes of a reader and its library, at most twenty of them."""
    unique = list(dict.fromkeys([*filter(None, [details.get("notes")]), *notes]))
    if len(unique) > 20:
        unique[20:] = [f"and {len(unique) - 20} more"]
    return {**details, "notes": " | ".join(unique)} if unique else details


def _details(record: Any) -> dict[str, str]:
    """Return device, time, filters and the machine's statements as text, where the file has them."""
    recording, device = record.recording, record.recording.device
    filters = recording.acquisition.filters
    given = {
        "acquired": recording.date.isoformat() if recording.date else "",
        "manufacturer": device.manufacturer,
        "device": device.model or device.name,
        "software": device.software_version,
        "highpass_hz": filters.highpass,
        "lowpass_hz": filters.lowpass,
        "notch_hz": filters.notch,
        "statements": " | ".join(" ".join(part for part in pair if part) for pair in record.interpretation.statements),
        "heart_rate_bpm": record.measurements.heart_rate,
        "qrs_ms": record.measurements.qrs_duration,
        "qt_ms": record.measurements.qt_interval,
    }
    return {key: str(value) for key, value in given.items() if value not in (None, "")}
