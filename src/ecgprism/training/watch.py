"""What a training tells while it runs, and what its user should know."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ecgprism.errors import listed, warn
from ecgprism.interface.answers import NO_CHOICE
from ecgprism.metrics.calibration import LEAST_POSITIVES, enough_positives
from ecgprism.training.preparation import Preparation

NAMED = 30  # classes in a note
OVERFIT_EPOCHS = 3  # this many epochs of rising validation loss under falling training loss are overfitting


class Watch:
    """What a training tells while it runs; this one is silent."""

    def teacher(self, done: int, total: int) -> None:
        """Called after every teacher of a distillation, before anything else."""

    def start(self, prepared: Preparation, seconds_per_epoch: float, first_epoch: int) -> None:
        """Called before the first step with the expected duration of an epoch."""

    def step(self, epoch: int, step: int, steps: int, records: int, loss: float) -> None:
        """Called after every step."""

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Called after every epoch with its line of the history."""

    def note(self, message: str) -> None:
        """Called with what the user should know (overfitting, early stop, classes missing in validation)."""


class WarningWatch(Watch):
    """Tells a Python caller what should be known as a warning, and else nothing."""

    def note(self, message: str) -> None:
        """Warn."""
        warn(message)


class LineWatch(WarningWatch):
    """Tells a notebook besides what begins, and prints a line per epoch."""

    def __init__(self) -> None:
        """Nothing is told before `start`."""
        self.epochs = 0

    def start(self, prepared: Preparation, seconds_per_epoch: float, first_epoch: int) -> None:
        """Print what is trained, and how long that may take."""
        self.epochs = prepared.config.train.epochs
        counts = ", ".join(f"{len(examples)} {split}" for split, examples in prepared.examples.items())
        left = self.epochs - first_epoch
        print(
            f"{prepared.corpus.path}: {counts}; views {', '.join(prepared.model.branches)}; {left} epochs, about "
            f"{duration(left * seconds_per_epoch)}",
            flush=True,
        )

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Print the epoch's line."""
        print(
            f"epoch {int(row['epoch'])}/{self.epochs}  loss {row['train_loss']:.3f}  val loss {row['val_loss']:.3f}  "
            f"AUROC {row['val_macro_auroc']:.4f}  F1 {row['val_macro_f1']:.3f}{'  best' * improved}",
            flush=True,
        )


def usual_watch() -> Watch:
    """Return the watch of who names none: lines in a notebook, warnings everywhere."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return WarningWatch() if getattr(shell, "kernel", None) is None else LineWatch()


def duration(seconds: float) -> str:
    """Return for example `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def absent_classes(classes: Sequence[str], target: NDArray[np.bool_]) -> str | None:
    """Return a note on the classes that validation (N, K) lacks."""
    absent = [name for name, n in zip(classes, target.sum(axis=0), strict=True) if n == 0]
    return f"validation has no {listed(absent, NAMED)}: its macro metrics leave them out" if absent else None


def few_positives(classes: Sequence[str], target: NDArray[np.bool_]) -> str | None:
    """Return a note on the classes of which validation (N, K) has too few to choose a threshold from."""
    few = [
        f"{name} ({n})"
        for name, n, enough in zip(classes, target.sum(axis=0), enough_positives(target), strict=True)
        if not enough
    ]
    if not few:
        return None
    return f"thresholds are {NO_CHOICE} for {listed(few, NAMED)}: fewer than {LEAST_POSITIVES} positives in validation"


def overfitting(history: Sequence[Mapping[str, float]], best_epoch: int) -> str | None:
    """Return a note when validation loss rose for some epochs while training loss fell."""
    recent = history[-OVERFIT_EPOCHS - 1 :]
    rising = all(b["val_loss"] > a["val_loss"] for a, b in pairwise(recent))
    falling = recent[-1]["train_loss"] < recent[0]["train_loss"]
    if len(recent) <= OVERFIT_EPOCHS or not (rising and falling):
        return None
    return (
        f"overfitting: validation loss rose for {OVERFIT_EPOCHS} epochs ({recent[0]['val_loss']:.3f} -> "
        f"{recent[-1]['val_loss']:.3f}) while training loss fell ({recent[0]['train_loss']:.3f} -> "
        f"{recent[-1]['train_loss']:.3f}); the checkpoint of epoch {best_epoch} is kept"
    )
