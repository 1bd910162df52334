"""Your own data: one CSV with a row per recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.metadata import is_missing_text, number, patient_id
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, nearest
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.columns import Column, column_name, has_decimal_commas, legend, read_column
from ecgprism.sources.contract import Entry, Split, parts, spellings
from ecgprism.sources.labels import KindOrAuto, LabelColumn, read_labels
from ecgprism.sources.split_column import read_splits
from ecgprism.sources.tables import Cells, find_column, read_cells

REQUIRED = ("path", "labels")
DECLARED = ("rate_hz", "unit", "leads")
KNOWN = ("path", "record_id", "patient_id", "split", "labels", *DECLARED)
#: what a manifest's columns are, and metadata that have a meaning of their own
MAPPED = (*KNOWN, "age", "sex", "height", "weight")
#: beside 1 and 0; spreadsheets write their own language's words for them
_TRUE = {"true", "yes", "y", "x", "wahr", "vrai", "verdadero", "ja", "oui", "si", "sí"}
_FALSE = {"false", "no", "n", "", "falsch", "faux", "falso", "nein", "non"}


@register("sources", "manifest")
class Manifest:
    """A CSV with path, record_id, patient_id, split, labels (joined by `|`); any other column is metadata.

    Paths are relative to the CSV, absolute, or begin with `~`; backslashes are read as slashes. `record_id` defaults to
    the path, an empty `patient_id` means unknown, an empty `split` column means that a split is made. `kind` says
    whether a recording has exactly one label or any number; by itself it is the first where every row has one.
    `unlabelled` says whether an empty label leaves the recording out or means that no class holds. `classes` (joined by
    `|`) fixes names and order, and makes any other label an error.

    The table may be of commas, semicolons or tabs, UTF-8, UTF-16 or Latin-1, or .xlsx; its columns stand in any case
    (`Patient ID`), or under the names that `columns` gives (`path=filename|labels=diagnosis|age=Alter`);
    `label_columns` (`AF,MI`, or joined by `|`) are columns of 1 and 0 instead of `labels`. `accept_damaged` reads files
    whose sums do not fit.

    Columns `rate_hz`, `unit` and `leads`, or options of these names for all rows, declare what files do not say
    themselves; `leads` are names in the order of the channels (`I|II|V1` or `I,II,V1`) or spellings (`ECG=I|Lead2=II`).

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
        named = [name for name in parts(label_columns or "") if name]
        self.cells, shadowed = _read(
            self.path, spellings(columns, "columns", "NAME=COLUMN, as in path=filename"), named
        )
        self.table = pd.DataFrame({name: list(column) for name, column in self.cells.columns.items()}, dtype=str)
        negative = unlabelled == "negative"
        if named:  # 0 everywhere says that no class holds
            classes, unlabelled = classes or "|".join(named), "negative"
        self.task, self.unlabelled, self.accept_damaged = task, unlabelled, accept_damaged
        given = {"rate_hz": rate_hz, "unit": unit, "leads": leads}
        self.comma_in_rates = has_decimal_commas(self.cells, "rate_hz")
        self.declared = [self._declared(row, line, given) for line, row in self._rows()]
        self.lead_aliases = spellings(leads) if leads and "=" in leads else {}
        cells = list(zip(self.cells.lines, self.cells.columns["labels"], strict=True))
        self.labels: LabelColumn = read_labels(self.path, cells, classes, kind, negative)
        self.tasks = {task: Task(self.labels.kind, self.labels.classes)}
        self.splits = self._splits()
        self.metadata = self._metadata(legend(sex))
        self.notes = (
            *shadowed,
            *self.labels.notes,
            *(note for column in self.metadata.values() for note in column.notes),
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        yield from zip(self.cells.lines, self.table.to_dict("records"), strict=True)

    def _declared(self, row: dict[str, str], line: int, given: dict[str, float | str | None]) -> dict[str, float | str]:
        """Return what the row, or else an option, declares of its file."""
        found: dict[str, float | str] = {key: value for key, value in given.items() if value is not None}
        found |= {key: row[key] for key in DECLARED if not is_missing_text(row.get(key))}
        rate_hz = number(found.get("rate_hz", 1.0), self.comma_in_rates)
        if rate_hz is None or rate_hz <= 0:
            raise EcgprismError(f"{self.path}, line {line}: rate_hz {found['rate_hz']!r} is no sampling rate")
        if "rate_hz" in found:
            found["rate_hz"] = rate_hz
        names = parts(str(found.get("leads", "")))
        if "leads" in found and not all(canonical_lead(name) or name == "-" for name in names):
            spellings(str(found["leads"]))
        return found

    def _splits(self) -> list[Split] | None:
        """Return the split of every row. Raises EcgprismError for what is no split, and for a row without a path."""
        columns, lines = self.table, self.cells.lines
        for line, path in zip(lines, columns["path"], strict=True):
            if not path:
                raise EcgprismError(f"{self.path}, line {line}: path is empty")
        if "split" not in columns:
            return None
        patients = [patient_id(cell) for cell in columns["patient_id"]] if "patient_id" in columns else None
        return read_splits(list(columns["split"]), patients, lambda row: f"line {lines[row]}", str(self.path))

    def _metadata(self, sex: dict[str, str]) -> dict[str, Column]:
        """Return the metadata columns by the name that they have in a corpus."""
        found: dict[str, Column] = {}
        for column in self.table.columns:
            if column in KNOWN:
                continue
            name = column_name(column, self.table.columns)
            if name in found:
                raise EcgprismError(f"{self.path}: columns {column!r} and another are both metadata {name!r}")
            found[name] = read_column(self.path, self.cells, column, name, sex)
        return found

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a row."""
        for position, (_, row) in enumerate(self._rows()):
            labels = self.labels.of_rows[position]
            values = {name: column.values[position] for name, column in self.metadata.items()}
            yield Entry(
                record_id=row.get("record_id") or row["path"],
                path=located(self.path.parent, row["path"]),
                labels={self.task: labels} if labels or self.unlabelled == "negative" else {},
                patient_id=patient_id(row.get("patient_id")),
                split=self.splits[position] if self.splits else None,
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
            leads=parts(str(leads)) if leads and not by_name else None,
            accept_damaged=self.accept_damaged,
        )


def located(folder: Path, text: str) -> str:
    """Return where the file is that a table in a folder names: with `~` for the home, and with Windows' backslashes."""
    path = Path(text)
    if "\\" in text and not (folder / path).exists():
        path = Path(text.replace("\\", "/"))
    if path.parts and path.parts[0] == "~":
        path = path.expanduser()
    return str(folder / path)


def _read(path: Path, columns: Mapping[str, str], label_columns: Sequence[str]) -> tuple[Cells, list[str]]:
    """Return the table, with one label column, and what of it is not read. Raises EcgprismError for no table."""
    if not path.is_file():
        raise EcgprismError(f"{path}: no such manifest (a CSV with the columns {', '.join(KNOWN[:5])})")
    for name in columns:
        if name not in MAPPED:
            raise EcgprismError(f"columns: {name!r} is none of a manifest's{nearest(name, MAPPED)}")
    cells = read_cells(path, tuple(dict.fromkeys([*KNOWN, *columns])), columns)
    notes = []
    if label_columns:
        if "labels" in cells.columns:
            notes = ["column labels is not read: the label columns stand for it"]
        cells = _joined_labels(path, cells, label_columns)
    for column in REQUIRED:
        if column not in cells.columns:
            raise EcgprismError(f"{path}: column {column!r} is missing{nearest(column, cells.columns)}")
    return cells, notes


def _joined_labels(path: Path, cells: Cells, names: Sequence[str]) -> Cells:
    """Return the table with one label column made of columns of 0 and 1."""
    held: list[list[str]] = [[] for _ in cells.lines]
    found = []
    for name in names:
        column = find_column(name, list(cells.columns))
        if column is None:
            raise EcgprismError(f"{path}: label column {name!r} is missing{nearest(name, cells.columns)}")
        found.append(column)
        for labels, line, cell in zip(held, cells.lines, cells.columns[column], strict=True):
            if cell.casefold() not in _TRUE | _FALSE and number(cell) not in (0, 1):
                raise EcgprismError(f"{path}, line {line}: {column} = {cell!r}: expected 1 or 0")
            if cell.casefold() in _TRUE or number(cell) == 1:
                labels.append(name)
    left = {name: column for name, column in cells.columns.items() if name not in found}
    return replace(cells, columns={**left, "labels": ["|".join(labels) for labels in held]})
