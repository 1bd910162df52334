"""SCP-ECG (EN 1064): the file's and every section's CRC is believed, lengths are checked before anything is decoded.

Section 6: 6 bytes of calibration (AVM in nV, sample interval in us, encoding, bimodal flag), one 16-bit byte length
per lead, then the samples: uncompressed at most 32,767 of a lead. Contec devices announce more in section 3: what is
there is read, and what is missing is said. Some writers number the samples of section 3 from 0 instead of 1.
"""

from __future__ import annotations

import binascii
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import datakit
from ecgprism.formats.contract import Channel, Declaration, FileContent, assembled, damaged
from ecgprism.formats.groups import Group, merged

TITLE = "SCP-ECG"
MAX_HUFFMAN = 1_000_000  # samples of all leads; each is decoded by itself, and a 12-lead ECG has some 60,000
_LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
_LONGEST = 65_534  # bytes of a lead, the largest even length that fits
_STANDARD = range(12)  # sections whose header the standard lays down


@dataclass(frozen=True)
class Rhythm:
    """Sections 3 and 6: first and last sample and code of each lead, lengths in bytes, interval, how it is packed."""

    spans: tuple[tuple[int, int, int], ...]
    lengths: tuple[int, ...]
    interval_us: int
    avm_nv: int
    begin: int  # of the first lead's samples in the file
    huffman: bool
    differences: bool
    subtracted: bool


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of SCP-ECG."""
    return head[16:22] == b"SCPECG"


def read(path: Path, declared: Declaration) -> Recording:
    """Read a file. Raises ReadError with the section and the reason."""
    data = path.read_bytes()
    sections = _sections(path, data)
    faults = _sums(data, sections)
    details = damaged(path, declared, faults)
    rhythm = _rhythm(path, data, sections)
    expected = [last - first + 1 for first, last, _ in rhythm.spans]
    held = [length // 2 for length in rhythm.lengths]
    if not rhythm.huffman and set(rhythm.lengths) == {_LONGEST} and min(expected) > _LONGEST // 2:
        return assembled(path, TITLE, _truncated(path, data, rhythm, details), declared)
    if any(first == 0 for first, _, _ in rhythm.spans):
        return _from_zero(path, data, sections, rhythm, declared, details)
    if not rhythm.huffman and (longer := next((k for k, n in enumerate(held) if n > expected[k]), None)) is not None:
        fault = (
            f"{TITLE} section 6 holds {held[longer]} samples of lead {longer + 1}, section 3 says {expected[longer]}"
        )
        details |= damaged(path, declared, [*faults, fault])
    return _parsed(path, path, rhythm, declared, details)


def _parsed(
    path: Path, file: Path, rhythm: Rhythm, declared: Declaration, details: dict[str, str], notes: Sequence[str] = ()
) -> Recording:
    """Return what ecgdatakit reads in `file`, which is `path` or a mended copy of it."""
    try:
        parts = datakit.parsed(file, TITLE, "scp_ecg", "SCPECGParser")
    except ReadError as error:
        raise ReadError(str(error).replace(str(file), str(path))) from None
    # sums are this module's own: it names each with both numbers
    parts = datakit.ParsedFile(parts.record, (*parts.notes, *notes))
    rate_hz = 1e6 / rhythm.interval_us
    begins: dict[int, list[Channel]] = {}
    for lead, (first, _, _) in zip(parts.record.leads, rhythm.spans, strict=True):
        begins.setdefault(first, []).append(datakit.stored(lead, rate_hz))
    groups = [Group(f"from sample {first}", part, first / rate_hz) for first, part in begins.items()]
    channels, left = merged(groups, declared) if len(groups) > 1 else (groups[0].channels, ())
    skipped = (*datakit.medians(parts.record), *left)
    return assembled(path, TITLE, datakit.found(parts, channels, declared, skipped=skipped, details=details), declared)


def _sections(path: Path, data: bytes) -> dict[int, tuple[int, int]]:
    """Return offset and length of every section from the pointers of section 0. Raises ReadError for one outside."""
    if len(data) < 6 + 16 + 10:
        raise ReadError(f"{path}: no valid {TITLE} (cut short inside section 0)")
    size, n_bytes = struct.unpack_from("<I", data, 2)[0], struct.unpack_from("<I", data, 6 + 4)[0]
    if size > len(data):
        raise ReadError(f"{path}: {TITLE} says {size} bytes, the file has {len(data)}: it is cut short")
    if 6 + n_bytes > min(size, len(data)):
        raise ReadError(f"{path}: no valid {TITLE} (section 0 of {n_bytes} bytes)")
    out = {0: (6, n_bytes)}
    for at in range(6 + 16, 6 + n_bytes - 9, 10):
        number, length, index = struct.unpack_from("<HII", data, at)
        if not number or not length:
            continue
        if index < 1 or index - 1 + length > size or (number in _STANDARD and length < 16):
            raise ReadError(f"{path}: no valid {TITLE} (section {number}: {length} bytes at byte {index} of {size})")
        if number in out:
            raise ReadError(f"{path}: no valid {TITLE} (section {number} is there twice)")
        out[number] = (index - 1, length)
    return out


def _sums(data: bytes, sections: dict[int, tuple[int, int]]) -> list[str]:
    """Return every CRC that is not that of its bytes; sections of manufacturers are covered by the file's."""
    size = struct.unpack_from("<I", data, 2)[0]
    parts = {f"section {number}": span for number, span in sorted(sections.items()) if number in _STANDARD}
    faults = []
    for name, (at, length) in {**parts, "file": (0, size)}.items():
        said, held = struct.unpack_from("<H", data, at)[0], binascii.crc_hqx(data[at + 2 : at + length], 0xFFFF)
        if said != held:
            faults.append(f"{TITLE} {name} has the CRC {held}, the file says {said}")
    return faults


