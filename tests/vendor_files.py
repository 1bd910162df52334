"""Vendors' files made by code: small, valid unless told otherwise, with their true sums."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

SCP_CODES = {"I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8, "X": 16, "Y": 17, "Z": 18,
             "III": 61, "aVR": 62, "aVL": 63, "aVF": 64}  # fmt: skip
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def steps(leads: int = 2, samples: int = 500, seed: int = 0) -> NDArray[np.int16]:
    """Integers (L, T) that are no flat line."""
    return np.random.default_rng(seed).integers(-900, 900, (leads, samples)).astype(np.int16)


# SCP-ECG


def scp(
    values: NDArray[Any],
    leads: Sequence[str] = ("I", "II"),
    *,
    avm_nv: int = 2500,
    interval_us: int = 2000,
    first: int = 1,
    last: int | None = None,
    starts: Sequence[int] | None = None,
    huffman: bool = False,
    extra: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A file of sections 0, 3, 6 (and 2), samples as they are or packed with the standard's table."""
    last = first + values.shape[1] - 1 if last is None else last
    three = bytes([len(leads), 4 | len(leads) << 3 & 0xF8])
    spans = [(first, last)] * len(leads) if starts is None else [(k, k + values.shape[1] - 1) for k in starts]
    three += b"".join(struct.pack("<IIB", *span, SCP_CODES[lead]) for lead, span in zip(leads, spans, strict=True))
    packed = [_huffman(row) if huffman else row.astype("<i2").tobytes() for row in values]
    six = struct.pack("<HHBB", avm_nv, interval_us, 0, 0)
    six += struct.pack(f"<{len(packed)}H", *(len(row) for row in packed)) + b"".join(packed)
    sections = [(3, three), (6, six), *extra]
    if huffman:
        sections.insert(0, (2, struct.pack("<H", 19999)))
    return scp_of(sections)


def scp_of(sections: Sequence[tuple[int, bytes]]) -> bytes:
    """A file of these sections, with pointers and sums."""
    bodies = [(number, body + b"\0" * (len(body) % 2)) for number, body in sections]
    at = 7 + 16 + 10 * (len(bodies) + 1)
    pointers, parts = [struct.pack("<HII", 0, at - 7, 7)], []
    for number, body in bodies:
        length = 16 + len(body)
        pointers.append(struct.pack("<HII", number, length, at))
        head = struct.pack("<HIBB6x", number, length, 20, 20)
        parts.append(_signed(head + body))
        at += length
    zero = _signed(struct.pack("<HIBB6s", 0, 16 + 10 * len(pointers), 20, 20, b"SCPECG") + b"".join(pointers))
    whole = struct.pack("<I", at - 1) + zero + b"".join(parts)
    return _signed(whole)


def scp_resigned(data: bytes) -> bytes:
    """The file with all its sums made anew, after something in it was changed."""
    out = bytearray(data)
    for at in range(22, 6 + struct.unpack_from("<I", data, 10)[0], 10):
        number, length, index = struct.unpack_from("<HII", data, at)
        if length and index and index - 1 + length <= len(data) and (number or index == 7):
            out[index - 1 : index + 1] = struct.pack(
                "<H", binascii.crc_hqx(bytes(out[index + 1 : index - 1 + length]), 0xFFFF)
            )
    return _signed(bytes(out[2:]))


def _signed(content: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content


def _huffman(row: NDArray[Any]) -> bytes:
    """Every sample by the code that is followed by its 16 bits."""
    bits = "".join("1111111111" + f"{int(v) & 0xFFFF:016b}" for v in row)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


# MUSE


def muse_lead(
    name: str, row: NDArray[Any], crc: str | None = None, units: str = "MICROVOLTS", off: bool = False
) -> str:
    data = row.astype("<i2").tobytes()
    return (
        f"<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"
        f"<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal><LeadSampleSize>2</LeadSampleSize>"
        f"<LeadOff>{'TRUE' if off else 'FALSE'}</LeadOff><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit>"
        f"<LeadAmplitudeUnits>{units}</LeadAmplitudeUnits><LeadID>{name}</LeadID>"
        f"<LeadDataCRC32>{zlib.crc32(data) if crc is None else crc}</LeadDataCRC32>"
        f"<WaveFormData>{base64.b64encode(data).decode()}</WaveFormData></LeadData>"
    )


def muse_wave(leads: str, kind: str = "Rhythm", base: str = "500", exponent: str = "0") -> str:
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{base}</SampleBase>"
        f"<SampleExponent>{exponent}</SampleExponent>{leads}</Waveform>"
    )


