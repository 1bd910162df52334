"""Beats as items, from annotation file to evaluation; the challenge of 2021; LUDB; quality flags of a corpus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgprism.config import parse_config
from ecgprism.corpus import summary as summary_module
from ecgprism.corpus import tables
from ecgprism.corpus.ingestion import IngestReport, ingest
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.meta import ITEMS, RECORDS
from ecgprism.corpus.splits import assign
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.quality import FLAGS, assess
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ConfigError, EcgprismError, ReadError
from ecgprism.evidence.evaluation import evaluate
from ecgprism.interface.card import InputSpec, MetadataSchema, Task
from ecgprism.sources.challenge2021 import SCORED
from ecgprism.sources.contract import Entry, Item, ItemSource
from ecgprism.sources.ludb import RHYTHMS
from ecgprism.sources.mitbih import DS1, DS2, rr_intervals
from ecgprism.sources.opening import open_source
from ecgprism.sources.physionet import read_annotations
from ecgprism.training.run import fit

from .records import digital, known, write_wfdb

MIT_BIH = [*range(100, 110), *range(111, 120), *range(121, 125), 200, 201, 202, 203, 205, 207, 208, 209, 210, 212, 213,
           214, 215, 217, 219, 220, 221, 222, 223, 228, 230, 231, 232, 233, 234]  # fmt: skip
RR = ("rr_pre_s", "rr_post_s", "rr_local_s", "rr_ratio")


# --- what the tests write


def write_beats(
    folder: Path,
    name: str,
    beats: Sequence[tuple[float, str]],
    *,
    leads: Sequence[str] = ("MLII", "V1"),
    duration_s: float = 20.0,
    rate_hz: int = 200,
    comments: Sequence[str] = (),
    annotator: str = "atr",
) -> Path:
    """Write a record with its annotations: a narrow spike for every beat, a broad one for V."""
    at = np.arange(round(duration_s * rate_hz)) / rate_hz
    values = digital(len(leads), len(at), seed=sum(map(ord, name))) / 50.0
    for at_s, symbol in beats:
        width_s = 0.06 if symbol == "V" else 0.02
        values += 200 * np.exp(-(((at - at_s) / width_s) ** 2))[:, None]
    write_wfdb(folder, name, np.rint(values).astype(np.int64), leads, rate_hz=rate_hz, comments=comments)
    samples = np.array([round(at_s * rate_hz) for at_s, _ in beats])
    wfdb.wrann(name, annotator, samples, [symbol for _, symbol in beats], write_dir=str(folder))
    return folder


def write_mitbih(folder: Path, names: Sequence[str] = ("101", "100")) -> Path:
    """Write records of normal beats, every fourth of them ventricular and early."""
    for number, name in enumerate(names):
        regular = 0.8 + 0.02 * number
        beats = [(0.5 + regular * i - (0.25 if i % 4 == 3 else 0.0), "V" if i % 4 == 3 else "N") for i in range(20)]
        write_beats(folder, name, beats, comments=[f"{50 + number} F 1 2 x1", "Digoxin"])
    return folder


def write_challenge(folder: Path, dx: Mapping[str, str]) -> Path:
    """Write records of two leads with the header's comments; `dx` by path below the folder."""
    for path, codes in dx.items():
        at = folder / path
        lines = ["Age: 61", "Sex: Female", f"Dx: {codes}", "Rx: Unknown"]
        write_wfdb(at.parent, at.name, digital(2, seed=len(path)), ["I", "V6"], rate_hz=500, comments=lines)
    return folder


def write_ludb(folder: Path, rhythms: Mapping[str, str], lead: str = "ii") -> Path:
    """Write records as LUDB has them: comments in angle brackets, a wave file for a lead."""
    for name, rhythm in rhythms.items():
        lines = ["<age>: 51", "<sex>: F", "<diagnoses>:", f"Rhythm: {rhythm}.", "Left ventricular hypertrophy. "]
        leads = [lead.lower() for lead in STANDARD_LEADS]
        write_wfdb(folder / "data", name, digital(12, 500), leads, rate_hz=500, comments=lines)
        symbols, samples = list("(p)(N)(t)"), np.array([20, 30, 40, 60, 70, 80, 120, 140, 160])
        wfdb.wrann(name, "wave", samples, symbols, write_dir=str(folder / "data"))  # which refuses the suffix v2
        (folder / "data" / f"{name}.wave").rename(folder / "data" / f"{name}.{lead}")
    return folder


