"""Fusion: {view: tokens} and a presence mask -> one vector. Missing views are handled here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ecgprism.errors import ConfigError, nearest
from ecgprism.registry import register

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
    """One linear layer on the fused vector."""

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


class Attention(nn.Module):
    """One pre-norm transformer layer (Vaswani et al. 2017) over (B, N, D) that attends to present tokens alone."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        """`dim` is a multiple of `heads`."""
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim {dim} is no multiple of heads {heads}")
        self.heads = heads
        self.before, self.after = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.layers = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Return (B, N, D); `there` bool (B, N) has at least one token a row."""
        b, n, d = x.shape
        q, k, v = self.query_key_value(self.before(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        score = (q @ k.transpose(2, 3)) / math.sqrt(d // self.heads)
        weight = score.masked_fill(~there[:, None, None, :], float("-inf")).softmax(dim=3)
        x = x + self.out((weight @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.layers(self.after(x))


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
        b = len(present)
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


@register("fusions", "film")
class Film(Fusion):
    """Feature-wise linear modulation (Perez et al. 2018): one view, such as metadata, scales and shifts the others."""

    def __init__(self, views: tuple[str, ...], dim: int, by: str | None = None, dropout: Dropout = 0.2) -> None:
        """`by` names the view that modulates (the last one by default); needs another one beside it."""
        super().__init__()
        if by is not None and by not in views:
            raise ConfigError(f"film: by = {by!r} is no view{nearest(by, views)}")
        self.at = len(views) - 1 if by is None else views.index(by)
        self.embeddings = Embeddings(views, dim)
        others = max(len(views) - 1, 1)
        self.layers = nn.Sequential(nn.Linear(others * dim, dim), nn.ReLU(), nn.Dropout(dropout))
        self.scale_shift = nn.Linear(dim, 2 * dim)

    def forward(self, tokens: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return (B, D)."""
        each = self.embeddings(tokens, present)
        others = [v for v in range(each.shape[1]) if v != self.at] or [self.at]
        scale, shift = self.scale_shift(each[:, self.at]).chunk(2, dim=1)
        return self.layers(each[:, others].flatten(1)) * (1 + scale) + shift


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
        b, s = len(present), len(self.shared)
        x = {}
        for v, view in enumerate(self.views):
            held = present[:, v, None, None]
            normed = self.norms[view](torch.where(held, tokens[view], 0.0))
            x[view] = torch.where(held, normed, self.absent[v].to(normed.dtype))
        shared = self.shared.expand(b, s, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            told = []
            for view, attention in layer.items():
                both = torch.cat([shared, x[view]], dim=1)
                both = attention(both, both.new_ones(both.shape[:2], dtype=torch.bool))
                told.append(both[:, :s])
                x[view] = both[:, s:]
            shared = torch.stack(told).mean(dim=0)
        return self.norm(shared.mean(dim=1) + torch.stack([x[view].mean(dim=1) for view in self.views]).mean(dim=0))
