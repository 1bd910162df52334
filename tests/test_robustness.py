"""Stress tests: the clean condition is the evaluation, each disturbance reaches the model, bad input is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecgprism.config import parse_config
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.evidence.disturbance import FAMILIES, Condition
from ecgprism.evidence.evaluation import evaluate
from ecgprism.evidence.reports import StressReport
from ecgprism.evidence.robustness import Subject, answer, stress
from ecgprism.evidence.run import Run
from ecgprism.interface.scoring import score
from ecgprism.interface.storage import read_model, write_model
from ecgprism.model.engine import TorchEngine
from ecgprism.sources.mitbih import DS1, DS2
from ecgprism.training.run import fit

from .conftest import small_tree
from .test_disturbance import noise_folder


@pytest.fixture(scope="module")
def solo_path(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = small_tree(corpus_path)
    tree["views"] = {"wave": tree["views"]["wave"]}
    out = tmp_path_factory.mktemp("runs") / "solo"
    fit(parse_config(tree), out)
    return out


@pytest.fixture(scope="module")
def report(run_path: Path, solo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> StressReport:
    folder = tmp_path_factory.mktemp("stress")
    noise = noise_folder(folder / "nstdb")
    found = stress(run_path, against=[solo_path], noise=noise, out=folder / "out", resamples=40)
    assert StressReport.read(folder / "out" / "stress.json").to_json() == found.to_json()
    return found


def test_clean_is_what_evaluate_says(report: StressReport, run_path: Path, solo_path: Path, tmp_path: Path) -> None:
    for name, run in (("fused", run_path), (str(solo_path), solo_path)):
        value = evaluate(run, out=tmp_path / name.replace("/", "_"), resamples=10).value("macro_auroc")[0]
        assert report.clean.models[name].value == pytest.approx(value, abs=1e-6)
    assert list(report.clean.models) == ["fused", "wave head", "stft head", "meta head", str(solo_path)]
    assert report.clean.change.value == 0.0


def test_every_family_is_there_and_the_worst_come_first(report: StressReport) -> None:
    families = {row.family for row in report.conditions}
    assert families == set(FAMILIES)
    assert report.skipped == {}
    changes = [row.change.value for row in report.conditions]
    assert changes == sorted(changes)
    assert report.noise == {"wander": "recorded", "muscle": "recorded", "motion": "simulated"}
    row = report.conditions[0]
    assert row.over["wave head"].value == pytest.approx(row.models["fused"].value - row.models["wave head"].value)
    assert row.kept == pytest.approx(row.models["fused"].value / report.clean.models["fused"].value)


def test_a_view_that_does_not_see_a_disturbance_does_not_move(report: StressReport) -> None:
    clean = report.clean.models["meta head"].value
    for row in report.conditions:
        if row.family not in ("metadata", "view"):
            assert row.models["meta head"].value == pytest.approx(clean, abs=1e-9), row.name
    hidden = next(row for row in report.conditions if row.name == "meta hidden")
    missing = next(row for row in report.conditions if row.family == "metadata" and row.name == "none")
    # without any metadata the view is not present: the fusion sees the same in both
    assert hidden.models["fused"].value == pytest.approx(missing.models["fused"].value, abs=1e-9)


@pytest.fixture(scope="module")
def parts(run_path: Path, corpus_path: Path) -> tuple[Subject, Corpus]:
    return Subject("fused", Run.open(run_path)), Corpus(corpus_path)


def test_a_condition_reaches_the_model_item_by_item(parts: tuple[Subject, Corpus]) -> None:
    subject, corpus = parts
    examples = subject.run.examples("test")
    peaks = {int(number): np.array([50]) for number in np.unique(examples.record)}

    def answered(condition: Condition) -> np.ndarray:
        return answer([subject], corpus, examples, condition, peaks)["fused"].probabilities

    clean = answered(Condition("clean", "clean"))
    doubled = answered(Condition("gain", "x", of_record=lambda recorded: 2 * recorded.signal))
    again = answered(Condition("gain", "x", of_item=lambda signal, rate: 2 * signal))
    np.testing.assert_allclose(doubled, again, atol=1e-6)
    assert np.abs(doubled - clean).max() > 1e-4
    from ecgprism.corpus.inputs import CorpusAssembler

    assembler = CorpusAssembler(corpus, examples, subject.run.model.spec)
    np.testing.assert_allclose(clean, score(TorchEngine(subject.run.model), assembler).probabilities, atol=1e-6)
    hidden = answered(Condition("view", "x", hidden=("wave",)))
    np.testing.assert_allclose(
        hidden, score(TorchEngine(subject.run.model, hidden=["wave"]), assembler).probabilities, atol=1e-6
    )


def test_coalitions_are_the_hidden_views_of_one_encoding(parts: tuple[Subject, Corpus]) -> None:
    from ecgprism.corpus.inputs import CorpusAssembler
    from ecgprism.evidence.ablation import every_subset

    subject, corpus = parts
    model = subject.run.model
    examples = corpus.select(model.card.task_name, ("test",), model.task.classes)
    assembler = CorpusAssembler(corpus, examples, model.spec)
    subsets = every_subset(3)
    scores = score(TorchEngine(model, coalitions=subsets), assembler)
    np.testing.assert_allclose(scores.coalitions[-1], scores.probabilities, atol=1e-7)
    for subset, found in zip(subsets[:-1], scores.coalitions, strict=False):
        hidden = [view for view, kept in zip(model.branches, subset, strict=True) if not kept]
        np.testing.assert_allclose(found, score(TorchEngine(model, hidden=hidden), assembler).probabilities, atol=1e-6)
    assert scores.present[:, :2].all()


def test_only_some_families_and_records(run_path: Path, tmp_path: Path) -> None:
    found = stress(run_path, families=["gain"], records=8, out=tmp_path, resamples=10)
    assert {row.family for row in found.conditions} == {"gain"}
    assert len(found.conditions) == 4
    assert found.items == 8


def test_beats_of_long_recordings_are_disturbed_too(tmp_path: Path) -> None:
    """Items shorter than their recording, multi-class, two leads: one code path."""
    from ecgprism.corpus.ingestion import ingest

    from .data_sets import write_mitbih

    corpus = ingest(
        "mitbih", write_mitbih(tmp_path / "data", (*DS1[:10], *DS2[:3])), tmp_path / "corpus", workers=1
    ).path
    views = {"wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 4, "stages": 1, "hidden": 4}}}}
    tree = {"corpus": str(corpus), "window_s": 1, "classes": ["N", "V"], "views": views, "dim": 8}
    tree["train"] = {"epochs": 1, "monitor": "loss"}
    fit(parse_config(tree), tmp_path / "run")
    found = stress(tmp_path / "run", families=["noise", "leads", "rate", "clock", "view"], resamples=10)
    assert found.kind == "multiclass"
    value = evaluate(tmp_path / "run", resamples=10).value("macro_auroc")[0]
    assert found.clean.models["wave"].value == pytest.approx(value, abs=1e-6)
    assert 0 < value < 1
    assert {row.family for row in found.conditions} >= {"noise", "rate", "clock", "leads"}
    assert found.skipped == {"view": "the model has one view"}


def test_what_cannot_be_stressed_is_refused(run_path: Path, solo_path: Path, tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="did you mean 'noise'"):
        stress(run_path, families=["nosie"])
    with pytest.raises(EcgprismError, match="none of the noise records"):
        stress(run_path, noise=tmp_path)
    with pytest.raises(EcgprismError, match="no model here"):
        stress(run_path, against=[tmp_path])
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_bytes((solo_path / "config.yaml").read_bytes())
    card, network, state = read_model(solo_path)
    write_model(other / "model.safetensors", state, card.model_copy(update={"fingerprint": "x"}), network)
    with pytest.raises(EcgprismError, match="other classes or other data"):
        stress(run_path, against=[other])
    with pytest.raises(EcgprismError, match="has changed since"):
        stress(other)
    assert not (run_path / "stress.json").exists()
