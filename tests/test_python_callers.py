"""What Python callers give: Series with an index of their own, tensors, one-hot lists, typos: right or refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import ecgprism as ep
from ecgprism.config import parse_config
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.sources.array_labels import label_names
from ecgprism.sources.arrays import ArraySource, mapped
from ecgprism.training.run import fit
from ecgprism.training.watch import Watch

from .conftest import small_tree
from .ingests import recording, wave
from .test_evaluation import write

N = 30
X = np.random.default_rng(0).normal(0, 0.3, (N, 2, 500)).astype(np.float32)
Y = ["B", "A", "A"] * (N // 3)
DECLARED = {"rate_hz": 100, "leads": ["I", "II"], "unit": "mV"}
PATIENTS = [f"p{i // 2}" for i in range(N)]
ODD_INDEX = np.random.default_rng(1).permutation(N) + 100
ONE_HOT = np.eye(3, dtype=int)[np.arange(N) % 3]
NAMES = ("A", "B", "C")
TEXTS = [NAMES[i % 3] for i in range(N)]


def source(y: Any = Y, signals: Any = X, **options: Any) -> ArraySource:
    from ecgprism.ecg.arrays import ArrayRecordings

    return ArraySource(ArrayRecordings.of(signals, 100, ["I", "II"], "mV"), y, **options)


def no_note(said: str) -> None:
    pass


# Labels


@pytest.mark.parametrize(
    "y",
    [
        ONE_HOT, ONE_HOT.tolist(), [tuple(row) for row in ONE_HOT], list(ONE_HOT), ONE_HOT.astype(bool).tolist(),
        ONE_HOT.astype(float), torch.tensor(ONE_HOT), ONE_HOT.astype(object), pd.DataFrame(ONE_HOT, index=ODD_INDEX),
        pd.DataFrame(ONE_HOT[:, ::-1], columns=list("CBA")), ONE_HOT.argmax(1), torch.tensor(ONE_HOT.argmax(1)),
        pd.Series(ONE_HOT.argmax(1), index=ODD_INDEX), ONE_HOT.argmax(1)[:, None],
        pd.DataFrame({"y": TEXTS}), pd.Categorical(TEXTS), np.array(TEXTS), [text.encode() for text in TEXTS],
    ],
)  # fmt: skip
def test_one_class_a_row_is_the_same_however_it_is_written(y: Any) -> None:
    rows, classes = label_names(y, NAMES)
    assert classes == NAMES
    assert rows == [(NAMES[i % 3],) for i in range(N)]


def test_columns_of_a_data_frame_are_classes_by_name() -> None:
    rows, classes = label_names(pd.DataFrame({"B": [1, 0], "A": [0, 1]}), None)
    assert (rows, classes) == ([("B",), ("A",)], ("B", "A"))
    with pytest.raises(ConfigError, match="y has the columns B, A; classes are A, C"):
        label_names(pd.DataFrame({"B": [1, 0], "A": [0, 1]}), ["A", "C"])


@pytest.mark.parametrize(
    ("y", "classes", "said"),
    [
        (np.ones((3, 1, 2)), ["A", "B"], "expected"), ("ABA", None, "a str given"), ({"a": "A"}, None, "a dict given"),
        ({"A", "B"}, None, "a set given"), (None, None, "nothing"), (3, None, "an int given"),
        ([[0, 0, 1], [0, 1]], ["A", "B"], "a class stands twice"), ([[["A"]], ["B"]], None, "expected a class's name"),
        ([1.5, 0.0], ["A", "B"], "regression is not there"), ([np.inf, 0.0], ["A", "B"], "regression is not there"),
        (["A", "B"], ["A", "B", "A"], "'A' stands twice"), (["A", "B"], ["A", ""], "is no name"),
        (["A", "B"], [0, 1], "0 is no name"), (["A"], "A", "a str given"),
        ([object()], None, "expected a class's name"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(y: Any, classes: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        label_names(y, classes)


def test_a_missing_text_is_no_class() -> None:
    assert label_names(np.array(["A", np.nan, "B"]), None) == ([("A",), (), ("B",)], ("A", "B"))
    assert label_names(pd.Series(["A", pd.NA, None], dtype="string"), None)[0] == [("A",), (), ()]


# What stands beside the signals


@pytest.mark.parametrize(
    "given", [PATIENTS, np.array(PATIENTS), pd.Series(PATIENTS, index=ODD_INDEX), pd.DataFrame({"p": PATIENTS})]
)
def test_patients_go_by_position(given: Any) -> None:
    assert [entry.patient_id for entry in source(patients=given).entries()] == PATIENTS


def test_unknown_patients_are_unknown_and_numbers_are_whole() -> None:
    given = ["nan", None, np.nan, "NA", "None", "", pd.NA, "?", 7, 7.0, "7", torch.tensor(3).item(), b"x", *["y"] * 17]
    expected = [*[None] * 8, "7", "7", "7", "3", "x", *["y"] * 17]
    assert [entry.patient_id for entry in source(patients=given).entries()] == expected
    assert [entry.patient_id for entry in source(patients=torch.arange(N)).entries()] == list(map(str, range(N)))


def test_metadata_written_as_texts_are_numbers_and_dates_are_refused() -> None:
    table = {"a": ["120", "1.5", None] * 10, "b": [Decimal("1.5")] * N, "c": ["x", "2", "3"] * 10}
    first = [entry.metadata for entry in source(metadata=table).entries()][:2]
    assert first == [{"a": 120.0, "b": 1.5, "c": "x"}, {"a": 1.5, "b": 1.5, "c": "2"}]
    for held in (pd.to_datetime(["2020-01-01"] * N), np.array([1j] * N), [object()] * N):
        with pytest.raises(ConfigError, match="metadata: column 'd'"):
            source(metadata={"d": held})
    for given in ([{"age": 1}] * N, "patients.csv", np.ones((N, 2)), {"age": 60}):
        with pytest.raises(ConfigError, match="metadata"):
            source(metadata=given)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "multi-class"}, "kind = 'multi-class'; did you mean 'multiclass'"), ({"task": None}, "task = None"),
        ({"patients": PATIENTS[:3]}, "patients: 3 rows for 30"), ({"patients": np.ones((N, 2))}, "patients: shape"),
        ({"record_ids": "abc"}, "record_ids: a str given"), ({"splits": ["train"]}, "splits: 1 rows"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_written(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        ep.ingest_arrays(X, Y, tmp_path / "c", **DECLARED, **options, note=no_note)
    assert not list(tmp_path.iterdir())


# Signals


def test_masked_values_are_not_recorded_and_tensors_are_arrays() -> None:
    masked = np.ma.masked_array(X, mask=np.zeros_like(X, dtype=bool))
    masked[0, 0, :10] = np.ma.masked
    read = source(signals=masked).recordings.read(0).signal
    assert np.isnan(read[0, :10]).all()
    assert not np.isnan(read[0, 10:]).any()
    assert np.isnan(source(signals=list(masked)).recordings.read(0).signal[0, :10]).all()
    for tensor in (torch.tensor(X, requires_grad=True), torch.tensor(X).bfloat16()):
        np.testing.assert_allclose(source(signals=tensor).recordings.read(3).signal, X[3], atol=0.02)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rate_hz": "abc"}, "rate_hz = 'abc'"), ({"rate_hz": [100]}, "rate_hz"), ({"unit": 0.001}, "unit = 0.001"),
        ({"unit": b"mV"}, "unit = b'mV'"), ({"leads": [0, 1]}, "leads: 0 is no lead"), ({"leads": "II"}, "a str given"),
    ],
)  # fmt: skip
def test_what_is_declared_wrongly_is_refused_in_one_line(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    for call in (
        lambda: ep.ingest_arrays(X, Y, tmp_path / "c", **{**DECLARED, **changed}, note=no_note),
        lambda: ep.predict("rhythm-1lead", X[:1], **{**DECLARED, **changed}, note=no_note),
    ):
        with pytest.raises(EcgprismError, match=said):
            call()
    for signals in (None, (each for each in X), X.astype(complex), "x.npy"):
        with pytest.raises(ConfigError, match="X"):
            ep.ingest_arrays(signals, Y, tmp_path / "c", **DECLARED, note=no_note)
    with pytest.raises(EcgprismError, match="workers = -1"):
        ep.ingest_arrays(X, Y, tmp_path / "c", **DECLARED, workers=-1, note=no_note)


def test_damaged_containers_and_wrong_keys_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X)
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    np.save(tmp_path / "zero.npy", np.float32(3))
    np.save(tmp_path / "x.npy", X)
    for name in ("cut.npz", "flipped.npz"):
        with pytest.raises(EcgprismError, match="no array in it"):
            mapped(tmp_path / name)
    assert zipfile.is_zipfile(tmp_path / "x.npz")
    with pytest.raises(EcgprismError, match="one array, which has no name"):
        mapped(tmp_path / "x.npy", "zz")
    with pytest.raises(EcgprismError):
        ep.ingest_arrays(mapped(tmp_path / "zero.npy"), Y, tmp_path / "c", **DECLARED, note=no_note)


# An ingest that was interrupted


@pytest.mark.parametrize("changed", [{"classes": ["B", "A"]}, {"kind": "multilabel"}])
def test_an_interrupted_ingest_goes_on_with_the_same_classes_alone(changed: dict[str, Any], tmp_path: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    held = {**DECLARED, "workers": 1, "note": no_note}
    with pytest.raises(KeyboardInterrupt):
        ep.ingest_arrays(X, Y, tmp_path / "c", **held, progress=stop)
    with pytest.raises(EcgprismError, match="interrupted"):
        ep.ingest_arrays(X, Y, tmp_path / "c", **held, **changed)
    ep.ingest_arrays(X, Y, tmp_path / "c", **held)
    corpus = ep.Corpus(tmp_path / "c")
    classes = corpus.tasks["labels"].classes
    found = corpus.select("labels")
    order = np.argsort(found.record)
    assert [classes[row.argmax()] for row in found.target[order]] == [Y[int(n)] for n in found.record[order]]


# Prediction


def test_one_path_is_one_recording_and_anything_else_is_refused(run_path: Path, tmp_path: Path) -> None:
    file = Path(write(tmp_path, "a", 1))
    for given in (str(file), file, [file]):
        assert ep.predict(run_path, given, note=no_note)["path"].tolist() == [str(file)]
    declared = {"rate_hz": 100, "unit": "mV", "leads": np.array(["I", "II"]), "note": no_note}
    expected = ep.predict(run_path, X[:2], **declared)
    for signals in (torch.tensor(X[:2]), X[:2].tolist(), list(X[:2]), [torch.tensor(each) for each in X[:2]]):
        pd.testing.assert_frame_equal(ep.predict(run_path, signals, **declared), expected)
    for model in (3, None, torch.nn.Linear(2, 2)):
        with pytest.raises(EcgprismError, match="model: a"):
            ep.predict(model, X[:2], **declared)
    for wrong in (None, 3, [None], [recording(wave(n_leads=2, samples=500))], {"a": 1}):
        with pytest.raises(EcgprismError, match="recordings: "):
            ep.predict(run_path, wrong, note=no_note)


def test_little_to_go_by_is_said(run_path: Path) -> None:
    gaps, declared = X[:1].copy(), {**DECLARED, "note": no_note}
    gaps[:, :, 10:] = np.nan
    assert "98% of it is not recorded" in ep.predict(run_path, gaps, **declared)["problem"][0]
    assert "1 s recorded, less than two beats" in ep.predict(run_path, X[:1, :, :100], **declared)["problem"][0]
    aliases = ep.predict(run_path, X[:1], **{**declared, "leads": ["foo", "II"]}, lead_aliases={"foo": "I"})
    assert "not recorded" not in aliases["problem"][0]


# Anybody's predictions


def test_a_report_is_by_names_and_unknown_patients_are_each_their_own() -> None:
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    said: list[str] = []
    told = {"resamples": 20, "note": said.append}
    whole = ep.report(truth, p, classes=["a", "b", "c"], **told)
    frames = pd.DataFrame(truth, columns=list("abc")), pd.DataFrame(p[:, ::-1], columns=list("cba"))
    assert ep.report(*frames, classes=["a", "b", "c"], **told).per_class == whole.per_class
    unknown = np.array([None, "nan", np.nan] * 10 + ["x", "y"] * 15, dtype=object)
    assert ep.report(truth, p, unknown, **told).patients == 32
    assert ep.report(truth, torch.tensor(p, requires_grad=True), pd.Series(range(60), index=range(9, 69)), **told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "multiclass"}, "some targets have no class"), ({"kind": "binary"}, "kind = 'binary'"),
        ({"classes": ["a", "a", "b"]}, "'a' stands twice"), ({"thresholds": [0.1]}, "expected 3 numbers"),
        ({"thresholds": [0.1, 5, 0.2]}, "expected 3 numbers"), ({"thresholds": "a"}, "thresholds"),
        ({"resamples": 0}, "resamples"), ({"seed": -1}, "seed"), ({"patients": range(3)}, "patients: 3 rows"),
    ],
)  # fmt: skip
def test_a_report_refuses_what_does_not_fit(change: dict[str, Any], said: str) -> None:
    truth, p = np.tile([[1, 0, 1], [0, 0, 0]], (20, 1)), np.full((40, 3), 0.4)
    with pytest.raises(ConfigError, match=said):
        ep.report(truth, p, note=no_note, **change)


def test_sigmoids_of_one_class_a_row_are_multilabel_and_said() -> None:
    said: list[str] = []
    card = ep.report(ONE_HOT, np.full((N, 3), 0.6), resamples=10, note=said.append)
    assert card.kind == "multilabel"
    assert any("do not sum to 1" in each for each in said)
    with pytest.raises(ConfigError, match="do not sum to 1"):
        ep.report(ONE_HOT, np.full((N, 3), 0.6), kind="multiclass", note=no_note)
    with pytest.raises(ConfigError, match="thresholds: classes exclude each other"):
        ep.report(ONE_HOT, np.full((N, 3), 1 / 3), thresholds=[0.5] * 3, note=no_note)


# A data set out


def test_a_data_set_refuses_leads_and_classes_that_are_no_lists_of_names(corpus_path: Path) -> None:
    corpus = ep.Corpus(corpus_path)
    wrong: list[dict[str, Any]] = [
        {"leads": "II"}, {"leads": ["I", "I"]}, {"leads": []}, {"classes": ["MI", "MI"]}, {"classes": "MI"},
        {"split": None}, {"window_s": 0.001}, {"window_s": 1e6}, {"window_s": "5"}, {"window_s": None},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(EcgprismError):
            corpus.dataset(**{"split": "train", **options})
    assert corpus.dataset("train", classes=np.array(["MI", "NORM"])).classes == ("MI", "NORM")


def test_a_pickled_data_set_leaves_the_signals_on_disk(corpus_path: Path) -> None:
    data = ep.Corpus(corpus_path).dataset("train")
    again = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < (corpus_path / "signals.i16").stat().st_size / 2
    for one, other in zip(data[3], again[3], strict=True):
        assert torch.equal(one, other)


# Training


def config(corpus_path: Path, **train: Any) -> Any:
    views = {"wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 4}}}}
    return parse_config({**small_tree(corpus_path, **{"epochs": 1, **train}), "views": views, "dim": 8})


class Notes(Watch):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_failed_overwrite_leaves_the_run_that_was_there(
    corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit(config(corpus_path), tmp_path / "run", watch=Watch()).path
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}

    def fails(*_: object) -> None:
        raise EcgprismError("no")

    with monkeypatch.context() as patched:
        patched.setattr("ecgprism.training.module.TrainingModule.on_train_epoch_end", fails)
        with pytest.raises(EcgprismError, match="no"):
            fit(config(corpus_path, lr=1e-3), run, overwrite=True, watch=Watch())
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    fit(config(corpus_path, lr=1e-3), run, overwrite=True, watch=Watch())
    assert not (run / "replaced.partial").exists()
    assert (run / "model.safetensors").read_bytes() != before["model.safetensors"]
    with pytest.raises(EcgprismError, match="choose one of the two"):
        fit(config(corpus_path), run, overwrite=True, resume=True)
    with pytest.raises(EcgprismError, match=r"was begun with train\.lr=0\.001, now 0\.5"):
        fit(config(corpus_path, lr=0.5), run, resume=True)
    with pytest.raises(EcgprismError, match="init = 3"):
        fit(config(corpus_path), tmp_path / "other", init=3)


def test_frozen_encoders_without_trained_weights_are_said(corpus_path: Path, tmp_path: Path) -> None:
    watch = Notes()
    fit(config(corpus_path, freeze=["encoders"]), tmp_path / "run", watch=watch)
    assert any("encoders.wave begin without trained weights, and stay random to the end" in n for n in watch.notes)
    for options, said in (
        ({"thaw_epoch": 2}, "nothing is frozen"),
        ({"freeze": ["encoders"], "thaw_epoch": 9}, "has 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            fit(config(corpus_path, **options), tmp_path / "x", watch=Watch())


def changed_views(corpus_path: Path, view: Any) -> Any:
    tree = config(corpus_path).plain()
    tree["views"]["wave"]["view"] = view
    return parse_config(tree)


def test_weights_that_saw_another_input_are_said(
    corpus_path: Path, tmp_path: Path, make: Callable[..., Any] = changed_views
) -> None:
    run = fit(config(corpus_path), tmp_path / "run", watch=Watch()).path
    watch = Notes()
    fit(make(corpus_path, {"waveform": {"scale": "record"}}), tmp_path / "tuned", init=run, watch=watch)
    said = "there it saw waveform with scale: none, here record"
    assert any(note.endswith(said) for note in watch.notes)
    watch = Notes()
    fit(config(corpus_path), tmp_path / "same", init=run, watch=watch)
    assert not any("there it saw" in note for note in watch.notes)


def test_late_fusion_keeps_each_class_its_own_weights(corpus_path: Path, tmp_path: Path) -> None:
    from ecgprism.training.preparation import prepare
    from ecgprism.training.warm_start import take_weights

    def late(classes: list[str]) -> Any:
        views = {name: {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 4}}} for name in ("a", "b")}
        tree = {**small_tree(corpus_path, epochs=1), "views": views, "dim": 8, "fusion": "late", "classes": classes}
        return prepare(parse_config(tree)).model

    trained, own = late(["NORM", "MI"]), late(["MI", "NORM"])
    with torch.no_grad():
        trained.head.weights.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    take_weights(own, trained)
    assert torch.equal(own.head.weights, torch.tensor([[2.0, 1.0], [4.0, 3.0]]))
