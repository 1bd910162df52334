"""ISHNE Holter: a header of 522 bytes, then interleaved 16-bit samples, read through a memory map.

Format: Badilini 1998, The ISHNE Holter Standard Output File Format.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgprism.ecg.recording import Recording, check_rate
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declared, Found, assembled, demographics

MAGIC = b"ISHNE1.0"
_HEADER_AT, _HEADER_BYTES = 10, 512
_LEADS = (
    *("unknown", "generic", "X", "Y", "Z", "I", "II", "III", "aVR", "aVL", "aVF"),
    *("V1", "V2", "V3", "V4", "V5", "V6", "ES", "AS", "AI"),
)
_NOT_RECORDED = -32768


@dataclass(frozen=True)
class Header:
    """What the header says: samples of each lead, where they begin, leads, nV a step, rate, patient, device."""

    samples: int
    offset: int
    leads: tuple[str, ...]
    resolution_nv: tuple[int, ...]
    rate_hz: int
    sex: str
    recorder: str


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of ISHNE."""
    return head.startswith(MAGIC)


def extent(path: Path) -> tuple[float, float]:
    """Return rate (Hz) and duration (s) of a file. Raises ReadError."""
    header = _header(path)
    return float(header.rate_hz), header.samples / header.rate_hz


def read(path: Path, declared: Declared, start_s: float = 0.0, stop_s: float | None = None) -> Recording:
    """Read a file, or the part of it between two times. Raises ReadError with the reason."""
    header = _header(path)
    shape = (header.samples, len(header.leads))
    first = round(start_s * header.rate_hz)
    last = header.samples if stop_s is None else min(round(stop_s * header.rate_hz), header.samples)
    values = np.array(np.memmap(path, "<i2", "r", header.offset, shape)[first:last]).T
    channels = []
    for name, row, nv in zip(header.leads, values, header.resolution_nv, strict=True):
        samples = np.where(row == _NOT_RECORDED, np.nan, row * float(nv))
        channels.append(Channel(name, samples, "nV", float(header.rate_hz)))
    details = {"device": header.recorder} if header.recorder else {}
    return assembled(path, "ISHNE", Found(channels, demographics(sex=header.sex), details=details), declared)


def _header(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER_AT + _HEADER_BYTES)
    if len(head) < _HEADER_AT + _HEADER_BYTES:
        raise ReadError(f"{path}: ISHNE is truncated inside its header")
    checksum = struct.unpack_from("<H", head, 8)[0]
    variable, _, variable_at, samples_at = struct.unpack_from("<iiii", head, 10)
    sex = struct.unpack_from("<h", head, 128)[0]
    n_leads = struct.unpack_from("<h", head, 156)[0]
    codes = struct.unpack_from("<12h", head, 158)
    resolution = struct.unpack_from("<12h", head, 206)
    recorder = head[232:272].split(b"\x00")[0].decode("latin-1").strip()
    rate_hz = struct.unpack_from("<h", head, 272)[0]
    if not 1 <= n_leads <= 12 or variable < 0 or variable_at < 0 or samples_at < _HEADER_AT + _HEADER_BYTES:
        raise ReadError(f"{path}: no valid ISHNE header ({n_leads} leads, samples at byte {samples_at})")
    check_rate(rate_hz, f"{path}: ")
    _verify(path, head, variable, samples_at, checksum)
    n_bytes = size - samples_at
    if n_bytes <= 0 or n_bytes % (2 * n_leads):
        raise ReadError(f"{path}: ISHNE holds {max(n_bytes, 0)} bytes of samples, no multiple of {n_leads} leads")
    said = struct.unpack_from("<i", head, 14)[0]
    held = n_bytes // (2 * n_leads)
    if said not in (held, held * n_leads, 0, -1):  # some recorders count the samples of all leads, some none
        raise ReadError(f"{path}: ISHNE is truncated or longer than said: {said} samples a lead, it holds {held}")
    if min(resolution[:n_leads]) <= 0:
        raise ReadError(f"{path}: ISHNE says a resolution of {min(resolution[:n_leads])} nV")
    return Header(
        held,
        samples_at,
        tuple(_LEADS[code] if 0 <= code < len(_LEADS) else f"ISHNE lead {code}" for code in codes[:n_leads]),
        resolution[:n_leads],
        rate_hz,
        {1: "male", 2: "female"}.get(sex, ""),
        recorder,
    )


def _verify(path: Path, head: bytes, variable: int, samples_at: int, said: int) -> None:
    """Raise ReadError unless the header has its checksum (CRC-CCITT of fixed and variable part); 0 is not computed."""
    if not said:
        return
    with path.open("rb") as file:
        file.seek(_HEADER_AT)
        body = file.read(min(_HEADER_BYTES + variable, max(samples_at - _HEADER_AT, 0)))
    if binascii.crc_hqx(body, 0xFFFF) != said:
        raise ReadError(f"{path}: the ISHNE header has another checksum than it says: it is damaged")
