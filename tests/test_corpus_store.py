"""The store: what was written comes back equal, every flipped byte is seen, and the fingerprint is that of the data."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ecgprism.cli.entry import app
from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.meta import ITEMS, META, RECORDS, SIGNALS, TABLES, CorpusMeta, read_meta, write_meta
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import filled
from ecgprism.ecg.leads import LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.files import file_digest
from ecgprism.interface.card import Task
from ecgprism.sources.contract import Entry, Item

from .ingests import ingest_made, ingest_these, one_line, recording, wave
from .records import Listed, known, listed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "c"
    ingest_made(out)
    return out


def use(path: Path) -> None:
    """Open a corpus and look at all of its signals, as a training does."""
    corpus = Corpus(path)
    records = np.arange(len(corpus.records))
    lengths = corpus.records["samples"].to_numpy(np.int64)
    corpus.windows(records, np.zeros_like(records), lengths, corpus.leads)


# --- damage


@pytest.mark.parametrize("name", [SIGNALS, RECORDS, ITEMS, META])
def test_every_flipped_byte_of_a_corpus_is_seen(tmp_path: Path, made: Path, name: str) -> None:
    shutil.copytree(made, tmp_path / "c")
    use(tmp_path / "c")
    whole = (made / name).read_bytes()
    rng = random.Random(0)
    everywhere = range(len(whole)) if name == META else rng.sample(range(len(whole)), 120)
    for at in everywhere:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        (tmp_path / "c" / name).write_bytes(damaged)
        with pytest.raises(EcgprismError) as caught:
            use(tmp_path / "c")
        assert str(tmp_path / "c") in one_line(caught.value)
        if name == SIGNALS:
            assert "the samples of record m" in str(caught.value)


def test_a_damaged_record_is_named_by_all_that_reads_signals_and_costs_no_other(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made, tmp_path / "c")
    offset = int(Corpus(made).records["offset"][5])
    held = bytearray((made / SIGNALS).read_bytes())
    held[2 * offset] ^= 1
    (tmp_path / "c" / SIGNALS).write_bytes(held)
    corpus = Corpus(tmp_path / "c")
    name = corpus.records["record_id"][5]
    one, zero = np.array([1]), np.array([0])
    for reads in (
        lambda: corpus.digital(5),
        lambda: corpus.signal(5),
        lambda: corpus.windows(np.array([5]), zero, one, ("I",)),
        corpus.check,
    ):
        with pytest.raises(EcgprismError, match=f"the samples of record {name} have changed; ingest it again"):
            reads()
    corpus.windows(np.array([4]), zero, one, ("I",))


def test_the_check_of_the_command_line_tells_a_sound_corpus_from_a_damaged_one(tmp_path: Path, made: Path) -> None:
    done = CliRunner().invoke(app, ["corpus", "check", str(made)])
    assert done.exit_code == 0
    assert "11 recordings, 11 items, all as ingested" in " ".join(done.output.split())
    shutil.copytree(made, tmp_path / "c")
    held = bytearray((made / SIGNALS).read_bytes())
    held[-1] ^= 128
    (tmp_path / "c" / SIGNALS).write_bytes(held)
    done = CliRunner().invoke(app, ["corpus", "check", str(tmp_path / "c")])
    assert isinstance(done.exception, EcgprismError)
    assert "the samples of record m11 have changed" in str(done.exception)


def tampered(folder: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table and make its check sum fit again."""
    pq.write_table(change(pq.read_table(folder / name)), folder / name)
    meta = read_meta(folder)
    write_meta(folder, meta.model_copy(update={"sha256": {n: file_digest(folder / n) for n in TABLES}}))


