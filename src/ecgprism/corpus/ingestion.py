"""Ingest: read every recording of a source once, in parallel, into a corpus; crash-safe and resumable.

Records are appended to a folder beside the corpus (`journal.py`); the finished folder appears under its name at once.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.metadata
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecgprism.corpus.copies import alike, compared_lead, signature
from ecgprism.corpus.journal import (
    JOURNAL,
    SETTINGS,
    ItemRow,
    Journal,
    JournalEntry,
    Row,
    Settings,
    claimed,
    delete_own,
    foreign_files,
)
from ecgprism.corpus.meta import (
    MAX_CORPUS_HZ,
    META,
    MIN_CORPUS_HZ,
    REJECTED,
    SIGNALS,
    TABLES,
    ColumnKind,
    CorpusMeta,
    write_meta,
)
from ecgprism.corpus.overview import line_of, page_of
from ecgprism.corpus.quantisation import NOT_RECORDED, quantise
from ecgprism.corpus.signals import waveform_hash
from ecgprism.corpus.store import Corpus
from ecgprism.corpus.summary import Placement, Summary
from ecgprism.corpus.tables import fingerprint, write_tables
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import lead_order
from ecgprism.ecg.metadata import settle
from ecgprism.ecg.quality import FLAGS, assess
from ecgprism.errors import EcgprismError, ReadError, nearest, one_line, warn
from ecgprism.files import LOCK, PARTIAL, atomic, file_digest, to_disk
from ecgprism.processes import RECORD_MEMORY_MB, RECORD_TIMEOUT_S, Failure, Limits, in_order, named
from ecgprism.sources.contract import Entry, ItemSource, Labels, Source
from ecgprism.sources.opening import open_source

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, repr=False)
class IngestReport:
    """What an ingest did: the corpus and what stands in its corpus.json, `resumed` records were done before.

    `items` are classified; `unused` counts what the source said of the kept records and no class stands for.
    """

    path: Path
    resumed: int
    meta: CorpusMeta
    records: int
    rejected: int
    flat_leads: int
    unknown_patients: int
    duplicates: int
    skipped_channels: tuple[str, ...]
    split_rule: str
    items: int
    unused: Mapping[str, int]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, meta: CorpusMeta, resumed: int) -> IngestReport:
        """Return what is there."""
        counts = {name: getattr(meta, name) for name in cls.__dataclass_fields__ if name in CorpusMeta.model_fields}
        return cls(path=path, resumed=resumed, meta=meta, **counts)

    @property
    def problems(self) -> tuple[str, ...]:
        """What needs saying: what was rejected, masked, or taken for something else."""
        said = [
            f"{self.path}: {self.rejected} recordings rejected, see {self.path / REJECTED}" if self.rejected else "",
            f"{self.path}: {self.flat_leads} flat leads, masked" if self.flat_leads else "",
        ]
        return (*filter(None, said), *self.notes)

    def __repr__(self) -> str:
        """Return what became of the recordings, in one line."""
        rejected = f"{self.rejected} rejected; " if self.rejected else ""
        return f"IngestReport({rejected}{one_line(line_of(self.path, self.meta))})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return page_of(self.path, self.meta, self.meta.classes)


class AllRejectedError(EcgprismError):
    """No recording of the source could be read."""


def ingest(
    source: str | Source,
    root: str | Path | None,
    out: str | Path,
    *,
    rate_hz: float = 100.0,
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    exclude: Collection[str] = (),
    seed: int = 0,
    record_timeout_s: float | None = RECORD_TIMEOUT_S,
    worker_memory_mb: int | None = RECORD_MEMORY_MB,
    progress: Progress = lambda done, total: None,
    note: Callable[[str], None] = warn,
) -> IngestReport:
    """Read every recording of a source into the corpus folder `out` at `rate_hz`, in `workers` processes.

    The source is named, with its `root` and `options`, or is an object of one's own. A bad record goes to rejected.csv
    with its reason and does not stop the rest, unless `strict`; so does one that takes more than `record_timeout_s`
    seconds or `worker_memory_mb` MiB to read. `note` is told of every problem of the report (a warning). Raises
    AllRejectedError when no record is left, EcgprismError when `out` exists (unless `overwrite`), when another process
    writes there, when record ids are duplicated, or when an interrupted ingest was made with other settings.
    """
    out = Path(out).resolve() if Path(out).is_symlink() else Path(out)
    _check_out(out, overwrite)
    _check_numbers(rate_hz, workers)
    opened = open_source(source, root, options) if isinstance(source, str) else source
    name = source if isinstance(source, str) else getattr(source, "name", type(source).__name__)
    excluded = set(exclude)
    total, digest = _census(opened, name, excluded)
    given = {key: str(value) for key, value in (options or {}).items()}
    settings = Settings(name, str(root), given, float(rate_hz), seed, digest)
    limits = Limits(record_timeout_s, worker_memory_mb)
    folder = _partial(out)
    try:
        with claimed(folder):
            meta, resumed = _finished(folder, settings), total
            if meta is None:
                _check_out(out, overwrite)
                journal = Journal(folder, settings)
                resumed = journal.done
                progress(resumed, total)
                entries = islice(_entries(opened, excluded, digest), resumed, None)
                work = partial(_prepare, opened, rate_hz)
                prepared = _prepared(work, entries, workers or os.cpu_count() or 1, limits)
                _write(journal, prepared, strict, lambda number: progress(number, total))
                meta = _finish(journal, settings, opened)
            _publish(folder, out)
    except OSError as error:
        raise EcgprismError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; "
            "mend that and run the same command again: it goes on where it stopped"
        ) from None
    report = IngestReport.of(out, meta, resumed)
    for problem in report.problems:
        note(problem)
    return report


# --- one record


def _prepare(source: Source, rate_hz: float, entry: Entry) -> JournalEntry:
    """Read, resample and quantise one recording; whatever goes wrong with it rejects it and no other."""
    try:
        return _row_of(source, rate_hz, entry)
    except EcgprismError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or entry.path}: {error.strerror or error}"
    except Exception as error:  # a fault of a reader or of a source is this record's, and ends no batch
        reason = f"{entry.path or entry.record_id}: {named(error)}"
    return _rejected(entry, reason)


def _rejected(entry: Entry, reason: str) -> JournalEntry:
    return JournalEntry.of({"record_id": entry.record_id, "path": entry.path, "rejected": reason})


def _row_of(source: Source, rate_hz: float, entry: Entry) -> JournalEntry:
    recording = source.read(entry)
    signal = prepared_signal(recording, rate_hz)
    samples = signal.shape[1]
    where = entry.path or entry.record_id
    metadata, notes = settle({**recording.metadata, **entry.metadata}, where)
    unused = list(entry.unused)
    if hasattr(source, "items"):  # isinstance() of a protocol takes as long as reading a small record
        found, marks = cast(ItemSource, source).items(entry, recording)
        unused += marks
        items = [
            _item(item.within(samples, rate_hz), _numbers(source, item.labels), dict(item.metadata)) for item in found
        ]
    else:
        items = [_item((0, samples), _numbers(source, entry.labels), {})]
    values, scale, zero, flat = quantise(signal)
    quality = assess(recording)
    row: Row = {
        "record_id": entry.record_id,
        "path": entry.path,
        "patient_id": entry.patient_id,
        "official_split": entry.split,
        "leads": list(recording.leads),
        "samples": samples,
        "scale": scale.tolist(),
        "zero": zero.tolist(),
        "source_rate_hz": recording.rate_hz,
        "flat_leads": [lead for lead, is_flat in zip(recording.leads, flat, strict=True) if is_flat],
        "skipped_channels": list(recording.skipped),
        "waveform": waveform_hash(values),
        "signature": signature(signal, recording.leads),
        "metadata": metadata,
        "quality": {flag: list(getattr(quality, flag)) for flag in FLAGS},
        "items": items,
        "unused": Counter(unused),
        "notes": notes,
    }
    return JournalEntry.of(row, values.tobytes())


def _item(span: tuple[int, int], labels: dict[str, list[int]], metadata: dict[str, float | str]) -> ItemRow:
    return {"start": span[0], "length": span[1], "labels": labels, "metadata": metadata}


def _numbers(source: Source, labels: Labels) -> dict[str, list[int]]:
    """Return the numbers of classes by task. Raises ReadError for a label that is none of its task's classes."""
    found = {}
    for task, held in labels.items():
        known = source.tasks.get(task)
        if known is None:
            raise ReadError(f"a label of task {task!r}{nearest(task, source.tasks)}")
        for label in held:
            if label not in known.classes:
                raise ReadError(f"label {label!r} is no class of task {task}{nearest(str(label), known.classes)}")
        if known.kind == "multiclass" and len(set(held)) != 1:
            raise ReadError(f"labels {', '.join(held) or 'none'}: task {task} is multiclass and needs exactly one")
        found[task] = sorted({known.classes.index(label) for label in held})
    return found


