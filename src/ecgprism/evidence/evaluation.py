"""Evaluation of a run on a test split or on another corpus: metrics with patient-clustered intervals, predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.splits import SPLITS
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.errors import EcgprismError, listed, warn
from ecgprism.evidence.reports import EvaluationReport
from ecgprism.evidence.run import Run, answers_on, as_table
from ecgprism.evidence.verdicts import LEAST_PATIENTS
from ecgprism.files import atomic
from ecgprism.interface.answers import NO_CHOICE, TARGET, Answers
from ecgprism.interface.card import Aggregate, Card, is_multiclass
from ecgprism.interface.scoring import Engine, score
from ecgprism.metrics import calibration, intervals
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.contrasts import Scores, essentials
from ecgprism.metrics.intervals import Estimate
from ecgprism.metrics.scores import Floats
from ecgprism.prediction.engines import engine_for
from ecgprism.prediction.files import PROBLEM, unseen_leads
from ecgprism.training.folder import METRICS, PREDICTIONS

NAMED = 30  # classes in a note
PER_CLASS = ("auroc", "auprc", "f1", "sensitivity", "specificity", "ppv")

RULES = {
    "decision, multiclass": "the class of highest probability",
    "decision, multilabel": "probability >= the class's threshold, which maximises its F1 on validation; 0.5 for "
    "a class of fewer than 10 positives there",
    "fmax": "sample-centric (PTB-XL benchmark): maximum over 101 thresholds 0..1 of the harmonic mean of precision "
    "(over records with a prediction) and recall (over records with a label)",
    "ece": "15 bins of equal width; multiclass: of the top class's probability, multilabel: mean over classes; "
    "resampling adds noise to the bins, so its interval leans upwards and may lie above the value",
    "brier": "multiclass: summed over classes; multilabel: mean over classes",
    "interval": "95% percentile bootstrap over patients; a resample in which the quantity is undefined is skipped and "
    "counted (`defined`); a macro value needs every class; `shaky`: over 5% of the resamples are undefined; a single "
    "patient has none",
    "cinc2017_f1": "mean F1 of N, A and O (the challenge's score), for a task `rhythm` of these classes",
}


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The report (what metrics.json holds), the predictions as a table, and where both were written."""

    report: EvaluationReport
    predictions: pd.DataFrame
    path: Path

    def __repr__(self) -> str:
        """Return what was found, in one line."""
        return repr(self.report).replace(type(self.report).__name__, type(self).__name__, 1)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.report._repr_html_()

    def value(self, name: str) -> tuple[float, float, float]:
        """Return value, low and high of a metric by name."""
        found = self.report.metrics[name]
        return found.value, found.low, found.high


@dataclass(frozen=True)
class Selection:
    """What a model is judged on: examples with its classes (K) as their target, and what became of the rest.

    `other_classes` counts items with a class that the model does not know: left out when classes are exclusive, else
    negatives. `unlabelled` are the model's classes that the corpus says nothing about.
    """

    task: str
    examples: Examples
    other_classes: dict[str, int]
    unlabelled: tuple[str, ...]


