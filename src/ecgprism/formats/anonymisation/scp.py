"""SCP-ECG (EN 1064) written anew: sections 0, 1, 3, 5 and 6, the samples uncompressed and to their length."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ecgprism.formats.anonymisation import secrets
from ecgprism.formats.anonymisation.content import (
    DUMMY,
    Channel,
    Copy,
    Source,
    channels_of,
    check_sums,
    filters_of,
    years,
)

_HEADER = struct.Struct("<HIBB6s")  # number, length, version of the section, of the protocol, reserved
_POINTER = struct.Struct("<HII")  # number, length, index of the first byte, counted from 1
_LEAD = struct.Struct("<IIB")  # first and last sample, code
_SAMPLES = struct.Struct("<HHBB")  # nV per bit, us per sample, kind of differences, flag
_DEVICE = struct.Struct("<HHHBB6sBBBBB16sB")
_PREAMBLE_BYTES, _HEADER_BYTES, _SECTIONS, _VERSION = 6, 16, 12, 20
_MOST_CODE, _MOST_BYTES = 85, 0xFFFF
_SEX = {"M": b"\1", "F": b"\2", "U": b"\0"}
_TEXTS = (0, 1, 2, 3, 13, *range(16, 24), 30, 31, 35)  # tags of names, numbers, places


class _Device(NamedTuple):
    """The identification of the acquiring device (tag 14), of which nothing but the version of the protocol is told."""

    institution: int = 0
    department: int = 0
    device: int = 0
    kind: int = 0
    manufacturer: int = 255  # in a text, which is empty
    model: bytes = bytes(6)
    protocol: int = _VERSION
    compatibility: int = 0xA0
    language: int = 0
    capabilities: int = 0
    mains: int = 0
    reserved: bytes = bytes(16)
    length: int = 1  # of the name of the analysing program, with its zero


def copied(source: Source) -> Copy:
    """Return age, sex, filters and leads of an SCP-ECG file. A damaged one is refused: its samples may be others."""
    record = source.record
    check_sums(source)
    held = dict(_sections(source.data))
    rhythm, beats = channels_of(source, record.leads), channels_of(source, record.median_beats or [])
    raw = record.raw_metadata
    sections = {
        1: _section(1, _tags(record)),
        3: _section(3, _leads(held[3][_HEADER_BYTES:], rhythm)),
        6: _section(6, _samples(rhythm, raw["rhythm_sample_interval_us"])),
    }
    if beats:
        sections[5] = _section(5, _samples(beats, raw["median_sample_interval_us"]))
    data = _assembled(sections)
    texts = [v.decode("latin-1") for tag, v in _split(held.get(1, b"")[_HEADER_BYTES:]) if tag in _TEXTS]
    gone = ", ".join(str(number) for number in sorted(held) if number not in (0, 1, 2, 3, 4, 5, 6))
    left_out = f"sections {gone or 'none'}; of section 1 all but age, sex and filters"
    searched = data[: data.index(sections[6])] if 5 not in sections else data[: data.index(sections[5])]
    return Copy(data, searched, set().union(*map(secrets.words, texts)), left_out)


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the sections that section 0 points to."""
    start = _PREAMBLE_BYTES + _HEADER_BYTES
    length = struct.unpack_from("<I", data, _PREAMBLE_BYTES + 4)[0]
    for at in range(start, _PREAMBLE_BYTES + length - _POINTER.size + 1, _POINTER.size):
        number, size, index = _POINTER.unpack_from(data, at)
        if size and index:
            yield number, data[index - 1 : index - 1 + size]


def _split(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tags of section 1 with their values."""
    at = 0
    while at + 3 <= len(body) and body[at] != 255:
        size = struct.unpack_from("<H", body, at + 1)[0]
        yield body[at], body[at + 3 : at + 3 + size]
        at += 3 + size


def _tags(record: Any) -> bytes:
    """Return section 1: age in years, sex, a device that is none, a day that says nothing, filters."""
    age, filters = years(record), filters_of(record)
    tags = {
        2: b"\0",
        4: struct.pack("<HB", age, 1) if age else b"",
        8: _SEX.get(record.patient.sex, b""),
        14: _DEVICE.pack(*_Device()) + bytes(5),  # five empty texts
        25: struct.pack("<HBB", DUMMY.year, DUMMY.month, DUMMY.day),
        26: bytes(3),
        27: struct.pack("<H", round(100 * filters.highpass_hz)) if filters.highpass_hz else b"",
        28: struct.pack("<H", round(filters.lowpass_hz)) if filters.lowpass_hz else b"",
        29: {60.0: b"\1", 50.0: b"\2"}.get(filters.notch_hz or 0, b""),
    }
    body = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in tags.items() if value)
    return body + struct.pack("<BH", 255, 0)


def _leads(body: bytes, channels: list[Channel]) -> bytes:
    """Return section 3: no reference beat subtracted, the leads from the sample that they began at."""
    count, flags = body[0], body[1]
    found = [_LEAD.unpack_from(body, 2 + _LEAD.size * i) for i in range(count)]
    earliest = min(first for first, _, _ in found)
    if any(code > _MOST_CODE for _, _, code in found) or count != len(channels):
        raise ValueError("leads that the standard does not know")
    if any(first - earliest > len(channel.counts) for (first, _, _), channel in zip(found, channels, strict=True)):
        raise ValueError("leads that begin far apart")
    simultaneous = flags & 0x04 | (count << 3 if flags & 0x04 and count < 32 else 0)
    definitions = [
        _LEAD.pack(first - earliest + 1, first - earliest + len(channel.counts), code)
        for (first, _, code), channel in zip(found, channels, strict=True)
    ]
    return bytes([count, simultaneous]) + b"".join(definitions)


def _samples(channels: list[Channel], interval_us: int) -> bytes:
    """Return section 5 or 6: 16-bit integers, no differences, no compression."""
    step_nv = round(1000 * channels[0].step)
    integers = [channel.counts.astype("<i2") for channel in channels]
    if any(not np.array_equal(ours, c.counts) for ours, c in zip(integers, channels, strict=True)):
        raise ValueError("samples that are no 16-bit integers")
    if max(i.nbytes for i in integers) > _MOST_BYTES:
        raise ValueError("leads longer than SCP-ECG holds without compression")
    sizes = struct.pack(f"<{len(integers)}H", *(i.nbytes for i in integers))
    return _SAMPLES.pack(step_nv, interval_us, 0, 0) + sizes + b"".join(i.tobytes() for i in integers)


def _section(number: int, body: bytes, reserved: bytes = bytes(6)) -> bytes:
    body += b"\0" * (len(body) % 2)
    section = _HEADER.pack(number, _HEADER_BYTES + len(body), _VERSION, _VERSION, reserved) + body
    return _crc(section) + section


def _crc(data: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


def _assembled(sections: dict[int, bytes]) -> bytes:
    """Return the file: preamble, section 0 with its pointers, the sections in their order."""
    length = _HEADER_BYTES + _POINTER.size * _SECTIONS
    at, pointers = _PREAMBLE_BYTES + length, _POINTER.pack(0, length, _PREAMBLE_BYTES + 1)
    for number in range(1, _SECTIONS):
        size = len(sections.get(number, b""))
        pointers += _POINTER.pack(number, size, at + 1 if size else 0)
        at += size
    rest = struct.pack("<I", at) + _section(0, pointers, b"SCPECG")
    rest += b"".join(sections[number] for number in sorted(sections))
    return _crc(rest) + rest
