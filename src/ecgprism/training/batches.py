"""The batches of training: shuffled random crops of like length, the same ones for the same seed, epoch and step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ecgprism.interface.inputs import Assembler
from ecgprism.model.batch import Batch

CROP_WIDTHS = 4
GRAINS = 64  # of the window: few distinct widths, for kernels are prepared once per shape
JITTER = 0.05  # of a length, so that records meet other ones in every epoch


class TrainingBatches:
    """One epoch after another of shuffled random crops; order and crops depend on (seed, epoch, step) alone.

    A record longer than the window is cropped at a random place; `crop` gives the least share of the window, or of a
    shorter record, that is kept (1.0: all of it). Records shorter than the window come in batches of their like, and
    are cropped to one length where `crop` lets them: without padding a step takes two thirds of the time.
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
        rng = np.random.default_rng([self.seed, self.epoch])
        held = np.minimum(self.assembler.lengths, self.window)
        place = np.where(held < self.window, held * (1 + JITTER * rng.uniform(-1, 1, len(held))), 2.0 * self.window)
        order = np.lexsort((rng.permutation(len(held)), place))
        parts = np.array_split(order, self.steps)
        for step, part in enumerate(rng.permutation(self.steps)):
            items = parts[part]
            rng_of_step = np.random.default_rng([self.seed, self.epoch, step])
            lengths = self._lengths(held[items], rng_of_step.choice(np.linspace(self.crop, 1.0, CROP_WIDTHS)))
            starts = rng_of_step.integers(0, self.assembler.lengths[items] - lengths + 1)
            yield Batch.of(self.assembler.batch(items, starts, lengths))

    def _lengths(self, held: NDArray[np.int64], share: float) -> NDArray[np.int64]:
        """Return how many samples of each record (B,) are kept: the same of all where the shortest is long enough."""
        longest, shortest = int(held.max()), int(held.min())
        width = round(longest * share)
        if shortest < round(longest * self.crop):
            return np.minimum(held, width)
        grain = max(self.window // GRAINS, 1)
        least = min(round(longest * self.crop), shortest)
        width = min(width, shortest)
        return np.full(len(held), max(width // grain * grain, least) if self.crop < 1 else width)
