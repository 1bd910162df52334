"""A table of patients beside recordings: joined by record id or by path, what fits nothing said, nothing mixed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ecgprism.ecg.metadata import is_missing_text
from ecgprism.errors import EcgprismError, listed, nearest
from ecgprism.interface.card import Card, Table, columns_of
from ecgprism.prediction.recordings import NamedRecording
from ecgprism.sources.columns import column_name, has_decimal_commas
from ecgprism.sources.manifest import located
from ecgprism.sources.tables import find_column, read_cells

RECORD_ID, PATH = "record_id", "path"

Row = Mapping[str, float | str]


@dataclass(frozen=True)
class PatientTable:
    """The rows of a table by what they are joined by; `name` is what messages call it, `unused` its other columns."""

    name: str
    rows: Sequence[Row]
    of_key: Mapping[str, int]
    unused: tuple[str, ...]

    @classmethod
    def read(cls, given: str | Path | Table, card: Card, columns: Mapping[str, str] | None = None) -> PatientTable:
        """Read a file as `ingest manifest` does, or take a table; `columns` says under which names columns stand.

        Rows are joined by `record_id`, or by `path` where there is none. Raises EcgprismError: no such column, an id
        that stands twice, none of the model's columns.
        """
        if isinstance(given, str | Path):
            name, table = str(given), _columns(Path(given), card, columns or {})
        else:
            name, table = "metadata_table", _plain(given)
        joined_by = RECORD_ID if RECORD_ID in table else PATH
        if joined_by not in table:
            raise EcgprismError(f"{name}: column 'record_id' is missing{nearest(RECORD_ID, table)}")
        known = known_columns(card, table, name)
        folder = Path(given).parent if isinstance(given, str | Path) else Path()
        of_key: dict[str, int] = {}
        for row, cell in enumerate(table[joined_by]):
            for key in [str(cell)] if joined_by == RECORD_ID else _path_keys(located(folder, str(cell))):
                if of_key.setdefault(key, row) != row:
                    raise EcgprismError(f"{name}: {joined_by} {str(cell)!r} stands twice")
        rows = [
            {column: value for column in known if not is_missing_text(value := table[column][n])}
            for n in range(len(table[joined_by]))
        ]
        unused = tuple(column for column in table if column not in (*known, RECORD_ID, PATH, "labels", "patient_id"))
        return cls(name, rows, of_key, unused)

    def row_of(self, recording: NamedRecording) -> int | None:
        """Return which row is that of a recording."""
        keys = [recording.record_id, *_path_keys(recording.path)]
        return next((self.of_key[key] for key in keys if key in self.of_key), None)

    def notes(self, recordings: Sequence[NamedRecording]) -> Iterator[str]:
        """Yield what does not fit. Raises EcgprismError where nothing does, and for a row of several recordings."""
        taken: dict[int, NamedRecording] = {}
        for recording in recordings:
            row = self.row_of(recording)
            if row is not None and taken.setdefault(row, recording) is not recording:
                raise EcgprismError(
                    f"{self.name}: one row fits {taken[row].path} and {recording.path}; join by path: a column "
                    "'path' instead of 'record_id'"
                )
        keys = [key for key, row in self.of_key.items() if row not in taken]
        if not taken:
            there = listed([recording.record_id for recording in recordings], 3)
            raise EcgprismError(f"{self.name}: no row fits a recording; rows: {listed(keys, 3)}; recordings: {there}")
        left = list({self.of_key[key]: key for key in reversed(keys)}.values())[::-1]
        if left:
            fits = "1 row fits" if len(left) == 1 else f"{len(left)} rows fit"
            yield f"{self.name}: {fits} no recording: {listed(left, 10)}"
        if len(taken) < len(recordings):
            yield f"{self.name}: {len(recordings) - len(taken)} of {len(recordings)} recordings have no row"
        if self.unused:
            yield not_used(self.name, self.unused)


def known_columns(card: Card, table: Iterable[str], name: str) -> list[str]:
    """Return the model's columns that a table called `name` has. Raises EcgprismError where it has none."""
    there = set(table)
    known = [column.name for column in card.metadata if column.name in there]
    if not known:
        asked = ", ".join(column.name for column in card.metadata)
        said = f"no column of the model's ({asked})" if asked else "the model takes no metadata"
        raise EcgprismError(f"{name}: {said}")
    return known


def not_used(name: str, columns: Sequence[str]) -> str:
    """Return the sentence about columns of a table that the model does not know."""
    return f"{name}: not used, for the model does not know them: {listed(columns, 10)}"


def _columns(path: Path, card: Card, renamed: Mapping[str, str]) -> dict[str, list[float | str]]:
    """Return the columns of a file, those of the model under its names."""
    for name in renamed:
        known = (RECORD_ID, PATH, *(column.name for column in card.metadata))
        if name not in known:
            raise EcgprismError(f"columns: {name!r} is none to be joined{nearest(name, known)}")
    cells = read_cells(path, tuple(dict.fromkeys([RECORD_ID, PATH, *renamed])), renamed)
    categorical = {column.name for column in card.metadata if column.categories is not None}
    found: dict[str, list[float | str]] = {}
    for column, texts in cells.columns.items():
        name = _name(column, cells.columns, card)
        comma = name not in (RECORD_ID, PATH, *categorical) and has_decimal_commas(cells, column)
        found[name] = [text.replace(",", ".", 1) if comma else text for text in texts]
    return found


def _name(column: str, columns: Iterable[str], card: Card) -> str:
    """Return the name that the model has for a column of a table, or its own."""
    known = [each.name for each in card.metadata]
    usual = column_name(column, columns)
    return usual if usual in known else find_column(column, known) or column


def _plain(table: Table) -> dict[str, list[float | str]]:
    if isinstance(table, pd.DataFrame) and table.index.name in (RECORD_ID, PATH):
        table = table.reset_index()
    keys = {name: [_key(value) for value in table[name]] for name in (RECORD_ID, PATH) if name in table}
    if not keys:
        raise EcgprismError(f"metadata_table: column 'record_id' is missing{nearest(RECORD_ID, map(str, table))}")
    columns = columns_of(table, len(next(iter(keys.values()))))
    found: dict[str, list[float | str]] = {}
    for name, column in columns.items():
        found[name] = ["" if value is None else value for value in column]
    for name, texts in keys.items():
        found[name] = list(texts)
    return found


def _key(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _path_keys(path: str) -> list[str]:
    """Return the ways to name a file: whole, and without the end of its name."""
    whole = Path(path).resolve()
    return [str(whole), str(whole.with_suffix(""))] if whole.suffix else [str(whole)]
