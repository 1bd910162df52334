"""What files and tables say of a patient: missing values, numbers, age and sex as people spell them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from numbers import Real

import numpy as np

MISSING = frozenset(
    (
        "",
        "nan",
        "na",
        "n/a",
        "#n/a",
        "<na>",
        "none",
        "null",
        "nil",
        "unknown",
        "not known",
        "missing",
        "?",
        "-",
        "--",
        ".",
    )
)
MAX_AGE_YEARS = 130
#: the largest possible value of each column, in the unit that it is told in
MOST = {"age": MAX_AGE_YEARS, "height": 260, "weight": 400}
FEMALE = frozenset(("f", "fem", "female", "w", "woman", "weiblich", "femme", "mujer"))
MALE = frozenset(("m", "male", "man", "masc", "männlich", "homme", "hombre"))
MOST_CHARACTERS = 64  # of a cell that is read as a number
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.]\d*)?|[.]\d+|\d+,\d{1,2})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_AGE = re.compile(r"(\d{1,4}(?:[.,]\d{0,6})?)\s*(\D{0,12})", re.ASCII)
#: how many years one of the unit is
_YEARS = {
    **dict.fromkeys(("", "y", "yr", "yrs", "year", "years", "y/o", "yo", "jahr", "jahre", "a", "ans"), 1.0),
    **dict.fromkeys(("m", "mo", "month", "months", "monate"), 1 / 12),
    **dict.fromkeys(("w", "wk", "week", "weeks", "wochen"), 7 / 365.25),
    **dict.fromkeys(("d", "day", "days", "tage"), 1 / 365.25),
}


def is_missing(value: object) -> bool:
    """Return whether a metadata value is none: None, NaN, or what pandas has for them."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # by name: this part does without pandas


def is_missing_text(value: object) -> bool:
    """Return whether a cell says that there is nothing: empty, nan, NA, n/a, none, null, unknown, ?, -."""
    if is_missing(value):
        return True
    return isinstance(value, str) and value.strip().lower() in MISSING


def patient_id(value: object) -> str | None:
    """Return who a patient is as text, None where nobody knows; 12 and 12.0 are one patient."""
    if is_missing_text(value):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def number(value: object, decimal_comma: bool = False) -> float | None:
    """Return a finite number as people write it (`63`, `63.5`, `63,5`), or None.

    `1,234` may be a thousand and more, so it is none, unless the caller knows that a comma is a decimal one.
    """
    if isinstance(value, bool) or not isinstance(value, str | Real):
        return None
    if not isinstance(value, str):
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError:  # a whole number of 400 digits
            return None
    text = value.strip()
    if decimal_comma and "." not in text:
        text = text.replace(",", ".", 1)
    if len(text) > MOST_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    found = float(text.replace(",", "."))
    return found if math.isfinite(found) else None


def age_years(value: object) -> float | None:
    """Return an age in years (`63`, `63,5`, `63Y`, `063 years`, `6 months`), or None where it is no age of a person."""
    if not isinstance(value, str):
        found = number(value)
        return found if found is not None and 0 <= found <= MAX_AGE_YEARS else None
    text = value.strip().lower()
    match = _AGE.fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    unit = match[2].strip().rstrip(".") if match else None
    if match is None or unit not in _YEARS:
        return None
    years = float(match[1].replace(",", ".")) * _YEARS[unit]
    return years if years <= MAX_AGE_YEARS else None


def sex_of(value: object, legend: Mapping[str, str] | None = None) -> str | None:
    """Return `female` or `male` for the usual spellings, or those of a legend (`{"1": "female"}`); None for others."""
    text = str(value).strip().lower().rstrip(".")
    if legend:
        coded = {key.strip().lower(): meant for key, meant in legend.items()}
        whole = text.removesuffix(".0")  # what a table of numbers makes of 1
        text = coded.get(text, coded.get(whole, text))
    return "female" if text in FEMALE else "male" if text in MALE else None


def within_limits(name: str, value: float) -> bool:
    """Return whether a number is possible in a column of this name (age, height in cm, weight in kg)."""
    return name not in MOST or (0 <= value <= MOST[name] and (value > 0 or name == "age"))


def settle(metadata: Mapping[str, float | str], where: str) -> tuple[dict[str, float | str], list[str]]:
    """Return metadata as a corpus and a model take them, and a note on each value that is left out.

    Sex is `female` or `male`, an age is a number of years from 0 to 130; what says that it is missing is missing.
    """
    kept: dict[str, float | str] = {}
    notes = []
    for name, value in metadata.items():
        if is_missing_text(value):
            continue
        if name == "sex":
            found: float | str | None = sex_of(value)
        elif name == "age":
            found = age_years(value)
        else:
            plain = value.item() if isinstance(value, np.generic) else value
            size = None if isinstance(plain, str) else number(plain)
            found = plain if isinstance(plain, str) or (size is not None and within_limits(name, size)) else None
        if found is None:
            notes.append(f"{where}: {name} {value!r} is none: taken as missing")
        else:
            kept[name] = found
    return kept, notes


def demographics(
    age: object = None, sex: object = None, height_cm: object = None, weight_kg: object = None
) -> dict[str, float | str]:
    """Return metadata of what a file says of the patient; what is missing or impossible is left out."""
    said = {"age": age_years(age), "sex": sex_of(sex), "height": number(height_cm), "weight": number(weight_kg)}
    held = {name: value for name, value in said.items() if value is not None}
    return {name: value for name, value in held.items() if isinstance(value, str) or within_limits(name, value)}
