"""Robustness: what a model keeps when the signal is bad or a part of it is missing, fused against single views.

Axis legend: N items of the test, K classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.config import read_config
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.ecg.qrs import find_r_peaks
from ecgprism.ecg.recorded_noise import RecordedNoise
from ecgprism.errors import EcgprismError
from ecgprism.evidence.disturbance import FAMILIES, KINDS, Condition, Recorded, Setting, conditions
from ecgprism.evidence.evaluation import answers_on, trained_on
from ecgprism.files import atomic
from ecgprism.interface.answers import Answers
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.interface.scoring import score
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.scores import Floats
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.training.folder import CONFIG, STRESS

CHUNK = 256  # items scored at a time


@dataclass(frozen=True)
class Subject:
    """A model under stress, with the names under which its answers are reported."""

    name: str
    model: PrismModel
    run: Path


def stress(
    run: str | Path,
    *,
    against: Sequence[str | Path] = (),
    noise: str | Path | None = None,
    families: Collection[str] = tuple(FAMILIES),
    split: str = "test",
    records: int | None = None,
    out: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Test a run under every condition that its corpus allows, and write stress.json into it, or into `out`.

    Beside the fused answer stand those of each view's own head, and of further runs (`against`), on the same disturbed
    recordings. `noise` names a folder with records of the noise stress test database: their second halves are used,
    and kinds that it lacks are simulated. `records` takes only that many recordings. Raises EcgprismError.
    """
    run = Path(run)
    model = PrismModel.load(run)
    corpus = trained_on(read_config(run / CONFIG))
    if corpus.fingerprint != model.card.fingerprint:
        raise EcgprismError(f"{corpus.path}: has changed since {run} was trained")
    subjects = [Subject("fused" if len(model.branches) > 1 else next(iter(model.branches)), model, run)]
    subjects += [_further(Path(other), subjects[0]) for other in against]
    examples = _chosen(corpus.select(model.card.task_name, (split,), model.task.classes), records, seed)
    if not len(examples):
        raise EcgprismError(f"{corpus.path}: no record of split {split} has a label of task {model.card.task_name}")
    recorded = RecordedNoise.read(noise, corpus.rate_hz, "second") if noise is not None else None
    wanted, skipped = conditions(_setting(model, corpus, examples, recorded, seed), families)
    todo = [Condition("clean", "clean"), *wanted]
    peaks = _all_peaks(corpus, examples)
    drawn = []
    for done, condition in enumerate(todo):
        progress(done, len(todo))
        # judged at once: the answers of one condition are in memory, not those of all
        answers = answer(subjects, corpus, examples, condition, peaks)
        drawn.append(_drawn(answers, resamples, seed))
    progress(len(todo), len(todo))
    report = {
        "run": str(run),
        "corpus": str(corpus.path),
        "split": split,
        "kind": model.task.kind,
        "classes": list(model.task.classes),
        "metric": metrics.primary(model.task.classes),
        "items": len(examples),
        "patients": len(np.unique(examples.cluster)),
        "models": {name: str(s.run) for s in subjects for name in _names(s)},
        "noise": {
            kind: "recorded" if recorded is not None and kind in recorded.kinds else "simulated" for kind in KINDS
        },
        "skipped": skipped,
        "resamples": resamples,
        **_judged(todo, drawn),
    }
    folder = Path(out) if out is not None else run
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / STRESS) as path:
        path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    return report


def _further(run: Path, first: Subject) -> Subject:
    """Return another run as a subject. Raises EcgprismError when it has other classes or other data."""
    model = PrismModel.load(run)
    if model.task != first.model.task or model.card.fingerprint != first.model.card.fingerprint:
        raise EcgprismError(f"{run}: was trained on other classes or other data than {first.run}")
    return Subject(str(run), model, run)


def _names(subject: Subject) -> list[str]:
    """Return the names of a subject's answers: itself, and of the first one its views' own heads."""
    own = subject.model.view_heads if subject.name == "fused" else ()
    return [subject.name, *(f"{view} head" for view in own)]


def _setting(
    model: PrismModel, corpus: Corpus, examples: Examples, recorded: RecordedNoise | None, seed: int
) -> Setting:
    columns = [column.name for column in model.spec.metadata.columns]
    read = {
        column
        for branch in model.branches.values()
        if branch.view.name == "metadata"
        for column in branch.view.options.get("columns") or columns
    }
    return Setting(
        leads=model.spec.leads,
        views=tuple(model.branches),
        columns=tuple(column for column in columns if column in read),
        rate_hz=corpus.rate_hz,
        longest_s=float(examples.length.max()) / corpus.rate_hz,
        shortest_s=float(examples.length.min()) / corpus.rate_hz,
        recorded=recorded,
        seed=seed,
    )