def muse(*waves: str, head: str = '<?xml version="1.0" encoding="ISO-8859-1"?>') -> bytes:
    return f"{head}<RestingECG>{''.join(waves)}</RestingECG>".encode("latin-1")


# aECG


def aecg_set(
    leads: dict[str, str], increment: str = "2", unit: str = "ms", begin: str = "20200101120000.000",
    code: str = "TIME_ABSOLUTE", scale: str = '<scale value="5" unit="uV"/>',
) -> str:  # fmt: skip
    head = f'<head value="{begin}"/>' if code == "TIME_ABSOLUTE" else f'<head value="{begin}" unit="s"/>'
    time = (
        f'<sequence><code code="{code}"/><value>{head}<increment value="{increment}" unit="{unit}"/></value></sequence>'
    )
    rows = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/><value><origin value="0" unit="uV"/>{scale}'
        f"<digits>{digits}</digits></value></sequence></component>"
        for lead, digits in leads.items()
    )
    return f"<component><sequenceSet><component>{time}</component>{rows}</sequenceSet></component>"


def aecg_series(*sets: str, code: str = "RHYTHM", span: tuple[str, str] | None = None) -> str:
    low_high = f'<effectiveTime><low value="{span[0]}"/><high value="{span[1]}"/></effectiveTime>' if span else ""
    return f'<component><series><code code="{code}"/>{low_high}{"".join(sets)}</series></component>'


def aecg(*series: str) -> bytes:
    return f'<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3">{"".join(series)}</AnnotatedECG>'.encode()


def digits(row: NDArray[Any]) -> str:
    return " ".join(map(str, row.tolist()))


# Sierra


def sierra(
    values: NDArray[Any], labels: str = "I II", rate: str = "500", duration: str | None = None, **given: str
) -> bytes:
    duration = duration or f"{1000 * values.shape[1] / 500:g}"
    attributes = {"dataencoding": "Base64", "numberofleads": str(len(labels.split())), "leadlabels": labels,
                  "durationperchannel": duration, "samplespersecond": rate, "resolution": "5"} | given  # fmt: skip
    spelled = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    data = base64.b64encode(values.astype("<i2").tobytes()).decode()
    return (
        "<restingecgdata><documentinfo><documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion>"
        f"</documentinfo><waveforms><parsedwaveforms {spelled}>{data}</parsedwaveforms></waveforms></restingecgdata>"
    ).encode()


# DICOM


def dicom_channel(code: str = "2:1", sensitivity: str | None = "1", unit: str = "uV", **given: Any) -> pydicom.Dataset:
    channel = pydicom.Dataset()
    source = pydicom.Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = code, "MDC", "a lead"
    channel.ChannelSourceSequence = [source]
    if sensitivity is not None:
        units = pydicom.Dataset()
        units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
        channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence = sensitivity, [units]
    channel.WaveformBitsStored = 16
    for keyword, value in given.items():
        setattr(channel, keyword, value)
    return channel


def dicom_group(
    values: NDArray[Any], codes: Sequence[str | pydicom.Dataset] = ("2:1", "2:2"), rate: str = "500",
    offset: str | None = "0", kind: str = "SS", bits: int = 16, **given: Any,
) -> pydicom.Dataset:  # fmt: skip
    group = pydicom.Dataset()
    group.MultiplexGroupLabel, group.WaveformOriginality = "RHYTHM", "ORIGINAL"
    if offset is not None:
        group.MultiplexGroupTimeOffset = offset
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = values.shape
    group.SamplingFrequency, group.WaveformBitsAllocated, group.WaveformSampleInterpretation = rate, bits, kind
    group.ChannelDefinitionSequence = [
        code if isinstance(code, pydicom.Dataset) else dicom_channel(code) for code in codes
    ]
    if bits != 16:
        for channel in group.ChannelDefinitionSequence:
            channel.WaveformBitsStored = bits
    order = {"SS": "<i2", "US": "<u2", "SB": "i1", "UB": "u1", "SL": "<i4", "UL": "<u4"}.get(kind, "<i2")
    raw = values.T.astype(order).tobytes()
    group.add_new("WaveformData", "OB" if bits == 8 else "OW", raw + b"\0" * (len(raw) % 2))
    for keyword, value in given.items():
        if keyword == "WaveformPaddingValue":
            group.add_new(keyword, "OB" if bits == 8 else "OW", value)
        else:
            setattr(group, keyword, value)
    return group


