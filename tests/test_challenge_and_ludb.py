"""The challenge of 2021 and LUDB: codes, rhythms, leads, as their files state them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.errors import ConfigError
from ecgprism.interface.card import Task
from ecgprism.sources.challenge2021 import SCORED
from ecgprism.sources.ludb import RHYTHMS
from ecgprism.sources.opening import open_source
from tests.data_sets import entries, write_challenge, write_ludb

from .records import digital, write_wfdb


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
