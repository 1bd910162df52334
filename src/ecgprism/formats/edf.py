"""EDF, EDF+ and BDF, continuous or with pauses, through a memory map: windows are read without loading the whole file.

Read here because the library that writes them joins the records of a recording with pauses, takes fewer records than
announced without a word, and cannot read a `µ` or an annotation in Latin-1.

Format: Kemp and Olivan 2003 (EDF+), https://www.edfplus.info; BDF: BioSemi's 24-bit variant.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.metadata import demographics
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declaration, FileContent, assembled, check_size, damaged

EDF_MAGIC, BDF_MAGIC = b"0       ", b"\xffBIOSEMI"
_DAYS_PER_YEAR = 365.2425
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # bytes of each field of a signal, all signals of one before the next
_JITTER_S = 0.01  # onsets are written with few digits: a record that begins so little off follows the one before it
_ONSET = re.compile(rb"([+-]\d{1,12}(?:\.\d{0,12})?)(?:\x15(\d{1,12}(?:\.\d{0,12})?|\.\d{1,12}))?\x14")
_SEXES = {"M": "male", "F": "female"}


@dataclass(frozen=True)
class Signal:
    """One signal of a header, texts as they stand; `at` is its first byte in a record, `samples` those of a record."""

    label: str
    unit: str
    physical: tuple[str, str]
    digital: tuple[str, str]
    filters: str
    samples: int
    at: int


@dataclass(frozen=True)
class Header:
    """What the header says, and how many whole records the file holds."""

    patient: str
    recording: str
    date: str
    kind: str
    n_bytes: int
    records: int
    held: int
    duration: Fraction
    signals: tuple[Signal, ...]
    sample_bytes: int
    problem: str

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.sample_bytes * sum(signal.samples for signal in self.signals)


@dataclass(frozen=True)
class Times:
    """When the records are: runs of records without a pause, each as first, behind the last, and begin (s); texts."""

    runs: tuple[tuple[int, int, float], ...]
    annotations: tuple[Annotation, ...]

    def samples(self, rate_hz: float, of_record: int) -> int:
        """Return how many samples the recording spans, pauses included."""
        first, behind, begin_s = self.runs[-1]
        return round(begin_s * rate_hz) + (behind - first) * of_record


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of EDF or BDF."""
    return head[:8] in (EDF_MAGIC, BDF_MAGIC)


def extent(path: Path, declared: Declaration) -> float:
    """Return the duration (s) of a file, pauses included. Raises ReadError."""
    header = _header(path, declared)
    first, behind, begin_s = _times(path, header).runs[-1]
    return begin_s + (behind - first) * float(header.duration)


def read(path: Path, declared: Declaration, start_s: float = 0.0, stop_s: float | None = None) -> Recording:
    """Read a file, or the part of it between two times; pauses are NaN. Raises ReadError with the reason."""
    header = _header(path, declared)
    times = _times(path, header)
    data = np.memmap(path, np.uint8, "r", header.n_bytes, (header.held, header.record_bytes))
    channels = [
        _channel(path, header, signal, times, data, (start_s, stop_s), declared)
        for signal in header.signals
        if not _is_annotations(signal)
    ]
    details = _details(header)
    if header.problem:
        details["damaged"] = header.problem
    found = FileContent(channels, _patient(header), times.annotations, details)
    return assembled(path, "EDF", found, declared)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \x00\t\r\n\xa0")


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,8}", text):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _header(path: Path, declared: Declaration) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        main = file.read(256)
        try:
            n_bytes, records, n_signals = (_whole(_text(main[a:b])) for a, b in ((184, 192), (236, 244), (252, 256)))
            duration = Fraction(_decimal(_text(main[244:252])))
        except (ValueError, ZeroDivisionError) as error:
            raise ReadError(f"{path}: no valid EDF header ({error})") from None
        if n_signals < 1 or n_bytes != 256 * (n_signals + 1) or n_bytes > size:
            raise ReadError(f"{path}: no valid EDF header ({n_signals} signals, a header of {n_bytes} bytes)")
        raw = file.read(256 * n_signals)
    sample_bytes = 3 if main[:8] == BDF_MAGIC else 2
    signals = _signals(path, raw, n_signals, sample_bytes)
    n_record = sample_bytes * sum(signal.samples for signal in signals)
    if not n_record or duration < 0:
        raise ReadError(f"{path}: no valid EDF header (data records of {n_record} bytes, {float(duration):g} s)")
    held, rest = divmod(size - n_bytes, n_record)
    faults = []
    if records not in (held, -1) or rest:
        said = f"{records} data records" if records >= 0 else "an unknown number of data records"
        more = f" and {rest} bytes" if rest else ""
        faults = [f"is truncated or longer than said: the header announces {said}, the file holds {held}{more}"]
    problem = damaged(path, declared, faults).get("damaged", "")
    if not held:
        raise ReadError(f"{path}: the recording holds no samples")
    kind = _text(main[192:236])
    texts = (_text(main[8:88]), _text(main[88:168]), _text(main[168:176]))
    return Header(*texts, kind, n_bytes, records, held, duration, signals, sample_bytes, problem)


