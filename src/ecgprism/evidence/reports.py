"""The reports that evidence is written down in: one class for each JSON file, read by terminal and plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgprism.errors import EcgprismError, first_problem, one_line
from ecgprism.files import atomic
from ecgprism.interface.answers import Answers
from ecgprism.interface.card import Aggregate, Kind
from ecgprism.markup import Grid, page
from ecgprism.metrics.contrasts import Scores
from ecgprism.metrics.intervals import Difference, Estimate, Number

LONGEST_LINE = 300


class Report(BaseModel):
    """A report: plain numbers and words, NaN (undefined) as null in JSON; short in one line, whole in a notebook."""

    model_config = ConfigDict(frozen=True)

    @property
    def headline(self) -> str:
        """What it finds, in short."""
        return ""

    @property
    def grids(self) -> list[Grid]:
        """Its tables."""
        return []

    def __repr__(self) -> str:
        """Return what it finds, in one line."""
        return f"{type(self).__name__}({one_line(self.headline, LONGEST_LINE) if self.headline else ''})"

    def __str__(self) -> str:
        """Return the same."""
        return repr(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        notes = getattr(self, "notes", ())
        return page(type(self).__name__, {"": self.headline}, self.grids, notes)

    def to_json(self) -> str:
        """Return what its file holds."""
        return self.model_dump_json(indent=2) + "\n"

    def write(self, file: Path) -> None:
        """Write its file, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as path:
            path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read its file. Raises EcgprismError naming what is not as expected: damage, or another version."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise EcgprismError(f"{file}: {error.strerror or error}") from None
        except ValidationError as error:
            raise EcgprismError(
                f"{file}: damaged, or of another version of ecgprism ({first_problem(error)})"
            ) from None


def metrics_grid(metrics: Mapping[str, Estimate]) -> Grid:
    """Return every metric with its interval."""
    return Grid(("metric", "value, 95% interval"), list(metrics.items()))


def classes_grid(per_class: Mapping[str, Mapping[str, Estimate]], positives: Mapping[str, int]) -> Grid:
    """Return the classes with their items and metrics, the most frequent first."""
    order = sorted(per_class, key=lambda name: -positives[name])
    keys = list(per_class[order[0]]) if order else []
    return Grid(("class", "n", *keys), [[name, positives[name], *per_class[name].values()] for name in order])


class Terms(Report):
    """On what terms models are judged: classes, thresholds of the decisions (multi-label), the metric that counts."""

    kind: Kind
    classes: tuple[str, ...]
    metric: str
    thresholds: tuple[float, ...] | None = None


class Support(BaseModel):
    """What a result rests on: `fewest` is the smallest number of patients with, or without, a class; `of` which one."""

    model_config = ConfigDict(frozen=True)

    items: int
    patients: int
    fewest: int
    of: str

    @classmethod
    def count(cls, answers: Answers) -> Support:
        """Count the items, the patients, and the patients on the smaller side of each class."""
        target, patients = answers.truth, answers.patients
        sides = {}
        for k, label in enumerate(answers.classes):
            for side, rows in ((label, target[:, k]), (f"no {label}", ~target[:, k])):
                sides[side] = len(np.unique(patients[rows]))
        of = min(sides, key=sides.__getitem__)
        return cls(items=len(answers), patients=len(np.unique(patients)), fewest=sides[of], of=of)

    def __str__(self) -> str:
        """Say it."""
        return f"{self.items} items of {self.patients} patients ({self.fewest} of them with {self.of}, the fewest)"


class EvaluationReport(Terms):
    """metrics.json: a run on a test split, or on another corpus."""

    run: str
    corpus: str
    fingerprint: str
    external: bool
    task: str
    split: str
    items: int
    records: int
    patients: int
    unknown_patients: int
    left_out: int  # items of the split without a label of the task
    other_classes: dict[str, int]  # items with a class that the model does not know: left out, or negatives
    unlabelled: tuple[str, ...]  # classes of the model that the corpus has no labels of: without metrics
    positives: dict[str, int]
    aggregate: Aggregate
    temperature: float
    rules: dict[str, str]
    notes: list[str]
    resamples: int
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: list[list[int]] | None = None

    @property
    def headline(self) -> str:
        """The metric that counts, and on what."""
        on = f"{self.items} items of {self.patients} patients, split {self.split} of {self.corpus}"
        return f"{self.run}: {self.metric} {self.metrics[self.metric]} on {on}"

    @property
    def grids(self) -> list[Grid]:
        """Every metric; by class, the most frequent first."""
        return [metrics_grid(self.metrics), classes_grid(self.per_class, self.positives)]


class RunReport(BaseModel):
    """One of the runs that are compared: its scores."""

    run: str
    metrics: dict[str, Estimate]


class Discordance(BaseModel):
    """How many items only the first, and only the second of two runs has right, and the test of that."""

    only_first: int
    only_second: int
    p: Number
    p_holm: Number | None = None
    test: Literal["McNemar", "clustered bootstrap"]


