"""Fuzzing of every reader: python bench/fuzz_readers.py [SEEDS] [--inputs 100000] [--seconds 120] [--seed 1] [--out D]

SEEDS is a folder of small recordings of any format; some are made besides. Whatever the bytes, `read`, `open_recording`
and `find` must give a recording or a ReadError of one line, within 2 s of CPU and 64 MiB + 20 times the file. Inputs
are read in a child process that is killed at its limits and replaced; what went wrong is kept in --out with its input.
`unforeseen` are refusals that only the last catch knew: no crash, and a reader that could say it better.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import multiprocessing
import random
import re
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import conversion, reading

LIMIT_S, FREE_BYTES, TIMES_FILE = 2.0, 64 * 2**20, 20
LARGEST_SEED = 60_000
TOKENS = [
    b"", b"0", b"-1", b"1", b"255", b"65535", b"99999999", b"9" * 40, b"9" * 400, b"1e999", b"nan", b"inf", b"-", b".",
    b",", b";", b"\t", b"\n", b"\n\n\n\n", b"\r", b'"', b"'", b"\x00", b"\x00" * 64, b"\xff" * 4, b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00", b"mV", b"uV", b"\xb5V", b"I", b"II", b"ECG", b"<", b">", b"<a>" * 50, b"{", b"[" * 500, b"#",
    b"EDF+D", b"EDF Annotations ", b"+1\x14\x14\x00", b"16x1000", b"16:99999", b"212", b"1/9999", b"~ 99999999",
    b"true", b"null", b"x" * 5000, b" " * 5000, b"_" * 5000,
]  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A recording as files by name; `main` is the one that is read."""

    main: str
    files: Mapping[str, bytes]


def seeds(folder: Path | None) -> list[Seed]:
    """Return the made seeds, and those of a folder: a header with its signals, else each file by itself."""
    with tempfile.TemporaryDirectory() as made:
        found = made_seeds(Path(made))
    for path in sorted(folder.rglob("*")) if folder else ():
        if not path.is_file() or path.suffix.lower() in (".dat", ".mat", ".xyz", ".md"):
            continue
        names = {path, *(path.parent.glob(f"{path.stem}.*") if path.suffix == ".hea" else ())}
        found.append(Seed(path.name, {p.name: p.read_bytes()[:LARGEST_SEED] for p in names if p.is_file()}))
    return found