def _decimal(text: str) -> str:
    if not re.fullmatch(r"[+-]?(\d{1,8}(\.\d{0,8})?|\.\d{1,8})", text):
        raise ValueError(f"{text!r} is no duration of a data record")
    return text


def _signals(path: Path, raw: bytes, n: int, sample_bytes: int) -> tuple[Signal, ...]:
    columns, at = [], 0
    for width in _FIELDS:
        columns.append([_text(raw[at + k * width : at + (k + 1) * width]) for k in range(n)])
        at += n * width
    signals, begin = [], 0
    for label, _, unit, low, high, bottom, top, filters, count, _ in zip(*columns, strict=True):
        try:
            samples = _whole(count)
        except ValueError as error:
            raise ReadError(f"{path}: no valid EDF header (samples of signal {label!r}: {error})") from None
        if not 0 <= samples <= 2**24:
            raise ReadError(f"{path}: no valid EDF header ({samples} samples of signal {label!r})")
        signals.append(Signal(label, unit, (low, high), (bottom, top), filters, samples, begin))
        begin += sample_bytes * samples
    return tuple(signals)


def _is_annotations(signal: Signal) -> bool:
    return signal.label in ("EDF Annotations", "BDF Annotations")


def _times(path: Path, header: Header) -> Times:
    """Return when the records are and what the annotations say. Raises ReadError where records overlap."""
    spans = [(s.at, s.at + s.samples * header.sample_bytes) for s in header.signals if _is_annotations(s)]
    if not spans:
        return Times(((0, header.held, 0.0),), ())
    state = path.stat()
    try:
        return _timed(path, state.st_mtime_ns, state.st_size, header)
    except ValueError as error:
        raise ReadError(f"{path}: {error}") from None


@lru_cache(maxsize=4)  # windows of one file, one after the other: a day has 86,400 records
def _timed(path: Path, _changed_ns: int, _size: int, header: Header) -> Times:
    spans = [(s.at, s.at + s.samples * header.sample_bytes) for s in header.signals if _is_annotations(s)]
    data = np.memmap(path, np.uint8, "r", header.n_bytes, (header.held, header.record_bytes))
    duration_s = float(header.duration)
    rate_hz = (
        max((s.samples / duration_s for s in header.signals if not _is_annotations(s)), default=1.0)
        if duration_s
        else 1.0
    )
    jitter_s = max(_JITTER_S, 1 / rate_hz)
    runs: list[tuple[int, int, float]] = []
    texts: list[tuple[float, float | None, str]] = []
    zero_s = end_s = 0.0
    for record in range(header.held):
        onset_s: float | None = None
        for number, (first, last) in enumerate(spans):
            for begin_s, length_s, words in _annotated(data[record, first:last].tobytes()):
                if number == 0 and onset_s is None:
                    onset_s = begin_s
                texts += [(begin_s, length_s, word) for word in words]
        if record == 0:
            zero_s = onset_s or 0.0
        if onset_s is None and header.kind[3:5] == "+D":
            raise ValueError(f"data record {record + 1} of a recording with pauses (EDF+D) says no time")
        begin_s = end_s if onset_s is None else onset_s - zero_s
        if begin_s < end_s - jitter_s:
            raise ValueError(
                f"data record {record + 1} begins at {begin_s:.6g} s, before the one before it ends ({end_s:.6g} s)"
            )
        if not runs or begin_s > end_s + jitter_s:
            runs.append((record, record + 1, begin_s))
            end_s = begin_s + duration_s
        else:
            runs[-1] = (runs[-1][0], record + 1, runs[-1][2])
            end_s += duration_s
    annotations = tuple(
        Annotation(begin_s - zero_s, note=text, stop_s=None if length_s is None else begin_s - zero_s + length_s)
        for begin_s, length_s, text in texts
    )
    return Times(tuple(runs), annotations)


def _annotated(raw: bytes) -> list[tuple[float, float | None, list[str]]]:
    """Return onset, duration and texts of the annotations of a record; what cannot be one is left."""
    found = []
    for part in raw.split(b"\x00"):
        match = _ONSET.match(part)
        if match:
            words = [_said(word) for word in part[match.end() :].split(b"\x14") if word]
            found.append((float(match[1]), float(match[2]) if match[2] else None, words))
    return found


