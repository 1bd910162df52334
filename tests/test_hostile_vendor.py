"""Hostile vendors' files, each of its own kind: one line or a right recording, in 2 s and 64 MiB + 20 x the file."""

# ruff: noqa: E501  a table of cases, one a line

from __future__ import annotations

import base64
import json
import os
import re
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

import ecgprism as ep
from ecgprism.errors import ReadError
from tests import vendor_files as files

pytest.importorskip("ecgdatakit")
V = files.steps(2, 400)
LEADS = dict(zip(("I", "II"), V, strict=True))
CPU_S, FREE_MIB, RATIO = 2.0, 64, 20
DIGITS = {name: files.digits(row) for name, row in LEADS.items()}
READ = ""  # a case that is to be read as the true signal

Case = tuple[Callable[[], bytes], str]


def muse_waves(**given: str) -> str:
    return files.muse_wave("".join(files.muse_lead(name, row) for name, row in LEADS.items()), **given)


def muse(**swap: str) -> bytes:
    """The file with the content of an element swapped for another."""
    data = files.muse(muse_waves()).decode()
    for element, content in swap.items():
        begin, end = data.index(f"<{element}>"), data.index(f"</{element}>")
        data = data[: begin + len(element) + 2] + content + data[end:]
    return data.encode()


def aecg(**given: str) -> bytes:
    return files.aecg(files.aecg_series(files.aecg_set(DIGITS, **given)))


def dicom(**given: object) -> bytes:
    return files.dicom(files.dicom_group(V, **given))


def dicom_one(code: str = "2:1", **given: object) -> bytes:
    return files.dicom(files.dicom_group(V[:1], [files.dicom_channel(code, **given)]))


SEEDS: dict[str, Callable[[], bytes]] = {
    "scp": lambda: files.scp(V),
    "scp packed": lambda: files.scp(V, huffman=True),
    "muse": muse,
    "aecg": aecg,
    "sierra": lambda: files.sierra(V),
    "dicom": dicom,
    "dicom implicit": lambda: files.dicom(files.dicom_group(V), syntax="1.2.840.10008.1.2"),
    "dicom deflated": lambda: files.dicom(files.dicom_group(V), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian),
    "mfer": lambda: files.mfer(V),
    "atc": lambda: files.atc({b"ecg ": V[0], b"ecg2": V[1]}),
    "ishne": lambda: files.ishne(V),
}


