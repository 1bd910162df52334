"""Evaluation of a run on a test split or on another corpus: metrics with patient-clustered intervals, predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.config import Config, read_config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.splits import SPLITS
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.errors import EcgprismError
from ecgprism.files import atomic
from ecgprism.interface.answers import Answers, decide
from ecgprism.interface.card import Aggregate, Card
from ecgprism.interface.scoring import score
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.training.folder import CONFIG

METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"
PER_CLASS = ("auroc", "auprc", "f1", "sensitivity", "specificity", "ppv")

RULES = {
    "decision, multiclass": "the class of highest probability",
    "decision, multilabel": "probability >= the class's threshold, which maximises its F1 on validation",
    "fmax": "sample-centric (PTB-XL benchmark): maximum over 101 thresholds 0..1 of the harmonic mean of precision "
    "(over records with a prediction) and recall (over records with a label)",
    "ece": "15 bins of equal width; multiclass: of the top class's probability, multilabel: mean over classes; "
    "resampling adds noise to the bins, so its interval leans upwards and may lie above the value",
    "brier": "multiclass: summed over classes; multilabel: mean over classes",
    "interval": "95% percentile bootstrap over patients; a resample in which the quantity is undefined is skipped and "
    "counted (`defined`), a macro value needs every class; `shaky`: over 5% of the resamples are undefined",
    "cinc2017_f1": "mean F1 of N, A and O (the challenge's score)",
}


@dataclass(frozen=True)
class Evaluation:
    """The report (what metrics.json holds), the predictions as a table, and where both were written."""

    report: dict[str, Any]
    predictions: pd.DataFrame
    path: Path

    def value(self, name: str) -> tuple[float, float, float]:
        """Return value, low and high of a metric by name."""
        entry = self.report["metrics"][name]
        return entry["value"], entry["low"], entry["high"]


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
) -> Evaluation:
    """Evaluate a run on its own corpus (`split` test by default) or externally on another (all of it by default).

    Writes metrics.json and predictions.parquet into the run, or into `out` (required for another corpus, so that the
    run's own numbers stay). `first` takes only that many items (a dry run). Raises EcgprismError when the corpus has
    other classes, leads or rate than the model, or when the run's own corpus has changed since training.
    """
    run = Path(run)
    model = PrismModel.load(run)
    config = read_config(run / CONFIG)
    external = corpus is not None
    given = Corpus(corpus) if isinstance(corpus, str | Path) else corpus
    tested = given or trained_on(config)
    own = tested.fingerprint == model.card.fingerprint
    if not external and not own:
        raise EcgprismError(
            f"{tested.path}: has changed since {run} was trained; to test on it all the same, name it with --corpus"
        )
    split = split or ("test" if own else "all")
    if split not in ("all", *SPLITS):
        raise EcgprismError(f"split {split!r}: expected test, val, train or all")
    if not own and out is None:
        raise EcgprismError(f"{tested.path} is not the corpus of {run}: say where its results go with --out DIR")
    notes = _fit_to(model, tested, own)
    if own and split != "test":
        notes.append(f"split {split} of the run's own corpus holds records that training or selection has seen")
    if not own:
        notes += _seen_in_training(config, model, tested)
    examples = tested.select(_task(model, tested, own), SPLITS if split == "all" else (split,), model.task.classes)
    examples = examples.first(first or len(examples))
    if not len(examples):
        raise EcgprismError(f"{tested.path}: no record of split {split} has a label of task {model.card.task_name}")
    aggregate = aggregate or model.card.aggregate
    assembler = CorpusAssembler(tested, examples, model.spec)
    scores = score(TorchEngine(model), assembler, aggregate=aggregate, progress=progress)
    answers = answers_on(tested, examples, model.card, scores.probabilities)
    report = {
        "run": str(run),
        "corpus": str(tested.path),
        "fingerprint": tested.fingerprint,
        "external": not own,
        "kind": model.task.kind,
        "classes": list(model.task.classes),
        "split": split,
        **_counts(tested, examples, model),
        "aggregate": aggregate,
        "thresholds": model.card.thresholds,
        "temperature": model.card.temperature,
        "rules": RULES,
        "notes": notes,
        **measure(answers, resamples, seed),
    }
    predictions = as_table(tested, examples, answers)
    folder = Path(out) if out is not None else run
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / PREDICTIONS) as path:
        predictions.to_parquet(path, index=False)
    with atomic(folder / METRICS) as path:
        path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    return Evaluation(report, predictions, folder)


def measure(answers: Answers, resamples: int, seed: int) -> dict[str, Any]:
    """Return every metric with its interval, global ones and by class, and the confusion matrix (multi-class)."""
    target, kind, classes = answers.truth, answers.kind, answers.classes
    probabilities, decided = answers.probabilities, answers.decided

    def statistic(weights: NDArray[np.floating[Any]] | None) -> Mapping[str, NDArray[np.floating[Any]]]:
        out = metrics.essentials(target, probabilities, decided, classes, weights)
        counted = metrics.rates(target, decided, weights)
        more = {
            "auprc": metrics.auprc(target, probabilities, weights),
            **{name: getattr(counted, name) for name in PER_CLASS[3:]},
        }
        out |= {f"macro_{name}": metrics.macro(values) for name, values in more.items()}
        return {
            **out,
            **more,
            "fmax": metrics.fmax(target, probabilities, weights),
            "brier": metrics.brier(target, probabilities, weights, kind=kind),
            "ece": metrics.ece(target, probabilities, weights, kind=kind),
        }

    found = intervals.bootstrap(statistic, answers.patients, resamples, seed)
    report: dict[str, Any] = {
        "resamples": resamples,
        "metrics": {name: _plain(each.as_dict()) for name, each in found.items() if name not in PER_CLASS},
        "per_class": {
            label: {name: _plain(found[name][k].as_dict()) for name in PER_CLASS} for k, label in enumerate(classes)
        },
    }
    if kind == "multiclass":
        report["confusion"] = metrics.confusion_matrix(target, decided).tolist()
    return report


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry with None for what is undefined: JSON has no NaN."""
    return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in entry.items()}


