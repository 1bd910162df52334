"""Losses of a batch and of validation: the fused head's, the views' own, a second decision from some of the views."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ecgprism.config import Train
from ecgprism.interface.card import Kind
from ecgprism.interface.scoring import FUSED, Scores
from ecgprism.model.prism import Output
from ecgprism.training import balance

TRAIN_LOSS = "train_loss"


def class_weights(target: NDArray[np.bool_], kind: Kind, rule: str) -> Tensor:
    """Return (K,): of positives against negatives (multi-label) or of each class (multi-class); 1 unweighted."""
    if rule == "none":
        return torch.ones(target.shape[1])
    positive = target.sum(axis=0)
    if kind == "multilabel":
        return torch.tensor((len(target) - positive) / positive, dtype=torch.float32)
    return torch.tensor(len(target) / (len(positive) * positive), dtype=torch.float32)


def of_records(logits: Tensor, target: Tensor, kind: Kind, weight: Tensor) -> Tensor:
    """Return the loss of each record (B,): cross-entropy, or binary cross-entropy averaged over classes.

    A target may lie between 0 and 1, as a teacher's does.
    """
    if kind == "multiclass":
        return F.cross_entropy(logits, target, weight, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none").mean(dim=1)


def of_a_guess(target: NDArray[np.bool_], kind: Kind, weight: Tensor) -> float:
    """Return the mean loss of a model that says the same of every class."""
    truth = torch.from_numpy(target.astype(np.float32))
    return float(of_records(torch.zeros_like(truth), truth, kind, weight).mean())


def by_head(output: Output, target: Tensor, kind: Kind, weight: Tensor) -> dict[str, Tensor]:
    """Return the loss of the fused head, then of each view's own over the records that have it, by name in the log."""
    losses = {TRAIN_LOSS: of_records(output.fused, target, kind, weight).mean()}
    for v, (name, logits) in enumerate(output.views.items()):
        there = output.present[:, v]
        each = of_records(logits, target, kind, weight) * there
        losses[f"{TRAIN_LOSS}_{name}"] = each.sum() / there.sum().clamp(min=1)
    return losses


def total(losses: Mapping[str, Tensor], options: Train, history: list[dict[str, float]]) -> Tensor:
    """Return the loss to descend: the fused head's, and the views' own, each as heavy by default, or blended."""
    fused, *own = losses.values()
    if not own:
        return fused
    if options.balance == "blend":
        blend = balance.blend(history, list(losses))
        return torch.stack([weight * losses[name] for name, weight in blend.items()]).sum()
    weight = len(own) if options.auxiliary is None else options.auxiliary
    return fused + weight * torch.stack(own).mean()


def on_validation(scores: Scores, target: NDArray[np.bool_], weight: Tensor) -> dict[str, float]:
    """Return the losses of all windows by name in the log: fused, and of each view's head where the view is there."""
    truth = torch.from_numpy(target[scores.window_item].astype(np.float32)).to(weight.device)
    kind, found = scores.card.kind, {}
    for name, logits in scores.logits.items():
        each = of_records(torch.from_numpy(logits).to(weight.device), truth, kind, weight)
        if name == FUSED:
            found["val_loss"] = float(each.mean())
            continue
        there = torch.from_numpy(scores.present[scores.window_item, scores.card.views.index(name)]).to(weight.device)
        found[f"val_loss_{name}"] = float((each * there).sum() / there.sum().clamp(min=1))
    return found
