"""Distillation: what trained models say of the training items, mixed into their labels (Hinton, Vinyals and Dean 2015).

An item is judged by the teachers that were not trained on its recording, where there are any: what a network says of
its own training data is little more than the label. Axis legend: N items, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgprism.config import Distill, read_config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.errors import EcgprismError, listed
from ecgprism.interface.card import Task
from ecgprism.interface.scoring import score
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.training.folder import CONFIG

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Targets (N, K) of the training items, labels and teachers' probabilities mixed; `notes` say who judged what."""

    target: NDArray[np.float32]
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained model and the names of the recordings that it was trained on, or that chose its epoch."""

    folder: Path
    model: PrismModel
    seen: frozenset[str]

    @classmethod
    def open(cls, folder: Path, student: Corpus) -> Teacher:
        """Open a run's folder. Raises EcgprismError for none, and where its own data cannot be told any more."""
        config_file = folder / CONFIG
        if not config_file.is_file():
            raise EcgprismError(f"{folder}: is no run's folder ({CONFIG} is missing), so what it has seen is unknown")
        config, model = read_config(config_file), PrismModel.load(folder)
        corpus = Corpus(config.corpus) if config.corpus.exists() else student
        if config.fold is not None:
            corpus = corpus.folded(model.card.task_name, config.fold)
        if corpus.fingerprint != model.card.fingerprint:
            raise EcgprismError(
                f"{folder}: its corpus {config.corpus} is gone or has changed, so what it has seen is unknown"
            )
        learnt = corpus.records["split"].isin(["train", "val"])
        return cls(folder, model, frozenset(corpus.records["record_id"][learnt]))


def lesson(
    options: Distill, corpus: Corpus, task: Task, examples: Mapping[str, Examples], progress: Progress = lambda *_: None
) -> Lesson:
    """Return what the teachers make of the training items of a student, and the student's test split none of theirs.

    Raises EcgprismError for a teacher of other classes or rate, and for one that was trained on a recording that the
    student is to be tested on: the student would learn of it, too.
    """
    names = corpus.records["record_id"].to_numpy()
    train, held_out = examples["train"], set(names[examples["test"].record])
    of_items = names[train.record]
    sums = {seen: np.zeros(train.target.shape) for seen in (False, True)}
    counts = {seen: np.zeros(len(train), dtype=np.int64) for seen in (False, True)}
    for number, folder in enumerate(options.teachers, start=1):
        teacher = Teacher.open(folder, corpus)
        _check(teacher, corpus, task, held_out)
        has_seen = np.isin(of_items, list(teacher.seen))
        for seen in (False, True):
            # of what it has seen it says something only where nobody else can
            items = np.flatnonzero(has_seen == seen)
            if len(items):
                sums[seen][items] += _probabilities(teacher.model, corpus, train.at(items), task)
                counts[seen][items] += 1
        progress(number, len(options.teachers))
    unseen = counts[False] > 0
    total = np.where(unseen[:, None], sums[False], sums[True])
    soft = total / np.where(unseen, counts[False], counts[True])[:, None]
    target = (1 - options.soft) * train.target + options.soft * soft
    return Lesson(target.astype(np.float32), [_said(unseen, counts[False], len(options.teachers))])


def _check(teacher: Teacher, corpus: Corpus, task: Task, held_out: set[str]) -> None:
    card = teacher.model.card
    if card.kind != task.kind or set(card.classes) != set(task.classes):
        raise EcgprismError(
            f"{teacher.folder}: teaches {card.kind} {', '.join(card.classes)}, the student learns {task.kind} "
            f"{', '.join(task.classes)}"
        )
    if card.rate_hz != corpus.rate_hz:
        raise EcgprismError(f"{teacher.folder}: takes {card.rate_hz:g} Hz, {corpus.path} has {corpus.rate_hz:g} Hz")
    if both := sorted(held_out & teacher.seen):
        raise EcgprismError(
            f"{teacher.folder}: was trained on {len(both)} of the {len(held_out)} recordings that the student is to be "
            f"tested on ({listed(both, 3)}), so the test would tell nothing; give both the same splits (fold=)"
        )


def _probabilities(model: PrismModel, corpus: Corpus, examples: Examples, task: Task) -> NDArray[np.float64]:
    """Return what a model says of items (N, K), in the order of the task's classes."""
    found = score(TorchEngine(model), CorpusAssembler(corpus, examples, model.spec)).probabilities
    return found[:, [model.card.classes.index(name) for name in task.classes]]


def _said(unseen: NDArray[np.bool_], judges: NDArray[np.int64], teachers: int) -> str:
    """Return who judged how many items."""
    if unseen.all():
        return f"{len(unseen)} training items judged by {_span(judges)} that had not seen them"
    seen = f"by {_number(teachers)} that had been trained on them: little more than their labels"
    if not unseen.any():
        return f"all {len(unseen)} training items judged {seen}"
    return (
        f"{unseen.sum()} of {len(unseen)} training items judged by {_span(judges[unseen])} that had not seen them, "
        f"the others {seen}"
    )


def _span(judges: NDArray[np.int64]) -> str:
    low, high = int(judges.min()), int(judges.max())
    return _number(low) if low == high else f"{low} to {high} teachers"


def _number(teachers: int) -> str:
    return f"{teachers} teacher{'s' if teachers > 1 else ''}"
