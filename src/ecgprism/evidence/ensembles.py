"""Ensembles: models that answer together, their probabilities averaged. Axis legend: N items, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.interface.answers import Answers
from ecgprism.interface.card import is_multiclass
from ecgprism.interface.storage import read_card
from ecgprism.metrics import calibration
from ecgprism.metrics.scores import Floats
from ecgprism.training.folder import TEST, VALIDATION, read_facts


@dataclass(frozen=True)
class Ensemble:
    """Models that answer together: probabilities averaged, thresholds (multi-label) from their validation; costs."""

    members: int
    parameters: int
    training_seconds: float
    inference_ms: float
    validation: Answers
    test: Answers
    thresholds: Floats | None

    def decide(self, probabilities: NDArray[np.float64]) -> Answers:
        """Return other probabilities (N, K) on the test's items, decided by this ensemble's thresholds."""
        return self.test.saying(probabilities, self.thresholds)


def ensemble(runs: Sequence[Path]) -> Ensemble:
    """Return the models of finished trainings as one ensemble."""
    card = read_card(runs[0])
    facts = [read_facts(run) for run in runs]
    tables = {name: [pd.read_parquet(run / name) for run in runs] for name in (VALIDATION, TEST)}
    answers = {name: [Answers.from_table(t, card.kind, card.classes) for t in each] for name, each in tables.items()}
    return together(
        parameters=sum(fact["parameters"] for fact in facts),
        training_seconds=sum(fact["training_seconds"] for fact in facts),
        inference_ms=sum(table.attrs["inference_ms"] for table in tables[TEST]),
        validation=answers[VALIDATION],
        test=answers[TEST],
    )


def average(ensembles: Sequence[Ensemble]) -> Ensemble:
    """Return the plain average of several ensembles' probabilities."""
    return together(
        parameters=sum(each.parameters for each in ensembles),
        training_seconds=sum(each.training_seconds for each in ensembles),
        inference_ms=sum(each.inference_ms for each in ensembles),
        validation=[each.validation for each in ensembles],
        test=[each.test for each in ensembles],
    )


def together(
    *, parameters: int, training_seconds: float, inference_ms: float, validation: Sequence[Answers],
    test: Sequence[Answers],
) -> Ensemble:  # fmt: skip
    """Return the ensemble of these answers, with thresholds from validation."""
    validated = Answers.mean(validation)
    thresholds = None
    if not is_multiclass(validated.kind):
        thresholds = calibration.best_thresholds(validated.truth, validated.probabilities)
    tested = Answers.mean(test, thresholds)
    return Ensemble(
        len(test), parameters, training_seconds, inference_ms, validated.decide(thresholds), tested, thresholds
    )
