"""The metadata columns of a table: numbers or categories, missing cells, age and sex as people spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgprism.ecg.metadata import age_years, is_missing_text, number, sex_of, within_limits
from ecgprism.errors import EcgprismError, listed
from ecgprism.sources.tables import Cells

LEAST_NUMBERS = 0.9  # of the cells that are given: then the others are mistakes, not categories
NAMED_CELLS = 3  # in a note
#: what tables call a column -> what a corpus does
_NAMES = {"age": "age", "age_years": "age", "sex": "sex", "gender": "sex"}


@dataclass(frozen=True)
class Column:
    """The values of a column (None where missing), and what must be said of it."""

    values: Sequence[float | str | None]
    notes: tuple[str, ...] = ()


def column_name(column: str, others: Iterable[str]) -> str:
    """Return the name that a table's column has in a corpus: `Age` is age, `gender` is sex unless there is one."""
    name = _NAMES.get(column.lower(), column)
    return column if name != column and name in set(others) else name


def legend(text: str | None) -> dict[str, str]:
    """Return what codes mean from an option such as `1:female|0:male`. Raises EcgprismError for what is none."""
    found = {}
    for pair in text.split("|") if text else ():
        code, colon, meant = pair.partition(":")
        if not colon or sex_of(meant) is None:
            raise EcgprismError(f"sex: {pair!r}: expected CODE:female or CODE:male, as in 1:female|0:male")
        found[code.strip()] = meant.strip()
    return found


def read_column(path: Path, table: Cells, column: str, name: str, codes: dict[str, str]) -> Column:
    """Read a column of a table; `codes` is the legend of sex. Raises EcgprismError for codes without."""
    cells = list(zip(table.lines, table.columns[column], strict=True))
    if name == "sex":
        return _sexes(path, column, cells, codes)
    given = [(line, text) for line, text in cells if not is_missing_text(text)]
    comma = has_decimal_commas(table, column)
    read = {text: _number(name, text, comma) for text in {text for _, text in given}}
    numbers = sum(read[text] is not None or _impossible(name, text) for _, text in given)
    if not given:
        return Column([None] * len(cells), (f"column {column} is empty",))
    if numbers < LEAST_NUMBERS * len(given):
        values: list[float | str | None] = [None if is_missing_text(text) else text for _, text in cells]
        mixed = f"column {column}: {numbers} of {len(given)} cells are numbers, so its values are categories"
        return Column(values, (mixed,) if numbers else ())
    odd = [(line, text) for line, text in given if read[text] is None]
    return Column([read.get(text) for _, text in cells], _said(column, odd, "no numbers that it can hold"))


def has_decimal_commas(table: Cells, column: str) -> bool:
    """Whether the commas in a column are decimal ones, where a number alone does not tell (`1,234`).

    They are where the column has no points, unless commas also part the cells of the table: then one of them must
    show it (`0,5` or `12,25`).
    """
    texts = [text for text in table.columns.get(column, ()) if "," in text]
    if any("." in text for text in table.columns.get(column, ())):
        return False
    return not table.comma_parts or any(re.fullmatch(r"[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))", text) for text in texts)


def _sexes(path: Path, column: str, cells: Sequence[tuple[int, str]], codes: dict[str, str]) -> Column:
    values = [None if is_missing_text(text) else sex_of(text, codes) for _, text in cells]
    odd = [cell for cell, value in zip(cells, values, strict=True) if not value and not is_missing_text(cell[1])]
    for line, text in odd:
        if number(text) is not None:
            raise EcgprismError(
                f"{path}, line {line}: {column} {text!r}: say what the codes mean, as in sex=1:female|0:male"
            )
    return Column(values, _said(column, odd, "neither female nor male"))


def _number(name: str, text: str, decimal_comma: bool) -> float | None:
    found = age_years(text) if name == "age" else number(text, decimal_comma)
    return found if found is not None and within_limits(name, found) else None


def _impossible(name: str, text: str) -> bool:
    """Whether a cell is a number, though none that the column can hold."""
    return number(text) is not None or (name == "age" and re.fullmatch(r"\d{1,9}\D{0,8}", text) is not None)


def _said(column: str, odd: Sequence[tuple[int, str]], what: str) -> tuple[str, ...]:
    if not odd:
        return ()
    named = listed([f"{text[:30]!r} (line {line})" for line, text in odd], NAMED_CELLS)
    return (f"column {column}: {named}: {what}, taken as missing",)
