"""Splits: proportions, whole clusters, the rule for official splits, and the refusal of every leak."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgprism.corpus.splits import FRACTIONS, SPLITS, assign, clusters, fold, refuse_leaks, stratified
from ecgprism.errors import EcgprismError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def one_hot(labels: list[int], n_classes: int) -> Bools:
    return np.eye(n_classes, dtype=bool)[labels]


def splits_of(cluster: Ints, split: list[str]) -> dict[int, set[str]]:
    held: dict[int, set[str]] = {}
    for number, name in zip(cluster, split, strict=True):
        held.setdefault(int(number), set()).add(name)
    return held


# --- who belongs together


@pytest.mark.parametrize(
    ("patients", "hashes", "expected"),
    [
        (["p", "q", "p"], ["a", "b", "c"], [0, 1, 0]),  # a patient
        ([None, None, None], ["a", "b", "a"], [0, 1, 0]),  # a waveform
        (["p", "q", "r"], ["a", "a", "b"], [0, 0, 1]),  # a waveform of two patients
        (["p", "p", None, "q"], ["a", "b", "b", "c"], [0, 0, 0, 1]),  # a chain of both
        (["p", None, "q", "r", "q"], ["a", "b", "b", "a", "a"], [0, 0, 0, 0, 0]),  # joined by the last record
        ([None, "", None], ["a", "b", "c"], [0, 1, 2]),  # unknown patients are not one patient
        (["a", "b"], ["b", "a"], [0, 1]),  # a patient named like a waveform is no link
    ],
)  # fmt: skip
def test_one_patient_or_one_waveform_is_one_cluster(
    patients: list[str | None], hashes: list[str], expected: list[int]
) -> None:
    found = clusters(patients, hashes)
    assert found.dtype == np.int64
    groups = {frozenset(np.flatnonzero(found == number)) for number in found}
    assert groups == {frozenset(np.flatnonzero(np.array(expected) == number)) for number in expected}
    assert sorted(set(found)) == list(range(len(groups)))


RECORDS = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from("pqrstu")), st.sampled_from("abcdefghijklmno")),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)
@given(RECORDS)
def test_clusters_are_the_connected_parts_of_patients_and_waveforms(records: list[tuple[str | None, str]]) -> None:
    patients, hashes = [patient for patient, _ in records], [digest for _, digest in records]
    n = len(records)
    reach = np.eye(n, dtype=bool)
    for i in range(n):
        for j in range(n):
            reach[i, j] |= hashes[i] == hashes[j] or (patients[i] is not None and patients[i] == patients[j])
    while (wider := (reach.astype(np.int64) @ reach) > 0).sum() > reach.sum():
        reach = wider
    found = clusters(patients, hashes)
    np.testing.assert_array_equal(found[:, None] == found[None, :], reach)


# --- stratification


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("counts", "fractions"),
    [
        ([100], FRACTIONS),
        ([80, 40, 20], FRACTIONS),
        ([500, 50, 10], FRACTIONS),
        ([170, 230, 310], FRACTIONS),
        ([30, 30], {"train": 0.9, "val": 0.1}),
        ([40, 12], {"train": 2.0, "val": 1.0, "test": 1.0}),  # fractions are shares, whatever their sum
    ],
)
def test_every_class_is_shared_out_within_one_record(counts: list[int], fractions: dict[str, float], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    split = np.array(stratified(np.arange(len(labels)), one_hot(labels, len(counts)), fractions, seed))
    total = sum(fractions.values())
    for k, count in enumerate(counts):
        for name, fraction in fractions.items():
            held = int(((labels == k) & (split == name)).sum())
            assert abs(held - count * fraction / total) <= 1, (k, name, held)


@pytest.mark.parametrize("counts", [[17, 23, 31], [1, 7, 99], [13]])
def test_counts_that_do_not_divide_are_shared_out_within_two_records(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    split = np.array(stratified(np.arange(len(labels)), one_hot(list(labels), len(counts)), FRACTIONS))
    for k, count in enumerate(counts):
        for name, fraction in FRACTIONS.items():
            assert abs(((labels == k) & (split == name)).sum() - count * fraction) < 2, (k, name)


def test_records_without_any_class_are_shared_out_as_well() -> None:
    split = Counter(stratified(np.arange(100), np.zeros((100, 3), dtype=bool), FRACTIONS))
    assert split == {"train": 80, "val": 10, "test": 10}


def test_a_class_of_three_records_reaches_every_split_before_the_common_class_fills_it() -> None:
    labels = [0] * 297 + [1] * 3
    split = np.array(stratified(np.arange(300), one_hot(labels, 2), {"train": 1, "val": 1, "test": 1}))
    assert sorted(split[-3:]) == ["test", "train", "val"]
    assert Counter(split) == {"train": 100, "val": 100, "test": 100}


def test_whole_patients_are_shared_out_in_proportion_of_records() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(150), rng.integers(1, 5, size=150))
    target = rng.random((len(cluster), 3)) < [0.5, 0.2, 0.05]
    split = np.array(stratified(cluster, target, FRACTIONS))
    assert all(len(held) == 1 for held in splits_of(cluster, list(split)).values())
    for name, fraction in FRACTIONS.items():
        assert abs((split == name).mean() - fraction) < 0.03
        for k in range(3):
            assert abs(target[split == name, k].sum() - fraction * target[:, k].sum()) <= 4


@pytest.mark.parametrize("seed", range(6))
def test_a_patient_of_many_records_is_placed_before_the_room_is_gone(seed: int) -> None:
    cluster = np.concatenate([np.arange(80), np.full(20, 80)])
    split = stratified(cluster, np.ones((100, 1), dtype=bool), FRACTIONS, seed)
    assert Counter(split) == {"train": 80, "val": 10, "test": 10}


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    cluster, target = np.arange(60), one_hot([0, 1, 2] * 20, 3)
    assert stratified(cluster, target, FRACTIONS, 1) == stratified(cluster, target, FRACTIONS, 1)
    assert stratified(cluster, target, FRACTIONS, 1) != stratified(cluster, target, FRACTIONS, 2)


@st.composite
def clustered(draw: st.DrawFn) -> tuple[Ints, Bools]:
    n = draw(st.integers(1, 40))
    drawn = np.array(draw(st.lists(st.integers(0, 15), min_size=n, max_size=n)))
    cluster = np.unique(drawn, return_inverse=True)[1].astype(np.int64)
    n_classes = draw(st.integers(1, 4))
    bits = draw(st.lists(st.booleans(), min_size=n * n_classes, max_size=n * n_classes))
    return cluster, np.array(bits, dtype=bool).reshape(n, n_classes)


@settings(deadline=None)
@given(clustered(), st.integers(0, 5))
def test_clusters_never_split(records: tuple[Ints, Bools], seed: int) -> None:
    cluster, target = records
    split = stratified(cluster, target, FRACTIONS, seed)
    assert set(split) <= set(FRACTIONS)
    assert all(len(held) == 1 for held in splits_of(cluster, split).values())


OFFICIAL = st.sampled_from([None, *SPLITS])


@settings(deadline=None)
@given(clustered(), st.data())
def test_assign_never_parts_a_cluster_that_the_source_keeps_together(
    records: tuple[Ints, Bools], data: st.DataObject
) -> None:
    cluster, target = records
    allowed = data.draw(st.sampled_from([(None,), ("train",), ("val",), ("test",), ("train", "val"), ("train", "test"),
                                         ("val", "test"), SPLITS]))  # fmt: skip
    of_cluster = {number: data.draw(st.sampled_from(allowed)) for number in np.unique(cluster)}
    official = [of_cluster[number] for number in cluster]
    given_test = {i for i, name in enumerate(official) if name == "test"}
    made = assign(official, cluster, target)
    assert len(made.split) == len(cluster)
    assert set(made.split) <= set(SPLITS)
    assert all(len(held) == 1 for held in splits_of(cluster, made.split).values())
    assert all(made.split[i] == "test" for i in given_test)


# --- the rule


def test_without_official_split_records_go_80_10_10_by_patient() -> None:
    cluster = np.repeat(np.arange(100), 2)
    made = assign([None] * 200, cluster, one_hot([0, 0, 1, 1] * 50, 2), seed=0)
    assert Counter(made.split) == {"train": 160, "val": 20, "test": 20}
    assert all(len(held) == 1 for held in splits_of(cluster, made.split).values())
    assert made.rule == "80/10/10 by patient, stratified by label (the source has no official split)"


def test_an_official_split_with_all_three_parts_is_kept() -> None:
    official = ["train", "val", "test", "train", "val", "test", "train"]
    made = assign(official, np.arange(7), one_hot([0] * 7, 1))
    assert (made.split, made.rule) == (official, "official split of the source")


def test_an_official_split_without_test_reports_its_validation_and_validates_on_a_tenth_of_train() -> None:
    cluster = np.concatenate([np.repeat(np.arange(100), 2), np.arange(100, 140)])
    official = ["train"] * 200 + ["val"] * 40
    made = assign(official, cluster, one_hot([0, 0, 1, 1] * 50 + [0, 1] * 20, 2), seed=0)
    assert made.split[200:] == ["test"] * 40
    assert Counter(made.split[:200]) == {"train": 180, "val": 20}
    assert all(len(held) == 1 for held in splits_of(cluster, made.split).values())
    assert made.rule == (
        "official split of the source, which has no test part: its validation part is test, "
        "and a patient-wise tenth of train is validation"
    )


def test_an_official_split_without_validation_keeps_its_test() -> None:
    made = assign(["train"] * 50 + ["test"] * 10, np.arange(60), one_hot([0] * 60, 1))
    assert made.split[50:] == ["test"] * 10
    assert Counter(made.split[:50]) == {"train": 45, "val": 5}
    assert made.rule == "official split of the source, and a patient-wise tenth of train is validation"


def test_the_tenth_of_train_is_stratified_and_follows_the_seed() -> None:
    official, target = ["train"] * 100 + ["val"] * 10, one_hot([0] * 80 + [1] * 20 + [0] * 10, 2)
    made = [assign(official, np.arange(110), target, seed).split for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    chosen = np.array(made[0]) == "val"
    assert (chosen[:80].sum(), chosen[80:100].sum()) == (8, 2)


def test_a_record_without_split_in_a_source_with_one_is_for_training() -> None:
    made = assign(["train", None, "val", "test"], np.arange(4), one_hot([0] * 4, 1))
    assert made.split == ["train", "train", "val", "test"]


@pytest.mark.parametrize("only", ["test", "val"])
def test_a_source_that_is_only_held_out_is_all_test(only: str) -> None:
    made = assign([only] * 5, np.arange(5), one_hot([0] * 5, 1))
    assert made.split == ["test"] * 5
    assert "tenth" not in made.rule


# --- leaks


def test_a_patient_in_two_splits_is_refused_by_name() -> None:
    with pytest.raises(EcgprismError) as caught:
        refuse_leaks(["train", "val", "test"], ["a", "b", "c"], ["p1", "p2", "p1"], ["x", "y", "z"])
    assert str(caught.value) == (
        "patient p1 stands in two splits: a in train, c in test; "
        "correct the source's split, or ingest again with --exclude c (exclude=[...])"
    )


def test_an_identical_waveform_in_two_splits_is_refused_whatever_the_patients() -> None:
    for patients in (["p1", "p2"], [None, None], [None, "p2"]):
        with pytest.raises(
            EcgprismError, match=r"^the identical waveform .* a in train, b in val; .*--exclude b \(exclude=\[...\]\)$"
        ):
            refuse_leaks(["train", "val"], ["a", "b"], patients, ["x", "x"])


def test_what_does_not_leak_is_taken() -> None:
    refuse_leaks(["train", "train", "val", "test"], list("abcd"), ["p", "p", None, None], ["x", "x", "y", "z"])
    refuse_leaks(["train", "val"], ["a", "b"], ["", ""], ["x", "y"])  # unknown patients are not one patient
    refuse_leaks(["train", "val"], ["a", "b"], ["x", None], ["y", "x"])  # a patient named like a waveform
    refuse_leaks([], [], [], [])


@settings(deadline=None)
@given(RECORDS, st.integers(0, 3))
def test_what_is_split_by_cluster_never_leaks(records: list[tuple[str | None, str]], seed: int) -> None:
    patients, hashes = [patient for patient, _ in records], [digest for _, digest in records]
    cluster = clusters(patients, hashes)
    made = assign([None] * len(records), cluster, np.ones((len(records), 1), dtype=bool), seed)
    refuse_leaks(made.split, [str(i) for i in range(len(records))], patients, hashes)


@settings(deadline=None, max_examples=50)
@given(clustered(), st.integers(2, 6))
def test_every_record_is_tested_in_one_fold_and_never_with_its_patient_in_training(
    records: tuple[Ints, Bools], of: int
) -> None:
    cluster, target = records
    assume(len(np.unique(cluster)) >= 2 * of)  # fewer are refused before: a part would be empty
    split = [fold(cluster, target, k, of) for k in range(1, of + 1)]
    assert [column.count("test") for column in zip(*split, strict=True)] == [1] * len(cluster)
    for each in split:
        assert all(len(held) == 1 for held in splits_of(cluster, each).values())


def test_folds_are_stratified_and_leave_a_tenth_of_the_rest_for_validation() -> None:
    cluster, target = np.arange(500), one_hot([0] * 400 + [1] * 100, 2)
    for k in range(1, 6):
        split = np.array(fold(cluster, target, k, 5))
        assert Counter(split) == {"train": 360, "val": 40, "test": 100}
        assert target[split == "test"].sum(axis=0).tolist() == [80, 20]
        assert target[split == "val"].sum(axis=0).tolist() == [32, 8]
