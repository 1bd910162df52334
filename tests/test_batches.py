"""Batches of training: every item once an epoch, of like length, seldom padded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ecgprism.interface.inputs import Arrays
from ecgprism.model.batch import Batch
from ecgprism.training.batches import TrainingBatches

WINDOW = 3000


class Ruler:
    """An assembler whose signals count from the beginning of their item."""

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self.lengths = lengths

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Arrays:
        assert (starts >= 0).all()
        assert (starts + lengths <= self.lengths[items]).all()
        width = int(lengths.max())
        signal = np.zeros((len(items), 1, width), dtype=np.float32)
        for row, start, length in zip(signal, starts, lengths, strict=True):
            row[0, :length] = np.arange(start, start + length)
        full = bool((lengths == width).all())
        mask, metadata = np.ones((len(items), 1), bool), np.zeros((len(items), 0), np.float32)
        return Arrays(signal, None if full else lengths, mask, metadata, index=items)


def lengths_of_cinc(n: int = 1000) -> NDArray[np.int64]:
    """Return lengths as handheld recordings have them: most at least the window, some down to 9 s."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(n) < 0.75, rng.integers(3000, 6100, n), rng.integers(900, 3000, n))


def epochs_of(batches: TrainingBatches, number: int) -> list[list[Batch]]:
    found = []
    for epoch in range(number):
        batches.epoch = epoch
        found.append(list(batches))
    return found


@pytest.mark.parametrize("crop", [0.8, 1.0])
def test_every_item_comes_once_an_epoch_with_other_mates_in_the_next(crop: float) -> None:
    first, second = epochs_of(TrainingBatches(Ruler(lengths_of_cinc()), WINDOW, 32, 7, crop), 2)
    mates = []
    for batches in (first, second):
        items = torch.cat([batch.index for batch in batches if batch.index is not None])
        assert sorted(items.tolist()) == list(range(1000))
        assert len({len(batch.signal) for batch in batches}) <= 2
        mates.append({tuple(sorted(batch.index.tolist())) for batch in batches if batch.index is not None})
    assert not mates[0] & mates[1]


def test_padding_is_rare_where_cropping_is_allowed_and_never_crops_more_than_that() -> None:
    lengths = lengths_of_cinc()
    (batches,) = epochs_of(TrainingBatches(Ruler(lengths), WINDOW, 32, 7, crop=0.8), 1)
    assert sum(batch.length is not None for batch in batches) <= 4
    assert len({batch.signal.shape[2] for batch in batches}) < 25
    for batch in batches:
        assert batch.index is not None
        held = np.minimum(lengths[batch.index.numpy()], WINDOW)
        kept = np.full(len(held), batch.signal.shape[2]) if batch.length is None else batch.length.numpy()
        assert (kept <= held).all()
        assert (kept >= 0.8 * held - 1).all()


def test_nothing_is_cropped_but_to_the_window_without_crop() -> None:
    lengths = lengths_of_cinc()
    (batches,) = epochs_of(TrainingBatches(Ruler(lengths), WINDOW, 32, 7), 1)
    for batch in batches:
        assert batch.index is not None
        held = np.minimum(lengths[batch.index.numpy()], WINDOW)
        kept = np.full(len(held), batch.signal.shape[2]) if batch.length is None else batch.length.numpy()
        assert (kept == held).all()


def test_the_same_seed_and_epoch_give_the_same_batches_and_another_seed_others() -> None:
    a, b, c = (epochs_of(TrainingBatches(Ruler(lengths_of_cinc()), WINDOW, 32, seed, 0.8), 1)[0] for seed in (1, 1, 2))
    assert all(torch.equal(x.signal, y.signal) for x, y in zip(a, b, strict=True))
    assert not all(
        torch.equal(x.signal, y.signal) for x, y in zip(a, c, strict=True) if x.signal.shape == y.signal.shape
    )
