"""The first configuration of a corpus: valid, trainable, with its reasons, and never over another file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ecgprism.config import read_config
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.training.preparation import prepare
from ecgprism.training.starter import first_configuration, write_starter


def test_a_first_configuration_fits_its_corpus_and_says_why(corpus_path: Path, tmp_path: Path) -> None:
    made = write_starter(corpus_path, tmp_path / "mine.yaml")
    config = read_config(tmp_path / "mine.yaml")
    corpus = Corpus(corpus_path)
    prepared = prepare(config)
    assert (config.task, config.window_s) == ("superdiagnostic", 10.0)
    assert list(config.views) == ["wave", "stft", "meta"]
    assert prepared.model.spec.leads == corpus.leads
    assert made.seconds_per_epoch > 0
    for said in ("160 records at 100 Hz", "any number of classes", "s an epoch here", "NORM "):
        assert said in made.text
    assert yaml.safe_load(made.text)["train"]["epochs"] > 1
    with pytest.raises(FileExistsError):
        write_starter(corpus_path, tmp_path / "mine.yaml")
    with pytest.raises(EcgprismError, match="no task 'rythm'"):
        first_configuration(corpus, "rythm")