def _prepared(
    work: Callable[[Entry], JournalEntry], entries: Iterator[Entry], workers: int, limits: Limits
) -> Generator[JournalEntry]:
    """Yield what to write of every entry, in their order."""
    sent: deque[Entry] = deque()

    def noted() -> Iterator[Entry]:
        for entry in entries:
            sent.append(entry)
            yield entry

    with contextlib.closing(in_order(work, noted(), workers, limits)) as results:
        for result in results:
            entry = sent.popleft()
            where = entry.path or entry.record_id
            yield _rejected(entry, f"{where}: {result.reason}") if isinstance(result, Failure) else result


def _write(journal: Journal, prepared: Generator[JournalEntry], strict: bool, progress: Callable[[int], None]) -> None:
    """Append every record to the journal. Raises ReadError at the first that is rejected, if `strict`."""
    with journal.opened(), contextlib.closing(prepared):
        for number, entry in enumerate(prepared, start=journal.done + 1):
            if strict and entry.rejected is not None:
                raise ReadError(f"{entry.record_id}: {entry.rejected}")
            journal.append(entry)
            progress(number)


# --- all of them


def _entries(source: Source, excluded: Collection[str], expected: str) -> Iterator[Entry]:
    """Yield the entries that are wanted. Raises EcgprismError at their end when they are not those of the census."""
    digest = _digest_of_tasks(source)
    for entry in source.entries():
        if entry.record_id not in excluded:
            digest.update(repr(entry).encode())
            yield entry
    if digest.hexdigest() != expected:
        raise EcgprismError("the source changed while it was read; run the same command again")