def column(name: str, change: Callable[[list[Any]], list[Any]], kind: pa.DataType | None = None) -> Any:
    def changed(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        values = pa.array(change(table[name].to_pylist()), kind or table.schema.field(name).type)
        return table.set_column(at, name, values)

    return changed


def first(value: object) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (RECORDS, column("samples", first(-5)), "samples"),
        (RECORDS, column("samples", first(0)), "samples"),
        (RECORDS, column("offset", lambda v: [v[1], v[0], *v[2:]]), "offset"),
        (RECORDS, column("offset", lambda v: [x + 1 for x in v]), "offset"),
        (RECORDS, column("leads", first(["x|y"])), "leads"),
        (RECORDS, column("leads", first(["I"] * 99)), "scale"),
        (RECORDS, column("leads", first([])), "leads"),
        (RECORDS, column("leads", first(None)), "column leads has gaps"),
        (RECORDS, column("scale", first([float("nan")])), "scale"),
        (RECORDS, column("scale", first([-1.0])), "scale"),
        (RECORDS, column("zero", first([float("inf")])), "zero"),
        (RECORDS, column("split", first("trian")), "split"),
        (RECORDS, column("samples", lambda v: [str(x) for x in v], pa.string()), "column samples"),
        (RECORDS, lambda table: table.drop_columns(["waveform"]), "column waveform"),
        (RECORDS, lambda table: table.append_column("meta.bad", table["samples"]), "column meta.bad"),
        (RECORDS, lambda table: table.append_column("more", table["samples"]), "column more"),
        (RECORDS, lambda table: table.slice(0, 10), "10 records, not 11"),
        (ITEMS, column("record", first(-1)), "record"),
        (ITEMS, column("record", first(11)), "record"),
        (ITEMS, column("start", first(-1)), "start and length"),
        (ITEMS, column("start", first(10**12)), "start and length"),
        (ITEMS, column("length", first(0)), "start and length"),
        (ITEMS, column("labels.rhythm", first([-1])), "labels.rhythm"),
        (ITEMS, column("labels.rhythm", first([3])), "labels.rhythm"),
        (ITEMS, lambda table: table.drop_columns(["labels.form"]), "column labels.form"),
        (ITEMS, lambda table: table.slice(1), "10 items, not 11"),
    ],
)
def test_a_table_of_impossible_numbers_is_refused_though_its_check_sum_fits(
    tmp_path: Path, made: Path, name: str, change: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    shutil.copytree(made, tmp_path / "c")
    tampered(tmp_path / "c", name, lambda table: table)
    use(tmp_path / "c")
    tampered(tmp_path / "c", name, change)
    with pytest.raises(EcgprismError) as caught:
        Corpus(tmp_path / "c")
    assert one_line(caught.value) == f"{tmp_path / 'c' / name}: damaged ({problem}); ingest it again"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rate_hz": 0.0}, "rate_hz"),
        ({"rate_hz": "100"}, "rate_hz"),
        ({"leads": ("I", "x")}, "leads"),
        ({"leads": ()}, "leads"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": {"rhythm": {"kind": "both", "classes": ["N"]}}}, "tasks.rhythm.kind"),
        ({"tasks": {"rhythm": {"kind": "multiclass", "classes": ["N", "N"]}}}, "'N' stands twice"),
        ({"metadata": {"age": "number"}}, "metadata.age"),
        ({"records": -1}, "records"),
        ({"fingerprint": "x"}, "fingerprint"),
        ({"sha256": {}}, "sha256"),
        ({"more": 1}, "more"),
    ],
)
def test_a_corpus_json_of_impossible_values_is_refused_though_its_check_sum_fits(
    tmp_path: Path, made: Path, change: Mapping[str, object], problem: str
) -> None:
    shutil.copytree(made, tmp_path / "c")
    tree = json.loads((made / META).read_text())
    del tree["checksum"]

    class Raw(CorpusMeta):
        def model_dump(self, **_: object) -> dict[str, Any]:
            return tree | change

    write_meta(tmp_path / "c", Raw.model_construct())
    with pytest.raises(EcgprismError, match=r"damaged: .*ingest it again") as caught:
        Corpus(tmp_path / "c")
    assert problem in one_line(caught.value)


def test_a_corpus_of_the_first_format_gets_one_line(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made, tmp_path / "c")
    (tmp_path / "c" / META).write_text(json.dumps({"format": 1, "rate_hz": 100.0, "leads": ["I"], "tasks": {}}))
    with pytest.raises(EcgprismError) as caught:
        Corpus(tmp_path / "c")
    assert one_line(caught.value) == f"{tmp_path / 'c' / META}: corpus format 1, expected 2: ingest it again"


# --- what is written is read back


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
VALUES = st.one_of(TEXT.map(lambda text: f"x{text}"), st.floats(-1e6, 1e6, allow_nan=False))
METADATA = st.dictionaries(TEXT.filter(lambda name: name not in ("age", "sex", "height", "weight")), VALUES, max_size=3)


@st.composite
def stored(draw: st.DrawFn) -> tuple[Entry, Recording, list[Item]]:
    leads = draw(st.lists(st.sampled_from(LEADS), min_size=1, max_size=3, unique=True))
    samples = draw(st.integers(3, 60))  # an item that begins at 0.8 of two samples would begin at their end
    signal = np.random.default_rng(draw(st.integers(0, 2**31))).normal(0, 1, (len(leads), samples)).astype(np.float32)
    if samples > 10 and draw(st.booleans()):
        signal[0, 3:6] = np.nan
    items = draw(
        st.lists(
            st.builds(
                lambda at, labels, marks, more: Item(
                    at * samples / 100,
                    samples / 100,
                    {"part": labels} | ({} if marks is None else {"mark": marks}),
                    more,
                ),
                st.floats(0, 0.8),
                st.sampled_from([("A",), ("B",)]),
                st.none() | st.sets(st.sampled_from("XYZ")).map(lambda held: tuple(sorted(held))),
                METADATA,
            ),
            max_size=3,
        )
    )
    entry = Entry(
        "", draw(TEXT), {}, draw(st.none() | TEXT), None, draw(METADATA), tuple(draw(st.lists(TEXT, max_size=2)))
    )
    recorded = Recording(signal, 100.0, tuple(leads), skipped=tuple(draw(st.lists(TEXT, max_size=2))))
    return entry, recorded, items


