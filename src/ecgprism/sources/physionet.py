"""What the data sets of PhysioNet share: comments in the header, and annotation files (beats, rhythm, wave borders)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ecgprism.ecg.metadata import age_years, is_missing_text, settle, sex_of
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ReadError

#: symbol of each code, as WFDB prints them (ecgcodes.h); 0 is no annotation, codes without a symbol are unused
SYMBOLS = dict(enumerate(' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'))
NOTE, SKIP, NUM, SUB, CHN, AUX = 22, 59, 60, 61, 62, 63


def comments(path: Path) -> list[str]:
    """Return the comment lines of a header without their `#`; none when there is no such file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.lstrip()[1:].strip() for line in lines if line.lstrip().startswith("#")]


_PATIENT = re.compile(r"<?(age|sex|gender)>?\s*:\s*(.{1,40})", re.IGNORECASE)


def demographics(lines: list[str]) -> dict[str, float | str]:
    """Return age (years) and sex of comment lines such as `Age: 63Y`, `Gender: F`; what is neither as it stands there.

    What is missing is left out. An ingest names what stands there and is none, and leaves it out.
    """
    found: dict[str, float | str] = {}
    for line in lines:
        match = _PATIENT.fullmatch(line.strip())
        if match is None or is_missing_text(match[2]):
            continue
        text = match[2].strip()
        if match[1].lower() == "age":
            years = age_years(text)
            found["age"] = text if years is None else years
        else:
            found["sex"] = sex_of(text) or text
    return found


def without_impossible(recording: Recording) -> Recording:
    """Return a recording without what its header says of the patient and cannot be."""
    return replace(recording, metadata=settle(recording.metadata, str(recording.path))[0])


def read_annotations(path: Path, rate_hz: float) -> tuple[Annotation, ...]:
    """Read an annotation file in MIT format; `rate_hz` is that of the signal, unless the file names its own.

    Words of 16 bits, little-endian: the upper 6 bits are a code, the lower 10 the samples since the annotation before.
    Codes from 59 on say more of the annotation: a longer step (two words, the higher first), numbers that nobody needs
    here, a text of so many bytes. The word 0 ends the file. Raises ReadError when it is missing or the file is cut off.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path}: {(error.strerror or str(error)).lower()}: the record has no annotations") from None
    found: list[tuple[int, int, str]] = []  # sample, code, note
    at = i = 0
    while (word := _word(data, i, path)) != 0:
        code, amount = word >> 10, word & 0x3FF
        i += 1
        if code == SKIP:
            step = _word(data, i, path) << 16 | _word(data, i + 1, path)
            at += step - (step >> 31 << 32)
            i += 2
        elif code == AUX:
            note = data[2 * i : 2 * i + amount]
            i += (amount + 1) // 2
            if found:
                found[-1] = (*found[-1][:2], note.decode("latin-1").rstrip("\0"))
        elif code not in (NUM, SUB, CHN):
            at += amount
            found.append((at, code, ""))
    symbols, own_rate, rest = _definitions(found)
    rate_hz = own_rate or rate_hz
    return tuple(Annotation(at / rate_hz, symbols.get(code, f"[{code}]"), note) for at, code, note in rest if code)


def _word(data: bytes, i: int, path: Path) -> int:
    if len(data) < 2 * i + 2:
        raise ReadError(f"{path}: truncated: the annotations have no end mark")
    return data[2 * i] | data[2 * i + 1] << 8


def _definitions(
    found: list[tuple[int, int, str]],
) -> tuple[dict[int, str], float | None, list[tuple[int, int, str]]]:
    """Return the symbols by code, the rate (Hz) if given, and the annotations, without the notes that define those."""
    symbols, rate_hz, rest, defining = dict(SYMBOLS), None, [], False
    for at, code, note in found:
        if at != 0 or code != NOTE or not (defining or note.startswith("## ")):
            rest.append((at, code, note))
        elif given := re.match(r"## time resolution: (\d+(\.\d+)?)", note):
            rate_hz = float(given[1])
        elif note.startswith("## "):
            defining = note.startswith("## annotation type definitions")
        elif own := re.match(r"(\d+) (\S+)", note):
            symbols[int(own[1])] = own[2]
    return symbols, rate_hz or None, rest
