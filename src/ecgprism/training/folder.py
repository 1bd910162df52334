"""The run folder: what a training, its evaluation and its stress test write, by name."""

from __future__ import annotations

from ecgprism.interface.storage import MODEL, PLUGINS, SIDECAR

__all__ = [
    "CONFIG", "HISTORY", "LAST", "METRICS", "MODEL", "PLUGINS", "PREDICTIONS", "RUN", "SIDECAR", "STRESS",
    "TENSORBOARD", "VALIDATION",
]  # fmt: skip

CONFIG = "config.yaml"  # the configuration, defaults filled in
LAST = "last.ckpt"  # all that a resumed training needs, after the last whole epoch
HISTORY = "history.csv"  # one line an epoch
RUN = "run.json"  # fingerprint of the data, versions, what the training cost
TENSORBOARD = "tensorboard"
METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"  # of the last evaluation
VALIDATION = "validation.parquet"  # predictions on validation, in an ablation
STRESS = "stress.json"
