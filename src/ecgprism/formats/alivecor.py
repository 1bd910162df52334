"""AliveCor ATC: blocks of id, length, data and a sum of their bytes (AliveCor ECG file format, version 3)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declared, Found, assembled

MAGIC = b"ALIVE\x00\x00\x00"
_LEADS = {"ecg ": "I", "ecg2": "II", "ecg3": "III", "ecg4": "aVR", "ecg5": "aVL", "ecg6": "aVF"}


def read(path: Path, declared: Declared) -> Recording:
    """Read a file: up to six limb leads, 300 Hz, beats. Raises ReadError for a wrong sum or a block cut short."""
    data = path.read_bytes()
    blocks: dict[str, bytes] = {}
    at = len(MAGIC) + 4
    while at < len(data):
        if at + 12 > len(data):
            raise ReadError(f"{path}: ATC is truncated inside a block")
        name, length = data[at : at + 4].decode("latin-1"), struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + length
        if end + 4 > len(data):
            raise ReadError(f"{path}: ATC block {name!r} of {length} bytes runs over the end of the file")
        said = struct.unpack_from("<I", data, end)[0]
        held = int(np.frombuffer(data, np.uint8, end - at, at).sum(dtype=np.uint64)) & 0xFFFFFFFF
        if said != held:
            raise ReadError(f"{path}: ATC block {name!r} has sum {held}, the file says {said}: it is damaged")
        blocks.setdefault(name, data[at + 8 : end])
        at = end + 4
    if len(blocks.get("fmt ", b"")) < 5:
        raise ReadError(f"{path}: ATC without a format block")
    _, rate_hz, resolution_nv = struct.unpack_from("<BHH", blocks["fmt "])
    if not rate_hz or not resolution_nv:
        raise ReadError(f"{path}: ATC says {rate_hz} Hz and {resolution_nv} nV a step")
    channels = [
        Channel(
            lead, np.frombuffer(blocks[name][: len(blocks[name]) // 2 * 2], "<i2") * float(resolution_nv), "nV", rate_hz
        )
        for name, lead in _LEADS.items()
        if name in blocks
    ]
    info = blocks.get("info", b"")
    texts = {"acquired": info[:32], "device": info[116:148], "software": info[148:180]}
    details = {key: raw.split(b"\x00")[0].decode("latin-1").strip() for key, raw in texts.items()}
    found = Found(
        channels, annotations=_beats(blocks.get("ann ", b"")), details={k: v for k, v in details.items() if v}
    )
    return assembled(path, "AliveCor ATC", found, declared)


def _beats(block: bytes) -> tuple[Annotation, ...]:
    """Return the beats of an annotation block: its rate, then sample and kind of each; kind 1 is a normal beat."""
    if len(block) < 4:
        return ()
    (rate_hz,) = struct.unpack_from("<I", block)
    if not rate_hz:
        return ()
    pairs = [struct.unpack_from("<IH", block, at) for at in range(4, len(block) - 5, 6)]
    return tuple(Annotation(sample / rate_hz, symbol="N" if kind == 1 else "Q") for sample, kind in pairs)
