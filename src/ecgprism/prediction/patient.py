"""What is said of a patient as the columns that a model knows: the same words, or an error, or a said missing."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ecgprism.errors import EcgprismError, nearest
from ecgprism.formats.contract import MAX_AGE_YEARS, demographics
from ecgprism.interface.card import Card, Column

_MISSING = ("", "nan", "na", "n/a", "none", "null", "unknown", "?", "-")


def known_values(card: Card, given: Mapping[str, float | str]) -> dict[str, float | str]:
    """Return given values as a model knows them, missing ones left out. Raises EcgprismError for any other."""
    columns = {column.name: column for column in card.metadata}
    found: dict[str, float | str] = {}
    for key, said in given.items():
        if key not in columns:
            raise EcgprismError(f"metadata {key!r}: the model has no such column{nearest(key, columns)}")
        value, problem = known_value(columns[key], said)
        if problem:
            raise EcgprismError(f"metadata {problem}")
        if value is not None:
            found[key] = value
    return found


def known_value(column: Column, said: object) -> tuple[float | str | None, str]:
    """Return a value as a column has it, None for missing or unknown; and what is wrong with an unknown one."""
    text = "" if said is None else str(said).strip()
    if text.lower() in _MISSING:
        return None, ""
    if column.categories is not None:
        return _category(column, text)
    try:
        number = float(text)
    except ValueError:
        return None, f"{column.name}={text[:40]}: expected a number"
    if not math.isfinite(number) or (column.name == "age" and not 0 <= number <= MAX_AGE_YEARS):
        limits = f"0 to {MAX_AGE_YEARS} years" if column.name == "age" else "a number"
        return None, f"{column.name}={text[:40]}: expected {limits}"
    return number, ""


def _category(column: Column, text: str) -> tuple[str | None, str]:
    categories = column.categories or ()
    if text in categories:
        return text, ""
    same = [known for known in categories if known.lower() == text.lower()]
    sex = demographics(sex=text).get("sex") if column.name == "sex" else None
    if sex:
        same = same or [known for known in categories if demographics(sex=known).get("sex") == sex]
    if len(same) == 1:
        return same[0], ""
    return None, f"{column.name}={text[:40]}: the model does not know it{nearest(text[:40], categories)}"