def evaluate(
    run: str | Path,
    *,
    corpus: str | Path | Corpus | None = None,
    split: str | None = None,
    aggregate: Aggregate | None = None,
    out: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    first: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    note: Callable[[str], None] = warn,
) -> Evaluation:
    """Evaluate a run on its own corpus (`split` test by default) or externally on another (all of it by default).

    Writes metrics.json and predictions.parquet into the run, or into `out` (required for another corpus, so that the
    run's own numbers stay). `first` takes only that many items (a dry run). `note` is told what the reader of the
    numbers should know (a warning); what a model misses of a recording is the column `problem` of its predictions.
    Raises EcgprismError when the corpus has none of the model's classes, other leads or rate, or when the run's own
    corpus has changed since training.
    """
    opened = Run.open(run)
    card, judged = opened.card, Corpus(corpus) if isinstance(corpus, str | Path) else corpus or opened.corpus
    own = opened.trained_on(judged)
    split = split or ("test" if own else "all")
    _check(opened, judged, split, needs_out=not own and out is None, external=corpus is not None)
    chosen = select(card, judged, SPLITS if split == "all" else (split,), own)
    examples = chosen.examples.first(first or len(chosen.examples))
    if not len(examples):
        raise EcgprismError(f"{judged.path}: no record of split {split} has a label of task {chosen.task}")
    engine, aggregate = engine_for(opened.folder), aggregate or card.aggregate
    thresholds, notes = thresholds_for(opened, engine, aggregate)
    assembler = CorpusAssembler(judged, examples, card.spec)
    scores = score(engine, assembler, aggregate=aggregate, progress=progress)
    answers = answers_on(judged, examples, card, scores.probabilities, thresholds)
    measured = measure(answers, opened.metric, resamples, seed, chosen.unlabelled)
    patients = judged.records["patient_id"].iloc[np.unique(examples.record)]
    report = EvaluationReport(
        run=str(run), corpus=str(judged.path), fingerprint=judged.fingerprint, external=not own, kind=card.kind,
        classes=card.classes, task=chosen.task, metric=opened.metric, split=split, items=len(examples),
        records=len(np.unique(examples.record)), patients=len(np.unique(examples.cluster)),
        unknown_patients=int(patients.isna().sum()), left_out=examples.left_out, other_classes=chosen.other_classes,
        unlabelled=chosen.unlabelled, positives=_positives(card, examples),
        aggregate=aggregate, thresholds=thresholds, temperature=card.temperature, rules=RULES,
        notes=[*_notes(opened, judged, chosen, split, own), *notes], resamples=resamples, metrics=measured.metrics,
        per_class=measured.per_class, confusion=_confusion(answers),
    )  # fmt: skip
    predictions = as_table(judged, examples, answers, thresholds)
    predictions = predictions.drop(columns=[TARGET + name for name in chosen.unlabelled])
    predictions[PROBLEM] = _problems(card, judged, examples)
    folder = Path(out) if out is not None else opened.folder
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / PREDICTIONS) as path:
        predictions.to_parquet(path, index=False)
    report.write(folder / METRICS)
    for said in report.notes:
        note(said)
    return Evaluation(report, predictions, folder)


def _check(run: Run, corpus: Corpus, split: str, *, needs_out: bool, external: bool) -> None:
    """Raise EcgprismError when a run cannot be judged on a corpus."""
    if not external and not run.trained_on(corpus):
        raise EcgprismError(
            f"{corpus.path}: has changed since {run.folder} was trained; to test on it all the same, name it with "
            "--corpus (corpus=)"
        )
    if split not in ("all", *SPLITS):
        raise EcgprismError(f"split {split!r}: expected test, val, train or all")
    if needs_out:
        raise EcgprismError(
            f"{corpus.path} is not the corpus of {run.folder}: say where its results go with --out (out=)"
        )
    spec = run.card.spec
    if corpus.rate_hz != spec.rate_hz:
        raise EcgprismError(
            f"{corpus.path}: {corpus.rate_hz:g} Hz, the model takes {spec.rate_hz:g} Hz; "
            f"ingest again with --rate {spec.rate_hz:g} (rate_hz=)"
        )
    if not set(spec.leads) & set(corpus.leads):
        raise EcgprismError(f"{corpus.path}: has none of the model's leads {', '.join(spec.leads)}")