class Stored:
    """A source of whatever is drawn."""

    tasks: Mapping[str, Task] = {"part": Task("multiclass", ("A", "B")), "mark": Task("multilabel", ("X", "Y", "Z"))}
    lead_aliases: Mapping[str, str] = {}
    held: list[tuple[Entry, Recording, list[Item]]] = []  # noqa: RUF012

    def entries(self) -> Any:
        yield from (entry for entry, _, _ in self.held)

    def read(self, entry: Entry) -> Recording:
        return self.held[int(entry.record_id)][1]

    def items(self, entry: Entry, _: Recording) -> tuple[list[Item], list[str]]:
        return self.held[int(entry.record_id)][2], []


@settings(deadline=None, max_examples=40)
@given(st.lists(stored(), min_size=1, max_size=4))
def test_any_corpus_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[Entry, Recording, list[Item]]]
) -> None:
    held = [(replace(entry, record_id=str(i)), r, items) for i, (entry, r, items) in enumerate(drawn)]
    with known("stored", type("Held", (Stored,), {"held": held})):
        out = ingest("stored", None, tmp_path_factory.mktemp("stored") / "c", workers=1).path
    corpus = Corpus(out)
    corpus.check()
    assert corpus.fingerprint == corpus.computed_fingerprint()
    number = 0
    for i, (entry, recorded, items) in enumerate(held):
        row = corpus.records.iloc[i]
        assert (row["record_id"], row["path"], row["patient_id"]) == (entry.record_id, entry.path, entry.patient_id)
        assert corpus.leads_of(i) == tuple(row["leads"]) == recorded.leads
        assert tuple(row["skipped_channels"]) == recorded.skipped
        low, high = np.nanmin(recorded.signal, axis=1), np.nanmax(recorded.signal, axis=1)
        step = ((high - low) / 65_532 + 1e-6)[:, None]
        assert (np.abs(corpus.signal(i) - recorded.signal) <= step)[~np.isnan(recorded.signal)].all()
        np.testing.assert_array_equal(np.isnan(corpus.signal(i)), np.isnan(recorded.signal))
        same(corpus.metadata.iloc[i], entry.metadata, corpus)
        for item in items:
            line = corpus.items.iloc[number]
            start, length = item.within(recorded.signal.shape[1], 100.0)
            assert (line["record"], line["start"], line["length"]) == (i, start, length)
            assert [("A", "B")[k] for k in line["labels.part"]] == list(item.labels["part"])
            if "mark" in item.labels:
                assert ["XYZ"[k] for k in line["labels.mark"]] == list(item.labels["mark"])
            else:
                assert line["labels.mark"] is None
            same(line.filter(like="metadata.").rename(lambda name: name[9:]), item.metadata, corpus)
            number += 1
    assert number == len(corpus.items) == corpus.meta.items
    assert corpus.meta.unused == Counter(mark for entry, _, _ in held for mark in entry.unused)


def same(row: pd.Series, given_values: Mapping[str, float | str], corpus: Corpus) -> None:
    for name in row.index:
        if name not in given_values:
            assert pd.isna(row[name])
        elif corpus.meta.metadata[name] == "numeric":
            assert row[name] == given_values[name]
        else:
            assert row[name] == str(given_values[name])


# --- the fingerprint


def test_the_fingerprint_covers_all_that_a_model_sees(tmp_path: Path) -> None:
    def fingerprint(name: str, second: Recording | None = None, changes: Any = None) -> str:
        ingest_these(
            [recording(wave(0, 2)), second or recording(wave(1, 2), metadata={"age": 50.0})], tmp_path / name, changes
        )
        corpus = Corpus(tmp_path / name)
        assert json.loads((tmp_path / name / META).read_text())["fingerprint"] == corpus.computed_fingerprint()
        return corpus.fingerprint

    same_again = {"age": 50.0}
    found = [
        fingerprint("a"),
        fingerprint("gain", recording(1000 / 500 * wave(1, 2), metadata=same_again)),
        fingerprint("offset", recording(wave(1, 2) + 1, metadata=same_again)),
        fingerprint("leads", recording(wave(1, 2), ("II", "I"), metadata=same_again)),
        fingerprint("age", recording(wave(1, 2), metadata={"age": 51.0})),
        fingerprint("no age", recording(wave(1, 2))),
        fingerprint("sex", recording(wave(1, 2), metadata={"age": 50.0, "sex": "male"})),
        fingerprint("patient", None, {1: {"patient_id": "q"}}),
    ]
    assert len(set(found)) == len(found)
    assert fingerprint("b") == found[0]
    assert fingerprint("path", None, {1: {"path": "elsewhere"}}) == found[0]


