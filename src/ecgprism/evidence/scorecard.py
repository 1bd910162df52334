"""report(): what anybody's predictions are worth, no model of ours needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from ecgprism.ecg.metadata import patient_id
from ecgprism.ecg.rows import is_array, plain_array, rows_of
from ecgprism.errors import ConfigError, listed, nearest, warn
from ecgprism.evidence.evaluation import measure
from ecgprism.evidence.reports import Report, classes_grid, metrics_grid
from ecgprism.evidence.verdicts import LEAST_PATIENTS
from ecgprism.interface.answers import Answers, decide
from ecgprism.interface.card import Kind
from ecgprism.markup import Grid
from ecgprism.metrics.contrasts import primary
from ecgprism.metrics.intervals import Estimate

SUM_TOLERANCE = 0.02  # of a row of probabilities: rounded ones do


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
    row of targets has exactly one class and every row of probabilities sums to 1. `thresholds` (K,) decide multi-label
    answers (0.5): take them from validation data. Columns of DataFrames go by their names. `note` is told what the
    reader of the numbers should know (a warning). Raises ConfigError for shapes that do not fit and for what is no
    probability.
    """
    if not isinstance(resamples, int) or resamples < 1:
        raise ConfigError(f"resamples = {resamples!r}: expected a number of at least 1")
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed = {seed!r}: expected a number of at least 0")
    names, p = _probabilities(probabilities, classes)
    truth = _targets(targets, p.shape, names)
    kind, notes = _kind(kind, p, truth)
    limits = _thresholds(thresholds, kind, len(names))
    numbers = np.arange(len(p)) if patients is None else _patients(rows_of(patients, "patients"), len(p))
    item = tuple((str(n), 0) for n in range(len(p)))
    answers = Answers(kind, names, item, p, decide(p, kind, limits), numbers, truth)
    found = measure(answers, primary(task, names), resamples, seed)
    notes += _notes(answers)
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
        f"without items, or in all of them: {listed(none, 30)}: their AUROC, and its mean over classes, are undefined"
    ]
    return [*(said if none else ()), *([narrow] if patients < LEAST_PATIENTS else ())]


def _probabilities(given: Any, classes: Sequence[str] | None) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the names of the classes and the probabilities (N, K), columns of a DataFrame by their names."""
    names = None if classes is None else tuple(map(str, rows_of(classes, "classes")))
    if hasattr(given, "columns") and all(isinstance(name, str) for name in given.columns):
        columns = tuple(given.columns)
        names = columns if names is None else names
        if set(names) != set(columns):
            raise ConfigError(f"probabilities: columns {listed(columns, 10)}; classes are {listed(names, 10)}")
        given = given[list(names)]
    try:
        p = np.asarray(plain_array(given, "probabilities") if is_array(given) else given).astype(np.float64)
    except (TypeError, ValueError):
        raise ConfigError("probabilities: expected numbers (N, K)") from None
    if p.ndim == 1:
        p = np.column_stack([1 - p, p])
    if p.ndim != 2 or not len(p):
        raise ConfigError(f"probabilities: shape {p.shape}; expected (N, K)")
    if not ((p >= 0) & (p <= 1)).all():
        raise ConfigError("probabilities: some are no numbers from 0 to 1 (of logits take a sigmoid or a softmax)")
    names = tuple(f"class {k}" for k in range(p.shape[1])) if names is None else names
    if len(names) != p.shape[1]:
        raise ConfigError(f"classes: {len(names)} names for {p.shape[1]} columns of probabilities")
    if len(set(names)) < len(names):
        raise ConfigError(f"classes: {max(names, key=names.count)!r} stands twice")
    return names, p


def _kind(kind: Kind | None, p: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[Kind, list[str]]:
    """Return whether classes exclude each other, by targets and probabilities, and a note where these two disagree."""
    if kind not in (None, *get_args(Kind)):
        raise ConfigError(f"kind = {kind!r}{nearest(str(kind), get_args(Kind))}")
    one, whole = (truth.sum(axis=1) == 1).all(), (np.abs(p.sum(axis=1) - 1) < SUM_TOLERANCE).all()
    if kind == "multiclass" and not one:
        raise ConfigError("kind = 'multiclass': some targets have no class, or several")
    if kind == "multiclass" and not whole:
        raise ConfigError("kind = 'multiclass': some rows of probabilities do not sum to 1 (of logits take a softmax)")
    if kind is not None:
        return kind, []
    if one and not whole:
        said = "one class in every row of targets, but probabilities do not sum to 1: judged as multilabel (kind=)"
        return "multilabel", [said]
    return ("multiclass" if one else "multilabel"), []


def _thresholds(given: ArrayLike | None, kind: Kind, classes: int) -> list[float] | None:
    if given is None:
        return None
    if kind == "multiclass":
        raise ConfigError("thresholds: classes exclude each other (multiclass), the most probable one is the answer")
    found = rows_of(given, "thresholds")
    if len(found) != classes or not all(isinstance(t, int | float) and 0 <= t <= 1 for t in found):
        raise ConfigError(f"thresholds: expected {classes} numbers from 0 to 1, one for each class")
    return [float(t) for t in found]


def _patients(given: Sequence[Any], n: int) -> NDArray[np.int64]:
    """Return a number for each patient (N,); an item of an unknown patient is one by itself, as in a corpus."""
    if len(given) != n:
        raise ConfigError(f"patients: {len(given)} rows for {n} rows of probabilities")
    names = [patient_id(each) for each in given]
    keys = [("", row) if name is None else (name, -1) for row, name in enumerate(names)]
    place = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([place[key] for key in keys], dtype=np.int64)


def _targets(targets: Any, shape: tuple[int, ...], names: tuple[str, ...]) -> NDArray[np.bool_]:
    if hasattr(targets, "columns") and len(targets.columns) > 1 and all(isinstance(c, str) for c in targets.columns):
        if set(targets.columns) != set(names):
            raise ConfigError(f"targets: columns {listed(targets.columns, 10)}; classes are {listed(names, 10)}")
        targets = targets[list(names)]
    held = plain_array(targets, "targets") if is_array(targets) else np.asarray(targets)
    if held.ndim == 2 and held.shape[1] == 1 != shape[1]:
        held = held[:, 0]
    if held.ndim == 1 and held.dtype.kind in "iub" and len(held) == shape[0]:
        if held.min() < 0 or held.max() >= shape[1]:
            raise ConfigError(f"targets: class numbers {held.min()} to {held.max()}; expected 0 to {shape[1] - 1}")
        return np.arange(shape[1]) == held.astype(np.int64)[:, None]
    if held.shape != shape or not np.isin(held, (0, 1)).all():
        raise ConfigError(
            f"targets: {held.dtype} of shape {held.shape}; expected class numbers (N,) or 0 and 1 {shape}"
        )
    return held.astype(bool)