def _chosen(examples: Examples, records: int | None, seed: int) -> Examples:
    """Return the examples in the order of their recordings, of only so many recordings when that is asked for."""
    order = np.argsort(examples.record, kind="stable")
    held = np.unique(examples.record)
    if records is not None and records < len(held):
        kept = np.random.default_rng(seed).choice(held, records, replace=False)
        order = order[np.isin(examples.record[order], kept)]
    return examples.at(order)


def answer(
    subjects: Sequence[Subject], corpus: Corpus, examples: Examples, condition: Condition,
    peaks: Mapping[int, NDArray[np.int64]],
) -> dict[str, Answers]:  # fmt: skip
    """Return every subject's answers under one condition; memory is bounded by a chunk of items."""
    table = corpus.metadata_of(examples)
    for column in condition.no_metadata:
        table[column] = None
    parts: dict[str, list[Floats]] = {}
    for chunk in _chunks(examples):
        signals, leads = [], []
        for number, items in chunk:
            recorded = _recorded(corpus, number, peaks[number])
            signal = recorded.signal if condition.of_record is None else condition.of_record(recorded)
            for item in items:
                part = signal[:, examples.start[item] : examples.start[item] + examples.length[item]]
                if condition.of_item is not None:
                    part = condition.of_item(part, corpus.rate_hz)
                signals.append(part)
                leads.append(recorded.leads)
        rows: list[Any] = table.iloc[[item for _, items in chunk for item in items]].to_dict("records")
        for subject in subjects:
            assembler = SignalAssembler(signals, leads, rows, subject.model.spec)
            hidden = [view for view in condition.hidden if view in subject.model.branches]
            whole_hidden = len(hidden) == len(subject.model.branches)
            scores = score(TorchEngine(subject.model, hidden=() if whole_hidden else hidden), assembler)
            own = scores.views.values() if subject.name == "fused" else ()
            for name, p in zip(_names(subject), [scores.probabilities, *own], strict=True):
                parts.setdefault(name, []).append(p)
    return {
        name: answers_on(corpus, examples, subject.model.card, np.concatenate(parts[name]))
        for subject in subjects
        for name in _names(subject)
    }


def _chunks(examples: Examples) -> Iterator[list[tuple[int, list[int]]]]:
    """Yield recordings with their items, some `CHUNK` items at a time."""
    chunk: list[tuple[int, list[int]]] = []
    held = 0
    starts = np.flatnonzero(np.append(True, examples.record[1:] != examples.record[:-1]))
    for first, last in zip(starts, np.append(starts[1:], len(examples)), strict=True):
        chunk.append((int(examples.record[first]), list(range(first, last))))
        held += last - first
        if held >= CHUNK:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _recorded(corpus: Corpus, number: int, r_peaks: NDArray[np.int64]) -> Recorded:
    return Recorded(number, corpus.signal(number), corpus.leads_of(number), corpus.rate_hz, r_peaks)


def _all_peaks(corpus: Corpus, examples: Examples) -> dict[int, NDArray[np.int64]]:
    """Return the R peaks of every recording, found once on the clean signal."""
    return {
        int(number): find_r_peaks(corpus.signal(int(number)), corpus.rate_hz) for number in np.unique(examples.record)
    }


def _drawn(answers: Mapping[str, Answers], resamples: int, seed: int) -> dict[str, tuple[Floats, Floats]]:
    """Return by model the primary metric and its resamples (R,), the same ones for every condition."""
    first = next(iter(answers.values()))
    primary, target = metrics.primary(first.classes), first.truth

    def statistic(weights: Floats | None) -> Mapping[str, Floats]:
        return {
            name: metrics.essentials(target, each.probabilities, each.decided, first.classes, weights)[primary]
            for name, each in answers.items()
        }

    return intervals.resampled(statistic, first.patients, resamples, seed)


def _judged(todo: Sequence[Condition], drawn: Sequence[Mapping[str, tuple[Floats, Floats]]]) -> dict[str, Any]:
    """Return the report's part on the conditions: scores, paired changes from clean and from the other models."""
    first, *others = drawn[0]
    clean = drawn[0][first]

    def minus(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> dict[str, Any]:
        return intervals.plain(intervals.interval(a[0] - b[0], a[1] - b[1]))

    def entry(condition: Condition, of_models: Mapping[str, tuple[Floats, Floats]]) -> dict[str, Any]:
        value = float(of_models[first][0])
        return {
            "family": condition.family,
            "name": condition.name,
            "level": condition.level,
            "models": {name: intervals.plain(intervals.interval(*each)) for name, each in of_models.items()},
            "change": minus(of_models[first], clean),
            "kept": None if math.isnan(value) or not clean[0] else value / float(clean[0]),
            "over": {name: minus(of_models[first], of_models[name]) for name in others},
        }

    rows = [entry(condition, of_models) for condition, of_models in zip(todo, drawn, strict=True)]
    worst_first = sorted(rows[1:], key=lambda row: (row["change"]["value"] is None, row["change"]["value"] or 0.0))
    return {"clean": rows[0], "conditions": worst_first}
