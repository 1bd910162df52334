"""Attention bottlenecks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgprism.model.fusions.contract import Count, Dropout, Fusion
from ecgprism.model.fusions.layers import Attention
from ecgprism.registry import register


@register("fusions", "bottleneck")
class Bottleneck(Fusion):
    """Attention bottlenecks (Nagrani et al. 2021): views exchange what they know through a few shared tokens alone."""

    def __init__(
        self, views: tuple[str, ...], dim: int, bottlenecks: Count = 4, heads: Count = 4, layers: Count = 1,
        dropout: Dropout = 0.2,
    ) -> None:  # fmt: skip
        """`bottlenecks` shared tokens, `layers` of attention per view."""
        super().__init__()
        self.views = views
        self.norms = nn.ModuleDict({view: nn.LayerNorm(dim) for view in views})
        self.absent = nn.Parameter(0.02 * torch.randn(len(views), dim))
        self.shared = nn.Parameter(0.02 * torch.randn(bottlenecks, dim))
        self.layers = nn.ModuleList(
            nn.ModuleDict({view: Attention(dim, heads, dropout) for view in views}) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D)."""
        b, s = present.shape[0], len(self.shared)
        x = {}
        for v, view in enumerate(self.views):
            held = present[:, v, None, None]
            normed = self.norms[view](torch.where(held, tokens[view], 0.0))
            x[view] = torch.where(held, normed, self.absent[v].to(normed.dtype))
        shared = self.shared.expand(b, s, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            said = []
            for view, attention in layer.items():
                both = torch.cat([shared, x[view]], dim=1)
                both = attention(both, both.new_ones(both.shape[:2], dtype=torch.bool))
                said.append(both[:, :s])
                x[view] = both[:, s:]
            shared = torch.stack(said).mean(dim=0)
        return self.norm(shared.mean(dim=1) + torch.stack([x[view].mean(dim=1) for view in self.views]).mean(dim=0))
