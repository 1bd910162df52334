"""What a labelled data set is: each source enumerates its entries cheaply and reads one recording at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, ReadError
from ecgprism.interface.card import Task

Split = Literal["train", "val", "test"]
Labels = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Entry:
    """One recording of a source before it is read: who, where, and its labels.

    `labels` maps a task to the names of the classes that hold; a task that is not in it says nothing about this record.
    `unused` is what the source says of the record besides and no class stands for (a code, a symbol): ingest counts it.
    `declared` is what the source says of a file that does not say it itself: rate_hz, unit, leads.
    """

    record_id: str
    path: str
    labels: Labels
    patient_id: str | None = None
    split: Split | None = None
    metadata: Mapping[str, float | str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    declared: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A stretch of a recording that is classified by itself (a beat): `start_s` to `stop_s` seconds from its beginning.

    What reaches beyond the recording is cut off. `labels` as in an Entry; `metadata` is true of this item alone and
    stands beside the recording's, before it where both have a column.
    """

    start_s: float
    stop_s: float
    labels: Labels
    metadata: Mapping[str, float | str] = field(default_factory=dict)

    def within(self, samples: int, rate_hz: float) -> tuple[int, int]:
        """Return start and length in samples within a recording of so many. Raises ReadError when nothing is left."""
        start = round(self.start_s * rate_hz)
        # the length is rounded by itself: items of one duration have one length
        stop = min(start + max(round((self.stop_s - self.start_s) * rate_hz), 1), samples)
        kept = max(start, 0)
        if stop <= kept or self.stop_s <= self.start_s:
            at = f"an item from {self.start_s:g} to {self.stop_s:g} s"
            raise ReadError(f"{at} is not within the {samples / rate_hz:g} s of its recording")
        return kept, stop - kept


class Source(Protocol):
    """A labelled data set. `lead_aliases` are spellings that this source alone declares to be a lead.

    It may have `notes`: lines on what it took for something else than it says, which ingest shows.
    """

    tasks: Mapping[str, Task]
    lead_aliases: Mapping[str, str]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in a fixed order, without reading any signal."""
        ...

    def read(self, entry: Entry) -> Recording:
        """Read the recording of one entry. Raises ReadError; runs in a worker process, so a source must pickle."""
        ...


@runtime_checkable
class ItemSource(Source, Protocol):
    """A source that classifies parts of its recordings; the labels of its entries are not used.

    Of any other source, a recording is one item, with the labels of its entry.
    """

    def items(self, entry: Entry, recording: Recording) -> tuple[Sequence[Item], Sequence[str]]:
        """Return the items of what `read` returned, and what of its annotations is no item (counted, as `unused`)."""
        ...


def spellings(text: str | None, option: str = "leads", form: str = "SPELLING=LEAD, as in ECG=I") -> dict[str, str]:
    """Return spellings from an option such as `ECG=I|Lead2=II`. Raises EcgprismError for what is no such pair."""
    found = {}
    for pair in text.split("|") if text else ():
        spelling, equals, meant = pair.partition("=")
        if not equals:
            raise EcgprismError(f"{option}: {pair!r}: expected {form}")
        found[spelling.strip()] = meant.strip()
    return found


def parts(text: str) -> list[str]:
    """Return names that bars join, or commas where there is no bar."""
    return [name.strip() for name in text.split("|" if "|" in text else ",")]
