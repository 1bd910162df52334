"""What identifies somebody in a file, and whether it still stands in a copy."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

_NO_NAMES = "anonymous anonymized anonymised unknown none null startdate ecg 19000101 19850101".split()  # noqa: SIM905


def of_record(record: Any) -> set[str]:
    """Return what of a parsed file identifies somebody."""
    recording, patient, statements = record.recording, record.patient, record.interpretation
    people = (patient.first_name, patient.last_name, recording.technician, recording.referring_physician)
    numbers = (statements.interpreter, patient.patient_id, recording.device.serial_number)
    days = (patient.birth_date, recording.date, statements.interpretation_date)
    return set().union(*map(words, people + numbers), *map(_dates, days), phrase(recording.device.institution))


def words(text: object) -> set[str]:
    """Return the parts of a name or number that are long enough to be searched for."""
    found = re.findall(r"[^\W_]+(?:[-.][^\W_]+)*", str(text or ""))
    parts = {part for word in found for part in (word, *re.split(r"[-.]", word))}
    return {p for p in parts if len(p) >= (6 if p.isdigit() else 3) and p.casefold() not in _NO_NAMES}


def phrase(text: object) -> set[str]:
    """Return a text that is searched for as a whole."""
    return {str(text)} if len(str(text or "")) >= 4 and str(text).casefold() not in _NO_NAMES else set()


def _dates(day: date | None) -> set[str]:
    """Return the usual spellings of a day."""
    if day is None or f"{day:%Y%m%d}" in _NO_NAMES:
        return set()
    forms = ("%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%b{0}%Y")
    short = ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%d{0}%b{0}%y")
    texts = {form.format(sign) for form in forms for sign in ("", "-", ".", "/", " ")}
    return {day.strftime(text) for text in texts | {form.format(sign) for form in short for sign in "-./"}}


def count_found(searched: bytes, secrets: set[str]) -> int:
    """Return how many of the strings occur, in any case and any usual encoding."""
    encodings, halves = ("latin-1", "utf-8", "utf-16-le", "utf-16-be"), (searched, searched[1:])
    text = "\0".join(half.decode(encoding, "replace") for half in halves for encoding in encodings).casefold()
    found = 0
    for secret in map(str.casefold, secrets):
        # three letters, or a few digits, occur by chance inside of something longer
        alone = len(secret) < 4 or (secret.isdigit() and len(secret) < 8)
        found += bool(re.search(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])" if alone else re.escape(secret), text))
    return found
