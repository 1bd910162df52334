"""WFDB records: format 16 decoded here (a hundred times faster), everything else through the wfdb package.

Format: https://wfdb.io/spec/header-files.html and https://wfdb.io/spec/signal-files.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, canonical_lead
from ecgprism.ecg.recording import Recording, check_rate
from ecgprism.ecg.units import MILLIVOLTS_PER_UNIT
from ecgprism.errors import ReadError, nearest

NOT_RECORDED = -32768  # format 16's marker for an invalid sample
_GAIN = re.compile(r"^(?P<gain>[-+.\deE]+)(\((?P<baseline>[-+]?\d+)\))?(/(?P<unit>\S+))?$")
_FORMAT = re.compile(r"^(?P<format>\d+)(x(?P<per_frame>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?$")


@dataclass(frozen=True)
class Channel:
    """One signal line of a header. `gain` is in ADC units per physical unit; `checksum` None where not given."""

    file: str
    format: str
    byte_offset: int
    plain: bool
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """What a `.hea` file says. `samples` is None where not given; `comments` are the lines behind `#`."""

    rate_hz: float
    samples: int | None
    channels: tuple[Channel, ...]
    comments: tuple[str, ...]
    segments: int


def header_path(path: Path) -> Path:
    """Return the `.hea` file of a record named with or without it (or by its `.dat` or `.mat` file)."""
    if path.name in ("", ".."):
        raise ReadError(f"{path}: names no recording")
    if path.suffix == ".hea":
        return path
    beside = path.with_suffix(".hea") if path.suffix in (".dat", ".mat") else path.with_name(path.name + ".hea")
    return beside


def read_header(path: Path) -> Header:
    """Parse a `.hea` file. Raises ReadError for a missing file and for lines that are no header."""
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    comments = tuple(line.lstrip()[1:].strip() for line in lines if line.lstrip().startswith("#"))
    body = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not body:
        raise ReadError(f"{path}: an empty header")
    try:
        first = body[0]
        segments = int(first[0].split("/")[1]) if "/" in first[0] else 0
        n_channels = int(first[1])
        rate_hz = float(re.split(r"[/(]", first[2])[0]) if len(first) > 2 else 250.0
        samples = (int(first[3]) if len(first) > 3 else None) or None  # 0 stands for unknown too
        rows = body[1 : 1 + n_channels] if not segments else []
        channels = tuple(_channel(row) for row in rows)
    except (ValueError, IndexError) as error:
        raise ReadError(f"{path}: no valid WFDB header ({error})") from None
    if not segments and len(channels) != n_channels:
        raise ReadError(f"{path}: the header announces {n_channels} signals and describes {len(channels)}")
    check_rate(rate_hz, f"{path}: ")
    return Header(rate_hz, samples, channels, comments, segments)


def _channel(row: Sequence[str]) -> Channel:
    form = _FORMAT.match(row[1])
    if form is None:
        raise ValueError(f"signal format {row[1]!r}")
    gain, baseline, unit = 0.0, None, "mV"
    if len(row) > 2:
        calibration = _GAIN.match(row[2])
        if calibration is None:
            raise ValueError(f"gain {row[2]!r}")
        gain = float(calibration["gain"])
        baseline = None if calibration["baseline"] is None else int(calibration["baseline"])
        unit = calibration["unit"] or "mV"
    adc_zero = int(row[4]) if len(row) > 4 else 0
    baseline = adc_zero if baseline is None else baseline
    if not math.isfinite(gain) or abs(baseline) > 2**31:
        raise ValueError(f"gain {gain:g}, baseline {baseline}")
    if "/" in row[0] or row[0] in (".", ".."):
        raise ValueError(f"signal file {row[0]!r}")
    # The challenges of 2017 and later write 0 where they computed no checksum.
    checksum = int(row[6]) & 0xFFFF if len(row) > 6 and int(row[6]) != 0 else None
    return Channel(
        file=row[0],
        format=form["format"],
        byte_offset=int(form["offset"] or 0),
        plain=form["per_frame"] in (None, "1") and form["skew"] in (None, "0"),
        gain=gain,
        baseline=baseline,
        unit=unit,
        checksum=checksum,
        name=" ".join(row[8:]) if len(row) > 8 else "",
    )


def read(
    path: Path, lead_aliases: Mapping[str, str] | None = None, start_s: float = 0.0, stop_s: float | None = None
) -> Recording:
    """Read one WFDB record: signal in mV, leads by canonical name, other channels listed in `skipped`.

    With times (s) only the part between them is read, and checksums, which are of the whole, are not verified. Raises
    ReadError when header and signal disagree (length, checksum), when a unit is unknown or a gain missing, or when no
    channel is an ECG lead.
    """
    at = header_path(path)
    try:
        return _read(at, lead_aliases, start_s, stop_s)
    except OSError as error:  # a disk or a network share that fails, a name that no file can have
        raise ReadError(f"{at}: {error.strerror or error}") from None


def _read(at: Path, lead_aliases: Mapping[str, str] | None, start_s: float, stop_s: float | None) -> Recording:
    header = read_header(at)
    part = None
    if start_s > 0 or stop_s is not None:
        last = round(stop_s * header.rate_hz) if stop_s is not None else header.samples
        part = (round(start_s * header.rate_hz), min(last, header.samples) if last and header.samples else last)
    digital: NDArray[Any]
    if header.segments or not header.channels:
        digital, header = _decode_with_wfdb(at, header, part)
    else:
        plain = all(c.format == "16" and c.plain for c in header.channels)
        one_file = len({(c.file, c.byte_offset) for c in header.channels}) == 1
        if plain and one_file:
            digital = _decode_16(at, header, part)
        else:
            digital, header = _decode_with_wfdb(at, header, part)
    return _calibrated(at, header, digital, lead_aliases)


def _decode_16(at: Path, header: Header, part: tuple[int, int | None] | None) -> NDArray[np.int16]:
    """Decode one file of interleaved 16-bit samples -> (T, C); length and, of the whole, checksums are verified."""
    first, n = header.channels[0], len(header.channels)
    file = at.with_name(first.file)
    if not file.is_file():
        raise ReadError(f"{at}: its signal file {file.name} does not exist")
    n_bytes = file.stat().st_size - first.byte_offset
    if n_bytes <= 0:
        raise ReadError(f"{file}: an empty signal file")
    held, rest = divmod(n_bytes, 2 * n)
    samples = header.samples if header.samples is not None else held
    if held != samples or rest:
        problem = "is truncated or longer than said" if held != samples else "ends inside a sample"
        raise ReadError(f"{file}: {problem}: the header says {samples} samples of {n} signals, it holds {held}")
    if part is not None:
        mapped = np.memmap(file, "<i2", "r", first.byte_offset, (samples, n))
        return np.array(mapped[part[0] : part[1]])
    digital = np.fromfile(file, dtype="<i2", offset=first.byte_offset).reshape(samples, n)
    _verify(file, header.channels, digital)
    return digital


def _verify(file: Path, channels: Sequence[Channel], digital: NDArray[Any]) -> None:
    """Raise ReadError unless the samples (T, C) have the checksums that the header gives."""
    sums = digital.sum(axis=0, dtype=np.int64) & 0xFFFF
    for channel, total in zip(channels, sums, strict=True):
        if channel.checksum is not None and channel.checksum != total:
            raise ReadError(
                f"{file}: the samples of signal {channel.name or '?'} have checksum {total}, "
                f"the header says {channel.checksum}: one of the two is damaged"
            )


def _decode_with_wfdb(
    at: Path, header: Header, part: tuple[int, int | None] | None
) -> tuple[NDArray[np.float64], Header]:
    """Decode any other storage format -> physical values (T, C) in the units that the returned header names."""
    import wfdb  # noqa: PLC0415  (half a second, and most records never need it)

    # digital values allow the checksums to be verified; several samples a frame, or segments, are left to the package
    plain = not header.segments and all(channel.plain for channel in header.channels)
    try:
        window = {"sampfrom": part[0], "sampto": part[1]} if part is not None else {}
        record: Any = wfdb.rdrecord(str(at.with_suffix("")), physical=not plain, **window)
        digital = record.d_signal
        if plain and digital is not None:
            record.p_signal = record.dac()
    except Exception as error:  # the package raises whatever its parser stumbles over
        raise ReadError(f"{at}: not readable as WFDB ({type(error).__name__}: {error})") from None
    if record.p_signal is None or record.p_signal.shape[0] == 0:
        raise ReadError(f"{at}: the recording holds no samples")
    if part is None and header.samples is not None and record.p_signal.shape[0] != header.samples:
        raise ReadError(
            f"{at}: the header says {header.samples} samples, the signal files hold {record.p_signal.shape[0]}"
        )
    if plain and part is None:
        _verify(at, header.channels, digital)
    if header.channels:  # the package reads headers as ASCII and would take the unit of µV for V
        channels = tuple(replace(c, gain=1.0 if c.gain else 0.0, baseline=0) for c in header.channels)
    else:
        channels = tuple(
            Channel("", "", 0, True, 1.0, 0, unit or "mV", None, name or "")
            for name, unit in zip(record.sig_name, record.units, strict=True)
        )
    return record.p_signal, Header(
        float(record.fs), record.p_signal.shape[0], channels, header.comments, header.segments
    )


def _calibrated(at: Path, header: Header, digital: NDArray[Any], lead_aliases: Mapping[str, str] | None) -> Recording:
    """Pick the ECG leads out of (T, C) values and turn them into millivolts (L, T)."""
    names = [channel.name for channel in header.channels]
    leads = [canonical_lead(name, lead_aliases) for name in names]
    if not any(leads):
        raise ReadError(
            f"{at}: no channel is a known ECG lead (channels: {', '.join(map(repr, names))})"
            f"{nearest(names[0], LEADS)} Declare other spellings, as in --lead {names[0] or 'NAME'}=I"
        )
    kept = [i for i, lead in enumerate(leads) if lead]
    signal = np.empty((len(kept), digital.shape[0]), dtype=np.float32)
    for row, i in enumerate(kept):
        channel = header.channels[i]
        factor = MILLIVOLTS_PER_UNIT.get(channel.unit.lower())
        if factor is None:
            raise ReadError(f"{at}: lead {channel.name} has unit {channel.unit!r}{nearest(channel.unit, ['mV', 'uV'])}")
        if channel.gain == 0:
            raise ReadError(f"{at}: lead {channel.name} is uncalibrated (gain 0 or missing): its unit is unknown")
        values = digital[:, i]
        signal[row] = (values.astype(np.float64) - channel.baseline) * (factor / channel.gain)
        if values.dtype.kind == "i":
            signal[row, values == NOT_RECORDED] = np.nan
    return Recording(
        signal=signal,
        rate_hz=header.rate_hz,
        leads=tuple(lead for lead in leads if lead),
        metadata=demographics(header.comments),
        skipped=tuple(name for name, lead in zip(names, leads, strict=True) if not lead),
        path=at,
        format="WFDB",
        units=tuple(header.channels[i].unit for i in kept),
    )


def demographics(comments: Sequence[str]) -> dict[str, float | str]:
    """Return age (years) and sex from header comments such as `Age: 74` and `Sex: Male`, where they are given."""
    found: dict[str, float | str] = {}
    text = "\n".join(comments)
    age = re.search(r"(?im)^<?age>?:\s*(\d+(\.\d+)?)\s*$", text)
    if age:
        found["age"] = float(age[1])
    sex = re.search(r"(?im)^<?sex>?:\s*(f|m|female|male)\s*$", text)
    if sex:
        found["sex"] = "female" if sex[1].lower().startswith("f") else "male"
    return found
