"""Tables as people have them: commas, semicolons or tabs; UTF-8, UTF-16 or Latin-1; what a spreadsheet writes."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgprism.errors import EcgprismError, nearest, one_line
from ecgprism.extras import library

DELIMITERS = (",", ";", "\t")
_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how .xlsx and .xls begin
_HINT_OF_EXCEL = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)  # a first line that only names the delimiter

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Cells:
    """A table of texts by column; `lines` tells on which line of the file each row ends.

    `comma_parts` says that commas part its cells, so that none is a decimal comma unless it shows that it is.
    """

    lines: tuple[int, ...]
    columns: Mapping[str, Sequence[str]]
    comma_parts: bool = True


def read_cells(path: Path, known: Sequence[str] = (), renamed: Mapping[str, str] | None = None) -> Cells:
    """Read a table with a header; of a workbook, its first sheet.

    `known` columns are found in any case and with blanks or hyphens for underscores (`Patient ID`); `renamed` says
    under which names they stand. Raises EcgprismError naming the line: no table, a column that stands twice or is not
    there, a row with more cells than columns.
    """
    if not path.is_file():
        raise EcgprismError(f"{path}: no such table")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EcgprismError(f"{path}: not a CSV table ({one_line(error)})") from None
    if content.startswith(_OLD_EXCEL):
        raise EcgprismError(f"{path}: an Excel file of before 2007; save it as .xlsx or CSV")
    if path.suffix.lower() in (".xlsx", ".xlsm") or content.startswith(_ZIP):
        rows, comma_parts = _sheet(path, content), False
    else:
        wanted = {_plain((renamed or {}).get(name, name)) for name in known}
        rows, comma_parts = _rows(path, content, wanted)
    if not rows:
        raise EcgprismError(f"{path}: not a CSV table (it is empty)")
    header = _header(path, [" ".join(name.split()) for name in rows[0][1]], known, renamed or {})
    body = [(line, [cell.strip() for cell in row]) for line, row in rows[1:]]
    for line, row in body:
        if any(row[len(header) :]):
            raise EcgprismError(f"{path}: not a CSV table (line {line} has more fields than its header)")
    columns = {name: tuple(row[k] if k < len(row) else "" for _, row in body) for k, name in enumerate(header) if name}
    return Cells(tuple(line for line, _ in body), columns, comma_parts)


def find_column(name: str, columns: Sequence[str]) -> str | None:
    """Return the column of a name: the very one, or the only one that case, blanks or hyphens alone tell from it."""
    if name in columns:
        return name
    same = [column for column in columns if _plain(column) == _plain(name)]
    return same[0] if len(same) == 1 else None


def _plain(name: str) -> str:
    return "_".join(re.split(r"[\s_-]+", name.strip())).casefold()


def _header(path: Path, names: list[str], known: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    found = list(names)
    for name in known:
        wanted = " ".join(renamed.get(name, name).split())
        held = find_column(wanted, [each for each in names if each])
        if name in renamed and held is None:
            raise EcgprismError(f"{path}: column {wanted!r} is missing{nearest(wanted, names)}")
        same = [k for k, each in enumerate(names) if each == held or (held is None and _plain(each) == _plain(wanted))]
        for k in same:
            found[k] = name
    for name in found:
        at = [k for k, each in enumerate(found) if each == name]
        if name and len(at) > 1:
            written = " and ".join(f"{names[k]!r} (column {k + 1})" for k in at)
            raise EcgprismError(f"{path}: column {name!r} stands twice: {written}")
    return found


def _rows(path: Path, content: bytes, wanted: set[str]) -> tuple[list[Row], bool]:
    """Return the rows that are not empty, each with its last line, and whether commas part their cells."""
    try:
        text = _decoded(content)
        hint = _HINT_OF_EXCEL.fullmatch(text.splitlines()[0]) if text.strip() else None
        delimiter = hint[1] if hint else _delimiter(text, wanted)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        return rows[1:] if hint else rows, delimiter == ","
    except (csv.Error, TypeError, UnicodeDecodeError) as error:  # TypeError: what no delimiter can be
        raise EcgprismError(f"{path}: not a CSV table ({one_line(error)})") from None


def _decoded(content: bytes) -> str:
    """Return the text: by its mark or its zeros, else UTF-8, else Latin-1 where no control characters speak against it.

    Latin-1 is what Windows makes of it (code page 1252).
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if content.startswith(mark):
            return content.decode(encoding)
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):  # a header of Latin letters has zeros at every other
        begin = content[:8]
        if len(begin) == 8 and not any(begin[first::2]) and all(begin[1 - first :: 2]):
            return content.decode(encoding)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    if "\x00" in text:
        raise csv.Error("it holds NUL bytes: no text")
    return text


def _delimiter(text: str, wanted: set[str]) -> str:
    """Return what parts the header into most of the wanted names, then into most cells; of equals the comma."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def cells(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        return len(wanted & {_plain(name) for name in names}), len(names)

    return max(DELIMITERS, key=lambda each: (*cells(each), -DELIMITERS.index(each)))


def _sheet(path: Path, content: bytes) -> list[Row]:
    openpyxl = library("openpyxl", f"{path}: reading Excel (or save it as CSV)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and rules that no cell holds
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            held = list(book.worksheets[0].iter_rows(values_only=True))
            book.close()
    except Exception as error:  # openpyxl raises whatever the damaged archive leads to
        raise EcgprismError(f"{path}: not an Excel table ({type(error).__name__}: {one_line(error)})") from None
    rows = [(n, [_text(cell) for cell in row]) for n, row in enumerate(held, start=1)]
    return [(n, row) for n, row in rows if any(cell.strip() for cell in row)]


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
