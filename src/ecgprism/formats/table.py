"""Tables of samples: Apple Watch CSV, Contec CSV, any CSV and NPY whose rate, unit and leads are declared.

A declaration comes from the caller, or from a JSON file beside the table, `recording.csv.json`:
`{"rate_hz": 500, "unit": "uV", "leads": ["I", "II"]}`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError, nearest
from ecgprism.formats.contract import Channel, Declared, Found, assembled

NPY_MAGIC = b"\x93NUMPY"
DELIMITERS = ",;\t"
_NO_LEAD = re.compile(r"^(point|index|sample|samples|n|no|nr|#|)$", re.IGNORECASE)
_TIME = re.compile(r"^(?:time|t)[ _]?[\[(]?(s|sec|seconds|ms)?[\])]?$", re.IGNORECASE)
_WITH_UNIT = re.compile(r"^(?P<lead>.*?)[ _]*[\[(](?P<unit>[mnuµμ]?V)[\])]$", re.IGNORECASE)
_NUMBER = re.compile(r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$|^\s*(nan|NaN)?\s*$")
_SIDECAR_KEYS = {"rate_hz", "unit", "leads"}


def declaration(path: Path, declared: Declared) -> Declared:
    """Return what is declared of a table, completed by the JSON file beside it. Raises ReadError for an unknown key."""
    beside = path.with_name(path.name + ".json")
    if not beside.is_file():
        return declared
    try:
        given = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReadError(f"{beside}: not valid JSON ({error})") from None
    if not isinstance(given, dict):
        raise ReadError(f"{beside}: expected an object with {', '.join(sorted(_SIDECAR_KEYS))}")
    for key in given:
        if key not in _SIDECAR_KEYS:
            raise ReadError(f"{beside}: unknown key {key!r}{nearest(key, _SIDECAR_KEYS)}")
    leads, rate_hz = given.get("leads"), given.get("rate_hz")
    if leads is not None and not (isinstance(leads, list) and all(isinstance(lead, str) for lead in leads)):
        raise ReadError(f"{beside}: leads = {leads!r}; expected a list of names")
    if rate_hz is not None and (isinstance(rate_hz, bool) or not isinstance(rate_hz, int | float)):
        raise ReadError(f"{beside}: rate_hz = {rate_hz!r}; expected a number")
    return replace(
        declared,
        rate_hz=declared.rate_hz or rate_hz,
        unit=declared.unit or given.get("unit"),
        leads=declared.leads or (tuple(leads) if leads else None),
    )


def read_npy(path: Path, declared: Declared) -> Recording:
    """Read an array (leads, samples) or (samples, leads) or (samples,); rate, unit and leads are declared."""
    declared = declaration(path, declared)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, SyntaxError, UnicodeDecodeError, OverflowError) as error:
        raise ReadError(f"{path}: no valid NPY ({' '.join(str(error).split())[:200]})") from None
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise ReadError(f"{path}: NPY of shape {array.shape} and type {array.dtype}; expected numbers (leads, samples)")
    rate_hz, leads = _rate(path, declared), _leads(path, declared)
    if array.shape[0] != len(leads) and array.shape[1] == len(leads):
        array = array.T
    if array.shape[0] != len(leads):
        raise ReadError(f"{path}: NPY of shape {array.shape} does not fit the {len(leads)} declared leads")
    channels = [Channel(lead, row, declared.unit or "", rate_hz) for lead, row in zip(leads, array, strict=True)]
    return assembled(path, "NPY", Found(channels), declared)


def read_csv(path: Path, declared: Declared) -> Recording:
    """Read a CSV: Apple Watch's own, or columns of samples with or without a line of names."""
    declared = declaration(path, declared)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ReadError(f"{path}: of no known format (neither a signal file nor text)") from None
    lines = text.splitlines()
    head = "\n".join(lines[:30])
    if re.search(r"^Sample Rate,", head, flags=re.MULTILINE):
        return _apple(path, lines, declared)
    body = [line for line in lines if line.strip() and not line.startswith("#")]
    if not body:
        raise ReadError(f"{path}: of no known format (an empty text)")
    delimiter = max(DELIMITERS, key=body[0].count)
    try:
        first, second = list(csv.reader(body[:2], delimiter=delimiter)) if len(body) > 2 else ([], [])
    except csv.Error:
        first, second = [], []
    names = [cell.strip() for cell in first]
    has_names = not all(_NUMBER.match(cell) for cell in names)
    if not second or not all(_NUMBER.match(cell) for cell in second):
        raise ReadError(f"{path}: of no known format (text, and no table of numbers)")
    values = _values(path, body[has_names:], delimiter, 1 + has_names)
    if not has_names:
        return _unnamed(path, values, declared)
    return _named(path, names, values, declared)


