"""The tables of a corpus: one row a record, one row an item (what is classified); Parquet, written and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecgprism.corpus.meta import ITEMS, RECORDS, TABLES, CorpusMeta
from ecgprism.corpus.splits import NO_SPLIT, SPLITS
from ecgprism.ecg.leads import LEADS
from ecgprism.ecg.quality import FLAGS
from ecgprism.errors import EcgprismError, one_line
from ecgprism.files import atomic

METADATA_PREFIX, LABELS_PREFIX, ITEM_METADATA_PREFIX, QUALITY_PREFIX = "meta.", "labels.", "metadata.", "quality_"
ROW_GROUP = 10_000
_TEXT, _NUMBER, _TEXTS, _FLOATS = pa.string(), pa.int64(), pa.list_(pa.string()), pa.list_(pa.float32())
_RECORD: dict[str, pa.DataType] = {
    "record_id": _TEXT, "patient_id": _TEXT, "cluster": _NUMBER, "split": _TEXT, "official_split": _TEXT, "path": _TEXT,
    "leads": _TEXTS, "samples": _NUMBER, "offset": _NUMBER, "scale": _FLOATS, "zero": _FLOATS,
    "source_rate_hz": pa.float64(), "flat_leads": _TEXTS, "skipped_channels": _TEXTS, "waveform": _TEXT,
    "signature": _TEXT, "copy_of": _TEXT, **{QUALITY_PREFIX + flag: _TEXTS for flag in FLAGS},
}  # fmt: skip
_ITEM: dict[str, pa.DataType] = {"record": _NUMBER, "start": _NUMBER, "length": _NUMBER}
#: columns of the record table that may be null
_OPTIONAL = {"patient_id", "official_split", "signature", "copy_of"}
#: what no model sees and no number follows from: where a record was read, what else was there
_UNSEEN = {"path", "cluster", "offset", "skipped_channels", "signature", "copy_of", "source_rate_hz", "official_split"}


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...


def write_tables(
    folder: Path,
    records: Iterable[Mapping[str, Any]],
    items: Iterable[Mapping[str, Any]],
    tasks: Iterable[str],
    record_metadata: Mapping[str, bool],
    item_metadata: Mapping[str, bool],
) -> None:
    """Write the tables of records and items from one row each, a group of rows at a time.

    `record_metadata` and `item_metadata` name the metadata columns and say which are numeric.
    """
    columns = _RECORD | _metadata_columns(METADATA_PREFIX, record_metadata)
    _write_table(folder / RECORDS, pa.schema(list(columns.items())), records)
    columns = _ITEM | {LABELS_PREFIX + task: pa.list_(pa.int16()) for task in tasks}
    columns |= _metadata_columns(ITEM_METADATA_PREFIX, item_metadata)
    _write_table(folder / ITEMS, pa.schema(list(columns.items())), items)


def _metadata_columns(prefix: str, numeric: Mapping[str, bool]) -> dict[str, pa.DataType]:
    return {prefix + name: pa.float64() if numeric[name] else pa.string() for name in sorted(numeric)}


def _write_table(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    left: Iterator[Mapping[str, Any]] = iter(rows)
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as table:
        while group := list(islice(left, ROW_GROUP)):
            table.write_table(pa.Table.from_pylist(group, schema=schema))


def read_tables(folder: Path, meta: CorpusMeta) -> tuple[pa.Table, pa.Table]:
    """Return the tables of records and items, their check sums and every number in them checked.

    Raises EcgprismError naming the file and what is wrong.
    """
    records, items = (_read_table(folder / name, meta.sha256[name]) for name in TABLES)
    if problem := _problem_of_records(records, meta):
        raise EcgprismError(f"{folder / RECORDS}: damaged ({problem}); ingest it again")
    if problem := _problem_of_items(items, records, meta):
        raise EcgprismError(f"{folder / ITEMS}: damaged ({problem}); ingest it again")
    return records, items


def _read_table(path: Path, expected: str) -> pa.Table:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise EcgprismError(f"{path}: damaged (its check sum does not fit); ingest it again")
    try:
        return pq.read_table(pa.BufferReader(data), page_checksum_verification=True).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise EcgprismError(f"{path}: damaged ({one_line(error)}); ingest it again") from None


def numbers(table: pa.Table, name: str) -> NDArray[Any]:
    """Return a column without nulls as an array (rows,), or for a column of lists all their values."""
    column = table[name].combine_chunks()
    return (column.flatten() if pa.types.is_list(column.type) else column).to_numpy(zero_copy_only=False)


def lengths(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Return the lengths of a column of lists (rows,), 0 for null."""
    return pc.fill_null(pc.list_value_length(table[name]), 0).to_numpy().astype(np.int64)