def made_seeds(folder: Path) -> list[Seed]:
    """Make small recordings of the formats that can be written here."""
    rng = np.random.default_rng(0)
    signal = np.round(rng.normal(0, 0.3, (2, 200)), 3).astype(np.float32)
    recording = Recording(signal, 100.0, ("I", "V1"))
    for name in ("a.hea", "a.edf", "a.dcm"):
        with contextlib.suppress(Exception):  # a seed less where a library is missing
            conversion.write(recording, folder / name)
    np.save(folder / "a.npy", signal)
    header = "a 2 100 100\na.dat {} 200/mV 16 0 0 0 0 I\na.dat {} 200(5)/uV 16 0 0 0 0 II\n# Age: 63\n# Sex: F\n"
    raw = rng.integers(-128, 127, 600, dtype=np.int8).tobytes()
    found = [
        Seed(name, {name: (folder / name).read_bytes()})
        for name in ("a.edf", "a.dcm", "a.npy")
        if (folder / name).exists()
    ]
    found.append(Seed("a.hea", {"a.hea": (folder / "a.hea").read_bytes(), "a.dat": (folder / "a.dat").read_bytes()}))
    forms = ("16", "16x2", "212", "24", "80", "310", "8", "32")
    found += [Seed("a.hea", {"a.hea": header.format(form, form).encode(), "a.dat": raw}) for form in forms]
    whole = b"m/4 2 100 300\nlayout 0\na 100\n~ 100\na 100\n"
    layout = b"layout 2 100 0\n~ 16 200/mV 16 0 0 0 0 I\n~ 16 200/uV 16 0 0 0 0 II\n"
    parts = {"a.hea": header.format("16", "16").encode(), "a.dat": raw[:400]}
    found.append(Seed("m.hea", {"m.hea": whole, "layout.hea": layout, **parts}))
    rows = "\n".join(f"{n / 100:.2f};{a:.3f};{b:.3f}" for n, (a, b) in enumerate(signal.T[:60]))
    said = json.dumps({"rate_hz": 100, "unit": "mV", "leads": ["I", "V1"], "lead_aliases": {"x": "I"}, "zero": 3})
    observation = {"resourceType": "Observation", "component": [{"code": {"coding": [{"display": "MDC_ECG_LEAD_I"}]},
                   "valueSampledData": {"origin": {"value": 0, "unit": "mV"}, "period": 4, "factor": 1, "dimensions": 1,
                                        "lowerLimit": -5, "upperLimit": 5, "data": "1 2 3 E U 0.5"}}]}  # fmt: skip
    apple = "Name,A\nRecorded Date,2024-08-26 18:15:35 +0100\nSample Rate,512 hertz\n\nLead,Lead I\nUnit,µV\n\n"
    tables = {
        "a.csv": "time;I (mV);V1 [mV]\n" + rows, "b.csv": ("time;I;V1\n" + rows).replace(".", ","),
        "c.csv": "'sample #','MLII','V5'\n" + "\n".join(f"{n},{1000 + n % 50},{n % 30}" for n in range(60)),
        "d.csv": "'Elapsed time','I'\n'hh:mm:ss.mmm','mV'\n" + "\n".join(f"'0:00.{4 * n:03}',{n}" for n in range(60)),
        "watch.csv": apple + "\n".join(f"{n},{n % 10}" for n in range(60)), "o.json": json.dumps(observation),
    }  # fmt: skip
    found += [Seed(name, {name: text.encode()}) for name, text in tables.items()]
    found.append(Seed("e.csv", {"e.csv": rows.replace(";", ",").encode(), "e.csv.json": said.encode()}))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/a.csv", tables["a.csv"])
        archive.writestr("__MACOSX/._a.csv", b"\x00\x05")
    found.append(Seed("a.zip", {"a.zip": packed.getvalue()}))
    found.append(Seed("a.csv.gz", {"a.csv.gz": gzip.compress(tables["a.csv"].encode())}))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive_tar:
        member = tarfile.TarInfo("a.csv")
        member.size = len(tables["a.csv"].encode())
        archive_tar.addfile(member, io.BytesIO(tables["a.csv"].encode()))
    found.append(Seed("a.tar", {"a.tar": tar.getvalue()}))
    return found


