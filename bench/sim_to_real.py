"""Train on simulated ECGs alone, test on real ones.

python bench/sim_to_real.py af CORPUS OUT               CORPUS of CinC 2017: atrial fibrillation against normal
python bench/sim_to_real.py superdiagnostic CORPUS OUT  CORPUS of PTB-XL (or a part), 100 Hz

`af` compares with the rule that scores the median of |RR - RR before| / RR, paired by record. `--split train` looks at
the records on which the simulator was developed; the default are the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, find_peaks, sosfiltfilt

from ecgprism import Config, Corpus, PrismModel, fit, ingest
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.interface.scoring import score
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics
from ecgprism.model.engine import TorchEngine

TASKS = {
    "af": {
        "simulated": {"task": "rhythm", "duration_s": 20.0},
        "config": {"leads": ["I"], "window_s": 20},
        "augment": {"scale": 0.2, "flip": 0.1, "noise_db": [-3, 25], "crop": 0.5},
        "held_out": ("val", "test"),
    },
    "superdiagnostic": {
        "simulated": {"task": "superdiagnostic", "duration_s": 10.0},
        "config": {"window_s": 10},
        "augment": {"scale": 0.2, "lead_dropout": 0.1, "noise_db": [10, 30]},
        "held_out": ("test",),  # the mean normal beat is fitted on train and val
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--split", choices=("train", "held-out"), default="held-out")
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    chosen = TASKS[options.task]
    simulated = options.out / f"simulated-{options.n}"
    if not simulated.is_dir():
        ingest("simulated", None, simulated, options={"n": options.n, **chosen["simulated"]}, workers=options.workers)
    run = options.out / f"run-{options.n}-{options.epochs}"
    if not (run / "model.json").is_file():
        config = Config(
            corpus=simulated,
            views={"wave": {"view": {"waveform": {"scale": "record"}}, "encoder": {"cnn_bilstm": {"width": 24}}}},
            augment=chosen["augment"],
            train={"epochs": options.epochs, "batch_size": 32, "lr": 2e-3},
            **chosen["config"],
        )
        fitted = fit(config, run)
        print(f"trained on {options.n} simulated records: best epoch {fitted.best_epoch}, {fitted.seconds:.0f} s")
    model, corpus = PrismModel.load(run), Corpus(options.corpus)
    splits = ("train",) if options.split == "train" else chosen["held_out"]
    (fibrillation if options.task == "af" else superdiagnostic)(model, corpus, splits)


def superdiagnostic(model: PrismModel, corpus: Corpus, splits: tuple[str, ...]) -> None:
    name, _ = corpus.task("superdiagnostic" if "superdiagnostic" in corpus.tasks else None)
    examples = corpus.select(name, splits, model.task.classes)
    found = score(TorchEngine(model), CorpusAssembler(corpus, examples, model.spec)).probabilities
    area = intervals.bootstrap(
        lambda weights: {"auroc": metrics.auroc(examples.target, found, weights)}, examples.cluster, 2000
    )["auroc"]
    macro = intervals.bootstrap(
        lambda weights: {"auroc": metrics.macro(metrics.auroc(examples.target, found, weights))}, examples.cluster, 2000
    )["auroc"]
    print(f"{len(examples)} records of {'+'.join(splits)}: macro AUROC {told(macro)}")
    for k, label in enumerate(model.task.classes):
        print(f"  {label}: {area.value[k]:.3f} ({area.low[k]:.3f} to {area.high[k]:.3f})")


def fibrillation(model: PrismModel, corpus: Corpus, splits: tuple[str, ...]) -> None:
    examples = corpus.select("rhythm", splits, ("N", "A", "O", "~"))
    chosen = np.flatnonzero(examples.target[:, :2].any(axis=1))
    found = score(TorchEngine(model), CorpusAssembler(corpus, examples, model.spec)).probabilities
    scores = found[:, model.task.classes.index("AFIB")]
    rule = np.array([irregularity(lead(corpus, examples.record[k]), corpus.rate_hz) for k in chosen])
    target, both = examples.target[chosen, 1:2], np.column_stack([scores[chosen], rule])

    def aurocs(weights: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
        model_, rule_ = (metrics.auroc(target, both[:, [k]], weights)[..., 0] for k in (0, 1))
        return {"model": model_, "rule": rule_, "model - rule": model_ - rule_}

    print(f"{len(chosen)} records of {'+'.join(splits)}, {int(target.sum())} in atrial fibrillation: AUROC")
    for name, interval in intervals.bootstrap(aurocs, examples.cluster[chosen], 2000).items():
        print(f"  {name}: {told(interval)}")


def lead(corpus: Corpus, record: int) -> NDArray[np.float64]:
    """Return the whole of lead I of a record (T,) mV."""
    length = np.array([corpus.records["samples"].iloc[record]])
    signal, _ = corpus.windows(np.array([record]), np.array([0]), length, ("I",))
    return signal[0, 0].astype(np.float64)


def irregularity(signal: NDArray[np.float64], rate_hz: float) -> float:
    """Return the median of |RR - RR before| / RR of a lead (T,); 0 when fewer than three beats are found."""
    band = sosfiltfilt(butter(3, (5, 20), "bandpass", fs=rate_hz, output="sos"), signal)
    energy = np.convolve(band**2, np.ones(round(0.1 * rate_hz)), "same")
    peaks, _ = find_peaks(energy, height=0.2 * np.percentile(energy, 97), distance=round(0.3 * rate_hz))
    rr = np.diff(peaks)
    return float(np.median(np.abs(np.diff(rr)) / rr[1:])) if len(rr) > 2 else 0.0


def told(interval: intervals.Interval) -> str:
    return f"{float(interval.value):.3f} ({float(interval.low):.3f} to {float(interval.high):.3f})"


if __name__ == "__main__":
    main()
