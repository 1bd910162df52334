"""The label audit: the records whose label the models doubt most, none of which had seen them.

Confident learning (Northcutt, Jiang and Chuang 2021): a label is doubted when another class is as probable as that
class is, on average, where it is the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.splits import SPLITS
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.errors import EcgprismError
from ecgprism.evidence.run import Run
from ecgprism.interface.card import is_multiclass
from ecgprism.interface.scoring import score
from ecgprism.prediction.engines import engine_for

NOT = "not "


@dataclass(frozen=True)
class Suspect:
    """A doubted label: of an item (`start` in samples) of the record with this number, and what stands against it."""

    record: int
    record_id: str
    patient_id: str | None
    start: int
    label: str
    suggested: str
    p_label: float
    p_suggested: float

    @property
    def doubt(self) -> float:
        """How much more probable the suggested class is."""
        return self.p_suggested - self.p_label


@dataclass(frozen=True, eq=False)
class Audit:
    """What models say of labels: the suspects, the most doubted first; `judged` of `items` were in a test split."""

    suspects: tuple[Suspect, ...]
    items: int
    judged: int
    corpus: Corpus

    @property
    def table(self) -> pd.DataFrame:
        """A row for each suspect."""
        columns = [name for name in Suspect.__dataclass_fields__ if name != "record"]
        rows = [{**asdict(each), "doubt": each.doubt} for each in self.suspects]
        return pd.DataFrame(rows, columns=[*columns, "doubt"])


def audit(
    runs: Sequence[str | Path],
    *,
    corpus: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Audit:
    """Return the labels that trained models doubt, each model judging the records of its own test split alone.

    Runs of all folds of a cross-validation judge every record; where several judged one, their mean counts. Raises
    EcgprismError for runs of different records, tasks or classes.
    """
    opened = [Run.open(run, corpus) for run in runs]
    if not opened:
        raise EcgprismError("audit: expected the folder of a run")
    _check_alike(opened)
    card, data = opened[0].card, opened[0].corpus
    whole = data.select(card.task_name, SPLITS, card.classes)
    p, judged = _judged(opened, whole, progress)
    find = _exclusive if is_multiclass(card.kind) else _labels
    patients, names = data.records["patient_id"].to_numpy(), data.records["record_id"].to_numpy()
    suspects = []
    for n, given, other, p_given, p_other in find(p, whole.target[judged]):
        record = int(whole.record[judged[n]])
        patient = None if pd.isna(patients[record]) else str(patients[record])
        suspects.append(
            Suspect(
                record, str(names[record]), patient, int(whole.start[judged[n]]),
                _name(card.classes, given), _name(card.classes, other), p_given, p_other,
            )
        )  # fmt: skip
    suspects.sort(key=lambda each: (-each.doubt, each.record, each.start))
    return Audit(tuple(suspects), len(whole), len(judged), data)


def _check_alike(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.card.classes != first.card.classes or run.card.task_name != first.card.task_name:
            raise EcgprismError(f"{run.folder}: other classes than {first.folder}; audit one task at a time")
        if list(run.corpus.records["record_id"]) != list(first.corpus.records["record_id"]):
            raise EcgprismError(f"{run.folder}: was trained on other records than {first.folder}")


def _judged(
    runs: Sequence[Run], whole: Examples, progress: Callable[[int, int], None]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities (N, K) and places (N,) of the items that are in the test split of a run."""
    place = {key: n for n, key in enumerate(zip(whole.record.tolist(), whole.start.tolist(), strict=True))}
    total, count = np.zeros(whole.target.shape), np.zeros(len(whole), dtype=np.int64)
    for number, run in enumerate(runs, start=1):
        found = run.examples("test")
        scores = score(engine_for(run.folder), CorpusAssembler(run.corpus, found, run.card.spec))
        at = [place[key] for key in zip(found.record.tolist(), found.start.tolist(), strict=True)]
        total[at] += scores.probabilities
        count[at] += 1
        progress(number, len(runs))
    judged = np.flatnonzero(count)
    return total[judged] / count[judged, None], judged


Doubt = tuple[int, int, int, float, float]  # item, class of the label, class suggested, the probabilities of both


def _exclusive(p: NDArray[np.float64], target: NDArray[np.bool_]) -> list[Doubt]:
    """Return the doubted items where classes exclude each other; a class without items is suggested to nobody."""
    label = target.argmax(axis=1)
    bar = np.array([p[target[:, k], k].mean() if target[:, k].any() else np.inf for k in range(p.shape[1])])
    above = np.where(p >= bar, p, -1.0)
    best = above.argmax(axis=1)
    found = np.flatnonzero((above.max(axis=1) > 0) & (best != label))
    return [(n, int(label[n]), int(best[n]), float(p[n, label[n]]), float(p[n, best[n]])) for n in found.tolist()]


def _labels(p: NDArray[np.float64], target: NDArray[np.bool_]) -> list[Doubt]:
    """Return the doubted labels of items that may have several: a class too many, or one that is missing."""
    doubted: list[Doubt] = []
    for k in range(p.shape[1]):
        yes = target[:, k]
        if not yes.any() or yes.all():
            continue
        missing = np.flatnonzero(~yes & (p[:, k] >= p[yes, k].mean()))
        too_many = np.flatnonzero(yes & (1 - p[:, k] >= (1 - p[~yes, k]).mean()))
        doubted += [(n, ~k, k, float(1 - p[n, k]), float(p[n, k])) for n in missing.tolist()]
        doubted += [(n, k, ~k, float(p[n, k]), float(1 - p[n, k])) for n in too_many.tolist()]
    return doubted


def _name(classes: Sequence[str], k: int) -> str:
    """Return a class, or that it is not there: ~k stands for the absence of class k."""
    return classes[k] if k >= 0 else f"{NOT}{classes[~k]}"