def changed(content: bytes, rng: random.Random, others: list[Seed]) -> bytes:
    """Return content with one to eight changes; most of them where headers are."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        size = len(out)
        at = int(size * rng.random() ** rng.choice((1, 3, 6))) if size else 0
        length = rng.choice((1, 2, 4, 8, 16, 64, 512))
        kind = rng.randrange(10)
        if kind == 0 and size:
            out[at % size] ^= 1 << rng.randrange(8)
        elif kind == 1 and size:
            out[at % size] = rng.randrange(256)
        elif kind == 2:
            out[at : at + length] = b""
        elif kind == 3:
            out[at:at] = out[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            out[at:at] = rng.choice(TOKENS)
        elif kind == 5:
            token = rng.choice(TOKENS)
            out[at : at + len(token)] = token
        elif kind == 6:
            del out[at:]
        elif kind == 7:
            numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?", bytes(out[at : at + 4096])))
            if numbers:
                number = rng.choice(numbers)
                out[at + number.start() : at + number.end()] = rng.choice(TOKENS)
        elif kind == 8:
            other = rng.choice(list(rng.choice(others).files.values()))
            start = rng.randrange(len(other) + 1)
            out[at : at + length] = other[start : start + length]
        else:
            out[at : at + length] = bytes(rng.randrange(256) for _ in range(min(length, len(out) - at)))
    return bytes(out[: 4 * LARGEST_SEED])


def one(folder: Path, main: str, rng: random.Random) -> str:
    """Read one input; return read, refused, unforeseen, or what is wrong."""
    nothing: dict[str, object] = {}
    table: dict[str, object] = {"rate_hz": 100, "unit": "mV", "leads": ["I", "V1"]}
    declared: Any = rng.choice(
        (nothing, nothing, nothing, {"accept_damaged": True}, {"lead_aliases": {"ECG": "I"}}, table)
    )
    try:
        if rng.random() < 0.2:
            opened = reading.open_recording(folder / main, **declared)
            assert opened.read(0.0, min(0.5, opened.duration_s)).signal.size, "an empty window"
        elif rng.random() < 0.1:
            for path in list(reading.find(folder / main))[:3]:
                reading.read(path, **declared)
        else:
            recording = reading.read(folder / main, **declared)
            assert recording.signal.size, "an empty signal"
            assert not np.isinf(recording.signal).any(), "infinite"
    except ReadError as error:
        if len(str(error).splitlines()) != 1:
            return f"not one line: {str(error)!r:.300}"
        return f"unforeseen: {error}" if ": not readable (" in str(error) else "refused"
    except Exception as error:  # what it is for
        return f"{type(error).__name__}: {error}"[:400]
    return "read"


def peak_bytes() -> int:
    """Return the highest resident memory since it was reset."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def child(pipe: Connection, folder: Path, all_seeds: list[Seed], start: int, options: argparse.Namespace) -> None:
    """Read inputs from number `start` on; every result goes through the pipe before the next input is read."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the default is to end the process, however deep in C it is
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
    kept: Counter[str] = Counter()
    for number in range(start, options.inputs):
        rng = random.Random(f"{options.seed} {number}")
        chosen = rng.choice(all_seeds)
        files = dict(chosen.files)
        target = rng.choice(sorted(files)) if rng.random() < 0.5 else chosen.main
        files[target] = changed(files[target], rng, all_seeds)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        pipe.send((number, chosen.main, None))
        allowed = FREE_BYTES + TIMES_FILE * sum(map(len, files.values()))
        Path("/proc/self/clear_refs").write_text("5")
        before, began = peak_bytes(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, 4 * LIMIT_S)
        signal.setitimer(signal.ITIMER_REAL, 60)
        result = one(folder, chosen.main, rng)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        took, used = time.process_time() - began, peak_bytes() - before
        if took > LIMIT_S:
            result = f"slow: {took:.1f} s ({result})"
        elif used > allowed:
            result = f"memory: {used / 2**20:.0f} MiB of {allowed / 2**20:.0f} ({result})"
        kept[result.split(":")[0]] += 1
        if result not in ("read", "refused") and kept[result.split(":")[0]] <= 50:
            keep(options, number, folder, f"{chosen.main}: {result}")
        pipe.send((number, chosen.main, result))


def keep(options: argparse.Namespace, number: int, folder: Path, result: str) -> None:
    """Keep an input with what is wrong with it."""
    kept = options.out / f"{options.seed}-{number}"
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    (kept / "result.txt").write_text(result + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=Path, nargs="?")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    options = parser.parse_args()
    all_seeds, counts = seeds(options.seeds), Counter[str]()
    work = Path(tempfile.mkdtemp(prefix="ecgprism-fuzz-"))
    folder, done, ends = work / "input", 0, time.monotonic() + options.seconds
    context = multiprocessing.get_context("fork")
    while done < options.inputs and time.monotonic() < ends:
        here, there = context.Pipe(duplex=False)
        arguments = (there, folder, all_seeds, done, options)
        process = context.Process(target=child, args=arguments, daemon=True)
        process.start()
        there.close()
        number, name = done, ""
        while time.monotonic() < ends:
            try:
                number, name, result = here.recv()
            except EOFError:  # killed at a limit
                process.join()
                number, result = max(number, done), f"died: signal {-(process.exitcode or 0)}"
            if result is None:
                continue
            done = number + 1
            counts[result.split(":")[0]] += 1
            if result.startswith("died"):
                keep(options, number, folder, f"{name}: {result}")
            if result.startswith("died") or done >= options.inputs:
                break
        process.kill()
        process.join()
    shutil.rmtree(work, ignore_errors=True)
    print(f"{done} inputs of {len(all_seeds)} seeds: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    sys.exit(any(what not in ("read", "refused", "unforeseen") for what in counts))


if __name__ == "__main__":
    main()
