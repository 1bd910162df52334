"""Tables as people have them: commas, semicolons or tabs; UTF-8, UTF-16 or Latin-1; what a spreadsheet writes."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgprism.errors import EcgprismError, nearest, one_line

DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Cells:
    """A table of texts by column; `lines` tells on which line of the file each row ends."""

    lines: tuple[int, ...]
    columns: Mapping[str, Sequence[str]]


def read_cells(path: Path, known: Sequence[str] = (), renamed: Mapping[str, str] | None = None) -> Cells:
    """Read a table with a header. `known` columns are found in any case, `renamed` says under which names they stand.

    Raises EcgprismError naming the line: no table, a column that stands twice or is not there, a row with more cells
    than columns.
    """
    rows = _sheet(path) if path.suffix.lower() in (".xlsx", ".xlsm") else _rows(path)
    if not rows:
        raise EcgprismError(f"{path}: not a CSV table (it is empty)")
    header = _header(path, [name.strip() for name in rows[0][1]], known, renamed or {})
    for line, row in rows[1:]:
        if len(row) > len(header):
            raise EcgprismError(f"{path}: not a CSV table (line {line} has more fields than its header)")
    body = rows[1:]
    columns = {
        name: tuple(row[k].strip() if k < len(row) else "" for _, row in body) for k, name in enumerate(header) if name
    }
    return Cells(tuple(line for line, _ in body), columns)


def _header(path: Path, names: list[str], known: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    found = list(names)
    for name in known:
        wanted = renamed.get(name, name)
        if name in renamed and wanted not in names:
            raise EcgprismError(f"{path}: column {wanted!r} is missing{nearest(wanted, names)}")
        same = [k for k, held in enumerate(names) if held == wanted] or [
            k for k, held in enumerate(names) if held.casefold() == wanted.casefold()
        ]
        if len(same) == 1:
            found[same[0]] = name
    for name in found:
        if name and found.count(name) > 1:
            raise EcgprismError(f"{path}: column {name!r} stands twice")
    return found


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = _decoded(path.read_bytes())
        delimiter = _delimiter(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise EcgprismError(f"{path}: not a CSV table ({one_line(error)})") from None


def _decoded(content: bytes) -> str:
    """Return the text: by its mark, else UTF-8, else Latin-1 where no control characters speak against it."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if content.startswith(mark):
            return content.decode(encoding)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    if "\x00" in text:
        raise csv.Error("it holds NUL bytes: no text")
    return text


def _delimiter(text: str) -> str:
    """Return what parts the cells of the header; of equals the comma. Quoted cells do not count."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {each: len(next(csv.reader([first], delimiter=each), [])) for each in DELIMITERS}
    return max(DELIMITERS, key=lambda each: (counts[each], -DELIMITERS.index(each)))


def _sheet(path: Path) -> list[tuple[int, list[str]]]:
    try:
        import openpyxl  # noqa: PLC0415  (an extra)
    except ImportError:
        hint = "pip install 'ecgprism[excel]', or save it as CSV"
        raise EcgprismError(f"{path}: reading Excel needs an extra: {hint}") from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheet = book.worksheets[0]
        rows = [(n, [_text(cell) for cell in row]) for n, row in enumerate(sheet.iter_rows(values_only=True), start=1)]
        book.close()
    except Exception as error:  # openpyxl raises whatever the damaged archive leads to
        raise EcgprismError(f"{path}: not an Excel table ({type(error).__name__}: {one_line(error)})") from None
    return [(n, row) for n, row in rows if any(cell for cell in row)]


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:g}" if isinstance(cell, float) and cell == int(cell) else str(cell)
