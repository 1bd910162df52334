"""Files made to hang, to fill the memory, or to crash: each is a recording or one line, soon and small.

Every kind is read in a process of its own that the operating system ends at its limits: 2 s of CPU, 64 MiB + 20 times
the file.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import multiprocessing
import os
import resource
import signal
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from ecgprism.errors import ReadError
from ecgprism.formats import reading
from tests.field_files import beats, edf
from tests.records import write_raw, write_wfdb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and memory are asked of Linux")
LIMIT_S, FREE_BYTES, TIMES_FILE = 2.0, 64 * 2**20, 20
DECLARED = {"rate_hz": 100.0, "unit": "mV", "leads": ["I", "II"]}
Make = Callable[[Path], Path]
KINDS: dict[str, Make] = {}


def kind(name: str, content: bytes | str, file: str = "a") -> None:
    """Add a kind that is one file."""
    raw = content.encode() if isinstance(content, str) else content
    assert name not in KINDS, name

    def make(folder: Path) -> Path:
        (folder / file).write_bytes(raw)
        return folder / file

    KINDS[name] = make


# Text

for count in (20, 60, 100_000):
    for end, tail in (("\n", "!"), ("\r\n", "!"), ("\n#\n", "!"), (" \n", "a 1 x"), ("\t\r\n", "a 1 100 1 !")):
        kind(f"text {count} {end!r} {tail}", end * count + tail)
LONG = {
    "digits": "9" * 100_000,
    "digits and x": "9" * 100_000 + "x",
    "blanks": " " * 100_000,
    "low lines": "_" * 130_000,
    "brackets": "[" * 100_000,
    "quotes": '"' * 99_999,
    "apostrophes": "'" * 99_999,
    "commas": "," * 100_000,
    "e": "1e" * 50_000,
    "dots": "1." * 50_000,
    "colons": "1:" * 50_000,
    "minus": "-" * 100_000,
}
for what, long in LONG.items():
    kind(f"cell of {what}", f"I,II\n1,2\n3,{long}\n5,6\n")
    kind(f"first cell of {what}", f"I,II\n{long},2\n3,4\n")
    kind(f"name of {what}", f"{long},II\n1,2\n3,4\n5,6\n")
    kind(f"name with a unit of {what}", f"I ({long}),II\n1,2\n3,4\n5,6\n")
    kind(f"Apple line of {what}", f"Sample Rate,512 hertz\nLead,Lead I\nUnit,µV\n1\n{long}\n3\n")
    kind(f"Apple rate of {what}", f"Sample Rate,{long} hertz\nLead,Lead I\nUnit,µV\n1\n2\n3\n")
kind("a million columns", ",".join(["1"] * 1_000_000) + "\n" + ",".join(["2"] * 1_000_000) + "\n")
kind("ten thousand and one columns", (",".join(["1"] * 10_001) + "\n") * 3)
kind("a million lines", "1,2\n" * 1_000_000)
kind("a million lines and a word", "1,2\n" * 1_000_000 + "x,2\n")
kind("a million one-digit lines", "1\n" * 1_000_000)
kind("a million comments", "#\n" * 1_000_000 + "1,2\n3,4\n")
kind("comments between", "1,2\n#\n" * 100_000)
kind("an open quote", 'I,II\n1,2\n"' + "3,4\n" * 100_000)
kind("quoted cells", "I,II\n" + '"1","2"\n' * 50_000)
kind("odd utf-16", b"\xff\xfe" + b"1\x00,\x002\x00\n\x00" * 100 + b"\x00")
kind("lone surrogates", b"\xff\xfe" + b"\x00\xd8" * 1000)
kind("a short row at the end", "1,2\n" * 1000 + "3")
kind("numbers beyond floats", "1e999,1e-999\n" * 100)
kind("all missing", "I,II\n" + "nan,nan\n" * 100)
kind("missing times", "time,I\n" + "nan,1\n" * 100)
kind("times that stand", "time,I\n" + "0,1\n" * 100)
kind("times backwards", "time,I\n" + "".join(f"{-n},1\n" for n in range(100)))
kind("infinite times", "time,I\n" + "1e999,1\n" * 100)
kind("minutes of the clock", "time,I\n" + "99:99:99.999,1\n" * 100)
kind("Apple without samples", "Sample Rate,512 hertz\nLead,Lead I\nUnit,µV\n")
kind("Apple with 100,000 keys", "Sample Rate,512 hertz\n" + "key,value\n" * 100_000 + "1\n")
kind("Apple at 1.2.3 hertz", "Sample Rate,1.2.3 hertz\nLead,Lead I\nUnit,µV\n1\n2\n")
kind("Apple at 0 hertz", "Sample Rate,0 hertz\nLead,Lead I\nUnit,µV\n1\n2\n")
for n, text in enumerate(
    (
        '{"unit": 5}',
        '{"rate_hz": 1' + "0" * 400 + "}",
        '{"rate_hz": NaN}',
        '{"rate_hz": -Infinity}',
        '{"rate_hz": true}',
        '{"rate_hz": "100"}',
        '{"leads": "I"}',
        '{"leads": [1]}',
        '{"leads": [["I"]]}',
        '{"leads": {"I": 1}}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        "5",
        "null",
        "",
        "{",
        '{"lead_aliases": []}',
        '{"lead_aliases": {"x": 1}}',
        '{"zero": "x"}',
        '{"zero": 1e999}',
        '{"unknown": 1}',
        '{"unit": "' + "u" * 200_000 + '"}',
        '{"unit": "' + "9" * 60_000 + 'uV"}',
        json.dumps({"leads": ["I"] * 100_000}),
        json.dumps({"x" * 100_000: 1}),
        '{"leads": ["I", "\\ud800"]}',
        '{"rate_hz": 1e-320}',
        '{"unit": "0uV"}',
        '{"unit": "' + "." * 90 + 'uV"}',
    )
):

    def declared(folder: Path, text: str = text) -> Path:
        (folder / "a.csv").write_text("1,2\n3,4\n5,6\n" * 10)
        (folder / "a.csv.json").write_text(text)
        return folder / "a.csv"

    def of_folder(folder: Path, text: str = text) -> Path:
        (folder / "a.csv").write_text("1,2\n3,4\n5,6\n" * 10)
        (folder / "ecg.json").write_text(text)
        return folder / "a.csv"

    KINDS[f"declaration {n}: {text[:30]}"] = declared
    KINDS[f"declaration of a folder {n}: {text[:30]}"] = of_folder


# NPY


def npy(header: str, data: bytes = bytes(80), version: bytes = b"\x01\x00", size: int | None = None) -> bytes:
    raw = header.encode("latin-1")
    return b"\x93NUMPY" + version + (len(raw) if size is None else size).to_bytes(2, "little") + raw + data


SHAPES = {
    "unclosed": "(2, 5",
    "true": "(True, 5)",
    "negative": "(-2, 5)",
    "huge": "(2, 10000000000000)",
    "float": "(2.0, 5)",
    "deep": "(" * 500 + ")" * 500,
    "many": str(tuple([1] * 33)),
    "name": "(2, x)",
    "call": "(2, __import__('os'))",
    "none": "None",
    "empty": "()",
    "zero": "(0, 5)",
    "overflow": "(4294967296, 4294967296)",
    "long": "(2, " + "9" * 400 + ")",
}
for what, shape in SHAPES.items():
    kind(f"npy of shape {what}", npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"))
for form in ("|O", "<U5", "|S3", "<c16", "<M8[s]", "<f3", "x", "<f16", "|V8", "(2,)<f8", "|b1"):
    kind(f"npy of type {form}", npy(f"{{'descr': '{form}', 'fortran_order': False, 'shape': (2, 5)}}"))
kind("npy of another version", npy("{}", version=b"\x09\x00"))
kind("npy with a long header", npy("{}" + " " * 60_000))
kind("npy that is its mark", b"\x93NUMPY")
kind("npy with a header that is cut", npy("{'descr'", size=60_000))


# WFDB

LINE = "a.dat 16 200/mV 16 0 0 0 0 I"
HEADERS = {
    "skew": "a 1 100 8\na.dat 16:1000000000 200/mV 16 0 0 0 0 I",
    "skew 99999": "a 1 100 8\na.dat 16:99999 200/mV 16 0 0 0 0 I",
    "samples a frame": "a 1 100 8\na.dat 16x1000000 200/mV 16 0 0 0 0 I",
    "no sample a frame": "a 1 100 8\na.dat 16x0 200/mV 16 0 0 0 0 I",
    "offset": "a 1 100 8\na.dat 16+99999999999999999999 200/mV 16 0 0 0 0 I",
    "format 0": "a 1 100 8\na.dat 0 200/mV 16 0 0 0 0 I",
    "sample count of 400 digits": f"a 1 100 {'9' * 400}\n{LINE}",
    "sample count of 10^12": f"a 1 100 1000000000000\n{LINE}",
    "negative sample count": f"a 1 100 -5\n{LINE}",
    "10^9 signals": f"a 1000000000 100 8\n{LINE}",
    "-1 signals": f"a -1 100 8\n{LINE}",
    "100,000 signals": "a 100000 100 8\n" + f"{LINE}\n" * 100_000,
    "signals of 400 digits": f"a {'9' * 400} 100 8\n{LINE}",
    "10^9 segments": "a/1000000000 1 100 8\nb 8",
    "a segment of itself": "a/2 1 100 16\na 8\na 8",
    "-1 segments": "a/-1 1 100 8\nb 8",
    "a segment outside": "a/1 1 100 8\n../b 8",
    "a segment of no length": "a/2 1 100 8\nb x\nb 8",
    "pauses alone": "a/2 1 100 16\n~ 8\n~ 8",
    "a pause of 10^9": "a/2 1 100 1000000008\nb 8\n~ 1000000000",
    "a layout alone": "a/1 1 100 0\nb 0",
    "gain nan": "a 1 100 8\na.dat 16 nan/mV 16 0 0 0 0 I",
    "gain 1e-320": "a 1 100 8\na.dat 16 1e-320/mV 16 0 0 0 0 I",
    "gain 1e320": "a 1 100 8\na.dat 16 1e320/mV 16 0 0 0 0 I",
    "baseline": f"a 1 100 8\na.dat 16 200({'9' * 400})/mV 16 0 0 0 0 I",
    "gain of 10^5 digits": f"a 1 100 8\na.dat 16 {'9' * 100_000}/mV 16 0 0 0 0 I",
    "unit of 10^5": f"a 1 100 8\na.dat 16 200/{'u' * 100_000} 16 0 0 0 0 I",
    "name of 10^5": f"a 1 100 8\n{LINE}{'I' * 100_000}",
    "checksum of 400 digits": f"a 1 100 8\na.dat 16 200/mV 16 0 0 {'9' * 400} 0 I",
    "rate 1e308": f"a 1 1e308 8\n{LINE}",
    "rate nan": f"a 1 nan 8\n{LINE}",
    "rate of 10^5 digits": f"a 1 {'9' * 100_000} 8\n{LINE}",
    "rate with brackets": f"a 1 {'(' * 100_000} 8\n{LINE}",
    "5 MB": f"a 1 100 8\n{LINE}\n" + "#\n" * 2_500_000,
    "3 MB of comments": f"a 1 100 8\n{LINE}\n" + "#\n" * 1_500_000,
    "3 MB of words": f"a 1 100 8\n{LINE}\n" + "x " * 1_500_000,
    "ages": f"a 1 100 8\n{LINE}\n" + "# Age: " + "9" * 100_000,
    "age and blanks": f"a 1 100 8\n{LINE}\n# Age:" + " " * 100_000 + "x",
    "many ages": f"a 1 100 8\n{LINE}\n" + "#<age>\n" * 100_000,
    "one line of ages": f"a 1 100 8\n{LINE}\n#" + "<age>:" * 100_000,
    "a device as signals": f"a 1 100 8\n{LINE.replace('a.dat', 'zero')}",
    "a pipe as signals": f"a 1 100 8\n{LINE.replace('a.dat', 'pipe')}",
    "a pipe as packed signals": "a 1 100 8\npipe 212 200/mV 12 0 0 0 0 I",
    "a folder as signals": f"a 1 100 8\n{LINE.replace('a.dat', 'sub')}",
    "standard input as signals": f"a 1 100 8\n{LINE.replace('a.dat', '-')}",
    "a home as signals": f"a 1 100 8\n{LINE.replace('a.dat', '~')}",
    "NUL in a name": f"a 1 100 8\n{LINE.replace('a.dat', chr(0) + 'a.dat')}",
    "a name of 300": f"a 1 100 8\n{LINE.replace('a.dat', 'x' * 300)}",
    "signals of two offsets": f"a 2 100 4\n{LINE}\na.dat 16+2 200/mV 16 0 0 0 0 II",
    "two formats in one file": f"a 2 100 4\n{LINE}\na.dat 212 200/mV 16 0 0 0 0 II",
}
for form in ("8", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524"):
    for samples in ("", "1", "1000000000"):
        HEADERS[f"format {form} of {samples or 'unknown'} samples"] = (
            f"a 1 100 {samples}\na.dat {form} 200/mV 16 0 0 0 0 I"
        )
    HEADERS[f"format {form} with skew"] = (
        f"a 2 100 4\na.dat {form}:3 200/mV 16 0 0 0 0 I\na.dat {form} 200/mV 16 0 0 0 0 II"
    )
    HEADERS[f"format {form} with frames"] = (
        f"a 2 100 2\na.dat {form}x3 200/mV 16 0 0 0 0 I\na.dat {form} 200/mV 16 0 0 0 0 II"
    )
for what, header in HEADERS.items():

    def record(folder: Path, header: str = header) -> Path:
        (folder / "sub").mkdir()
        os.mkfifo(folder / "pipe")
        (folder / "zero").symlink_to("/dev/zero")
        write_raw(folder, "b 1 100 8\nb.dat 16 200/mV 16 0 0 0 0 I\n", bytes(16), name="b")
        (folder / "b.dat").write_bytes(bytes(range(16)))
        return write_raw(folder, header + "\n", bytes(range(16)))

    KINDS[f"WFDB with {what}"] = record


def one_segment_20_000_times(folder: Path) -> Path:
    write_wfdb(folder, "s", np.arange(500)[:, None] % 100, ["I"])
    return write_raw(folder, "m/20000 1 100 10000000\n" + "s 500\n" * 20_000, name="m")


def one_segment_9_000_times(folder: Path) -> Path:
    write_wfdb(folder, "s", np.arange(500)[:, None] % 100, ["I"])
    return write_raw(folder, "m/9000 1 100 4500000\n" + "s 500\n" * 9000, name="m")


KINDS["WFDB of one segment 20,000 times"] = one_segment_20_000_times
KINDS["WFDB of one segment 9,000 times"] = one_segment_9_000_times


# EDF

EDF = edf([("ECG I", beats(600)), ("ECG II", beats(600, 0.5))], onsets=[0.0, 1.0, 2.0], kind=b"EDF+D")
FIELDS = {"header bytes": 184, "records": 236, "duration": 244, "signals": 252}
FIELDS |= {"physical minimum": 256 + 3 * 104, "physical maximum": 256 + 3 * 112, "digital minimum": 256 + 3 * 120}
FIELDS |= {"digital maximum": 256 + 3 * 128, "samples": 256 + 3 * 216, "label": 256, "unit": 256 + 3 * 96}
for field, at in FIELDS.items():
    for value in (
        b"",
        b"-1",
        b"0",
        b"1",
        b"9999",
        b"99999999",
        b"nan",
        b"inf",
        b"1e9",
        b"1e999999",
        b"x",
        b"\xff" * 8,
        b"\x00" * 8,
        b"1_0",
    ):
        width = 4 if field == "signals" else 8
        kind(f"EDF with {field} {value!r}", EDF[:at] + value[:width].ljust(width) + EDF[at + width :])
TAL = EDF.index(b"+1\x14\x14")
for n, tal in enumerate(
    (
        b"+1e9\x14\x14\x00",
        b"+999999999999\x14\x14\x00",
        b"-999999999999\x14\x14\x00",
        b"+\x14\x14",
        b"\x14" * 30,
        b"\x00" * 30,
        b"+1" + b"\x15" * 28,
        b"+1.1.1\x14\x14\x00",
        b"+" + b"9" * 29,
        b"+nan\x14\x14\x00",
        b"+1\x15nan\x14x\x14\x00",
        b"\xff" * 30,
    )
):
    kind(f"EDF with times {n}", EDF[:TAL] + tal + EDF[TAL + len(tal) :])
for cut in (0, 1, 8, 100, 255, 256, 300, 1023, 1024, 1025, 2000, len(EDF) - 1):
    kind(f"EDF cut at {cut}", EDF[:cut])
kind("BDF with the header of EDF", b"\xffBIOSEMI" + EDF[8:])
kind("EDF of 9999 signals", EDF[:184] + b"2560000 " + EDF[192:252] + b"9999" + EDF[256:] + bytes(3_000_000))
kind(
    "EDF of 100,000 records and pauses",
    edf(
        [("ECG I", np.zeros(20_000))],
        per_record=1,
        duration="0.01",
        onsets=[n / 50 for n in range(20_000)],
        kind=b"EDF+D",
    ),
)


# FHIR


def observation(**changes: str) -> str:
    sampled = {
        "origin": '{"value": 0, "unit": "mV"}',
        "period": "4",
        "factor": "1",
        "dimensions": "1",
        "lowerLimit": "-9",
        "upperLimit": "9",
        "data": '"1 2 3 E"',
    } | {k: v for k, v in changes.items() if k not in ("code", "component", "value", "unit")}
    sampled["origin"] = changes.get(
        "origin", f'{{"value": {changes.get("value", "0")}, "unit": {changes.get("unit", chr(34) + "mV" + chr(34))}}}'
    )
    code = changes.get("code", '{"coding": [{"display": "MDC_ECG_LEAD_I"}]}')
    inner = ", ".join(f'"{key}": {value}' for key, value in sampled.items())
    component = changes.get("component", f'[{{"code": {code}, "valueSampledData": {{{inner}}}}}]')
    return f'{{"resourceType": "Observation", "component": {component}}}'


VALUES = {
    "10^400": "1" + "0" * 400,
    "Infinity": "Infinity",
    "NaN": "NaN",
    "null": "null",
    "a list": "[1]",
    "an object": '{"a": 1}',
    "a long text": '"' + "x" * 100_000 + '"',
    "-1": "-1",
    "0": "0",
    "true": "true",
    "10^5 digits in a text": '"' + "9" * 100_000 + '"',
    "1e308": "1e308",
    "5": "5",
}
for field in (
    "value",
    "unit",
    "origin",
    "period",
    "factor",
    "dimensions",
    "lowerLimit",
    "upperLimit",
    "data",
    "intervalUnit",
    "code",
    "component",
):
    for what, value in VALUES.items():
        kind(f"FHIR with {field} {what}", observation(**{field: value}))
kind("FHIR with coding 5", observation(code='{"coding": 5}'))
kind("FHIR with a deep object", '{"resourceType": "Observation", "a": ' + '{"a":' * 100_000)
kind("FHIR of a million words", observation(data='"' + "1 " * 1_000_000 + '"'))
kind("FHIR of 10^5 components", observation(component="[" + ",".join(["{}"] * 100_000) + "]"))
kind("FHIR that is another resource", '{"resourceType": "Patient"}')
kind("FHIR in XML that is deep", "<Observation xmlns='http://hl7.org/fhir'>" + "<a>" * 100_000)


# Archives


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


TABLE = b"I,II\n" + b"1,2\n" * 100
ONE = packed({"a.csv": TABLE})
LZMA = bytearray(packed({"a.csv": TABLE * 10}, zipfile.ZIP_LZMA))
LZMA[50:70] = b"\xff" * 20
kind("zip with damaged LZMA", bytes(LZMA))
BZIP = bytearray(packed({"a.csv": TABLE * 10}, zipfile.ZIP_BZIP2))
BZIP[50:60] = b"\xff" * 10
kind("zip with damaged bzip2", bytes(BZIP))
kind("zip with an empty name", packed({"x": TABLE}).replace(b"x", b"\x00"))
kind("zip of 150,000 members", packed({f"{n}": b"" for n in range(150_000)}, zipfile.ZIP_STORED))
kind("zip of 15,000 members", packed({f"{n}.txt": b"" for n in range(15_000)}, zipfile.ZIP_STORED))
kind("zip with file and folder of one name", packed({"a": TABLE, "a/b.csv": TABLE}))
kind("zip with a name of 300", packed({"x" * 300 + ".csv": TABLE}))
kind("zip with line ends in a name", packed({"a\nb.csv": TABLE, "c\nd.csv": TABLE}))
kind("zip with a dot", packed({".": TABLE}))
kind("zip with a wrong sum", ONE.replace(b"a.csv", b"b.csv", 1))
for at in range(0, len(ONE), 12):
    kind(f"zip with byte {at} turned", ONE[:at] + bytes([ONE[at] ^ 0xFF]) + ONE[at + 1 :])
kind("zip that unpacks to 200 MB", packed({"a.csv": b"1,2\n" * 50_000_000}))
kind("gz that unpacks to 200 MB", gzip.compress(b"1,2\n" * 50_000_000))
kind("gz that unpacks to 2 MB", gzip.compress(b"1,2\n" * 500_000))
kind("gz that is cut", gzip.compress(TABLE * 100)[:-12])
kind("gz with a wrong sum", gzip.compress(TABLE)[:-8] + bytes(8))
kind("gz in a gz", gzip.compress(gzip.compress(TABLE)))
kind("gz of nothing", gzip.compress(b""))
kind("gz with a comment", b"\x1f\x8b\x08\x10" + bytes(6) + b"x" * 1_000_000)
kind("xz", lzma.compress(TABLE))


def tarred(**changes: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a.csv")
        member.size = len(TABLE)
        for key, value in changes.items():
            setattr(member, key, value)
        archive.addfile(member, io.BytesIO(TABLE))
    return out.getvalue()


for what, change in {
    "a device": {"type": tarfile.CHRTYPE},
    "a pipe": {"type": tarfile.FIFOTYPE},
    "a link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "a hard link": {"type": tarfile.LNKTYPE, "linkname": "../x"},
    "a long name": {"name": "x/" * 2000 + "a.csv"},
    "no name": {"name": ""},
    "a number for a name": {"name": "5"},
    "a wrong format of it": {"pax_headers": {"size": "x"}},
    "negative": {"pax_headers": {"size": "-1"}},
}.items():
    kind(f"tar with {what}", tarred(**change))
kind("tar that is cut", tarred()[:700])
kind("tar with a huge size", tarred().replace(b"00000000625", b"77777777777", 1))


# What they are read for


def child(pipe: Connection, path: Path, allowed: int) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, however deep in C it is
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
    began = time.process_time()
    said = []
    for declared in ({}, DECLARED, {"accept_damaged": True}):
        for read in (reading.read, opened, found):
            Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
            start, before = time.process_time(), peak_bytes()
            signal.setitimer(signal.ITIMER_PROF, 3 * LIMIT_S)
            signal.setitimer(signal.ITIMER_REAL, 60)
            try:
                read(path, **declared)
            except ReadError as error:
                lines = len(str(error).splitlines())
                if lines != 1 or ": not readable (" in str(error) or path.stem not in str(error):
                    said.append(f"{lines} lines: {str(error)[:300]}")
            except Exception as error:  # what it is for
                said.append(f"{type(error).__name__}: {error}"[:300])
            if time.process_time() - start > LIMIT_S:
                said.append(f"{time.process_time() - start:.1f} s")
            if peak_bytes() - before > allowed:
                said.append(f"{(peak_bytes() - before) / 2**20:.0f} MiB of {allowed / 2**20:.0f}")
    pipe.send((said, time.process_time() - began))


def opened(path: Path, **declared: object) -> None:
    recording = reading.open_recording(path, **declared)
    assert recording.read(0.0, min(1.0, recording.duration_s)).signal.size


def found(path: Path, **_: object) -> None:
    assert list(reading.find(path))


def peak_bytes() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def test_there_are_at_least_three_hundred_kinds() -> None:
    assert len(KINDS) >= 300


@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_file_is_a_recording_or_one_line(name: str, tmp_path: Path) -> None:
    path = KINDS[name](tmp_path)
    allowed = FREE_BYTES + TIMES_FILE * sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(there, path, allowed), daemon=True)
    process.start()
    there.close()
    try:
        said, _ = here.recv()
    except EOFError:
        process.join()
        said = [f"ended by signal {-(process.exitcode or 0)}"]
    process.join()
    assert said == []
