"""Philips Sierra XML: all leads in one block of base64, plain or packed with LZW (XLI)."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import datakit
from ecgprism.formats.contract import Declaration, assembled, damaged

TITLE = "Philips Sierra XML"
MAX_CHANNELS = 256
MAX_UNPACKED = 6 * 2**20  # bytes of a packed block, three million samples: five minutes of twelve leads are 1.8 million
_CODE_BITS, _LAST_CODE = 10, 1022


def read(path: Path, declared: Declaration) -> Recording:
    """Read the rhythm of a file; the averaged beat is named as skipped. Raises ReadError with the reason."""
    root = datakit.xml(path, TITLE)
    block = next(root.iter("parsedwaveforms"), None)
    rate_hz = _rate(path, root, block)
    _bound(path, root, block)
    parts = datakit.parsed(path, TITLE, "sierra_xml", "SierraXMLParser")
    faults = [*parts.faults, *_longer(block, len(parts.record.leads), len(parts.record.leads[0].samples))]
    channels = [datakit.stored(lead, rate_hz) for lead in parts.record.leads]
    named = (block.get("leadlabels") or "").split() if block is not None else []
    beyond = named[len(channels) :]
    skipped = [*datakit.medians(parts.record), *(f"{name} (beyond numberofleads)" for name in beyond[:20])]
    skipped += [f"and {len(beyond) - 20} more"] if len(beyond) > 20 else []
    details = damaged(path, declared, [f"{TITLE}: {fault}" for fault in faults])
    found = datakit.found(parts, channels, declared, skipped=skipped, details=details)
    return assembled(path, TITLE, found, declared)


def _rate(path: Path, root: Any, block: Any) -> float:
    """Return the rate that is written. Raises ReadError for a fraction: lengths are rounded by it unseen."""
    said = (block.get("samplespersecond") if block is not None else "") or datakit.text(
        root, "dataacquisition/signalcharacteristics/samplingrate"
    )
    rate_hz = _number(said or "")
    if not (rate_hz > 0 and rate_hz.is_integer()):
        raise ReadError(f"{path}: {TITLE} says a sampling rate of {said[:40]!r} Hz; expected a whole number")
    return rate_hz


def _number(text: str) -> float:
    """Return what the library makes of a text: 0 for what is no number."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _bytes(block: Any) -> bytes:
    try:
        return base64.b64decode("".join("".join(block.itertext()).split()), validate=True)
    except (binascii.Error, ValueError):
        return b""  # the parser says so


def _packed(block: Any) -> bool:
    return bool(block.get("compression") or (block.get("compressflag") or "").lower() == "true")


def _bound(path: Path, root: Any, block: Any) -> None:
    """Raise ReadError for what becomes huge: channels that are only announced, a packed block (summed up unpacked)."""
    for name in ("numberchannelsallocated", "numberchannelsvalid"):
        for said in root.iter(name):
            if _number("".join(said.itertext())) > MAX_CHANNELS:
                raise ReadError(f"{path}: {TITLE} announces {' '.join(said.itertext())[:40]} channels")
    if block is None or not _packed(block):
        return
    data, at, total = _bytes(block), 0, 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        total += _unpacked(data[at + 8 : at + 8 + size])
        at += 8 + size
        if total > MAX_UNPACKED:
            raise ReadError(f"{path}: {TITLE} unpacks to more than {MAX_UNPACKED} bytes: not opened")


def _unpacked(chunk: bytes) -> int:
    """Return how many bytes the LZW codes of a chunk stand for; of one that is too much anyway, enough to see it."""
    chunk = chunk[: MAX_UNPACKED * _CODE_BITS // 8 + 2]  # a code stands for a byte at least
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    codes = bits[: len(bits) // _CODE_BITS * _CODE_BITS].reshape(-1, _CODE_BITS) @ (1 << np.arange(_CODE_BITS)[::-1])
    lengths, total, before = dict.fromkeys(range(256), 1), 0, 0
    upcoming = 256
    for code in codes.tolist():
        if code > _LAST_CODE:
            break
        length = lengths.setdefault(code, before + 1)
        if before and upcoming <= _LAST_CODE:
            lengths[upcoming] = before + 1
            upcoming += 1
        total, before = total + length, length
        if total > MAX_UNPACKED:
            break
    return total


def _longer(block: Any, leads: int, samples: int) -> list[str]:
    """Return what is said of a block that holds more than its counts say: the parser would drop it."""
    if block is None or _packed(block) or block.get("dataencoding") != "Base64":
        return []
    held, said = len(_bytes(block)), 2 * leads * samples
    return [f"its samples are {held} bytes, {leads} leads of {samples} are {said}"] if held > said else []
