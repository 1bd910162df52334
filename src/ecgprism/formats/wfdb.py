"""WFDB records: format 16 and segments read here (a hundred times faster), other storage through the wfdb package.

Format: https://wfdb.io/spec/header-files.html and https://wfdb.io/spec/signal-files.html
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.metadata import demographics
from ecgprism.ecg.recording import MAX_RATE_HZ, MIN_RATE_HZ, Recording, check_rate
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ReadError, one_line
from ecgprism.formats.contract import (
    MAX_CHANNELS,
    MAX_SAMPLES,
    Channel,
    Declaration,
    FileContent,
    assembled,
    check_regular,
    check_size,
    damaged,
)

NOT_RECORDED = -32768  # format 16's marker for an invalid sample
MAX_HEADER_BYTES, MAX_SEGMENTS, MAX_FIELD, MAX_SKEW, MAX_COMMENTS = 2**20, 10_000, 100, 100_000, 1000
#: storage format -> bytes of a sample (None: compressed), marker of an invalid sample
_STORAGE: dict[str, tuple[float | None, int | None]] = {
    "8": (1, None), "16": (2, NOT_RECORDED), "24": (3, -(2**23)), "32": (4, -(2**31)), "61": (2, NOT_RECORDED),
    "80": (1, -128), "160": (2, NOT_RECORDED), "212": (1.5, -2048), "310": (4 / 3, -512), "311": (4 / 3, -512),
    "508": (None, -128), "516": (None, NOT_RECORDED), "524": (None, -(2**23)),
}  # fmt: skip
_PACKED = 100  # compressed samples of a byte, at most
_UNCALIBRATED = "uncalibrated (gain 0 or missing): its unit is unknown. Declare its step, as in --unit 5uV (unit='5uV')"
_GAIN = re.compile(r"^(?P<gain>[-+.\deE]+)(\((?P<baseline>[-+]?\d+)\))?(/(?P<unit>\S+))?$")
_FORMAT = re.compile(r"^(?P<format>\d+)(x(?P<per_frame>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?$")
_PATIENT = re.compile(
    r"(?:^|[<\s,;])(age|sex|gender)>?\s?[:=]\s*([^<\s,;]{1,20}(?:\s(?:years?|yrs?|months?|weeks?|days?)\b)?)",
    re.IGNORECASE,
)
_PATIENT_BEGINS = re.compile(r"<?(?:age|sex|gender)\b", re.IGNORECASE)

Part = tuple[int, int]  # first frame, and the one behind the last


@dataclass(frozen=True)
class Signal:
    """One signal line of a header. `gain` is in ADC units per physical unit; `checksum` None where not given.

    A frame holds `per_frame` samples of it.
    """

    file: str
    format: str
    byte_offset: int
    per_frame: int
    skew: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """What a `.hea` file says. `samples` (frames) is None where not given; `comments` are the lines behind `#`.

    `segments` are the records that make up this one, with their frames; `~` is a pause, a first one of no frames
    describes the signals of all.
    """

    rate_hz: float
    samples: int | None
    channels: tuple[Signal, ...]
    comments: tuple[str, ...]
    segments: tuple[tuple[str, int], ...]


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a header: name, number of signals, rate, samples."""
    for line in head.split(b"\n", 200)[:200]:
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        name, count, *rest = [*words[:4], b"", b""][:4]
        return (
            b"," not in line
            and re.fullmatch(rb"[\w.-]{1,100}(/\d{1,9})?", name) is not None
            and count.isdigit()
            and (len(words) < 3 or rest[0][:1].isdigit())
            and (len(words) < 4 or rest[1].isdigit())
        )
    return False


def header_path(path: Path) -> Path:
    """Return the `.hea` file of a record named with or without it (or by its `.dat` or `.mat` file)."""
    if path.name in ("", ".."):
        raise ReadError(f"{path}: names no recording")
    if path.suffix.lower() == ".hea":
        return path
    signals = path.suffix.lower() in (".dat", ".mat")
    return _beside(path, f"{path.stem if signals else path.name}.hea")


def _beside(path: Path, name: str) -> Path:
    """Return a file beside another; in capitals or not, where only the one is there (records that went through DOS)."""
    folder = os.path.dirname(path)  # noqa: PTH120  (texts, for this is asked twice for every file that is read)
    said = os.path.join(folder, name)  # noqa: PTH118
    if os.path.isfile(said):  # noqa: PTH113
        return Path(said)
    others = (Path(folder, name.upper()), Path(folder, name.lower()))
    return next((other for other in others if other.is_file()), Path(said))


