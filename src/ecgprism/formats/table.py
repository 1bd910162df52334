"""Tables of samples: any CSV and NPY; what they do not say of rate, unit and leads is declared."""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ReadError, one_line
from ecgprism.formats.contract import MAX_CHANNELS, Channel, Declaration, FileContent, assembled

NPY_MAGIC = b"\x93NUMPY"
BLANKS = " "  # any number of them
HEAD_LINES, MAX_CELL, MAX_NAME, BLOCK = 40, 64, 100, 200_000  # characters read at once
_NO_LEAD = re.compile(r"(point|index|samples?|samples? ?#|n|no|nr|row|#|)", re.IGNORECASE)
_TIMES = re.compile(
    r"(?:(?:phone|sensor|elapsed|unix)[ _]?)?(?:time ?stamp|date ?time|time|t|seconds|clock)", re.IGNORECASE
)
_SECONDS = {
    "": 1.0, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3,
    "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9,
}  # fmt: skip
_CLOCKS = ("hh:mm:ss.mmm", "mm:ss.mmm", "hh:mm:ss", "time")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_MISSING = ("", "nan", "na", "n/a", "null", "none")
_MISSING_SPELLED = sorted({spelled for word in _MISSING for spelled in (word, word.upper(), word.title(), "NaN")})
_CLOCK = re.compile(
    r"(?:\d{4}-\d\d-\d\d[T ])?(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}(?:\.\d{0,12})?)"
    r"(?:Z|[+-]\d\d:?\d\d|\s\d\d/\d\d/\d{4})?"
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def read_npy(path: Path, declared: Declaration) -> Recording:
    """Read an array (leads, samples) or (samples, leads) or (samples,); rate, unit and leads are declared."""
    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a size that the file has not is an error
    except Exception as error:  # numpy evaluates the header as Python and raises whatever that stumbles over
        raise ReadError(f"{path}: no valid NPY ({type(error).__name__}: {one_line(error)})") from None
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2 or samples.dtype.kind not in "iuf":
        raise ReadError(
            f"{path}: NPY of shape {samples.shape} and type {samples.dtype}; expected numbers (leads, samples)"
        )
    rate_hz, leads = _rate(path, declared), _leads(path, declared)
    if samples.shape[0] != len(leads) and samples.shape[1] == len(leads):
        samples = samples.T
    if samples.shape[0] != len(leads):
        raise ReadError(f"{path}: NPY of shape {samples.shape} does not fit the {len(leads)} declared leads")
    columns = [(lead, "", row) for lead, row in zip(leads, samples, strict=True)]
    return _assembled(path, "NPY", columns, rate_hz, declared)


def text_of(path: Path) -> str:
    """Return a text file, in UTF-8, UTF-16 with its mark, or Latin-1. Raises ReadError for one that is no text."""
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        coding = "utf-16"
    elif _CONTROL.search(raw[:65536]):
        raise ReadError(f"{path}: of no known format (neither a signal file nor text)")
    else:
        coding = "utf-8-sig"
    try:
        text = raw.decode(coding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


@dataclass(frozen=True)
class _Layout:
    """How a table is written: between the cells, before the decimals, names, units, the line of the first row.

    `regular` is a table whose first rows are all numbers, and as many.
    """

    delimiter: str | None
    decimal: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    first: int
    width: int
    regular: bool


def read_csv(path: Path, declared: Declaration) -> Recording:
    """Read a table of samples, with or without a line of names and one of units."""
    text = text_of(path)
    head = _head(path, text)
    layout = _layout(path, head, text)
    values = _values(path, text, layout)
    if not layout.names:
        return _unnamed(path, values, declared)
    return _named(path, layout, values, declared)


def _head(path: Path, text: str) -> list[tuple[int, str]]:
    """Return the first lines that are no comment, each behind its number."""
    found: list[tuple[int, str]] = []
    number = begin = 0
    while begin < len(text) and len(found) < HEAD_LINES and number < 10_000:
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        number += 1
        if end - begin > MAX_CHANNELS * MAX_CELL:
            said = f"a line of {end - begin} characters"
            raise ReadError(f"{path}, line {number}: of no known format (text, and no table of numbers: {said})")
        line = text[begin:end]
        if line.strip() and not line.startswith(("#", "sep=")):
            found.append((number, line))
        begin = end + 1
    if not found:
        raise ReadError(f"{path}: of no known format (an empty text)")
    return found


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [line.strip().strip('"')]
    if delimiter == BLANKS:
        return line.split()
    if '"' not in line and "'" not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, quotechar=_quote(line)))]


