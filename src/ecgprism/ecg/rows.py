"""Arrays, and one value for each recording, as Python callers have them: lists, NumPy, pandas, PyTorch; by position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.errors import ConfigError


def plain_array(given: Any, what: str) -> NDArray[Any]:
    """Return an array, a Series, a DataFrame or a tensor (on whatever device) as an array; masked values are NaN.

    Raises ConfigError, naming the argument, for what is none of them, and for complex numbers.
    """
    if hasattr(given, "detach"):  # a tensor, by name: this part does without PyTorch
        given = given.detach().cpu()
        held = (given.float() if "bfloat16" in str(given.dtype) else given).numpy()
    elif isinstance(given, np.ma.MaskedArray):
        held = np.ma.filled(given if given.dtype.kind in "fOc" else given.astype(np.float64), np.nan)
    elif hasattr(given, "to_numpy"):
        held = given.to_numpy()
    elif isinstance(given, np.ndarray):
        held = given
    else:
        raise ConfigError(f"{what}: {_kind(given)} given; expected an array")
    if held.dtype.kind == "c":
        raise ConfigError(f"{what}: complex numbers given")
    return held


def is_array(given: Any) -> bool:
    """Whether something is an array, a Series, a DataFrame or a tensor."""
    return hasattr(given, "detach") or hasattr(given, "to_numpy") or isinstance(given, np.ndarray)


def rows_of(given: Any, what: str, n: int | None = None) -> list[Any]:
    """Return one value for each recording as a list: of a list, an array (N,) or (N, 1), a Series, a tensor.

    Whatever index a Series has, it goes by position. Raises ConfigError, naming the argument, for anything else, and
    for another number of them than `n`.
    """
    if is_array(given):
        held = plain_array(given, what)
        if held.ndim == 2 and held.shape[1] == 1:
            held = held[:, 0]
        if held.ndim != 1:
            raise ConfigError(f"{what}: shape {held.shape}; expected one value for each recording")
        rows = list(held) if held.dtype.kind in "mMO" else held.tolist()
    elif isinstance(given, str | bytes | Mapping | set | frozenset) or not isinstance(given, Iterable):
        raise ConfigError(f"{what}: {_kind(given)} given; expected one value for each recording")
    else:
        rows = list(given)
    if n is not None and len(rows) != n:
        raise ConfigError(f"{what}: {len(rows)} rows for {n} recordings")
    return rows


def _kind(given: Any) -> str:
    name = type(given).__name__
    return "nothing (None)" if given is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
