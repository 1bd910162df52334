"""Seconds and memory of an ingest of a memory map (N, 12, 5000) float32 at 500 Hz, against reading all of it.

    python bench/array_ingest.py FOLDER [--recordings 3000]

Makes the array in FOLDER first (240 kB a recording) and deletes it and the corpus at the end.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
import warnings
from pathlib import Path

import numpy as np

import ecgprism as ep
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.sources.simulated import SimulatedSource

SHAPE, AT_A_TIME = (12, 5000), 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recordings", type=int, default=3000)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    n, file, out = given.recordings, given.folder / "X.npy", given.folder / "corpus"
    source = SimulatedSource(n=AT_A_TIME, seed=0, rate_hz=500)
    simulated = np.stack([source.read(entry).signal for entry in source.entries()])
    made = np.lib.format.open_memmap(file, "w+", np.float32, (n, *SHAPE))
    for at in range(0, n, AT_A_TIME):  # each time later in its beat: no copies of each other
        made[at : at + AT_A_TIME] = np.roll(simulated, 37 * at // AT_A_TIME, axis=2)[: n - at]
    made.flush()
    del made
    signals = np.load(file, mmap_mode="r")
    began = time.perf_counter()
    sum(float(signal.sum()) for signal in signals)
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    ep.ingest_arrays(
        signals, ["a", "b"] * (n // 2) + ["a"] * (n % 2), out, rate_hz=500, leads=STANDARD_LEADS, unit="mV"
    )
    ingest_s = time.perf_counter() - began
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    megabytes = signals.nbytes / 1e6
    print(
        f"{n} recordings, {megabytes:.0f} MB: reading {read_s:.2f} s, ingest {ingest_s:.2f} s, {ingest_s / read_s:.0f} times"
    )
    print(f"most memory held {resident:.0f} MB, of which the map itself is up to {megabytes:.0f} MB")
    file.unlink()
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