def _quote(line: str) -> str:
    return '"' if '"' in line else "'"


def _kind(cell: str, decimal: str) -> str:
    """Return what a cell is: number, missing, clock, or text."""
    if len(cell) > MAX_CELL:
        return "text"
    if cell.lower() in _MISSING:
        return "missing"
    cell = cell.strip("'\"[]\xa0 ")
    if _NUMBER.fullmatch(cell.replace(",", ".") if decimal == "," and "." not in cell else cell):
        return "number"
    return "clock" if _CLOCK.fullmatch(cell) else "text"


#: between the cells and before the decimals; a comma is both only where cells are quoted
_WRITINGS = (
    *(("\t", "."), ("\t", ","), (";", "."), (";", ","), ("|", "."), (",", "."), (None, "."), (None, ","), (",", ",")),
    *((BLANKS, "."), (BLANKS, ",")),
)  # fmt: skip


def _layout(path: Path, head: list[tuple[int, str]], text: str) -> _Layout:
    """Find how a table is written: the reading that makes numbers of all first rows, and most columns of them."""
    found = [layout for writing in _WRITINGS if (layout := _written(path, head, *writing))]
    if not found:
        raise ReadError(f"{path}: of no known format ({_no_table(head)})")
    best = max(found, key=lambda layout: (layout.regular, layout.width))
    if best.delimiter != "," or len(best.names) not in (0, 1) or best.width % 2 or '"' in head[-1][1] or "." in text:
        return best
    if best.width == 2 and (best.names or _decimal_comma(text)):
        return replace(best, delimiter=None, decimal=",", width=1)
    if _decimal_comma(text):
        line = f"{path}, line {best.first}: {head[-1][1][:40]!r}"
        raise ReadError(f"{line} has decimal commas, or none; write decimal points, or ; between the columns")
    return best


def _written(path: Path, head: list[tuple[int, str]], delimiter: str | None, decimal: str) -> _Layout | None:
    """Return the layout of a table as it would be if it were written so, None where it cannot be."""
    try:
        rows = [_cells(line, delimiter) for _, line in head]
    except csv.Error:
        rows = []
    if not rows or (delimiter is not None and not any(delimiter in line for _, line in head[:4])):
        return None
    first = next((n for n, row in enumerate(rows[:3]) if _is_row(row, decimal)), None)
    first = 1 if first == 0 and _is_numbered(rows) else first
    if first is None or not all(_is_row(row, decimal) for row in rows[first + 1 : first + 2]):
        return None
    above, below = rows[:first], rows[first:]
    if not any(_kind(cell, decimal) == "number" for row in below for cell in row):
        return None
    if (above and not _is_names(above[0], decimal)) or not all(_is_units(row, decimal) for row in above[1:]):
        return None  # a row with a cell that is no number is not passed over
    if delimiter is None and decimal == "," and any("," in line for _, line in head[:first]):
        return None  # names with commas between them
    width = len(rows[first])
    if width > MAX_CHANNELS:
        raise ReadError(f"{path}, line {head[first][0]}: a table of {width} columns")
    names = tuple(cell.strip("'\" ")[:MAX_NAME] for cell in rows[0]) if first else ()
    units = tuple(cell.strip("'\" ()[]")[:MAX_NAME] for cell in rows[1]) if first == 2 else ()
    regular = all(len(row) == width and _is_row(row, decimal) for row in rows[first:])
    return _Layout(delimiter, decimal, names, units, head[first][0], width, regular)


