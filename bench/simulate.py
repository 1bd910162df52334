"""Twelve-lead records of 10 s at 100 Hz simulated per second, on one core, against neurokit2's multi-lead simulator.

pip install neurokit2 && python bench/simulate.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings

from ecgprism.simulator.simulation import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--peer", type=int, default=10, help="records of neurokit2 (0: none)")
    options = parser.parse_args()
    simulate(0)
    began = time.perf_counter()
    for index in range(options.n):
        simulate(index)
    own = options.n / (time.perf_counter() - began)
    print(f"ecgprism: {own:.0f} records/s ({1e3 / own:.2f} ms a record)")
    if options.peer:
        import neurokit2

        warnings.simplefilter("ignore")
        began = time.perf_counter()
        for seed in range(options.peer):
            neurokit2.ecg_simulate(duration=10, sampling_rate=100, method="multileads", random_state=seed)
        peer = options.peer / (time.perf_counter() - began)
        print(f"neurokit2 {neurokit2.__version__}: {peer:.2f} records/s; ecgprism is {own / peer:.0f} times as fast")


if __name__ == "__main__":
    main()