def _named(path: Path, names: list[str], values: NDArray[np.float64], declared: Declared) -> Recording:
    channels, rate_hz = [], declared.rate_hz
    for name, column in zip(names, values.T, strict=True):
        time = _TIME.match(name)
        if time:
            rate_hz = rate_hz or _rate_of(path, name, column, 1e-3 if (time[1] or "").lower() == "ms" else 1.0)
        elif not _NO_LEAD.match(name):
            united = _WITH_UNIT.match(name)
            lead, unit = (united["lead"], united["unit"]) if united else (name, declared.unit or "")
            channels.append((lead, unit, column))
    if not rate_hz:
        _rate(path, declared)
    if declared.leads:  # names such as `value` say nothing
        if len(declared.leads) != len(channels):
            raise ReadError(f"{path}: {len(channels)} columns of samples, {len(declared.leads)} declared leads")
        channels = [(lead, unit, column) for lead, (_, unit, column) in zip(declared.leads, channels, strict=True)]
    assert rate_hz
    found = [Channel(lead, column, unit, rate_hz) for lead, unit, column in channels]
    return assembled(path, "CSV", Found(found), declared)


def _unnamed(path: Path, values: NDArray[np.float64], declared: Declared) -> Recording:
    rate_hz, leads = _rate(path, declared), _leads(path, declared)
    filled = values[:, ~np.isnan(values).all(axis=0)]
    if len(leads) == values.shape[1]:
        filled = values
    if filled.shape[1] != len(leads):
        raise ReadError(f"{path}: {filled.shape[1]} columns of samples, {len(leads)} declared leads")
    channels = [
        Channel(lead, column, declared.unit or "", rate_hz) for lead, column in zip(leads, filled.T, strict=True)
    ]
    return assembled(path, "CSV", Found(channels), declared)


def _apple(path: Path, lines: list[str], declared: Declared) -> Recording:
    """Read an export of Apple Health: lines of `key,value`, then one column of samples."""
    said: dict[str, str] = {}
    samples: list[str] = []
    for line in lines:
        key, comma, value = line.partition(",")
        if _NUMBER.match(line) and line.strip():
            samples.append(line)
        elif comma and not samples:
            said[key.strip()] = value.strip().strip('"')
    rate = re.match(r"([\d.]+)\s*(hertz|hz)", said.get("Sample Rate", ""), flags=re.IGNORECASE)
    if rate is None:
        raise ReadError(f"{path}: Apple Watch CSV with sample rate {said.get('Sample Rate', '')!r}; expected hertz")
    values = _numbers(path, ([sample] for sample in samples), 1)
    lead = said.get("Lead", declared.leads[0] if declared.leads else "")
    lead = re.sub(r"^lead\s+", "", lead, flags=re.IGNORECASE) or "I"
    keys = {
        "acquired": "Recorded Date",
        "device": "Device",
        "software": "Software Version",
        "statements": "Classification",
    }
    details = {key: said[name] for key, name in keys.items() if said.get(name)}
    channel = Channel(lead, values[:, 0], said.get("Unit", ""), float(rate[1]))
    return assembled(path, "Apple Watch CSV", Found([channel], details=details), declared)


def _values(path: Path, body: list[str], delimiter: str, first_line: int) -> NDArray[np.float64]:
    """Return a table (rows, columns) as numbers: at once, or line by line to name the line that is none."""
    try:
        table = pd.read_csv(io.StringIO("\n".join(body)), sep=delimiter, header=None, dtype=np.float64)
    except (ValueError, pd.errors.ParserError, OverflowError):
        try:
            return _numbers(path, csv.reader(body, delimiter=delimiter), first_line)
        except csv.Error as error:
            raise ReadError(f"{path}: no table of numbers ({error})") from None
    return table.to_numpy()


def _numbers(path: Path, rows: Iterable[list[str]], first_line: int) -> NDArray[np.float64]:
    """Return the cells (rows, columns) as numbers, NaN for empty ones. Raises ReadError with the line."""
    out: list[list[float]] = []
    for line, row in enumerate(rows, start=first_line):
        try:
            out.append([float(cell) if cell.strip() else np.nan for cell in row])
        except ValueError as error:
            raise ReadError(f"{path}, line {line}: {error}") from None
        if len(out[-1]) != len(out[0]):
            raise ReadError(f"{path}, line {line}: {len(row)} fields, the lines before have {len(out[0])}")
    if not out:
        raise ReadError(f"{path}: holds no samples")
    return np.array(out)


def _rate(path: Path, declared: Declared) -> float:
    if not declared.rate_hz:
        raise ReadError(f"{path}: says no sampling rate; declare it, as in --rate 500, or in {path.name}.json")
    return declared.rate_hz


def _leads(path: Path, declared: Declared) -> tuple[str, ...]:
    if not declared.leads:
        raise ReadError(f"{path}: names no leads; declare them, as in --leads I,II, or in {path.name}.json")
    return declared.leads


def _rate_of(path: Path, name: str, column: NDArray[np.float64], seconds: float) -> float:
    """Return the rate of a time column. Raises ReadError when it is not evenly spaced."""
    steps = np.diff(column) * seconds
    if len(steps) < 2 or not np.isfinite(steps).all() or steps.min() <= 0 or np.ptp(steps) > 0.2 * steps.mean():
        raise ReadError(f"{path}: column {name!r} is no evenly spaced time; declare the rate, as in --rate 500")
    rate_hz = (len(column) - 1) / ((column[-1] - column[0]) * seconds)
    return round(rate_hz) if abs(rate_hz - round(rate_hz)) < 1e-3 * rate_hz else float(rate_hz)
