"""Every way of fusion beside the others: the same configuration, folds and seed; pooled out-of-fold, paired intervals.

python bench/fusions.py configs/cinc2017_small.yaml CORPUS OUT --folds 5 [--only-folds 1 2 3] [--workers 2]

Each training is `ecgprism train CONFIG fusion=NAME fold=K/N`, with one thread; what is done already is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ecgprism import components
from ecgprism.evidence.comparison import answers_of, terms_of
from ecgprism.evidence.verdicts import in_words
from ecgprism.interface.answers import Answers
from ecgprism.metrics.contrasts import AUROC, minus, tabulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only-folds", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fusions", nargs="+", default=["concat", *sorted(set(components("fusions")) - {"concat"})])
    parser.add_argument("--override", nargs="*", default=[])
    options = parser.parse_args()
    folds = options.only_folds or list(range(1, options.folds + 1))

    def run(job: tuple[str, int]) -> None:
        name, fold = job
        folder = options.out / name / f"fold{fold}"
        if (folder / "metrics.json").is_file():
            return
        command = [sys.executable, "-m", "ecgprism"]
        setting = [f"corpus={options.corpus}", f"fusion={name}", f"fold={fold}/{options.folds}", *options.override]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        resume = ["--resume"] if (folder / "config.yaml").is_file() else []
        for arguments in (
            ["train", options.config, *setting, "--out", folder, *resume],
            ["evaluate", folder, "--resamples", "10"],
        ):
            subprocess.run([*command, *map(str, arguments)], check=True, env=environment, stdout=subprocess.DEVNULL)
        print(f"done: {name}, fold {fold}", flush=True)

    jobs = [(name, fold) for fold in folds for name in options.fusions]
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(run, jobs))
    pooled = {
        name: Answers.pooled([answers_of(options.out / name / f"fold{fold}") for fold in folds])
        for name in options.fusions
    }
    reference = options.fusions[0]
    metric = terms_of(options.out / reference / f"fold{folds[0]}").metric
    contrasts = {(name, reference): minus(name, reference) for name in options.fusions[1:]}
    found = tabulate(pooled, contrasts, metric)
    print(f"{len(pooled[reference])} items, folds {folds} of {options.folds} pooled; differences to {reference}")
    for name in options.fusions:
        facts = [json.loads((options.out / name / f"fold{fold}" / "run.json").read_text()) for fold in folds]
        cells = []
        for key in dict.fromkeys([metric, AUROC]):
            value = found.models[name].metrics[key]
            cell = f"{key} {value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
            if name != reference:
                cell += f", {in_words(found.contrasts[name, reference].metrics[key])}"
            cells.append(cell)
        seconds = np.mean([fact["training_seconds"] for fact in facts])
        print(f"{name}: {'; '.join(cells)}; {facts[0]['parameters']:,} parameters, {seconds:.0f} s")


if __name__ == "__main__":
    main()
