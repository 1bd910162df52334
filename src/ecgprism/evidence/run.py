"""A finished training as evidence takes it up: its card, its configuration, the data that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.config import Config, read_config
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.errors import EcgprismError
from ecgprism.interface.answers import Answers, decide, threshold_columns
from ecgprism.interface.card import Card
from ecgprism.interface.storage import read_card
from ecgprism.metrics.contrasts import primary
from ecgprism.model.prism import PrismModel
from ecgprism.training.folder import CONFIG


@dataclass(frozen=True)
class Run:
    """A run folder, opened; what is not asked for is not loaded. `moved_to` is where its corpus is now."""

    folder: Path
    card: Card
    moved_to: Path | None = None

    @classmethod
    def open(cls, folder: str | Path, corpus: str | Path | None = None) -> Run:
        """Open a run folder, its corpus being where it was or at `corpus`. Raises EcgprismError for no model in it."""
        return cls(Path(folder), read_card(folder), None if corpus is None else Path(corpus))

    @cached_property
    def config(self) -> Config:
        """The configuration that it was trained by."""
        return read_config(self.folder / CONFIG)

    @cached_property
    def model(self) -> PrismModel:
        """The model."""
        return PrismModel.load(self.folder)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus, with the splits that it was trained on; it may have changed since. Raises EcgprismError."""
        path = self.moved_to or self.config.corpus
        if not path.exists():
            raise EcgprismError(
                f"{path.absolute()}: the corpus of {self.folder} is not there; say where with --corpus (corpus=)"
            )
        corpus = Corpus(path)
        if self.config.fold is None:
            return corpus
        return corpus.folded(corpus.task(self.config.task)[0], self.config.fold)

    @property
    def metric(self) -> str:
        """The metric that counts."""
        return primary(self.card.task_name, self.card.classes)

    def trained_on(self, corpus: Corpus) -> bool:
        """Whether a corpus is, unchanged and with its splits, what the run was trained on."""
        return corpus.fingerprint == self.card.fingerprint

    def examples(self, *splits: str) -> Examples:
        """Return what it was trained to classify in some splits of its own corpus. Raises EcgprismError for none."""
        examples = self.corpus.select(self.card.task_name, splits, self.card.classes)
        if not len(examples):
            raise EcgprismError(
                f"{self.corpus.path}: no record of split {', '.join(splits)} has a label of task {self.card.task_name}"
            )
        return examples


def answers_on(
    corpus: Corpus, examples: Examples, card: Card, probabilities: NDArray[np.float64],
    thresholds: Sequence[float] | None = None,
) -> Answers:  # fmt: skip
    """Return a model's answers on examples of a corpus, decided by its own thresholds or by others."""
    names = corpus.records["record_id"].to_numpy()[examples.record]
    return Answers(
        card.kind,
        card.classes,
        tuple(zip(map(str, names), examples.start.tolist(), strict=True)),
        probabilities,
        decide(probabilities, card.kind, card.thresholds if thresholds is None else thresholds),
        examples.cluster,
        examples.target,
    )


def as_table(
    corpus: Corpus, examples: Examples, answers: Answers, thresholds: Sequence[float] | None = None
) -> pd.DataFrame:
    """Return one row per item: record, patient, cluster of patients, split, target, probability, threshold by class."""
    records = corpus.records.iloc[examples.record]
    columns = {
        "record_id": records["record_id"].to_numpy(),
        "patient_id": records["patient_id"].to_numpy(),
        "cluster": examples.cluster,
        "split": records["split"].to_numpy(),
        "start": examples.start,
        **answers.columns(),
        **threshold_columns(answers.kind, answers.classes, thresholds),
    }
    return pd.DataFrame(columns)
