"""Corpus: the on-disk store of a data set, memory-mapped; what ingest wrote, training and evaluation read."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecgprism.corpus import splits
from ecgprism.corpus.quantisation import NOT_RECORDED
from ecgprism.corpus.splits import SPLITS
from ecgprism.ecg.quality import FLAGS
from ecgprism.errors import EcgprismError, nearest
from ecgprism.interface.card import Task

FORMAT_VERSION = 1
NO_SPLIT = ""
SIGNALS, RECORDS, ITEMS, META, REJECTED = (
    "signals.i16", "records.parquet", "items.parquet", "corpus.json", "rejected.csv",
)  # fmt: skip
METADATA_PREFIX, LABELS_PREFIX, ITEM_METADATA_PREFIX, QUALITY_PREFIX = "meta.", "labels.", "metadata.", "quality_"
ROW_GROUP = 10_000


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
    """A corpus folder, opened for reading.

    `records` has one row per recording, `items` one per thing classified; signals are int16 on disk, per lead with a
    scale and a zero (mV = value * scale + zero), -32768 where nothing was recorded.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the folder. Raises EcgprismError when it is no whole corpus."""
        self.path = Path(path)
        if not (self.path / META).is_file():
            partial = self.path.with_name(self.path.name + ".partial")
            hint = "; its ingest was not finished: run it again to continue" if partial.is_dir() else ""
            raise EcgprismError(f"{self.path}: no corpus here (make one with `ecgprism ingest`){hint}")
        try:
            self._open()
        except (ValueError, KeyError, OSError) as error:  # damaged JSON or Parquet, a table that is missing
            raise EcgprismError(f"{self.path}: damaged ({' '.join(str(error).split())}); ingest it again") from None

    def _open(self) -> None:
        self.meta: dict[str, Any] = json.loads((self.path / META).read_text())
        if self.meta["format"] != FORMAT_VERSION:
            raise EcgprismError(f"{self.path}: corpus format {self.meta['format']}, expected {FORMAT_VERSION}")
        self.rate_hz: float = self.meta["rate_hz"]
        self.leads: tuple[str, ...] = tuple(self.meta["leads"])
        self.tasks = {name: Task(t["kind"], tuple(t["classes"])) for name, t in self.meta["tasks"].items()}
        self.records = pd.read_parquet(self.path / RECORDS)
        self.records["patient_id"] = (
            self.records["patient_id"].astype(object).where(self.records["patient_id"].notna(), None)
        )
        self.items = pd.read_parquet(self.path / ITEMS)
        size = (self.path / SIGNALS).stat().st_size
        needed = int((self.records["offset"] + self.records["samples"] * self.records["n_leads"]).max()) * 2
        if size != needed:
            raise EcgprismError(f"{self.path / SIGNALS}: holds {size} bytes, the record table needs {needed}")
        self.signals = np.memmap(self.path / SIGNALS, dtype="<i2", mode="r")

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """The metadata columns of the record table: float columns (NaN missing) and string columns (None missing)."""
        return _without(METADATA_PREFIX, self.records)

    def metadata_of(self, examples: Examples) -> pd.DataFrame:
        """Return the metadata of items (N rows): that of their records and their own, which goes first."""
        joined = self.metadata.iloc[examples.record].reset_index(drop=True)
        for name, values in _without(ITEM_METADATA_PREFIX, self.items).items():
            own = values.iloc[examples.item].reset_index(drop=True)
            joined[name] = own.where(own.notna(), joined[name]) if name in joined else own
        return joined

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over waveforms, labels and splits: equal for equal data, whenever and wherever it was ingested."""
        digest = hashlib.sha256(json.dumps([self.rate_hz, self.meta["tasks"]], sort_keys=True).encode())
        labels = [column for column in self.items.columns if column.startswith(LABELS_PREFIX)]
        for row in self.records[["record_id", "waveform", "split"]].itertuples(index=False):
            digest.update("\x00".join(row).encode())
        for row in self.items[["record", "start", "length", *labels]].itertuples(index=False):
            digest.update(repr([None if v is None else np.asarray(v).tolist() for v in row]).encode())
        return digest.hexdigest()

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
        splits: Sequence[str] = SPLITS,
        classes: Sequence[str] | None = None,
        *,
        without: Collection[str] = (),
    ) -> Examples:
        """Return the items of some splits that have a label of the task; the others are counted.

        `classes` (all of the task by default) chooses and orders the columns of the target; an item whose labels are
        all among the other classes is left out as well. `without` names quality flags (`quality.FLAGS` for all): a
        record with one of them in any lead is left out. Raises EcgprismError for a class or a flag that there is not.
        """
        chosen_classes = list(classes or self.tasks[task].classes)
        for name in chosen_classes:
            if name not in self.tasks[task].classes:
                raise EcgprismError(
                    f"{self.path}: task {task} has no class {name!r}{nearest(name, self.tasks[task].classes)}"
                )
        split = self.records["split"].to_numpy()[self.items["record"]]
        inside = np.isin(split, list(splits))
        good = ~self._flagged(without)[self.items["record"]]
        column = self.items[LABELS_PREFIX + task]
        labelled = column.notna().to_numpy()
        chosen = np.flatnonzero(inside & labelled & good)
        every = np.zeros((len(chosen), len(self.tasks[task].classes)), dtype=bool)
        for row, held in enumerate(column.iloc[chosen]):
            every[row, held] = True
        target = every[:, [self.tasks[task].classes.index(name) for name in chosen_classes]]
        other_class_only = every.any(axis=1) & ~target.any(axis=1)
        chosen, target = chosen[~other_class_only], target[~other_class_only]
        rows = self.items.iloc[chosen]
        record = rows["record"].to_numpy(np.int64)
        return Examples(
            item=chosen,
            record=record,
            start=rows["start"].to_numpy(np.int64),
            length=rows["length"].to_numpy(np.int64),
            target=target,
            cluster=self.records["cluster"].to_numpy(np.int64)[record],
            left_out=int(inside.sum()) - len(chosen),
        )

    def _flagged(self, flags: Collection[str]) -> NDArray[np.bool_]:
        """Return bool (records,): which have one of these quality flags in any lead."""
        flagged = np.zeros(len(self.records), dtype=bool)
        for flag in flags:
            if flag not in FLAGS:
                raise EcgprismError(f"{self.path}: no quality flag {flag!r}{nearest(flag, FLAGS)}")
            if QUALITY_PREFIX + flag not in self.records:
                raise EcgprismError(f"{self.path}: made before quality flags were stored; ingest it again")
            flagged |= (self.records[QUALITY_PREFIX + flag] != "").to_numpy(bool)
        return flagged

    def folded(self, task: str, fold: str) -> Corpus:
        """Return the same corpus with the splits of part k/n of a cross-validation by patient over a task's items.

        Records without a label of the task are in no split. Raises EcgprismError for more parts than patients.
        """
        k, of = map(int, fold.split("/"))
        examples = self.select(task)
        if len(np.unique(examples.cluster)) < 2 * of:
            raise EcgprismError(f"{self.path}: fewer than {2 * of} patients have a label of task {task}: no {of} folds")
        record, first = np.unique(examples.record, return_index=True)
        target = np.zeros((len(record), examples.target.shape[1]), dtype=bool)
        np.logical_or.at(target, np.searchsorted(record, examples.record), examples.target)
        cluster = np.unique(examples.cluster[first], return_inverse=True)[1]
        split = np.full(len(self.records), NO_SPLIT, dtype=object)
        split[record] = splits.fold(cluster, target, k, of)
        other = copy.copy(self)
        other.records = self.records.assign(split=split)
        other.__dict__.pop("fingerprint", None)
        return other

    def refuse_leaks(self) -> None:
        """Raise EcgprismError if one patient or one identical waveform stands in two splits."""
        table = self.records[self.records["split"] != NO_SPLIT]
        splits.refuse_leaks(
            table["split"].tolist(),
            table["record_id"].tolist(),
            table["patient_id"].tolist(),
            table["waveform"].tolist(),
        )

    @cached_property
    def _store(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.float32]], list[tuple[str, ...]]]:
        table = self.records
        calibration = [
            np.stack([scale, zero]).astype(np.float32)
            for scale, zero in zip(table["scale"], table["zero"], strict=True)
        ]
        leads = [tuple(text.split("|")) for text in table["leads"]]
        return table["offset"].to_numpy(np.int64), table["samples"].to_numpy(np.int64), calibration, leads

    def digital(self, record: int) -> NDArray[np.int16]:
        """Return the stored samples of a record, int16 (leads of the record, T), without copying."""
        offset, samples, calibration, _ = self._store
        n_leads = calibration[record].shape[1]
        flat = self.signals[offset[record] : offset[record] + n_leads * samples[record]]
        return flat.reshape(n_leads, samples[record])

    def signal(self, record: int) -> NDArray[np.float32]:
        """Return a record's signal (leads of the record, T) in mV, NaN where not recorded."""
        values, (scale, zero) = self.digital(record), self._store[2][record]
        signal = values * scale[:, None] + zero[:, None]
        signal[values == NOT_RECORDED] = np.nan
        return signal

    def windows(
        self, records: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64], leads: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return signal float32 (B, L, T) in mV with T the longest window, and the lead mask bool (B, L).

        Rows follow `leads`; a lead that a record does not have, padding, and what was not recorded are 0.
        """
        _, _, calibrations, leads_of = self._store
        n, width = len(records), int(lengths.max())
        values = np.full((n, len(leads), width), NOT_RECORDED, dtype=np.int16)
        scale = np.zeros((2, n, len(leads), 1), dtype=np.float32)
        rows_of: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
        for b, (record, start, length) in enumerate(zip(records, starts, lengths, strict=True)):
            held = leads_of[record]
            if held not in rows_of:
                at = [(i, held.index(lead)) for i, lead in enumerate(leads) if lead in held]
                rows_of[held] = ([i for i, _ in at], [j for _, j in at])
            to, of = rows_of[held]
            stored = self.digital(record)[:, start : start + length]
            values[b, to, :length] = stored[of]
            scale[:, b, to, 0] = calibrations[record][:, of]
        recorded = values != NOT_RECORDED
        signal = values * scale[0] + scale[1]
        signal *= recorded
        return signal, recorded.any(axis=2)


def write_tables(
    folder: Path,
    records: Iterable[Mapping[str, Any]],
    items: Iterable[Mapping[str, Any]],
    tasks: Iterable[str],
    record_metadata: Mapping[str, bool],
    item_metadata: Mapping[str, bool],
) -> None:
    """Write the tables of records and items from one row each, a group of rows at a time.

    `record_metadata` and `item_metadata` name the metadata columns and say which are numeric.
    """
    text, number, floats = pa.string(), pa.int64(), pa.list_(pa.float32())
    columns = {
        "record_id": text, "patient_id": text, "cluster": number, "split": text, "official_split": text, "path": text,
        "leads": text, "n_leads": number, "samples": number, "offset": number, "scale": floats, "zero": floats,
        "source_rate_hz": pa.float64(), "flat_leads": text, "skipped_channels": text, "waveform": text,
    }  # fmt: skip
    columns |= {QUALITY_PREFIX + flag: text for flag in FLAGS}
    columns |= _metadata_columns(METADATA_PREFIX, record_metadata)
    _write_table(folder / RECORDS, pa.schema(list(columns.items())), records)
    columns = {"record": number, "start": number, "length": number}
    columns |= {LABELS_PREFIX + task: pa.list_(pa.int16()) for task in tasks}
    columns |= _metadata_columns(ITEM_METADATA_PREFIX, item_metadata)
    _write_table(folder / ITEMS, pa.schema(list(columns.items())), items)


def _metadata_columns(prefix: str, numeric: Mapping[str, bool]) -> dict[str, pa.DataType]:
    return {prefix + name: pa.float64() if numeric[name] else pa.string() for name in sorted(numeric)}


def _write_table(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    left: Iterator[Mapping[str, Any]] = iter(rows)
    with pq.ParquetWriter(path, schema) as table:
        while group := list(islice(left, ROW_GROUP)):
            table.write_table(pa.Table.from_pylist(group, schema=schema))


def _without(prefix: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns whose names begin with the prefix, by the rest of their names."""
    columns = [column for column in table.columns if column.startswith(prefix)]
    return table[columns].rename(columns=lambda column: column.removeprefix(prefix))
