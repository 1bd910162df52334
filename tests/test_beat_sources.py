"""MIT-BIH: beats as items with windows and intervals, from annotation file to evaluation; splits as published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgprism.config import parse_config
from ecgprism.corpus.ingestion import IngestReport, ingest
from ecgprism.corpus.splits import assign
from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError, EcgprismError, ReadError
from ecgprism.evidence.evaluation import evaluate
from ecgprism.sources.contract import Item, ItemSource
from ecgprism.sources.mitbih import DS1, DS2, rr_intervals
from ecgprism.sources.opening import open_source
from ecgprism.training.run import fit
from tests.data_sets import entries, write_beats, write_mitbih

MIT_BIH = [*range(100, 110), *range(111, 120), *range(121, 125), 200, 201, 202, 203, 205, 207, 208, 209, 210, 212, 213,
           214, 215, 217, 219, 220, 221, 222, 223, 228, 230, 231, 232, 233, 234]  # fmt: skip


RR = ("rr_pre_s", "rr_post_s", "rr_local_s", "rr_ratio")


def items_of(name: str, root: Path, record_id: str, **options: object) -> tuple[list[Item], list[str]]:
    source = open_source(name, root, options)
    assert isinstance(source, ItemSource)
    entry = next(entry for entry in source.entries() if entry.record_id == record_id)
    items, unused = source.items(entry, source.read(entry))
    return list(items), list(unused)


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
