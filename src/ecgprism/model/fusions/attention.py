"""Attention over the tokens of all views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgprism.model.fusions.contract import Count, Dropout, Fusion
from ecgprism.model.fusions.layers import Attention
from ecgprism.registry import register


@register("fusions", "attention")
class AttentionFusion(Fusion):
    """Tokens and names of all views attend to each other; a class token is the result (Devlin et al. 2019)."""

    def __init__(
        self, views: tuple[str, ...], dim: int, heads: Count = 4, layers: Count = 1, dropout: Dropout = 0.2
    ) -> None:
        """`layers` of self-attention; `dim` is a multiple of `heads`."""
        super().__init__()
        self.views = views
        self.norms = nn.ModuleDict({view: nn.LayerNorm(dim) for view in views})
        self.names = nn.Parameter(0.02 * torch.randn(len(views), dim))
        self.absent = nn.Parameter(0.02 * torch.randn(len(views), dim))
        self.first = nn.Parameter(0.02 * torch.randn(dim))
        self.layers = nn.ModuleList(Attention(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D)."""
        b = present.shape[0]
        parts, there = [self.first.expand(b, 1, -1)], [present.new_ones(b, 1)]
        for v, view in enumerate(self.views):
            held = present[:, v, None, None]
            normed = self.norms[view](torch.where(held, tokens[view], 0.0)) + self.names[v]
            # a missing view is one token that says so, and the places of its own tokens are not attended to
            parts += [normed, torch.where(held, 0.0, self.absent[v]).to(normed.dtype)]
            there += [present[:, v, None].expand(b, normed.shape[1]), ~present[:, v, None]]
        x, mask = torch.cat(parts, dim=1), torch.cat(there, dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x[:, 0])
