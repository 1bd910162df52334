"""Your own data as arrays: signals (N, L, T) in memory, .npy, .npz or .h5, labels beside them.

Axis legend: N recordings, L leads, T samples, K classes.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.arrays import ArrayRecordings
from ecgprism.ecg.metadata import is_missing_text, number, patient_id
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.rows import rows_of
from ecgprism.errors import ConfigError, EcgprismError, nearest, one_line
from ecgprism.extras import library
from ecgprism.interface.card import Kind, Table, Task, columns_of
from ecgprism.registry import register
from ecgprism.sources.array_labels import label_names
from ecgprism.sources.columns import column_name, legend, read_column
from ecgprism.sources.contract import Entry
from ecgprism.sources.labels import KindOrAuto, read_labels
from ecgprism.sources.split_column import read_splits
from ecgprism.sources.tables import read_cells

LABELS = "labels"
KNOWN = (LABELS, "patient_id", "record_id", "split")


class ArraySource:
    """Recordings in memory with their labels, patients and metadata, row by row."""

    name = "arrays"

    def __init__(
        self,
        recordings: ArrayRecordings,
        labels: Any,
        *,
        classes: Sequence[str] | None = None,
        kind: Kind | None = None,
        task: str = LABELS,
        patients: Sequence[Any] | None = None,
        record_ids: Sequence[Any] | None = None,
        splits: Sequence[Any] | None = None,
        metadata: Table | None = None,
    ) -> None:
        """`labels` are class names, lists of them, integers with `classes`, or one-hot or multi-hot (N, K) rows.

        One label in every row makes the task multi-class unless `kind` says otherwise. Raises ConfigError.
        """
        if not isinstance(task, str) or not task.strip():
            raise ConfigError(f"task = {task!r}: expected a name")
        self.recordings, self.task = recordings, task
        n = len(recordings)
        held, known = label_names(labels, classes)
        if len(held) != n:
            raise ConfigError(f"y: {len(held)} rows for {n} recordings")
        self.held = held
        self.patients = None if patients is None else [patient_id(each) for each in rows_of(patients, "patients", n)]
        self.splits = None
        if splits is not None:
            self.splits = read_splits(rows_of(splits, "splits", n), self.patients, "splits[{}]".format)
        single = len(known) > 1 and all(len(row) == 1 for row in held)
        self.notes = (
            [] if kind or not single else ["every row has one label: the classes exclude each other (multiclass)"]
        )
        if (doubt := recordings.doubt()) is not None:
            self.notes.append(doubt)
        self.tasks: Mapping[str, Task] = {task: Task(kind or ("multiclass" if single else "multilabel"), known)}
        self.lead_aliases: Mapping[str, str] = {}
        self.record_ids = [f"{i:06d}" for i in range(n)]
        if record_ids is not None:
            self.record_ids = [str(name) for name in rows_of(record_ids, "record_ids", n)]
        self.metadata = {name: _numbers_in_texts(column) for name, column in columns_of(metadata, n).items()}

    def entries(self) -> Iterator[Entry]:
        """Yield the entries; a row without any label is one of no class (multi-label)."""
        for row, (record_id, labels) in enumerate(zip(self.record_ids, self.held, strict=True)):
            yield Entry(
                record_id,
                f"X[{row}]",
                {self.task: labels} if labels or self.tasks[self.task].kind == "multilabel" else {},
                patient_id=self.patients[row] if self.patients else None,
                split=self.splits[row] if self.splits else None,
                metadata={name: held for name, column in self.metadata.items() if (held := column[row]) is not None},
            )

    def read(self, entry: Entry) -> Recording:
        """Return one recording."""
        return self.recordings.read(int(entry.path[2:-1]))


@register("sources", "arrays")
class ArrayFileSource(ArraySource):
    """A .npy, .npz or .h5 file with signals (N, L, T), mapped from disk, and a CSV with a row for each of them.

    The CSV has a column `labels` (classes joined by `|`), and may have record_id, patient_id, split and metadata.
    `rate_hz`, `unit` and `leads` (joined by a comma) must be said; `kind`, `classes`, `sex` and the table's cells are
    as of a manifest. `key` names the array of an .npz or .h5 file.
    """

    def __init__(
        self, root: Path, labels: Path, rate_hz: float | None = None, unit: str | None = None, leads: str | None = None,
        key: str | None = None, kind: KindOrAuto = "auto", task: str = LABELS, classes: str | None = None,
        sex: str | None = None,
    ) -> None:  # fmt: skip
        """`root` is the file of signals."""
        signals = mapped(root, key)
        held_cells = read_cells(labels, KNOWN)
        table = held_cells.columns
        if LABELS not in table:
            raise EcgprismError(f"{labels}: column 'labels' is missing{nearest(LABELS, table)}")
        cells = list(zip(held_cells.lines, table[LABELS], strict=True))
        held = read_labels(labels, cells, classes, kind, empty_is_negative=False)
        columns = {
            column_name(name, table): read_column(labels, held_cells, name, column_name(name, table), legend(sex))
            for name in table
            if name not in KNOWN
        }
        patients = [patient_id(cell) for cell in table["patient_id"]] if "patient_id" in table else None
        super().__init__(
            ArrayRecordings.of(signals, rate_hz, [name.strip() for name in leads.split(",")] if leads else None, unit),
            held.of_rows,
            classes=held.classes,
            kind=held.kind,
            task=task,
            patients=patients,
            record_ids=table.get("record_id"),
            splits=read_splits(table["split"], patients, lambda row: f"line {held_cells.lines[row]}", str(labels))
            if "split" in table
            else None,
            metadata={name: column.values for name, column in columns.items()},
        )
        self.notes += [*held.notes, *(note for column in columns.values() for note in column.notes)]
        self.root, self.key, self.pid = root, key, os.getpid()

    def read(self, entry: Entry) -> Recording:
        """Return one recording; a process opens the file for itself where it did not inherit the array."""
        inherited = len(self.recordings.signals) and self.root.suffix.lower() in (".npy", ".npz")  # not what HDF5 reads
        if self.pid != os.getpid() and not inherited:
            self.recordings, self.pid = replace(self.recordings, signals=mapped(self.root, self.key)), os.getpid()
        return super().read(entry)

    def __getstate__(self) -> dict[str, object]:
        """Leave the signals in their file."""
        return {**vars(self), "recordings": replace(self.recordings, signals=()), "pid": -1}


def mapped(path: Path, key: str | None = None) -> NDArray[Any]:
    """Return the array of a file without loading it. Raises EcgprismError for a file that holds none, or several."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            if key is not None:
                raise EcgprismError(f"{path}: key={key}: a .npy file holds one array, which has no name")
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return np.asarray(archive[_key(path, list(archive.files), key)])
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise EcgprismError(f"{path}: no array in it ({one_line(error)})") from None
    if suffix in (".h5", ".hdf5"):
        return _hdf5(path, key)
    raise EcgprismError(f"{path}: expected .npy, .npz or .h5")


