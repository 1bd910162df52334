"""Gated multimodal unit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgprism.model.fusions.contract import Dropout, Embeddings, Fusion
from ecgprism.registry import register


@register("fusions", "gated")
class Gated(Fusion):
    """Gated multimodal unit (Arevalo et al. 2017): what all views say decides how much each of them counts."""

    def __init__(self, views: tuple[str, ...], dim: int, dropout: Dropout = 0.2) -> None:
        """`dropout` on the fused vector."""
        super().__init__()
        self.embeddings = Embeddings(views, dim)
        self.own = nn.ModuleDict({view: nn.Linear(dim, dim) for view in views})
        self.gates = nn.Linear(len(views) * dim, len(views) * dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D)."""
        each = self.embeddings(tokens, present)
        values = torch.stack([layer(each[:, v]) for v, layer in enumerate(self.own.values())], dim=1).tanh()
        gates = self.gates(each.flatten(1)).view_as(each)
        # a missing view has no weight; a record without any takes the learned absences evenly
        there = present | ~present.any(dim=1, keepdim=True)
        weights = gates.masked_fill(~there[:, :, None], float("-inf")).softmax(dim=1)
        return self.dropout((weights * values).sum(dim=1))
