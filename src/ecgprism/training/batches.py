"""The batches of training: shuffled random crops, the same ones for the same seed, epoch and step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecgprism.interface.inputs import Assembler
from ecgprism.model.batch import Batch

CROP_WIDTHS = 4


class TrainingBatches:
    """One epoch after another of shuffled random crops; order and crops depend on (seed, epoch, step) alone.

    A record longer than the window is cropped at a random place; `crop` gives the least share of the window that a
    batch keeps (1.0: the whole window).
    """

    def __init__(self, assembler: Assembler, window: int, batch_size: int, seed: int, crop: float = 1.0) -> None:
        """Start at epoch 0; `epoch` may be set. `window` in samples."""
        self.assembler, self.window, self.seed, self.crop, self.epoch = assembler, window, seed, crop, 0
        self.steps = -(-len(assembler.lengths) // batch_size)

    def __len__(self) -> int:
        """Return the number of steps of an epoch."""
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch; their sizes differ by at most one."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.assembler.lengths))
        for step, items in enumerate(np.array_split(order, self.steps)):
            rng = np.random.default_rng([self.seed, self.epoch, step])
            # few distinct widths: kernels are prepared once per shape, and memory stays in a few sizes
            share = rng.choice(np.linspace(self.crop, 1.0, CROP_WIDTHS))
            window = round(self.window * share)
            whole = self.assembler.lengths[items]
            lengths = np.minimum(whole, window)
            starts = rng.integers(0, whole - lengths + 1)
            yield Batch.of(self.assembler.batch(items, starts, lengths))
