"""Fusion: {view: tokens} and a presence mask -> one vector. Missing views are handled here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ecgprism.registry import register


class Fusion(nn.Module):
    """Interface of every fusion: built from the names of the views and the token size `dim`."""

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D) of tokens (B, N, D) by view and presence bool (B, V), columns in the order of the views."""
        raise NotImplementedError


@register("fusions", "concat")
class Concat(Fusion):
    """Concatenated normalised embeddings and one layer; a missing view is a learned vector of its own."""

    def __init__(self, views: tuple[str, ...], dim: int, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2) -> None:
        """`dropout` on the fused vector."""
        super().__init__()
        self.views = views
        self.norms = nn.ModuleDict({view: nn.LayerNorm(dim) for view in views})
        self.absent = nn.Parameter(torch.zeros(len(views), dim))
        self.layers = nn.Sequential(nn.Linear(len(views) * dim, dim), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D)."""
        parts = []
        for v, view in enumerate(self.views):
            there = present[:, v, None]
            # cleared before the norm too: whatever a missing view gave, even NaN, reaches no gradient
            pooled = self.norms[view](torch.where(there, tokens[view].mean(dim=1), 0.0))
            parts.append(torch.where(there, pooled, self.absent[v].to(pooled.dtype)))
        return self.layers(torch.cat(parts, dim=1))
