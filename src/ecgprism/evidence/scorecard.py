"""report(): what anybody's predictions are worth, no model of ours needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from ecgprism.errors import ConfigError, listed, warn
from ecgprism.evidence.evaluation import measure
from ecgprism.evidence.reports import Report, classes_grid, metrics_grid
from ecgprism.evidence.verdicts import LEAST_PATIENTS
from ecgprism.interface.answers import Answers, decide
from ecgprism.interface.card import Kind
from ecgprism.markup import Grid
from ecgprism.metrics.contrasts import primary
from ecgprism.metrics.intervals import Estimate


class Scorecard(Report):
    """Every metric with its 95% interval over patients, global ones and by class."""

    kind: Kind
    classes: tuple[str, ...]
    items: int
    patients: int
    positives: dict[str, int]
    resamples: int
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    notes: list[str] = Field(default_factory=list)

    def value(self, name: str) -> tuple[float, float, float]:
        """Return value, low and high of a metric by name."""
        found = self.metrics[name]
        return found.value, found.low, found.high

    @property
    def headline(self) -> str:
        """The mean area under the ROC curve, and on what."""
        return f"macro_auroc {self.metrics['macro_auroc']} on {self.items} items of {self.patients} patients"

    @property
    def grids(self) -> list[Grid]:
        """Every metric; by class, the most frequent first."""
        return [metrics_grid(self.metrics), classes_grid(self.per_class, self.positives)]

    def __str__(self) -> str:
        """Return the metrics as lines of text."""
        rows = [f"{name:18} {each}" for name, each in self.metrics.items()]
        return "\n".join([f"{self.items} items of {self.patients} patients, {self.kind}", *rows])


def report(
    targets: Any,
    probabilities: ArrayLike,
    patients: Sequence[Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    kind: Kind | None = None,
    thresholds: ArrayLike | None = None,
    task: str = "",
    resamples: int = 1000,
    seed: int = 0,
    note: Callable[[str], None] = warn,
) -> Scorecard:
    """Return the scorecard of probabilities (N, K) against targets: class numbers (N,), or 0 and 1 (N, K).

    Intervals resample `patients` (N,), each item by itself where they are not given. `kind` is multi-class when every
    row has exactly one class. `thresholds` (K,) decide multi-label answers (0.5): take them from validation data.
    `note` is told what the reader of the numbers should know (a warning). Raises ConfigError for shapes that do not fit
    and for what is no probability.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim == 1:
        p = np.column_stack([1 - p, p])
    if p.ndim != 2 or not len(p):
        raise ConfigError(f"probabilities: shape {p.shape}; expected (N, K)")
    if not ((p >= 0) & (p <= 1)).all():
        raise ConfigError("probabilities: some are no numbers from 0 to 1 (of logits take a sigmoid or a softmax)")
    truth = _targets(targets, p.shape)
    kind = kind or ("multiclass" if (truth.sum(axis=1) == 1).all() else "multilabel")
    names = tuple(map(str, classes)) if classes is not None else tuple(f"class {k}" for k in range(p.shape[1]))
    if len(names) != p.shape[1]:
        raise ConfigError(f"classes: {len(names)} names for {p.shape[1]} columns of probabilities")
    if patients is not None and len(patients) != len(p):
        raise ConfigError(f"patients: {len(patients)} rows for {len(p)} rows of probabilities")
    numbers = np.arange(len(p)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    item = tuple((str(n), 0) for n in range(len(p)))
    answers = Answers(kind, names, item, p, decide(p, kind, thresholds), numbers, truth)
    found = measure(answers, primary(task, names), resamples, seed)
    notes = _notes(answers)
    for said in notes:
        note(said)
    return Scorecard(
        kind=kind, classes=names, items=len(p), patients=len(np.unique(numbers)),
        positives=dict(zip(names, truth.sum(axis=0).tolist(), strict=True)), resamples=resamples,
        metrics=found.metrics, per_class=found.per_class, notes=notes,
    )  # fmt: skip


def _notes(answers: Answers) -> list[str]:
    """Return what makes metrics undefined, or their intervals too narrow."""
    counts = answers.truth.sum(axis=0)
    none = [name for name, count in zip(answers.classes, counts, strict=True) if not 0 < count < len(answers)]
    patients = len(np.unique(answers.patients))
    narrow = f"{patients} patients, fewer than {LEAST_PATIENTS}: intervals over so few cover less than they say"
    said = [
        f"without items, or in all of them: {listed(none, 30)}: their AUROC, and all means over classes, are undefined"
    ]
    return [*(said if none else ()), *([narrow] if patients < LEAST_PATIENTS else ())]


def _targets(targets: Any, shape: tuple[int, ...]) -> np.ndarray:
    held = np.asarray(targets)
    if held.ndim == 1 and held.dtype.kind in "iub" and len(held) == shape[0]:
        if held.min() < 0 or held.max() >= shape[1]:
            raise ConfigError(f"targets: class numbers {held.min()} to {held.max()}; expected 0 to {shape[1] - 1}")
        return np.arange(shape[1]) == held.astype(np.int64)[:, None]
    if held.shape != shape or not np.isin(held, (0, 1)).all():
        raise ConfigError(
            f"targets: {held.dtype} of shape {held.shape}; expected class numbers (N,) or 0 and 1 {shape}"
        )
    return held.astype(bool)
