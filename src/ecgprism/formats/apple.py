"""The ECG that Apple Health exports: lines of `key,value` in the phone's language, then one column of samples.

What the lines mean is told by their values (`512 Hertz`, a lead behind it, a unit), for the keys are translated.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declaration, FileContent, assembled
from ecgprism.formats.table import MAX_CELL, text_of

MAX_KEYS = 60
_RATE = re.compile(
    r"(\d{1,6}(?:[.,]\d{1,12})?)\s*(?:hertz|hercios?|herz|hz|赫兹|赫茲|ヘルツ|헤르츠|герц|гц)\.?", re.IGNORECASE
)
_KEYS = re.compile(
    r"^[^,;\n]{1,60}[,;]\"?\d{1,6}(?:[.,]\d{1,12})?\s*(?:hertz|hercios?|hz|赫兹|赫茲|ヘルツ|헤르츠|герц)",
    re.IGNORECASE | re.MULTILINE,
)
_SAMPLE = re.compile(r"[-+]?\d{1,20}(?:[.,]\d{0,20})?(?:[eE][-+]?\d{1,3})?")
_DETAILS = {
    "acquired": re.compile(r"\d{4}-\d\d-\d\d \d\d?:\d\d.*"),
    "device": re.compile(r"Watch\d.*|Apple Watch.*"),
}
_STATEMENTS = re.compile(r"[ck]las+ifi", re.IGNORECASE)
_SOFTWARE = re.compile(r"soft ?ware|logiciel", re.IGNORECASE)


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of such an export."""
    text = head.decode("utf-8-sig", errors="replace").replace("\r", "\n")
    return bool(_KEYS.search(text)) or text.startswith("Sample Rate,") or "\nSample Rate," in text


def read(path: Path, declared: Declaration) -> Recording:
    """Read an export. Raises ReadError naming the line that is neither key nor sample."""
    lines = text_of(path).split("\n")
    first = next((n for n, line in enumerate(lines) if _is_sample(line)), len(lines))
    if first > MAX_KEYS:
        raise ReadError(f"{path}: Apple Watch CSV without samples")
    said = [re.split("[,;]", line, maxsplit=1) for line in lines[:first] if "," in line or ";" in line]
    pairs = [(key.strip()[:100], value.strip(' ";\t\xa0')[:1000]) for key, value in said]
    rate = next(((n, match) for n, (_, value) in enumerate(pairs) if (match := _RATE.fullmatch(value[:100]))), None)
    if rate is None:
        given = next((value for key, value in pairs if key == "Sample Rate"), "")
        raise ReadError(f"{path}: Apple Watch CSV with sample rate {given[:40]!r}; expected hertz")
    behind = [value for _, value in pairs[rate[0] + 1 :] if value]
    unit = next((value for value in behind if millivolts(value)), "")
    lead = next((value.split()[-1] for value in behind if canonical_lead(value.split()[-1])), "")
    details = {name: next((v for _, v in pairs if form.fullmatch(v)), "") for name, form in _DETAILS.items()}
    details["software"] = next((value for key, value in pairs if _SOFTWARE.search(key)), "")
    details["statements"] = next((value for key, value in pairs if _STATEMENTS.match(key)), "")
    channel = Channel(lead or "I", _samples(path, lines, first), unit, float(rate[1][1].replace(",", ".")))
    found = FileContent([channel], details={key: value for key, value in details.items() if value})
    return assembled(path, "Apple Watch CSV", found, declared)


def _bare(line: str) -> str:
    """Return a line without the quotes and delimiters that a spreadsheet adds."""
    return line.strip(' "\t;')


def _is_sample(line: str) -> bool:
    return len(line) <= MAX_CELL and bool(_SAMPLE.fullmatch(_bare(line)))


def _samples(path: Path, lines: list[str], first: int) -> NDArray[np.float64]:
    """Return the column of samples, with decimal points or commas."""
    last = len(lines)
    while last > first and not _bare(lines[last - 1]):
        last -= 1
    if last == first:
        raise ReadError(f"{path}: holds no samples")
    points = commas = False
    out = np.empty(last - first)
    for number in range(first, last):
        line = _bare(lines[number])
        if not _is_sample(lines[number]):
            raise ReadError(f"{path}, line {number + 1}: {line[:40]!r} is no number")
        points, commas = points or "." in line, commas or "," in line
        out[number - first] = float(line.replace(",", "."))
    if points and commas:
        raise ReadError(f"{path}: samples with decimal points and samples with decimal commas")
    return out
