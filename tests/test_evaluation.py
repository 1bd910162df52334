"""Evaluation and prediction: the same model, the same numbers, on a corpus and on files; what they refuse."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from sklearn import metrics as reference

from ecgprism.config import parse_config, read_config
from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.errors import EcgprismError, ReadError
from ecgprism.evidence.comparison import compare
from ecgprism.evidence.evaluation import evaluate
from ecgprism.evidence.reports import EvaluationReport
from ecgprism.interface.card import Card
from ecgprism.interface.inputs import SignalAssembler, Windows
from ecgprism.interface.scoring import score
from ecgprism.interface.storage import read_card
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.prediction.files import embed, predict
from ecgprism.simulator.simulation import simulate
from ecgprism.training.run import fit


@pytest.fixture(scope="module")
def evaluated(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    evaluate(run_path, split="all", out=out, resamples=50)
    return out


def write(folder: Path, name: str, index: int, seconds: float = 10.0, rate: int = 100) -> Path:
    recording = simulate(index, seed=0, rate_hz=rate, duration_s=seconds).recording
    wfdb.wrsamp(
        name, fs=rate, units=["mV"] * 12, sig_name=list(recording.leads), fmt=["16"] * 12,
        p_signal=recording.signal.T.astype(np.float64), adc_gain=[4000.0] * 12, baseline=[0] * 12,
        comments=[f"{key}: {value}" for key, value in recording.metadata.items()], write_dir=str(folder),
    )  # fmt: skip
    return folder / f"{name}.hea"


def test_the_report_agrees_with_scikit_learn_on_the_written_predictions(evaluated: Path) -> None:
    report = json.loads((evaluated / "metrics.json").read_text())
    table = pd.read_parquet(evaluated / "predictions.parquet")
    classes = list(report["per_class"])
    decided = np.column_stack([table[f"p_{c}"] >= t for c, t in zip(classes, report["thresholds"], strict=True)])
    for k, name in enumerate(classes):
        truth, p = table[f"target_{name}"], table[f"p_{name}"]
        entry = report["per_class"][name]
        assert entry["auroc"]["value"] == pytest.approx(reference.roc_auc_score(truth, p), abs=1e-9)
        assert entry["auprc"]["value"] == pytest.approx(reference.average_precision_score(truth, p), abs=1e-9)
        assert entry["f1"]["value"] == pytest.approx(reference.f1_score(truth, decided[:, k]), abs=1e-9)
        assert entry["sensitivity"]["value"] == pytest.approx(reference.recall_score(truth, decided[:, k]), abs=1e-9)
    target = table[[f"target_{name}" for name in classes]].to_numpy()
    expected = reference.roc_auc_score(target, table[[f"p_{name}" for name in classes]], average="macro")
    assert report["metrics"]["macro_auroc"]["value"] == pytest.approx(expected, abs=1e-9)
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(reference.accuracy_score(target, decided), abs=1e-9)


def test_the_report_says_what_it_rests_on(evaluated: Path, corpus_path: Path) -> None:
    report = json.loads((evaluated / "metrics.json").read_text())
    corpus = Corpus(corpus_path)
    assert report["fingerprint"] == corpus.fingerprint
    labelled = corpus.items["labels.superdiagnostic"].notna()
    assert report["items"] == labelled.sum() > 100
    assert report["left_out"] == (~labelled).sum() > 0
    assert report["patients"] == corpus.records.loc[corpus.items["record"][labelled], "patient_id"].nunique()
    assert any("training or selection has seen" in note for note in report["notes"])
    assert {"fmax", "ece", "interval"} <= report["rules"].keys()


def test_the_interval_resamples_patients_not_records(run_path: Path, tmp_path: Path) -> None:
    report = evaluate(run_path, split="all", out=tmp_path, resamples=200).report
    found = report.metrics["macro_auroc"]
    assert found.low < found.value < found.high
    assert (report.resamples, found.defined) == (200, 200)


def test_a_class_without_positives_in_external_data_is_undefined_not_an_error(run_path: Path, tmp_path: Path) -> None:
    table = [{"path": str(write(tmp_path, f"r{i}", i)), "labels": "NORM" if i % 2 else "HYP"} for i in range(6)]
    pd.DataFrame(table).to_csv(tmp_path / "m.csv", index=False)
    options = {"classes": "NORM|MI|STTC|CD|HYP"}
    other = ingest("manifest", tmp_path / "m.csv", tmp_path / "corpus", options=options, workers=1).path
    report = evaluate(run_path, corpus=other, out=tmp_path / "out", resamples=20).report
    assert math.isnan(report.per_class["MI"]["auroc"].value)
    assert math.isnan(report.metrics["macro_auroc"].value)
    assert report.per_class["NORM"]["auroc"].known


def test_results_on_another_corpus_do_not_overwrite_the_runs_own(run_path: Path, tmp_path: Path) -> None:
    other = ingest("simulated", None, tmp_path / "c", options={"n": 20, "seed": 5}, workers=1).path
    with pytest.raises(EcgprismError, match=r"--out \(out=\)"):
        evaluate(run_path, corpus=other)
    other = ingest("simulated", None, tmp_path / "r", options={"n": 20, "seed": 5}, rate_hz=50, workers=1).path
    with pytest.raises(EcgprismError, match="ingest again with --rate 100"):
        evaluate(run_path, corpus=other, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_prediction_on_a_file_equals_evaluation_of_the_record(run_path: Path, evaluated: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(evaluated / "predictions.parquet").set_index("record_id")
    # height and weight have no place in a WFDB header: they are given beside it
    parts = [
        predict(run_path, [write(tmp_path, f"sim_{i:06d}", i)], metadata=simulate(i).recording.metadata) for i in (3, 8)
    ]
    predicted = pd.concat(parts, ignore_index=True)
    columns = [name for name in predicted if name.startswith("p_")]
    expected = table.loc[predicted["record_id"], columns].to_numpy()
    np.testing.assert_allclose(predicted[columns].to_numpy(), expected, atol=2e-3)
    assert predicted["labels"].map(lambda text: set(text.split("|")) <= {c[2:] for c in columns} | {""}).all()


def test_leads_in_another_order_and_at_another_rate_predict_alike(run_path: Path, tmp_path: Path) -> None:
    model = PrismModel.load(run_path)
    recordings = [simulate(4, rate_hz=rate).recording for rate in (100.0, 500.0)]
    order = list(range(12))[::-1]
    signals = [recordings[0].signal, recordings[0].signal[order], prepared_signal(recordings[1], 100.0)]
    leads = [recordings[0].leads, [recordings[0].leads[i] for i in order], recordings[1].leads]
    assembler = SignalAssembler(signals, leads, [recordings[0].metadata] * 3, model.spec)
    p = score(TorchEngine(model), assembler).probabilities
    np.testing.assert_allclose(p[0], p[1], atol=1e-6)
    np.testing.assert_allclose(p[0], p[2], atol=0.05)  # the simulator's noise differs between rates


def test_a_long_recording_is_read_whole_in_overlapping_windows(run_path: Path, tmp_path: Path) -> None:
    model = PrismModel.load(run_path)
    long = simulate(4, duration_s=37.3).recording
    assembler = SignalAssembler([long.signal], [long.leads], [{}], model.spec)
    windows = Windows.cover(assembler.lengths, model.spec.window)
    covered = np.zeros(long.signal.shape[1], dtype=bool)
    parts = []
    for start, length in zip(windows.start, windows.length, strict=True):
        covered[start : start + length] = True
        parts.append(long.signal[:, start : start + length])
    assert covered.all()
    each = score(
        TorchEngine(model), SignalAssembler(parts, [long.leads] * len(parts), [{}] * len(parts), model.spec)
    ).probabilities
    mean, highest = (score(TorchEngine(model), assembler, aggregate=how).probabilities[0] for how in ("mean", "max"))
    np.testing.assert_allclose(mean, each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(highest, each.max(axis=0), atol=1e-6)


def test_batch_size_changes_no_score(run_path: Path, corpus_path: Path) -> None:
    model, corpus = PrismModel.load(run_path), Corpus(corpus_path)
    assembler = CorpusAssembler(corpus, corpus.select("superdiagnostic"), model.spec)
    one, many = (score(TorchEngine(model), assembler, batch_size=size).probabilities for size in (7, 64))
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_embeddings_have_one_vector_per_view_and_the_fused_one(run_path: Path, tmp_path: Path) -> None:
    table = embed(run_path, [write(tmp_path, "a", 1), write(tmp_path, "b", 2, seconds=25)])
    assert set(table.columns) == {"record_id", "path", "fused", "wave", "stft", "meta", "problem"}
    assert all(len(vector) == 16 and np.isfinite(vector).all() for vector in table["fused"])


def test_a_bad_file_is_a_row_with_its_reason_or_stops_when_strict(run_path: Path, tmp_path: Path) -> None:
    write(tmp_path, "good", 1)
    write(tmp_path, "a_short", 2)
    (tmp_path / "a_short.dat").write_bytes(b"\0" * 10)
    notes: list[str] = []
    table = predict(run_path, [tmp_path], note=notes.append)
    assert table["record_id"].tolist() == ["a_short", "good"]
    assert table["p_NORM"].isna().tolist() == [True, False]
    assert "a_short.dat: is truncated" in table["problem"][0]
    assert (table["problem"][1], table["labels"][0]) == ("", "")
    assert any("no answer" in note and "a_short.dat" in note for note in notes)
    (tmp_path / "a_short.dat").rename(tmp_path / "short.dat")
    (tmp_path / "short.hea").write_text((tmp_path / "a_short.hea").read_text().replace("a_short", "short"))
    (tmp_path / "a_short.hea").unlink()
    with pytest.raises(ReadError, match=r"short\.dat"):
        predict(run_path, [tmp_path], strict=True)
    with pytest.raises(ReadError, match=r"short\.dat"):
        predict(run_path, [tmp_path / "short.hea"])


def test_a_model_is_one_file_and_its_copy_for_people_is_not_read(run_path: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((run_path / "model.safetensors").read_bytes())
    (tmp_path / "model.json").write_text("{")
    assert PrismModel.load(tmp_path).card == PrismModel.load(run_path).card
    assert PrismModel.load(tmp_path / "model.safetensors").card == read_card(run_path)


@pytest.mark.parametrize("seed", range(30))
def test_no_flipped_bit_of_a_model_goes_unseen(run_path: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    held = bytearray((run_path / "model.safetensors").read_bytes())
    at = int(rng.integers(0, 4000 if seed % 2 else len(held)))  # the header is short beside the weights
    held[at] ^= 1 << int(rng.integers(8))
    (tmp_path / "model.safetensors").write_bytes(held)
    with pytest.raises(EcgprismError, match=r"model\.safetensors") as error:
        PrismModel.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_model_that_is_cut_or_not_there_is_one_line(run_path: Path, tmp_path: Path) -> None:
    whole = (run_path / "model.safetensors").read_bytes()
    for size in (0, 5, 1000, len(whole) - 1):
        (tmp_path / "model.safetensors").write_bytes(whole[:size])
        with pytest.raises(EcgprismError, match=r"model\.safetensors: damaged"):
            PrismModel.load(tmp_path)
    with pytest.raises(EcgprismError, match="no model here"):
        PrismModel.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0), ("temperature", -1), ("temperature", float("inf")), ("temperature", float("nan")),
        ("thresholds", [float("nan")] * 5), ("thresholds", [0.5]), ("thresholds", 0.5), ("thresholds", [2.0] * 5),
        ("leads", ["x"]), ("leads", []), ("leads", ["I", "I"]), ("rate_hz", 1e6), ("rate_hz", 0), ("window", 0),
        ("window", -10), ("classes", ["x"] * 5), ("classes", []), ("kind", "other"), ("aggregate", "sum"),
        ("unit", "uV"), ("format", 1), ("unknown", 1), ("metadata", [{"name": "age", "std": 0.0}]),
        ("lead_aliases", {"ECG": "Q"}), ("views", 3),
    ],
)  # fmt: skip
def test_a_card_with_an_impossible_value_is_refused(run_path: Path, field: str, value: object) -> None:
    card = read_card(run_path).model_dump(mode="json") | {field: value}
    with pytest.raises(EcgprismError, match=r"m\.safetensors: damaged card: ") as error:
        Card.parsed(json.dumps(card), "m.safetensors")
    assert "\n" not in str(error.value)


# Other classes, other windows, other values


def labelled(folder: Path, labels: list[str], **options: str) -> Path:
    """Return a corpus of simulated recordings with these labels."""
    folder.mkdir()
    rows = [{"path": str(write(folder, f"r{i:02d}", i)), "labels": label} for i, label in enumerate(labels)]
    pd.DataFrame(rows).to_csv(folder / "m.csv", index=False)
    return ingest("manifest", folder / "m.csv", folder / "corpus", options=options, workers=1).path


@pytest.fixture(scope="module")
def beats_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beats")
    corpus = labelled(folder / "own", ["N", "S", "V"] * 14, kind="multiclass")
    views = {"freq": {"view": "spectrum", "encoder": {"mlp": {"hidden": 8}}}}
    tree = {"corpus": str(corpus), "views": views, "dim": 8, "train": {"epochs": 1, "monitor": "loss"}}
    fit(parse_config(tree), folder / "run")
    return folder / "run"


def test_exclusive_classes_that_the_model_does_not_know_are_left_out_and_counted(
    beats_run: Path, tmp_path: Path
) -> None:
    labels = ["N", "S", "V"] * 5 + ["F", "Q", "F"]
    more = labelled(tmp_path / "more", labels, kind="multiclass", task="beat")
    same = labelled(tmp_path / "same", labels[:15], kind="multiclass")
    found, expected = (
        evaluate(beats_run, corpus=corpus, out=tmp_path / f"out{i}", resamples=20).report
        for i, corpus in enumerate((more, same))
    )
    assert (found.items, found.left_out, found.other_classes) == (15, 0, {"F": 2, "Q": 1})
    assert found.positives == {"N": 5, "S": 5, "V": 5}
    assert found.task == "beat"
    assert "judged on task beat" in found.notes
    assert any("does not know (F 2, Q 1): left out" in note for note in found.notes)
    assert str(found.metrics) == str(expected.metrics)  # as text NaN equals NaN
    assert str(found.per_class) == str(expected.per_class)
    assert np.sum(found.confusion) == 15


def test_in_multi_label_data_other_classes_are_negatives(run_path: Path, tmp_path: Path) -> None:
    labels = ["NORM", "MI", "STTC", "CD", "HYP", "MI|AFIB"] * 3 + ["AFIB", "AFIB"]
    other = labelled(tmp_path / "other", labels)
    result = evaluate(run_path, corpus=other, out=tmp_path / "out", resamples=20)
    report, table = result.report, result.predictions
    assert (report.items, report.left_out, report.other_classes) == (20, 0, {"AFIB": 5})
    assert report.positives == {"NORM": 3, "MI": 6, "STTC": 3, "CD": 3, "HYP": 3}
    assert any("(AFIB 5): negatives" in note for note in report.notes)
    assert not table.filter(like="target_").to_numpy()[-2:].any()
    expected = reference.roc_auc_score(["MI" in label for label in labels], table["p_MI"])
    assert report.per_class["MI"]["auroc"].value == pytest.approx(expected, abs=1e-12)


def test_classes_that_the_data_have_no_labels_of_are_without_metrics(
    run_path: Path, beats_run: Path, tmp_path: Path
) -> None:
    other = labelled(tmp_path / "other", ["NORM", "MI", "NORM|MI"] * 4)
    result = evaluate(run_path, corpus=other, out=tmp_path / "out", resamples=20)
    report = result.report
    assert report.unlabelled == ("STTC", "CD", "HYP")
    assert any("no labels of STTC, CD, HYP" in note for note in report.notes)
    expected = reference.roc_auc_score(result.predictions["target_MI"], result.predictions["p_MI"])
    assert report.per_class["MI"]["auroc"].value == pytest.approx(expected, abs=1e-12)
    assert all(math.isnan(each.value) for each in report.per_class["HYP"].values())
    assert all(math.isnan(each.value) for each in report.metrics.values())
    assert "target_HYP" not in result.predictions
    assert "p_HYP" in result.predictions
    evaluate(run_path, corpus=other, out=tmp_path / "again", resamples=10)
    with pytest.raises(EcgprismError, match="out: was tested on data without labels of all of its classes"):
        compare([tmp_path / "out", tmp_path / "again"])
    # exclusive classes: a record labelled otherwise is no V, so that accuracy stands
    other = labelled(tmp_path / "two", ["N", "S"] * 6, kind="multiclass")
    found = evaluate(beats_run, corpus=other, out=tmp_path / "out2", resamples=20).report
    assert found.unlabelled == ("V",)
    assert found.metrics["accuracy"].known
    assert math.isnan(found.metrics["macro_f1"].value)
    assert math.isnan(found.per_class["V"]["f1"].value)


def test_no_class_in_common_is_refused_with_both_lists(beats_run: Path, tmp_path: Path) -> None:
    other = labelled(tmp_path / "other", ["x", "y"] * 3, kind="multiclass")
    with pytest.raises(EcgprismError, match=r"classes N, S, V; its task labels has x, y"):
        evaluate(beats_run, corpus=other, out=tmp_path / "out")
    several = labelled(tmp_path / "several", ["N|S", "V"] * 3)
    with pytest.raises(EcgprismError, match="several classes of task labels, which the model excludes"):
        evaluate(beats_run, corpus=several, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def windowed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on items of three windows, with ten positives of some classes in validation."""
    folder = tmp_path_factory.mktemp("windowed")
    corpus = ingest("simulated", None, folder / "corpus", options={"n": 400}, workers=1).path
    views = {"freq": {"view": "spectrum", "encoder": {"mlp": {"hidden": 8}}}}
    tree = {"corpus": str(corpus), "window_s": 4, "views": views, "dim": 8, "train": {"epochs": 1, "monitor": "loss"}}
    fit(parse_config(tree), folder / "run")
    return folder / "run"