def _task(model: PrismModel, corpus: Corpus, own: bool) -> str:
    """Return the corpus's task with the model's classes."""
    wanted = set(model.task.classes)
    same = [name for name, task in corpus.tasks.items() if set(task.classes) == wanted]
    if model.card.task_name in same or (own and model.card.task_name in corpus.tasks):
        return model.card.task_name
    if not same:
        name, task = next(iter(corpus.tasks.items()))
        extra = sorted(set(task.classes) - wanted) or ["none"]
        lack = sorted(wanted - set(task.classes)) or ["none"]
        raise EcgprismError(
            f"{corpus.path}: no task with the model's classes {', '.join(model.task.classes)}; its task {name} lacks "
            f"{', '.join(lack)} and has besides {', '.join(extra)}"
        )
    return same[0]


def _fit_to(model: PrismModel, corpus: Corpus, own: bool) -> list[str]:
    """Check task, rate and leads; return notes on leads that the corpus does not have."""
    _task(model, corpus, own)
    if corpus.rate_hz != model.spec.rate_hz:
        raise EcgprismError(
            f"{corpus.path}: {corpus.rate_hz:g} Hz, the model takes {model.spec.rate_hz:g} Hz; "
            f"ingest again with --rate {model.spec.rate_hz:g}"
        )
    missing = [lead for lead in model.spec.leads if lead not in corpus.leads]
    if len(missing) == len(model.spec.leads):
        raise EcgprismError(f"{corpus.path}: has none of the model's leads {', '.join(model.spec.leads)}")
    return [f"leads not in this corpus, masked: {', '.join(missing)}"] if missing else []


def trained_on(config: Config) -> Corpus:
    """Return the corpus of a run, with the splits that it was trained on."""
    corpus = Corpus(config.corpus)
    return corpus if config.fold is None else corpus.folded(corpus.task(config.task)[0], config.fold)


def _seen_in_training(own: Config, model: PrismModel, corpus: Corpus) -> list[str]:
    """Return a note when waveforms of the run's own corpus stand in the other one."""
    try:
        trained = trained_on(own)
    except EcgprismError:
        return ["the run's own corpus is gone: overlap with it was not checked"]
    if trained.fingerprint != model.card.fingerprint:
        return ["the run's own corpus has changed: overlap with it was not checked"]
    shared = set(trained.records["waveform"]) & set(corpus.records["waveform"])
    return [f"{len(shared)} waveforms stand in the run's own corpus as well"] if shared else []


def _counts(corpus: Corpus, examples: Examples, model: PrismModel) -> dict[str, Any]:
    patients = corpus.records["patient_id"].iloc[np.unique(examples.record)]
    return {
        "items": len(examples),
        "records": len(np.unique(examples.record)),
        "patients": len(np.unique(examples.cluster)),
        "unknown_patients": int(patients.isna().sum()),
        "left_out": examples.left_out,
        "positives": dict(zip(model.task.classes, examples.target.sum(axis=0).tolist(), strict=True)),
    }


def answers_on(corpus: Corpus, examples: Examples, card: Card, probabilities: NDArray[np.float64]) -> Answers:
    """Return a model's answers on examples of a corpus, decided by its own thresholds."""
    names = corpus.records["record_id"].to_numpy()[examples.record]
    return Answers(
        card.kind,
        card.classes,
        tuple(zip(map(str, names), examples.start.tolist(), strict=True)),
        probabilities,
        decide(probabilities, card.kind, card.thresholds),
        examples.cluster,
        examples.target,
    )


def as_table(corpus: Corpus, examples: Examples, answers: Answers) -> pd.DataFrame:
    """Return one row per item: record, patient, cluster of patients, split, target and probability by class."""
    records = corpus.records.iloc[examples.record]
    return pd.DataFrame(
        {
            "record_id": records["record_id"].to_numpy(),
            "patient_id": records["patient_id"].to_numpy(),
            "cluster": examples.cluster,
            "split": records["split"].to_numpy(),
            "start": examples.start,
            **answers.columns(),
        }
    )
