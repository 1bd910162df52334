"""The label column of a table: one or more class names a row, as people write them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecgprism.ecg.metadata import number
from ecgprism.errors import EcgprismError, nearest
from ecgprism.interface.card import Kind

KindOrAuto = Literal["auto", "multilabel", "multiclass"]

MOST_CHARACTERS = 10_000  # of a cell
NO_REGRESSION = "numbers with fractions are no classes, and regression is not there: make classes of them"
#: what programs write where there is no label; `none` or `unknown` may be a class
_NO_LABEL = ("nan", "<na>", "null", "n/a")


@dataclass(frozen=True)
class LabelColumn:
    """The labels of every row, what kind of task they make, its classes, and what must be said of them."""

    of_rows: Sequence[tuple[str, ...]]
    kind: Kind
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def read_labels(
    path: Path,
    cells: Sequence[tuple[int, str]],
    classes: str | None,
    kind: KindOrAuto,
    empty_is_negative: bool,
) -> LabelColumn:
    """Read the cells (line, text) of the label column; `classes` are the names joined by `|`, where they are given.

    Raises EcgprismError naming the line: a label that is none of the classes, labels that differ in case or spaces
    alone, labels joined by something else than `|`, several where one is allowed, none at all.
    """
    chosen = tuple(split(classes)) if classes else ()
    notes: list[str] = []
    of_rows = [_labels_of(f"{path}, line {line}", text, chosen, notes) for line, text in cells]
    first: dict[str, int] = {}
    for (line, _), labels in zip(cells, of_rows, strict=True):
        for label in labels:
            first.setdefault(label, line)
    if not first and not chosen:
        raise EcgprismError(f"{path}: no row has a label")
    if chosen:
        renamed = _renamed(path, first, chosen)
        of_rows = [tuple(dict.fromkeys(renamed[label] for label in labels)) for labels in of_rows]
        notes += [f"label {label!r} taken as {name!r}" for label, name in renamed.items() if label != name]
    else:
        _refuse_twins(path, first)
        _refuse_numbers(path, first)
    found = chosen or tuple(sorted(first))
    if kind == "auto":
        kind, why = _kind_of(of_rows, found, empty_is_negative)
        notes += why
    for (line, text), labels in zip(cells, of_rows, strict=True):
        if kind == "multiclass" and len(labels) > 1:
            raise EcgprismError(f"{path}, line {line}: labels {text!r}: kind=multiclass allows one; or kind=multilabel")
    return LabelColumn(of_rows, kind, found, tuple(dict.fromkeys(notes)))


def split(text: str) -> list[str]:
    """Return what is joined by bars."""
    return [label.strip() for label in text.split("|") if label.strip()]


def _labels_of(at: str, text: str, classes: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    if len(text) > MOST_CHARACTERS:
        raise EcgprismError(f"{at}: labels of {len(text)} characters")
    if text in classes:
        return (text,)
    if text.lower() in _NO_LABEL:
        notes.append(f"labels {text!r} taken as no label")
        return ()
    if text[:1] in ("[", "{") or text[:1] + text[-1:] == "()":
        return _listed(at, text)
    labels = tuple(dict.fromkeys(split(text)))
    for label in labels:
        if label not in classes and (";" in label or "," in label):
            parts = [part.strip() for part in label.replace(";", ",").split(",")]
            raise EcgprismError(
                f"{at}: labels {text!r}: several are joined by |, as in {'|'.join(filter(None, parts))}; "
                "if it is one, name it with classes="
            )
    return labels


def _listed(at: str, text: str) -> tuple[str, ...]:
    """Return the labels of a cell that is a list of Python or JSON, as in ['NORM', 'MI']."""
    try:
        found = list(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = [None]
    if not all(isinstance(label, str | int) for label in found):
        raise EcgprismError(f"{at}: labels {text[:60]!r}: expected names joined by |, as in NORM|MI")
    return tuple(dict.fromkeys(str(label).strip() for label in found))


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()


def _renamed(path: Path, first: dict[str, int], classes: Sequence[str]) -> dict[str, str]:
    """Return the class of every label: itself, or the one from which case or spaces alone tell it."""
    renamed = {}
    for label, line in first.items():
        near = [name for name in classes if _plain(name) == _plain(label)]
        if label not in classes and len(near) != 1:
            raise EcgprismError(f"{path}, line {line}: unknown label {label!r}{nearest(label, classes)}")
        renamed[label] = label if label in classes else near[0]
    return renamed


def _refuse_twins(path: Path, first: dict[str, int]) -> None:
    seen: dict[str, str] = {}
    for label, line in first.items():
        other = seen.setdefault(_plain(label), label)
        if other != label:
            raise EcgprismError(
                f"{path}, line {line}: label {label!r} differs from {other!r} (line {first[other]}) in case or spaces "
                f"alone; write them alike, or name the classes, as in classes={other}|..."
            )


def _refuse_numbers(path: Path, first: dict[str, int]) -> None:
    """Raise EcgprismError where all labels are numbers and some have fractions: measurements, and no classes."""
    sizes = {label: number(label) for label in first}
    for label, size in sizes.items():
        if size is not None and not size.is_integer() and None not in sizes.values():
            raise EcgprismError(
                f"{path}, line {first[label]}: label {label!r}: {NO_REGRESSION}, or name them (classes=)"
            )


def _kind_of(
    of_rows: Sequence[tuple[str, ...]], classes: Sequence[str], empty_is_negative: bool
) -> tuple[Kind, list[str]]:
    """Return what kind of task the labels make when nobody says, and why."""
    single = all(len(labels) <= 1 for labels in of_rows) and not empty_is_negative and len(classes) > 1
    if single and set(classes) == {"0", "1"}:
        return "multiclass", ["labels: 0 or 1, so kind=multiclass with these two classes"]
    if single and all(of_rows):
        return "multiclass", ["labels: exactly one in every row, so kind=multiclass (or say kind=multilabel)"]
    return "multilabel", []
