"""Robustness: what a model keeps when the signal is bad or a part of it is missing, fused against single views.

Axis legend: N items of the test, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.corpus.store import Corpus, Examples
from ecgprism.ecg.qrs import find_r_peaks
from ecgprism.ecg.recorded_noise import RECORD, RecordedNoise
from ecgprism.errors import EcgprismError
from ecgprism.evidence.disturbance import FAMILIES, Condition, Setting, StressRecording, conditions
from ecgprism.evidence.reports import ConditionReport, StressReport
from ecgprism.evidence.run import Run, answers_on
from ecgprism.interface.answers import Answers
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.interface.scoring import FUSED, score
from ecgprism.metrics import intervals
from ecgprism.metrics.contrasts import essentials
from ecgprism.metrics.intervals import Difference
from ecgprism.metrics.scores import Floats
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.training.folder import STRESS

CHUNK = 256  # items scored at a time

Drawn = Mapping[str, tuple[Floats, Floats]]  # by model the metric, and what every resample gives (R,)


@dataclass(frozen=True)
class Subject:
    """A run under stress, with the name under which its answers are reported."""

    name: str
    run: Run

    @property
    def names(self) -> list[str]:
        """The names of its answers: itself, and of the first one of several views its views' own heads."""
        own = self.run.model.view_heads if self.name == FUSED else ()
        return [self.name, *(f"{view} head" for view in own)]


def stress(
    run: str | Path,
    *,
    corpus: str | Path | None = None,
    against: Sequence[str | Path] = (),
    noise: str | Path | None = None,
    families: Collection[str] = tuple(FAMILIES),
    split: str = "test",
    records: int | None = None,
    out: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StressReport:
    """Test a run under every condition that its corpus allows, and write stress.json into it, or into `out`.

    Beside the fused answer stand those of each view's own head, and of further runs (`against`), on the same disturbed
    recordings. `noise` names a folder with records of the noise stress test database: their second halves are used,
    and kinds that it lacks are simulated. `records` takes only that many recordings, `corpus` tells where the run's is
    now. Raises EcgprismError.
    """
    subjects = _subjects([run, *against], corpus)
    opened = subjects[0].run
    held, card = opened.corpus, opened.card
    examples = _chosen(opened.examples(split), records, seed)
    recorded = RecordedNoise.read(noise, held.rate_hz, "second") if noise is not None else None
    wanted, skipped = conditions(_setting(opened.model, held, examples, recorded, seed), families)
    todo = [Condition("clean", "clean"), *wanted]
    peaks = _all_peaks(held, examples)
    drawn = []
    for done, condition in enumerate(todo):
        progress(done, len(todo))
        # judged at once: the answers of one condition are in memory, not those of all
        drawn.append(_drawn(answer(subjects, held, examples, condition, peaks), opened.metric, resamples, seed))
    progress(len(todo), len(todo))
    clean, *disturbed = (_row(*each, drawn[0]) for each in zip(todo, drawn, strict=True))
    report = StressReport(
        run=str(run), corpus=str(held.path), split=split, kind=card.kind, classes=card.classes,
        metric=opened.metric, thresholds=card.thresholds, items=len(examples),
        patients=len(np.unique(examples.cluster)),
        models={name: str(subject.run.folder) for subject in subjects for name in subject.names},
        noise={kind: "recorded" if recorded is not None and kind in recorded.kinds else "simulated" for kind in RECORD},
        skipped=skipped, resamples=resamples, clean=clean, conditions=sorted(disturbed, key=_harm),
    )  # fmt: skip
    report.write((Path(out) if out is not None else opened.folder) / STRESS)
    return report


def _subjects(runs: Sequence[str | Path], corpus: str | Path | None) -> list[Subject]:
    """Return runs as subjects. Raises EcgprismError when one has other classes or other data than the first."""
    first, *others = (Run.open(run, corpus) for run in runs)
    if not first.trained_on(first.corpus):
        raise EcgprismError(f"{first.corpus.path}: has changed since {first.folder} was trained")
    for other in others:
        if other.card.task != first.card.task or other.card.fingerprint != first.card.fingerprint:
            raise EcgprismError(f"{other.folder}: was trained on other classes or other data than {first.folder}")
    views = first.card.views
    name = FUSED if len(views) > 1 else views[0]
    return [Subject(name, first), *(Subject(str(other.folder), other) for other in others)]


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
            model = subject.run.model
            hidden = [view for view in condition.hidden if view in model.branches]
            engine = TorchEngine(model, hidden=() if len(hidden) == len(model.branches) else hidden)
            scores = score(engine, SignalAssembler(signals, leads, rows, model.spec))
            own = scores.views.values() if subject.name == FUSED else ()
            for name, p in zip(subject.names, [scores.probabilities, *own], strict=True):
                parts.setdefault(name, []).append(p)
    return {
        name: answers_on(corpus, examples, subject.run.card, np.concatenate(parts[name]))
        for subject in subjects
        for name in subject.names
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


def _recorded(corpus: Corpus, number: int, r_peaks: NDArray[np.int64]) -> StressRecording:
    return StressRecording(number, corpus.signal(number), corpus.leads_of(number), corpus.rate_hz, r_peaks)


def _all_peaks(corpus: Corpus, examples: Examples) -> dict[int, NDArray[np.int64]]:
    """Return the R peaks of every recording, found once on the clean signal."""
    return {
        int(number): find_r_peaks(corpus.signal(int(number)), corpus.rate_hz) for number in np.unique(examples.record)
    }


def _drawn(answers: Mapping[str, Answers], metric: str, resamples: int, seed: int) -> Drawn:
    """Return by model the metric and its resamples (R,), the same ones for every condition."""
    first = next(iter(answers.values()))

    def statistic(weights: Floats | None) -> Mapping[str, Floats]:
        return {name: essentials(each, metric, weights)[metric] for name, each in answers.items()}

    return intervals.resampled(statistic, first.patients, resamples, seed)


def _row(condition: Condition, drawn: Drawn, clean: Drawn) -> ConditionReport:
    """Return a condition's scores, and paired differences from clean and from the other models."""
    first, *others = drawn

    def minus(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Difference:
        return intervals.interval(a[0] - b[0], a[1] - b[1]).difference()

    before = float(clean[first][0])
    return ConditionReport(
        family=condition.family,
        name=condition.name,
        level=condition.level,
        models={name: intervals.interval(*each).estimate() for name, each in drawn.items()},
        change=minus(drawn[first], clean[first]),
        kept=float(drawn[first][0]) / before if before else math.nan,
        over={name: minus(drawn[first], drawn[name]) for name in others},
    )


def _harm(row: ConditionReport) -> float:
    """Return what the worst come first by; what is undefined comes last."""
    return math.inf if math.isnan(row.change.value) else row.change.value
