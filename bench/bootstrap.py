"""The clustered bootstrap of per-class AUROC against a plain scikit-learn loop, and at 100,000 records.

python bench/bootstrap.py [--records 2000] [--large 100000]     (--large 0: only the comparison)
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics

CLASSES, RESAMPLES, LOOPED = 5, 1000, 20


def data(records: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.random((records, CLASSES)) < 0.2
    return target, rng.random((records, CLASSES)) + 0.5 * target, np.sort(rng.integers(0, records, records))


def ours(target: np.ndarray, score: np.ndarray, cluster: np.ndarray) -> tuple[float, intervals.Interval]:
    began = time.perf_counter()
    found = intervals.bootstrap(lambda w: {"auroc": metrics.auroc(target, score, w)}, cluster, RESAMPLES)["auroc"]
    return time.perf_counter() - began, found


def plain_loop(target: np.ndarray, score: np.ndarray, cluster: np.ndarray, resamples: int) -> float:
    members = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(resamples):
        drawn = np.concatenate([members[c] for c in rng.integers(0, len(members), len(members))])
        for k in range(CLASSES):
            roc_auc_score(target[drawn, k], score[drawn, k])
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--large", type=int, default=100_000)
    options = parser.parse_args()
    given = data(options.records)
    seconds = min(ours(*given)[0] for _ in range(3))
    looped = plain_loop(*given, LOOPED) * RESAMPLES / LOOPED
    size = f"{RESAMPLES} resamples x {CLASSES} classes x {options.records} records"
    print(f"{size}: {seconds:.2f} s; a scikit-learn loop "
          f"{looped:.1f} s (from {LOOPED} resamples), {looped / seconds:.0f} times as long")  # fmt: skip
    if options.large:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        seconds, _ = ours(*data(options.large))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(f"{options.large} records: {seconds:.1f} s, peak memory {peak:.2f} GiB (before: {before:.2f})")


if __name__ == "__main__":
    main()
