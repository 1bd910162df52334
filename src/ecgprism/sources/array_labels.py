"""Labels beside arrays: class names, lists of them, numbers, or rows of 0 and 1, as Python callers have them.

Axis legend: N recordings, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.metadata import is_missing
from ecgprism.ecg.rows import is_array, plain_array, rows_of
from ecgprism.errors import ConfigError, nearest
from ecgprism.sources.labels import NO_REGRESSION

#: what pandas and NumPy make of a missing label among texts; `none` or `unknown` may be a class
_MISSING = ("", "nan", "<na>")

Rows = list[tuple[str, ...]]


def label_names(labels: Any, classes: Sequence[str] | None) -> tuple[Rows, tuple[str, ...]]:
    """Return the class names of every row, and all classes in order. Raises ConfigError for what is no label.

    Columns of a DataFrame that have names are classes of these names, in whatever order.
    """
    named = None if classes is None else class_names(classes)
    table, named = _matrix(labels, named)
    if table is not None:
        return _from_matrix(table, named)
    rows = [_row(value, f"y[{number}]", named) for number, value in enumerate(rows_of(labels, "y"))]
    known = named if named is not None else tuple(sorted({name for row in rows for name in row}))
    for number, row in enumerate(rows):
        for name in row:
            if name not in known:
                raise ConfigError(f"y[{number}] = {name!r}: no such class{nearest(name, known)}")
    if not known:
        raise ConfigError("y: no row has a label")
    return rows, known


def class_names(classes: Any) -> tuple[str, ...]:
    """Return the names of classes. Raises ConfigError for one that is no text, empty, or stands twice."""
    names = rows_of(classes, "classes")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"classes: {name!r} is no name")
    if len(set(names)) < len(names):
        raise ConfigError(f"classes: {next(name for name in names if names.count(name) > 1)!r} stands twice")
    if not names:
        raise ConfigError("classes: none given")
    return tuple(names)


def _matrix(labels: Any, classes: tuple[str, ...] | None) -> tuple[NDArray[Any] | None, tuple[str, ...] | None]:
    """Return one-hot or multi-hot rows (N, K) with the names of their columns, or None for labels of another form."""
    if hasattr(labels, "columns") and len(labels.columns) > 1 and all(isinstance(c, str) for c in labels.columns):
        columns = class_names(list(labels.columns))
        if classes is not None and set(classes) != set(columns):
            raise ConfigError(f"y has the columns {', '.join(columns)}; classes are {', '.join(classes)}")
        names = columns if classes is None else classes
        return plain_array(labels[list(names)], "y"), names
    if is_array(labels):
        held = plain_array(labels, "y")
        if held.ndim > 2:
            raise ConfigError(f"y: shape {held.shape}; expected (N,), or 0 and 1 by class (N, K)")
        if held.ndim == 2 and (held.shape[1] > 1 or (classes is not None and len(classes) == 1)):
            return (held, classes) if _numeric(held) else (None, classes)
        return None, classes
    rows = labels if isinstance(labels, list | tuple) else ()
    wide = {len(row) if isinstance(row, list | tuple | np.ndarray) else 0 for row in rows}
    if classes is None or wide != {len(classes)} or len(classes) < 2:
        return None, classes
    held = np.array([list(row) for row in rows], dtype=object)
    zeros_and_ones = held.ndim == 2 and all(isinstance(v, Real | np.bool_) and v in (0, 1) for v in held.flat)
    return (held, classes) if zeros_and_ones else (None, classes)


def _numeric(held: NDArray[Any]) -> bool:
    return held.dtype.kind in "biuf" or all(isinstance(value, Real | np.bool_) for value in held.flat)


def _from_matrix(held: NDArray[Any], classes: tuple[str, ...] | None) -> tuple[Rows, tuple[str, ...]]:
    numbers = held.astype(np.float64)
    if not np.isin(numbers, (0, 1)).all():
        other = numbers[~np.isin(numbers, (0, 1))].flat[0]
        raise ConfigError(f"y: {other:g} in rows of shape {held.shape}: expected 0 or 1 by class; {NO_REGRESSION}")
    if classes is None or len(classes) != held.shape[1]:
        raise ConfigError(f"y has {held.shape[1]} columns: name them in order with classes=[...]")
    names = np.asarray(classes, dtype=object)
    return [tuple(names[row.astype(bool)]) for row in numbers], classes


def _row(value: Any, at: str, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    if is_array(value):
        value = plain_array(value, at).tolist()
    if not isinstance(value, list | tuple | set | frozenset):
        return _label(value, at, classes)
    if any(isinstance(part, list | tuple | set | np.ndarray) for part in value):
        raise ConfigError(f"{at} = {value!r}: expected a class's name or number, or several of them")
    names = [name for part in value for name in _label(part, at, classes)]
    if len(set(names)) < len(names):
        raise ConfigError(f"{at} = {value!r}: a class stands twice; rows of 0 and 1 need one for each class")
    return tuple(names)


def _label(value: Any, at: str, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the name of one label, or nothing where it is missing."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return () if value.strip().lower() in _MISSING else (value.strip(),)
    if is_missing(value):
        return ()
    if not isinstance(value, Real | np.bool_):
        raise ConfigError(f"{at} = {value!r}: expected a class's name or number, or several of them")
    size = float(value)
    if not size.is_integer():  # nor is what is infinite
        raise ConfigError(f"{at} = {value}: {NO_REGRESSION}")
    number = int(size)
    if classes is None:
        raise ConfigError(f"{at} = {number}: numbers need their names, as in classes=['NORM', 'MI']")
    if not 0 <= number < len(classes):
        raise ConfigError(f"{at} = {number}: expected 0 to {len(classes) - 1}, the numbers of {', '.join(classes)}")
    return (classes[number],)