def _problem_of_schema(table: pa.Table, columns: Mapping[str, pa.DataType], prefix: str, meta: CorpusMeta) -> str:
    for name, kind in columns.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            return f"column {name}"
        if name not in _OPTIONAL and not name.startswith(LABELS_PREFIX) and table[name].null_count:
            return f"column {name} has gaps"
    for name in set(table.column_names) - set(columns):
        kind = meta.metadata.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if kind is None or table.schema.field(name).type != (pa.float64() if kind == "numeric" else pa.string()):
            return f"column {name}"
    return ""


def _problem_of_records(table: pa.Table, meta: CorpusMeta) -> str:
    """Return what is wrong with a record table, nothing when all is well."""
    if problem := _problem_of_schema(table, _RECORD, METADATA_PREFIX, meta):
        return problem
    n_leads, samples = lengths(table, "leads"), numbers(table, "samples")
    scale, zero = numbers(table, "scale"), numbers(table, "zero")
    starts = np.concatenate([[0], np.cumsum(n_leads * samples)])
    leads = set(pc.unique(pc.list_flatten(table["leads"])).to_pylist())
    checks = {
        f"{len(table)} records, not {meta.records}": len(table) == meta.records,
        "samples": bool((samples > 0).all()),
        "leads": bool((n_leads > 0).all()) and leads <= set(LEADS) & set(meta.leads),
        "scale": bool((lengths(table, "scale") == n_leads).all() and (np.isfinite(scale) & (scale > 0)).all()),
        "zero": bool((lengths(table, "zero") == n_leads).all() and np.isfinite(zero).all()),
        "offset": bool((numbers(table, "offset") == starts[:-1]).all()),
        "split": set(pc.unique(table["split"]).to_pylist()) <= {*SPLITS, NO_SPLIT},
    }
    return next((what for what, good in checks.items() if not good), "")


def _problem_of_items(table: pa.Table, records: pa.Table, meta: CorpusMeta) -> str:
    """Return what is wrong with an item table, nothing when all is well."""
    labels = {LABELS_PREFIX + task: pa.list_(pa.int16()) for task in meta.tasks}
    if problem := _problem_of_schema(table, _ITEM | labels, ITEM_METADATA_PREFIX, meta):
        return problem
    record, start, length = (numbers(table, name) for name in _ITEM)
    if len(table) != meta.items:
        return f"{len(table)} items, not {meta.items}"
    if not ((record >= 0) & (record < len(records))).all():
        return "record"
    if not ((start >= 0) & (length > 0) & (start + length <= numbers(records, "samples")[record])).all():
        return "start and length"
    for task, known in meta.tasks.items():
        held = numbers(table, LABELS_PREFIX + task)
        if not ((held >= 0) & (held < len(known.classes))).all():
            return LABELS_PREFIX + task
    return ""


def fingerprint(rate_hz: float, tasks: Mapping[str, Any], records: pa.Table, items: pa.Table) -> str:
    """Return the SHA-256 of all that a model sees, equal for equal data, whenever and wherever it was ingested.

    That is: integers (by their hashes), scales, zeros, leads, rate, metadata, labels, splits, tasks.
    """
    classes = {name: [task.kind, list(task.classes)] for name, task in tasks.items()}
    digest = hashlib.sha256(json.dumps([rate_hz, classes], sort_keys=True).encode())
    for table in (records, items):
        for name in sorted(set(table.column_names) - _UNSEEN):
            digest.update(f"\x00{name}\x00{len(table)}\x00".encode())
            _feed(digest, table[name].combine_chunks())
    return digest.hexdigest()


def _feed(digest: _Hash, array: pa.Array) -> None:
    """Hash the content of a column, whatever its memory looks like."""
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_list(array.type):
        digest.update(pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype("<i8").tobytes())
        _feed(digest, array.flatten())
    elif pa.types.is_string(array.type):
        filled = array.fill_null("").cast(pa.large_string())
        digest.update(pc.binary_length(filled).to_numpy().astype("<i8").tobytes())
        _, offsets, data = filled.buffers()
        ends = np.frombuffer(offsets, np.int64)[filled.offset : filled.offset + len(filled) + 1]
        if len(filled) and data is not None:
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    else:
        values = array.fill_null(0).to_numpy(zero_copy_only=False)
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
