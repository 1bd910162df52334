"""Your own data: one CSV with a row per recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.metadata import is_missing_text, number
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, nearest
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.columns import Column, column_name, legend, read_column
from ecgprism.sources.contract import Entry, Split, spellings
from ecgprism.sources.labels import KindOrAuto, LabelColumn, read_labels
from ecgprism.sources.labels import split as names_in
from ecgprism.sources.tables import read_cells

REQUIRED = ("path", "labels")
DECLARED = ("rate_hz", "unit", "leads")
KNOWN = ("path", "record_id", "patient_id", "split", "labels", *DECLARED)
_TRUE, _FALSE = {"1", "1.0", "true", "yes", "x"}, {"0", "0.0", "false", "no", ""}
_SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


@register("sources", "manifest")
class Manifest:
    """A CSV with path, record_id, patient_id, split, labels (joined by `|`); any other column is metadata.

    Paths are relative to the CSV. `record_id` defaults to the path, an empty `patient_id` means unknown, an empty
    `split` column means that a split is made. `kind` says whether a recording has exactly one label or any number; by
    itself it is the first where every row has one. `unlabelled` says whether an empty label leaves the recording out or
    means that no class holds. `classes` (joined by `|`) fixes names and order, and makes any other label an error.

    The table may be of commas, semicolons or tabs, UTF-8, UTF-16 or Latin-1, or .xlsx; its columns stand in any case,
    or under the names that `columns` gives (`path=filename|labels=diagnosis`); `label_columns` (`AF|MI`) are columns of
    1 and 0 instead of `labels`. `accept_damaged` reads files whose sums do not fit.

    Columns `rate_hz`, `unit` and `leads`, or options of these names for all rows, declare what files do not say
    themselves; `leads` are names in the order of the channels (`I|II|V1`) or spellings (`ECG=I|Lead2=II`).

    Metadata are missing where a cell is empty, nan, NA, n/a, none, null, unknown, ? or -. A column is numeric when 9 of
    10 of its cells are numbers; the others are named and missing. Age may be written as 63, 63,5 or 63Y, sex as M,
    male, F, female or, with a legend such as `sex=1:female|0:male`, in codes. `notes` says what was taken for what.
    """

    def __init__(
        self,
        root: Path,
        task: str = "labels",
        kind: KindOrAuto = "auto",
        classes: str | None = None,
        unlabelled: Literal["drop", "negative"] = "drop",
        leads: str | None = None,
        rate_hz: Annotated[float, Field(gt=0)] | None = None,
        unit: str | None = None,
        sex: str | None = None,
        columns: str | None = None,
        label_columns: str | None = None,
        accept_damaged: bool = False,
    ) -> None:
        """`root` is the table, or a folder that holds `manifest.csv`."""
        self.path = root / "manifest.csv" if root.is_dir() else root
        named = names_in(label_columns.replace(",", "|")) if label_columns else []
        self.lines, self.table = _read(self.path, spellings(columns), named)
        if named:  # 0 everywhere says that no class holds
            classes, unlabelled = classes or "|".join(named), "negative"
        self.task, self.unlabelled, self.accept_damaged = task, unlabelled, accept_damaged
        given = {"rate_hz": rate_hz, "unit": unit, "leads": leads}
        self.declared = [self._declared(row, line, given) for line, row in self._rows()]
        self.lead_aliases = spellings(leads) if leads and "=" in leads else {}
        cells = list(zip(self.lines, self.table["labels"], strict=True))
        self.labels: LabelColumn = read_labels(self.path, cells, classes, kind, unlabelled == "negative")
        self.tasks = {task: Task(self.labels.kind, self.labels.classes)}
        self._check()
        self.metadata = self._metadata(legend(sex))
        self.notes = (*self.labels.notes, *(note for column in self.metadata.values() for note in column.notes))

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        yield from zip(self.lines, self.table.to_dict("records"), strict=True)

    def _declared(self, row: dict[str, str], line: int, given: dict[str, float | str | None]) -> dict[str, float | str]:
        """Return what the row, or else an option, declares of its file."""
        found: dict[str, float | str] = {key: value for key, value in given.items() if value is not None}
        found |= {key: row[key] for key in DECLARED if not is_missing_text(row.get(key))}
        rate_hz = number(found.get("rate_hz", 1.0))
        if rate_hz is None or rate_hz <= 0:
            raise EcgprismError(f"{self.path}, line {line}: rate_hz {found['rate_hz']!r} is no sampling rate")
        if "rate_hz" in found:
            found["rate_hz"] = rate_hz
        names = str(found.get("leads", "")).split("|")
        if "leads" in found and not all(canonical_lead(name) or name.strip() == "-" for name in names):
            spellings(str(found["leads"]))
        return found

    def _check(self) -> None:
        """Raise EcgprismError, with the row, for what can be known to be wrong without reading a signal."""
        split_of: dict[str, tuple[Split, int]] = {}
        for line, row in self._rows():
            at = f"{self.path}, line {line}"
            if not row["path"]:
                raise EcgprismError(f"{at}: path is empty")
            split = row.get("split", "")
            if split and split.lower() not in _SPLITS:
                raise EcgprismError(f"{at}: split {split!r}{nearest(split, ('train', 'val', 'test'))}")
            patient = row.get("patient_id", "")
            if patient and split:
                before, other = split_of.setdefault(patient, (_SPLITS[split.lower()], line))
                if before != _SPLITS[split.lower()]:
                    raise EcgprismError(
                        f"{at}: patient {patient} is in split {_SPLITS[split.lower()]} here and in {before} on line "
                        f"{other}: one patient belongs to one split"
                    )
        if "split" in self.table.columns and (self.table["split"] == "").any() and (self.table["split"] != "").any():
            line = self.lines[int((self.table["split"] == "").to_numpy().argmax())]
            raise EcgprismError(f"{self.path}, line {line}: split is empty; give it for every row or for none")

    def _metadata(self, sex: dict[str, str]) -> dict[str, Column]:
        """Return the metadata columns by the name that they have in a corpus."""
        found: dict[str, Column] = {}
        for column in self.table.columns:
            if column in KNOWN:
                continue
            name = column_name(column, self.table.columns)
            if name in found:
                raise EcgprismError(f"{self.path}: columns {column!r} and another are both metadata {name!r}")
            cells = list(zip(self.lines, self.table[column], strict=True))
            found[name] = read_column(self.path, column, name, cells, sex)
        return found

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a row."""
        for position, (_, row) in enumerate(self._rows()):
            labels = self.labels.of_rows[position]
            split = row.get("split", "")
            values = {name: column.values[position] for name, column in self.metadata.items()}
            yield Entry(
                record_id=row.get("record_id") or row["path"],
                path=str(self.path.parent / row["path"]),
                labels={self.task: labels} if labels or self.unlabelled == "negative" else {},
                patient_id=row.get("patient_id") or None,
                split=_SPLITS[split.lower()] if split else None,
                metadata={name: value for name, value in values.items() if value is not None},
                declared=self.declared[position],
            )

    def read(self, entry: Entry) -> Recording:
        """Read one record, with what is declared of it."""
        leads, rate_hz, unit = (entry.declared.get(key) for key in ("leads", "rate_hz", "unit"))
        by_name = spellings(str(leads)) if leads and "=" in str(leads) else {}
        return reading.read(
            entry.path,
            {**self.lead_aliases, **by_name},
            rate_hz=None if rate_hz is None else float(rate_hz),
            unit=None if unit is None else str(unit),
            leads=[name.strip() for name in str(leads).split("|")] if leads and not by_name else None,
            accept_damaged=self.accept_damaged,
        )


