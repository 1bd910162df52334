"""Arrays in: what is declared holds, what is not is asked for, labels in every usual form, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism.ecg.arrays import ArrayRecordings
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.errors import ConfigError, EcgprismError, ReadError
from ecgprism.interface.card import columns_of
from ecgprism.prediction.files import embed, predict
from ecgprism.simulator.simulation import simulate
from ecgprism.sources.arrays import ArrayFileSource, ArraySource, content_digest, label_names, mapped
from ecgprism.sources.opening import open_source

from .test_evaluation import write

CLASSES = ("AF", "MI", "NORM")
X = np.random.default_rng(0).normal(size=(6, 2, 400)).astype(np.float32)


def recordings(signals: object = X, **changes: object) -> ArrayRecordings:
    given = {"rate_hz": 500, "leads": ["ii", "V1"], "unit": "mV"} | changes
    return ArrayRecordings.of(signals, **given)


def test_signals_are_millivolts_at_their_rate_under_their_leads() -> None:
    held = recordings((X * 1000).astype(np.int32), unit="uV")
    assert len(held) == 6
    found = held.read(3)
    assert (found.rate_hz, found.leads, found.units, found.format) == (500.0, ("II", "V1"), ("uV", "uV"), "array")
    np.testing.assert_allclose(found.signal, X[3], atol=0.001)
    steps = recordings(np.full((1, 2, 9), 100, dtype=np.int16), unit="4.88uV").read(0)
    np.testing.assert_allclose(steps.signal, 0.488, rtol=1e-6)


@pytest.mark.parametrize("changes", [{"rate_hz": 250}, {"unit": "uV"}, {"leads": ["II", "V2"]}])
def test_the_digest_of_arrays_tells_every_sample_and_what_is_declared(changes: dict[str, object]) -> None:
    assert content_digest(recordings()) == content_digest(recordings(X.copy())) == content_digest(recordings(list(X)))
    assert content_digest(recordings()) != content_digest(recordings(**changes))
    many = np.repeat(X, 50, axis=0)
    other = many.copy()
    other[151, 1, 399] += 1
    assert content_digest(recordings(many)) != content_digest(recordings(other))


def test_recordings_of_unlike_length_are_a_list() -> None:
    held = recordings([X[0], X[1][:, :100]])
    assert [held.read(i).signal.shape for i in range(2)] == [(2, 400), (2, 100)]
    with pytest.raises(ReadError, match=r"X\[1\]: float32 of shape \(3, 5\); expected numbers of 2 leads"):
        recordings([X[0], np.zeros((3, 5), dtype=np.float32)]).read(1)


def test_what_is_not_finite_is_not_recorded() -> None:
    signal = X[:1].copy()
    signal[0, 1, :7] = np.inf
    assert np.isnan(recordings(signal).read(0).signal[1, :7]).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate_hz": None}, "rate_hz is missing"),
        ({"unit": None}, "unit is missing"),
        ({"leads": None}, "leads are missing: name the 2 rows"),
        ({"rate_hz": 0}, "rate_hz: sampling rate 0 Hz"),
        ({"unit": "volt per metre"}, "no unit of voltage"),
        ({"leads": ["II"]}, "1 names for signals of shape"),
        ({"leads": ["II", "II"]}, "one stands twice"),
        ({"leads": ["II", "Q9"]}, "'Q9' is no lead"),
        ({"signals": X.transpose(0, 2, 1)}, r"the axes are \(N, T, L\); give X.transpose\(0, 2, 1\)"),
        ({"signals": X[0]}, r"expected \(N, leads, samples\)"),
        ({"signals": []}, "X holds no recording"),
    ],
)
def test_what_is_missing_or_cannot_be_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recordings(**changes)


def test_a_size_that_no_ecg_has_is_said() -> None:
    assert recordings().doubt() is None
    assert "is the unit right?" in (recordings(X * 1000).doubt() or "")
    assert "is the unit right?" in (recordings(X / 1e6).doubt() or "")
    assert recordings(X * 1000, unit="uV").doubt() is None
    assert recordings(np.zeros_like(X)).doubt() is None, "flat leads are told of elsewhere"


SETS = st.lists(st.sets(st.sampled_from(CLASSES)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(SETS)
def test_names_numbers_and_rows_of_ones_say_the_same(held: list[set[str]]) -> None:
    wanted = [tuple(sorted(row)) for row in held]
    hot = np.array([[name in row for name in CLASSES] for row in held])
    forms = [
        (wanted, CLASSES), ([list(row) for row in wanted], CLASSES), (held, CLASSES), (hot, CLASSES),
        (hot.astype(np.float64), CLASSES), (pd.DataFrame(hot.astype(int), columns=CLASSES), CLASSES),
        ([[CLASSES.index(name) for name in row] for row in wanted], CLASSES),
    ]  # fmt: skip
    for form, classes in forms:
        rows, known = label_names(form, classes)
        assert [tuple(sorted(row)) for row in rows] == wanted
        assert known == CLASSES


@pytest.mark.parametrize(
    ("labels", "classes", "rows"),
    [
        (["NORM", "MI", " AF "], None, [("NORM",), ("MI",), ("AF",)]),
        (np.array(["NORM", "MI"]), None, [("NORM",), ("MI",)]),
        (pd.Series(["NORM", None]), None, [("NORM",), ()]),
        ([2, 0], CLASSES, [("NORM",), ("AF",)]),
        (np.array([2, 1]), CLASSES, [("NORM",), ("MI",)]),
        ([1.0, 2.0], CLASSES, [("MI",), ("NORM",)]),
    ],
)
def test_one_label_a_row_in_every_usual_form(labels: object, classes: object, rows: list[tuple[str, ...]]) -> None:
    assert label_names(labels, classes)[0] == rows


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        ([0.5, 1.0], CLASSES, r"y\[0\] = 0.5: .*regression is not there"),
        (np.array([[0.2, 0.8]]), ("a", "b"), "regression is not there"),
        ([1, 2], None, "numbers need their names"),
        ([3], CLASSES, "expected 0 to 2"),
        (["NROM"], CLASSES, "no such class; did you mean 'NORM'"),
        (np.eye(3), None, r"y has 3 columns: name them"),
        (np.eye(3), ("a", "b"), r"y has 3 columns: name them"),
        ([None], None, "no row has a label"),
        ([object()], None, "expected a class's name or number"),
    ],
)
def test_what_is_no_label_is_refused_with_its_row(labels: object, classes: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        label_names(labels, classes)


def test_a_source_tells_kind_patients_and_metadata() -> None:
    table = pd.DataFrame({"age": [60, None, 50, 40, 30, 20], "sex": ["male", "female", None, "male", "male", "male"]})
    source = ArraySource(recordings(), [*["NORM"] * 5, "MI"], patients=[1, 1, 2, 3, None, 4], metadata=table)
    assert source.tasks["labels"].kind == "multiclass"
    assert any("exclude each other" in note for note in source.notes)
    entries = list(source.entries())
    assert [entry.patient_id for entry in entries] == ["1", "1", "2", "3", None, "4"]
    assert entries[1].metadata == {"sex": "female"}
    assert entries[5].labels == {"labels": ("MI",)}
    several = ArraySource(recordings(), [["NORM"], [], ["MI", "NORM"], [], [], []])
    assert several.tasks["labels"].kind == "multilabel"
    with pytest.raises(ConfigError, match="y: 2 rows for 6 recordings"):
        ArraySource(recordings(), ["a", "b"])
    with pytest.raises(ConfigError, match="metadata: column 'age': 1 rows"):
        ArraySource(recordings(), ["a"] * 6, metadata={"age": [1]})


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
def test_files_of_arrays_are_opened_with_their_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        np.save(path, X)
    elif suffix == "npz":
        np.savez(path, X=X)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["tracings"] = X
            file["ids"] = np.arange(6)
    (tmp_path / "y.csv").write_text(
        "record_id,patient_id,labels,age\n" + "\n".join(f"r{i},p{i},A|B,6{i}" for i in range(6))
    )
    options = {"labels": str(tmp_path / "y.csv"), "rate_hz": 500, "unit": "mV", "leads": "II,V1"}
    source = open_source("arrays", path, options)
    entries = list(source.entries())
    assert [entry.record_id for entry in entries] == [f"r{i}" for i in range(6)]
    assert [entry.metadata for entry in entries[:2]] == [{"age": 60.0}, {"age": 61.0}]
    assert entries[0].labels == {"labels": ("A", "B")}
    np.testing.assert_array_equal(source.read(entries[4]).signal, X[4])
    with pytest.raises(EcgprismError, match="rate_hz is missing"):
        open_source("arrays", path, options | {"rate_hz": None})


def test_what_holds_no_array_is_one_line(tmp_path: Path) -> None:
    for name, content in (("a.npy", b"x"), ("a.npz", b"PK"), ("b.npy", b""), ("a.txt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EcgprismError, match=name):
            mapped(tmp_path / name)
    np.savez(tmp_path / "two.npz", a=X, b=X)
    with pytest.raises(EcgprismError, match=r"2 arrays.*choose one with key=NAME"):
        mapped(tmp_path / "two.npz")
    assert mapped(tmp_path / "two.npz", "b").shape == X.shape


def test_a_column_split_is_kept_and_checked(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    table = tmp_path / "y.csv"
    rows = [("N", "p1", "training"), ("M", "p1", "Train"), ("N", "p2", "val"), *[("M", "", "test")] * (len(X) - 3)]

    def source(changed: dict[int, tuple[str, str, str]]) -> ArrayFileSource:
        cells = [",".join(changed.get(number, row)) for number, row in enumerate(rows)]
        table.write_text("\n".join(["labels,patient_id,split", *cells]) + "\n")
        return ArrayFileSource(tmp_path / "x.npy", table, rate_hz=100, unit="mV", leads="I,II")

    entries = list(source({}).entries())
    assert [entry.split for entry in entries[:4]] == ["train", "train", "val", "test"]
    assert "split" not in entries[0].metadata
    for changed, said in (
        ({1: ("M", "p1", "trian")}, r"y.csv, line 3: split 'trian'; did you mean 'train'"),
        ({1: ("M", "p1", "")}, "y.csv, line 3: split is empty"),
        ({1: ("M", "p1", "test")}, "y.csv, line 3: patient p1 is in split test here and in train in line 2"),
    ):
        with pytest.raises(ConfigError, match=said):
            source(changed)
    with pytest.raises(ConfigError, match=r"splits\[1\]: split 'x'"):
        ArraySource(recordings(), ["a"] * 6, splits=["train", "x", *["train"] * 4])
    with pytest.raises(ConfigError, match="splits: 2 rows for 6 recordings"):
        ArraySource(recordings(), ["a"] * 6, splits=["train", "val"])


# Prediction on arrays


def test_an_array_is_predicted_as_the_file_with_the_same_signal(run_path: Path, tmp_path: Path) -> None:
    files = [write(tmp_path, "a", 1), write(tmp_path, "b", 2)]
    read = [ep.read(file) for file in files]
    signals = np.stack([each.signal for each in read])
    declared = {"rate_hz": read[0].rate_hz, "unit": "mV", "leads": read[0].leads}
    table = pd.DataFrame([dict(each.metadata) for each in read])
    from_files, from_arrays = predict(run_path, files), predict(run_path, signals, metadata=table, **declared)
    probabilities = [column for column in from_files if column.startswith("p_")]
    np.testing.assert_allclose(from_arrays[probabilities], from_files[probabilities], atol=1e-6)
    assert from_arrays["path"].tolist() == ["X[0]", "X[1]"]
    shorter = predict(run_path, [signals[0], signals[1][:, :600]], metadata={"age": 60}, **declared)
    assert len(shorter) == 2
    vectors = embed(run_path, (signals * 1000).astype(np.int32), **(declared | {"unit": "uV"}))
    assert len(vectors["fused"][0]) == 16


def test_a_bad_array_has_its_problem_and_a_caller_is_warned(run_path: Path) -> None:
    signals = np.random.default_rng(0).normal(0, 0.2, (3, 12, 1000)).astype(np.float32)
    signals[1] = 0.0
    signals[2, 4] = 0.0
    declared = {"rate_hz": 100, "unit": "mV", "leads": STANDARD_LEADS}
    with pytest.warns(UserWarning, match=r"X\[2\].*flat: aVL"):
        table = predict(run_path, signals, **declared)
    assert table["problem"][0] == ""
    assert "flat" in table["problem"][1]
    assert table.filter(like="p_").isna().all(axis=1).tolist() == [False, True, False]
    for missing in declared:
        with pytest.raises(ConfigError, match=f"{missing} (is|are) missing"):
            predict(run_path, signals, **{k: v for k, v in declared.items() if k != missing})
    with pytest.raises(ConfigError, match="metadata: column 'age': 2 rows for 3 recordings"):
        predict(run_path, signals, metadata={"age": [1, 2]}, **declared)


def test_metadata_beside_arrays_that_the_model_does_not_know_is_said_or_refused(run_path: Path) -> None:
    signals = np.random.default_rng(0).normal(0, 0.2, (2, 12, 1000)).astype(np.float32)
    declared = {"rate_hz": 100, "unit": "mV", "leads": STANDARD_LEADS}
    with pytest.warns(UserWarning, match="metadata: not used, for the model does not know them: smoker"):
        predict(run_path, signals, metadata={"age": [60, 70], "smoker": [1, 0]}, **declared)
    with pytest.raises(EcgprismError, match="metadata: no column of the model's"):
        predict(run_path, signals, metadata={"aeg": [60, 70]}, **declared)
    with pytest.raises(EcgprismError, match="metadata: the model takes no metadata"):
        predict("rhythm-1lead", signals[:, :1], metadata={"age": [60, 70]}, **(declared | {"leads": ["I"]}))


# A corpus of arrays


def test_arrays_become_a_corpus_that_trains_and_gives_a_data_set(tmp_path: Path) -> None:
    made = [simulate(i, seed=0, rate_hz=250, duration_s=10.0) for i in range(60)]
    signals = np.stack([each.recording.signal for each in made]) * 1000
    labels = [each.traits.labels["superdiagnostic"] for each in made]
    table = pd.DataFrame([dict(each.recording.metadata) for each in made])
    report = ep.ingest_arrays(
        signals.astype(np.float32), labels, rate_hz=250, leads=made[0].recording.leads, unit="uV",
        patients=[each.traits.patient_id for each in made], metadata=table, out=tmp_path / "c", workers=1,
    )  # fmt: skip
    corpus = ep.Corpus(report.path)
    assert (report.records, corpus.rate_hz, corpus.tasks["labels"].kind) == (60, 100.0, "multilabel")
    assert set(corpus.meta.metadata) == set(table.columns)
    np.testing.assert_allclose(corpus.signal(0).std(), signals[0].std() / 1000, rtol=0.1)
    held = corpus.dataset("train", window_s=4)
    assert held[0][0].shape == (12, 400)
    with pytest.raises(EcgprismError, match="exists already"):
        ep.ingest_arrays(signals, labels, rate_hz=250, leads=made[0].recording.leads, unit="uV", out=tmp_path / "c")


def test_what_arrays_leave_open_is_a_warning(tmp_path: Path) -> None:
    signals = np.random.default_rng(0).normal(0, 60, (8, 1, 1000))
    with pytest.warns(UserWarning) as said:
        report = ep.ingest_arrays(
            signals, [0, 1] * 4, tmp_path / "c", classes=["N", "A"], rate_hz=100, leads=["I"], unit="mV"
        )
    texts = [str(each.message) for each in said]
    assert any("exclude each other" in text for text in texts)
    assert any("is the unit right?" in text for text in texts)
    assert ep.Corpus(report.path).tasks["labels"].kind == "multiclass"


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", np.float32("nan")])
def test_what_is_missing_in_a_table_is_no_value_in_a_corpus_or_in_use(missing: object) -> None:
    table = {"age": [63, np.int64(70), 5.5], "device": ["a", missing, "b"]}
    assert columns_of(table, 3) == {"age": [63.0, 70.0, 5.5], "device": ["a", None, "b"]}
    frame = pd.DataFrame(table).convert_dtypes()
    assert columns_of(frame, 3) == columns_of(table, 3)
    with pytest.raises(ConfigError, match="column 'age': 3 rows for 4 recordings"):
        columns_of(frame, 4)