def _hdf5(path: Path, key: str | None) -> NDArray[Any]:
    h5py = library("h5py", f"{path}: reading HDF5")
    try:
        file = h5py.File(path, "r")
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "ndim", 0) == 3 else None)
        return file[_key(path, names, key)]  # read slice by slice
    except OSError as error:
        raise EcgprismError(f"{path}: damaged HDF5 ({one_line(error)})") from None


def _key(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        said = f"no array {key!r}" if key else f"{len(names)} arrays"
        raise EcgprismError(f"{path}: {said}{nearest(key or '', names)}; choose one with key=NAME")
    return str(key)


def _numbers_in_texts(column: list[float | str | None]) -> list[float | str | None]:
    """Return a column whose texts are all numbers as numbers."""
    texts = [value for value in column if isinstance(value, str) and not is_missing_text(value)]
    if not texts or any(number(text) is None for text in texts):
        return column
    return [number(value) for value in column]


def content_digest(recordings: ArrayRecordings) -> str:
    """Return a digest of recordings and of what is declared of them: an ingest goes on with the same ones alone."""
    digest = hashlib.sha256(repr(replace(recordings, signals=())).encode())
    for signal in recordings.signals:
        row = np.ascontiguousarray(signal)
        digest.update(repr((row.shape, row.dtype.str)).encode())
        digest.update(row.data)
    return digest.hexdigest()
