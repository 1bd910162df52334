"""Ingest: read every recording of a source once, in parallel, into a corpus; crash-safe and resumable.

Signals are appended to a partial folder together with a journal (one JSON line per record). A killed ingest goes on
where the journal ends; the finished folder appears under its name at once.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import signal as signals
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ecgprism.corpus.quantisation import quantise
from ecgprism.corpus.splits import assign, clusters
from ecgprism.corpus.store import (
    FORMAT_VERSION,
    ITEM_METADATA_PREFIX,
    LABELS_PREFIX,
    META,
    METADATA_PREFIX,
    QUALITY_PREFIX,
    REJECTED,
    SIGNALS,
    write_tables,
)
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import lead_order
from ecgprism.ecg.quality import FLAGS, assess
from ecgprism.errors import EcgprismError, ReadError
from ecgprism.files import atomic
from ecgprism.sources.contract import Entry, ItemSource, Source
from ecgprism.sources.opening import open_source

JOURNAL, SETTINGS = "journal.jsonl", "settings.json"
CHUNK = 16  # records a worker takes at a time
JOURNAL_VERSION = 2
MIN_CORPUS_HZ, MAX_CORPUS_HZ = 20, 5000

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Ingested:
    """What an ingest did. `rejected` records are listed with their reasons in rejected.csv.

    `items` are classified; `unused` counts what the source said of the kept records and no class stands for.
    """

    path: Path
    records: int
    rejected: int
    resumed: int
    flat_leads: int
    unknown_patients: int
    duplicates: int
    skipped_channels: tuple[str, ...]
    split_rule: str
    items: int
    unused: Mapping[str, int]


class AllRejectedError(EcgprismError):
    """No recording of the source could be read."""


def _prepare(source: Source, entry: Entry, rate_hz: float) -> tuple[dict[str, Any], bytes]:
    """Read, resample and quantise one recording; returns its journal row (`rejected` in it if it was) and its bytes."""
    row: dict[str, Any] = {"record_id": entry.record_id, "path": entry.path}
    try:
        recording = source.read(entry)
        signal = prepared_signal(recording, rate_hz)
        samples = signal.shape[1]
        items = [{"span": (0, samples), "labels": entry.labels, "metadata": {}}]
        unused = list(entry.unused)
        if hasattr(source, "items"):  # isinstance() of a protocol takes as long as reading a small record
            found, marks = cast(ItemSource, source).items(entry, recording)
            items = [vars(item) | {"span": item.within(samples, rate_hz)} for item in found]
            unused += marks
    except ReadError as error:
        return row | {"rejected": str(error)}, b""
    except OSError as error:  # of a source that reads by itself; what cannot be written is another matter
        return row | {"rejected": f"{error.filename or entry.path}: {error.strerror or error}"}, b""
    values, scale, zero, flat = quantise(signal)
    quality = assess(recording)
    row |= {
        "patient_id": entry.patient_id,
        "official_split": entry.split,
        "leads": "|".join(recording.leads),
        "n_leads": len(recording.leads),
        "samples": samples,
        "scale": scale.tolist(),
        "zero": zero.tolist(),
        "source_rate_hz": recording.rate_hz,
        "flat_leads": "|".join(lead for lead, is_flat in zip(recording.leads, flat, strict=True) if is_flat),
        "skipped_channels": "|".join(recording.skipped),
        # the range of each lead is normalised, so copies at another gain or offset are found as well
        "waveform": hashlib.sha256(values.tobytes()).hexdigest()[:32],
        "metadata": {**recording.metadata, **entry.metadata},
        **{QUALITY_PREFIX + flag: "|".join(getattr(quality, flag)) for flag in FLAGS},
        "items": items,
        "unused": Counter(unused),
    }
    return row, values.tobytes()


_worker: tuple[Source, float] | None = None


def _start_worker(source: Source, rate_hz: float) -> None:
    global _worker  # noqa: PLW0603  (a process pool hands its workers their state in no other way)
    _worker = (source, rate_hz)
    signals.signal(signals.SIGINT, signals.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker when its parent was killed, which tells nobody."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _work(entries: list[Entry]) -> list[tuple[dict[str, Any], bytes]]:
    assert _worker is not None
    return [_prepare(_worker[0], entry, _worker[1]) for entry in entries]


def _prepared(
    source: Source, entries: Iterable[Entry], rate_hz: float, workers: int
) -> Generator[tuple[dict[str, Any], bytes]]:
    """Yield prepared records in the order of the entries, with a bounded number under way."""
    if workers == 1:
        yield from (_prepare(source, entry, rate_hz) for entry in entries)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(source, rate_hz))
    under_way: deque[Future[list[tuple[dict[str, Any], bytes]]]] = deque()
    todo = iter(entries)
    try:
        while True:
            while len(under_way) < 4 * workers and (chunk := list(islice(todo, CHUNK))):
                under_way.append(pool.submit(_work, chunk))
            if not under_way:
                return
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ingest(
    source: str,
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
    progress: Progress = lambda done, total: None,
) -> Ingested:
    """Read every recording of a source into the corpus folder `out` at `rate_hz`, in `workers` processes.

    A bad record goes to rejected.csv with its reason and does not stop the rest, unless `strict`. Raises
    AllRejectedError when no record is left, EcgprismError when `out` exists (unless `overwrite`), when record ids
    are duplicated, or when an interrupted ingest was made with other settings.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise EcgprismError(f"{out}: exists already; choose another --out, or --overwrite it")
    if out.exists() and not (out / META).is_file():
        raise EcgprismError(f"{out}: is no corpus, so it is not overwritten; choose another --out")
    if not MIN_CORPUS_HZ <= rate_hz <= MAX_CORPUS_HZ:
        raise EcgprismError(f"rate {rate_hz:g} Hz: expected {MIN_CORPUS_HZ} to {MAX_CORPUS_HZ} Hz")
    opened = open_source(source, root, options)
    excluded = set(exclude)
    total, digest = _census(opened, source, excluded)
    settings = {
        "source": source,
        "root": str(root),
        "options": {key: str(value) for key, value in (options or {}).items()},
        "rate_hz": rate_hz,
        "entries": digest,
        "journal": JOURNAL_VERSION,
    }
    partial = out.with_name(out.name + ".partial")
    workers = workers or os.cpu_count() or 1
    try:
        done = _start(partial, settings)
        progress(done, total)
        todo = islice(_entries(opened, excluded), done, None)
        with (
            (partial / SIGNALS).open("ab") as store,
            (partial / JOURNAL).open("a", encoding="utf-8") as journal,
            contextlib.closing(_prepared(opened, todo, rate_hz, workers)) as prepared,
        ):
            for number, (row, samples) in enumerate(prepared, start=done + 1):
                if strict and "rejected" in row:
                    raise ReadError(f"{row['record_id']}: {row['rejected']}")
                # The journal line comes last: what it does not name is cut off again when the ingest goes on.
                row["offset"] = store.tell() // 2
                store.write(samples)
                store.flush()
                journal.write(json.dumps(row) + "\n")
                journal.flush()
                progress(number, total)
            os.fsync(store.fileno())
        result = _finish(partial, settings, opened, seed)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    except OSError as error:
        raise EcgprismError(
            f"cannot write {error.filename or partial}: {error.strerror or error}; "
            "mend that and run the same command again: it goes on where it stopped"
        ) from None
    return Ingested(path=out, resumed=done, **result)


