"""Scoring: every item in overlapping windows through an engine, windows aggregated to one answer per item.

Axis legend: B batch, N items, K classes, V views, W windows, C coalitions of views, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecgprism.interface.answers import aggregated, probabilities_of
from ecgprism.interface.card import Aggregate, Card
from ecgprism.interface.inputs import Arrays, Assembler, Windows

FUSED = "fused"


@dataclass(frozen=True, eq=False)
class Logits:
    """What an engine computes of a batch: logits (B, K) by head (`fused` and each view's own), where it has several.

    `present` bool (B, V) tells which views a record has, `embeddings` (B, D) are by view and `fused`, `coalitions`
    (C, B, K) are decided from some of the views alone, where the engine was asked to.
    """

    heads: Mapping[str, NDArray[np.float32]]
    present: NDArray[np.bool_]
    embeddings: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    coalitions: NDArray[np.float32] | None = None


class Engine(Protocol):
    """A model that computes: raw millivolts in, logits out, whatever library does it."""

    card: Card

    def run(self, arrays: Arrays) -> Logits:
        """Return logits by head and embeddings of a batch."""
        ...


@dataclass(frozen=True, eq=False)
class Scores:
    """What an engine said of N items: logits of their windows (W, K) by head, and which item each window is of.

    `present` bool (N, V); `embeddings` (N, D) by view and `fused`, the mean over windows; `coalitions` (C, W, K).
    """

    card: Card
    aggregate: Aggregate
    logits: Mapping[str, NDArray[np.float32]]
    window_item: NDArray[np.int64]
    present: NDArray[np.bool_]
    embeddings: Mapping[str, NDArray[np.float32]]
    coalition_logits: NDArray[np.float32]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated probabilities (N, K), fused."""
        return self.combine(self.logits[FUSED])

    @property
    def views(self) -> dict[str, NDArray[np.float64]]:
        """Probabilities (N, K) of each view's own head."""
        return {name: self.combine(each) for name, each in self.logits.items() if name != FUSED}

    @property
    def coalitions(self) -> NDArray[np.float64]:
        """Probabilities (C, N, K) by coalition of views."""
        return np.array([self.combine(each) for each in self.coalition_logits])

    def combine(self, logits: NDArray[np.float32], card: Card | None = None) -> NDArray[np.float64]:
        """Return probabilities (N, K) of items from logits of their windows, calibrated as a card says (its own)."""
        card = card or self.card
        each = probabilities_of(logits, card.kind, card.temperature)
        return aggregated(each, self.window_item, len(self.present), card.kind, self.aggregate)


def score(
    engine: Engine,
    assembler: Assembler,
    *,
    aggregate: Aggregate | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Run an engine over whole items: those longer than its window in windows that overlap by half.

    `aggregate` (the card's own by default) takes the mean or the maximum of the windows' probabilities.
    """
    card = engine.card
    windows = Windows.cover(assembler.lengths, card.window)
    n, w = len(assembler.lengths), len(windows.item)
    logits: dict[str, NDArray[np.float32]] = {}
    coalitions: NDArray[np.float32] | None = None
    present = np.zeros((n, len(card.views)), dtype=bool)
    vectors: dict[str, NDArray[np.float32]] = {}
    for part in windows.batches(batch_size):
        items = windows.item[part]
        found = engine.run(assembler.batch(items, windows.start[part], windows.length[part]))
        for name, each in found.heads.items():
            logits.setdefault(name, np.empty((w, each.shape[1]), dtype=np.float32))[part] = each
        if found.coalitions is not None:
            if coalitions is None:
                coalitions = np.empty((len(found.coalitions), w, found.coalitions.shape[2]), dtype=np.float32)
            coalitions[:, part] = found.coalitions
        np.logical_or.at(present, items, found.present)  # an item may have several windows in a batch
        for name, vector in found.embeddings.items():
            np.add.at(vectors.setdefault(name, np.zeros((n, vector.shape[1]), dtype=np.float32)), items, vector)
        progress(min(part.stop, w), w)
    count = np.bincount(windows.item, minlength=n)[:, None]
    return Scores(
        card=card,
        aggregate=aggregate or card.aggregate,
        logits=logits,
        window_item=windows.item,
        present=present,
        embeddings={name: (total / count).astype(np.float32) for name, total in vectors.items()},
        coalition_logits=np.empty((0, w, len(card.classes)), dtype=np.float32) if coalitions is None else coalitions,
    )
