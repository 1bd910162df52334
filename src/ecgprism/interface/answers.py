"""Answers: what a model, whatever runs it, says of items; how windows, thresholds and several models become one answer.

Axis legend: N items, K classes, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgprism.errors import EcgprismError
from ecgprism.interface.card import Aggregate, Kind, Table, is_multiclass

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
ItemKey = tuple[str, int]
TARGET, PROBABILITY, THRESHOLD = "target_", "p_", "t_"  # columns of a table, each with the name of a class behind it
RULE, REACHED, HIGHEST = "rule", "p >= t", "highest p"  # a column, and what it says of how labels were filled
RULES = {
    REACHED: "each class whose probability reaches its threshold",
    HIGHEST: "the class of highest probability (of equals the first)",
}
NO_CHOICE = 0.5  # of a class for which none was chosen


def probabilities_of(logits: Floats, kind: Kind, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return calibrated probabilities of logits (..., K) (temperature: Guo et al. 2017)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if is_multiclass(kind):
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    powers = np.exp(-np.abs(scaled))  # of the smaller side: never overflows
    return np.asarray(np.where(scaled >= 0, 1.0, powers) / (1 + powers))


def aggregated(each: Floats, item: NDArray[np.int64], n: int, kind: Kind, how: Aggregate) -> NDArray[np.float64]:
    """Return probabilities (N, K) of items from those of their windows (W, K); `item` (W,) tells whose they are.

    A maximum over exclusive classes is normalised to sum 1 again.
    """
    out = np.zeros((n, each.shape[1]))
    if how == "max":
        np.maximum.at(out, item, each)
        return out / out.sum(axis=1, keepdims=True) if is_multiclass(kind) else out
    np.add.at(out, item, each)
    return np.asarray(out / np.bincount(item, minlength=n)[:, None])


def decide(probabilities: Floats, kind: Kind, thresholds: ArrayLike | None = None) -> Bools:
    """Decisions, bool (N, K): the top class (multiclass, one-hot) or probability >= thresholds (multilabel, (K,)).

    Without thresholds it is 0.5. Raises EcgprismError where a probability is NaN.
    """
    probabilities = np.asarray(probabilities)
    refuse_nan(probabilities)
    if is_multiclass(kind):
        return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(1)[:, None])
    return np.asarray(probabilities >= (NO_CHOICE if thresholds is None else np.asarray(thresholds)))


def refuse_nan(probabilities: Floats) -> None:
    """Raise where a decision would have to be made up."""
    lost = np.isnan(probabilities).any(1).sum()
    if lost:
        raise EcgprismError(f"{lost} of {len(probabilities)} records have a NaN score; no class can be decided from it")


def rule_of(kind: Kind) -> str:
    """Return the rule by which labels are decided, in the words of a table."""
    return HIGHEST if is_multiclass(kind) else REACHED


def threshold_columns(kind: Kind, classes: Sequence[str], thresholds: Sequence[float] | None) -> dict[str, float]:
    """Return the thresholds that decide as the columns of a table: none where the highest probability does."""
    if is_multiclass(kind):
        return {}
    return {THRESHOLD + name: NO_CHOICE if thresholds is None else thresholds[k] for k, name in enumerate(classes)}


@dataclass(frozen=True, eq=False)
class Answers:
    """What is said of N items: by record id and start, probabilities and decisions (N, K).

    Where they are known: `cluster` (N,), the patient's number, and `target` bool (N, K).
    """

    kind: Kind
    classes: tuple[str, ...]
    item: tuple[ItemKey, ...]
    probabilities: NDArray[np.float64]
    decided: Bools
    cluster: NDArray[np.int64] | None = None
    target: Bools | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.item)

    @property
    def truth(self) -> Bools:
        """The target. Raises EcgprismError where it is not known."""
        if self.target is None:
            raise EcgprismError("these answers have no labels beside them")
        return self.target

    @property
    def patients(self) -> NDArray[np.int64]:
        """The clusters; where they are not known, every item is its own."""
        return np.arange(len(self)) if self.cluster is None else self.cluster

    @classmethod
    def from_table(
        cls, table: Table, kind: Kind, classes: Sequence[str], thresholds: ArrayLike | None = None
    ) -> Answers:
        """Take answers from the columns record_id and `p_<class>`; start, cluster, `target_<class>` where known."""
        probabilities = np.column_stack([np.asarray(table[PROBABILITY + name], dtype=float) for name in classes])
        known = all(TARGET + name in table for name in classes)
        starts = table["start"] if "start" in table else np.zeros(len(probabilities), dtype=np.int64)
        return cls(
            kind,
            tuple(classes),
            tuple(zip(map(str, table["record_id"]), map(int, starts), strict=True)),
            probabilities,
            decide(probabilities, kind, thresholds),
            np.asarray(table["cluster"], dtype=np.int64) if "cluster" in table else None,
            np.column_stack([np.asarray(table[TARGET + name], dtype=bool) for name in classes]) if known else None,
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return targets, where known, and probabilities as the columns of a table."""
        found: dict[str, NDArray[Any]] = {}
        if self.target is not None:
            found |= {TARGET + name: self.target[:, k] for k, name in enumerate(self.classes)}
        return found | {PROBABILITY + name: self.probabilities[:, k] for k, name in enumerate(self.classes)}

    def labels(self) -> list[tuple[str, ...]]:
        """Return the names of the decided classes of every item."""
        return [tuple(name for name, held in zip(self.classes, row, strict=True) if held) for row in self.decided]

    def decide(self, thresholds: ArrayLike | None) -> Answers:
        """Return the same answers decided by other thresholds."""
        return replace(self, decided=decide(self.probabilities, self.kind, thresholds))

    def saying(self, probabilities: NDArray[np.float64], thresholds: ArrayLike | None) -> Answers:
        """Return other answers on the same items."""
        return replace(self, probabilities=probabilities, decided=decide(probabilities, self.kind, thresholds))

    def sorted(self) -> Answers:
        """Return the answers in the order of their items."""
        return self.take(sorted(range(len(self)), key=self.item.__getitem__))

    def take(self, rows: Sequence[int]) -> Answers:
        """Return these rows."""
        at = np.asarray(rows, dtype=np.int64)
        return replace(
            self, item=tuple(self.item[i] for i in at), probabilities=self.probabilities[at], decided=self.decided[at],
            cluster=None if self.cluster is None else self.cluster[at],
            target=None if self.target is None else self.target[at],
        )  # fmt: skip

    @classmethod
    def mean(cls, members: Sequence[Answers], thresholds: ArrayLike | None = None) -> Answers:
        """Return the mean of several models' answers on the same items. Raises EcgprismError for other items."""
        first = members[0]
        if any(each.item != first.item or each.classes != first.classes for each in members):
            raise EcgprismError("the answers of an ensemble are on different items or of different classes")
        return first.saying(np.mean([each.probabilities for each in members], axis=0), thresholds)

    @classmethod
    def pooled(cls, parts: Sequence[Answers]) -> Answers:
        """Return the answers of several folds behind each other, each as it was decided."""
        first = parts[0]
        return replace(
            first,
            item=tuple(key for each in parts for key in each.item),
            probabilities=np.concatenate([each.probabilities for each in parts]),
            decided=np.concatenate([each.decided for each in parts]),
            cluster=np.concatenate([each.patients for each in parts]),
            target=np.concatenate([each.truth for each in parts]),
        )
