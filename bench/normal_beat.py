"""Fit the simulator's normal beat and mean torso to normal recordings: python bench/normal_beat.py CORPUS

CORPUS: PTB-XL (or a part) at 100 Hz; only its training and validation splits are read. Prints the torso matrix (Dower's
moved by ridge regression) and one row per Gaussian: centre ms from R, width ms, X, Y, Z uV.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from beats import BEFORE_S, Floats, median_beat, normal_signals
from scipy.optimize import least_squares
from scipy.signal import resample_poly

from ecgprism.corpus.store import Corpus
from ecgprism.ecg.electrodes import DOWER

EIGHT = [0, 1, 6, 7, 8, 9, 10, 11]
FINE = 10  # times the corpus's rate
#: where the search begins: two Gaussians of P, three of QRS, one of ST, two of T
CENTRE_S = np.array([-0.140, -0.112, -0.020, 0.002, 0.022, 0.12, 0.22, 0.275])
WIDTH_S = np.array([0.018, 0.018, 0.009, 0.011, 0.011, 0.04, 0.055, 0.036])
RIDGE, LOW_PASS_S = 0.5, 0.0035


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    corpus = Corpus(parser.parse_args().corpus)
    beats = [median_beat(signal, corpus.rate_hz) for signal in normal_signals(corpus, ("train", "val"))]
    usual = [beat for beat in beats if beat is not None and 55 < beat.rate_bpm < 90]
    mean = aligned_mean([resampled(beat.signal[EIGHT]) for beat in usual], round(BEFORE_S * corpus.rate_hz * FINE))
    print(f"{len(usual)} normal recordings, median RR {np.median([60 / beat.rate_bpm for beat in usual]):.3f} s")
    torso = np.round(fitted_torso(mean), 2)
    for matrix, name in ((DOWER, "Dower"), (torso, "fitted")):
        rest = mean - matrix @ np.linalg.lstsq(matrix, mean, rcond=None)[0]
        print(f"unexplained by {name}: {(rest**2).sum() / (mean**2).sum():.4f}")
    print(torso)
    dipole = np.linalg.lstsq(torso, mean, rcond=None)[0]
    t_s = np.arange(mean.shape[1]) / corpus.rate_hz / FINE - BEFORE_S
    near = np.abs(t_s) < 0.06
    t_s = t_s - t_s[near][np.linalg.norm(dipole[:, near], axis=0).argmax()]
    for row in gaussians(dipole, t_s):
        print("[{:.0f}, {:.1f}, {:.0f}, {:.0f}, {:.0f}]".format(*(1e3 * row)))


def resampled(beat: Floats) -> Floats:
    """Return a beat at FINE times its rate."""
    padded = np.pad(beat, ((0, 0), (20, 20)), "edge")
    return resample_poly(padded, FINE, 1, axis=1)[:, 20 * FINE : -20 * FINE]


def aligned_mean(beats: list[Floats], zero: int) -> Floats:
    """Return the mean beat after shifting each to where its QRS complex agrees best with the mean."""
    stack = np.array(beats)
    mean = stack.mean(axis=0)
    for _ in range(5):
        template = mean[:, zero - 60 : zero + 90]
        shifted = []
        for beat in stack:
            pieces = {k: beat[:, zero - 60 + k : zero + 90 + k] for k in range(-30, 31)}
            best = max(pieces, key=lambda k: (template * pieces[k]).sum() / np.linalg.norm(pieces[k]))
            shifted.append(np.roll(beat, -best, axis=1))
        mean = np.mean(shifted, axis=0)
    return mean


def fitted_torso(mean: Floats) -> Floats:
    """Return the matrix (8, 3) between Dower's and the one that explains the mean beat best."""
    torso = DOWER.copy()
    for _ in range(20):
        dipole = np.linalg.lstsq(torso, mean, rcond=None)[0]
        power = dipole @ dipole.T
        ridge = 0.3 * np.trace(power) * np.eye(3)
        torso = np.linalg.solve(power + ridge, (mean @ dipole.T + DOWER @ ridge).T).T
    return torso


def gaussians(dipole: Floats, t_s: Floats) -> Floats:
    """Return rows (8, 5) of centre s, width s and dipole mV that sum up to the dipole (3, T)."""
    n = len(CENTRE_S)

    def basis(given: Floats) -> Floats:
        seen = np.hypot(given[n:], LOW_PASS_S)
        return np.exp(-0.5 * ((t_s[:, None] - given[:n]) / seen) ** 2) * (given[n:] / seen)

    def weights(given: Floats) -> Floats:
        both = np.vstack([basis(given), RIDGE * np.eye(n)])
        return np.linalg.lstsq(both, np.vstack([dipole.T, np.zeros((n, 3))]), rcond=None)[0]

    def rest(given: Floats) -> Floats:
        away = 2 * (given - np.concatenate([CENTRE_S, WIDTH_S]))
        return np.concatenate([(basis(given) @ weights(given) - dipole.T).ravel(), away])

    low = np.concatenate([CENTRE_S - 0.012, np.maximum(0.6 * WIDTH_S, 0.006)])
    high = np.concatenate([CENTRE_S + 0.012, 1.5 * WIDTH_S])
    found = least_squares(rest, np.concatenate([CENTRE_S, WIDTH_S]), bounds=(low, high)).x
    return np.column_stack([found[:n], found[n:], weights(found)])


if __name__ == "__main__":
    main()