def entries(name: str, root: Path, **options: object) -> list[Entry]:
    return list(open_source(name, root, options).entries())


def items_of(name: str, root: Path, record_id: str, **options: object) -> tuple[list[Item], list[str]]:
    source = open_source(name, root, options)
    assert isinstance(source, ItemSource)
    entry = next(entry for entry in source.entries() if entry.record_id == record_id)
    items, unused = source.items(entry, source.read(entry))
    return list(items), list(unused)


# --- annotation files


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 1100), st.integers(1, 3_000_000)),
            st.sampled_from('NLRaVFJASEj/Q~|sT*D"=pB^t+u?![]en@xf()r'),
            st.sampled_from(["", "(N", "(AFIB", "odd", "note of a length that is even"]),
            st.integers(-3, 3),
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_annotations_are_those_the_wfdb_package_writes_and_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("annotations")
    steps, symbols, notes, subtypes, channels, numbers = zip(*rows, strict=True)
    samples = np.cumsum(steps)
    wfdb.wrann(
        "a", "atr", samples, list(symbols), np.array(subtypes), np.array(channels), np.array(numbers),
        aux_note=list(notes), write_dir=str(folder),
    )  # fmt: skip
    read = read_annotations(folder / "a.atr", 250)
    theirs = wfdb.rdann(str(folder / "a"), "atr")
    assert [mark.at_s for mark in read] == (samples / 250).tolist() == (theirs.sample / 250).tolist()
    assert [mark.symbol for mark in read] == list(symbols) == theirs.symbol
    assert [mark.note for mark in read] == list(notes)


def test_annotations_with_a_rate_of_their_own_are_in_its_seconds(tmp_path: Path) -> None:
    wfdb.wrann("a", "atr", np.array([0, 500]), ["N", "V"], fs=1000, write_dir=str(tmp_path))
    assert [(mark.at_s, mark.symbol) for mark in read_annotations(tmp_path / "a.atr", 250)] == [(0.0, "N"), (0.5, "V")]


def test_annotations_with_symbols_of_their_own_keep_them(tmp_path: Path) -> None:
    own = pd.DataFrame({"label_store": [44], "symbol": ["Z"], "description": ["made up"]})
    wfdb.wrann("a", "atr", np.array([5, 9]), ["N", "Z"], custom_labels=own, write_dir=str(tmp_path))
    assert [(mark.at_s, mark.symbol) for mark in read_annotations(tmp_path / "a.atr", 1)] == [(5.0, "N"), (9.0, "Z")]


def test_annotations_that_go_back_in_time_do_so(tmp_path: Path) -> None:
    words = [59 << 10, 0, 2000, 1 << 10, 59 << 10, 0xFFFF, 0x10000 - 1500, 5 << 10 | 7, 0]
    (tmp_path / "a.atr").write_bytes(np.array(words, dtype="<u2").tobytes())
    assert [(m.at_s, m.symbol) for m in read_annotations(tmp_path / "a.atr", 1)] == [(2000.0, "N"), (507.0, "V")]


def test_a_note_ends_before_its_nul(tmp_path: Path) -> None:
    words = np.array([28 << 10 | 5, 63 << 10 | 3], dtype="<u2").tobytes()
    (tmp_path / "a.atr").write_bytes(words + b"(N\0\0" + b"\0\0")
    (mark,) = read_annotations(tmp_path / "a.atr", 1)
    assert (mark.at_s, mark.symbol, mark.note) == (5.0, "+", "(N")


