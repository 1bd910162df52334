"""Batch: what a model sees; metadata as numbers; the batches of training and of inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgprism.corpus import Corpus, Examples
from ecgprism.errors import ConfigError, nearest


@dataclass(frozen=True)
class Batch:
    """One batch: signal float32 (B, L, T) in mV, everything in it by row.

    `length` int64 (B,) counts the valid samples, None when every row is full; `lead_mask` bool (B, L); `metadata`
    float32 (B, M) with NaN for missing, categories as their number; `target` float32 (B, K); `index` int64 (B,) is the
    item's position among the examples.
    """

    signal: Tensor
    length: Tensor | None
    lead_mask: Tensor
    metadata: Tensor
    target: Tensor | None = None
    index: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        moved = {key: value.to(device) for key, value in vars(self).items() if value is not None}
        return replace(self, **moved)


@dataclass(frozen=True)
class Column:
    """A metadata column: numeric (standardised by `mean` and `std`) or categorical (one of `categories`)."""

    name: str
    categories: tuple[str, ...] | None = None
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class MetadataSchema:
    """The metadata columns a model knows, with statistics and vocabularies from its training split alone."""

    columns: tuple[Column, ...] = ()

    @classmethod
    def fit(cls, table: pd.DataFrame, kinds: Mapping[str, str]) -> MetadataSchema:
        """Learn mean and standard deviation, or the categories, of every column of the training items."""
        columns = []
        for name, kind in kinds.items():
            given = table[name].dropna()
            if kind == "categorical":
                columns.append(Column(name, categories=tuple(sorted({str(value) for value in given}))))
            elif len(given):
                mean, std = float(given.mean()), float(given.std(ddof=0))
                varies = std > 1e-9 * max(abs(mean), 1.0)  # the deviation of equal numbers is rounding noise
                columns.append(Column(name, mean=mean, std=std if varies else 1.0))
            else:
                columns.append(Column(name))
        return cls(tuple(columns))

    def encode(self, rows: pd.DataFrame | Mapping[str, Sequence[Any]], n: int) -> NDArray[np.float32]:
        """Return float32 (N, M): numbers, the number of a category, NaN for missing or for an unseen category."""
        out = np.full((n, len(self.columns)), np.nan, dtype=np.float32)
        for m, column in enumerate(self.columns):
            if column.name not in rows:
                continue
            values = pd.Series(rows[column.name])
            if column.categories is None:
                out[:, m] = pd.to_numeric(values, errors="coerce").to_numpy(np.float32, na_value=np.nan)
            else:
                number = {category: float(k) for k, category in enumerate(column.categories)}
                out[:, m] = [number.get(str(v), np.nan) if pd.notna(v) else np.nan for v in values]
        return out

    def subset(self, names: Sequence[str] | None, where: str) -> list[int]:
        """Return the positions of columns by name (all when None). Raises ConfigError with the nearest name."""
        known = [column.name for column in self.columns]
        for name in names or ():
            if name not in known:
                raise ConfigError(f"{where}: no metadata column {name!r}{nearest(name, known)}")
        return [known.index(name) for name in (known if names is None else names)]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the columns as plain data."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> MetadataSchema:
        """Build from plain data."""
        return cls(
            tuple(
                Column(c["name"], None if c["categories"] is None else tuple(c["categories"]), c["mean"], c["std"])
                for c in columns
            )
        )


@dataclass(frozen=True)
class InputSpec:
    """What every view is computed from: leads, rate (Hz), window (samples) and metadata columns."""

    leads: tuple[str, ...]
    rate_hz: float
    window: int
    metadata: MetadataSchema = MetadataSchema()


class Assembler(Protocol):
    """Makes batches of windows of items; `lengths` (N,) are the items' whole lengths in samples."""

    lengths: NDArray[np.int64]

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """Return windows of items; `starts` and `lengths` in samples, counted from the item's own start."""
        ...


class CorpusAssembler:
    """Makes batches of a corpus's examples for a model's input specification."""

    def __init__(self, corpus: Corpus, examples: Examples, spec: InputSpec) -> None:
        """Encode targets and metadata once; signals stay on disk."""
        self.corpus, self.examples, self.spec = corpus, examples, spec
        self.lengths = examples.length
        self.target = torch.from_numpy(examples.target.astype(np.float32))
        self.metadata = torch.from_numpy(spec.metadata.encode(corpus.metadata_of(examples), len(examples)))

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """Return windows of items; `starts` and `lengths` in samples, counted from the item's own start."""
        at = self.examples.start[items] + starts
        signal, lead_mask = self.corpus.windows(self.examples.record[items], at, lengths, self.spec.leads)
        full = bool((lengths == signal.shape[2]).all())
        index = torch.from_numpy(items)
        return Batch(
            signal=torch.from_numpy(signal),
            length=None if full else torch.from_numpy(lengths),
            lead_mask=torch.from_numpy(lead_mask),
            metadata=self.metadata[index],
            target=self.target[index],
            index=index,
        )


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
        self.metadata = torch.from_numpy(spec.metadata.encode(table, len(signals)))
        self.signals, self.recorded = [], []
        for signal, held in zip(signals, leads, strict=True):
            rows = np.full((len(spec.leads), signal.shape[1]), np.nan, dtype=np.float32)
            for row, lead in enumerate(spec.leads):
                if lead in held:
                    rows[row] = signal[list(held).index(lead)]
            self.signals.append(np.nan_to_num(rows))
            self.recorded.append(~np.isnan(rows))

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """Return windows of the signals."""
        width = int(lengths.max())
        signal = np.zeros((len(items), len(self.spec.leads), width), dtype=np.float32)
        lead_mask = np.zeros(signal.shape[:2], dtype=bool)
        for b, (item, start, length) in enumerate(zip(items, starts, lengths, strict=True)):
            part = slice(start, start + length)
            signal[b, :, :length] = self.signals[item][:, part]
            lead_mask[b] = self.recorded[item][:, part].any(axis=1)
        full = bool((lengths == width).all())
        return Batch(
            signal=torch.from_numpy(signal),
            length=None if full else torch.from_numpy(lengths),
            lead_mask=torch.from_numpy(lead_mask),
            metadata=self.metadata[torch.from_numpy(items)],
        )


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
            yield self.assembler.batch(items, starts, lengths)


@dataclass(frozen=True)
class Windows:
    """Overlapping windows that cover every item whole: item, start and length (samples), sorted by length."""

    item: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def cover(cls, lengths: NDArray[np.int64], window: int) -> Windows:
        """Cover items of these lengths: windows overlap by half, the last one ends with the item."""
        item, start, length = [], [], []
        for i, n in enumerate(lengths):
            last = max(int(n) - window, 0)
            starts = sorted({*range(0, last, max(window // 2, 1)), last})
            item += [i] * len(starts)
            start += starts
            length += [min(int(n), window)] * len(starts)
        order = np.argsort(length, kind="stable")
        return cls(*(np.asarray(values, dtype=np.int64)[order] for values in (item, start, length)))

    def batches(self, size: int) -> Iterator[slice]:
        """Yield slices of at most `size` windows."""
        for first in range(0, len(self.item), size):
            yield slice(first, first + size)
