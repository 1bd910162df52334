"""DICOM waveforms through pydicom: every multiplex group, rates as written, samples calibrated as the standard says.

PS3.3 C.10.9: value = sample * sensitivity * correction factor + baseline, in the channel's unit; a channel may begin
some samples late (skew) and have a value that means "nothing" (padding). DICOM carries no check sum of its samples.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.metadata import demographics
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.units import MILLIVOLTS_PER_UNIT
from ecgprism.errors import ReadError, one_line
from ecgprism.extras import library
from ecgprism.formats.contract import MAX_CHANNELS, Channel, Declaration, FileContent, assembled, damaged
from ecgprism.formats.datakit import noted, usable
from ecgprism.formats.groups import MAX_GROUPS, Group, merged

FREE_BYTES, MAX_RATIO = 6 * 2**20, 6  # of what a deflated file may unpack to; its samples become three times as much
MAX_ITEMS, MAX_ELEMENTS = 20_000, 5_000  # sequence items, elements at the top; ECGs have some hundred
DEFLATED = "1.2.840.10008.1.2.1.99"
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_UNDEFINED = 0xFFFFFFFF
_TYPES = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2",
    (32, "SL"): "i4", (32, "UL"): "u4", (64, "SV"): "i8", (64, "UV"): "u8",
}  # fmt: skip
#: PS3.16 CID 3001 in its two codings (`2:1`, `5.6.3-9-1`)
_LEADS = {
    1: "I", 2: "II", **{n + 2: f"V{n}" for n in range(1, 8)}, **{n + 8: f"V{n}R" for n in range(2, 8)}, 16: "X",
    17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 66: "V8", 67: "V9", 68: "V8R", 69: "V9R",
}  # fmt: skip
_MEASURED = {
    "2:16770": "heart_rate_bpm", "8867-4": "heart_rate_bpm", "2:16156": "qrs_ms", "5.13.5-9": "qrs_ms",
    "2:16160": "qt_ms", "5.13.5-11": "qt_ms",
}  # fmt: skip
#: words in the label of a group that is an averaged beat
BEATS = ("MEDIAN", "REPRESENTATIVE", "AVERAGE", "BEAT", "TEMPLATE")
#: an annotation that has one of these marks a moment (an onset, a peak), and is no statement
_MOMENTS = ("ReferencedSamplePositions", "ReferencedTimeOffsets", "ReferencedDateTime")
_KEPT = (
    *("SpecificCharacterSet", "SOPClassUID", "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime"),
    *("ContentDate", "ContentTime", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC", "Manufacturer"),
    *("ManufacturerModelName", "StationName", "SoftwareVersions", "PatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight", "WaveformSequence", "WaveformAnnotationSequence"),
)


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of DICOM, with its preamble or without."""
    if head[128:132] == b"DICM":
        return True
    explicit = re.match(rb"[\x02\x08]\x00[\x00-\x1f]\x00(UL|OB|UI|CS|DA|TM|DT|SH|LO)", head)
    return bool(explicit or re.match(rb"\x08\x00[\x00-\x18]\x00[\x01-\x40]\x00\x00\x00[\x20-\x7e\x00]", head))


