"""R peaks against the annotated beats of MIT-BIH, beside wfdb's XQRS: python bench/r_peaks.py DATA/mitdb"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import wfdb
from wfdb.processing import xqrs_detect

from ecgprism.ecg.qrs import find_r_peaks
from ecgprism.ecg.resampling import resample

BEATS, TOLERANCE_S = list("NLRBAaJSVrFejnE/fQ"), 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    detectors = {
        "ecgprism": lambda signal: find_r_peaks(signal, options.rate),
        "wfdb XQRS": lambda signal: xqrs_detect(signal[0].astype(float), options.rate, verbose=False),
    }
    counts, seconds = {name: np.zeros(3, dtype=int) for name in detectors}, dict.fromkeys(detectors, 0.0)
    for header in sorted(options.folder.glob("*.hea")):
        record, beats = wfdb.rdrecord(str(header.with_suffix(""))), wfdb.rdann(str(header.with_suffix("")), "atr")
        truth = beats.sample[np.isin(beats.symbol, BEATS)] / record.fs
        signal = resample(record.p_signal.T.astype(np.float32), float(record.fs), options.rate)
        for name, detect in detectors.items():
            began = time.perf_counter()
            found = np.asarray(detect(signal)) / options.rate
            seconds[name] += time.perf_counter() - began
            beside = np.searchsorted(found, truth).clip(1, len(found) - 1)
            near = np.minimum(np.abs(truth - found[beside - 1]), np.abs(truth - found[beside]))
            hits = int((near < TOLERANCE_S).sum())
            counts[name] += [hits, len(truth), len(found)]
    for name, (hits, beats_there, found_there) in counts.items():
        print(f"{name}: sensitivity {hits / beats_there:.4f}, predictive value {min(hits / found_there, 1):.4f} "
              f"({beats_there} beats, {options.rate:g} Hz), {seconds[name]:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