def test_the_maximum_of_windows_has_thresholds_of_its_own_from_validation(windowed_run: Path, tmp_path: Path) -> None:
    mean, highest = (evaluate(windowed_run, out=tmp_path / how, aggregate=how, resamples=10) for how in ("mean", "max"))
    model = PrismModel.load(windowed_run)
    corpus = Corpus(read_config(windowed_run / "config.yaml").corpus)
    examples = corpus.select("superdiagnostic", ("val",), model.task.classes)
    scores = score(TorchEngine(model), CorpusAssembler(corpus, examples, model.spec), aggregate="max")
    enough = examples.target.sum(axis=0) >= 10
    assert enough.any()
    for k, name in enumerate(model.task.classes):
        candidates = [0.0, *np.unique(scores.probabilities[:, k]), 1.0]
        f1 = [reference.f1_score(examples.target[:, k], scores.probabilities[:, k] >= t) for t in candidates]
        chosen = highest.report.thresholds[k]
        if enough[k]:
            assert reference.f1_score(examples.target[:, k], scores.probabilities[:, k] >= chosen) == max(f1)
        else:
            assert chosen == 0.5
        assert (highest.predictions[f"t_{name}"] == chosen).all()
        assert (mean.predictions[f"t_{name}"] == model.card.thresholds[k]).all()
    assert mean.report.thresholds == model.card.thresholds
    assert any("chosen anew on validation, for aggregate max" in note for note in highest.report.notes)


