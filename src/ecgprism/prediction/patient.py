"""What is said of a patient as the columns that a model knows: the same words, or an error, or a said missing."""

from __future__ import annotations

from collections.abc import Mapping

from ecgprism.ecg.metadata import MAX_AGE_YEARS, age_years, is_missing_text, number, sex_of
from ecgprism.errors import EcgprismError, nearest
from ecgprism.interface.card import Card, Column


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
    if is_missing_text(said):
        return None, ""
    text = str(said).strip()
    if column.categories is not None:
        return _category(column, text)
    found = age_years(said) if column.name == "age" else number(said)
    if found is None:
        expected = f"0 to {MAX_AGE_YEARS} years" if column.name == "age" else "a number"
        return None, f"{column.name}={text[:40]}: expected {expected}"
    return found, ""


def _category(column: Column, text: str) -> tuple[str | None, str]:
    categories = column.categories or ()
    if text in categories:
        return text, ""
    same = [known for known in categories if known.lower() == text.lower()]
    sex = sex_of(text) if column.name == "sex" else None
    if sex:
        same = same or [known for known in categories if sex_of(known) == sex]
    if len(same) == 1:
        return same[0], ""
    return None, f"{column.name}={text[:40]}: the model does not know it{nearest(text[:40], categories)}"
