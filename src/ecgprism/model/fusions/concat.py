"""Concatenation of the views' embeddings."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ecgprism.model.fusions.contract import Dropout, Embeddings, Fusion
from ecgprism.registry import register


@register("fusions", "concat")
class Concat(Fusion):
    """Concatenated normalised embeddings and one layer; a missing view is a learned vector of its own."""

    def __init__(self, views: tuple[str, ...], dim: int, dropout: Dropout = 0.2) -> None:
        """`dropout` on the fused vector."""
        super().__init__()
        self.embeddings = Embeddings(views, dim)
        self.layers = nn.Sequential(nn.Linear(len(views) * dim, dim), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D)."""
        return self.layers(self.embeddings(tokens, present).flatten(1))
