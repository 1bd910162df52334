"""Feature-wise linear modulation by one view."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ecgprism.errors import ConfigError, nearest
from ecgprism.model.fusions.contract import Dropout, Embeddings, Fusion
from ecgprism.registry import register


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