def test_annotations_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    samples = np.array([5, 3000, 3100])
    wfdb.wrann("a", "atr", samples, ["N", "V", "+"], aux_note=["", "", "(AFIB"], write_dir=str(tmp_path))
    whole = (tmp_path / "a.atr").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "b.atr").write_bytes(whole[:length])
        with pytest.raises(ReadError, match=r"b\.atr: truncated"):
            read_annotations(tmp_path / "b.atr", 250)
    with pytest.raises(ReadError, match=r"c\.atr: no such file or directory: the record has no annotations"):
        read_annotations(tmp_path / "c.atr", 250)


# --- beats


CLASS_OF_SYMBOL = {
    "N": "N", "L": "N", "R": "N", "e": "N", "j": "N", "A": "S", "a": "S", "J": "S", "S": "S", "V": "V", "E": "V",
    "F": "F", "/": "Q", "f": "Q", "Q": "Q", "!": None, "x": None, "+": None, "~": None, "|": None, '"': None,
    "[": None, "]": None, "?": None, "B": None, "n": None, "r": None, "p": None,
}  # fmt: skip


@pytest.mark.parametrize(("symbol", "name"), CLASS_OF_SYMBOL.items())
def test_a_beat_is_of_its_aami_class_and_anything_else_is_counted(
    tmp_path: Path, symbol: str, name: str | None
) -> None:
    write_beats(tmp_path, "100", [(3.0, "N"), (4.0, symbol), (5.0, "V")])
    items, unused = items_of("mitbih", tmp_path, "100")
    assert [item.labels["beat"] for item in items] == [("N",), *([(name,)] if name else []), ("V",)]
    assert unused == ([] if name else [symbol])


def test_a_window_stands_around_its_beat(tmp_path: Path) -> None:
    write_beats(tmp_path, "100", [(3.0, "N"), (4.2, "V")])
    items, _ = items_of("mitbih", tmp_path, "100")
    assert [(item.start_s, item.stop_s) for item in items] == [(2.5, 3.5), (3.7, 4.7)]
    items, _ = items_of("mitbih", tmp_path, "100", window_s=0.6)
    assert [(item.start_s, item.stop_s) for item in items] == [pytest.approx((2.7, 3.3)), pytest.approx((3.9, 4.5))]


def test_rr_intervals_are_those_of_the_closed_form() -> None:
    at_s = np.array([1.0, 2.0, 2.5, 4.0])
    assert [sorted(row) for row in rr_intervals(at_s)] == [
        ["rr_post_s"],
        ["rr_local_s", "rr_post_s", "rr_pre_s", "rr_ratio"],
        ["rr_local_s", "rr_post_s", "rr_pre_s", "rr_ratio"],
        ["rr_local_s", "rr_pre_s", "rr_ratio"],
    ]
    third, last = rr_intervals(at_s)[2:]
    assert third == pytest.approx({"rr_pre_s": 0.5, "rr_post_s": 1.5, "rr_local_s": 0.75, "rr_ratio": 0.5})
    assert last == pytest.approx({"rr_pre_s": 1.5, "rr_local_s": 1.0, "rr_ratio": 1.5})
    assert rr_intervals(np.array([3.0])) == [{}]
    assert rr_intervals(np.array([3.0, 3.0])) == [{"rr_post_s": 0.0}, {"rr_pre_s": 0.0, "rr_local_s": 0.0}]
    assert rr_intervals(np.array([])) == []


@settings(deadline=None)
@given(st.lists(st.floats(0.2, 3.0), min_size=1, max_size=40))
def test_rr_intervals_are_the_means_that_they_say(rr: list[float]) -> None:
    rows = rr_intervals(np.concatenate([[5.0], 5.0 + np.cumsum(rr)]))
    for i in range(1, len(rr) + 1):
        assert rows[i]["rr_pre_s"] == pytest.approx(rr[i - 1])
        assert rows[i - 1]["rr_post_s"] == pytest.approx(rr[i - 1])
        assert rows[i]["rr_local_s"] == pytest.approx(np.mean(rr[max(0, i - 10) : i]))
        assert rows[i]["rr_ratio"] == pytest.approx(rr[i - 1] / np.mean(rr))


