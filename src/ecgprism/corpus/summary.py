"""The summary of an ingest: rows are added one by one, then it tells splits, metadata columns and counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ecgprism.corpus import copies
from ecgprism.corpus.journal import Row
from ecgprism.corpus.splits import Assignment, assign, clusters
from ecgprism.corpus.tables import ITEM_METADATA_PREFIX, LABELS_PREFIX, METADATA_PREFIX, QUALITY_PREFIX
from ecgprism.errors import EcgprismError
from ecgprism.interface.card import Task

MOST_NOTES = 20
MOST_CATEGORIES = 1000  # different words of a column that are counted one by one


@dataclass
class Column:
    """What a metadata column held: how many numbers between which, how many texts and how often each."""

    numbers: int = 0
    texts: int = 0
    least: float = math.inf
    greatest: float = -math.inf
    words: Counter[str] = field(default_factory=Counter)

    def add(self, value: float | str) -> None:
        """Count a value; words beyond the first MOST_CATEGORIES different ones are counted as texts alone."""
        if isinstance(value, str):
            self.texts += 1
        else:
            self.numbers += 1
            self.least, self.greatest = min(self.least, value), max(self.greatest, value)
        word = str(value)
        if word in self.words or len(self.words) < MOST_CATEGORIES:
            self.words[word] += 1

    @property
    def numeric(self) -> bool:
        """Whether it is a column of numbers."""
        return not self.texts


@dataclass
class Summary:
    """What all rows together say. Memory: some hundred bytes a record."""

    tasks: Mapping[str, Task]
    record_ids: list[str] = field(default_factory=list)
    patients: list[str | None] = field(default_factory=list)
    waveforms: list[str] = field(default_factory=list)
    signatures: list[str | None] = field(default_factory=list)
    extents: list[tuple[int, int, tuple[str, ...]]] = field(default_factory=list)  # offset, samples, leads
    official: list[str | None] = field(default_factory=list)
    main_classes: list[tuple[int, ...]] = field(default_factory=list)
    of_records: dict[str, Column] = field(default_factory=dict)
    of_items: dict[str, Column] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)
    leads: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    classes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    flat: int = 0
    rejected: int = 0
    items: int = 0
    n_notes: int = 0
    first_reason: str = ""
    _lead_sets: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    _end: int = 0

    def add(self, row: Row) -> None:
        """Take a row into account."""
        if "rejected" in row:
            self.rejected += 1
            self.first_reason = self.first_reason or row["rejected"]
            return
        main = next(iter(self.tasks))
        self.record_ids.append(row["record_id"])
        self.patients.append(row["patient_id"])
        self.waveforms.append(row["waveform"])
        self.signatures.append(row["signature"])
        self.official.append(row["official_split"])
        leads = self._lead_sets.setdefault(*[tuple(row["leads"])] * 2)
        self.extents.append((self._end, row["samples"], leads))
        self._end += len(leads) * row["samples"]
        held = {k for item in row["items"] for k in item["labels"].get(main, ())}
        self.main_classes.append(tuple(sorted(held)))
        self.leads.update(row["leads"])
        self.skipped.update(row["skipped_channels"])
        self.flat += len(row["flat_leads"])
        self.items += len(row["items"])
        self.unused.update(row["unused"])
        self.notes += row["notes"][: max(MOST_NOTES + 1 - len(self.notes), 0)]
        self.n_notes += len(row["notes"])
        _count(self.of_records, row["metadata"])
        for item in row["items"]:
            _count(self.of_items, item["metadata"])

    def place(self, are_copies: Callable[[int, int], bool], seed: int) -> Placement:
        """Return cluster, split and original of every record. Raises EcgprismError for a record id that stands twice.

        `are_copies` compares the signals of two records by their numbers.
        """
        twice = [name for name, count in Counter(self.record_ids).items() if count > 1]
        if twice:
            raise EcgprismError(f"record id {twice[0]!r} stands twice; the source changed while it was read")
        pairs = list(copies.pairs(self.signatures, are_copies))
        original = _first_of_each(self.waveforms, pairs)
        groups = [str(number) for number in original]
        cluster = clusters(self.patients, groups)
        target = np.zeros((len(self.record_ids), len(next(iter(self.tasks.values())).classes)), dtype=bool)
        for position, held in enumerate(self.main_classes):
            target[position, list(held)] = True
        return Placement(cluster, original, assign(self.official, cluster, target, seed))

    @property
    def numeric(self) -> dict[str, bool]:
        """Which metadata columns are numeric: in both tables the same."""
        names = sorted({*self.of_records, *self.of_items})
        return {
            name: all(table[name].numeric for table in (self.of_records, self.of_items) if name in table)
            for name in names
        }

    @property
    def missing(self) -> dict[str, float]:
        """Return the share of each metadata column that is missing; of its items where they have their own."""
        found: dict[str, float] = {}
        for table, rows in ((self.of_records, len(self.record_ids)), (self.of_items, self.items)):
            found |= {name: 1 - (column.numbers + column.texts) / max(rows, 1) for name, column in table.items()}
        return {name: round(max(share, 0.0), 4) for name, share in sorted(found.items())}

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the least and the greatest number of each numeric column."""
        both = {name: self._columns(name) for name, numeric in self.numeric.items() if numeric}
        return {
            name: (float(min(each.least for each in held)), float(max(each.greatest for each in held)))
            for name, held in both.items()
        }

    @property
    def categories(self) -> dict[str, dict[str, int]]:
        """Return the words of each column of words, the most frequent first."""
        found = {}
        for name, numeric in self.numeric.items():
            if not numeric:
                words = sum((column.words for column in self._columns(name)), Counter[str]())
                found[name] = dict(sorted(words.items(), key=lambda each: (-each[1], each[0])))
        return found

    def _columns(self, name: str) -> list[Column]:
        return [table[name] for table in (self.of_records, self.of_items) if name in table]

    def all_notes(self, of_source: Sequence[str]) -> tuple[str, ...]:
        """Return what must be said: of the source and its columns, then of its records, the first ones of many."""
        said = list(of_source)
        for name, numeric in self.numeric.items():
            both = self._columns(name)
            numbers, texts = sum(column.numbers for column in both), sum(column.texts for column in both)
            if not numeric and numbers:
                said.append(f"metadata {name}: {numbers} numbers and {texts} words, so its values are categories")
        more = [f"and {self.n_notes - MOST_NOTES} more notes on records"] if self.n_notes > MOST_NOTES else []
        return (*said, *self.notes[:MOST_NOTES], *more)

    def record_rows(self, rows: Iterator[Row], placed: Placement) -> Iterator[dict[str, Any]]:
        """Yield the rows of the record table."""
        numeric = self.numeric
        for position, row in enumerate(row for row in rows if "rejected" not in row):
            original = int(placed.original[position])
            yield {
                **{key: value for key, value in row.items() if key in _COPIED},
                **{QUALITY_PREFIX + flag: leads for flag, leads in row["quality"].items()},
                **_columns(METADATA_PREFIX, row["metadata"], numeric),
                "offset": self.extents[position][0],
                "cluster": int(placed.cluster[position]),
                "split": placed.assignment.split[position],
                "copy_of": None if original == position else self.record_ids[original],
            }

    def item_rows(self, rows: Iterator[Row], placed: Placement) -> Iterator[dict[str, Any]]:
        """Yield the rows of the item table, counting classes by split on the way."""
        numeric, split = self.numeric, placed.assignment.split
        names = {task: known.classes for task, known in self.tasks.items()}
        counts = {task: {name: Counter[str]() for name in known} for task, known in names.items()}
        for position, row in enumerate(row for row in rows if "rejected" not in row):
            for item in row["items"]:
                for task, held in item["labels"].items():
                    for k in held:
                        counts[task][names[task][k]][split[position]] += 1
                place = {"record": position, "start": item["start"], "length": item["length"]}
                labels = {LABELS_PREFIX + task: held for task, held in item["labels"].items()}
                yield place | labels | _columns(ITEM_METADATA_PREFIX, item["metadata"], numeric)
        self.classes = {task: {name: dict(by) for name, by in of.items()} for task, of in counts.items()}