def _decimal_comma(text: str) -> bool:
    """Whether two whole numbers a line are one with a decimal comma: no whole number begins `00` or is `-0`."""
    if "." in text:
        return False
    return text.startswith("-0,") or "\n-0," in text or re.search(r",0\d", text) is not None


def _is_row(cells: Sequence[str], decimal: str) -> bool:
    return all(_kind(cell, decimal) != "text" for cell in cells)


def _is_names(cells: Sequence[str], decimal: str) -> bool:
    """Whether cells are names of columns: no number among them but behind names of times and of nothing."""
    bare = [cell.strip("'\" ") for cell in cells]
    others = [cell for cell in bare if _kind(cell, decimal) != "number"]
    known = all(_NO_LEAD.fullmatch(cell) or _TIMES.fullmatch(_split_unit(cell, "")[0]) for cell in others)
    return known or len(others) == len(bare)


def _is_units(cells: Sequence[str], decimal: str) -> bool:
    """Whether cells are units: one of a voltage or a time among them, and no number."""
    bare = [cell.strip("'\" ()[]") for cell in cells]
    known = any(millivolts(cell) or cell.lower() in (*_SECONDS, *_CLOCKS) for cell in bare if cell)
    return known and all(_kind(cell, decimal) in ("text", "missing") for cell in bare)