def select(card: Card, corpus: Corpus, splits: Sequence[str], own: bool) -> Selection:
    """Return what a model is judged on in some splits of a corpus, whose classes may be more or fewer than its own.

    Raises EcgprismError when the corpus has none of them, or several of exclusive ones at one item.
    """
    name = _task(card, corpus, own)
    theirs = corpus.tasks[name].classes
    whole = corpus.select(name, splits)
    target = np.zeros((len(whole), len(card.classes)), dtype=bool)
    for k, label in enumerate(card.classes):
        if label in theirs:
            target[:, k] = whole.target[:, theirs.index(label)]
    others = {label: int(whole.target[:, k].sum()) for k, label in enumerate(theirs) if label not in card.classes}
    rows = np.arange(len(whole))
    if is_multiclass(card.kind):
        rows = np.flatnonzero(target.any(axis=1))
        if (target.sum(axis=1) > 1).any():
            raise EcgprismError(f"{corpus.path}: items with several classes of task {name}, which the model excludes")
    return Selection(
        name,
        replace(whole.at(rows), target=target[rows]),
        {label: count for label, count in others.items() if count},
        tuple(label for label in card.classes if label not in theirs),
    )


def _task(card: Card, corpus: Corpus, own: bool) -> str:
    """Return the corpus's task with the model's classes: of its name, or with the fewest others; else with the most."""
    if own and card.task_name in corpus.tasks:
        return card.task_name
    wanted = set(card.classes)

    def fitness(name: str) -> tuple[int, bool, int]:
        shared = wanted & set(corpus.tasks[name].classes)
        return len(shared), name == card.task_name, -len(corpus.tasks[name].classes)

    best = max(corpus.tasks, key=fitness)
    if not fitness(best)[0]:
        raise EcgprismError(
            f"{corpus.path}: no task with the model's classes {', '.join(card.classes)}; its task {best} has "
            f"{', '.join(corpus.tasks[best].classes)}"
        )
    return best


def thresholds_for(run: Run, engine: Engine, aggregate: Aggregate) -> tuple[tuple[float, ...] | None, list[str]]:
    """Return the thresholds of answers aggregated in a way, and what to say of them.

    The card's are of its own way. For another one they are chosen on the run's validation; 0.5 when that is gone.
    """
    card = run.card
    if card.thresholds is None or aggregate == card.aggregate:
        return card.thresholds, []
    try:
        at_hand = run.trained_on(run.corpus)
    except EcgprismError:
        at_hand = False
    if not at_hand:
        half = (NO_CHOICE,) * len(card.classes)
        return half, [f"thresholds are 0.5: the validation data to choose those of aggregate {aggregate} on are gone"]
    examples = run.examples("val")
    scores = score(engine, CorpusAssembler(run.corpus, examples, card.spec), aggregate=aggregate)
    chosen = calibration.best_thresholds(examples.target, scores.probabilities)
    notes = [f"thresholds chosen anew on validation, for aggregate {aggregate}"]
    enough = calibration.enough_positives(examples.target)
    few = [name for name, each in zip(card.classes, enough, strict=True) if not each]
    if few:
        notes.append(f"thresholds of {listed(few, NAMED)} are 0.5: fewer than {calibration.LEAST_POSITIVES} positives")
    return tuple(chosen.tolist()), notes


def measure(
    answers: Answers, metric: str, resamples: int, seed: int, unlabelled: Sequence[str] = ()
) -> Scores[Estimate]:
    """Return every metric with its interval, global ones and by class; undefined where labels are not known."""
    target, kind, probabilities, decided = answers.truth, answers.kind, answers.probabilities, answers.decided
    lacking = np.array([name in unlabelled for name in answers.classes])

    def statistic(weights: Floats | None) -> dict[str, Floats]:
        found = essentials(answers, metric, weights)
        rates = metrics.rates(target, decided, weights)
        more = {"auprc": metrics.auprc(target, probabilities, weights)}
        more |= {name: getattr(rates, name) for name in PER_CLASS[3:]}
        found |= more | {f"macro_{name}": metrics.macro(values) for name, values in more.items()}
        found |= {
            "fmax": metrics.fmax(target, probabilities, weights),
            "brier": metrics.brier(target, probabilities, weights, kind=kind),
            "ece": metrics.ece(target, probabilities, weights, kind=kind),
        }
        return {name: _known(name, values) for name, values in found.items()} if lacking.any() else found

    def _known(name: str, values: Floats) -> Floats:
        """Exclusive classes are known to be absent, so that what is counted over items stays; the rest does not."""
        if name in PER_CLASS:
            return np.where(lacking, np.nan, values)
        over_items = is_multiclass(kind) and name in ("accuracy", "brier", "ece", "fmax")
        return values if over_items else np.full_like(values, np.nan)

    drawn = intervals.bootstrap(statistic, answers.patients, resamples, seed)
    return Scores(
        metrics={name: each.estimate() for name, each in drawn.items() if name not in PER_CLASS},
        per_class={
            label: {name: drawn[name][k].estimate() for name in PER_CLASS} for k, label in enumerate(answers.classes)
        },
    )