def read_header(path: Path, rate_hz: float | None = None) -> Header:
    """Parse a `.hea` file. Raises ReadError for a missing file and for lines that are no header.

    A rate that is none of an ECG is an error unless `rate_hz` is declared.
    """
    if check_regular(path) > MAX_HEADER_BYTES:
        raise ReadError(f"{path}: a WFDB header of more than {MAX_HEADER_BYTES} bytes")
    raw = path.read_bytes()
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = raw.decode("latin-1").splitlines()
    comments = tuple(line.lstrip()[1:].strip() for line in lines if line.lstrip().startswith("#"))
    body = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not body:
        raise ReadError(f"{path}: an empty header")
    try:
        first = [_bounded(field) for field in body[0]]
        n_segments = int(first[0].split("/")[1]) if "/" in first[0] else 0
        n_channels = int(first[1])
        said_hz = float(re.split(r"[/(]", first[2])[0]) if len(first) > 2 else 250.0
        samples = (int(first[3]) if len(first) > 3 else None) or None  # 0 stands for unknown too
        if samples is not None and not 0 < samples <= MAX_SAMPLES:
            raise ValueError(f"{first[3][:20]} samples")
        if not 0 <= n_channels <= MAX_CHANNELS or not 0 <= n_segments <= MAX_SEGMENTS:
            raise ValueError(f"{n_channels} signals, {n_segments} segments")
        channels = () if n_segments else tuple(_signal(row) for row in body[1 : 1 + n_channels])
        segments = tuple(_segment(row) for row in body[1 : 1 + n_segments])
    except (ValueError, IndexError) as error:
        raise ReadError(f"{path}: no valid WFDB header ({one_line(error)})") from None
    if not n_segments and len(channels) != n_channels:
        raise ReadError(f"{path}: the header announces {n_channels} signals and describes {len(channels)}")
    if len(segments) != n_segments:
        raise ReadError(f"{path}: the header announces {n_segments} segments and names {len(segments)}")
    # of a record of segments the frames' rate alone is known here
    if rate_hz is None and not (segments and 0 < said_hz <= MAX_RATE_HZ):
        check_rate(said_hz * max((channel.per_frame for channel in channels), default=1), f"{path}: ")
    return Header(said_hz, samples, channels, comments, segments)


def _bounded(field: str) -> str:
    if len(field) > MAX_FIELD:
        raise ValueError(f"a field of {len(field)} characters")
    return field


def _segment(row: Sequence[str]) -> tuple[str, int]:
    name, frames = _bounded(row[0]), int(_bounded(row[1]))
    if "/" in name or name in (".", "..") or not 0 <= frames <= MAX_SAMPLES:
        raise ValueError(f"segment {name!r} of {frames}")
    return name, frames


@lru_cache(maxsize=256)  # the signals of most records, and the records of most data sets, are stored alike
def _storage_of(text: str) -> tuple[str, int, int, int]:
    """Return format, samples a frame, skew and byte offset. Raises ValueError."""
    form = _FORMAT.match(text)
    if form is None or form["format"] not in _STORAGE:
        raise ValueError(f"signal format {text!r}")
    per_frame, skew, offset = int(form["per_frame"] or 1), int(form["skew"] or 0), int(form["offset"] or 0)
    if not 1 <= per_frame <= MAX_SKEW or skew > MAX_SKEW or offset > 2**40:
        raise ValueError(f"signal format {text!r}")
    return form["format"], per_frame, skew, offset


@lru_cache(maxsize=256)
def _calibration_of(text: str) -> tuple[float, int | None, str]:
    """Return gain, baseline where given, and unit. Raises ValueError."""
    calibration = _GAIN.match(text)
    if calibration is None:
        raise ValueError(f"gain {text!r}")
    gain, baseline = float(calibration["gain"]), calibration["baseline"]
    if not math.isfinite(gain):
        raise ValueError(f"gain {gain:g}")
    return gain, None if baseline is None else int(baseline), calibration["unit"] or "mV"


def _signal(row: Sequence[str]) -> Signal:
    if max(map(len, row[:8])) > MAX_FIELD:
        raise ValueError(f"a field of more than {MAX_FIELD} characters")
    form, per_frame, skew, offset = _storage_of(row[1])
    gain, baseline, unit = _calibration_of(row[2]) if len(row) > 2 else (0.0, None, "mV")
    adc_zero = int(row[4]) if len(row) > 4 else 0
    baseline = adc_zero if baseline is None else baseline
    if abs(baseline) > 2**31:
        raise ValueError(f"baseline {baseline}")
    if "/" in row[0] or row[0] in (".", ".."):
        raise ValueError(f"signal file {row[0]!r}")
    # The challenges of 2017 and later write 0 where they computed no checksum.
    checksum = int(row[6]) & 0xFFFF if len(row) > 6 and int(row[6]) != 0 else None
    name = " ".join(row[8:]) if len(row) > 8 else ""
    return Signal(row[0], form, offset, per_frame, skew, gain, baseline, unit, checksum, name[:200])