def read(path: Path, declared: Declaration) -> Recording:
    """Read a file. Raises ReadError with the reason."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset, faults = _dataset(path)
            found = _found(path, dataset, faults, declared)
    except (ReadError, OSError, MemoryError):
        raise
    except RecursionError:
        raise ReadError(f"{path}: no valid DICOM (nested too deeply)") from None
    except Exception as error:  # pydicom decodes values late and raises what its converters stumble over
        raise ReadError(f"{path}: no valid DICOM ({one_line(error)})") from None
    details = noted(dict(found.details), [one_line(w.message) for w in caught])
    return assembled(path, "DICOM", replace(found, details=details), declared)


# The file


def _dataset(path: Path) -> tuple[Any, list[str]]:
    """Return pydicom's data set of what an ECG needs, and where lengths do not fit."""
    pydicom = library("pydicom", f"{path}: reading DICOM", ReadError)
    data = _inflated(path, path.read_bytes(), pydicom)
    items = max(data.count(mark) for mark in _ITEMS)
    if items > MAX_ITEMS:
        raise ReadError(f"{path}: DICOM of about {items} sequence items; expected at most {MAX_ITEMS} of an ECG")
    file, faults, seen, end = io.BytesIO(data), [], 0, 0

    def look(tag: Any, vr: str | None, length: int) -> bool:
        nonlocal seen, end
        seen, at = seen + 1, file.tell()
        if seen > MAX_ELEMENTS:
            raise ReadError(f"{path}: DICOM of more than {MAX_ELEMENTS} elements")
        end = 0 if length == _UNDEFINED else at + length
        if end > len(data):
            faults.append(f"DICOM element {tag} says {length} bytes, the file holds {len(data) - at}")
        return False

    dataset = pydicom.filereader.read_partial(
        file, stop_when=look, force=True, specific_tags=[pydicom.tag.Tag(name) for name in _KEPT]
    )
    behind = data[file.tell() :] or (data[end:] if end > len(data) - 8 else b"")
    if behind.strip(b"\0"):
        faults.append(f"DICOM has {len(behind)} bytes behind its last element")
    return dataset, faults


def _inflated(path: Path, data: bytes, pydicom: Any) -> bytes:
    """Return the bytes of a file, unpacked when it is a deflated one; a trap is found while it opens."""
    if data[128:132] != b"DICM" or DEFLATED.encode() not in data[:4096]:
        return data
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        return data
    begin = 132 + 12 + int(meta.FileMetaInformationGroupLength)
    most = max(FREE_BYTES, MAX_RATIO * len(data))
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    body = unpack.decompress(data[begin:], most + 1)
    if len(body) > most:
        raise ReadError(f"{path}: deflated DICOM unpacks to more than {MAX_RATIO} times its size: not opened")
    if not unpack.eof:
        raise ReadError(f"{path}: no valid DICOM (its deflated data set is cut short)")
    return body


# Waveforms


def _found(path: Path, dataset: Any, faults: list[str], declared: Declaration) -> FileContent:
    groups: list[Group] = []
    notes, skipped = list[str](), list[str]()
    little = dataset.original_encoding[1] is not False
    waves = dataset.get("WaveformSequence") or []
    if len(waves) > MAX_GROUPS:
        raise ReadError(f"{path}: DICOM of {len(waves)} multiplex groups; expected at most {MAX_GROUPS}")
    longest = max((_samples_of(wave, "ORIGINAL") for wave in waves), default=0)
    for number, wave in enumerate(waves, 1):
        name = f"group {number}" + (f" {label}" if (label := _text(wave.get("MultiplexGroupLabel"))[:40]) else "")
        count, length = int(wave.get("NumberOfWaveformChannels") or 0), int(wave.get("NumberOfWaveformSamples") or 0)
        if count < 1 or length < 1 or wave.get("WaveformData") is None:
            skipped.append(f"{name} (no samples)")
            continue
        if count > MAX_CHANNELS:
            raise ReadError(f"{path}: DICOM {name} of {count} channels; expected at most {MAX_CHANNELS}")
        averaged = any(word in name.upper() for word in BEATS) or (
            0 < 2 * _samples_of(wave, "DERIVED") < longest  # an averaged beat without a label
        )
        rate_hz = _rate(path, name, wave)
        samples, padding = _samples(path, name, wave, (length, count), little, faults)
        recorded = _recorded(samples, padding)
        late: dict[float, list[Channel]] = {}
        for column, definition in enumerate([*(wave.get("ChannelDefinitionSequence") or []), *[None] * count][:count]):
            skew = _skew(definition, rate_hz)
            channel = _channel(path, definition, column, samples[:, column], recorded, rate_hz)
            late.setdefault(round(skew), []).append(channel)
            if skew != round(skew):
                notes.append(f"{channel.name} was sampled {skew - round(skew):g} of a sample later, left as it is")
        start_s = (_number(wave.get("MultiplexGroupTimeOffset")) or 0.0) / 1e3
        kept = {skew: usable(channels, declared) for skew, channels in late.items()}
        skipped += [reason for _, lost in kept.values() for reason in lost]
        groups += [Group(name, part, start_s + skew / rate_hz, averaged) for skew, (part, _) in kept.items() if part]
    channels, left = merged(groups, declared)
    if not channels:
        raise ReadError(f"{path}: DICOM without a rhythm waveform" + "".join(f" ({e})" for e in [*skipped, *left][:1]))
    details = _details(dataset) | damaged(path, declared, faults)
    metadata = _patient(dataset)
    if "age" not in metadata and (said := _text(dataset.get("PatientAge"))):
        notes.append(f"an age of {said[:40]!r} is not understood")
    details = noted(details, notes)
    return FileContent(channels, metadata, (), details, _text(dataset.get("PatientID")) or None, (*skipped, *left))


