"""ISHNE Holter: a header of 522 bytes, then interleaved 16-bit samples, read through a memory map.

The header has a check sum and a count of samples, both believed; the samples have no sum.
Format: Badilini 1998, The ISHNE Holter Standard Output File Format.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgprism.ecg.metadata import demographics
from ecgprism.ecg.recording import Recording, check_rate
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declaration, FileContent, assembled, damaged
from ecgprism.formats.datakit import usable

MAGIC = b"ISHNE1.0"
_HEADER_AT, _HEADER_BYTES = 10, 512
_LEADS = (
    *("unknown", "generic", "X", "Y", "Z", "I", "II", "III", "aVR", "aVL", "aVF"),
    *("V1", "V2", "V3", "V4", "V5", "V6", "ES", "AS", "AI"),
)
_NOT_RECORDED = -32768


@dataclass(frozen=True)
class Header:
    """What the header says: samples of each lead, where they begin, leads, nV a step, rate, patient, device; faults."""

    samples: int
    offset: int
    leads: tuple[str, ...]
    resolution_nv: tuple[int, ...]
    rate_hz: int
    sex: str
    recorder: str
    faults: tuple[str, ...] = ()


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of ISHNE."""
    return head.startswith(MAGIC)


def extent(path: Path, declared: Declaration) -> float:
    """Return the duration (s) of a file. Raises ReadError."""
    header = _header(path)
    return header.samples / header.rate_hz


def read(path: Path, declared: Declaration, start_s: float = 0.0, stop_s: float | None = None) -> Recording:
    """Read a file, or the part of it between two times. Raises ReadError with the reason."""
    header = _header(path)
    details = damaged(path, declared, header.faults) | ({"device": header.recorder} if header.recorder else {})
    shape = (header.samples, len(header.leads))
    first = round(start_s * header.rate_hz)
    last = header.samples if stop_s is None else min(round(stop_s * header.rate_hz), header.samples)
    values = np.ascontiguousarray(np.memmap(path, "<i2", "r", header.offset, shape)[first:last].T)
    said = []
    for name, row, nv in zip(header.leads, values, header.resolution_nv, strict=True):
        missing = row == _NOT_RECORDED
        samples = np.where(missing, np.nan, row) if missing.any() else row
        said.append(Channel(name, samples, "nV" if nv > 0 else "", float(header.rate_hz), float(max(nv, 1))))
    channels, lost = usable(said, declared)
    found = FileContent(channels, demographics(sex=header.sex), details=details, skipped=lost)
    return assembled(path, "ISHNE", found, declared)


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
    faults = _faults(path, variable, samples_at, checksum)
    n_bytes = size - samples_at
    held = n_bytes // (2 * n_leads)
    if held <= 0:
        raise ReadError(f"{path}: ISHNE holds {max(n_bytes, 0)} bytes of samples")
    if n_bytes % (2 * n_leads):
        faults.append(f"ISHNE holds {n_bytes} bytes of samples, no multiple of {n_leads} leads: truncated or longer")
    said = struct.unpack_from("<i", head, 14)[0]
    if said not in (held, held * n_leads, 0, -1):  # some recorders count the samples of all leads, some none
        faults.append(f"ISHNE is truncated or longer than said: {said} samples a lead, it holds {held}")
    return Header(
        held,
        samples_at,
        tuple(_LEADS[code] if 0 <= code < len(_LEADS) else f"ISHNE lead {code}" for code in codes[:n_leads]),
        resolution[:n_leads],
        rate_hz,
        {1: "male", 2: "female"}.get(sex, ""),
        recorder,
        tuple(faults),
    )


def _faults(path: Path, variable: int, samples_at: int, said: int) -> list[str]:
    """Return the fault of a header without its checksum (CRC-CCITT of fixed and variable part); 0 is not computed."""
    with path.open("rb") as file:
        file.seek(_HEADER_AT)
        body = file.read(min(_HEADER_BYTES + variable, max(samples_at - _HEADER_AT, 0)))
    held = binascii.crc_hqx(body, 0xFFFF)
    return [f"the ISHNE header has another checksum ({held}) than it says ({said})"] if said not in (0, held) else []