def test_rr_intervals_count_every_qrs_complex_and_nothing_else(tmp_path: Path) -> None:
    write_beats(tmp_path, "100", [(1.0, "N"), (1.4, "x"), (2.0, "!"), (2.2, "+"), (3.5, "V")])
    items, unused = items_of("mitbih", tmp_path, "100")
    assert unused == ["x", "!", "+"]
    assert items[0].metadata == pytest.approx({"rr_post_s": 1.0})
    assert items[1].metadata["rr_pre_s"] == pytest.approx(1.5)


def test_beats_that_the_file_has_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    write_beats(tmp_path, "100", [(1.0, "N")])
    words = [1 << 10 | 800, 59 << 10, 0xFFFF, 0x10000 - 500, 5 << 10, 1 << 10 | 100, 0]
    (tmp_path / "100.atr").write_bytes(np.array(words, dtype="<u2").tobytes())
    items, _ = items_of("mitbih", tmp_path, "100")
    assert [(item.start_s, item.labels["beat"]) for item in items] == [(1.0, ("V",)), (1.5, ("N",)), (3.5, ("N",))]
    assert [item.metadata.get("rr_pre_s") for item in items] == [None, 0.5, 2.0]


# --- records, splits, patients


def headers_only(folder: Path, names: Sequence[object], comments: str = "") -> Path:
    for name in names:
        (folder / f"{name}.hea").write_text(f"{name} 2 360 1000\n{comments}")
    return folder


def test_the_split_is_that_of_de_chazal_without_the_paced_and_without_the_patient_in_both_halves(
    tmp_path: Path,
) -> None:
    assert len(MIT_BIH) == 48
    listed = entries("mitbih", headers_only(tmp_path, MIT_BIH))
    split = {entry.record_id: entry.split for entry in listed}
    assert [entry.record_id for entry in listed] == sorted(split)
    assert {str(name) for name in MIT_BIH} - set(split) == {"102", "104", "107", "217", "202"}
    assert Counter(split.values()) == {"train": 22, "test": 21}
    assert (split["101"], split["201"], split["100"], split["234"]) == ("train", "train", "test", "test")
    assert set(DS1).isdisjoint(DS2)
    assert {*DS1, *DS2} | {"102", "104", "107", "217"} == {str(name) for name in MIT_BIH}
    assert all(entry.patient_id == entry.record_id for entry in listed)


def test_the_published_protocol_keeps_202_under_another_patient(tmp_path: Path) -> None:
    listed = {
        entry.record_id: entry for entry in entries("mitbih", headers_only(tmp_path, MIT_BIH), protocol="published")
    }
    assert (listed["201"].split, listed["202"].split) == ("train", "test")
    assert listed["201"].patient_id != listed["202"].patient_id
    assert len(listed) == 44
    with pytest.raises(ConfigError, match="protocol = 'clena'"):
        open_source("mitbih", tmp_path, {"protocol": "clena"})
    assert "201 and 202 are one" in (open_source("mitbih", tmp_path).__doc__ or "")


def test_records_of_another_set_have_no_official_split_and_the_patient_that_their_header_names(tmp_path: Path) -> None:
    headers_only(tmp_path, ["I01", "I02"], "#<age>: 65 <sex>: F <diagnoses> Hypertension\n# patient 1\n# PVCs\n")
    headers_only(tmp_path, ["800"])
    listed = [(e.record_id, e.split, e.patient_id) for e in entries("mitbih", tmp_path)]
    assert listed == [("800", None, None), ("I01", None, "patient 1"), ("I02", None, "patient 1")]


def test_age_and_sex_are_those_of_the_header(tmp_path: Path) -> None:
    write_beats(tmp_path, "100", [(1.0, "N")], comments=["69 M 1085 1629 x1", "Aldomet, Inderal"])
    write_beats(tmp_path, "I01", [(1.0, "N")], comments=["<age>: 65 <sex>: F <diagnoses> Hypertension", "patient 1"])
    write_beats(tmp_path, "103", [(1.0, "N")], comments=["-1 M 742 654 x1", "Diapres, Xyloprim"])
    source = open_source("mitbih", tmp_path)
    read = {entry.record_id: dict(source.read(entry).metadata) for entry in source.entries()}
    assert read == {"100": {"age": 69.0, "sex": "male"}, "103": {}, "I01": {"age": 65.0, "sex": "female"}}


