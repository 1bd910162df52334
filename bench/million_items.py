"""Seconds to open a corpus of a million items and to select those of one split; target: 2 s together.

python bench/million_items.py [--items 1000000] [--records 100000]

The corpus is made for it: an item is a stretch of a record, a record has two leads of 40 samples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgprism.corpus.meta import ITEMS, RECORDS, SIGNALS, TABLES, CorpusMeta, write_meta
from ecgprism.corpus.store import Corpus
from ecgprism.corpus.tables import fingerprint, write_tables
from ecgprism.files import file_digest
from ecgprism.interface.card import Task

LEADS, SAMPLES, CLASSES = ["II", "V1"], 40, tuple("NSVFQ")


def make(folder: Path, records: int, items: int) -> None:
    """Write the corpus: one row of each table by the package's own writer, then as many as asked for."""
    record = {
        "record_id": "r", "patient_id": "p", "cluster": 0, "split": "train", "path": "", "leads": LEADS,
        "samples": SAMPLES, "offset": 0, "scale": [1.0, 1.0], "zero": [0.0, 0.0], "source_rate_hz": 100.0,
        "flat_leads": [], "skipped_channels": [], "waveform": "0" * 32, "meta.age": 50.0, "meta.sex": "female",
        **{f"quality_{flag}": [] for flag in ("flat", "clipped", "noisy", "off")},
    }  # fmt: skip
    item = {"record": 0, "start": 0, "length": SAMPLES, "labels.beat": [0], "metadata.rr_pre_s": 0.8}
    write_tables(folder, [record], [item], ["beat"], {"age": True, "sex": False}, {"rr_pre_s": True})
    one = pq.read_table(folder / RECORDS)
    numbers = np.arange(records)
    changes = {
        "record_id": pa.array([f"r{i:07d}" for i in numbers]),
        "patient_id": pa.array([f"p{i // 2:07d}" for i in numbers]),
        "split": pa.array(np.array(["train", "val", "test"])[numbers % 3].tolist()),
        "cluster": pa.array(numbers // 2),
        "offset": pa.array(numbers * SAMPLES * len(LEADS)),
    }
    table = one.take(pa.array(np.zeros(records, dtype=np.int64)))
    for name, values in changes.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, folder / RECORDS, row_group_size=10_000, write_page_checksum=True)
    rng, at = np.random.default_rng(0), np.arange(items)
    labels = pa.ListArray.from_arrays(np.arange(items + 1, dtype=np.int32), rng.integers(0, 5, items).astype(np.int16))
    beats = {
        "record": pa.array(at * records // items), "start": pa.array(np.zeros(items, dtype=np.int64)),
        "length": pa.array(np.full(items, SAMPLES)), "labels.beat": labels,
        "metadata.rr_pre_s": pa.array(rng.normal(0.8, 0.1, items)),
    }  # fmt: skip
    pq.write_table(pa.table(beats), folder / ITEMS, row_group_size=10_000, write_page_checksum=True)
    np.zeros(records * SAMPLES * len(LEADS), dtype="<i2").tofile(folder / SIGNALS)
    tasks = {"beat": Task("multiclass", CLASSES)}
    columns = {"age": "numeric", "rr_pre_s": "numeric", "sex": "categorical"}
    described = {
        "ecgprism": "bench", "source": "bench", "options": {}, "seed": 0, "rate_hz": 100.0, "leads": tuple(LEADS),
        "lead_aliases": {}, "tasks": tasks, "metadata": columns, "missing": dict.fromkeys(columns, 0.0), "classes": {},
        "records": records, "rejected": 0, "items": items, "flat_leads": 0, "unknown_patients": 0, "duplicates": 0,
        "skipped_channels": (), "split_rule": "", "unused": {}, "notes": (), "entries": "",
    }  # fmt: skip
    began = time.perf_counter()
    found = fingerprint(100.0, tasks, *(pq.read_table(folder / name) for name in TABLES))
    print(f"fingerprint of {items} items: {time.perf_counter() - began:.2f} s, at the end of an ingest")
    digests = {name: file_digest(folder / name) for name in TABLES}
    write_meta(folder, CorpusMeta(**described, fingerprint=found, sha256=digests))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), options.records, options.items)
        for run in range(options.runs):
            began = time.perf_counter()
            corpus = Corpus(name)
            opened = time.perf_counter()
            chosen = corpus.select("beat", "train", ["N", "S", "V"])
            done = time.perf_counter()
            print(
                f"run {run + 1}: open {opened - began:.2f} s, select {done - opened:.2f} s, together {done - began:.2f}"
                f" s ({len(chosen)} of {options.items} items of {options.records} records)"
            )


if __name__ == "__main__":
    main()
