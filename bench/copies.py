"""Copies found of those that were made, at several gains and offsets, and false alarms among different ECGs.

python bench/copies.py [--records 10000] [--copies 50]

Targets: all copies found, no false alarm. Also the cost of a signature, and of looking for pairs.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from ecgprism.corpus.copies import alike, compared_lead, pairs, signature
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.sources.simulated import SimulatedSource

RATE_HZ = 100.0
CHANGES = {
    "x 1.1": (1.1, 0.0),
    "/ 4.88": (1 / 4.88, 0.0),
    "x 10": (10.0, 0.0),
    "+ 0.37": (1.0, 0.37),
    "x -1": (-1.0, 0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--copies", type=int, default=50)
    options = parser.parse_args()
    source = SimulatedSource(n=options.records, seed=11, rate_hz=RATE_HZ)
    signatures: list[str | None] = []
    compared: list[NDArray[np.float32]] = []
    spent = 0.0

    def add(signal: NDArray[np.float32], leads: tuple[str, ...]) -> None:
        nonlocal spent
        began = time.process_time()
        signatures.append(signature(signal, leads))
        spent += time.process_time() - began
        row = compared_lead(signal, leads)
        compared.append(signal[0 if row is None else row])

    originals = []
    for i, entry in enumerate(source.entries()):
        recording = source.read(entry)
        signal = prepared_signal(recording, RATE_HZ)
        add(signal, recording.leads)
        if i < options.copies:
            originals.append((signal, recording.leads))
    print(f"{options.records} records of two a patient; a signature takes {spent / options.records * 1e6:.0f} us")

    def are_copies(a: int, b: int) -> bool:
        return alike(compared[a], compared[b], RATE_HZ)

    began = time.perf_counter()
    found = list(pairs(signatures, are_copies))
    print(f"without copies: {len(found)} false alarms, {time.perf_counter() - began:.2f} s to look")
    for name, (gain, offset) in CHANGES.items():
        for signal, leads in originals:
            add((np.rint((signal * gain + offset) * 200) / 200).astype(np.float32), leads)  # a file of 200 steps a mV
        found = list(pairs(signatures, are_copies))
        wanted = {(i, options.records + i) for i in range(options.copies)}
        print(f"{name}: {len(wanted & set(found))} of {options.copies} found, {len(set(found) - wanted)} false alarms")
        del signatures[options.records :], compared[options.records :]


if __name__ == "__main__":
    main()