def extent(path: Path, declared: Declaration) -> float | None:
    """Return the duration (s) of a record, None where only reading it tells."""
    header = read_header(header_path(path), declared.rate_hz)
    return header.samples / _frames_hz(header, declared) if header.samples and not declared.accept_damaged else None


def _frames_hz(header: Header, declared: Declaration) -> float:
    """Return frames per second: the header's, or what follows from the declared rate where that is none."""
    most = max((channel.per_frame for channel in header.channels), default=1)
    if declared.rate_hz is None or MIN_RATE_HZ <= header.rate_hz * most <= MAX_RATE_HZ:
        return header.rate_hz
    return declared.rate_hz / most


def read(
    path: Path, declared: Declaration | None = None, start_s: float = 0.0, stop_s: float | None = None
) -> Recording:
    """Read one WFDB record: signal in mV at its own rate, leads by canonical name, other channels in `skipped`.

    With times (s) only the part between them is read, and checksums, which are of the whole, are not verified. Raises
    ReadError when header and signal disagree (length, checksum), when a unit is unknown or a gain missing, or when no
    channel is an ECG lead.
    """
    declared = declared or Declaration()
    at = header_path(path)
    header = read_header(at, declared.rate_hz)
    header = replace(header, rate_hz=_frames_hz(header, declared))
    part = None
    if start_s > 0 or stop_s is not None:
        last = header.samples if stop_s is None else round(stop_s * header.rate_hz)
        part = (round(start_s * header.rate_hz), min(last or MAX_SAMPLES, header.samples or MAX_SAMPLES))
    damage: list[str] = []

    def said(problem: str) -> None:
        file, _, fault = problem.partition(": ")
        damage.append(fault)
        damaged(Path(file), declared, [fault])

    if header.segments:
        channels = _joined(at, header, declared, part, said)
    else:
        signals = _decoded(at, header, part, said)
        channels = [_channel(c, values, header, declared) for c, values in zip(header.channels, signals, strict=True)]
    details = damaged(at, declared, list(dict.fromkeys(damage)))
    return assembled(at, "WFDB", FileContent(channels, patient(header.comments), details=details), declared)


def _channel(signal: Signal, samples: NDArray[Any], header: Header, declared: Declaration) -> Channel:
    rate_hz, missing = header.rate_hz * signal.per_frame, _STORAGE[signal.format][1]
    if signal.gain:
        gain, unit, problem = 1 / signal.gain, signal.unit, ""
    else:
        gain, unit, problem = 1.0, "", "" if declared.step else _UNCALIBRATED
    return Channel(
        signal.name, samples, unit, rate_hz, gain, zero=float(signal.baseline), missing=missing, problem=problem
    )


def _decoded(at: Path, header: Header, part: Part | None, said: Callable[[str], None]) -> list[NDArray[Any]]:
    """Return the integers (T,) of every signal; length and, of the whole, checksums are verified."""
    if not header.channels:
        raise ReadError(f"{at}: WFDB without any channel")
    files: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    for signal in header.channels:
        if signal.file not in files:
            file = files[signal.file] = _beside(at, signal.file)
            try:
                sizes[signal.file] = check_regular(file)
            except ReadError:
                raise ReadError(f"{at}: its signal file {signal.file} does not exist") from None
        if sizes[signal.file] <= signal.byte_offset:
            raise ReadError(f"{files[signal.file]}: an empty signal file")
    first = header.channels[0]
    plain = all(c.format == "16" and not c.skew for c in header.channels)
    if plain and len({(c.file, c.byte_offset) for c in header.channels}) == 1:
        return _decoded_16(files[first.file], sizes[first.file], header, part, said)
    return _decoded_by_package(at, files, sizes, header, part, said)


