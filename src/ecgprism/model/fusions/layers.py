"""What several fusions are built of."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ecgprism.errors import ConfigError


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