def test_a_fold_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    with listed([recording(wave(i)) for i in range(20)]):
        ingest("listed", None, tmp_path / "c", workers=1)
    corpus = Corpus(tmp_path / "c")
    prints = [corpus.folded("labels", f"{k}/2").fingerprint for k in (1, 2, 1)]
    assert prints[0] == prints[2]
    assert len({corpus.fingerprint, *prints}) == 3
    folded = corpus.folded("labels", "1/2")
    assert set(folded.records["split"][folded.select("labels", "test").record]) == {"test"}
    assert len(folded.select("labels", "test")) == 10


# --- select, windows


class Kinds(Listed):
    """Four records: of A, of B, of both, of none."""

    tasks: Mapping[str, Task] = {"any": Task("multilabel", ("A", "B", "C")), "one": Task("multiclass", ("A", "B", "C"))}
    recordings = [recording(wave(i)) for i in range(4)]  # noqa: RUF012
    changes: Mapping[int, Mapping[str, Any]] = {
        0: {"labels": {"any": ("A",), "one": ("A",)}}, 1: {"labels": {"any": ("B",), "one": ("B",)}},
        2: {"labels": {"any": ("A", "B"), "one": ("C",)}}, 3: {"labels": {"any": ()}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    with known("kinds", Kinds):
        return Corpus(ingest("kinds", None, tmp_path_factory.mktemp("kinds") / "c", workers=1).path)


def test_of_several_labels_the_records_of_other_classes_are_negatives(kinds: Corpus) -> None:
    chosen = kinds.select("any", classes=["B"])
    assert chosen.record.tolist() == [0, 1, 2, 3]
    assert chosen.target.tolist() == [[False], [True], [True], [False]]
    assert chosen.left_out == 0


def test_of_one_label_the_records_of_other_classes_are_left_out_and_counted(kinds: Corpus) -> None:
    chosen = kinds.select("one", classes=["B", "A"])
    assert chosen.record.tolist() == [0, 1]
    assert chosen.target.tolist() == [[False, True], [True, False]]
    assert chosen.left_out == 2


def test_a_split_may_be_named_alone_and_must_exist(kinds: Corpus) -> None:
    for split in ("train", "val", "test"):
        one, several = kinds.select("any", split), kinds.select("any", [split])
        assert (
            one.record.tolist() == several.record.tolist() == np.flatnonzero(kinds.records["split"] == split).tolist()
        )
    with pytest.raises(EcgprismError, match=r"no split 'trian'; did you mean 'train'\?"):
        kinds.select("any", "trian")
    with pytest.raises(EcgprismError, match=r"no task 'ony'; did you mean 'one'\?"):
        kinds.select("ony")


def test_a_gap_holds_the_mean_of_what_the_window_has_of_its_lead(tmp_path: Path) -> None:
    signal = 1.5 + 0.1 * wave(0, n_leads=2, samples=1000)
    signal[0, 300:600] = np.nan
    ingest_these([recording(signal)], tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    for start, length in ((0, 1000), (200, 200), (310, 500)):
        read, mask = corpus.windows(np.array([0]), np.array([start]), np.array([length]), ("I", "V1"))
        part = signal[0, start : start + length]
        there = ~np.isnan(part)
        assert mask.tolist() == [[True, False]]
        np.testing.assert_allclose(read[0, 0][~there], part[there].mean(), atol=1e-4)
        np.testing.assert_allclose(read[0, 0][there], part[there], atol=1e-4)
        assert np.abs(read[0, 0] - 1.5).max() < 1  # no step of 1.5 mV
        assert not read[0, 1].any()


def test_a_filled_signal_has_the_mean_it_had() -> None:
    nan = np.nan
    np.testing.assert_array_equal(
        filled(np.float32([[1, nan, 3, nan], [nan, nan, nan, nan], [1, 2, 3, 4]])),
        np.float32([[1, 2, 3, 2], [0, 0, 0, 0], [1, 2, 3, 4]]),
    )
    whole = np.float32([[1, 2]])
    assert filled(whole) is whole