def _is_numbered(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row counts the columns, as pandas names them: behind an empty cell, or above decimals."""
    behind = rows[0][1:] if rows[0][0] == "" else rows[0]
    if len(behind) < 2 or list(behind) != [str(n) for n in range(len(behind))]:
        return False
    return len(behind) < len(rows[0]) or any("." in cell for row in rows[1:] for cell in row)


def _no_table(head: list[tuple[int, str]]) -> str:
    """Say which cell is no number."""
    if len(head) < 2:
        return "text, and no table of numbers"
    for number, line in (*head[1:4], head[0]):
        delimiter = max("\t;,", key=line.count)
        cells = [cell.strip("'\" ") for cell in line.split(delimiter)]
        cell = next((cell for cell in cells if _kind(cell, ".") == "text"), None)
        if cell:
            return f"text, and no table of numbers: {cell[:MAX_CELL]!r} in line {number} is none"
    return "text, and no table of numbers"


def _values(path: Path, text: str, layout: _Layout) -> NDArray[np.float64]:
    """Return a table (rows, columns) as numbers, times of day in seconds."""
    body = _from_line(text, layout.first).rstrip()
    parts, number, begin = [], layout.first, 0
    while begin <= len(body):
        end = body.find("\n", begin + BLOCK)
        block = body[begin : end if end >= 0 else len(body)]
        quick = _quick_values(block, layout)
        parts.append(_numbers(path, block, layout, number) if quick is None else quick)
        number += block.count("\n") + 1
        begin += len(block) + 1
    return np.concatenate(parts)


def _quick_values(block: str, layout: _Layout) -> NDArray[np.float64] | None:
    """Return some lines as numbers, None where they need to be looked at one by one."""
    marks = ("'", "\n#", ":", *("." for _ in range(layout.decimal == ",")))
    if block.startswith("#") or any(mark in block for mark in marks) or not _is_regular(block, layout):
        return None
    between = {None: "\x01", BLANKS: r"\s+"}.get(layout.delimiter, layout.delimiter)
    try:
        table = pd.read_csv(
            io.StringIO(block), sep=between, header=None, dtype=np.float64, decimal=layout.decimal,
            skip_blank_lines=False, keep_default_na=False, na_values=_MISSING_SPELLED,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError, OverflowError):
        return None
    values = table.to_numpy()
    is_whole = values.shape == (block.count("\n") + 1, layout.width) and not np.isinf(values).any()
    return values if is_whole else None


def _from_line(text: str, number: int) -> str:
    begin = 0
    for _ in range(number - 1):
        begin = text.index("\n", begin) + 1
    return text[begin:]


def _is_regular(body: str, layout: _Layout) -> bool:
    """Whether all lines have as many cells as the first: the quick parser would fill up short ones without a word."""
    if not body.isascii():
        return False
    data = np.frombuffer(body.encode("ascii"), dtype=np.uint8)
    ends = np.append(np.flatnonzero(data == 10), len(data))
    if layout.delimiter is None:
        return bool((np.diff(ends, prepend=-1) > 1).all())
    if layout.delimiter == BLANKS:
        inked = data > 32
        cells = np.flatnonzero(inked & ~np.r_[False, inked[:-1]])
        return bool((np.diff(np.searchsorted(cells, ends), prepend=0) == layout.width).all())
    counts = np.searchsorted(np.flatnonzero(data == ord(layout.delimiter)), ends)
    return bool((np.diff(counts, prepend=0) == layout.width - 1).all())


def _lines(body: str) -> Iterator[str]:
    begin = 0
    while begin <= len(body):
        end = body.find("\n", begin)
        end = len(body) if end < 0 else end
        yield body[begin:end]
        begin = end + 1


def _numbers(path: Path, body: str, layout: _Layout, first: int) -> NDArray[np.float64]:
    """Return the cells (rows, columns) as numbers, NaN for empty ones. Raises ReadError with the line."""
    out = array("d")
    for number, line in enumerate(_lines(body), start=first):
        if line.startswith("#"):
            continue
        if len(line) > MAX_CHANNELS * MAX_CELL:
            raise ReadError(f"{path}, line {number}: {len(line)} characters")
        try:
            cells = _cells(line, layout.delimiter)
        except csv.Error as error:
            raise ReadError(f"{path}, line {number}: {error}") from None
        if len(cells) != layout.width:
            raise ReadError(f"{path}, line {number}: {len(cells)} cells, the first row has {layout.width}")
        if layout.width == 1 and not cells[0]:
            raise ReadError(f"{path}, line {number}: empty, and the table goes on")
        out.extend(_number(path, number, cell, layout.decimal) for cell in cells)
    return np.frombuffer(out, dtype=np.float64).reshape(-1, layout.width)


def _number(path: Path, line: int, cell: str, decimal: str) -> float:
    kind = _kind(cell, decimal)
    if kind == "missing":
        return float("nan")
    cell = cell.strip("'\"[]\xa0 ")
    value = float(cell.replace(",", ".") if decimal == "," else cell) if kind == "number" else math.nan
    if math.isfinite(value):
        return value
    clock = _CLOCK.fullmatch(cell) if kind == "clock" else None
    if clock is None:
        raise ReadError(f"{path}, line {line}: {cell[:MAX_CELL]!r} is no number")
    return 3600 * float(clock[1] or 0) + 60 * float(clock[2]) + float(clock[3])


def _named(path: Path, layout: _Layout, values: NDArray[np.float64], declared: Declaration) -> Recording:
    names, values = _fitted(path, layout, values)
    units = layout.units if len(layout.units) == len(names) else ("",) * len(names)
    columns, times = [], []
    for name, below, column in zip(names, units, values.T, strict=True):
        lead, unit = _split_unit(name, below)
        if _TIMES.fullmatch(lead) and unit.lower() in (*_SECONDS, *_CLOCKS):
            times.append((name, column, _SECONDS.get(unit.lower(), 1.0)))
        elif not _NO_LEAD.fullmatch(lead):
            columns.append((lead, unit, column))
    if not columns:
        raise ReadError(f"{path}: no column of samples among {', '.join(map(repr, names[:12]))}")
    rate_hz = declared.rate_hz or (_rate_of(path, times) if times else _rate(path, declared))
    return _assembled(path, "CSV", columns, rate_hz, declared)


def _split_unit(name: str, below: str) -> tuple[str, str]:
    """Return name and unit of a column called `I (mV)` or `ecg [uV]`, or of one with the unit in the next line."""
    begin = max(name.rfind("["), name.rfind("("))
    if begin >= 0 and name[-1] in ")]":
        inside = name[begin + 1 : -1].strip()
        if millivolts(inside) or inside.lower() in _SECONDS or not (below or canonical_lead(inside)):
            return name[:begin].strip(" _"), inside
    for between in ("_", " "):
        front, _, tail = name.rpartition(between)
        if front and (millivolts(tail) or tail.lower() in _SECONDS):
            return front, tail
    return name, below


def _fitted(path: Path, layout: _Layout, values: NDArray[np.float64]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return names and columns of equal number: rows that end in a delimiter, or begin with their number as R's do."""
    names, width = layout.names, layout.width
    if len(names) == width - 1 and np.isnan(values[:, -1]).all():
        return names, values[:, :-1]
    if len(names) == width - 1 and np.array_equal(values[:, 0], np.arange(1, len(values) + 1)):
        return names, values[:, 1:]
    if len(names) > width and not any(names[width:]):
        return names[:width], values
    if len(names) != width:
        raise ReadError(f"{path}, line {layout.first}: {width} cells, the line of names has {len(names)}")
    return names, values


def _unnamed(path: Path, values: NDArray[np.float64], declared: Declaration) -> Recording:
    rate_hz, leads = _rate(path, declared), _leads(path, declared)
    filled = values if len(leads) == values.shape[1] else values[:, ~np.isnan(values).all(axis=0)]
    if filled.shape[1] != len(leads):
        raise ReadError(f"{path}: {filled.shape[1]} columns of samples, {len(leads)} declared leads")
    columns = [(lead, "", column) for lead, column in zip(leads, filled.T, strict=True)]
    return _assembled(path, "CSV", columns, rate_hz, declared)


def _assembled(
    path: Path,
    form: str,
    columns: Sequence[tuple[str, str, NDArray[np.float64]]],
    rate_hz: float,
    declared: Declaration,
) -> Recording:
    zero = declared.zero or 0.0
    channels = [Channel(name, column, unit, rate_hz, zero=zero) for name, unit, column in columns]
    return assembled(path, form, FileContent(channels), declared)


def _rate(path: Path, declared: Declaration) -> float:
    if not declared.rate_hz:
        raise ReadError(
            f"{path}: says no sampling rate; declare it, as in --rate 500 (rate_hz=500), or in {path.name}.json"
        )
    return declared.rate_hz


def _leads(path: Path, declared: Declaration) -> tuple[str, ...]:
    if not declared.leads:
        raise ReadError(
            f"{path}: names no leads; declare them, as in --leads I,II (leads=['I', 'II']), or in {path.name}.json"
        )
    return declared.leads


def _rate_of(path: Path, times: Sequence[tuple[str, NDArray[np.float64], float]]) -> float:
    """Return the rate of the first time column that is evenly spaced, as far as its digits tell. Raises ReadError."""
    for _, column, unit_s in times:
        steps = np.diff(column) * unit_s
        if len(steps) < 2 or not np.isfinite(steps).all():
            continue
        usual = float(np.median(steps))
        if usual <= 0 or steps.min() < 0.5 * usual or steps.max() > 1.5 * usual:
            continue
        duration_s = (column[-1] - column[0]) * unit_s
        rate_hz = len(steps) / duration_s
        # times are rounded: what they leave open is a step's spread in the whole duration
        close = abs(rate_hz - round(rate_hz)) <= rate_hz * max(float(np.ptp(steps)) / duration_s, 1e-9)
        return float(round(rate_hz)) if close else float(rate_hz)
    raise ReadError(
        f"{path}: column {times[0][0]!r} is no evenly spaced time; declare the rate, as in --rate 500 (rate_hz=500)"
    )
