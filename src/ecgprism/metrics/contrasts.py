"""Models beside each other on the same items: their scores, and contrasts of them, under the same resamples.

Axis legend: N items, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from pydantic import BaseModel

from ecgprism.interface.answers import Answers
from ecgprism.metrics import scores
from ecgprism.metrics.intervals import Difference, Estimate, Interval, bootstrap
from ecgprism.metrics.scores import Floats

PER_CLASS = ("auroc", "f1")
CINC2017, AUROC = "cinc2017_f1", "macro_auroc"

Pair = tuple[str, str]
#: by model the weight of its score; the weights sum to 0: a difference of two models, a Shapley value
Contrast = Mapping[str, float]
E = TypeVar("E", bound=Estimate)


class Scores(BaseModel, Generic[E]):
    """What is estimated of a model, or of a contrast: by metric, and by class and metric."""

    metrics: dict[str, E]
    per_class: dict[str, dict[str, E]]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of models by name, and of contrasts by the two names in them."""

    models: Mapping[str, Scores[Estimate]]
    contrasts: Mapping[Pair, Scores[Difference]]


def primary(task: str, classes: tuple[str, ...]) -> str:
    """Return the metric that models of a task are judged by: the challenge's own for the rhythms of CinC 2017."""
    rhythms = {"N", "A", "O"} <= set(classes) <= {"N", "A", "O", "~"}
    return CINC2017 if task == "rhythm" and rhythms else AUROC


def essentials(answers: Answers, metric: str, weights: Floats | None = None) -> dict[str, Floats]:
    """Return what models are compared by: `auroc` and `f1` per class, their macro means, accuracy, and `metric`.

    Values are () and (K,), for weights (R, N) they are (R,) and (R, K).
    """
    target, decided = answers.truth, answers.decided
    f1 = scores.rates(target, decided, weights).f1
    per_class = {"auroc": scores.auroc(target, answers.probabilities, weights), "f1": f1}
    out = {f"macro_{name}": scores.macro(values) for name, values in per_class.items()}
    out["accuracy"] = scores.accuracy(target, decided, weights)
    if metric == CINC2017:
        out[CINC2017] = scores.cinc2017_f1(f1, answers.classes)
    return out | per_class


def tabulate(
    models: Mapping[str, Answers], contrasts: Mapping[Pair, Contrast], metric: str, resamples: int = 1000, seed: int = 0
) -> ScoreTable:
    """Score models on the same items, in the same order, and contrasts of their scores, resampled by patient."""
    first = next(iter(models.values()))

    def statistic(weights: Floats | None) -> dict[tuple[str | Pair, str], Floats]:
        by_model = {name: essentials(answers, metric, weights) for name, answers in models.items()}
        found: dict[tuple[str | Pair, str], Floats] = {
            (name, key): values for name, each in by_model.items() for key, values in each.items()
        }
        for row, parts in contrasts.items():
            for key in by_model[next(iter(parts))]:
                each = [weight * by_model[name][key] for name, weight in parts.items()]
                found[row, key] = np.sum(each, axis=0)
        return found

    found = bootstrap(statistic, first.patients, resamples, seed)
    return ScoreTable(
        {name: _scores(found, name, first.classes, Interval.estimate) for name in models},
        {row: _scores(found, row, first.classes, Interval.difference) for row in contrasts},
    )


def _scores(
    found: Mapping[tuple[str | Pair, str], Interval], row: str | Pair, classes: Sequence[str],
    plain: Callable[[Interval], E],
) -> Scores[E]:  # fmt: skip
    of_row = {key: interval for (other, key), interval in found.items() if other == row}
    return Scores[E](
        metrics={key: plain(interval) for key, interval in of_row.items() if key not in PER_CLASS},
        per_class={label: {key: plain(of_row[key][k]) for key in PER_CLASS} for k, label in enumerate(classes)},
    )


def minus(first: str, second: str) -> Contrast:
    """Return the contrast of one model minus another."""
    return {first: 1.0, second: -1.0}