def borders(kind: str, data: bytes) -> set[int]:
    """Where the parts of a file begin and end, and one byte to either side of the last ones."""
    if kind.startswith("scp"):
        found = {6, 16, 22}
        for at in range(22, 6 + struct.unpack_from("<I", data, 10)[0], 10):
            _, length, index = struct.unpack_from("<HII", data, at)
            found |= {at, index - 1, index + 15, index - 1 + length - 1, index - 1 + length - 2}
    elif kind in ("muse", "aecg", "sierra"):
        found = {k for k, byte in enumerate(data) if byte in b"<>"}
        found = set(sorted(found)[:: max(len(found) // 15, 1)])
    elif kind.startswith("dicom"):
        found = {4, 128, 132, 140, 144, len(data) - 1, len(data) - 2, len(data) - 9}
        for mark in (b"\x00\x54\x00\x01", b"\xfe\xff\x00\xe0", b"\x00\x54\x10\x10"):
            found |= {data.index(mark) + k for k in (0, 4, 8, 12)} if mark in data else set()
    elif kind == "atc":
        found = {4, 8, 12} | {data.index(name) + k for name in (b"fmt ", b"ecg ", b"ecg2") for k in (0, 4, 8)}
        found |= {len(data) - 1, len(data) - 4}
    elif kind == "ishne":
        found = {8, 10, 14, 26, 156, 521, 522, 523, len(data) - 1, len(data) - 4}
    else:
        found = {1, 2, 34, 36, 37, 60, len(data) - 3, len(data) - 803, data.index(b"\x1e") + 1}
    return {at for at in found if 0 < at < len(data)}


def truncated() -> Iterator[tuple[str, Case]]:
    for kind, made in SEEDS.items():
        data = made()
        for at in sorted(borders(kind, data)):
            # what is behind the samples may be cut off, and then the signal is the true one
            yield f"{kind} cut at {at}", (lambda data=data, at=at: data[:at], "either")


def scp_with(at: int, form: str, value: int, section: int = 6) -> bytes:
    """The file with one number of a section (counted from its content) changed and all sums made anew."""
    data = bytearray(files.scp(V))
    for where in range(22, 6 + struct.unpack_from("<I", data, 10)[0], 10):
        number, _, index = struct.unpack_from("<HII", data, where)
        if number == section and index:
            struct.pack_into(form, data, index - 1 + 16 + at, value)
    return files.scp_resigned(bytes(data))


def scp_pointer(entry: int, at: int, value: int, form: str = "<I") -> bytes:
    data = bytearray(files.scp(V))
    struct.pack_into(form, data, 22 + 10 * entry + at, value)
    return files.scp_resigned(bytes(data))


def table(*codes: tuple[int, int, int, int, int]) -> bytes:
    """Section 2 with one table of these codes."""
    return struct.pack("<HH", 1, len(codes)) + b"".join(struct.pack("<BBBhI", *code) for code in codes)


def scp_packed(two: bytes, count: int = 400) -> bytes:
    lead = struct.pack("<BB", 1, 12) + struct.pack("<IIB", 1, count, 1)
    return files.scp_of([(2, two), (3, lead), (6, struct.pack("<HHBBH", 2500, 2000, 0, 0, 400) + b"\x55" * 400)])


SCP: dict[str, Case] = {
    "no leads": (lambda: scp_with(0, "<B", 0, 3), "announces 0 leads"),
    "255 leads": (lambda: scp_with(0, "<B", 255, 3), "announces 255 leads"),
    "samples 4 billion": (lambda: scp_with(6, "<I", 0xFFFFFFFF, 3), "goes from sample 1 to 4294967295"),
    "samples backwards": (lambda: scp_with(2, "<I", 500, 3), "goes from sample 500 to 400"),
    "samples 2 billion": (lambda: scp_with(6, "<I", 0x7FFFFFFF, 3), "expected 2147483647"),
    "one lead longer": (lambda: scp_with(15, "<I", 401, 3), "holds 400 samples, expected 401"),
    "packed 26 GiB": (lambda: files.scp(V, huffman=True, last=3_000_000_000), "1 to 3000000000"),
    "packed 1 GiB": (lambda: files.scp(V, huffman=True, last=100_000_000), "cannot hold them"),
    "lead of no bytes": (lambda: scp_with(6, "<H", 0), "expected 400"),
    "lead longer than its section": (lambda: scp_with(6, "<H", 65_535), "its leads"),
    "odd length": (lambda: scp_with(6, "<H", 799), "holds 399 samples, expected 400"),
    "interval 0": (lambda: scp_with(2, "<H", 0), "sample interval of 0 us"),
    "interval 1": (lambda: scp_with(2, "<H", 1), "sampling rate 1e\\+06 Hz"),
    "interval 65535": (lambda: scp_with(2, "<H", 65_535), "sampling rate 15.259 Hz"),
    "step 0": (lambda: scp_with(0, "<H", 0), "says no unit"),
    "unknown encoding": (lambda: scp_with(4, "<B", 9), "unknown difference encoding 9"),
    "bimodal": (lambda: scp_with(5, "<B", 1), "bimodal"),
    "subtracted without beats": (lambda: scp_with(1, "<B", 0x15, 3), "reference beat subtraction"),
    "one lead twice": (lambda: files.scp(V, ("I", "I")), READ),
    "unknown lead": (lambda: scp_with(10, "<B", 254, 3), READ),
    "section before the file": (lambda: scp_pointer(2, 6, 0), "section 6"),
    "section behind the file": (lambda: scp_pointer(2, 6, 100_000), "section 6"),
    "section over the end": (lambda: scp_pointer(2, 2, 100_000), "section 6"),
    "section of 2 GiB": (lambda: scp_pointer(2, 2, 0x7FFFFFFF), "section 6"),
    "section of 4 GiB": (lambda: scp_pointer(2, 2, 0xFFFFFFFF), "section 6"),
    "section shorter than its header": (lambda: scp_pointer(2, 2, 4), "section 6"),
    "section 6 without content": (lambda: scp_pointer(2, 2, 16), "section"),
    "section 6 points to itself": (lambda: scp_pointer(2, 6, 7), "section|samples"),
    "sections one in another": (lambda: scp_pointer(2, 6, struct.unpack_from("<I", files.scp(V), 38)[0]), "section"),
    "section twice": (lambda: scp_pointer(2, 0, 3, "<H"), "there twice|without section 6"),
    "no section 3": (lambda: scp_pointer(1, 0, 77, "<H"), "without section 3"),
    "no section 6": (lambda: scp_pointer(2, 0, 77, "<H"), "without section 6"),
    "section 0 of 4 GiB": (lambda: files.scp(V)[:10] + b"\xff" * 4 + files.scp(V)[14:], "section 0"),
    "section 0 of 0": (lambda: files.scp(V)[:10] + b"\0" * 4 + files.scp(V)[14:], "CRC|section"),
    "size 0": (lambda: files.scp(V)[:2] + b"\0" * 4 + files.scp(V)[6:], "section 0|CRC|cut short"),
    "size 4 GiB": (lambda: files.scp(V)[:2] + b"\xff" * 4 + files.scp(V)[6:], "it is cut short"),
    "table without codes": (lambda: scp_packed(table()), "Huffman"),
    "table of no bits": (lambda: scp_packed(table((0, 0, 1, 0, 0))), "prefix length 0"),
    "table that only switches": (lambda: scp_packed(table((1, 1, 0, 1, 0), (1, 1, 0, 1, 1))), "ends after 0 of 400"),
    "table that switches nowhere": (lambda: scp_packed(table((1, 1, 0, 9, 0), (1, 1, 0, 9, 1))), "unknown Huffman table"),
    "code of 255 bits": (lambda: scp_packed(table((1, 255, 1, 0, 0), (1, 255, 1, 0, 1))), "no valid SCP-ECG"),
    "65535 tables": (lambda: scp_packed(b"\xff\xff"), "truncated in Huffman"),
    "65535 codes": (lambda: scp_packed(b"\1\0\xff\xff"), "truncated in Huffman"),
    "many packed samples": (
        lambda: files.scp_of(
            [(2, b"\x1f\x4e"), (3, bytes([30, 0xF4]) + b"".join(struct.pack("<IIB", 1, 500_000, 1) for _ in range(30))),
             (6, struct.pack("<HHBB30H", 2500, 2000, 0, 0, *[62_500] * 30) + bytes(30 * 62_500))]
        ),
        "more than 1000000 packed samples",
    ),
    "statements without end": (lambda: files.scp(V, extra=[(8, b"\0" * 8 + b"\xff" + b"\xff" * 20)]), "statements are truncated"),
    "tags without end": (lambda: files.scp(V, extra=[(1, b"\2\xff\xff" + b"x" * 20)]), "overrun the section"),
    "text in no encoding": (lambda: files.scp(V, extra=[(1, b"\2\4\0\xff\xfe\x80\0\xff\0\0")]), READ),
    "beats without end": (lambda: files.scp(V, extra=[(4, b"\0\0\0\0\xff\xff")]), READ),
}  # fmt: skip

XML_KINDS: dict[str, tuple[Callable[[], bytes], bytes]] = {
    "muse": (muse, b"RestingECG"), "aecg": (aecg, b"AnnotatedECG"), "sierra": (SEEDS["sierra"], b"restingecgdata"),
}  # fmt: skip
LAUGHS = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "&%c;&%c;&%c;&%c;&%c;&%c;&%c;&%c;">' % ((k + 1,) + (k,) * 8) for k in range(ord("a"), ord("m"))
)


def xml_cases() -> Iterator[tuple[str, Case]]:
    for kind, (made, root) in XML_KINDS.items():
        body = made()[made().index(b"<" + root) :]
        inside = body.index(b">") + 1

        def with_inside(content: bytes, body: bytes = body, inside: int = inside) -> bytes:
            return body[:inside] + content + body[inside:]

        cases: dict[str, Case] = {
            "laughs": (lambda root=root: LAUGHS + b"]><%s>&m;</%s>" % (root, root), "."),
            "outside entity": (
                lambda body=body: b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + body.replace(b"><", b">&a;<", 1),
                "entit",
            ),
            "deep": (lambda w=with_inside: w(b"<a>" * 19_000 + b"</a>" * 19_000), "either"),
            "deeper": (lambda w=with_inside: w(b"<a>" * 38_000), "."),
            "wide": (lambda w=with_inside: w(b"<a/>" * 38_000), "either"),
            "wider": (lambda w=with_inside: w(b"<a/>" * 2_000_000), "elements; expected at most"),
            "attributes": (
                lambda w=with_inside: w(b"<a " + b" ".join(b'a%d=""' % k for k in range(60_000)) + b"/>"), "either"),
            "attribute twice": (lambda w=with_inside: w(b'<a b="" b=""/>'), "."),
            "namespaces": (
                lambda w=with_inside: w(b"<a " + b" ".join(b'xmlns:a%d="u%d"' % (k, k) for k in range(30_000)) + b"/>"), "either"),
            "declaration without end": (
                lambda body=body: b"<?xml " + b'encoding="x" ' * 100_000 + body.replace(b">", b""), "."),
            "unknown encoding": (
                lambda body=body: b'<?xml version="1.0" encoding="klingon"?>' + body, "either"),
            "utf-16 without its mark": (lambda body=body: body.decode().encode("utf-16-le"), "."),
            "utf-16": (lambda body=body: body.decode().encode("utf-16"), "either"),
            "latin-1 bytes in utf-8": (lambda w=with_inside: w(b"<a>\xfc\xff</a>"), "either"),
            "zero byte": (lambda w=with_inside: w(b"<a>\0</a>"), "."),
            "empty root": (lambda root=root: b"<%s/>" % root, "."),
            "root twice": (lambda body=body: body + body, "."),
            "document type of 4 kB": (lambda body=body: b"<!DOCTYPE " + b"[]" * 2000 + b">" + body, "."),
            "comments": (lambda body=body: b"<!--x-->" * 100_000 + body, "."),
            "a comment of 10 MB": (lambda w=with_inside: w(b"<!--" + b"x" * 10_000_000 + b"-->"), READ),
            "a text of 10 MB": (lambda w=with_inside: w(b"<a>" + b"1 " * 5_000_000 + b"</a>"), READ),
        }  # fmt: skip
        yield from ((f"{kind} xml {name}", case) for name, case in cases.items())


MUSE: dict[str, Case] = {
    **{
        f"{element} {content[:12]!r}": (lambda element=element, content=content: muse(**{element: content}), message)
        for element, content, message in (
            ("SampleBase", "0", "SampleBase"), ("SampleBase", "-500", "SampleBase"), ("SampleBase", "nan", "."),
            ("SampleBase", "inf", "."), ("SampleBase", "1e9", "sampling rate 1e\\+09"), ("SampleBase", "9" * 5000, "."),
            ("SampleBase", "x", "SampleBase"), ("SampleExponent", "400", "."), ("SampleExponent", "-400", "."),
            ("SampleExponent", "1e9", "."), ("SampleExponent", "nan", "."), ("LeadSampleCountTotal", "0", "LeadSampleCountTotal"),
            ("LeadSampleCountTotal", "-1", "LeadSampleCountTotal"), ("LeadSampleCountTotal", "9" * 400, "."),
            ("LeadSampleCountTotal", "inf", "."), ("LeadByteCountTotal", "1", "LeadByteCountTotal"), ("LeadSampleSize", "0", READ),
            ("LeadSampleSize", "3", "3-byte"), ("LeadSampleSize", "-2", "-2-byte"), ("LeadSampleSize", "1", "."),
            ("LeadSampleSize", "9" * 30, "."), ("LeadAmplitudeUnitsPerBit", "0", "either"),
            ("LeadAmplitudeUnitsPerBit", "nan", "."), ("LeadAmplitudeUnitsPerBit", "inf", "."),
            ("LeadAmplitudeUnitsPerBit", "1e400", "."), ("LeadAmplitudeUnitsPerBit", "-4.88", "."),
            ("LeadAmplitudeUnits", "PARSECS", READ), ("WaveFormData", "", "no WaveFormData"), ("WaveFormData", "AAA", "Base64"),
            ("WaveFormData", "AAA=", "."), ("WaveFormData", "@@@@", "Base64"), ("WaveFormData", "é" * 40, "."), ("LeadID", "", "LeadID"),
            ("LeadID", "II", "either"), ("LeadID", "x" * 100_000, READ), ("WaveformType", "Median", "."), ("WaveformType", "?", "."),
            ("LeadDataCRC32", "-1", "CRC"), ("LeadDataCRC32", "9" * 5000, "."), ("LeadTimeOffset", "nan", "either"),
        )
    },
    "no leads": (lambda: files.muse(files.muse_wave("")), "rhythm waveform"),
    "20000 leads": (lambda: files.muse(files.muse_wave(files.muse_lead("I", V[0][:2]) * 20_000)), "elements"),
    "leads of unlike length": (
        lambda: files.muse(files.muse_wave(files.muse_lead("I", V[0]) + files.muse_lead("II", V[1][:-1]))), "399"),
    "age 9e999": (lambda: muse().replace(b"<Waveform>", b"<PatientDemographics><PatientAge>9e999</PatientAge>"
                                         b"<AgeUnits>YEARS</AgeUnits></PatientDemographics><Waveform>", 1), "either"),
}  # fmt: skip

AECG: dict[str, Case] = {
    **{
        f"increment {value!r} {unit!r}": (lambda value=value, unit=unit: aecg(increment=value, unit=unit), message)
        for value, unit, message in (
            ("0", "ms", "increment"), ("-2", "ms", "increment"), ("nan", "ms", "increment"), ("inf", "ms", "increment"),
            ("1e-400", "s", "."), ("1e400", "s", "."), ("x", "ms", "increment"), ("2", "", "increment"), ("2", "min", "increment"),
            ("1", "s", "sampling rate 1 Hz"), ("1e-9", "s", "sampling rate 1e\\+09"), ("9" * 5000, "s", "."), ("2", "ms" * 5000, "."),
        )
    },
    **{
        f"digits {name}": (lambda text=text: files.aecg(files.aecg_series(files.aecg_set({"I": text}))), message)
        for name, text, message in (
            ("none", "", "digits"), ("words", "1 2 three", "digits"), ("comma", "1,5 2,5", "digits"), ("not finite", "nan " * 99, "either"),
            ("huge", "1e400 -1e400 " * 50, "either"), ("long number", "9" * 1_000_000, "either"), ("one", "1", "either"),
            ("of a million", "12345 " * 1_000_000, "either"),
        )
    },
    "scale 0": (lambda: aecg(scale='<scale value="0" unit="uV"/>'), "says no unit"),
    "scale nan": (lambda: aecg(scale='<scale value="nan" unit="uV"/>'), "says no unit"),
    "scale 1e400": (lambda: aecg(scale='<scale value="1e400" unit="uV"/>'), "."),
    "scale without unit": (lambda: aecg(scale='<scale value="5"/>'), "."),
    "scale in furlongs": (lambda: aecg(scale='<scale value="5" unit="furlong"/>'), "furlong|says no unit"),
    "begin of no date": (lambda: aecg(begin="20209999999999"), READ),
    "begin of the year 0": (lambda: aecg(begin="00000101000000"), READ),
    "begin of 10000 digits": (lambda: aecg(begin="2" * 10_000), READ),
    "begin nan": (lambda: aecg(begin="nan", code="TIME_RELATIVE"), READ),
    "begin 1e308 twice": (
        lambda: files.aecg(files.aecg_series(files.aecg_set(DIGITS, begin="0", code="TIME_RELATIVE"),
                                             files.aecg_set(DIGITS, begin="1e308", code="TIME_RELATIVE"))), READ),
    "begin 1e300": (lambda: aecg(begin="1e300", code="TIME_RELATIVE"), READ),
    "no series": (files.aecg, "No rhythm series|rhythm waveform"),
    "no sets": (lambda: files.aecg(files.aecg_series()), "."),
    "set without leads": (lambda: files.aecg(files.aecg_series(files.aecg_set({}))), "."),
    "years between sets": (
        lambda: files.aecg(files.aecg_series(files.aecg_set({"I": DIGITS["I"]}, begin="19000101120000"),
                                             files.aecg_set({"I": DIGITS["I"]}, begin="20990101120000"))), READ),
    "1000 series of one lead": (lambda: files.aecg(*[files.aecg_series(files.aecg_set({"I": "1 2 3"}))] * 1000), "either"),
    "unlike lengths": (
        lambda: files.aecg(files.aecg_series(files.aecg_set({"I": DIGITS["I"], "II": "1 2 3"}))), "3 samples, lead I 400"),
    "one lead twice in a set": (
        lambda: files.aecg(files.aecg_series(files.aecg_set({"i": DIGITS["I"], "I": DIGITS["I"]}))), READ),
    "ends before it begins": (
        lambda: files.aecg(files.aecg_series(files.aecg_set(DIGITS), span=("20200101120010", "20200101120000"))), READ),
}  # fmt: skip


def xli(chunks: int, codes: list[int]) -> bytes:
    bits = "".join(f"{code:010b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    chunk = int(bits, 2).to_bytes(len(bits) // 8, "big")
    data = base64.b64encode((struct.pack("<IHh", len(chunk), 0, 0) + chunk) * chunks).decode()
    text = files.sierra(V, compression="XLI").decode()
    return (text[: text.index('">') + 2] + data + text[text.index("</parsed") :]).encode()


BOMB = [255, *range(256, 1023), *[1022] * 20_000]  # strings of 768 bytes from codes of ten bits
SIERRA: dict[str, Case] = {
    **{
        f"{name} {value[:12]!r}": (lambda name=name, value=value: files.sierra(V, **{name: value}), message)
        for name, value, message in (
            ("samplespersecond", "0", "sampling rate"), ("samplespersecond", "-500", "sampling rate"),
            ("samplespersecond", "nan", "sampling rate"), ("samplespersecond", "inf", "."), ("samplespersecond", "1e9", "."),
            ("samplespersecond", "9" * 5000, "."), ("durationperchannel", "0", "durationperchannel"),
            ("durationperchannel", "-1", "durationperchannel"), ("durationperchannel", "nan", "."), ("durationperchannel", "inf", "."),
            ("durationperchannel", "1e18", "."), ("numberofleads", "0", READ), ("numberofleads", "-1", READ),
            ("numberofleads", "1", "its samples are"), ("numberofleads", "9" * 99, READ), ("leadlabels", "I " * 40_000, READ),
            ("leadlabels", "I I", READ), ("leadlabels", "x", "."), ("resolution", "0", "either"), ("resolution", "nan", "."),
            ("resolution", "1e400", "."), ("signalsigned", "False", "either"), ("dataencoding", "Rot13", "unsupported"),
            ("dataencoding", "Plain", "plain sample"), ("compression", "ZIP", "unsupported"), ("signaloffset", "9" * 400, "either"),
        )
    },
    "2 billion channels": (
        lambda: files.sierra(V, leadlabels="").replace(b"<waveforms>", b"<dataacquisition><signalcharacteristics>"
            b"<numberchannelsallocated>2000000000</numberchannelsallocated></signalcharacteristics></dataacquisition><waveforms>"),
        "announces 2000000000 channels"),
    "2e9 channels": (
        lambda: files.sierra(V, leadlabels="").replace(b"<waveforms>", b"<dataacquisition><signalcharacteristics>"
            b"<numberchannelsallocated>2e9</numberchannelsallocated></signalcharacteristics></dataacquisition><waveforms>"),
        "."),
    "lzw bomb": (lambda: xli(2, BOMB), "unpacks to more than"),
    "lzw bomb in many chunks": (lambda: xli(300, BOMB[:2000]), "unpacks to more than"),
    "lzw of nothing": (lambda: xli(2, [1023]), "bytes after decompression"),
    "lzw of a code that is not there": (lambda: xli(2, [900, 1, 2, 3, 4]), "undefined code"),
    "lzw too short": (lambda: xli(2, [1, 2, 3, 4, 5, 6]), "samples, 400 expected"),
    "chunk of 4 GiB": (
        lambda: xli(1, [1, 2, 3]).replace(b"BAAAAAAAAA", b"////fwAAAAA"[:10]), "."),
}  # fmt: skip


def patched(data: bytes, mark: bytes, at: int, value: bytes) -> bytes:
    where = data.index(mark) + at
    return data[:where] + value + data[where + len(value) :]


def deflated(body: bytes) -> bytes:
    """A DICOM file whose data set is packed; `body` may be anything."""
    head = files.dicom(files.dicom_group(V), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    begin = 132 + 12 + struct.unpack_from("<I", head, 140)[0]
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head[:begin] + pack.compress(body) + pack.flush()


def nested(depth: int) -> bytes:
    """Sequences of undefined length, each in the one before."""
    begin = b"\x00\x54\x00\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return b"\0" * 128 + b"DICM" + begin * depth


def many_items(count: int) -> bytes:
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * count
    return b"\0" * 128 + b"DICM" + b"\x00\x54\x00\x01SQ\0\0" + struct.pack("<I", len(items)) + items


def many_elements(count: int) -> bytes:
    return (
        b"\0" * 128
        + b"DICM"
        + b"".join(struct.pack("<HH2sH", 9 + 2 * (k >> 16), k & 0xFFFF, b"LO", 0) for k in range(count))
    )


def big(samples: int, **given: object) -> bytes:
    return files.dicom(files.dicom_group(np.zeros((1, samples), np.int16), ["2:1"], **given))


DICOM: dict[str, Case] = {
    **{
        f"{name} {value!r}"[:40]: (lambda name=name, value=value: dicom(**{name: value}), message)
        for name, value, message in (
            ("rate", "0", "sampling frequency"), ("rate", "-500", "sampling frequency"), ("rate", "", "sampling frequency"),
            ("rate", "1", "sampling rate 1 Hz"), ("rate", "1e9", "sampling rate 1e\\+09"), ("NumberOfWaveformChannels", 0, "no samples"),
            ("NumberOfWaveformChannels", 65_535, "channels"), ("NumberOfWaveformChannels", 3, "3 channels"),
            ("NumberOfWaveformSamples", 0, "no samples"), ("NumberOfWaveformSamples", 0xFFFFFFFF, "4294967295 samples"),
            ("WaveformBitsAllocated", 0, "samples of 0 bits"), ("WaveformBitsAllocated", 12, "samples of 12 bits"),
            ("WaveformBitsAllocated", 65_535, "65535 bits"), ("WaveformSampleInterpretation", "XX", "interpretation 'XX'"),
            ("WaveformSampleInterpretation", "", READ), ("MultiplexGroupTimeOffset", "1e300", READ),
            ("MultiplexGroupTimeOffset", "-1e9", READ), ("WaveformPaddingValue", b"", READ), ("WaveformPaddingValue", b"\1", "either"),
            ("ChannelDefinitionSequence", [], "no channel is a known ECG lead"),
        )
    },
    **{
        f"channel {name} {value!r}"[:48]: (lambda name=name, value=value: dicom_one("2:1", **{name: value}), message)
        for name, value, message in (
            ("sensitivity", "0", "says no unit"), ("sensitivity", "1e300", "either"), ("unit", "furlong", "furlong"), ("unit", "", "."),
            ("ChannelSensitivityCorrectionFactor", "0", "says no unit"), ("ChannelBaseline", "1e300", "either"),
            ("ChannelSampleSkew", "1e300", "either"), ("ChannelSampleSkew", "-1e9", READ), ("ChannelTimeSkew", "1e30", "either"),
            ("WaveformBitsStored", 0, "stores 0 of 16"), ("WaveformBitsStored", 17, "stores 17 of 16"),
            ("WaveformBitsStored", 65_535, "stores 65535"), ("WaveformBitsStored", 1, "more than its 1 bits"),
            ("ChannelSourceSequence", [], "no channel is a known ECG lead"),
        )
    },
    "code 2:99": (lambda: dicom_one("2:99"), "no channel is a known"),
    "code of 16 digits": (lambda: dicom_one("2:" + "9" * 14), "no channel is a known"),
    "sensitivity nan": (lambda: patched(dicom_one(sensitivity="7.25"), b"7.25", 0, b"nan "), "says no unit"),
    "sensitivity inf": (lambda: patched(dicom_one(sensitivity="7.25"), b"7.25", 0, b"inf "), "says no unit"),
    "rate nan": (lambda: patched(dicom(rate="7.25"), b"7.25", 0, b"nan "), "sampling frequency|no valid DICOM"),
    "rate with letters": (lambda: patched(dicom(rate="7.25"), b"7.25", 0, b"7x25"), "sampling frequency|no valid DICOM"),
    "one lead twice": (lambda: files.dicom(files.dicom_group(V, ["2:1", "2:1"])), READ),
    "groups without samples": (lambda: files.dicom(*[files.dicom_group(V, NumberOfWaveformSamples=0)] * 3), "no samples"),
    "no group": (files.dicom, "without a rhythm"),
    "500 groups": (lambda: files.dicom(*[files.dicom_group(V[:, :4]) for _ in range(500)]), "either"),
    "500 groups, a second each": (
        lambda: files.dicom(*[files.dicom_group(V[:1, :4], ["2:1"], offset=str(1000 * k)) for k in range(500)]), "either"),
    "leads far apart": (
        lambda: files.dicom(*[files.dicom_group(np.zeros((1, 20_000), np.int16), [f"2:{k + 1}"], offset=str(800_000 * k)) for k in range(8)]), "either"),
    "only a beat": (lambda: files.dicom(files.dicom_group(V, MultiplexGroupLabel="MEDIAN")), "an averaged beat"),
    "age": (lambda: files.dicom(files.dicom_group(V), PatientAge="999Y"), READ),
    "times of no day": (lambda: files.dicom(files.dicom_group(V), AcquisitionDateTime="20209999999999+9999"), READ),
    "nested 100": (lambda: nested(100), "."),
    "nested 50000": (lambda: nested(50_000), "."),
    "items": (lambda: many_items(1_000_000), "sequence items"),
    "some items": (lambda: many_items(19_000), "no samples|without a rhythm"),
    "elements": (lambda: many_elements(500_000), "more than 5000 elements"),
    "element of 4 GiB": (lambda: patched(dicom(), b"\x00\x54\x00\x01SQ", 8, b"\xfe\xff\xff\xff"), "says|without"),
    "samples of 4 GiB": (lambda: patched(dicom(), b"\x00\x54\x10\x10OW", 8, b"\xfe\xff\xff\xff"), READ),
    "samples of undefined length": (lambda: patched(dicom(), b"\x00\x54\x10\x10OW", 8, b"\xff\xff\xff\xff"), "."),
    "unknown type": (lambda: patched(dicom(), b"\x00\x54\x00\x01SQ", 4, b"ZZ"), "."),
    "unknown syntax": (lambda: files.dicom(files.dicom_group(V)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"), "either"),
    "big-endian syntax": (lambda: files.dicom(files.dicom_group(V)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"), "."),
    "deflated nothing": (lambda: deflated(b""), "."),
    "deflated zeros": (lambda: deflated(bytes(100_000_000)), "unpacks to more than"),
    "deflated 300 kB to 300 MB": (lambda: deflated(bytes(300_000_000)), "unpacks to more than"),
    "deflated samples": (lambda: deflated(big(4_000_000)[144 + struct.unpack_from("<I", big(2), 140)[0] :]), "either"),
    "deflated, cut": (lambda: SEEDS["dicom deflated"]()[:-20], "cut short"),
    "deflated, broken": (lambda: patched(SEEDS["dicom deflated"](), b"1.2.840.10008.1.2.1.99", 60, b"\xff" * 40), "."),
    "deflated without length": (
        lambda: patched(SEEDS["dicom deflated"](), b"DICM\x02\x00\x00\x00", 4, b"\x02\x00\x99\x00"), "."),
    "big": (lambda: big(4_000_000), "either"),
    "big padding": (lambda: big(4_000_000, WaveformPaddingValue=b"\0\0"), "either"),
    "only the preamble": (lambda: b"\0" * 128 + b"DICM", "without a rhythm"),
    "only a head without preamble": (lambda: b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "without a rhythm"),
}  # fmt: skip


def mfer(*tags: tuple[int, bytes], data: bytes = b"\0" * 80) -> bytes:
    """A file of these tags before its samples."""
    head = b"@\x20" + b"MFR made for a test".ljust(32)
    return head + b"".join(files.tag(number, content) for number, content in tags) + files.tag(0x1E, data) + b"\x80\x00"


RATE, STEP = (0x0B, b"\x01\xfd\x00\x02"), (0x0C, b"\x00\xfa\x00\x05")
ONE = (RATE, STEP, (0x09, b"\1"))
MFER: dict[str, Case] = {
    "channels 0": (lambda: mfer((5, b"\0"), *ONE), "0 channels"),
    "channels 257": (lambda: mfer((5, b"\1\1"), *ONE), "257 channels"),
    "channels 4 billion": (lambda: mfer((5, b"\xff" * 4), *ONE), "channels"),
    "channels of nine bytes": (lambda: mfer((5, b"\1" * 9), *ONE), "channels"),
    "more channels than bytes": (lambda: mfer((5, b"\xff"), *ONE, data=b"\0" * 20), "255 channels"),
    "block 0": (lambda: mfer((4, b"\0"), *ONE), "MWF_BLK"),
    "block 4 billion": (lambda: mfer((4, b"\xff" * 4), *ONE), "."),
    "sequences 0": (lambda: mfer((6, b"\0"), *ONE), "."),
    "sequences 4 billion": (lambda: mfer((6, b"\xff" * 4), *ONE), "no waveform data"),
    "type 9": (lambda: mfer((10, b"\x09"), *ONE), "AHA"),
    "type 77": (lambda: mfer((10, b"\x4d"), *ONE), "unknown data type"),
    "float not finite": (lambda: mfer((10, b"\x07"), *ONE, data=b"\x7f\xc0\0\0" * 20), "either"),
    "double infinite": (lambda: mfer((10, b"\x08"), *ONE, data=b"\x7f\xf0" + b"\0" * 6), "either"),
    "rate 0": (lambda: mfer((0x0B, b"\1\0\0\0"), STEP, (9, b"\1")), "sampling"),
    "rate negative": (lambda: mfer((0x0B, b"\1\xfd\xff\xfe"), STEP, (9, b"\1")), "sampling"),
    "rate 1e120": (lambda: mfer((0x0B, b"\0\x7f\0\1"), STEP, (9, b"\1")), "sampling"),
    "rate 1e-128": (lambda: mfer((0x0B, b"\0\x80\0\1"), STEP, (9, b"\1")), "sampling"),
    "rate in metres": (lambda: mfer((0x0B, b"\2\xfd\0\2"), STEP, (9, b"\1")), "not a time base"),
    "rate of a long mantissa": (lambda: mfer((0x0B, b"\0\0" + b"\x7f" * 200), STEP, (9, b"\1")), "."),
    "no rate": (lambda: mfer(STEP, (9, b"\1")), "either"),
    "step 0": (lambda: mfer(RATE, (0x0C, b"\0\xfa\0\0"), (9, b"\1")), "either"),
    "step 1e127": (lambda: mfer(RATE, (0x0C, b"\0\x7f\0\1"), (9, b"\1")), "either"),
    "step in mmHg": (lambda: mfer(RATE, (0x0C, b"\1\xfa\0\5"), (9, b"\1")), "says no unit"),
    "no step": (lambda: mfer(RATE, (9, b"\1")), "says no unit"),
    "unknown lead": (lambda: mfer(RATE, STEP, (9, b"\xfa")), "no channel is a known"),
    "one lead twice": (lambda: files.mfer(V, (1, 1)), READ),
    "no samples": (lambda: mfer(*ONE, data=b""), "."),
    "an odd byte": (lambda: mfer(*ONE, data=b"\0" * 81), "."),
    "length over the end": (lambda: mfer(*ONE)[:60] + b"\x17\x84\x7f\xff\xff\xff", "runs over the end"),
    "length of 127 bytes": (lambda: mfer(*ONE)[:34] + b"\x17\xff" + b"\x7f" * 127, "runs over the end"),
    "length without bytes": (lambda: mfer(*ONE)[:34] + b"\x17\x84", "."),
    "sets in sets": (lambda: mfer(*ONE)[:34] + b"\x67\x80" * 50_000, "tags in tags"),
    "attributes in attributes": (lambda: mfer(*ONE)[:34] + b"\x3f\x00\x80" * 50_000, "tags in tags|nested"),
    "a channel number without end": (lambda: mfer(*ONE)[:34] + b"\x3f" + b"\xff" * 50_000, "channel number"),
    "a set without end": (lambda: mfer(*ONE)[:34] + b"\x67\x80" + b"\x17\x01x" * 3000, "."),
    "a million tags": (lambda: mfer(*ONE)[:34] + b"\x17\x00" * 1_000_000, "more than 20000 tags"),
    "15000 frames": (lambda: mfer((5, b"\x02"), *ONE)[:-84] + files.tag(0x1E, b"\0" * 4) * 15_000, "either"),
    "frames of 256 channels": (lambda: mfer((5, b"\1\0"), *ONE)[:-84] + files.tag(0x1E, b"\0" * 512) * 5000, "channels of frames"),
    "frames with gaps": (
        lambda: mfer(*ONE)[:-2] + files.tag(7, b"\0\0\x10\0") + files.tag(0x1E, b"\0" * 80), "frames with gaps"),
    "frames that differ": (lambda: mfer(*ONE)[:-2] + files.tag(0x0C, b"\0\xfa\0\6") + files.tag(0x1E, b"\0" * 80), "either"),
    "some zeros": (lambda: mfer(*ONE)[:34] + b"\0" * 900_000, "no waveform data"),
    "zeros": (lambda: mfer(*ONE)[:34] + b"\0" * 5_000_000, "zeros where a tag"),
    "attributes of channel 300": (lambda: mfer(*ONE)[:34] + b"\x3f\x82\x2c\x00" + mfer(*ONE)[34:], "either"),
    "text in no encoding": (lambda: mfer((3, b"klingon"), (0x82, b"\xff\xfe\x80"), *ONE), "either"),
    "preamble alone": (lambda: mfer()[:34], "."),
}  # fmt: skip

ATC: dict[str, Case] = {
    "no blocks": (lambda: b"ALIVE\0\0\0\3\0\0\0", "without a format block"),
    "no leads": (lambda: files.atc({}), "without any channel"),
    "format of 0": (lambda: b"ALIVE\0\0\0\3\0\0\0" + files.atc_block(b"fmt ", b""), "without a format block"),
    "rate 0": (lambda: files.atc({b"ecg ": V[0]}, rate_hz=0), "0 Hz"),
    "rate 65535": (lambda: files.atc({b"ecg ": V[0]}, rate_hz=65_535), "sampling rate 65535"),
    "lead of no samples": (lambda: files.atc({b"ecg ": V[0][:0]}), "no samples"),
    "leads of unlike length": (lambda: files.atc({b"ecg ": V[0], b"ecg2": V[1][:-1]}), "399 samples"),
    "block of 4 GiB": (lambda: files.atc({b"ecg ": V[0]}) + b"xyz \xff\xff\xff\xff" + b"\0" * 12, "runs over the end"),
    "block twice": (lambda: files.atc({b"ecg ": V[0]}, files.atc_block(b"ecg ", b"12")), READ),
    "a million blocks": (lambda: files.atc({b"ecg ": V[0]}, files.atc_block(b"xyz ", b"") * 1_000_000), "more than 10000 blocks"),
    "beats of 4 billion": (lambda: files.atc({b"ecg ": V[0]}, files.atc_block(b"ann ", b"\xff" * 4 + b"\xff" * 60)), READ),
    "a million beats": (lambda: files.atc({b"ecg ": V[0]}, files.atc_block(b"ann ", b"\1" * 1_000_000)), "166666 beats in 400 samples"),
    "beats at no rate": (lambda: files.atc({b"ecg ": V[0]}, files.atc_block(b"ann ", b"\0" * 100)), READ),
}  # fmt: skip


def ishne(at: int, form: str, value: int, size: int | None = None) -> bytes:
    data = bytearray(files.ishne(V, checksum=False))
    struct.pack_into(form, data, at, value)
    return bytes(data[:size])


ISHNE: dict[str, Case] = {
    "leads 0": (lambda: ishne(156, "<h", 0), "0 leads"),
    "leads -1": (lambda: ishne(156, "<h", -1), "-1 leads"),
    "leads 13": (lambda: ishne(156, "<h", 13), "13 leads"),
    "leads 32767": (lambda: ishne(156, "<h", 32_767), "32767 leads"),
    "leads 3": (lambda: ishne(156, "<h", 3), "no multiple of 3|400 samples a lead"),
    "samples -5": (lambda: ishne(14, "<i", -5), "-5 samples"),
    "samples 2 billion": (lambda: ishne(14, "<i", 2**31 - 1), "2147483647 samples"),
    "variable block -1": (lambda: ishne(10, "<i", -1), "no valid ISHNE header"),
    "variable block 2 billion": (lambda: ishne(10, "<i", 2**31 - 1), READ),
    "samples in the header": (lambda: ishne(22, "<i", 100), "no valid ISHNE header"),
    "samples behind the end": (lambda: ishne(22, "<i", 2**31 - 1), "holds 0 bytes"),
    "rate 0": (lambda: ishne(272, "<h", 0), "sampling rate 0"),
    "rate -250": (lambda: ishne(272, "<h", -250), "sampling rate -250"),
    "rate 32767": (lambda: ishne(272, "<h", 32_767), "either"),
    "resolution 0": (lambda: ishne(206, "<h", 0), READ),
    "resolution -1": (lambda: ishne(206, "<h", -1), READ),
    "lead code -9": (lambda: ishne(158, "<h", -9), READ),
    "lead code 32767": (lambda: ishne(158, "<h", 32_767), READ),
    "one lead twice": (lambda: ishne(158, "<h", 6), "more than once"),
    "no samples": (lambda: ishne(14, "<i", 0, 522), "holds 0 bytes"),
}  # fmt: skip

GROUPS = {
    "scp": SCP,
    "muse": MUSE,
    "aecg": AECG,
    "sierra": SIERRA,
    "dicom": DICOM,
    "mfer": MFER,
    "atc": ATC,
    "ishne": ISHNE,
}
CASES: dict[str, Case] = {
    **{f"{kind}: {name}": case for kind, cases in GROUPS.items() for name, case in cases.items()},
    **dict(xml_cases()),
    **dict(truncated()),
}


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load every library once, here: what a child needs for itself is what its file makes it need."""
    for made in SEEDS.values():
        path = tmp_path_factory.mktemp("seed") / "a"
        path.write_bytes(made())
        assert ep.read(path).signal.shape == (6, 400)


def test_there_are_enough_kinds() -> None:
    assert len(CASES) - len(dict(truncated())) >= 240
    assert len(CASES) >= 360


def outcome(path: Path) -> dict[str, object]:
    """Read a file in a child of its own; how it ended, with CPU seconds and MiB of memory above where it began."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        told: dict[str, object] = {"end": "crash"}
        began = resource.getrusage(resource.RUSAGE_SELF)
        try:
            try:
                read = ep.read(path)
                told = {
                    "end": "read",
                    "leads": read.leads,
                    "signal": read.signal[:, :2000].tolist(),
                    "rate": read.rate_hz,
                }
            except ReadError as error:
                told = {"end": "refused", "message": str(error)}
            except BaseException as error:
                told = {"end": "crash", "message": repr(error)[:300]}
            ended = resource.getrusage(resource.RUSAGE_SELF)
            told["cpu_s"] = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
            told["mib"] = (ended.ru_maxrss - began.ru_maxrss) / 1024
            with os.fdopen(into, "w") as file:
                json.dump(told, file)
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as file:
        said = file.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else {"end": "killed"}


TRUTH = {
    "scp": 2.5e-3,
    "muse": 4.88e-3,
    "aecg": 5e-3,
    "sierra": 5e-3,
    "dicom": 1e-3,
    "mfer": 5e-3,
    "atc": 5e-4,
    "ishne": 2.5e-3,
}


def check_limits(told: dict[str, object], size: int) -> None:
    assert told["end"] in ("read", "refused"), told.get("message")
    assert float(told["cpu_s"]) < CPU_S
    assert float(told["mib"]) < FREE_MIB + RATIO * size / 2**20


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_one_line_or_a_right_recording(name: str, tmp_path: Path) -> None:
    made, message = CASES[name]
    path = tmp_path / "a"
    path.write_bytes(made())
    told = outcome(path)
    check_limits(told, path.stat().st_size)
    if told["end"] == "refused":
        said = str(told["message"])
        assert "\n" not in said
        assert said.startswith(str(path))
        assert len(said) < 900
        assert message != READ, said
        assert message in ("either", ".") or re.search(message, said), said
        return
    assert message in (READ, "either"), told["leads"]
    if message == READ:
        factor = TRUTH[name.partition(":")[0].split()[0]]
        for lead, row in zip(told["leads"], told["signal"], strict=True):
            if lead in LEADS and len(row) == 400:
                np.testing.assert_allclose(row, LEADS[lead] * factor, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name, (_, message) in CASES.items() if " cut at " in name])
def test_what_is_read_of_a_cut_file_is_the_true_signal(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CASES[name][0]())
    try:
        read = ep.read(path)
    except ReadError:
        return
    factor = TRUTH[name.split(maxsplit=1)[0]]
    for lead in set(LEADS) & set(read.leads):
        np.testing.assert_allclose(read.signal[read.leads.index(lead)], LEADS[lead] * factor, rtol=1e-5)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    told = outcome(tmp_path / "a.dcm")
    assert told["end"] == "refused"


def test_the_harness_sees_memory_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(path: Path) -> None:
        held = np.ones(2**24)
        raise RuntimeError(str(held.sum()))

    monkeypatch.setattr(ep, "read", hungry)
    told = outcome(tmp_path / "a")
    assert told["end"] == "crash"
    assert float(told["mib"]) > 100
