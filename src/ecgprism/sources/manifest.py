"""Your own data: one CSV with a row per recording."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, nearest
from ecgprism.formats import reading
from ecgprism.interface.card import Kind, Task
from ecgprism.registry import register
from ecgprism.sources.contract import Entry, Split, spellings

REQUIRED = ("path", "labels")
KNOWN = ("path", "record_id", "patient_id", "split", "labels")
_SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


@register("sources", "manifest")
class Manifest:
    """A CSV with path, record_id, patient_id, split, labels (joined by `|`); any other column is metadata.

    Paths are relative to the CSV. `record_id` defaults to the path, an empty `patient_id` means unknown, an empty
    `split` column means that a split is made. `kind` says whether a recording has exactly one label or any number;
    `unlabelled` whether an empty label leaves the recording out or means that no class holds. `classes` (joined by
    `|`) fixes names and order, and makes any other label an error. `leads` declares lead spellings (`ECG=I|Lead2=II`).
    """

    def __init__(
        self,
        root: Path,
        task: str = "labels",
        kind: Kind = "multilabel",
        classes: str | None = None,
        unlabelled: Literal["drop", "negative"] = "drop",
        leads: str | None = None,
    ) -> None:
        """`root` is the CSV, or a folder that holds `manifest.csv`."""
        self.path = root / "manifest.csv" if root.is_dir() else root
        if not self.path.is_file():
            raise EcgprismError(f"{self.path}: no such manifest (a CSV with the columns {', '.join(KNOWN)})")
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, skipinitialspace=True, strict=True)
                rows = [(reader.line_num, row) for row in reader if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise EcgprismError(f"{self.path}: not a CSV table ({error})") from None
        if not rows:
            raise EcgprismError(f"{self.path}: not a CSV table (it is empty)")
        header = [column.strip() for column in rows[0][1]]
        for column in header:
            if header.count(column) > 1:
                raise EcgprismError(f"{self.path}: column {column!r} stands twice")
        for line, row in rows[1:]:
            if len(row) > len(header):
                raise EcgprismError(f"{self.path}: not a CSV table (line {line} has more fields than its header)")
            row.extend([""] * (len(header) - len(row)))
        #: the line of the file on which each row ends
        self.lines = [line for line, _ in rows[1:]]
        self.table = pd.DataFrame([row for _, row in rows[1:]], columns=header, dtype=str)
        for column in REQUIRED:
            if column not in self.table.columns:
                raise EcgprismError(
                    f"{self.path}: column {column!r} is missing{nearest(column, map(str, self.table.columns))}"
                )
        self.table = self.table.map(str.strip)
        self.task, self.kind, self.unlabelled = task, kind, unlabelled
        self.lead_aliases = spellings(leads)
        found = {label for text in self.table["labels"] for label in _split(text)}
        chosen = tuple(_split(classes)) if classes else tuple(sorted(found))
        if not chosen:
            raise EcgprismError(f"{self.path}: no row has a label")
        self.tasks = {task: Task(kind, chosen)}
        self._check(chosen)
        self.metadata_columns = [column for column in self.table.columns if column not in KNOWN]
        numeric = {column: pd.to_numeric(self.table[column], errors="coerce") for column in self.metadata_columns}
        #: a column is numeric when every value that is given is a number
        self.numeric = {c: v for c, v in numeric.items() if not (v.isna() & (self.table[c] != "")).any()}

    def _check(self, classes: tuple[str, ...]) -> None:
        """Raise EcgprismError, with the row, for what can be known to be wrong without reading a signal."""
        split_of: dict[str, tuple[Split, int]] = {}
        for number, row in zip(self.lines, self.table.to_dict("records"), strict=True):
            at = f"{self.path}, line {number}"
            if not row["path"]:
                raise EcgprismError(f"{at}: path is empty")
            labels = _split(row["labels"])
            for label in labels:
                if label not in classes:
                    raise EcgprismError(f"{at}: unknown label {label!r}{nearest(label, classes)}")
            if self.kind == "multiclass" and len(labels) > 1:
                raise EcgprismError(f"{at}: labels {row['labels']!r}: kind=multiclass allows one; or kind=multilabel")
            split = row.get("split", "")
            if split and split.lower() not in _SPLITS:
                raise EcgprismError(f"{at}: split {split!r}{nearest(split, ('train', 'val', 'test'))}")
            patient = row.get("patient_id", "")
            if patient and split:
                before, line = split_of.setdefault(patient, (_SPLITS[split.lower()], number))
                if before != _SPLITS[split.lower()]:
                    raise EcgprismError(
                        f"{at}: patient {patient} is in split {_SPLITS[split.lower()]} here and in {before} on line "
                        f"{line}: one patient belongs to one split"
                    )
        if "split" in self.table.columns and (self.table["split"] == "").any() and (self.table["split"] != "").any():
            line = self.lines[int((self.table["split"] == "").to_numpy().argmax())]
            raise EcgprismError(f"{self.path}, line {line}: split is empty; give it for every row or for none")

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a row."""
        for position, row in enumerate(self.table.to_dict("records")):
            labels = tuple(_split(row["labels"]))
            metadata = {
                column: float(self.numeric[column].iloc[position]) if column in self.numeric else row[column]
                for column in self.metadata_columns
                if row[column]
            }
            split = row.get("split", "")
            yield Entry(
                record_id=row.get("record_id") or row["path"],
                path=str(self.path.parent / row["path"]),
                labels={self.task: labels} if labels or self.unlabelled == "negative" else {},
                patient_id=row.get("patient_id") or None,
                split=_SPLITS[split.lower()] if split else None,
                metadata=metadata,
            )

    def read(self, entry: Entry) -> Recording:
        """Read one record."""
        return reading.read(entry.path, self.lead_aliases)


def _split(text: str) -> list[str]:
    return [label.strip() for label in text.split("|") if label.strip()]