@dataclass(frozen=True)
class Placement:
    """Where every record stands: its cluster, the first record of its copies, the assignment to splits."""

    cluster: NDArray[np.int64]
    original: NDArray[np.int64]
    assignment: Assignment


_COPIED = (
    "record_id", "patient_id", "official_split", "path", "leads", "samples", "scale", "zero", "source_rate_hz",
    "flat_leads", "skipped_channels", "waveform", "signature",
)  # fmt: skip


def _count(columns: dict[str, Column], metadata: Mapping[str, float | str]) -> None:
    for name, value in metadata.items():
        columns.setdefault(name, Column()).add(value)


def _columns(prefix: str, metadata: Mapping[str, float | str], numeric: Mapping[str, bool]) -> dict[str, float | str]:
    return {prefix + key: value if numeric[key] else str(value) for key, value in metadata.items()}


def _first_of_each(waveforms: list[str], pairs: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Return for every record the first one with its waveform, by hash or by the pairs of copies."""
    _, first, group = np.unique(np.array(waveforms), return_index=True, return_inverse=True)
    n = len(waveforms)
    a, b = np.array([*zip(first[group].tolist(), range(n), strict=True), *pairs], dtype=np.int64).T
    parts = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)[1]
    return np.unique(parts, return_index=True)[1][parts].astype(np.int64)
