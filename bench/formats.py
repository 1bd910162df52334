"""Records/s of ecgprism.read against the bare library, file by file, one core; and a window of a 24-hour Holter.

python bench/formats.py DATA        DATA holds formats/ (vendors' files) and ptbxl/ (records100/, records500/)

Both read the same file, turn by turn; the bare library's time includes making millivolts where it does so itself. The
Holter (3 leads, 24 h, 250 Hz) is simulated and written as WFDB, EDF and ISHNE.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ecgprism as ep
from ecgprism.simulator.simulation import simulate

HOURS, RATE_HZ, LEADS = 24, 250, ("I", "V1", "V5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import edfio
    import wfdb
    from ecgdatakit.parsing import FileParser

    def kit(path: Path) -> object:
        return FileParser.parse(path, units="mV")

    def edf(path: Path) -> object:
        return [signal.data for signal in edfio.read_edf(path, lazy_load_data=True).signals]

    def rdrecord(path: Path) -> object:
        return wfdb.rdrecord(str(path.with_suffix("")))

    formats = options.data / "formats"
    files: list[tuple[str, Path, Callable[[Path], object]]] = [
        ("WFDB 100 Hz", next((options.data / "ptbxl" / "records100").rglob("*.hea")), rdrecord),
        ("WFDB 500 Hz", next((options.data / "ptbxl" / "records500").rglob("*.hea")), rdrecord),
        ("GE MUSE XML", formats / "muse" / "example1.xml", kit),
        ("DICOM", formats / "scp" / "Example.dcm", kit),
        ("SCP-ECG", formats / "scp" / "Example.scp", kit),
        ("HL7 aECG", formats / "scp" / "Example.xml", kit),
        ("Sierra XML", formats / "sierra" / "129DYPRG.XML", kit),
        ("EDF", formats / "contec" / "0000050.ECG.edf", edf),
    ]
    print("| format | bare library, ms | ecgprism.read, ms | ratio |")
    print("|---|---|---|---|")
    for name, path, bare in files:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.repeats + 2):
            for each, call in zip(times, (bare, ep.read), strict=True):
                began = time.perf_counter()
                call(path)
                each.append(1e3 * (time.perf_counter() - began))
        theirs, ours = (float(np.median(each[2:])) for each in times)
        print(f"| {name} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} |")
    holter()


def holter() -> None:
    minute = simulate(0, rate_hz=RATE_HZ, duration_s=60).recording
    rows = [minute.leads.index(lead) for lead in LEADS]
    steps = np.tile(np.rint(minute.signal[rows].T / 2.5e-3).astype("<i2"), (60 * HOURS, 1))
    print(f"\n| {HOURS} h, {len(LEADS)} leads, {RATE_HZ} Hz | open, ms | 10 s window, ms (median of 50) |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("WFDB", write_wfdb), ("EDF", write_edf), ("ISHNE", write_ishne)):
            path = write(Path(folder), steps)
            ep.open_recording(path)
            began = time.perf_counter()
            opened = ep.open_recording(path)
            opening = 1e3 * (time.perf_counter() - began)
            times = []
            for start_s in np.random.default_rng(0).uniform(0, HOURS * 3600 - 10, 50):
                began = time.perf_counter()
                assert opened.read(start_s, start_s + 10).signal.shape[1] == 10 * RATE_HZ
                times.append(1e3 * (time.perf_counter() - began))
            print(f"| {name} | {opening:.1f} | {np.median(times):.1f} |")
            for file in Path(folder).iterdir():
                file.unlink()


def write_wfdb(folder: Path, steps: np.ndarray) -> Path:
    sums = steps.sum(axis=0, dtype=np.int64) & 0xFFFF
    lines = [f"h.dat 16 400/mV 16 0 {steps[0, k]} {sums[k]} 0 {lead}" for k, lead in enumerate(LEADS)]
    (folder / "h.hea").write_text(f"h {len(LEADS)} {RATE_HZ} {len(steps)}\n" + "\n".join(lines) + "\n")
    steps.tofile(folder / "h.dat")
    return folder / "h.hea"


def write_edf(folder: Path, steps: np.ndarray) -> Path:
    import edfio

    signals = [
        edfio.EdfSignal(column * 2.5e-3, RATE_HZ, label=lead, physical_dimension="mV", physical_range=(-20, 20))
        for lead, column in zip(LEADS, steps.T, strict=True)
    ]
    edfio.Edf(signals).write(folder / "h.edf")
    return folder / "h.edf"


def write_ishne(folder: Path, steps: np.ndarray) -> Path:
    head = bytearray(512)
    struct.pack_into("<iiiih", head, 0, 0, len(steps), 522, 522, 1)
    struct.pack_into("<h12h", head, 146, len(LEADS), 5, 11, 15, *[-9] * 9)
    struct.pack_into("<12h", head, 196, *[2500] * 12)
    struct.pack_into("<h", head, 262, RATE_HZ)
    (folder / "h.ecg").write_bytes(b"ISHNE1.0" + bytes(2) + bytes(head) + steps.tobytes())
    return folder / "h.ecg"


if __name__ == "__main__":
    main()