def _rhythm(path: Path, data: bytes, sections: dict[int, tuple[int, int]]) -> Rhythm:
    """Return what sections 3 and 6 say of the leads. Raises ReadError for counts that section 6 cannot hold."""
    for number in (3, 6):
        if number not in sections:
            raise ReadError(f"{path}: {TITLE} without section {number}" + (" (version 3?)" if 12 in sections else ""))
    (leads_at, leads_bytes), (at, n_bytes) = sections[3], sections[6]
    try:
        count, flags = data[leads_at + 16], data[leads_at + 17]
        if not count or 18 + 9 * count > leads_bytes or 22 + 2 * count > n_bytes:
            raise ReadError(f"{path}: no valid {TITLE} (section 3 announces {count} leads)")
        spans = tuple(struct.unpack_from("<IIB", data, leads_at + 18 + 9 * k) for k in range(count))
        avm_nv, interval_us, encoding, _ = struct.unpack_from("<HHBB", data, at + 16)
        lengths = struct.unpack_from(f"<{count}H", data, at + 22)
    except (struct.error, IndexError) as error:
        raise ReadError(f"{path}: no valid {TITLE} ({error})") from None
    if not interval_us:
        raise ReadError(f"{path}: {TITLE} section 6 says a sample interval of 0 us")
    if sum(lengths) > n_bytes - 22 - 2 * count:
        raise ReadError(f"{path}: {TITLE} section 6 has {n_bytes} bytes, its leads {sum(lengths)}")
    huffman = 2 in sections
    most = [8 * length for length in lengths] if huffman else [1 << 32] * count
    for k, (first, last, _) in enumerate(spans):
        if last < first or last - first > 1 << 31:
            raise ReadError(f"{path}: no valid {TITLE} (lead {k + 1} goes from sample {first} to {last})")
        if last - first + bool(first) > most[k]:
            raise ReadError(
                f"{path}: {TITLE} section 3 announces {last - first + 1} samples of lead {k + 1}, its {lengths[k]} "
                "bytes in section 6 cannot hold them"
            )
    if huffman and sum(last - first for first, last, _ in spans) > MAX_HUFFMAN:
        raise ReadError(f"{path}: {TITLE} of more than {MAX_HUFFMAN} packed samples")
    return Rhythm(spans, lengths, interval_us, avm_nv, at + 22 + 2 * count, huffman, encoding != 0, bool(flags & 1))


def _truncated(path: Path, data: bytes, rhythm: Rhythm, details: dict[str, str]) -> FileContent:
    """Return the leads of an uncompressed file that ran over. Raises ReadError when it is no such file."""
    spans = {last - first + 1 for first, last, _ in rhythm.spans}
    if (
        rhythm.differences
        or rhythm.subtracted
        or not rhythm.avm_nv
        or len(spans) != 1
        or len({s[0] for s in rhythm.spans}) > 1
    ):
        raise ReadError(f"{path}: no valid {TITLE} (it announces more samples than it holds)")
    samples, count = _LONGEST // 2, len(rhythm.spans)
    values = np.frombuffer(data, "<i2", samples * count, rhythm.begin).reshape(count, samples)
    channels = [
        Channel(_LEADS.get(code, f"{TITLE} lead {code}"), row, "uV", 1e6 / rhythm.interval_us, rhythm.avm_nv / 1e3)
        for (_, _, code), row in zip(rhythm.spans, values, strict=True)
    ]
    said = f"{samples} of {spans.pop()} samples: the format holds no more"
    return FileContent(channels, details=details | {"truncated": said})


def _from_zero(
    path: Path,
    data: bytes,
    sections: dict[int, tuple[int, int]],
    rhythm: Rhythm,
    declared: Declaration,
    details: dict[str, str],
) -> Recording:
    """Read a copy whose samples are numbered from 1: whether the last one is counted, the lengths in bytes tell."""
    if rhythm.subtracted or any(first for first, _, _ in rhythm.spans):
        raise ReadError(f"{path}: {TITLE} section 3 begins at sample 0, and not all leads do, or beats are subtracted")
    copy, at = bytearray(data), sections[3][0]
    for k, ((_, last, _), length) in enumerate(zip(rhythm.spans, rhythm.lengths, strict=True)):
        # packed lengths cannot tell: what is certain is that the samples before the last number are there
        samples = last + 1 if not rhythm.huffman and length // 2 == last + 1 else last
        if samples < 1:
            raise ReadError(f"{path}: {TITLE} lead {k + 1} goes from sample 0 to {last}")
        struct.pack_into("<II", copy, at + 18 + 9 * k, 1, samples)
    _sign(copy, [sections[3]])
    with tempfile.TemporaryDirectory(prefix="ecgprism-") as folder:
        file = Path(folder, "copy.scp")
        file.write_bytes(copy)
        note = "section 3 counts from sample 0" + (": a last sample may be missing" if rhythm.huffman else "")
        return _parsed(path, file, rhythm, declared, details, [note])


def _sign(data: bytearray, sections: Sequence[tuple[int, int]]) -> None:
    """Write the CRCs of changed sections, then that of the file."""
    size = struct.unpack_from("<I", data, 2)[0]
    for at, length in (*sections, (0, size)):
        struct.pack_into("<H", data, at, binascii.crc_hqx(bytes(data[at + 2 : at + length]), 0xFFFF))
