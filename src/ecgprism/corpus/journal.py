"""The folder of an ingest that is not finished: settings, signals and a journal with one JSON line a record.

One process writes here at a time. What the journal does not name, or names otherwise than the signals are, is cut off
again when an interrupted ingest goes on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

import numpy as np

from ecgprism.corpus.meta import ITEMS, META, RECORDS, REJECTED, SIGNALS
from ecgprism.corpus.signals import waveform_hash
from ecgprism.errors import EcgprismError
from ecgprism.files import LOCK, atomic, locked, to_disk

JOURNAL, SETTINGS = "journal.jsonl", "settings.json"
JOURNAL_VERSION: Literal[3] = 3
FILES = (SIGNALS, RECORDS, ITEMS, META, REJECTED, JOURNAL, SETTINGS)
OWN = {LOCK, *FILES, *(f"{name}.partial" for name in FILES)}
KEPT_BYTES = 16 << 20  # a journal up to this size is parsed once and kept; a larger one is read anew each time
LOCK_WAIT_S = 1.0  # the workers of an ingest that was killed may hold its lock for a moment


class ItemRow(TypedDict):
    """One thing classified: where in its record (samples), its classes by task, metadata of its own."""

    start: int
    length: int
    labels: dict[str, list[int]]
    metadata: dict[str, float | str]


class Row(TypedDict):
    """One record in the journal: `rejected` (the reason) alone, or everything else but that."""

    record_id: str
    path: str
    rejected: NotRequired[str]
    patient_id: NotRequired[str | None]
    official_split: NotRequired[str | None]
    leads: NotRequired[list[str]]
    samples: NotRequired[int]
    scale: NotRequired[list[float]]
    zero: NotRequired[list[float]]
    source_rate_hz: NotRequired[float]
    flat_leads: NotRequired[list[str]]
    skipped_channels: NotRequired[list[str]]
    waveform: NotRequired[str]
    signature: NotRequired[str | None]
    metadata: NotRequired[dict[str, float | str]]
    quality: NotRequired[dict[str, list[str]]]
    items: NotRequired[list[ItemRow]]
    unused: NotRequired[dict[str, int]]
    notes: NotRequired[list[str]]


@dataclass(frozen=True)
class JournalEntry:
    """A record as it is written: its line of the journal and its samples; `rejected` says why there are none."""

    record_id: str
    line: str
    samples: bytes = b""
    rejected: str | None = None

    @classmethod
    def of(cls, row: Row, samples: bytes = b"") -> JournalEntry:
        """Return what to write of a row."""
        return cls(row["record_id"], json.dumps(row), samples, row.get("rejected"))


@dataclass(frozen=True)
class Settings:
    """What an ingest was asked for, and the digest of its source's entries: another one does not go on with it."""

    source: str
    root: str
    options: dict[str, str]
    rate_hz: float
    seed: int
    entries: str
    journal: int = JOURNAL_VERSION


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder that no ingest writes."""
    return sorted(path.name for path in folder.iterdir() if path.name not in OWN or not path.is_file())


def delete_own(folder: Path) -> None:
    """Delete the files of a corpus or of an ingest, and their folder unless something else is in it."""
    with suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            if path.name in OWN and path.is_file():
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder of an ingest and hold it alone. Raises EcgprismError for one that is not an ingest's, or busy."""
    if folder.exists() and not folder.is_dir():
        raise EcgprismError(f"{folder}: a file is in the way; move it, or choose another folder")
    if folder.is_dir() and (foreign := foreign_files(folder)):
        raise EcgprismError(
            f"{folder}: holds {foreign[0]!r}, so it is no interrupted ingest; move it away, or choose another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        began = time.monotonic()
        while True:
            try:
                stack.enter_context(locked(folder, "ingest"))
                break
            except EcgprismError:
                if time.monotonic() - began > LOCK_WAIT_S or not folder.is_dir():
                    raise
                time.sleep(LOCK_WAIT_S / 5)
        yield


class Journal:
    """The records that are done, appended one by one; `done` of them were there before."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Begin in an empty folder, or go on with an interrupted ingest. Raises EcgprismError for other settings."""
        self.folder = folder
        self.done = 0
        self._rows: list[Row] | None = None
        before = _settings(folder / SETTINGS)
        if before is None:
            for name in sorted(OWN - {LOCK}):
                (folder / name).unlink(missing_ok=True)
            with atomic(folder / SETTINGS) as path:
                path.write_text(json.dumps(asdict(settings)), encoding="utf-8")
            return
        for name in ("journal", *(field.name for field in fields(settings))):
            if before.get(name) != getattr(settings, name):
                raise EcgprismError(
                    f"{folder}: an interrupted ingest with another {name} is here; "
                    "finish that one, or delete the folder"
                )
        self._cut()

    def _cut(self) -> None:
        """Cut off what a kill or a power cut left half written."""
        (self.folder / SIGNALS).touch()
        kept = end = 0
        if (self.folder / JOURNAL).is_file():
            with (self.folder / JOURNAL).open("rb") as lines, (self.folder / SIGNALS).open("rb") as store:
                for line in lines:
                    try:
                        row = _row(line)
                        length = len(row["leads"]) * row["samples"] * 2 if "rejected" not in row else 0
                        values = np.frombuffer(store.read(length), "<i2")
                    except (ValueError, KeyError, TypeError):
                        break
                    if "rejected" not in row and waveform_hash(values) != row["waveform"]:
                        break
                    self.done, kept, end = self.done + 1, kept + len(line), end + length
            os.truncate(self.folder / JOURNAL, kept)
        os.truncate(self.folder / SIGNALS, end)

    @contextmanager
    def opened(self) -> Iterator[Journal]:
        """Open the files to append to; at the end they are on disk."""
        with (
            (self.folder / SIGNALS).open("ab") as self._store,
            (self.folder / JOURNAL).open("a", encoding="utf-8") as self._lines,
        ):
            yield self
        for name in (SIGNALS, JOURNAL):
            to_disk(self.folder / name)

    def append(self, written: JournalEntry) -> None:
        """Write one record; its line comes last, so that it names nothing that is not there."""
        self._rows = None
        self._store.write(written.samples)
        self._store.flush()
        self._lines.write(written.line + "\n")
        self._lines.flush()

    def rows(self) -> Iterator[Row]:
        """Return all rows, those of rejected records as well; nobody changes one."""
        if self._rows is None and (self.folder / JOURNAL).stat().st_size <= KEPT_BYTES:
            self._rows = list(self._read())
        return self._read() if self._rows is None else iter(self._rows)

    def _read(self) -> Iterator[Row]:
        with (self.folder / JOURNAL).open("rb") as lines:
            for line in lines:
                yield _row(line)


def _row(line: bytes) -> Row:
    row = json.loads(line)
    if not line.endswith(b"\n") or not isinstance(row["record_id"], str):
        raise ValueError("half a line")
    return cast(Row, row)


def _settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of an interrupted ingest; None where none was begun."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return before if isinstance(before, dict) else None
