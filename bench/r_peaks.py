"""R peaks against the annotated beats of MIT-BIH: python bench/r_peaks.py DATA/mitdb [--rate 100] [--xqrs]

The finder of recordings (NumPy) on whole records, that of the view `rhythm` (tensors) on windows of 30 s, one thread,
and wfdb's XQRS on the first lead where asked for. A beat is found within 150 ms.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import wfdb
from wfdb.processing import xqrs_detect

from ecgprism.ecg.qrs import find_r_peaks
from ecgprism.ecg.resampling import resample
from ecgprism.model.views.beats import find_beats

BEATS, TOLERANCE_S = list("NLRBAaJSVrFejnE/fQ"), 0.15


def by_tensors(signal: np.ndarray, rate_hz: float, window_s: float = 30.0) -> np.ndarray:
    """Return the beats (samples) that the view finds in windows of a record (L, T)."""
    width = round(window_s * rate_hz)
    count = -(-signal.shape[1] // width)
    padded = np.pad(signal, ((0, 0), (0, count * width - signal.shape[1])), mode="edge")
    windows = torch.from_numpy(padded).view(len(signal), count, width).transpose(0, 1)
    found = find_beats(windows - windows.mean(dim=2, keepdim=True), None, rate_hz)
    at = (found.at + torch.arange(count)[:, None] * width)[found.there]
    return np.sort(at.numpy()[at.numpy() < signal.shape[1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--xqrs", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    detectors = {
        "ecgprism, tensors": lambda signal: by_tensors(signal, options.rate),
        "ecgprism, NumPy": lambda signal: find_r_peaks(signal, options.rate),
    }
    if options.xqrs:
        detectors["wfdb XQRS"] = lambda signal: xqrs_detect(signal[0].astype(float), options.rate, verbose=False)
    minutes = 0.0
    counts, seconds = {name: np.zeros(3, dtype=int) for name in detectors}, dict.fromkeys(detectors, 0.0)
    for header in sorted(options.folder.glob("*.hea")):
        record, beats = wfdb.rdrecord(str(header.with_suffix(""))), wfdb.rdann(str(header.with_suffix("")), "atr")
        truth = beats.sample[np.isin(beats.symbol, BEATS)] / record.fs
        signal = resample(record.p_signal.T.astype(np.float32), float(record.fs), options.rate)
        minutes += signal.size / options.rate / 60
        for name, detect in detectors.items():
            began = time.process_time()
            found = np.asarray(detect(signal)) / options.rate
            seconds[name] += time.process_time() - began
            beside = np.searchsorted(found, truth).clip(1, len(found) - 1)
            near = np.minimum(np.abs(truth - found[beside - 1]), np.abs(truth - found[beside]))
            hits = int((near < TOLERANCE_S).sum())
            counts[name] += [hits, len(truth), len(found)]
    for name, (hits, beats_there, found_there) in counts.items():
        print(f"{name}: sensitivity {hits / beats_there:.4f}, predictive value {min(hits / found_there, 1):.4f} "
              f"({beats_there} beats, {options.rate:g} Hz), {minutes / seconds[name]:.0f} lead-minutes/s")  # fmt: skip


if __name__ == "__main__":
    main()
