"""What is predicted on: files and folders, or arrays; each by name, read when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.arrays import ArrayRecordings
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.rows import is_array
from ecgprism.errors import EcgprismError
from ecgprism.formats import reading
from ecgprism.formats.contract import Declaration
from ecgprism.interface.card import Table, columns_of
from ecgprism.prediction.patient import Told

Signals = NDArray[Any] | Sequence[NDArray[Any]]
Metadata = Mapping[str, float | str]


@dataclass(frozen=True, eq=False)
class NamedRecording:
    """One recording: its id, where it is, how it is read, and what a table tells of its patient, where one does."""

    record_id: str
    path: str
    read: Callable[[], Recording]
    told: Told | None = None


def of_files(paths: Sequence[str | Path], declared: Declaration) -> Iterator[NamedRecording]:
    """Yield the recordings of files and folders."""
    for path in paths:
        for file in reading.find(path):
            yield NamedRecording(file.stem, str(file), partial(reading.read_declared, file, declared))


def of_arrays(signals: Signals, declared: Declaration, metadata: Table | None) -> Iterator[NamedRecording]:
    """Yield recordings in memory, (N, L, T) or a list of (L, T), with a row of metadata each.

    Raises ConfigError for a rate, unit or leads that are not given, and for metadata of another length.
    """
    held = ArrayRecordings.of(signals, declared.rate_hz, declared.leads, declared.unit, declared.lead_aliases)
    columns = columns_of(metadata, len(held))
    for number in range(len(held)):
        row = {name: value for name, column in columns.items() if (value := column[number]) is not None}
        yield NamedRecording(str(number), f"X[{number}]", partial(held.read, number, row))


def given_recordings(given: object) -> list[str | Path] | Signals:
    """Return paths (one by itself, too) or signals. Raises EcgprismError for what is neither."""
    if isinstance(given, str | Path):
        return [given]
    if is_array(given):
        return cast(Signals, given)
    held = list(given) if isinstance(given, Iterable) and not isinstance(given, bytes | Mapping) else [given]
    if held and all(isinstance(each, str | Path) for each in held):
        return cast("list[str | Path]", held)
    if held and all(is_array(each) or (isinstance(each, list | tuple) and each) for each in held):
        return cast(Signals, [each if is_array(each) else np.asarray(each, dtype=np.float64) for each in held])
    wrong = next((each for each in held if not isinstance(each, str | Path) and not is_array(each)), held)
    raise EcgprismError(
        f"recordings: a {type(wrong).__name__} given; expected files and folders, or signals (N, leads, samples)"
    )


def is_signals(given: object) -> bool:
    """Whether arrays are given and not paths."""
    return is_array(given) or (isinstance(given, Sequence) and len(given) > 0 and is_array(given[0]))
