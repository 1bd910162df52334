"""Items of a recording: cut to it, placed with it, with metadata of their own, the same after any crash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgprism.corpus import summary as summary_module
from ecgprism.corpus import tables
from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.meta import ITEMS, RECORDS
from ecgprism.corpus.splits import assign
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, ReadError
from ecgprism.interface.card import InputSpec, MetadataSchema, Task
from ecgprism.sources.contract import Entry, Item

from .records import known


@given(st.floats(-2, 12), st.floats(0.02, 6), st.sampled_from([100.0, 128.0, 257.0]))
def test_an_item_stays_within_its_recording_and_is_cut_not_moved(
    start_s: float, width_s: float, rate_hz: float
) -> None:
    samples = round(10 * rate_hz)
    wanted = round(start_s * rate_hz), max(round((start_s + width_s - start_s) * rate_hz), 1)
    inside = [i for i in range(wanted[0], wanted[0] + wanted[1]) if 0 <= i < samples]
    item = Item(start_s, start_s + width_s, {})
    if not inside:
        with pytest.raises(ReadError, match="is not within the 10 s of its recording"):
            item.within(samples, rate_hz)
        return
    assert item.within(samples, rate_hz) == (inside[0], len(inside))


def test_an_item_holds_a_sample_however_short_it_is() -> None:
    assert Item(1.0, 1.001, {}).within(1000, 100) == (100, 1)


@pytest.mark.parametrize("span", [(10.0, 11.0), (-1.0, 0.0), (3.0, 3.0), (4.0, 3.0)])
def test_an_item_that_is_nowhere_is_refused(span: tuple[float, float]) -> None:
    with pytest.raises(ReadError, match=f"an item from {span[0]:g} to {span[1]:g} s is not within the 10 s"):
        Item(*span, {}).within(1000, 100)


class Cut:
    """A source of items in made recordings r0, r1, ...; every record a patient of its own."""

    tasks: Mapping[str, Task] = {"part": Task("multiclass", ("A", "B", "C")), "mark": Task("multilabel", ("X", "Y"))}
    lead_aliases: Mapping[str, str] = {}
    #: by record: its items
    held: ClassVar[Sequence[Sequence[Item]]] = ()
    metadata: ClassVar[Mapping[str, float | str]] = {}

    def entries(self) -> Iterator[Entry]:
        """One entry a list of items."""
        for i in range(len(self.held)):
            yield Entry(f"r{i}", "", {}, f"p{i}", metadata=self.metadata, unused=("of the entry",))

    def read(self, entry: Entry) -> Recording:
        """Make 10 s of noise."""
        seed = int(entry.record_id[1:])
        return Recording(np.random.default_rng(seed).normal(0, 1, (1, 1000)).astype(np.float32), 100.0, ("I",))

    def items(self, entry: Entry, recording: Recording) -> tuple[Sequence[Item], Sequence[str]]:
        """Return the items of the record."""
        return self.held[int(entry.record_id[1:])], ("of the record",)


def cut(held: Sequence[Sequence[Item]], out: Path, workers: int = 1, stop: int = 0, **given: Any) -> Corpus:
    def progress(number: int, _: int | None) -> None:
        if number == stop > 0:
            raise KeyboardInterrupt

    with known("cut", type("Cut", (Cut,), {"held": held, **given})):
        ingest("cut", None, out, workers=workers, progress=progress)
    return Corpus(out)


def part(start_s: float, name: str, **metadata: float | str) -> Item:
    return Item(start_s, start_s + 1, {"part": (name,)}, metadata)


def test_a_record_without_items_stays_and_its_marks_are_counted(tmp_path: Path) -> None:
    corpus = cut([[part(0, "A"), Item(1, 2, {"mark": ("X", "Y")})], []], tmp_path / "c")
    assert len(corpus.records) == 2
    assert corpus.items["record"].tolist() == [0, 0]
    assert corpus.meta.unused == {"of the entry": 2, "of the record": 2}
    assert (len(corpus.select("part")), corpus.select("part").left_out) == (1, 1)
    assert corpus.select("mark").target.tolist() == [[True, True]]


def test_an_item_has_the_metadata_of_its_record_and_its_own_goes_first(tmp_path: Path) -> None:
    held = [[part(0, "A", age=5.0, kind="x"), part(1, "B", kind=3.0)], [part(2, "C", rr=0.8)]]
    corpus = cut(held, tmp_path / "c", metadata={"age": 70.0, "site": "a"})
    chosen = corpus.select("part")
    table = corpus.metadata_of(chosen)
    assert corpus.meta.metadata == {"age": "numeric", "kind": "categorical", "rr": "numeric", "site": "categorical"}
    assert table["age"].tolist() == [5, 70, 70]
    assert table["site"].tolist() == ["a", "a", "a"]
    assert table["kind"].fillna("").tolist() == ["x", "3.0", ""]
    np.testing.assert_array_equal(table["rr"], [np.nan, np.nan, 0.8])
    assert list(corpus.metadata) == ["age", "site"]
    assert corpus.metadata_of(chosen.first(1))["age"].tolist() == [5]


def test_a_column_that_is_text_anywhere_is_text_in_both_tables(tmp_path: Path) -> None:
    corpus = cut([[part(0, "A", grade="high"), part(1, "B")]], tmp_path / "c", metadata={"grade": 2.0})
    assert corpus.meta.metadata == {"grade": "categorical"}
    assert corpus.metadata_of(corpus.select("part"))["grade"].tolist() == ["high", "2.0"]


def test_a_corpus_without_items_of_its_own_reads_as_before(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    chosen = corpus.select("superdiagnostic", ["train"])
    assert chosen.item.tolist() == chosen.record.tolist()
    assert list(corpus.items) == ["record", "start", "length", "labels.superdiagnostic"]
    expected = corpus.metadata.iloc[chosen.record].reset_index(drop=True)
    pd.testing.assert_frame_equal(corpus.metadata_of(chosen), expected)
    assert (corpus.meta.items, corpus.meta.unused) == (len(corpus.records), {})


def test_batches_carry_the_metadata_of_their_items(tmp_path: Path) -> None:
    held = [[part(i, "ABC"[i % 3], rr=0.5 + i / 10) for i in range(8)], [part(1, "A", rr=9.0)]]
    corpus = cut(held, tmp_path / "c", metadata={"age": 70.0})
    chosen = corpus.select("part", classes=["B", "A"])
    schema = MetadataSchema.fit(corpus.metadata_of(chosen), corpus.meta.metadata)
    rr = [0.5, 0.6, 0.8, 0.9, 1.1, 1.2, 9.0]
    column = next(column for column in schema.columns if column.name == "rr")
    assert (column.mean, column.std) == pytest.approx((np.mean(rr), np.std(rr)))
    assembler = CorpusAssembler(corpus, chosen, InputSpec(("I",), 100.0, 100, schema))
    index = np.array([6, 2, 0])
    batch = assembler.batch(index, np.zeros(3, dtype=np.int64), np.full(3, 100))
    names = [column.name for column in schema.columns]
    assert batch.metadata[:, names.index("rr")].tolist() == pytest.approx([9.0, 0.8, 0.5])
    assert batch.metadata[:, names.index("age")].tolist() == [70.0] * 3


def test_records_are_stratified_by_the_labels_of_all_their_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NDArray[np.bool_]] = []

    def spy(official: Any, cluster: Any, target: NDArray[np.bool_], seed: int) -> Any:
        seen.append(target)
        return assign(official, cluster, target, seed)

    monkeypatch.setattr(summary_module, "assign", spy)
    cut([[part(0, "A"), part(1, "C")], [part(0, "B")], []], tmp_path / "c")
    assert seen[0].tolist() == [[True, False, True], [False, True, False], [False, False, False]]


MANY = [[part(i, "ABC"[(i + r) % 3], rr=float(i), note="xy"[i % 2]) for i in range(r)] for r in range(9)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_ingest_of_items_gives_the_same_bytes_in_workers_and_after_a_crash(tmp_path: Path) -> None:
    whole = cut(MANY, tmp_path / "whole").path
    assert contents(cut(MANY, tmp_path / "workers", workers=2).path) == contents(whole)
    with pytest.raises(KeyboardInterrupt):
        cut(MANY, tmp_path / "mended", stop=5)
    assert (tmp_path / "mended.partial").is_dir()
    assert contents(cut(MANY, tmp_path / "mended").path) == contents(whole)


def test_an_interrupted_ingest_of_an_older_journal_is_not_taken_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cut(MANY, tmp_path / "c", stop=5)
    settings_file = tmp_path / "c.partial" / "settings.json"
    older = json.loads(settings_file.read_text())
    del older["journal"]
    settings_file.write_text(json.dumps(older))
    with pytest.raises(EcgprismError, match="an interrupted ingest with another journal is here"):
        cut(MANY, tmp_path / "c")


def test_tables_are_written_a_group_of_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut(MANY, tmp_path / "whole").path
    monkeypatch.setattr(tables, "ROW_GROUP", 4)
    grouped = cut(MANY, tmp_path / "grouped").path
    for name, rows in ((RECORDS, 9), (ITEMS, 36)):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(grouped / name)
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4] * (rows // 4) + [
            rows % 4
        ] * (rows % 4 > 0)
        pd.testing.assert_frame_equal(pd.read_parquet(grouped / name), pd.read_parquet(whole / name))


def test_the_fingerprint_covers_windows_and_labels_of_items(tmp_path: Path) -> None:
    items = [[part(0, "A"), part(1, "B")]]
    prints = {
        cut(held, tmp_path / f"c{i}").fingerprint
        for i, held in enumerate([items, [[part(0, "A"), part(1, "C")]], [[part(0, "A"), part(1.5, "B")]], items])
    }
    assert len(prints) == 3