def _samples_of(wave: Any, originality: str) -> int:
    """Return the length of a group of this originality, else 0."""
    said = _text(wave.get("WaveformOriginality")).upper()
    return int(wave.get("NumberOfWaveformSamples") or 0) if said == originality else 0


def _rate(path: Path, name: str, wave: Any) -> float:
    rate_hz = _number(wave.get("SamplingFrequency"))
    if rate_hz is None or rate_hz <= 0:
        raise ReadError(
            f"{path}: DICOM {name} says a sampling frequency of {_text(wave.get('SamplingFrequency'))[:40]!r}"
        )
    return rate_hz


def _samples(
    path: Path, name: str, wave: Any, shape: tuple[int, int], little: bool, faults: list[str]
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the integers (T, L) of a group, and its padding value. Raises ReadError for what cannot be decoded."""
    bits, kind = int(wave.get("WaveformBitsAllocated") or 0), _text(wave.get("WaveformSampleInterpretation")).upper()
    if not kind:
        kind = {8: "SB", 16: "SS", 32: "SL", 64: "SV"}.get(bits, "")
    if (bits, kind) not in _TYPES:
        raise ReadError(f"{path}: DICOM {name} has samples of {bits} bits, interpretation {kind[:20]!r}: not read")
    order = np.dtype(_TYPES[bits, kind]).newbyteorder("<" if little else ">")
    data, wanted = bytes(wave.WaveformData), shape[0] * shape[1] * order.itemsize
    if len(data) < wanted:
        raise ReadError(
            f"{path}: DICOM {name} holds {len(data)} bytes of samples; {shape[0]} samples of {shape[1]} channels "
            f"are {wanted}"
        )
    if len(data) > wanted + wanted % 2:
        faults.append(f"DICOM {name} holds {len(data)} bytes of samples, its counts say {wanted}")
    raw = np.frombuffer(data, order, shape[0] * shape[1]).reshape(shape)
    padding = wave.get("WaveformPaddingValue")
    if isinstance(padding, bytes):
        padding = np.frombuffer(padding[: order.itemsize], order) if len(padding) >= order.itemsize else None
    elif padding is not None:
        padding = np.array([int(padding)]).astype(order)
    stored = {
        int(d.WaveformBitsStored) for d in wave.get("ChannelDefinitionSequence") or [] if "WaveformBitsStored" in d
    }
    for wide in stored:
        if not 1 <= wide <= bits:
            raise ReadError(f"{path}: DICOM {name} stores {wide} of {bits} bits")
    if stored and max(stored) < bits:
        raw = _extended(path, name, raw, padding, max(stored))
    return raw, padding


def _extended(path: Path, name: str, raw: NDArray[Any], padding: NDArray[Any] | None, wide: int) -> NDArray[Any]:
    """Return samples of fewer bits than they take up, their sign restored where the writer left it out."""
    held = raw[raw != padding[0]] if padding is not None else raw
    low, high = (int(held.min()), int(held.max())) if held.size else (0, 0)
    signed = raw.dtype.kind == "i"
    if (-(1 << (wide - 1)) if signed else 0) <= low and high < 1 << (wide - signed):
        return raw
    if signed and low >= 0 and high < 1 << wide:
        turned = np.where(raw >= 1 << (wide - 1), raw.astype(np.int64) - (1 << wide), raw)
        return np.where(raw == padding[0], raw, turned) if padding is not None else turned
    raise ReadError(f"{path}: DICOM {name} has samples from {low} to {high}, more than its {wide} bits stored hold")


def _recorded(samples: NDArray[Any], padding: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Return where samples (T, L) are none, or None where all are recorded.

    A padding value that lies among the values of the signal (0 in some devices) is one only in all channels at once.
    """
    if padding is None or not padding.size:
        return None
    there = samples == padding[0]
    if not there.any():
        return None
    others = samples[~there]
    if others.size and others.min() < padding[0] < others.max():
        there = np.broadcast_to(there.all(axis=1, keepdims=True), there.shape)
    return ~there


def _channel(
    path: Path, definition: Any, column: int, samples: NDArray[Any], recorded: NDArray[Any] | None, rate_hz: float
) -> Channel:
    values = samples if recorded is None else np.where(recorded[:, column], samples, np.nan)
    if definition is None:
        return Channel(f"channel {column + 1}", values, "", rate_hz)
    name = _lead(definition) or f"channel {column + 1}"
    gain = _number(definition.get("ChannelSensitivity"))
    factor = _number(definition.get("ChannelSensitivityCorrectionFactor"))
    _, code, meaning = _code(definition.get("ChannelSensitivityUnitsSequence"))
    unit = code if code.lower() in MILLIVOLTS_PER_UNIT else meaning if meaning.lower() in MILLIVOLTS_PER_UNIT else code
    gain = None if gain is None else gain * (1.0 if factor is None else factor)
    if not gain or not math.isfinite(gain):
        return Channel(name, values, "", rate_hz)
    return Channel(name, values, unit, rate_hz, gain, _number(definition.get("ChannelBaseline")) or 0.0)


def _lead(definition: Any) -> str:
    """Return the lead of a channel by its code, else by the code's meaning, else by its label."""
    scheme, value, meaning = _code(definition.get("ChannelSourceSequence"))
    number = re.fullmatch(r"(?:2:|5\.6\.3-9-)(\d{1,3})", value) or re.fullmatch(r"(\d{1,3})", value)
    if number and (":" in value or "-" in value or scheme == "MDC") and int(number[1]) in _LEADS:
        return _LEADS[int(number[1])]
    if value.upper().startswith("MDC_ECG_LEAD_"):
        return value
    spoken = re.split(r"[,(]", meaning, maxsplit=1)[0].strip()
    return spoken or _text(definition.get("ChannelLabel"))[:100]


def _skew(definition: Any, rate_hz: float) -> float:
    """Return by how many samples a channel begins later than its group."""
    if definition is None:
        return 0.0
    samples = _number(definition.get("ChannelSampleSkew"))
    seconds = _number(definition.get("ChannelTimeSkew"))
    return samples if samples is not None else (seconds or 0.0) * rate_hz


# What else it says


def _patient(dataset: Any) -> dict[str, float | str]:
    age = re.fullmatch(r"(\d{1,3})([DWMY])", _text(dataset.get("PatientAge")).upper())
    years = int(age[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[age[2]] if age else None
    acquired, born = _acquired(dataset), _date(_text(dataset.get("PatientBirthDate")))
    if years is None and acquired and born:
        years = acquired.year - born.year - ((acquired.month, acquired.day) < (born.month, born.day))
    size = _number(dataset.get("PatientSize"))
    return demographics(
        years,
        _text(dataset.get("PatientSex")),
        round(size * 100, 1) if size else None,
        _number(dataset.get("PatientWeight")),
    )


def _details(dataset: Any) -> dict[str, str]:
    acquired, day = _acquired(dataset), _text(dataset.get("AcquisitionDateTime"))
    alone = _date(day) if acquired is None and re.fullmatch(r"\d{8}", day) else None
    first: Any = next((d for w in dataset.WaveformSequence for d in w.get("ChannelDefinitionSequence") or []), {})
    given: dict[str, object] = {
        "acquired": acquired.isoformat() if acquired else alone.date().isoformat() if alone else "",
        "manufacturer": _text(dataset.get("Manufacturer")),
        "device": _text(dataset.get("ManufacturerModelName")) or _text(dataset.get("StationName")),
        "software": _text(dataset.get("SoftwareVersions")),
        "highpass_hz": _number(first.get("FilterLowFrequency")) or "",
        "lowpass_hz": _number(first.get("FilterHighFrequency")) or "",
        "notch_hz": _number(first.get("NotchFilterFrequency")) or "",
    }
    statements = []
    for note in _annotations(dataset):
        _, code, meaning = _code(note.get("ConceptNameCodeSequence"))
        value, said = _number(note.get("NumericValue")), _text(note.get("UnformattedTextValue"))
        if value is not None and _MEASURED.get(code) not in given and code in _MEASURED:
            given[_MEASURED[code]] = f"{value:g}"
        elif value is None and all(note.get(key) is None for key in _MOMENTS):
            statements.append(said or _code(note.get("ConceptCodeSequence"))[2] or meaning)
    given["statements"] = " | ".join(part for part in statements if part)
    return {key: str(value) for key, value in given.items() if value not in (None, "")}


def _annotations(dataset: Any) -> Iterator[Any]:
    yield from dataset.get("WaveformAnnotationSequence") or []
    for wave in dataset.WaveformSequence:
        yield from wave.get("WaveformAnnotationSequence") or []


def _acquired(dataset: Any) -> datetime | None:
    """Return when the signal was recorded, with the zone where the file tells it; a date alone is no time."""
    zone = _text(dataset.get("TimezoneOffsetFromUTC"))
    if said := _text(dataset.get("AcquisitionDateTime")):
        # the standard wants a time here: who has none writes the first moment of 1900
        return when if (when := _moment(said, zone)) and when.year > 1900 else None
    texts = []
    for kind in ("Acquisition", "Content", "Study"):
        day, clock = _text(dataset.get(f"{kind}Date")), _text(dataset.get(f"{kind}Time"))
        texts.append(day + clock.replace(":", "") if day and clock else "")
    return next((when for text in texts if (when := _moment(text, zone))), None)


def _moment(text: str, zone: str) -> datetime | None:
    match = re.fullmatch(r"(\d{8})(\d\d)(\d\d)?(\d\d)?(?:\.(\d{1,6}))?([+-]\d{4})?", text)
    if not match or not (day := _date(match[1])):
        return None
    shift = re.fullmatch(r"([+-])(\d\d)(\d\d)", match[6] or zone)
    offset = timedelta(hours=int(shift[2]), minutes=int(shift[3])) if shift else timedelta()
    try:
        return day.replace(
            hour=int(match[2]),
            minute=int(match[3] or 0),
            second=min(int(match[4] or 0), 59),
            microsecond=int((match[5] or "").ljust(6, "0")),
            tzinfo=timezone(-offset if shift[1] == "-" else offset) if shift else None,
        )
    except ValueError:
        return None


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text[:8], "%Y%m%d")
    except ValueError:
        return None


def _code(sequence: Any) -> tuple[str, str, str]:
    """Return scheme, value and meaning of a code sequence's first item."""
    item = sequence[0] if sequence else {}
    value = _text(item.get("CodeValue")) or _text(item.get("LongCodeValue"))
    return _text(item.get("CodingSchemeDesignator")), value[:100], _text(item.get("CodeMeaning"))[:100]


def _text(value: Any) -> str:
    if value is None:
        return ""
    many = isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"
    return "; ".join(str(each).strip() for each in value) if many else str(value).strip()


def _number(value: Any) -> float | None:
    try:
        number = float(str(value)) if value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
