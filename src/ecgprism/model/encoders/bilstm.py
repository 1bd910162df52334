"""A bidirectional LSTM over a sequence of tokens, such as beats."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ecgprism.model.encoders.contract import Encoder, expect
from ecgprism.model.encoders.layers import AttentionPool, BiLstm
from ecgprism.model.views.contract import Features, Shape
from ecgprism.registry import register


@register("encoders", "bilstm")
class SequenceBiLstm(Encoder):
    """Linear layer, bidirectional LSTM, attention pooling over the steps of (D, N) or (L, T); no step is left out."""

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        width: Annotated[int, Field(gt=0)] = 48,
        hidden: Annotated[int, Field(gt=0)] = 48,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        """`width` features a step, `hidden` units a direction; `dropout` of the features."""
        super().__init__()
        expect("bilstm", in_shape, "a feature axis and time", len(in_shape.sizes) == 2 and in_shape.timed)
        self.lift = nn.Sequential(nn.Linear(in_shape.sizes[0], width), nn.LayerNorm(width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.lstm = BiLstm(width, hidden)
        self.pool = AttentionPool(2 * hidden)
        self.project = nn.Linear(4 * hidden, dim)

    def forward(self, features: Features) -> Tensor:
        """Return one token (B, 1, D) of (B, D, N)."""
        x = self.dropout(self.lift(features.x.transpose(1, 2)))
        return self.project(self.pool(self.lstm(x, features.length), features.length))[:, None]
