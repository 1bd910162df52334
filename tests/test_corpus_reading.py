"""Reading a corpus: windows, selections, damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.meta import ITEMS, META, RECORDS, SIGNALS
from ecgprism.corpus.quantisation import NOT_RECORDED
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import filled, prepared_signal
from ecgprism.errors import EcgprismError
from tests.ingests import _rewrite, ingest_made, ingest_these, one_line, recording, undisturbed, wave

__all__ = ["undisturbed"]  # fixtures

from .records import Made, write_manifest


def test_windows_are_the_signal_its_mean_in_gaps_and_zeros_and_masks_where_nothing_is(tmp_path: Path) -> None:
    first = wave(0, n_leads=2, samples=120)  # I, II
    first[1, 60:] = np.nan
    second = recording(wave(1, n_leads=1, samples=80), ["V1"])
    ingest_these([recording(first), second], tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    read, mask = corpus.windows(
        np.array([0, 1, 0]), np.array([10, 0, 70]), np.array([100, 80, 30]), ("V1", "II", "aVL", "I")
    )
    assert (read.shape, read.dtype) == ((3, 4, 100), np.float32)
    close = {"rtol": 0, "atol": np.nanmax(np.abs(first)) / 32_766}
    np.testing.assert_allclose(read[0, 3], first[0, 10:110], **close)
    np.testing.assert_allclose(read[0, 1, :50], first[1, 10:60], **close)
    np.testing.assert_allclose(read[1, 0, :80], second.signal[0], **close)
    np.testing.assert_allclose(read[2, 3, :30], first[0, 70:100], **close)
    np.testing.assert_allclose(read[0, 1, 50:100], np.full(50, first[1, 10:60].mean()), **close)  # its gap
    held = np.zeros(read.shape, dtype=bool)
    held[0, 1, 50:100] = True
    held[0, 3], held[0, 1, :50], held[1, 0, :80], held[2, 3, :30] = True, True, True, True
    assert not read[~held].any()
    assert mask.tolist() == [[False, True, False, True], [True, False, False, False], [False, False, False, True]]


def test_records_of_differing_length_and_leads_stand_one_after_another(undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    kept = [entry for entry in Made().entries() if entry.record_id != "m3"]
    assert len({(row["samples"], tuple(row["leads"])) for row in corpus.records.to_dict("records")}) > 8
    for i, entry in enumerate(kept):
        made = Made().read(entry)
        expected = prepared_signal(made, 100)
        read, _ = corpus.windows(np.array([i]), np.array([0]), np.array([expected.shape[1]]), made.leads)
        np.testing.assert_array_equal(corpus.digital(i) == NOT_RECORDED, np.isnan(expected))
        np.testing.assert_allclose(read[0], filled(expected), rtol=0, atol=2e-4)


def test_select_gives_the_items_with_a_label_of_the_task_and_counts_the_others(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c", n=60)
    corpus = Corpus(tmp_path / "c")
    ids = [i for i in range(60) if i % 10 != 3]
    split = corpus.records["split"].to_numpy()
    for splits in (("train",), ("val", "test"), ("train", "val", "test")):
        inside = [row for row in range(len(ids)) if split[row] in splits]
        labelled = [row for row in inside if ids[row] % 3]
        chosen = corpus.select("form", splits)
        assert chosen.record.tolist() == labelled
        assert chosen.left_out == len(inside) - len(labelled)
        assert chosen.target.tolist() == [[k < ids[row] % 4 for k in range(3)] for row in labelled]
        assert chosen.cluster.tolist() == corpus.records["cluster"][labelled].tolist()
        assert chosen.length.tolist() == corpus.records["samples"][labelled].tolist()
        assert len(chosen) == len(labelled)
    first = corpus.select("form").first(3)
    assert (len(first), first.target.shape, first.left_out) == (3, (3, 3), corpus.select("form").left_out)


def test_select_of_some_classes_orders_them_and_leaves_out_what_holds_none_but_others(undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    chosen = corpus.select("rhythm", classes=("O", "N"))
    ids = [i for i in range(12) if i != 3]
    assert chosen.record.tolist() == [row for row, i in enumerate(ids) if i % 3 != 1]
    assert chosen.target.tolist() == [[i % 3 == 2, i % 3 == 0] for i in ids if i % 3 != 1]
    assert chosen.left_out == sum(i % 3 == 1 for i in ids)
    # an item without any class of a multilabel task is a negative of every choice of classes
    empty = [row for row, i in enumerate(ids) if i % 3 and i % 4 == 0]
    assert set(empty) <= set(corpus.select("form", classes=["Z"]).record)
    with pytest.raises(EcgprismError, match="task rhythm has no class 'n'; did you mean 'N'"):
        corpus.select("rhythm", classes=["N", "n"])


def test_a_task_is_found_by_name_or_as_the_only_one(tmp_path: Path, undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    assert corpus.task("form")[1].classes == ("X", "Y", "Z")
    with pytest.raises(EcgprismError, match=r"no task 'rythm'; did you mean 'rhythm'\?"):
        corpus.task("rythm")
    with pytest.raises(EcgprismError, match="name one of its tasks with task: rhythm, form"):
        corpus.task(None)
    ingest_these([recording(wave())], tmp_path / "c")
    assert Corpus(tmp_path / "c").task(None)[0] == "labels"


def test_the_fingerprint_is_that_of_the_data(tmp_path: Path) -> None:
    def fingerprint(name: str, seed: int = 1, changes: Any = None, **given: Any) -> str:
        ingest_these([recording(wave(0)), recording(wave(seed))], tmp_path / name, changes, **given)
        return Corpus(tmp_path / name).fingerprint

    same = fingerprint("a")
    assert fingerprint("b") == same
    others = [
        fingerprint("label", changes={1: {"labels": {"labels": ("B",)}}}),
        fingerprint("unlabelled", changes={1: {"labels": {}}}),
        fingerprint("negative", changes={1: {"labels": {"labels": ()}}}),
        fingerprint("wave", seed=2),
        fingerprint("split", changes={0: {"split": "val"}, 1: {"split": "test"}}),
        fingerprint("id", changes={1: {"record_id": "x"}}),
        fingerprint("rate", rate_hz=50.0),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_the_fingerprint_of_the_same_files_in_another_place_is_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_manifest(tmp_path / name, 6)
        ingest("manifest", tmp_path / name, tmp_path / f"{name}.corpus", workers=1)
    first, second = (Corpus(tmp_path / f"{name}.corpus") for name in ("a", "b"))
    assert first.records["path"].tolist() != second.records["path"].tolist()
    assert first.fingerprint == second.fingerprint


def test_a_folder_without_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError) as caught:
        Corpus(tmp_path)
    assert one_line(caught.value) == f"{tmp_path}: no corpus here (make one with `ecgprism ingest`)"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_rewrite(SIGNALS, lambda data: data[:-2]), r"signals\.i16: holds \d+ bytes, the record table needs \d+"),
        (_rewrite(SIGNALS, lambda data: data + b"\0\0"), r"signals\.i16: holds \d+ bytes, the record table needs \d+"),
        (
            _rewrite(META, lambda data: data.replace(b'"format": 2', b'"format": 1')),
            "corpus format 1, expected 2: ingest it",
        ),
        (_rewrite(META, lambda data: data[:40]), "damaged"),
        (_rewrite(RECORDS, lambda data: data[:-9]), "damaged"),
        (lambda folder: (folder / ITEMS).unlink(), "damaged"),
        (lambda folder: (folder / SIGNALS).unlink(), "damaged"),
    ],
)
def test_a_damaged_corpus_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], None], problem: str) -> None:
    ingest_made(tmp_path / "c", n=3)
    damage(tmp_path / "c")
    with pytest.raises(EcgprismError, match=problem) as caught:
        Corpus(tmp_path / "c")
    assert one_line(caught.value).startswith(str(tmp_path / "c"))
