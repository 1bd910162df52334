"""What a fusion is: {view: tokens} and a presence mask -> one vector. Missing views are handled in fusions alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

Dropout = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(gt=0)]


class Fusion(nn.Module):
    """Interface of every fusion: built from the names of the views and the token size `dim`."""

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D) of tokens (B, N, D) by view and presence bool (B, V), columns in the order of the views."""
        raise NotImplementedError

    def head(self, dim: int, classes: int) -> Head:
        """Return what turns the fused vector (B, D) into logits (B, K)."""
        return Head(dim, classes)


class Head(nn.Module):
    """One linear layer on the fused vector; its weights lie by class along `class_axis`."""

    class_axis = 0

    def __init__(self, dim: int, classes: int) -> None:
        """`dim` is the size of the fused vector."""
        super().__init__()
        self.layer = nn.Linear(dim, classes)

    def forward(self, fused: Tensor, own: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return logits (B, K); `own` has those of each view's own head (B, K), `present` is bool (B, V)."""
        return self.layer(fused)


class Embeddings(nn.Module):
    """Each view's pooled and normalised tokens; a missing view is a learned vector of its own."""

    def __init__(self, views: tuple[str, ...], dim: int) -> None:
        """One norm and one vector of absence per view."""
        super().__init__()
        self.views = views
        self.norms = nn.ModuleDict({view: nn.LayerNorm(dim) for view in views})
        self.absent = nn.Parameter(torch.zeros(len(views), dim))

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, V, D)."""
        parts = []
        for v, view in enumerate(self.views):
            there = present[:, v, None]
            # cleared before the norm too: whatever a missing view gave, even NaN, reaches no gradient
            pooled = self.norms[view](torch.where(there, tokens[view].mean(dim=1), 0.0))
            parts.append(torch.where(there, pooled, self.absent[v].to(pooled.dtype)))
        return torch.stack(parts, dim=1)
