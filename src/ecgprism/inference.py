"""Inference: every item in overlapping windows through the model, windows aggregated to one answer per item."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ecgprism.batch import Assembler, Windows
from ecgprism.model import PrismModel

Aggregate = Literal["mean", "max"]


@dataclass(frozen=True)
class Scores:
    """Per item: probabilities (N, K), fused, of each view's own head, and by coalition (C, N, K); which views it has
    (N, V); embeddings (N, D) by view and `fused`; logits (windows, K), fused and of each view, with their item.
    """

    probabilities: NDArray[np.float64]
    views: dict[str, NDArray[np.float64]]
    coalitions: NDArray[np.float64]
    present: NDArray[np.bool_]
    embeddings: dict[str, NDArray[np.float32]]
    window_logits: NDArray[np.float32]
    window_logits_of_views: dict[str, NDArray[np.float32]]
    window_item: NDArray[np.int64]


def score(
    model: PrismModel,
    assembler: Assembler,
    *,
    aggregate: Aggregate | None = None,
    batch_size: int = 64,
    embeddings: bool = False,
    hidden: Collection[str] = (),
    coalitions: NDArray[np.bool_] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Run the model over whole items: those longer than its window in windows that overlap by half.

    `aggregate` (the model's own by default) takes the mean or the maximum of the windows' probabilities; a maximum over
    exclusive classes is normalised to sum 1 again. Embeddings are averaged. The fusion does not see the views named in
    `hidden`; for each row of `coalitions`, bool (C, V), it decides once more from these views alone (a record that has
    none of them gets what the model says of a record without any view).
    """
    aggregate = aggregate or model.card.aggregate
    device = next(model.parameters()).device
    windows = Windows.cover(assembler.lengths, model.spec.window)
    n, k = len(assembler.lengths), len(model.task.classes)
    logits = np.empty((len(windows.item), k), dtype=np.float32)
    own = {name: np.empty_like(logits) for name in model.view_heads}
    subsets = np.zeros((0, len(model.branches)), dtype=bool) if coalitions is None else coalitions
    of_subsets = np.empty((len(subsets), *logits.shape), dtype=np.float32)
    present = np.zeros((n, len(model.branches)), dtype=bool)
    seen = torch.tensor([name not in hidden for name in model.branches], device=device)
    vectors: dict[str, NDArray[np.float32]] = {}
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for part in windows.batches(batch_size):
            items = windows.item[part]
            batch = assembler.batch(items, windows.start[part], windows.length[part]).to(device)
            tokens, there = model.encode(batch), model.present(batch)
            output = model.decide(tokens, there, seen.expand_as(there))
            logits[part] = output.fused.cpu().numpy()
            for name, each in output.views.items():
                own[name][part] = each.cpu().numpy()
            for c, subset in enumerate(subsets):
                kept = torch.from_numpy(subset).to(device).expand_as(there)
                of_subsets[c, part] = model.decide(tokens, there, kept).fused.cpu().numpy()
            np.logical_or.at(present, items, there.cpu().numpy())  # an item may have several windows in a batch
            if embeddings:
                for name, vector in output.embeddings.items():
                    total = vectors.setdefault(name, np.zeros((n, vector.shape[1]), dtype=np.float32))
                    np.add.at(total, items, vector.float().cpu().numpy())
            progress(min(part.stop, len(windows.item)), len(windows.item))
    model.train(was_training)
    count = np.bincount(windows.item, minlength=n)[:, None]
    return Scores(
        probabilities=combine(model, logits, windows.item, n, aggregate),
        views={name: combine(model, each, windows.item, n, aggregate) for name, each in own.items()},
        coalitions=np.array([combine(model, each, windows.item, n, aggregate) for each in of_subsets]),
        present=present,
        embeddings={name: (total / count).astype(np.float32) for name, total in vectors.items()},
        window_logits=logits,
        window_logits_of_views=own,
        window_item=windows.item,
    )


def combine(
    model: PrismModel, logits: NDArray[np.float32], item: NDArray[np.int64], n: int, aggregate: Aggregate
) -> NDArray[np.float64]:
    """Return probabilities (N, K) of items from the logits of their windows."""
    each = model.probabilities(torch.from_numpy(logits).double()).numpy()
    out = np.zeros((n, each.shape[1]))
    if aggregate == "max":
        np.maximum.at(out, item, each)
        return out / out.sum(axis=1, keepdims=True) if model.task.kind == "multiclass" else out
    np.add.at(out, item, each)
    return out / np.bincount(item, minlength=n)[:, None]
