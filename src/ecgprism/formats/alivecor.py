"""AliveCor ATC: blocks of id, length, data and a sum of their bytes (AliveCor ECG file format, version 3)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declaration, FileContent, assembled, damaged

MAGIC = b"ALIVE\x00\x00\x00"
MAX_BLOCKS = 10_000
_LEADS = dict(zip(("ecg ", *(f"ecg{n}" for n in "23456789abc")), STANDARD_LEADS, strict=True))
_UNDERSTOOD = {*_LEADS, "fmt ", "info", "ann "}


def read(path: Path, declared: Declaration) -> Recording:
    """Read a file: up to twelve leads, beats. Raises ReadError for a wrong sum or a block cut short."""
    blocks, skipped, faults = _blocks(path, path.read_bytes())
    details = damaged(path, declared, faults)
    if len(blocks.get("fmt ", b"")) < 5:
        raise ReadError(f"{path}: ATC without a format block")
    _, rate_hz, resolution_nv = struct.unpack_from("<BHH", blocks["fmt "])
    if not rate_hz or not resolution_nv:
        raise ReadError(f"{path}: ATC says {rate_hz} Hz and {resolution_nv} nV a step")
    channels = [
        Channel(
            lead, np.frombuffer(blocks[name][: len(blocks[name]) // 2 * 2], "<i2"), "nV", rate_hz, float(resolution_nv)
        )
        for name, lead in _LEADS.items()
        if name in blocks
    ]
    info = blocks.get("info", b"")
    texts = {"acquired": info[:32], "device": info[116:148], "software": info[148:180]}
    said = {key: raw.split(b"\x00")[0].decode("latin-1").strip() for key, raw in texts.items()}
    found = FileContent(
        channels,
        annotations=_beats(path, blocks.get("ann ", b""), len(channels[0].samples) if channels else 0),
        details={key: text for key, text in said.items() if text} | details,
        skipped=tuple(skipped),
    )
    return assembled(path, "AliveCor ATC", found, declared)


def _blocks(path: Path, data: bytes) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Return the blocks that are understood, the names of others, and the sums that do not fit."""
    blocks: dict[str, bytes] = {}
    skipped, faults = list[str](), list[str]()
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
            faults.append(f"ATC block {name!r} has sum {held}, the file says {said}")
        if name not in _UNDERSTOOD or name in blocks:
            skipped.append(f"block {name!r}" + (" (again)" if name in blocks else ""))
        else:
            blocks[name] = data[at + 8 : end]
        if len(blocks) + len(skipped) > MAX_BLOCKS:
            raise ReadError(f"{path}: ATC of more than {MAX_BLOCKS} blocks")
        at = end + 4
    return blocks, skipped, faults


def _beats(path: Path, block: bytes, samples: int) -> tuple[Annotation, ...]:
    """Return the beats of an annotation block: its rate, then sample and kind of each; kind 1 is a normal beat."""
    if len(block) < 4:
        return ()
    (rate_hz,) = struct.unpack_from("<I", block)
    if not rate_hz:
        return ()
    count = (len(block) - 4) // 6
    if count > max(samples // 10, 1):  # at 300 Hz, 30 a second
        raise ReadError(f"{path}: ATC announces {count} beats in {samples} samples")
    pairs = np.frombuffer(block, np.dtype([("at", "<u4"), ("kind", "<u2")]), count, 4)
    return tuple(Annotation(at / rate_hz, symbol="N" if kind == 1 else "Q") for at, kind in pairs.tolist())