def test_leads_go_by_their_names_and_others_may_be_declared(tmp_path: Path) -> None:
    write_beats(tmp_path, "114", [(1.0, "N")], leads=["V5", "MLII"])
    write_beats(tmp_path, "800", [(1.0, "N")], leads=["ECG1", "ECG2"], annotator="qrs")
    source = open_source("mitbih", tmp_path, {"leads": "ECG1=II|ECG2=V1"})
    first, second = source.entries()
    assert source.read(first).leads == ("V5", "II")
    with pytest.raises(ReadError, match=r"800\.atr: no such file"):
        source.read(second)
    other = open_source("mitbih", tmp_path, {"leads": "ECG1=II|ECG2=V1", "annotator": "qrs"})
    assert other.read(second).leads == ("II", "V1")
    assert [mark.symbol for mark in other.read(second).annotations] == ["N"]


@pytest.mark.parametrize("name", ["mitbih", "challenge2021", "ludb"])
def test_a_folder_without_records_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(EcgprismError, match=r"no WFDB headers \(\*\.hea\)"):
        open_source(name, tmp_path)


@pytest.mark.parametrize("given", [{"window_s": 0}, {"window_s": -1}, {"leads": "ECG1"}])
def test_impossible_options_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    write_beats(tmp_path, "100", [(1.0, "N")])
    with pytest.raises(EcgprismError, match=next(iter(given))):
        open_source("mitbih", tmp_path, given)


# --- items in the corpus


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


def ingested(root: Path, out: Path, **given: Any) -> tuple[IngestReport, Corpus]:
    done = ingest("mitbih", root, out, workers=1, **given)
    return done, Corpus(out)


def test_every_beat_is_an_item_of_its_record_with_its_window_and_its_intervals(tmp_path: Path) -> None:
    beats = [(0.2, "N"), (1.0, "N"), (1.6, "+"), (1.9, "V"), (9.0, "+"), (19.9, "A")]
    write_beats(tmp_path / "db", "101", beats, comments=["50 F"])
    write_beats(tmp_path / "db", "100", [(2.0, "F"), (3.0, "x")], comments=["60 M"])
    done, corpus = ingested(tmp_path / "db", tmp_path / "c")
    assert (done.records, done.items, done.unused) == (2, 5, {"+": 2, "x": 1})
    assert (corpus.meta.items, corpus.meta.unused) == (5, {"+": 2, "x": 1})
    assert corpus.records["record_id"].tolist() == ["100", "101"]
    chosen = corpus.select("beat")
    assert chosen.record.tolist() == [0, 1, 1, 1, 1]
    assert chosen.start.tolist() == [150, 0, 50, 140, 1940]  # at 100 Hz
    assert chosen.length.tolist() == [100, 70, 100, 100, 60]  # cut at the ends of the record
    assert chosen.item.tolist() == [0, 1, 2, 3, 4]
    assert ["NSVFQ"[k] for k in chosen.target.argmax(axis=1)] == ["F", "N", "N", "V", "S"]
    table = corpus.metadata_of(chosen)
    assert corpus.meta.metadata == {"age": "numeric", **dict.fromkeys(sorted(RR), "numeric"), "sex": "categorical"}
    assert table["age"].tolist() == [60, 50, 50, 50, 50]
    np.testing.assert_allclose(table["rr_pre_s"], [np.nan, np.nan, 0.8, 0.9, 18.0])
    np.testing.assert_allclose(table["rr_post_s"], [np.nan, 0.8, 0.9, 18.0, np.nan])
    window, mask = corpus.windows(chosen.record, chosen.start, chosen.length, ("II", "V1"))
    assert mask.all()
    assert window[3, 0].argmax() == pytest.approx(50, abs=1)


