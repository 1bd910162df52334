"""One fused network against the waveform alone and two seeds of it averaged, five folds of the CinC 2017 training set.

    ecgprism ingest cinc2017 DATA/cinc2017 --out corpora/cinc2017     # DATA/cinc2017 with REFERENCE-v3.csv
    python bench/five_folds.py corpora/cinc2017 OUT                   # trainings: about three hours on one core

Each fold trains configs/cinc2017.yaml and, twice, its view `wave` alone, same schedule, and picks the epoch by the loss
on validation; then these three teach one network of that configuration, same schedule (`distilled`). The answers on the five test parts are pooled: every recording once, by models that have not seen it.
Trainings that are there are kept, interrupted ones go on. Differences are paired over the recordings, 95% intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

import ecgprism as ep
from ecgprism.metrics import scores

FOLDS, RESAMPLES = 5, 1000
CLASSES = ("N", "A", "O", "~")
SAME = ("train.monitor=loss",)
MODELS = {
    "fused": (),
    "wave-s0": ("views={wave: {view: {waveform: {scale: record}}, encoder: cnn_bilstm}}",),
    "wave-s1": ("views={wave: {view: {waveform: {scale: record}}, encoder: cnn_bilstm}}", "train.seed=1"),
}


def answers(run: Path, out: Path) -> pd.DataFrame:
    """Return the answers of a run on its test part, evaluated once."""
    file = out / "predictions.parquet"
    if not file.is_file():
        ep.evaluate(run, out=out, resamples=2, note=lambda said: None)
    return pd.read_parquet(file)


def measures(truth: np.ndarray, p: np.ndarray, weights: Sequence[float] = (1, 1, 1, 1)) -> np.ndarray:
    """Return challenge F1 (mean over N, A, O; of probabilities times `weights`), macro AUROC and log loss."""
    f1 = scores.cinc2017_f1(
        scores.rates(truth, np.eye(len(CLASSES), dtype=bool)[(p * weights).argmax(axis=1)]).f1, CLASSES
    )
    auroc = scores.auroc(truth, p).mean()
    return np.array([f1, auroc, -np.log(np.clip(p[truth], 1e-7, 1)).mean()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    pooled: dict[str, list[pd.DataFrame]] = {name: [] for name in (*MODELS, "distilled")}
    for k in range(1, FOLDS + 1):
        for name, changes in [*MODELS.items(), ("distilled", ())]:
            run = given.out / f"{name}-{k}"
            if not (run / "model.safetensors").is_file():
                config = ep.read_config(
                    "configs/cinc2017.yaml", [f"corpus={given.corpus}", f"fold={k}/{FOLDS}", *SAME, *changes]
                )
                if name == "distilled":
                    # they have seen the training records, and none of the test part
                    ep.distill([given.out / f"{teacher}-{k}" for teacher in MODELS], config, run, resume=run.is_dir())
                else:
                    ep.fit(config, run, resume=run.is_dir())
            pooled[name].append(answers(run, given.out / f"{name}-{k}-test"))
    tables = {name: pd.concat(parts).sort_values("record_id") for name, parts in pooled.items()}
    truth = tables["fused"][[f"target_{name}" for name in CLASSES]].to_numpy(dtype=bool)
    p = {name: table[[f"p_{each}" for each in CLASSES]].to_numpy() for name, table in tables.items()}
    p["two seeds of wave averaged"] = (p["wave-s0"] + p["wave-s1"]) / 2
    p["fused and that averaged"] = (p["fused"] + p["two seeds of wave averaged"]) / 2
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES)]
    drawn = {name: np.array([measures(truth[rows], each[rows]) for rows in draws]) for name, each in p.items()}
    names = ("challenge F1", "macro AUROC", "log loss")
    print(f"{len(truth)} recordings")
    for name, each in p.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975], axis=0)
        told = zip(names, measures(truth, each), low, high, strict=True)
        print(f"{name:27}", "; ".join(f"{what} {v:.3f} ({a:.3f} to {b:.3f})" for what, v, a, b in told))
    averaged = "two seeds of wave averaged"
    pairs = (("fused", "wave-s0"), ("fused", averaged), ("distilled", averaged), ("distilled", "fused"))
    for one, other in pairs:
        low, high = np.quantile(drawn[one] - drawn[other], [0.025, 0.975], axis=0)
        gain = measures(truth, p[one]) - measures(truth, p[other])
        told = zip(names, gain, low, high, strict=True)
        print(f"{one} - {other}:", "; ".join(f"{what} {v:+.4f} ({a:+.4f} to {b:+.4f})" for what, v, a, b in told))
    grid = np.exp(np.linspace(-1, 1, 9))
    best = max(measures(truth, p["fused"], (1, a, o, noise))[0] for a, o, noise in product(grid, grid, (0.5, 1, 2)))
    print(f"fused, weights of the classes chosen with hindsight: challenge F1 {best:.3f}")


if __name__ == "__main__":
    main()