def _entries(source: Source, excluded: Collection[str]) -> Iterator[Entry]:
    return (entry for entry in source.entries() if entry.record_id not in excluded)


def _census(source: Source, name: str, excluded: set[str]) -> tuple[int, str]:
    """Count the entries and digest them. Raises EcgprismError for a record id that stands twice, and for none."""
    seen: dict[str, str] = {}
    all_ids: set[str] = set()
    digest = hashlib.sha256()
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


def _start(partial: Path, settings: dict[str, Any]) -> int:
    """Make the partial folder, or take up an interrupted one; returns the number of records that it holds."""
    before = None
    if (partial / SETTINGS).is_file():
        with contextlib.suppress(ValueError):  # a crash may have left it half written
            before = json.loads((partial / SETTINGS).read_text())
    if not isinstance(before, dict):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        with atomic(partial / SETTINGS) as path:
            path.write_text(json.dumps(settings))
        return 0
    for key, value in settings.items():
        if before.get(key) != value:
            raise EcgprismError(
                f"{partial}: an interrupted ingest with another {key} is here; finish that one, or delete the folder"
            )
    journal, store = partial / JOURNAL, partial / SIGNALS
    store.touch()
    done = kept = end = 0
    if journal.is_file():
        with journal.open("rb") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    row["offset"]
                except (ValueError, KeyError, TypeError):  # the line that a kill cut short
                    break
                needed = (row["offset"] + row.get("n_leads", 0) * row.get("samples", 0)) * 2
                if not line.endswith(b"\n") or needed > store.stat().st_size:
                    break
                done, kept, end = done + 1, kept + len(line), needed
        os.truncate(journal, kept)
    os.truncate(store, end)
    return done


def _rows(partial: Path) -> Iterator[dict[str, Any]]:
    with (partial / JOURNAL).open(encoding="utf-8") as journal:
        for line in journal:
            yield json.loads(line)