def test_a_bad_annotation_file_costs_its_record_and_no_other(tmp_path: Path) -> None:
    write_mitbih(tmp_path / "db", ["100", "101", "103", "105"])
    (tmp_path / "db" / "101.atr").unlink()
    whole = (tmp_path / "db" / "103.atr").read_bytes()
    (tmp_path / "db" / "103.atr").write_bytes(whole[:9])
    wfdb.wrann("105", "atr", np.array([200 * 60]), ["N"], write_dir=str(tmp_path / "db"))
    done, corpus = ingested(tmp_path / "db", tmp_path / "c")
    assert (done.records, done.rejected) == (1, 3)
    assert corpus.records["record_id"].tolist() == ["100"]
    reasons = pd.read_csv(tmp_path / "c" / "rejected.csv").set_index("record_id")["reason"].astype(str)
    assert "101.atr: no such file" in reasons[101]
    assert "103.atr: truncated" in reasons[103]
    assert reasons[105] == "an item from 59.5 to 60.5 s is not within the 20 s of its recording"


def test_items_go_to_the_split_of_their_record_and_a_tenth_of_the_patients_of_train_validates(tmp_path: Path) -> None:
    write_mitbih(tmp_path / "db", [*DS1[:10], "100", "103"])
    done, corpus = ingested(tmp_path / "db", tmp_path / "c")
    corpus.refuse_leaks()
    split = dict(zip(corpus.records["record_id"], corpus.records["split"], strict=True))
    assert Counter(split[name] for name in DS1[:10]) == {"train": 9, "val": 1}
    assert {split["100"], split["103"]} == {"test"}
    assert done.split_rule == "official split of the source, and a patient-wise tenth of train is validation"
    assert [len(corpus.select("beat", [name])) for name in ("train", "val", "test")] == [180, 20, 40]


def test_half_of_a_data_set_at_hand_is_split_by_patient() -> None:
    made = assign(["train"] * 40, np.repeat(np.arange(20), 2), np.ones((40, 1), dtype=bool))
    assert Counter(made.split) == {"train": 32, "val": 4, "test": 4}
    assert made.rule == "80/10/10 by patient, stratified by label (the source's official split is all train)"


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


# --- from ingest to evaluation


def test_beats_train_and_evaluate_with_their_intervals(tmp_path: Path) -> None:
    write_mitbih(tmp_path / "db", [*DS1[:8], *DS2[:3]])  # in this order of their rates
    _, corpus = ingested(tmp_path / "db", tmp_path / "c")
    views = {
        "freq": {"view": "spectrum", "encoder": {"mlp": {"hidden": 16}}},
        "rr": {"view": {"metadata": {"columns": list(RR)}}, "encoder": {"mlp": {"hidden": 16}}},
    }
    tree = {
        "corpus": str(corpus.path), "window_s": 1.0, "classes": ["N", "V"], "views": views, "dim": 16,
        "train": {"epochs": 8, "batch_size": 16, "ema": 0.9, "lr": 0.02},
    }  # fmt: skip
    fitted = fit(parse_config(tree), tmp_path / "run", corpus=corpus)
    columns = {column.name: column for column in fitted.model.spec.metadata.columns}
    training = corpus.metadata_of(corpus.select("beat", ["train"], ["N", "V"]))
    assert {*RR, "age", "sex"} == set(columns)
    assert columns["rr_pre_s"].mean == pytest.approx(training["rr_pre_s"].mean())
    found = evaluate(tmp_path / "run", resamples=20)
    assert len(found.predictions) == found.report.items == 60
    assert found.report.records == 3
    rows = found.predictions[found.predictions["record_id"] == "100"]
    step = 0.8 + 0.02 * 8  # of the ninth record written
    assert sorted(rows["start"])[:3] == pytest.approx([0, 100 * step, 200 * step], abs=1)
    assert found.value("macro_auroc")[0] > 0.9


# --- quality


def wave(seconds: float = 10.0, rate_hz: float = 100.0) -> NDArray[np.float64]:
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.exp(-(((at % 0.8 - 0.4) / 0.03) ** 2)) + 0.05 * np.sin(at)


