"""The first configuration of a corpus: valid, trainable, with its reasons, and never over another file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import ecgprism as ep
from ecgprism.config import parse_config, read_config
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.training import starter
from ecgprism.training.preparation import prepare
from ecgprism.training.run import fit
from ecgprism.training.starter import first_configuration, init

N = 60


def corpus_of(folder: Path, labels: Sequence[Any], samples: int = 300, leads: int = 1, **options: Any) -> Corpus:
    signals = np.random.default_rng(0).normal(0, 0.2, (len(labels), leads, samples)).astype(np.float32)
    names = ["I", "II", "V1"][:leads]
    done = ep.ingest_arrays(
        signals,
        labels,
        rate_hz=options.pop("rate_hz", 100),
        unit="mV",
        leads=names,
        out=folder / "c",
        workers=1,
        **options,
    )
    return Corpus(done.path)


def two(n: int = N) -> list[str]:
    return [("AF", "N")[i % 2] for i in range(n)]


def trained(made: starter.Starter, folder: Path) -> dict[str, Any]:
    """Train a first configuration for an epoch, and return it."""
    tree = yaml.safe_load(made.text)
    run = fit(parse_config(tree | {"dim": 8, "train": tree["train"] | {"epochs": 1}}), folder / "run")
    assert len(run.history) == 1
    return tree


def test_a_first_configuration_fits_its_corpus_and_says_why(corpus_path: Path, tmp_path: Path) -> None:
    made = init(corpus_path, tmp_path / "mine.yaml")
    config = read_config(tmp_path / "mine.yaml")
    corpus = Corpus(corpus_path)
    prepared = prepare(config)
    assert (config.task, config.window_s) == ("superdiagnostic", 10.0)
    assert list(config.views) == ["wave", "stft", "meta"]
    assert prepared.model.spec.leads == corpus.leads
    assert made.seconds_per_epoch > 0
    for said in ("160 records at 100 Hz", "any number of classes a record", "for 20 epochs here", "NORM "):
        assert said in made.text
    assert config.train.batch_size == 8  # some steps an epoch
    with pytest.raises(EcgprismError, match="exists already; choose another file"):
        init(corpus_path, tmp_path / "mine.yaml")
    with pytest.raises(EcgprismError, match="no task 'rythm'"):
        first_configuration(corpus, "rythm")


@pytest.mark.parametrize(
    ("samples", "rate_hz", "window_s", "spectrogram"),
    [
        (30, 100, 0.5, {"window_s": 0.1, "hop_s": 0.025}),  # shorter than the shortest window
        (300, 50, 6.0, {"high_hz": 25.0}),
        (12, 20, 0.6, "none"),  # two samples are no frame
    ],
)
def test_window_and_spectrogram_fit_the_length_and_the_rate(
    tmp_path: Path, samples: int, rate_hz: float, window_s: float, spectrogram: dict[str, float] | str | None
) -> None:
    found = first_configuration(at_rate(tmp_path, samples, rate_hz))
    tree = trained(found, tmp_path)
    assert tree["window_s"] == window_s
    assert "meta" not in tree["views"]
    assert "lead_dropout" not in tree["augment"]
    if spectrogram == "none":
        assert list(tree["views"]) == ["wave"]
        assert "no spectrogram: 0.6 s at 20 Hz are too short for one" in found.text
    else:
        assert tree["views"]["stft"]["view"] == ({"spectrogram": spectrogram} if spectrogram else "spectrogram")


def at_rate(folder: Path, samples: int, rate_hz: float) -> Corpus:
    """Return a corpus of another rate than the usual one."""
    signals = np.random.default_rng(0).normal(0, 0.2, (N, 1, samples)).astype(np.float32)
    np.save(folder / "X.npy", signals)
    (folder / "y.csv").write_text("labels\n" + "\n".join(two()) + "\n")
    options = {"labels": str(folder / "y.csv"), "rate_hz": rate_hz, "unit": "mV", "leads": "II"}
    return Corpus(ep.ingest("arrays", folder / "X.npy", folder / "c", rate_hz=rate_hz, options=options, workers=1).path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "b", "a", "b", "a"], r"task labels: too few records to learn from: a class needs 10 .* \(a 3, b 2\)"),
        ([["a"]] * 30, "every record has the one class 'a': there is nothing to tell it from"),
        (["a"] * 29 + ["b"] * 3, r"one class alone has 10 records, .* \(a 29, b 3\)"),
        ([["a"]] * 30 + [["a", "b"]] * 3, "one class alone has 10 records"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path: Path, labels: list[Any], said: str) -> None:
    with pytest.raises(EcgprismError, match=said) as error:
        init(corpus_of(tmp_path, labels).path, tmp_path / "mine.yaml")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "mine.yaml").exists()


def test_rare_classes_are_left_out_and_named(tmp_path: Path) -> None:
    labels = [[*two()[i : i + 1], *(["rare\nname"] if i < 3 else [])] for i in range(N)]
    made = first_configuration(corpus_of(tmp_path, labels))
    tree = trained(made, tmp_path)
    assert tree["min_positives"] == 10
    assert "# too few to learn from: rare name 3\n" in made.text  # and its line break ends no comment


def test_a_class_that_training_lacks_is_left_out_and_a_validation_of_one_kind_is_judged_by_loss(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [["late"] if i >= 48 else ["N"] if i % 2 else [] for i in range(N)])
    splits = ["train"] * 36 + ["val"] * 12 + ["test"] * 12
    made = first_configuration(corpus.with_splits(splits))
    tree = yaml.safe_load(made.text)
    assert tree["classes"] == ["N"]
    assert "min_positives" not in tree
    assert "# without late, of which training has none" in made.text
    assert "monitor" not in tree["train"]
    rows = corpus.with_splits([("val" if i % 2 else "train") if i < 24 else "train" for i in range(N)])
    made = first_configuration(rows)
    assert yaml.safe_load(made.text)["train"]["monitor"] == "loss"


def test_metadata_columns_that_say_something_are_used_and_the_others_named(tmp_path: Path) -> None:
    metadata = pd.DataFrame(
        {
            "age": [40.0 + i % 30 for i in range(N)],
            "site": [("Bern", "Oslo")[i % 2] for i in range(N)],
            "height": [170.0 + i % 9 if i % 2 else None for i in range(N)],
            "visit": [f"v{i}" for i in range(N)],
            "device": ["one"] * N,
        }
    )
    made = first_configuration(corpus_of(tmp_path, two(), metadata=metadata))
    assert yaml.safe_load(made.text)["views"]["meta"]["view"] == {"metadata": {"columns": ["age", "site"]}}
    text = " ".join(made.text.replace("\n#", " ").split())
    assert "Metadata left out: device (all the same), height (50% missing), visit (48 different words)" in text


def test_the_batch_fits_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(tmp_path, two(200), samples=100)
    assert yaml.safe_load(first_configuration(corpus).text)["train"]["batch_size"] == 16
    monkeypatch.setattr(starter, "_free_bytes", lambda device: 20e6)
    assert yaml.safe_load(first_configuration(corpus).text)["train"]["batch_size"] < 16
