"""The state of a training: all that a resumed one needs, in one place and in one file."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ecgprism.errors import EcgprismError, one_line
from ecgprism.files import atomic
from ecgprism.training.folder import HISTORY, LAST

DIGEST = hashlib.sha256().digest_size


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
        content = io.BytesIO()
        torch.save({each.name: getattr(self, each.name) for each in fields(self)}, content)
        with atomic(folder / LAST) as path:
            path.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        with atomic(folder / HISTORY) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.history[0]))
            writer.writeheader()
            writer.writerows(self.history)

    @classmethod
    def load(cls, folder: Path) -> TrainingState:
        """Read the state of the last whole epoch. Raises EcgprismError for a file in which any bit has changed."""
        file = folder / LAST
        held = file.read_bytes()
        digest, content = held[:DIGEST], held[DIGEST:]  # torch checks no sums of its own
        if hashlib.sha256(content).digest() != digest:
            raise EcgprismError(
                f"{file}: damaged (its checksum is another one); train again (--overwrite, overwrite=True)"
            )
        try:
            return cls(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises whatever a file of another version leads to
            raise EcgprismError(
                f"{file}: cannot be read ({one_line(error)}); train again (--overwrite, overwrite=True)"
            ) from None