def _decoded_16(
    file: Path, size: int, header: Header, part: Part | None, said: Callable[[str], None]
) -> list[NDArray[Any]]:
    """Decode one file of interleaved 16-bit samples."""
    offset, ends = header.channels[0].byte_offset, np.cumsum([c.per_frame for c in header.channels])
    n, width = len(header.channels), int(ends[-1])
    held, rest = divmod(size - offset, 2 * width)
    samples = header.samples if header.samples is not None else held
    if held != samples or rest:
        problem = "is truncated or longer than said" if held != samples else "ends inside a sample"
        said(f"{file}: {problem}: the header says {samples} samples of {n} signals, it holds {held}")
    if not held:
        raise ReadError(f"{file}: the recording holds no samples")
    if part is not None:
        mapped = np.memmap(file, "<i2", "r", offset, (held, width))
        digital = np.array(mapped[part[0] : part[1]])
    else:
        digital = np.fromfile(file, "<i2", held * width, offset=offset).reshape(held, width)
    decoded = list(digital.T)
    if width > n:
        decoded = [digital[:, end - c.per_frame : end].ravel() for c, end in zip(header.channels, ends, strict=True)]
    if part is None:
        _verify(file, header.channels, digital.sum(axis=0, dtype=np.int64) if width == n else _sums(decoded), said)
    return decoded


def _sums(decoded: Sequence[NDArray[Any]]) -> list[int]:
    return [int(samples.sum(dtype=np.int64)) for samples in decoded]


def _verify(
    file: Path, channels: Sequence[Signal], sums: Sequence[int] | NDArray[np.int64], said: Callable[[str], None]
) -> None:
    """Tell the signals whose samples do not add up to the checksum that the header gives."""
    for channel, total in zip(channels, sums, strict=True):
        held = int(total) & 0xFFFF
        if channel.checksum is not None and channel.checksum != held:
            said(
                f"{file}: the samples of signal {channel.name or '?'} have checksum {held}, "
                f"the header says {channel.checksum}: one of the two is damaged"
            )


def _held(at: Path, sizes: Mapping[str, int], header: Header) -> int | None:
    """Return how many frames the files hold by their sizes, None for compressed ones; a sample may be left over."""
    frames = []
    for channel in header.channels:
        size = sizes[channel.file] - channel.byte_offset
        together = sum(c.per_frame for c in header.channels if c.file == channel.file)
        n_bytes = _STORAGE[channel.format][0]
        if n_bytes is None:
            check_size(at, (header.samples or 0) * together, _PACKED * size)
            return None
        frames.append(int(size / (n_bytes * together)))
    return min(frames)


def _decoded_by_package(
    at: Path,
    files: Mapping[str, Path],
    sizes: Mapping[str, int],
    header: Header,
    part: Part | None,
    said: Callable[[str], None],
) -> list[NDArray[Any]]:
    """Decode any other storage format."""
    import wfdb  # noqa: PLC0415  (half a second, and most records never need it)

    held = _held(at, sizes, header)
    if held is not None and header.samples is not None and header.samples > held + 1:
        said(f"{at}: is truncated: the header says {header.samples} samples, the signal files hold {held}")
        part = part or (0, held)
    window = {"sampfrom": part[0], "sampto": min(part[1], header.samples or part[1])} if part is not None else {}
    with tempfile.TemporaryDirectory(prefix="ecgprism-") as folder:
        record = at.with_suffix("")
        if at.suffix != ".hea" or any(name != file.name for name, file in files.items()):
            record = Path(folder) / "record"  # the package knows one spelling of the names
            for name, file in files.items():
                (Path(folder) / name).symlink_to(file.absolute())
            record.with_suffix(".hea").write_bytes(at.read_bytes())
        try:
            several = any(c.per_frame > 1 for c in header.channels)  # else the way that knows all formats
            read = wfdb.rdrecord(str(record), physical=False, smooth_frames=not several, **window)
            decoded = [np.asarray(samples) for samples in (read.e_d_signal if several else read.d_signal.T)]
        except Exception as error:  # the package raises whatever its parser stumbles over
            raise ReadError(f"{at}: not readable as WFDB ({type(error).__name__}: {one_line(error)})") from None
    if len(decoded) != len(header.channels) or not all(len(samples) for samples in decoded):
        raise ReadError(f"{at}: the recording holds no samples")
    frames = len(decoded[0]) // header.channels[0].per_frame
    if part is None and header.samples is not None and frames != header.samples:
        said(f"{at}: the header says {header.samples} samples, the signal files hold {frames}")
    if part is None:
        _verify(at, header.channels, _sums(decoded), said)
    return decoded