class PairReport(BaseModel):
    """Two runs beside each other; by class the `delong`, `auroc` and `f1` differences, the first minus the second."""

    first: str
    second: str
    metrics: dict[str, Difference]
    per_class: dict[str, dict[str, Difference]]
    accuracy: Discordance


class ComparisonReport(Terms):
    """What `ecgprism compare` finds: every run, every pair of them."""

    items: int
    patients: int
    repeated_patients: bool
    positives: dict[str, int]
    resamples: int
    rules: dict[str, str]
    runs: list[RunReport]
    pairs: list[PairReport]

    @property
    def headline(self) -> str:
        """The metric that counts, by run."""
        scores = "; ".join(f"{each.run}: {self.metric} {each.metrics[self.metric]}" for each in self.runs)
        return f"{scores}; on {self.items} items of {self.patients} patients"

    @property
    def grids(self) -> list[Grid]:
        """Runs, and the differences of every pair."""
        keys = list(self.runs[0].metrics) if self.runs else []
        runs = [[each.run, *(each.metrics[key] for key in keys)] for each in self.runs]
        pairs = [[f"{pair.first} - {pair.second}", *(pair.metrics[key] for key in keys)] for pair in self.pairs]
        return [Grid(("run", *keys), runs), Grid(("paired difference", *keys), pairs)]


class Costs(BaseModel):
    """What a side of a ledger costs, means over folds; None for what is not trained by itself."""

    members: float | None = None
    parameters: int | None = None
    training_seconds: float | None = None
    inference_ms: float | None = None


class ModelReport(Scores[Estimate], Costs):
    """A side of a ledger: scores and costs."""


class Worth(BaseModel):
    """What one view is worth: alone, to the whole (trained without it), its Shapley value; in a sentence too."""

    alone: Estimate
    fused_minus_without: Difference
    shapley: Difference
    sentence: str


class LedgerReport(Terms):
    """ledger.json: what every view of a model is worth. `differences` are named `first - second`."""

    corpus: str
    fingerprint: str
    views: tuple[str, ...]
    fusion: str | dict[str, dict[str, Any]]  # as the configuration has it
    seeds: int
    folds: int
    threads: int
    items: int
    patients: int
    positives: dict[str, int]
    support: Support
    resamples: int
    best_single: dict[str, str]
    rules: dict[str, str]
    notes: list[str]
    models: dict[str, ModelReport]
    differences: dict[str, Scores[Difference]]
    shapley: dict[str, dict[str, Difference]]
    coalitions: dict[str, dict[str, Estimate]]
    worth: dict[str, Worth]
    verdict: str

    @property
    def headline(self) -> str:
        """The verdict."""
        return self.verdict

    @property
    def grids(self) -> list[Grid]:
        """Models, paired differences, and what each view is worth."""
        models = [[name, each.metrics[self.metric]] for name, each in self.models.items()]
        differences = [[name, each.metrics[self.metric]] for name, each in self.differences.items()]
        worth = [[view, each.alone, each.shapley, each.sentence] for view, each in self.worth.items()]
        return [
            Grid(("model", self.metric), models),
            Grid(("paired difference", self.metric), differences),
            Grid(("view", "alone", "Shapley value", "what it is worth"), worth),
        ]


class ConditionReport(BaseModel):
    """One disturbance: every model's score, the first one's change from clean, the share it kept, its lead over others.

    `level` is in the unit of the family: dB, times, Hz, s, percent.
    """

    family: str
    name: str
    level: float | None
    models: dict[str, Estimate]
    change: Difference
    kept: Number
    over: dict[str, Difference]

    @property
    def title(self) -> str:
        """Family, name and level in one."""
        if self.family == "clean":
            return self.name
        return f"{self.family}: {self.name}" + (f" {self.level:g} dB" if self.family in ("noise", "mains") else "")


class StressReport(Terms):
    """stress.json: a run under every disturbance, the worst first."""

    run: str
    corpus: str
    split: str
    items: int
    patients: int
    models: dict[str, str]
    noise: dict[str, Literal["recorded", "simulated"]]
    skipped: dict[str, str]
    resamples: int
    clean: ConditionReport
    conditions: list[ConditionReport] = Field(default_factory=list)

    @property
    def headline(self) -> str:
        """The score on clean recordings, and the worst condition."""
        first = next(iter(self.models))
        worst = f"; worst: {self.conditions[0].title} {self.conditions[0].models[first]}" if self.conditions else ""
        return f"{self.run}: {self.metric} {self.clean.models[first]} clean{worst}"

    @property
    def grids(self) -> list[Grid]:
        """Every model under every condition, the worst first."""
        rows = [[row.title, *row.models.values(), row.change] for row in (self.clean, *self.conditions)]
        return [Grid(("condition", *self.models, "change"), rows)]