def dicom(*groups: pydicom.Dataset, syntax: str = "1.2.840.10008.1.2.1", **given: Any) -> bytes:
    file = pydicom.Dataset()
    file.SOPClassUID, file.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3"
    file.Modality, file.WaveformSequence = "ECG", list(groups)
    for keyword, value in given.items():
        setattr(file, keyword, value)
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    pydicom.dcmwrite(out, file, enforce_file_format=True)
    return out.getvalue()


# MFER


def tag(number: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([number]) + (bytes([size]) if size < 128 else b"\x84" + struct.pack(">I", size)) + content


def mfer(
    values: NDArray[Any],
    leads: Sequence[int] = (1, 2),
    interval: bytes = b"\x01\xfd\x00\x02",
    sequences: int = 1,
    extra: bytes = b"",
) -> bytes:
    """Big-endian samples in one frame; the interval is a unit (1: seconds, 0: hertz), an exponent and a mantissa."""
    out = b"@\x20" + b"MFR made for a test".ljust(32) + tag(0x01, b"\0")
    out += tag(0x0B, interval) + tag(0x0C, b"\x00\xfa\x00\x05") + tag(0x0A, b"\0")  # steps of 5 uV, 16 bits
    out += tag(0x04, struct.pack(">I", values.shape[1] // sequences)) + tag(0x05, bytes([len(leads)]))
    out += tag(0x06, struct.pack(">I", sequences))
    for number, lead in enumerate(leads):
        inner = tag(0x09, bytes([lead]))
        out += b"\x3f" + bytes([number, len(inner)]) + inner
    data = values.reshape(len(leads), sequences, -1).transpose(1, 0, 2).astype(">i2").tobytes()
    return out + extra + tag(0x1E, data) + b"\x80\x00"


# AliveCor and ISHNE


def atc_block(name: bytes, data: bytes) -> bytes:
    body = name + struct.pack("<I", len(data)) + data
    return body + struct.pack("<I", sum(body) & 0xFFFFFFFF)


def atc(blocks: dict[bytes, NDArray[Any]], extra: bytes = b"", rate_hz: int = 300) -> bytes:
    head = b"ALIVE\0\0\0" + struct.pack("<I", 3) + atc_block(b"fmt ", struct.pack("<BHHBH", 1, rate_hz, 500, 0, 0))
    return head + b"".join(atc_block(name, row.astype("<i2").tobytes()) for name, row in blocks.items()) + extra


def ishne(
    values: NDArray[Any], codes: Sequence[int] = (5, 6), rate_hz: int = 250, nv: Sequence[int] | None = None,
    said: int | None = None, variable: int = 0, n_leads: int | None = None, checksum: bool = True,
) -> bytes:  # fmt: skip
    head = bytearray(512)
    samples = values.shape[1] if said is None else said
    struct.pack_into("<iiiih", head, 0, variable, samples, 522, 522 + variable, 1)
    struct.pack_into("<h", head, 146, len(codes) if n_leads is None else n_leads)
    struct.pack_into("<12h", head, 148, *codes, *[-9] * (12 - len(codes)))
    struct.pack_into("<12h", head, 196, *(nv or [2500] * 12))
    struct.pack_into("<h", head, 262, rate_hz)
    body = bytes(head) + b"\0" * variable
    total = binascii.crc_hqx(body, 0xFFFF) if checksum else 0
    return b"ISHNE1.0" + struct.pack("<H", total) + body + values.T.astype("<i2").tobytes()