def _read(path: Path, columns: Mapping[str, str], label_columns: Sequence[str]) -> tuple[list[int], pd.DataFrame]:
    """Return the line of the file on which each row ends, and the rows. Raises EcgprismError for what is no table."""
    if not path.is_file():
        raise EcgprismError(f"{path}: no such manifest (a CSV with the columns {', '.join(KNOWN[:5])})")
    for name in columns:
        if name not in KNOWN:
            raise EcgprismError(f"columns: {name!r} is none of a manifest's{nearest(name, KNOWN)}")
    cells = read_cells(path, KNOWN, columns)
    table = pd.DataFrame({name: list(column) for name, column in cells.columns.items()}, dtype=str)
    if label_columns:
        table = _joined_labels(path, cells.lines, table, label_columns)
    for column in REQUIRED:
        if column not in table.columns:
            raise EcgprismError(f"{path}: column {column!r} is missing{nearest(column, map(str, table.columns))}")
    return list(cells.lines), table


def _joined_labels(path: Path, lines: Sequence[int], table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the table with one label column made of columns of 0 and 1."""
    for name in names:
        if name not in table.columns:
            raise EcgprismError(f"{path}: label column {name!r} is missing{nearest(name, map(str, table.columns))}")
        for line, cell in zip(lines, table[name], strict=True):
            if cell.lower() not in _TRUE | _FALSE:
                raise EcgprismError(f"{path}, line {line}: {name} = {cell!r}: expected 1 or 0")
    held = [[name for name in names if row[name].lower() in _TRUE] for row in table.to_dict("records")]
    return table.drop(columns=list(names)).assign(labels=["|".join(row) for row in held])
