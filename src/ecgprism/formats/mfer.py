"""MFER (ISO 22077): tags with lengths, rates and steps by code; its counts are believed.

A walk over the tags bounds their number, nesting and channels before ecgdatakit decodes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import datakit
from ecgprism.formats.contract import Declaration, assembled, damaged

TITLE = "MFER"
MAX_TAGS, MAX_NESTED, MAX_CHANNELS = 20_000, 8, 256
MAX_DECODED = 20_000  # channels of all frames together: each costs time however short it is
MAX_ZEROS = 1_000_000
_NO_ZERO = re.compile(rb"[^\0]")
_SHORT = re.compile(r"shorter than the frame definition|no waveform data, they are left out")
_LOST = re.compile(r"MFER: (\d+) frame\(s\) after frame \d+ redefine")
_ATTRIBUTE, _WAVE, _CHANNELS, _TYPE, _ORDER, _END, _SET = 0x3F, 0x1E, 0x05, 0x0A, 0x01, 0x80, 0x67


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of MFER with its preamble."""
    return head[:1] == b"@" and b"MFR " in head[:8]


def read(path: Path, declared: Declaration) -> Recording:
    """Read a file. Raises ReadError with the reason."""
    waves, types = _walk(path, path.read_bytes())
    parts = datakit.parsed(path, TITLE, "mfer", "MFERParser")
    record = parts.record
    faults = [note.removeprefix("MFER: ") for note in parts.notes if _SHORT.search(note)]
    status = record.raw_metadata.get("status_channels", {})
    held = sum(len(lead.samples) for lead in (*record.leads, *record.median_beats)) + sum(map(len, status.values()))
    lost = [f"{match[1]} further frames" for note in parts.notes if (match := _LOST.match(note))]
    size = (record.recording.acquisition.signal.bits_per_sample or 16) // 8
    if not faults and not lost and types <= 1 and len(record.raw_metadata.get("frames", [])) and held * size < waves:
        faults.append(f"its samples are {waves} bytes, its counts say {held * size}")
    for note in parts.notes:
        if "concatenated without a gap" in note:
            raise ReadError(f"{path}: {note.split(';')[0]}: frames with gaps between them are not read")
    details = damaged(path, declared, [f"{TITLE}: {fault}" for fault in faults])
    rates = record.raw_metadata.get("sampling_rates") or [float(lead.sampling_rate) for lead in record.leads]
    channels = [datakit.stored(lead, float(rate)) for lead, rate in zip(record.leads, rates, strict=True)]
    skipped = [*datakit.medians(record), *status, *lost]
    if skews := record.raw_metadata.get("sample_skew_ns"):
        parts = datakit.ParsedFile(record, (*parts.notes, f"sample skew of {skews[:8]} ns left as it is"))
    found = datakit.found(parts, channels, declared, skipped=skipped, details=details)
    return assembled(path, TITLE, found, declared)


def _walk(path: Path, data: bytes) -> tuple[int, int]:
    """Return the bytes of all waveforms and how many times their data type is said. Raises ReadError for nonsense."""
    waves, types, channels, decoded = 0, 0, 1, 0
    order: Literal["big", "little"] = "big"
    for count, (tag, at, length) in enumerate(_tags(path, data), 1):
        value = data[at : at + min(length, 8)]
        if tag == _ORDER:
            order = "little" if value == b"\1" else "big"
        elif tag == _CHANNELS:
            channels = int.from_bytes(value, order) if value else 1
            if not 0 < channels <= MAX_CHANNELS:
                raise ReadError(f"{path}: {TITLE} of {channels} channels; expected 1 to {MAX_CHANNELS}")
        elif tag == _WAVE:
            waves, decoded = waves + length, decoded + channels
        types += tag == _TYPE
        if count > MAX_TAGS or decoded > MAX_DECODED:
            raise ReadError(f"{path}: {TITLE} of more than {MAX_TAGS} tags or {MAX_DECODED} channels of frames")
    return waves, types


def _tags(path: Path, data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield every tag with place and length of its content, those that hold tags before what they hold."""
    at, ends = 0, list[int]()
    while at < len(data):
        while ends and at >= ends[-1]:
            ends.pop()
        tag, at = data[at], at + 1
        if tag == 0:
            if ends and ends[-1] == len(data) and data[at : at + 1] == b"\0":  # the end mark of a tag without length
                ends.pop()
            found = _NO_ZERO.search(data, at)
            begin, at = at, found.start() if found else len(data)
            if at - begin > MAX_ZEROS:
                raise ReadError(f"{path}: {TITLE} has {at - begin} zeros where a tag should stand")
            continue
        at = _after_channel(path, data, at) if tag == _ATTRIBUTE else at
        if tag == _END or at >= len(data):
            return
        length, at = data[at], at + 1
        if length > 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        elif length == 0x80:  # up to an end mark: its content is walked as what it is
            length = len(data) - at
            tag = _SET
        if at + length > len(data):
            raise ReadError(f"{path}: {TITLE} tag 0x{tag:02X} of {length} bytes runs over the end of the file")
        yield tag, at, length
        if tag not in (_SET, _ATTRIBUTE):
            at += length
            continue
        ends.append(at + length)
        if len(ends) > MAX_NESTED:
            raise ReadError(f"{path}: {TITLE} has tags in tags, more than {MAX_NESTED} deep")


def _after_channel(path: Path, data: bytes, at: int) -> int:
    """Return where the number of a channel, seven bits a byte, ends."""
    end = at
    while end < len(data) and data[end] & 0x80:
        end += 1
    if end - at > 3:
        raise ReadError(f"{path}: {TITLE} has a channel number of {end - at + 1} bytes")
    return end + 1