def _said(raw: bytes) -> str:
    """Return a text: UTF-8 as EDF+ demands, else Latin-1 as many programs write."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _channel(
    path: Path, header: Header, signal: Signal, times: Times, data: NDArray[np.uint8],
    window_s: tuple[float, float | None], declared: Declaration,
) -> Channel:  # fmt: skip
    said_hz = float(signal.samples / header.duration) if header.duration else 0.0
    rate_hz = said_hz or declared.rate_hz or 0.0
    gain, offset, zero, problem = _calibration(signal)
    if problem and declared.step:
        gain, offset, zero, problem, unit = 1.0, 0.0, 0.0, "", ""
    else:
        unit = signal.unit
    total = times.samples(rate_hz, signal.samples)
    first = min(round(window_s[0] * rate_hz), total)
    last = total if window_s[1] is None else min(round(window_s[1] * rate_hz), total)
    samples: NDArray[np.generic]
    if problem or not signal.samples:
        samples = np.empty(0, dtype=np.int16)  # it is named, not read
    elif len(times.runs) == 1:
        samples = _values(data, header, signal, 0, first, last)
    else:
        check_size(path, (last - first) * len(header.signals), path.stat().st_size)
        samples = np.full(last - first, np.nan, dtype=np.float32)  # 24 bits fit
        for begin, behind, begin_s in times.runs:
            at = round(begin_s * rate_hz)
            low, high = max(first, at), min(last, at + (behind - begin) * signal.samples)
            if low < high:
                samples[low - first : high - first] = _values(data, header, signal, begin, low - at, high - at)
    return Channel(signal.label, samples, unit, rate_hz, gain, offset, zero, problem=problem)


def _values(
    data: NDArray[np.uint8], header: Header, signal: Signal, record: int, first: int, last: int
) -> NDArray[np.int16] | NDArray[np.int32]:
    """Return samples `first` to `last`, counted from the beginning of a record."""
    low, high = first // signal.samples, -(-last // signal.samples)
    part = slice(first - low * signal.samples, last - low * signal.samples)
    if header.sample_bytes == 2:
        at = signal.at // 2
        samples: NDArray[np.int16] = data.view("<i2")[record + low : record + high, at : at + signal.samples].reshape(
            -1
        )
        return samples[part]
    n_bytes = 3 * signal.samples
    raw = data[record + low : record + high, signal.at : signal.at + n_bytes]
    three = raw.reshape(-1, 3)[part]
    high_byte = three[:, 2].view(np.int8).astype(np.int32)
    return three[:, 0] | three[:, 1].astype(np.int32) << 8 | high_byte << 16


def _calibration(signal: Signal) -> tuple[float, float, float, str]:
    """Return gain, offset and zero of a signal, and why there are none."""
    try:
        low, high = (float(text.replace(",", ".")) for text in signal.physical)
        bottom, top = (float(text) for text in signal.digital)
    except ValueError:
        return 1.0, 0.0, 0.0, "not calibrated: its range in the header is no number"
    if not all(map(math.isfinite, (low, high, bottom, top))) or low == high or bottom >= top:
        ranges = f"physical {low:g} to {high:g}, digital {bottom:g} to {top:g}"
        return 1.0, 0.0, 0.0, f"not calibrated: {ranges}"
    return (high - low) / (top - bottom), low, bottom, ""


def _details(header: Header) -> dict[str, str]:
    details: dict[str, str] = {}
    acquired = _acquired(header)
    if acquired is not None:
        details["acquired"] = acquired.isoformat()
    filters = sorted({signal.filters for signal in header.signals if signal.filters})
    if filters:
        details["filters"] = " | ".join(filters)
    return details


def _acquired(header: Header) -> date | None:
    words = header.recording.split()
    if words[:1] == ["Startdate"] and len(words) > 1:
        return _dated(words[1], "%d-%b-%Y")  # X where it is not to be told; the other field cannot say so
    found = _dated(header.date, "%d.%m.%y")  # EDF counts from 1985 to 2084
    return found.replace(year=found.year + 100) if found and found.year < 1985 else found


def _dated(text: str, form: str) -> date | None:
    try:
        found = datetime.strptime(text.title() if "b" in form else text, form).date()
    except ValueError:
        return None
    return found


def _patient(header: Header) -> dict[str, float | str]:
    """Return sex and age: EDF+ gives sex and birth date, and has room for an `Age=63` that our writer uses."""
    words = header.patient.split()
    if len(words) < 3 or words[1] not in ("M", "F", "X"):
        return {}
    age = next((word.removeprefix("Age=") for word in words[4:] if word.startswith("Age=")), None)
    born, acquired = _dated(words[2], "%d-%b-%Y"), _acquired(header)
    if age is None and born is not None and acquired is not None and acquired >= born:
        age = str(math.floor((acquired - born).days / _DAYS_PER_YEAR))
    return demographics(age, _SEXES.get(words[1]))
