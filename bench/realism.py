"""Simulated normal ECGs against PTB-XL's: heart rate, QRS amplitude per lead, spectrum.

python bench/realism.py CORPUS [--out docs/realism.png]     CORPUS: PTB-XL (or a part) at 100 Hz, all of it is read

Two-sample distances: Kolmogorov-Smirnov and Wasserstein (in the unit of the quantity).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from beats import BEFORE_S, Beat, Floats, median_beat, normal_signals
from matplotlib.figure import Figure
from scipy.signal import welch
from scipy.stats import ks_2samp, wasserstein_distance

from ecgprism.corpus.store import Corpus
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.simulator.simulation import draw, simulate

BANDS_HZ = ((0.5, 5), (5, 15), (15, 25), (25, 40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("docs/realism.png"))
    options = parser.parse_args()
    corpus = Corpus(options.corpus)
    real = normal_signals(corpus, ("train", "val", "test"))
    made = [
        simulate(index, rate_hz=corpus.rate_hz).recording.signal.astype(np.float64)
        for index in range(20 * options.n)
        if draw(index).labels["superdiagnostic"] == ("NORM",)
    ][: options.n]
    beats = [[median_beat(signal, corpus.rate_hz) for signal in signals] for signals in (real, made)]
    kept = [[beat for beat in each if beat is not None] for each in beats]
    print(f"{len(kept[0])} real and {len(kept[1])} simulated normal recordings\n")
    print("| quantity | real: median (5%-95%) | simulated: median (5%-95%) | KS | Wasserstein |")
    print("|---|---|---|---|---|")
    told("heart rate, /min", *([beat.rate_bpm for beat in each] for each in kept))
    amplitude = [np.array([qrs_mv(beat, corpus.rate_hz) for beat in each]) for each in kept]
    for row, lead in enumerate(STANDARD_LEADS):
        told(f"QRS peak-to-peak {lead}, mV", amplitude[0][:, row], amplitude[1][:, row])
    density = [np.array([spectrum(signal, corpus.rate_hz) for signal in signals]) for signals in (real, made)]
    for low, high in BANDS_HZ:
        inside = (frequencies(corpus.rate_hz) >= low) & (frequencies(corpus.rate_hz) < high)
        told(f"share of power {low:g}-{high:g} Hz, %", *(100 * each[:, inside].sum(axis=1) for each in density))
    picture(kept, amplitude, density, corpus.rate_hz, options.out)


def told(name: str, real: Floats | list[float], made: Floats | list[float]) -> None:
    cells = ["{1:.3g} ({0:.3g}-{2:.3g})".format(*np.percentile(values, [5, 50, 95])) for values in (real, made)]
    print(f"| {name} | {cells[0]} | {cells[1]} | {ks_2samp(real, made).statistic:.2f} "
          f"| {wasserstein_distance(real, made):.2g} |")  # fmt: skip


def qrs_mv(beat: Beat, rate_hz: float) -> Floats:
    zero = round(BEFORE_S * rate_hz)
    return np.ptp(beat.signal[:, zero - round(0.06 * rate_hz) : zero + round(0.08 * rate_hz)], axis=1)


def frequencies(rate_hz: float) -> Floats:
    return np.fft.rfftfreq(round(2 * rate_hz), 1 / rate_hz)


def spectrum(signal: Floats, rate_hz: float) -> Floats:
    """Return the mean over leads of the power density (F,), 0.5-40 Hz summing to 1."""
    f_hz, power = welch(signal, rate_hz, nperseg=round(2 * rate_hz), axis=1)
    power = np.where((f_hz >= 0.5) & (f_hz < 40), power, 0)
    return (power / power.sum(axis=1, keepdims=True).clip(1e-12)).mean(axis=0)


def picture(
    beats: list[list[Beat]], amplitude: list[Floats], density: list[Floats], rate_hz: float, path: Path
) -> None:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    rate, size, power = figure.subplots(1, 3)
    for each, label in zip(beats, ("PTB-XL", "simulated"), strict=True):
        rate.hist([beat.rate_bpm for beat in each], bins=np.arange(35, 150, 5), density=True, alpha=0.5, label=label)
    rate.set(xlabel="heart rate, /min", yticks=[])
    rate.legend()
    at = np.arange(12)
    for shift, values in ((-0.18, amplitude[0]), (0.18, amplitude[1])):
        size.boxplot(values, positions=at + shift, widths=0.3, showfliers=False, manage_ticks=False)
    size.set_xticks(at, STANDARD_LEADS, rotation=60)
    size.set(ylabel="QRS, mV (left: PTB-XL)")
    for values, label in zip(density, ("PTB-XL", "simulated"), strict=True):
        low, middle, high = np.percentile(values, [10, 50, 90], axis=0)
        (line,) = power.semilogy(frequencies(rate_hz), middle, label=label)
        power.fill_between(frequencies(rate_hz), low, high, color=line.get_color(), alpha=0.2)
    power.set(xlabel="Hz", ylabel="share of power", xlim=(0.5, 40), ylim=(1e-5, 0.2))
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
