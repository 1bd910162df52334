"""Paired, patient-clustered bootstrap of the difference between two evaluated runs on the same test records.

python bench/paired.py RUN_A RUN_B [--metric cinc2017_f1]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from ecgprism import metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    tables = [pd.read_parquet(run / "predictions.parquet") for run in (options.a, options.b)]
    reports = [json.loads((run / "metrics.json").read_text()) for run in (options.a, options.b)]
    if tables[0]["record_id"].tolist() != tables[1]["record_id"].tolist():
        raise SystemExit("error: the two runs were evaluated on different records")
    classes = list(reports[0]["per_class"])
    target = tables[0][[f"target_{name}" for name in classes]].to_numpy(bool)
    scores = [table[[f"p_{name}" for name in classes]].to_numpy() for table in tables]
    kind = "multiclass" if "confusion" in reports[0] else "multilabel"
    decided = [
        metrics.decide(score, kind, np.asarray(report["thresholds"]) if report["thresholds"] else 0.5)
        for score, report in zip(scores, reports, strict=True)
    ]
    patients = tables[0]["patient_id"].where(tables[0]["patient_id"].notna(), tables[0]["record_id"])

    def difference(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        f1 = [metrics.rates(target, each, weights).f1 for each in decided]
        auc = [metrics.macro(metrics.auroc(target, score, weights)) for score in scores]
        out = {"macro_auroc": auc[1] - auc[0], "macro_f1": metrics.macro(f1[1]) - metrics.macro(f1[0])}
        if {"N", "A", "O"} <= set(classes):
            scored = [metrics.cinc2017_f1(each, tuple(classes)) for each in f1]
            out["cinc2017_f1"] = scored[1] - scored[0]
        return out

    found = metrics.bootstrap(difference, pd.factorize(patients)[0], options.resamples)
    for name, interval in found.items():
        print(
            f"{name}: {options.b.name} - {options.a.name} = {float(interval.value):+.4f} "
            f"(95% {float(interval.low):+.4f} to {float(interval.high):+.4f})"
        )


if __name__ == "__main__":
    main()
