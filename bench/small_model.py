"""A small model against a large one: parameters, records/s on one core turn by turn, and paired differences.

    bench/weights.sh DATA OUT
    python bench/small_model.py OUT/rhythm-1lead OUT/rhythm-1lead-tiny [--split test]

Inference alone, on the recordings of a split, batches as in evaluation. Differences are small - large over the same
recordings, 95% intervals. Of the weights in the package that is the split that their cards name.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from five_folds import CLASSES, measures

import ecgprism as ep
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.interface.scoring import score
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import parameters

ROUNDS, RESAMPLES = 4, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("large", type=Path)
    parser.add_argument("small", type=Path)
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    torch.set_num_threads(1)
    corpus = ep.Corpus(ep.read_config(given.large / "config.yaml").corpus)
    examples = corpus.select("rhythm", (given.split,), CLASSES)
    truth = examples.target.astype(bool)
    models = {run: ep.PrismModel.load(run) for run in (given.large, given.small)}
    seconds: dict[Path, list[float]] = {run: [] for run in models}
    p = {}
    for _ in range(ROUNDS):
        for run, model in models.items():
            began = time.perf_counter()
            p[run] = score(TorchEngine(model), CorpusAssembler(corpus, examples, model.spec)).probabilities
            seconds[run].append(time.perf_counter() - began)
    for run, model in models.items():
        f1, auroc, loss = measures(truth, p[run])
        told = f"challenge F1 {f1:.3f}, macro AUROC {auroc:.3f}, log loss {loss:.3f}"
        print(f"{run}: {parameters(model):,} parameters, {len(truth) / min(seconds[run]):.0f} records/s, {told}")
    ratio = np.median(np.array(seconds[given.large]) / np.array(seconds[given.small]))
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES)]
    lost = measures(truth, p[given.small]) - measures(truth, p[given.large])
    drawn = [measures(truth[i], p[given.small][i]) - measures(truth[i], p[given.large][i]) for i in rows]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    print(f"{ratio:.1f} times as fast on one core, {len(truth)} recordings")
    for name, v, a, b in zip(("challenge F1", "macro AUROC", "log loss"), lost, low, high, strict=True):
        print(f"small - large: {name} {v:+.3f} ({a:+.3f} to {b:+.3f})")


if __name__ == "__main__":
    main()
