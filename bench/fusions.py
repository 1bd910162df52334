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
from ecgprism.evidence.comparison import tested
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics


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
    pooled = {name: [tested(options.out / name / f"fold{fold}") for fold in folds] for name in options.fusions}
    first = pooled[options.fusions[0]]
    target, cluster = (np.concatenate([getattr(part, key) for part in first]) for key in ("target", "cluster"))
    answers = {
        name: [np.concatenate([getattr(part, key) for part in parts]) for key in ("probabilities", "decided")]
        for name, parts in pooled.items()
    }

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        found = {name: metrics.essentials(target, p, d, first[0].classes, weights) for name, (p, d) in answers.items()}
        out = {f"{name}|{key}": value for name, values in found.items() for key, value in values.items()}
        reference = found[options.fusions[0]]
        out |= {f"{n}-|{key}": value - reference[key] for n, values in found.items() for key, value in values.items()}
        return out

    found = intervals.bootstrap(statistic, cluster)
    names = list(dict.fromkeys([metrics.primary(first[0].classes), "macro_auroc"]))
    print(f"{len(target)} items, folds {folds} of {options.folds} pooled; differences to {options.fusions[0]}")
    for name in options.fusions:
        facts = [json.loads((options.out / name / f"fold{fold}" / "run.json").read_text()) for fold in folds]
        cells = []
        for key in names:
            value, difference = found[f"{name}|{key}"], found[f"{name}-|{key}"]
            cells.append(
                f"{key} {value.value:.3f} ({value.low:.3f}-{value.high:.3f}), "
                f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
            )
        seconds = np.mean([fact["training_seconds"] for fact in facts])
        print(f"{name}: {'; '.join(cells)}; {facts[0]['parameters']:,} parameters, {seconds:.0f} s")


if __name__ == "__main__":
    main()
