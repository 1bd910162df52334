"""What is predicted on: files and folders, or arrays; each by name, read when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.arrays import ArrayRecordings
from ecgprism.ecg.recording import Recording
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
    held = ArrayRecordings.of(signals, declared.rate_hz, declared.leads, declared.unit)
    columns = columns_of(metadata, len(held))
    for number in range(len(held)):
        row = {name: value for name, column in columns.items() if (value := column[number]) is not None}
        yield NamedRecording(str(number), f"X[{number}]", partial(held.read, number, row))


def is_signals(given: object) -> bool:
    """Whether arrays are given and not paths."""
    return isinstance(given, np.ndarray) or (
        isinstance(given, Sequence) and not isinstance(given, str) and len(given) > 0 and hasattr(given[0], "dtype")
    )