def _joined(
    at: Path, header: Header, declared: Declaration, part: Part | None, said: Callable[[str], None]
) -> list[Channel]:
    """Return the channels of a record of several segments, in the unit of the first; what is in none is NaN."""
    described = header.segments[0][1] == 0
    segments = header.segments[described:]
    total = sum(frames for _, frames in segments)
    if header.samples is not None and total != header.samples:
        said(f"{at}: the header says {header.samples} samples, its segments have {total}")
    first, last = part or (0, total)
    last = min(last, total)
    headers = _segment_headers(at, header, declared)
    shape = next((headers[name] for name, _ in header.segments if name != "~"), None)
    if shape is None or not shape.channels:
        raise ReadError(f"{at}: none of its segments has any channel")
    files = {_beside(at, c.file) for part_header in headers.values() for c in part_header.channels}
    held_bytes = sum(file.stat().st_size for file in files if file.is_file())
    check_size(at, (last - first) * sum(c.per_frame for c in shape.channels), held_bytes)
    rows = [np.full((last - first) * c.per_frame, np.nan, dtype=np.float32) for c in shape.channels]
    uncalibrated: set[int] = set()
    begin = 0
    for name, frames in segments:
        low, high = max(first - begin, 0), min(last - begin, frames)
        if name != "~" and low < high:
            segment = headers[name]
            if _frames_hz(segment, declared) != header.rate_hz or segment.samples not in (None, frames):
                problem = f"{segment.samples} samples at {segment.rate_hz:g} Hz"
                raise ReadError(f"{at}: its segment {name} has {problem}; expected {frames} at {header.rate_hz:g} Hz")
            window = None if (low, high) == (0, frames) else (low, high)
            beside = _beside(at, f"{name}.hea")
            decoded = _decoded(beside, replace(segment, samples=frames), window, said)
            to = _places(at, name, shape, segment, described)
            for signal, samples, row in zip(segment.channels, decoded, to, strict=True):
                target = shape.channels[row]
                if not signal.gain and not declared.step:
                    uncalibrated.add(row)
                    continue
                physical = (samples - float(signal.baseline)) / (signal.gain or 1.0)
                physical[samples == _STORAGE[signal.format][1]] = np.nan
                where = (begin + low - first) * target.per_frame
                physical = physical[: (high - low) * target.per_frame]  # a damaged segment may hold more
                rows[row][where : where + len(physical)] = physical * _ratio(at, signal, target)
        begin += frames
    return [
        Channel(c.name, row, c.unit, header.rate_hz * c.per_frame, problem=_UNCALIBRATED if n in uncalibrated else "")
        for n, (c, row) in enumerate(zip(shape.channels, rows, strict=True))
    ]


def _segment_headers(at: Path, header: Header, declared: Declaration) -> dict[str, Header]:
    """Return the headers of the segments by name."""
    headers: dict[str, Header] = {}
    for name, _ in header.segments:
        if name != "~" and name not in headers:
            beside = _beside(at, f"{name}.hea")
            if not beside.is_file():
                raise ReadError(f"{at}: the header of its segment {name} does not exist")
            headers[name] = read_header(beside, declared.rate_hz)
            if headers[name].segments:
                raise ReadError(f"{at}: its segment {name} has segments itself")
    return headers


def _places(at: Path, name: str, shape: Header, segment: Header, by_name: bool) -> list[int]:
    """Return the row of every signal of a segment: the same position, or the same name in a record that varies."""
    free = list(range(len(shape.channels)))
    rows = []
    for n, signal in enumerate(segment.channels):
        row = next((r for r in free if shape.channels[r].name == signal.name), None) if by_name else n
        if row not in free or shape.channels[row].per_frame != signal.per_frame:
            raise ReadError(f"{at}: signal {signal.name!r} of its segment {name} is not announced as it is")
        free.remove(row)
        rows.append(row)
    return rows


def _ratio(at: Path, signal: Signal, target: Signal) -> float:
    """Return what turns the unit of a segment into that of the record."""
    if signal.unit == target.unit:
        return 1.0
    of, to = millivolts(signal.unit), millivolts(target.unit)
    if of is None or to is None:
        raise ReadError(f"{at}: signal {signal.name!r} has the units {signal.unit!r} and {target.unit!r}")
    return of / to


def patient(comments: Sequence[str]) -> dict[str, float | str]:
    """Return age (years) and sex from comments such as `Age: 74`, `<sex>: F` and `Gender: Male`, where given."""
    found: dict[str, str] = {}
    for comment in comments[:MAX_COMMENTS]:
        for key, value in _PATIENT.findall(comment[:500]) if _PATIENT_BEGINS.match(comment) else ():
            found.setdefault({"gender": "sex"}.get(key.lower(), key.lower()), value.strip())
    return demographics(found.get("age"), found.get("sex"))
