"""What a labelled data set is: each source enumerates its entries cheaply and reads one recording at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ecgprism.recording import Recording

Kind = Literal["multilabel", "multiclass"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Task:
    """What is classified: `multilabel` (any number of classes hold) or `multiclass` (exactly one)."""

    kind: Kind
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One recording of a source before it is read: who, where, and its labels.

    `labels` maps a task to the names of the classes that hold; a task that is not in it says nothing about this record.
    """

    record_id: str
    path: str
    labels: Mapping[str, tuple[str, ...]]
    patient_id: str | None = None
    split: Split | None = None
    metadata: Mapping[str, float | str] = field(default_factory=dict)


class Source(Protocol):
    """A labelled data set. `lead_aliases` are spellings that this source alone declares to be a lead."""

    tasks: Mapping[str, Task]
    lead_aliases: Mapping[str, str]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in a fixed order, without reading any signal."""
        ...

    def read(self, entry: Entry) -> Recording:
        """Read the recording of one entry. Raises ReadError; runs in a worker process, so a source must pickle."""
        ...