def _finish(partial: Path, settings: dict[str, Any], source: Source, seed: int) -> dict[str, Any]:
    """Turn the journal into the tables of the corpus; signals and tables never stand in memory as a whole."""
    main_task = next(iter(source.tasks))
    index = {name: {label: k for k, label in enumerate(task.classes)} for name, task in source.tasks.items()}
    kept: list[tuple[str, str | None, str, str | None, list[int]]] = []
    of_records: dict[str, bool] = {}
    of_items: dict[str, bool] = {}
    unused: Counter[str] = Counter()
    leads: set[str] = set()
    skipped: set[str] = set()
    flat = rejected = n_items = 0
    with (partial / REJECTED).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["record_id", "path", "reason"])
        for row in _rows(partial):
            if "rejected" in row:
                writer.writerow([row["record_id"], row["path"], row["rejected"]])
                rejected += 1
                continue
            held = {label for item in row["items"] for label in item["labels"].get(main_task, ())}
            classes = [index[main_task][label] for label in held]
            kept.append((row["record_id"], row["patient_id"], row["waveform"], row["official_split"], classes))
            leads.update(row["leads"].split("|"))
            skipped.update(name for name in row["skipped_channels"].split("|") if name)
            flat += len([lead for lead in row["flat_leads"].split("|") if lead])
            n_items += len(row["items"])
            unused.update(row["unused"])
            _note_kinds(of_records, row["metadata"])
            for item in row["items"]:
                _note_kinds(of_items, item["metadata"])
    if not kept:
        with (partial / REJECTED).open(newline="", encoding="utf-8") as file:
            reason = list(csv.reader(file))[1][2]
        shutil.rmtree(partial)
        raise AllRejectedError(f"{settings['source']}: all {rejected} recordings were rejected; the first: {reason}")
    _, patients, waveforms, official, main_labels = zip(*kept, strict=True)
    cluster = clusters(patients, waveforms)
    target = np.zeros((len(kept), len(index[main_task])), dtype=bool)
    for position, classes in enumerate(main_labels):
        target[position, classes] = True
    assignment = assign(official, cluster, target, seed)
    for key in of_records.keys() & of_items.keys():
        of_records[key] = of_items[key] = of_records[key] and of_items[key]
    _write_tables(partial, assignment.split, cluster, index, of_records, of_items)
    numeric = of_records | of_items
    counts = {
        "records": len(kept),
        "rejected": rejected,
        "flat_leads": flat,
        "unknown_patients": sum(patient is None for patient in patients),
        "duplicates": len(waveforms) - len(set(waveforms)),
        "skipped_channels": tuple(sorted(skipped)),
        "split_rule": assignment.rule,
        "items": n_items,
        "unused": dict(sorted(unused.items())),
    }
    meta = {
        "format": FORMAT_VERSION,
        "ecgprism": importlib.metadata.version("ecgprism"),
        "source": settings["source"],
        "options": settings["options"],
        "rate_hz": settings["rate_hz"],
        "leads": lead_order(leads),
        "lead_aliases": dict(source.lead_aliases),
        "tasks": {name: asdict(task) for name, task in source.tasks.items()},
        "metadata": {key: "numeric" if is_numeric else "categorical" for key, is_numeric in sorted(numeric.items())},
        **counts,
    }
    (partial / META).write_text(json.dumps(meta, indent=2) + "\n")
    (partial / JOURNAL).unlink()
    (partial / SETTINGS).unlink()
    return counts


def _note_kinds(numeric: dict[str, bool], metadata: Mapping[str, float | str]) -> None:
    """Note of every metadata column whether it has held nothing but numbers so far."""
    for key, value in metadata.items():
        numeric[key] = numeric.get(key, True) and isinstance(value, int | float)


def _write_tables(
    partial: Path,
    split: list[str],
    cluster: NDArray[np.int64],
    index: dict[str, dict[str, int]],
    of_records: dict[str, bool],
    of_items: dict[str, bool],
) -> None:
    def columns(prefix: str, row: dict[str, Any], numeric: dict[str, bool]) -> dict[str, float | str]:
        return {prefix + key: value if numeric[key] else str(value) for key, value in row["metadata"].items()}

    def records() -> Iterator[dict[str, Any]]:
        for position, row in enumerate(row for row in _rows(partial) if "rejected" not in row):
            del row["items"]  # a group of rows would hold many
            place = {"cluster": int(cluster[position]), "split": split[position]}
            yield row | columns(METADATA_PREFIX, row, of_records) | place

    def items() -> Iterator[dict[str, Any]]:
        for position, row in enumerate(row for row in _rows(partial) if "rejected" not in row):
            for item in row["items"]:
                held = {
                    LABELS_PREFIX + task: sorted(index[task][label] for label in labels)
                    for task, labels in item["labels"].items()
                }
                start, length = item["span"]
                place = {"record": position, "start": start, "length": length}
                yield place | held | columns(ITEM_METADATA_PREFIX, item, of_items)

    write_tables(partial, records(), items(), index, of_records, of_items)
