"""Late fusion: weights over the views' own logits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgprism.model.fusions.contract import Fusion, Head
from ecgprism.registry import register


@register("fusions", "late")
class Late(Fusion):
    """Learned weights per class over the views' own logits (stacking: Wolpert 1992); nothing else is shared."""

    def __init__(self, views: tuple[str, ...], dim: int) -> None:
        """Nothing is learned before the logits."""
        super().__init__()
        self.views = views

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D), the mean of the present views, as an embedding: no decision is made of it."""
        held = [torch.where(present[:, v, None], tokens[view].mean(dim=1), 0.0) for v, view in enumerate(self.views)]
        return torch.stack(held).sum(dim=0) / present.sum(dim=1, keepdim=True).clamp(min=1)

    def head(self, dim: int, classes: int) -> Head:
        """Return the weights over the views' own heads; a single view has none beside the fused one."""
        return WeightedLogits(self.views, dim, classes) if len(self.views) > 1 else Head(dim, classes)


class WeightedLogits(Head):
    """Weighted mean of the present views' logits, class by class; a record without any view gets learned logits."""

    class_axis = -1

    def __init__(self, views: tuple[str, ...], dim: int, classes: int) -> None:
        """Begin with equal weights."""
        nn.Module.__init__(self)
        self.views = views
        self.weights = nn.Parameter(torch.zeros(len(views), classes))
        self.nothing = nn.Parameter(torch.zeros(classes))

    def forward(self, fused: Tensor, own: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return logits (B, K)."""
        there = present[:, :, None]
        logits = torch.where(there, torch.stack([own[view] for view in self.views], dim=1), 0.0)
        weights = self.weights.expand_as(logits).masked_fill(~there, -1e9).softmax(dim=1)
        return torch.where(present.any(dim=1, keepdim=True), (weights * logits).sum(dim=1), self.nothing)