def _census(source: Source, name: str, excluded: set[str]) -> tuple[int, str]:
    """Count the entries and digest them. Raises EcgprismError for a record id that stands twice, and for none."""
    seen: dict[str, str] = {}
    all_ids: set[str] = set()
    digest = _digest_of_tasks(source)
    for entry in source.entries():
        all_ids.add(entry.record_id)
        if entry.record_id in excluded:
            continue
        if entry.record_id in seen:
            raise EcgprismError(
                f"{name}: record id {entry.record_id!r} stands twice ({seen[entry.record_id]} and {entry.path})"
            )
        seen[entry.record_id] = entry.path
        digest.update(repr(entry).encode())
    if excluded - all_ids:
        raise EcgprismError(f"--exclude {min(excluded - all_ids)}: the source has no such record")
    if not seen:
        raise EcgprismError(f"{name}: the source has no recordings")
    return len(seen), digest.hexdigest()


def _digest_of_tasks(source: Source) -> Any:
    """Begin the digest of a source with its classes, whose numbers are in the journal."""
    return hashlib.sha256(repr(dict(source.tasks)).encode())


def _finish(journal: Journal, settings: Settings, source: Source) -> CorpusMeta:
    """Turn the journal into the tables of the corpus; signals and tables never stand in memory as a whole."""
    folder, summary = journal.folder, Summary(source.tasks)
    with atomic(folder / REJECTED) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["record_id", "path", "reason"])
        for row in journal.rows():
            summary.add(row)
            if "rejected" in row:
                writer.writerow([row["record_id"], row["path"], row["rejected"]])
    if not summary.record_ids:
        delete_own(folder)
        raise AllRejectedError(
            f"{settings.source}: all {summary.rejected} recordings were rejected; the first: {summary.first_reason}"
        )
    placed = summary.place(_comparison(summary, folder / SIGNALS, settings.rate_hz), settings.seed)
    numeric = summary.numeric
    write_tables(
        folder,
        summary.record_rows(journal.rows(), placed),
        summary.item_rows(journal.rows(), placed),
        source.tasks,
        {name: numeric[name] for name in summary.of_records},
        {name: numeric[name] for name in summary.of_items},
    )
    meta = _described(folder, summary, placed, settings, source)
    write_meta(folder, meta)
    return meta


