"""Ingest: what is stored, that nothing is lost or clipped, and that no interruption leaves a trace in the corpus."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ecgprism.corpus.ingestion import AllRejectedError
from ecgprism.corpus.meta import ITEMS, META, RECORDS, REJECTED, SIGNALS
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError, ReadError
from tests.ingests import contents, ingest_made, ingest_these, one_line, recording, undisturbed, wave

__all__ = ["undisturbed"]  # fixtures

FILES = {SIGNALS, RECORDS, ITEMS, META, REJECTED}


def test_a_bad_record_is_listed_with_its_reason_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    given_mv = [recording(wave(0)), ReadError("a.hea: torn, \"quoted\"\nand broken"), recording(wave(2))]  # fmt: skip
    done = ingest_these(given_mv, tmp_path / "c", {1: {"path": "some/a"}})
    with (tmp_path / "c" / REJECTED).open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["record_id", "path", "reason"], ["r1", "some/a", 'a.hea: torn, "quoted"\nand broken'],
        ]  # fmt: skip
    assert (done.records, done.rejected) == (2, 1)
    assert Corpus(tmp_path / "c").records["record_id"].tolist() == ["r0", "r2"]


def test_a_file_that_fails_while_it_is_read_is_a_bad_record(tmp_path: Path) -> None:
    done = ingest_these([recording(wave(0)), OSError(5, "Input/output error", "a.dat")], tmp_path / "c")
    assert (done.records, done.rejected) == (1, 1)
    assert "Input/output error" in (tmp_path / "c" / REJECTED).read_text()


def test_when_every_record_is_rejected_the_first_reason_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(AllRejectedError) as caught:
        ingest_these([ReadError("a.hea: torn"), ReadError("b.hea: lost")], tmp_path / "c")
    assert one_line(caught.value) == "listed: all 2 recordings were rejected; the first: a.hea: torn"
    assert not list(tmp_path.iterdir())


def test_when_every_record_is_rejected_the_corpus_to_overwrite_stays(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c")
    before = contents(tmp_path / "c")
    with pytest.raises(AllRejectedError):
        ingest_these([ReadError("a.hea: torn")], tmp_path / "c", overwrite=True)
    assert contents(tmp_path / "c") == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_strict_stops_at_the_first_bad_record_and_the_same_without_goes_on(tmp_path: Path, undisturbed: Path) -> None:
    with pytest.raises(ReadError) as caught:
        ingest_made(tmp_path / "c", strict=True)
    assert one_line(caught.value).startswith("m3: made/3: made to be bad")
    assert not (tmp_path / "c").exists()
    assert ingest_made(tmp_path / "c").resumed == 3
    assert contents(tmp_path / "c") == contents(undisturbed)


def test_a_record_id_that_stands_twice_is_refused_with_both_paths(tmp_path: Path) -> None:
    twice = {0: {"record_id": "x", "path": "one"}, 2: {"record_id": "x", "path": "two"}}
    with pytest.raises(EcgprismError) as caught:
        ingest_these([recording(wave(i)) for i in range(3)], tmp_path / "c", twice)
    assert one_line(caught.value) == "listed: record id 'x' stands twice (one and two)"
    assert not list(tmp_path.iterdir())


def test_a_source_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="listed: the source has no recordings"):
        ingest_these([], tmp_path / "c")


def test_excluded_records_are_left_out_and_must_exist(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(4)]
    ingest_these(given_mv, tmp_path / "c", exclude=["r0", "r2"])
    assert Corpus(tmp_path / "c").records["record_id"].tolist() == ["r1", "r3"]
    with pytest.raises(EcgprismError, match="--exclude r9: the source has no such record"):
        ingest_these(given_mv, tmp_path / "d", exclude=["r1", "r9"])
    with pytest.raises(EcgprismError, match="the source has no recordings"):
        ingest_these(given_mv, tmp_path / "d", exclude=["r0", "r1", "r2", "r3"])


def test_excluding_one_of_two_equal_ids_does_not_refuse_the_other_records(tmp_path: Path) -> None:
    done = ingest_these(
        [recording(wave(i)) for i in range(3)], tmp_path / "c", {2: {"record_id": "r0"}}, exclude=["r0"]
    )
    assert done.records == 1


def test_an_existing_corpus_is_refused_unless_it_is_to_be_overwritten(tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "c"
    ingest_these([recording(wave())], out)
    before = contents(out)
    with pytest.raises(
        EcgprismError, match=r"exists already; choose another folder, or overwrite it \(--overwrite, overwrite=True\)"
    ):
        ingest_made(out)
    assert contents(out) == before
    ingest_made(out, overwrite=True)
    assert contents(out) == contents(undisturbed)


def test_overwrite_never_deletes_what_is_no_corpus(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("years of work")
    with pytest.raises(EcgprismError, match="no corpus"):
        ingest_these([recording(wave())], out, overwrite=True)
    assert (out / "chapter1.tex").read_text() == "years of work"


def test_the_tables_hold_what_the_source_says(tmp_path: Path, undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    assert {path.name for path in undisturbed.iterdir()} == FILES
    assert corpus.records["record_id"].tolist() == [f"m{i}" for i in range(12) if i != 3]
    row = corpus.records.set_index("record_id").loc["m5"]
    assert (row["patient_id"], list(row["leads"]), row["source_rate_hz"]) == ("p2", ["V1", "I", "aVR"], 360)
    assert (list(row["flat_leads"]), list(row["skipped_channels"]), row["path"]) == (["aVR"], ["RESP"], "made/5")
    assert corpus.records["patient_id"].tolist() == [
        None if i % 5 == 4 else f"p{i // 2}" for i in range(12) if i != 3
    ]  # fmt: skip
    assert corpus.leads == ("I", "II", "aVR", "V1")
    assert corpus.meta.lead_aliases == {"ECG": "I"}
    assert corpus.meta.metadata == {"age": "numeric", "site": "categorical"}
    ages = [np.nan if i % 4 == 0 else 40.0 + i for i in range(12) if i != 3]
    np.testing.assert_array_equal(corpus.metadata["age"], ages)
    assert corpus.metadata["site"].tolist() == ["ab"[i % 2] for i in range(12) if i != 3]
    labels = [None if value is None else list(value) for value in corpus.items["labels.form"]]
    assert labels == [None if i % 3 == 0 else list(range(i % 4)) for i in range(12) if i != 3]
    assert [list(value) for value in corpus.items["labels.rhythm"]] == [[i % 3] for i in range(12) if i != 3]
    assert corpus.items["length"].tolist() == corpus.records["samples"].tolist()
    assert not corpus.items["start"].any()


def test_an_ingest_reports_its_counts(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    done = ingest_made(tmp_path / "c", progress=lambda n, total: told.append((n, total)))
    assert told == [(n, 12) for n in range(13)]
    assert (done.path, done.records, done.rejected, done.resumed) == (tmp_path / "c", 11, 1, 0)
    assert (done.flat_leads, done.unknown_patients, done.skipped_channels) == (4, 2, ("RESP",))
    meta = json.loads((tmp_path / "c" / META).read_text())
    assert {key: meta[key] for key in ("records", "rejected", "flat_leads", "unknown_patients", "duplicates")} == {
        "records": 11, "rejected": 1, "flat_leads": 4, "unknown_patients": 2, "duplicates": 0,
    }  # fmt: skip


def test_metadata_of_the_file_are_kept_and_those_of_the_source_come_first(tmp_path: Path) -> None:
    given_mv = [recording(wave(i), metadata={"age": 50.0, "sex": "male"}) for i in range(2)]
    ingest_these(given_mv, tmp_path / "c", {0: {"metadata": {"age": 51.0}}, 1: {"metadata": {"site": 3}}})
    table = Corpus(tmp_path / "c").metadata
    assert table["age"].tolist() == [51.0, 50.0]
    assert table["sex"].tolist() == ["male", "male"]
    np.testing.assert_array_equal(table["site"], [np.nan, 3.0])


def test_a_metadata_column_with_one_text_is_text(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(2)]
    ingest_these(given_mv, tmp_path / "c", {0: {"metadata": {"site": 3}}, 1: {"metadata": {"site": "x"}}})
    assert Corpus(tmp_path / "c").metadata["site"].tolist() == ["3", "x"]


def test_a_copy_of_a_waveform_is_found_at_another_gain_and_kept_in_the_split_of_the_first(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(30)]
    given_mv[29] = recording(2 * wave(0))
    done = ingest_these(given_mv, tmp_path / "c")
    table = Corpus(tmp_path / "c").records
    assert (done.duplicates, table["cluster"].nunique()) == (1, 29)
    assert (table["waveform"][0], table["cluster"][0], table["split"][0]) == (
        table["waveform"][29], table["cluster"][29], table["split"][29],
    )  # fmt: skip


def test_the_official_split_is_kept_and_stands_beside_what_is_made_of_it(tmp_path: Path) -> None:
    changes = {i: {"split": "val" if i >= 20 else "train"} for i in range(24)}
    done = ingest_these([recording(wave(i)) for i in range(24)], tmp_path / "c", changes)
    table = Corpus(tmp_path / "c").records
    assert table["official_split"].tolist() == ["train"] * 20 + ["val"] * 4
    assert table["split"].tolist()[20:] == ["test"] * 4
    assert table["split"].tolist()[:20].count("val") == 2
    assert "its validation part is test" in done.split_rule
    Corpus(tmp_path / "c").refuse_leaks()


def test_a_leak_in_the_official_split_is_refused_by_the_corpus(tmp_path: Path) -> None:
    changes = {i: {"split": split, "patient_id": "p"} for i, split in enumerate(["train", "val", "test"])}
    ingest_these([recording(wave(i)) for i in range(3)], tmp_path / "c", changes)
    with pytest.raises(EcgprismError, match="patient p stands in two splits: r0 in train, r1 in val"):
        Corpus(tmp_path / "c").refuse_leaks()


def test_a_source_that_is_all_test_can_be_ingested(tmp_path: Path) -> None:
    ingest_these([recording(wave(i)) for i in range(3)], tmp_path / "c", {i: {"split": "test"} for i in range(3)})
    assert Corpus(tmp_path / "c").records["split"].tolist() == ["test"] * 3
