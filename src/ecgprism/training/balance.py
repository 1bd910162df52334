"""Balanced training: views learn at their own pace, and the fastest must not starve the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ecgprism.model.prism import Output, PrismModel

EPSILON = 1e-8


def dropout_at(view_dropout: float | tuple[float, float], epoch: int, epochs: int) -> float:
    """Return the share of hidden views in an epoch (from 0): constant, or linear from the first epoch to the last."""
    if isinstance(view_dropout, tuple):
        first, last = view_dropout
        return first + (last - first) * epoch / max(epochs - 1, 1)
    return view_dropout


def kept_views(present: Tensor, share: float) -> Tensor:
    """Return bool (B, V): views that the fusion may see, each hidden with probability `share`.

    A record keeps at least one view that it has: every non-empty subset of its views occurs (Neverova et al. 2016).
    """
    keep = torch.rand(present.shape, device=present.device) >= share
    one = torch.where(present, torch.rand(present.shape, device=present.device), -1.0).argmax(dim=1, keepdim=True)
    nothing_left = ~(keep & present).any(dim=1, keepdim=True)
    return keep | (nothing_left & (torch.arange(present.shape[1], device=present.device) == one))


def gradient_norms(model: PrismModel) -> dict[str, Tensor]:
    """Return by view the norm of the gradient of its encoder; 0 where it is frozen."""
    norms, nothing = {}, torch.zeros(1, device=next(model.parameters()).device)
    for name, encoder in model.encoders.items():
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        each = torch.stack(torch._foreach_norm(gradients)) if gradients else nothing
        norms[name] = torch.linalg.vector_norm(each)
    return norms


def brakes(output: Output, target: Tensor, kind: str, modulation: float) -> dict[str, Tensor]:
    """Return by view the factor (0 to 1) of its gradient: on-the-fly gradient modulation, OGM (Peng et al. 2022).

    A view's lead is the probability that its own head gives to the truth, over the mean of the other views'; whoever
    leads is braked by 1 - tanh(modulation * lead). Of more than two views the paper says nothing; for two this is it.
    """
    right = []
    for v, logits in enumerate(output.views.values()):
        if kind == "multiclass":
            truth = (logits.detach().softmax(dim=1) * target).sum(dim=1)
        else:
            truth = (target * logits.detach().sigmoid() + (1 - target) * (-logits.detach()).sigmoid()).mean(dim=1)
        there = output.present[:, v]
        right.append((truth * there).sum() / there.sum().clamp(min=1))
    factors = {}
    for v, name in enumerate(output.views):
        others = torch.stack([each for i, each in enumerate(right) if i != v]).mean()
        lead = right[v] / others.clamp(min=EPSILON)
        factors[name] = torch.where(lead > 1, 1 - torch.tanh(modulation * lead), torch.ones_like(lead))
    return factors


def modulate(model: PrismModel, factors: Mapping[str, Tensor]) -> None:
    """Scale the gradients of each view's encoder and add noise of their own size (generalisation enhancement, GE)."""
    for name, factor in factors.items():
        for parameter in model.encoders[name].parameters():
            if parameter.grad is None:
                continue
            size = parameter.grad.std() if parameter.grad.numel() > 1 else torch.zeros_like(factor)
            parameter.grad = parameter.grad * factor + torch.randn_like(parameter.grad) * (size + EPSILON)


def blend(history: Sequence[Mapping[str, float]], heads: Sequence[str]) -> dict[str, float]:
    """Return the weight of each head's loss, of sum 1: gradient blending (Wang et al. 2020), anew in every epoch.

    `heads` are the names of the training losses in the history. A weight is generalisation over squared overfitting:
    how far the validation loss fell since the first epoch, over the square of how far the gap to the training loss
    opened. Equal weights until two epochs are there.
    """
    equal = dict.fromkeys(heads, 1 / len(heads))
    if len(history) < 2:
        return equal
    raw = {}
    for head in heads:
        (train_0, val_0), (train_1, val_1) = (
            (row[head], row[head.replace("train", "val", 1)]) for row in (history[0], history[-1])
        )
        gained = max(val_0 - val_1, 0.0)
        overfitted = (val_1 - train_1) - (val_0 - train_0)
        # where no gap opened, the noise of a loss stands for it: a weight must not run away
        raw[head] = gained / max(overfitted**2, 0.01**2)
    total = sum(raw.values())
    return {head: weight / total for head, weight in raw.items()} if total > 0 else equal
