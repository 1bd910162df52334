"""The state of a training: all that a resumed one needs, in one place and in one file."""

from __future__ import annotations

import csv
import math
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ecgprism.errors import EcgprismError, one_line
from ecgprism.files import atomic
from ecgprism.training.folder import HISTORY, LAST


@dataclass
class TrainingState:
    """Everything that resumes, after a whole epoch; `weights` has state dicts: model, averaged, optimizer, schedule.

    Every random choice of a step comes from (seed, epoch, step): there is no generator state.
    """

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    stopped: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the state, then the history for people; what a resumed run reads is one file."""
        with atomic(folder / LAST) as path:
            torch.save({each.name: getattr(self, each.name) for each in fields(self)}, path)
        with atomic(folder / HISTORY) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.history[0]))
            writer.writeheader()
            writer.writerows(self.history)

    @classmethod
    def load(cls, folder: Path) -> TrainingState:
        """Read the state of the last whole epoch. Raises EcgprismError for a file in which any bit has changed."""
        file = folder / LAST
        try:
            with zipfile.ZipFile(file) as archive:  # torch itself does not check the sums of its archive
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"checksum of {damaged}")
            return cls(**torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:  # zipfile and torch raise whatever the damage leads to
            raise EcgprismError(f"{file}: damaged ({one_line(error)}); train again with --overwrite") from None