def _described(folder: Path, summary: Summary, placed: Placement, settings: Settings, source: Source) -> CorpusMeta:
    """Return what corpus.json says of tables that are written."""
    numeric = summary.numeric
    kinds: dict[str, ColumnKind] = {key: "numeric" if numeric[key] else "categorical" for key in sorted(numeric)}
    return CorpusMeta(
        ecgprism=importlib.metadata.version("ecgprism"),
        source=settings.source,
        options=settings.options,
        seed=settings.seed,
        rate_hz=settings.rate_hz,
        leads=lead_order(summary.leads),
        lead_aliases=dict(source.lead_aliases),
        tasks=dict(source.tasks),
        metadata=kinds,
        missing=summary.missing,
        ranges=summary.ranges,
        categories=summary.categories,
        classes=summary.classes,
        records=len(summary.record_ids),
        rejected=summary.rejected,
        items=summary.items,
        flat_leads=summary.flat,
        unknown_patients=sum(patient is None for patient in summary.patients),
        duplicates=int((placed.original != np.arange(len(placed.original))).sum()),
        skipped_channels=tuple(sorted(summary.skipped)),
        split_rule=placed.assignment.rule,
        unused=dict(sorted(summary.unused.items())),
        notes=summary.all_notes(getattr(source, "notes", ())),
        entries=settings.entries,
        fingerprint=fingerprint(settings.rate_hz, source.tasks, *(pq.read_table(folder / name) for name in TABLES)),
        sha256={name: file_digest(folder / name) for name in TABLES},
    )


def _comparison(summary: Summary, path: Path, rate_hz: float) -> Callable[[int, int], bool]:
    """Return what tells of two records, by number, whether they are copies; reads only those that it is asked for."""

    def compared(record: int) -> NDArray[np.float32]:
        offset, samples, leads = summary.extents[record]
        values = np.memmap(path, "<i2", "r", offset * 2, (len(leads), samples)).astype(np.float32)
        values[values == NOT_RECORDED] = np.nan
        row = compared_lead(values, leads)
        assert row is not None  # it has a signature
        return values[row]

    return lambda a, b: alike(compared(a), compared(b), rate_hz)


# --- under its name


def _check_numbers(rate_hz: float, workers: int | None) -> None:
    """Raise EcgprismError for a rate that no corpus has, and for no workers."""
    if not isinstance(rate_hz, int | float) or not MIN_CORPUS_HZ <= rate_hz <= MAX_CORPUS_HZ:
        shown = f"{rate_hz:g}" if isinstance(rate_hz, int | float) else repr(rate_hz)
        raise EcgprismError(f"rate {shown} Hz: expected {MIN_CORPUS_HZ} to {MAX_CORPUS_HZ} Hz")
    if workers is not None and workers < 1:
        raise EcgprismError(f"workers = {workers}: expected at least 1")


def _check_out(out: Path, overwrite: bool) -> None:
    """Clear up after an overwrite that was killed. Raises EcgprismError when `out` is there and is to stay."""
    aside = _aside(out)
    if not out.exists():
        if not aside.is_dir() or (_partial(out) / META).is_file():
            return
        aside.rename(out)
    elif aside.is_dir() and (out / META).is_file():
        delete_own(aside)
    if not overwrite:
        raise EcgprismError(
            f"{out}: exists already; choose another folder, or overwrite it (--overwrite, overwrite=True)"
        )
    if not (out / META).is_file():
        raise EcgprismError(f"{out}: is no corpus, so it is not overwritten; choose another folder")
    if foreign := foreign_files(out):
        raise EcgprismError(f"{out}: holds {foreign[0]!r} besides a corpus, so it is not overwritten; move that away")


def _partial(out: Path) -> Path:
    return out.with_name(out.name + PARTIAL)


def _aside(out: Path) -> Path:
    """Where the corpus that is overwritten stands until the new one has its name."""
    return out.with_name(f".{out.name}.replaced")


def _finished(folder: Path, settings: Settings) -> CorpusMeta | None:
    """Return what stands in a folder whose ingest was killed just before its end. Raises EcgprismError for others."""
    if not (folder / META).is_file():
        return None
    try:
        meta = Corpus(folder).meta
    except EcgprismError as error:
        raise EcgprismError(f"{error}; delete {folder} first") from None
    for name in ("source", "options", "rate_hz", "seed", "entries"):
        if getattr(meta, name) != getattr(settings, name):
            raise EcgprismError(
                f"{folder}: a finished ingest with another {name} is here; rename the folder to keep it, or delete it"
            )
    return meta


def _publish(folder: Path, out: Path) -> None:
    """Give the finished corpus its name; the one that had it goes aside first, and is deleted last."""
    for name in (JOURNAL, SETTINGS):
        (folder / name).unlink(missing_ok=True)
    aside = _aside(out)
    if out.exists():
        delete_own(aside)
        out.rename(aside)
    folder.rename(out)
    to_disk(out.parent)
    (out / LOCK).unlink(missing_ok=True)
    delete_own(aside)