def _problems(card: Card, corpus: Corpus, examples: Examples) -> list[str]:
    """Return what the model misses of every item's recording: leads that are not there, or flat; empty for most."""
    leads, flat = (corpus.records[name].iloc[examples.record] for name in ("leads", "flat_leads"))
    return ["; ".join(unseen_leads(card, *each)) for each in zip(leads, flat, strict=True)]


def _positives(card: Card, examples: Examples) -> dict[str, int]:
    return dict(zip(card.classes, examples.target.sum(axis=0).tolist(), strict=True))


def _confusion(answers: Answers) -> list[list[int]] | None:
    """Return the counts (K, K) by true and decided class, where classes are exclusive."""
    if not is_multiclass(answers.kind):
        return None
    counts: list[list[int]] = metrics.confusion_matrix(answers.truth, answers.decided).tolist()
    return counts


def _notes(run: Run, corpus: Corpus, chosen: Selection, split: str, own: bool) -> list[str]:
    """Return what the reader of the numbers should know."""
    notes = [f"judged on task {chosen.task}"] if chosen.task != run.card.task_name else []
    missing = [lead for lead in run.card.leads if lead not in corpus.leads]
    if missing:
        notes.append(f"leads not in this corpus, masked: {', '.join(missing)}")
    if chosen.other_classes:
        counted = ", ".join(f"{label} {count}" for label, count in chosen.other_classes.items())
        fate = "left out" if is_multiclass(run.card.kind) else "negatives unless they have one of the model's too"
        notes.append(f"items with classes that the model does not know ({counted}): {fate}")
    if chosen.unlabelled:
        notes.append(
            f"task {chosen.task} has no labels of {', '.join(chosen.unlabelled)}: without metrics, as are all means "
            "over classes"
        )
    unknown = run.card.spec.metadata.unknown(corpus.metadata_of(chosen.examples))
    notes += [
        f"metadata {column}: the model does not know {', '.join(values[:5])}{', ...' if len(values) > 5 else ''}: "
        "counted as missing"
        for column, values in unknown.items()
    ]
    patients = len(np.unique(chosen.examples.cluster))
    if patients < LEAST_PATIENTS:
        notes.append(
            f"{patients} patients, fewer than {LEAST_PATIENTS}: intervals over so few cover less than they say"
        )
    if own and split != "test":
        notes.append(f"split {split} of the run's own corpus holds records that training or selection has seen")
    return notes if own else [*notes, *_seen_in_training(run, corpus)]


def _seen_in_training(run: Run, corpus: Corpus) -> list[str]:
    """Return a note when waveforms of the run's own corpus stand in the other one."""
    try:
        trained = run.corpus
    except EcgprismError:
        return ["the run's own corpus is gone: overlap with it was not checked"]
    if not run.trained_on(trained):
        return ["the run's own corpus has changed: overlap with it was not checked"]
    shared = set(trained.records["waveform"]) & set(corpus.records["waveform"])
    return [f"{len(shared)} waveforms stand in the run's own corpus as well"] if shared else []
