"""What is said of a patient as the columns that a model knows: the same words, or an error, or a said missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecgprism.ecg.metadata import MAX_AGE_YEARS, age_years, is_missing_text, number, sex_of
from ecgprism.errors import EcgprismError, nearest
from ecgprism.interface.card import Card, Column


@dataclass(frozen=True)
class Told:
    """What a table says of the patient of one recording: its row, None where it has none."""

    table: str
    row: Mapping[str, float | str] | None


def patient_values(
    columns: Sequence[Column], of_file: Mapping[str, float | str], told: Told | None
) -> tuple[dict[str, float | str], list[str]]:
    """Return the values of columns, the table's before the file's, and remarks on what does not agree or is unknown."""
    row = told.row if told is not None and told.row is not None else {}
    found: dict[str, float | str] = {}
    remarks = [f"no row in {told.table}"] if told is not None and told.row is None else []
    for column in columns:
        value, problem = known_value(column, row.get(column.name))
        other, trouble = known_value(column, of_file.get(column.name))
        if told is not None and value is not None and other is not None and value != other:
            remarks.append(f"{column.name}={value} of {told.table}, the file says {other}")
        remarks += [f"{said}, taken as missing" for said in (problem, trouble if value is None else "") if said]
        chosen = other if value is None else value
        if chosen is not None:
            found[column.name] = chosen
    return found, remarks


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