def flawed() -> list[Recording]:
    """Recordings that are good, flat in V1, clipped in I and V1, noisy in I, and off in V1."""
    good, rng = wave(), np.random.default_rng(0)
    at = np.arange(len(good)) / 100
    pairs = [
        (good, good + 0.01),
        (good, np.zeros_like(good)),
        (np.clip(2 * np.sin(at), -1, 1), np.clip(3 * np.cos(at), -1, 1)),
        (rng.normal(0, 1, len(good)) * np.where(at % 0.02 < 0.01, 1, -1) + 20 * np.sin(2 * np.pi * 45 * at), good),
        (good, 8 * np.sin(2 * np.pi * 0.6 * at)),
    ]
    return [Recording(np.array(pair, dtype=np.float32), 100.0, ("I", "V1")) for pair in pairs]


class Flawed:
    """Those recordings as a source."""

    tasks: Mapping[str, Task] = {"labels": Task("multilabel", ("A",))}
    lead_aliases: Mapping[str, str] = {}

    def entries(self) -> Iterator[Entry]:
        """All labelled A."""
        yield from (Entry(f"r{i}", "", {"labels": ("A",)}, f"p{i}") for i in range(5))

    def read(self, entry: Entry) -> Recording:
        """Return one."""
        return flawed()[int(entry.record_id[1:])]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    with known("flawed", Flawed):
        done = ingest("flawed", None, tmp_path_factory.mktemp("quality") / "c", rate_hz=50, workers=1)
    return Corpus(done.path)


def test_quality_flags_are_stored_by_record(graded: Corpus) -> None:
    table = [[list(row[f"quality_{flag}"]) for flag in FLAGS] for row in graded.records.to_dict("records")]
    assert table == [
        [[], [], [], []], [["V1"], [], [], []], [[], ["I", "V1"], [], []], [[], [], ["I"], []], [[], [], [], ["V1"]],
    ]  # fmt: skip
    for recording, row in zip(flawed(), table, strict=True):
        assert row == [list(getattr(assess(recording), flag)) for flag in FLAGS]
    assert [list(leads) for leads in graded.records["flat_leads"]] == [[], ["V1"], [], [], []]


@pytest.mark.parametrize(
    ("without", "kept"), [((), [0, 1, 2, 3, 4]), (FLAGS, [0]), (("noisy",), [0, 1, 2, 4]), ({"flat", "off"}, [0, 2, 3])]
)
def test_records_with_a_flag_may_be_left_out(graded: Corpus, without: Sequence[str], kept: list[int]) -> None:
    chosen = graded.select("labels", without=without)
    assert chosen.record.tolist() == kept
    assert chosen.left_out == 5 - len(kept)


def test_a_flag_that_there_is_not_is_refused(graded: Corpus) -> None:
    with pytest.raises(EcgprismError, match=r"no quality flag 'nosiy'; did you mean 'noisy'\?"):
        graded.select("labels", without=["nosiy"])


# --- challenge 2021


def test_the_scored_diagnoses_are_26_with_four_pairs_scored_as_one() -> None:
    assert len(SCORED) == 26
    pairs = {frozenset(codes) for codes in SCORED.values() if len(codes) > 1}
    assert pairs == {
        frozenset({"59118001", "713427006"}), frozenset({"63593006", "284470004"}),
        frozenset({"17338001", "427172004"}), frozenset({"733534002", "164909002"}),
    }  # fmt: skip
    assert len({code for codes in SCORED.values() for code in codes}) == 30


@pytest.mark.parametrize(
    ("dx", "labels", "unused"),
    [
        ("426783006", ("NSR",), ()),
        ("713427006,59118001", ("RBBB",), ()),
        ("63593006, 17338001 ,733534002", ("LBBB", "PAC", "PVC"), ()),
        ("164889003,55827005,164889003", ("AF",), ("55827005",)),
        ("55827005", None, ("55827005",)),
        ("", None, ()),
    ],
)
def test_challenge_codes_become_classes_and_the_others_are_kept_to_be_counted(
    tmp_path: Path, dx: str, labels: tuple[str, ...] | None, unused: tuple[str, ...]
) -> None:
    (entry,) = entries("challenge2021", write_challenge(tmp_path, {"a/JS1": dx}))
    assert entry.labels == ({} if labels is None else {"scored": labels})
    assert (entry.unused, entry.patient_id, entry.split) == (unused, None, None)


