"""Inputs: windows of recordings as the arrays that every engine takes.

Axis legend: B batch, L leads, T samples, K classes, M metadata columns, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.conditioning import filled
from ecgprism.interface.card import InputSpec


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a model sees of a batch: signal float32 (B, L, T) in mV, everything in it by row.

    `length` int64 (B,) counts the valid samples, None when every row is full; `lead_mask` bool (B, L); `metadata`
    float32 (B, M) with NaN for missing, categories as their number; `target` float32 (B, K) and `index` int64 (B,), the
    item's position among the examples, where they are known.
    """

    signal: NDArray[np.float32]
    length: NDArray[np.int64] | None
    lead_mask: NDArray[np.bool_]
    metadata: NDArray[np.float32]
    target: NDArray[np.float32] | None = None
    index: NDArray[np.int64] | None = None


class Assembler(Protocol):
    """Makes batches of windows of items; `lengths` (N,) are the items' whole lengths in samples."""

    lengths: NDArray[np.int64]

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Arrays:
        """Return windows of items; `starts` and `lengths` in samples, counted from the item's own start."""
        ...


class SignalAssembler:
    """Makes batches of signals in memory, at the model's rate: recordings that no corpus holds."""

    def __init__(
        self,
        signals: Sequence[NDArray[np.float32]],
        leads: Sequence[Sequence[str]],
        metadata: Sequence[Mapping[str, Any]],
        spec: InputSpec,
    ) -> None:
        """Take signals (L, T) in mV with NaN for not recorded, each with its leads and metadata."""
        self.spec = spec
        self.lengths = np.array([signal.shape[1] for signal in signals], dtype=np.int64)
        names = [column.name for column in spec.metadata.columns]
        table = {name: [row.get(name) for row in metadata] for name in names}
        self.metadata = spec.metadata.encode(table, len(signals))
        self.signals = []
        for signal, held in zip(signals, leads, strict=True):
            rows = np.full((len(spec.leads), signal.shape[1]), np.nan, dtype=np.float32)
            for row, lead in enumerate(spec.leads):
                if lead in held:
                    rows[row] = signal[list(held).index(lead)]
            self.signals.append(rows)

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Arrays:
        """Return windows of the signals; a gap in a lead holds the mean of what its window has of that lead."""
        width = int(lengths.max())
        signal = np.zeros((len(items), len(self.spec.leads), width), dtype=np.float32)
        lead_mask = np.zeros(signal.shape[:2], dtype=bool)
        for b, (item, start, length) in enumerate(zip(items, starts, lengths, strict=True)):
            part = self.signals[item][:, start : start + length]
            signal[b, :, :length] = filled(part)
            lead_mask[b] = ~np.isnan(part).all(axis=1)
        full = bool((lengths == width).all())
        return Arrays(
            signal=signal,
            length=None if full else lengths,
            lead_mask=lead_mask,
            metadata=self.metadata[items],
        )


@dataclass(frozen=True)
class Windows:
    """Overlapping windows that cover every item whole: item, start and length (samples), sorted by length."""

    item: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def cover(cls, lengths: NDArray[np.int64], window: int) -> Windows:
        """Cover items of these lengths: evenly spaced windows that overlap by at least half, from begin to end."""
        lengths = np.asarray(lengths, dtype=np.int64)
        last = np.maximum(lengths - window, 0)  # where the last window starts
        count = -(-last // max(window // 2, 1)) + 1
        item = np.repeat(np.arange(len(lengths)), count)
        number = np.arange(len(item)) - np.repeat(np.cumsum(count) - count, count)
        start = number * last[item] // np.maximum(count[item] - 1, 1)
        length = np.minimum(lengths, window)[item]
        order = np.argsort(length, kind="stable")
        return cls(item[order], start[order], length[order])

    def batches(self, size: int) -> Iterator[slice]:
        """Yield slices of at most `size` windows."""
        for first in range(0, len(self.item), size):
            yield slice(first, first + size)
