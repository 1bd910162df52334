"""Where the log of a training goes: Lightning's own loggers, all of them offline unless their own settings say so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ecgprism.errors import ConfigError
from ecgprism.extras import EXTRAS, is_there, needs
from ecgprism.training.folder import CSV, MLFLOW, TENSORBOARD


def check_loggers(names: Sequence[str]) -> None:
    """Raise ConfigError for a logger whose library is not installed."""
    for name in names:
        if name in EXTRAS and not is_there(name):
            raise ConfigError(needs(f"train.loggers: {name}", name))


def made_loggers(names: Sequence[str], out: Path) -> list[Logger]:
    """Return the loggers of a run in its folder."""
    made: list[Logger] = []
    for name in dict.fromkeys(names):
        if name == "tensorboard":
            made.append(TensorBoardLogger(out, name="", version=TENSORBOARD))
        elif name == "csv":
            made.append(CSVLogger(out, name="", version=CSV))
        elif name == "mlflow":
            made.append(_mlflow(out))
        else:
            offline = "WANDB_API_KEY" not in os.environ
            made.append(WandbLogger(project="ecgprism", name=out.name, save_dir=out, offline=offline))
    return made


def _mlflow(out: Path) -> Logger:
    """Return MLflow's logger: of the server in MLFLOW_TRACKING_URI, else of a database in the run's folder."""
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if server is not None:
        return MLFlowLogger(experiment_name="ecgprism", run_name=out.name, tracking_uri=server)
    folder = (out / MLFLOW).resolve()
    folder.mkdir(exist_ok=True)
    return MLFlowLogger(
        experiment_name="ecgprism",
        run_name=out.name,
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifact_location=folder.as_uri(),
    )
