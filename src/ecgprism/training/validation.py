"""Validation after an epoch: what is measured, uncalibrated, and the card of a model that is kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.interface.answers import decide
from ecgprism.interface.card import Card
from ecgprism.interface.scoring import FUSED, Scores
from ecgprism.metrics.calibration import best_thresholds, temperature
from ecgprism.metrics.scores import accuracy, auroc, rates
from ecgprism.training import losses


@dataclass(frozen=True)
class Validation:
    """The validation split as inputs of a model."""

    inputs: CorpusAssembler

    @property
    def target(self) -> NDArray[np.bool_]:
        """The labels (N, K)."""
        return self.inputs.examples.target

    def measured(self, scores: Scores, class_weight: Tensor) -> dict[str, float]:
        """Return losses and metrics by their names in the log; macro means are over the classes that are there."""
        target, probabilities = self.target, scores.probabilities
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no class is defined: NaN is the answer
            return {
                **losses.on_validation(scores, target, class_weight),
                "val_macro_auroc": float(np.nanmean(auroc(target, probabilities))),
                "val_macro_f1": float(np.nanmean(rates(target, decide(probabilities, scores.card.kind)).f1)),
                "val_accuracy": float(accuracy(target, decide(probabilities, scores.card.kind))),
            }

    def calibrated(self, scores: Scores) -> Card:
        """Return a card with temperature (Guo et al. 2017) and thresholds.

        The model that trains on keeps its own card: epochs are compared at temperature 1, resumed or not.
        """
        logits, kind = scores.logits[FUSED], scores.card.kind
        found = temperature(logits, self.target[scores.window_item], kind)
        card = scores.card.model_copy(update={"temperature": found})
        if kind == "multilabel":
            card.thresholds = tuple(best_thresholds(self.target, scores.combine(logits, card)).tolist())
        return card