def test_without_the_validation_data_the_thresholds_of_the_maximum_are_one_half(
    windowed_run: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "run"
    moved.mkdir()
    (moved / "model.safetensors").write_bytes((windowed_run / "model.safetensors").read_bytes())
    text = (windowed_run / "config.yaml").read_text()
    (moved / "config.yaml").write_text(re.sub("^corpus: .*$", "corpus: gone", text, flags=re.MULTILINE))
    other = labelled(tmp_path / "other", ["NORM", "MI"] * 3, classes="NORM|MI|STTC|CD|HYP")
    report = evaluate(moved, corpus=other, aggregate="max", out=tmp_path / "out", resamples=10).report
    assert report.thresholds == (0.5,) * 5
    assert any("thresholds are 0.5" in note for note in report.notes)
    assert any("corpus is gone" in note for note in report.notes)


def test_metadata_that_the_model_does_not_know_is_said(run_path: Path, tmp_path: Path) -> None:
    rows = [{"path": str(write(tmp_path, f"r{i}", i)), "labels": "NORM|MI", "height": "tall"} for i in range(4)]
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    other = ingest("manifest", tmp_path / "m.csv", tmp_path / "corpus", workers=1).path
    report = evaluate(run_path, corpus=other, out=tmp_path / "out", resamples=10).report
    assert any(note.startswith("metadata height: the model does not know tall") for note in report.notes)


def test_a_report_is_read_back_as_it_was_written_and_damage_is_one_line(evaluated: Path, tmp_path: Path) -> None:
    text = (evaluated / "metrics.json").read_text()
    report = EvaluationReport.read(evaluated / "metrics.json")
    assert report.to_json() == text
    (tmp_path / "metrics.json").write_text(text[: len(text) // 2])
    with pytest.raises(EcgprismError, match=r"metrics\.json: damaged") as error:
        EvaluationReport.read(tmp_path / "metrics.json")
    assert "\n" not in str(error.value)
    with pytest.raises(EcgprismError, match="No such file"):
        EvaluationReport.read(tmp_path / "nothing.json")