def test_challenge_folders_are_searched_and_unscored_codes_counted(tmp_path: Path) -> None:
    dx = {"g1/JS2": "426783006,1", "g1/JS1": "1,2", "g2/deep/E1": "10370003"}
    write_challenge(tmp_path / "db", dx)
    assert [entry.record_id for entry in entries("challenge2021", tmp_path / "db")] == ["JS1", "JS2", "E1"]
    done = ingest("challenge2021", tmp_path / "db", tmp_path / "c", workers=1)
    assert (done.records, done.items, done.unused) == (3, 3, {"1": 2, "2": 1})
    corpus = Corpus(tmp_path / "c")
    chosen = corpus.select("scored")
    assert (len(chosen), chosen.left_out) == (2, 1)
    assert corpus.metadata["age"].tolist() == [61, 61, 61]
    assert corpus.metadata["sex"].tolist() == ["female"] * 3


@pytest.mark.parametrize("line", ["#Dx: 426783006", "# Dx:426783006", "  # dx: 426783006"])
def test_challenge_comments_may_be_spaced_in_any_way_and_a_missing_age_is_missing(tmp_path: Path, line: str) -> None:
    write_wfdb(tmp_path, "Q1", digital(1), ["I"])
    header = tmp_path / "Q1.hea"
    header.write_text(header.read_text() + f"# Age: NaN\n# Sex: Unknown\n{line}\n")
    source = open_source("challenge2021", tmp_path)
    (entry,) = source.entries()
    assert entry.labels == {"scored": ("NSR",)}
    assert dict(source.read(entry).metadata) == {}


# --- LUDB


def test_ludb_rhythms_are_those_of_the_header(tmp_path: Path) -> None:
    stated = {"10": "Atrial flutter, typical", "2": "Sinus rhythm", "1": "A rhythm of its own"}
    root = write_ludb(tmp_path, stated)
    source = open_source("ludb", root)
    assert source.tasks == {"rhythm": Task("multiclass", RHYTHMS)}
    listed = [(e.record_id, e.patient_id, e.labels, e.unused) for e in source.entries()]
    more = "Left ventricular hypertrophy"
    assert listed == [
        ("ludb_1", "1", {}, ("Rhythm: A rhythm of its own", more)),
        ("ludb_2", "2", {"rhythm": ("Sinus rhythm",)}, (more,)),
        ("ludb_10", "10", {"rhythm": ("Atrial flutter, typical",)}, (more,)),
    ]
    assert list(source.entries()) == entries("ludb", root / "data")


def test_ludb_with_two_rhythms_is_not_part_of_the_task(tmp_path: Path) -> None:
    header = write_ludb(tmp_path, {"1": "Sinus rhythm"}) / "data" / "1.hea"
    header.write_text(header.read_text() + "#Rhythm: Atrial fibrillation.\n")
    (entry,) = entries("ludb", tmp_path)
    assert entry.labels == {}
    assert entry.unused == ("Rhythm: Sinus rhythm", "Left ventricular hypertrophy", "Rhythm: Atrial fibrillation")


def test_ludb_reads_twelve_leads_and_the_waves_of_one(tmp_path: Path) -> None:
    root = write_ludb(tmp_path, {"1": "Sinus rhythm"}, lead="v2")
    source = open_source("ludb", root, {"lead": "V2"})
    (entry,) = source.entries()
    recording = source.read(entry)
    assert (recording.leads, recording.rate_hz) == (STANDARD_LEADS, 500)
    assert dict(recording.metadata) == {"age": 51.0, "sex": "female"}
    assert "".join(mark.symbol for mark in recording.annotations) == "(p)(N)(t)"
    assert recording.annotations[4].at_s == 0.14
    assert open_source("ludb", root).read(entry).annotations == ()
    with pytest.raises(ConfigError, match="lead = 'v2'"):
        open_source("ludb", root, {"lead": "v2"})
