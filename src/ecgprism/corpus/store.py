"""Corpus: the on-disk store of a data set, memory-mapped; what ingest wrote, training and evaluation read."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecgprism.corpus import splits, tables
from ecgprism.corpus.meta import META, SIGNALS, read_meta
from ecgprism.corpus.overview import line_of, page_of
from ecgprism.corpus.signals import Signals
from ecgprism.corpus.splits import NO_SPLIT, SPLITS
from ecgprism.corpus.tables import ITEM_METADATA_PREFIX, LABELS_PREFIX, METADATA_PREFIX, QUALITY_PREFIX
from ecgprism.ecg.quality import FLAGS
from ecgprism.errors import EcgprismError, nearest, one_line
from ecgprism.files import PARTIAL
from ecgprism.interface.card import Task, is_multiclass

LONGEST_LINE = 300


@dataclass(frozen=True)
class Examples:
    """What one task classifies in one split, as aligned arrays (N items).

    `item` row in the item table, `record` in the record table, `start` and `length` samples, `target` bool (N, K),
    `cluster` the patient's number; `left_out` counts the items of the split that were not selected.
    """

    item: NDArray[np.int64]
    record: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    target: NDArray[np.bool_]
    cluster: NDArray[np.int64]
    left_out: int

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.record)

    def first(self, n: int) -> Examples:
        """Return the first `n` items."""
        return self.at(np.arange(min(n, len(self))))

    def at(self, items: NDArray[np.int64]) -> Examples:
        """Return these items, in this order."""
        arrays: dict[str, Any] = {
            name: value[items] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return replace(self, **arrays)


class Corpus:
    """A corpus folder, opened for reading; `meta` is what its corpus.json says.

    Its tables have one row per recording (`records`) and one per thing classified (`items`); signals are int16 on disk,
    per lead with a scale and a zero (mV = value * scale + zero). Tables are checked when it is opened, the signals of a
    record when they are first used: damage is an EcgprismError.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the folder. Raises EcgprismError when it is no whole corpus."""
        self.path = Path(path)
        if not (self.path / META).is_file():
            partial = self.path.with_name(self.path.name + PARTIAL)
            hint = "; its ingest was not finished: run it again to continue" if partial.is_dir() else ""
            raise EcgprismError(f"{self.path}: no corpus here (make one with `ecgprism ingest`){hint}")
        try:
            self.meta = read_meta(self.path)
            self._records, self._items = tables.read_tables(self.path, self.meta)
            self._signals = Signals(self.path / SIGNALS, self._records)
        except (ValueError, OSError) as error:  # a file that is missing, or that Arrow cannot take
            raise EcgprismError(f"{self.path}: damaged ({one_line(error)}); ingest it again") from None
        self.rate_hz = self.meta.rate_hz
        self.leads = self.meta.leads
        self.tasks = dict(self.meta.tasks)
        self.fingerprint = self.meta.fingerprint

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self._records)

    def __repr__(self) -> str:
        """Return what it holds, in one line."""
        return f"Corpus({one_line(line_of(self.path, self.meta), LONGEST_LINE)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        as_ingested = self.fingerprint == self.meta.fingerprint  # else its splits are others
        return page_of(self.path, self.meta, self.meta.classes if as_ingested else _counts(self))

    @cached_property
    def records(self) -> pd.DataFrame:
        """The record table; a patient that is not known is None."""
        table = self._records.to_pandas()
        table["patient_id"] = table["patient_id"].astype(object).where(table["patient_id"].notna(), None)
        return table

    @cached_property
    def items(self) -> pd.DataFrame:
        """The item table."""
        return self._items.to_pandas()

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """The metadata columns of the record table: float columns (NaN missing) and string columns (None missing)."""
        return _without(METADATA_PREFIX, self._records)

    def metadata_of(self, examples: Examples) -> pd.DataFrame:
        """Return the metadata of items (N rows): that of their records and their own, which goes first."""
        joined = self.metadata.iloc[examples.record].reset_index(drop=True)
        for name, values in _without(ITEM_METADATA_PREFIX, self._items).items():
            own = values.iloc[examples.item].reset_index(drop=True)
            joined[name] = own.where(own.notna(), joined[name]) if name in joined else own
        return joined

    def task(self, name: str | None) -> tuple[str, Task]:
        """Return a task by name, or the only one. Raises EcgprismError with the choices."""
        if name is None:
            if len(self.tasks) > 1:
                raise EcgprismError(f"{self.path}: name one of its tasks with task: {', '.join(self.tasks)}")
            name = next(iter(self.tasks))
        if name not in self.tasks:
            raise EcgprismError(f"{self.path}: no task {name!r}{nearest(name, self.tasks)}")
        return name, self.tasks[name]

    def select(
        self,
        task: str,
        splits: str | Sequence[str] = SPLITS,
        classes: Sequence[str] | None = None,
        *,
        without: Collection[str] = (),
    ) -> Examples:
        """Return the items of one or some splits that have a label of the task; the others are counted.

        `classes` (all of the task by default) chooses and orders the columns of the target. An item whose labels are
        all among the other classes is left out where every item has exactly one class, and a negative of them all where
        any number may hold. `without` names quality flags (`quality.FLAGS` for all): a record with one of them in any
        lead is left out. Raises EcgprismError for a split, a class or a flag that there is not.
        """
        splits = (splits,) if isinstance(splits, str) or splits is None else tuple(splits)
        known = self.task(task)[1]
        names = known.classes if classes is None else classes
        columns = _places(f"{self.path}: task {task} has no class", names, known.classes)
        _places(f"{self.path}: no split", splits, (*SPLITS, NO_SPLIT))
        record = tables.numbers(self._items, "record")
        inside = pc.is_in(self._records["split"], pa.array(splits, pa.string())).to_numpy()[record]
        labels = self._items[LABELS_PREFIX + task].combine_chunks()
        chosen = inside & labels.is_valid().to_numpy(zero_copy_only=False) & ~self._flagged(without)[record]
        held = np.repeat(np.arange(len(chosen)), tables.lengths(self._items, LABELS_PREFIX + task))
        kept = chosen[held]
        item = np.flatnonzero(chosen)
        every = np.zeros((len(item), len(known.classes)), dtype=bool)
        every[(np.cumsum(chosen) - 1)[held[kept]], labels.flatten().to_numpy()[kept]] = True
        target = every[:, columns]
        if is_multiclass(known.kind):
            of_them = target.any(axis=1)
            item, target = item[of_them], target[of_them]
        return Examples(
            item=item,
            record=record[item],
            start=tables.numbers(self._items, "start")[item],
            length=tables.numbers(self._items, "length")[item],
            target=target,
            cluster=tables.numbers(self._records, "cluster")[record[item]],
            left_out=int(inside.sum()) - len(item),
        )

    def _flagged(self, flags: Collection[str]) -> NDArray[np.bool_]:
        """Return bool (records,): which have one of these quality flags in any lead."""
        flagged = np.zeros(len(self._records), dtype=bool)
        _places(f"{self.path}: no quality flag", tuple(flags), FLAGS)
        for flag in flags:
            flagged |= tables.lengths(self._records, QUALITY_PREFIX + flag) > 0
        return flagged

    def folded(self, task: str, fold: str) -> Corpus:
        """Return the same corpus with the splits of part k/n of a cross-validation by patient over a task's items.

        `3/5 of train` is a part of what the corpus's own split trains and validates on, `3/5 of 2/5` of what part 2/5
        does. Records without a label of the task, and those held out before, are in no split. Raises EcgprismError for
        more parts than patients.
        """
        part, _, whole = fold.partition(" of ")
        k, of = map(int, part.split("/"))
        outer = self.folded(task, whole) if whole not in ("", "train") else self
        examples = outer.select(task, ("train", "val") if whole else SPLITS)
        if len(np.unique(examples.cluster)) < 2 * of:
            raise EcgprismError(f"{self.path}: fewer than {2 * of} patients have a label of task {task}: no {of} folds")
        split = np.full(len(self._records), NO_SPLIT, dtype=object)
        record, part_of_record = splits.fold_of_items(examples.record, examples.cluster, examples.target, k, of)
        split[record] = part_of_record
        return self.with_splits(split.tolist())

    def with_splits(self, split: Sequence[str]) -> Corpus:
        """Return the same corpus with another split of its records: train, val, test, or empty for none of them."""
        _places(f"{self.path}: no split", sorted(set(split)), (*SPLITS, NO_SPLIT))
        other = copy.copy(self)
        at = self._records.column_names.index("split")
        other._records = self._records.set_column(at, "split", pa.array(split, pa.string()))
        other.__dict__.pop("records", None)
        other.fingerprint = other.computed_fingerprint()
        return other

    def dataset(self, split: str, **options: Any) -> Any:
        """Return a split as a map-style PyTorch data set; options as of `training.dataset.CorpusDataset`."""
        # by name: a corpus does without PyTorch, and stands above what needs it
        return import_module("ecgprism.training.dataset").CorpusDataset(self, split, **options)

    def refuse_leaks(self) -> None:
        """Raise EcgprismError if one patient, or one waveform at whatever gain, stands in two splits."""
        table = self._records.filter(pc.not_equal(self._records["split"], NO_SPLIT))
        original = pc.coalesce(table["copy_of"], table["record_id"])
        split, record_id, patient_id = (table[name].to_pylist() for name in ("split", "record_id", "patient_id"))
        splits.refuse_leaks(split, record_id, patient_id, original.to_pylist())

    def computed_fingerprint(self) -> str:
        """Return the SHA-256 of all that a model sees, from the tables (`fingerprint` is what corpus.json says)."""
        return tables.fingerprint(self.rate_hz, self.tasks, self._records, self._items)

    def check(self) -> None:
        """Check every byte that opening did not. Raises EcgprismError that names what is damaged."""
        for record in range(len(self._records)):
            self._signals.digital(record)
        if pc.count_distinct(self._records["record_id"]).as_py() < len(self._records):
            raise EcgprismError(f"{self.path}: damaged (a record id stands twice); ingest it again")
        if self.computed_fingerprint() != self.meta.fingerprint:
            raise EcgprismError(f"{self.path}: damaged (the fingerprint does not fit); ingest it again")

    def leads_of(self, record: int) -> tuple[str, ...]:
        """Return the leads of a record, in the order of its signal."""
        return self._signals.leads(record)

    def digital(self, record: int) -> NDArray[np.int16]:
        """Return the stored samples of a record, int16 (L, T), without copying."""
        return self._signals.digital(record)

    def signal(self, record: int) -> NDArray[np.float32]:
        """Return a record's signal (L, T) in mV, NaN where not recorded."""
        return self._signals.signal(record)

    def windows(
        self, records: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64], leads: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return signal float32 (B, L, T) in mV with T the longest window, and the lead mask bool (B, L).

        Rows follow `leads`. A gap in a lead holds the mean of what the window has of that lead; a lead that a record
        does not have, and padding, are 0.
        """
        return self._signals.windows(records, starts, lengths, leads)


def _counts(corpus: Corpus) -> dict[str, dict[str, dict[str, int]]]:
    """Return the items of a corpus by task, class and split."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, task in corpus.tasks.items():
        by_split = {split: corpus.select(name, split).target.sum(axis=0).tolist() for split in SPLITS}
        found[name] = {c: {split: n[k] for split, n in by_split.items()} for k, c in enumerate(task.classes)}
    return found


def _places(where: str, names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the positions of names. Raises EcgprismError with the nearest one, and for one that stands twice."""
    if isinstance(names, str):
        raise EcgprismError(f"{where}s {names!r}: expected a list of names")
    names = list(names)
    if len(set(names)) < len(names):
        raise EcgprismError(f"{where} {max(names, key=names.count)!r} twice: each stands once")
    for name in names:
        if name not in known:
            raise EcgprismError(f"{where} {name!r}{nearest(str(name), known)}")
    return [known.index(name) for name in names]


def _without(prefix: str, table: pa.Table) -> pd.DataFrame:
    """Return the columns whose names begin with the prefix, by the rest of their names."""
    names = [name for name in table.column_names if name.startswith(prefix)]
    columns = table.select(names)
    return columns.rename_columns([name.removeprefix(prefix) for name in names]).to_pandas()
