"""A 2-D CNN over time and frequency, then a recurrent network over time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ecgprism.model.encoders.contract import Encoder, expect
from ecgprism.model.encoders.layers import AttentionPool, BiLstm, ConvBlock, Residual
from ecgprism.model.views.contract import Features, Shape
from ecgprism.registry import register


@register("encoders", "crnn2d")
class Crnn2d(Encoder):
    """2-D CNN over (F, T) with the leads as channels, frequency halved at every stage, BiLSTM, attention pooling."""

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        width: Annotated[int, Field(gt=0)] = 24,
        stages: Annotated[int, Field(gt=0)] = 3,
        hidden: Annotated[int, Field(gt=0)] = 64,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        """Channels grow from `width` by `width` a stage; time is halved once, in the first stage."""
        super().__init__()
        expect("crnn2d", in_shape, "(L, F, T) with time last", len(in_shape.sizes) == 3)
        self.stem = ConvBlock(in_shape.sizes[0], width, (3, 3), (2, 1))
        widths = [width * (stage + 1) for stage in range(stages)]
        self.stages = nn.ModuleList(
            Residual(before, after, (3, 3), (2, 2 if stage == 0 else 1), dropout)
            for stage, (before, after) in enumerate(zip([width, *widths], widths, strict=False))
        )
        frequencies = in_shape.sizes[1]
        for _ in range(stages + 1):
            frequencies = (frequencies + 1) // 2
        self.lstm = BiLstm(widths[-1] * frequencies, hidden)
        self.pool = AttentionPool(2 * hidden)
        self.project = nn.Linear(4 * hidden, dim)

    def forward(self, features: Features) -> Tensor:
        """Return one token (B, 1, D) of (B, L, F, T)."""
        x, length = self.stem(features.x, features.length)
        for stage in self.stages:
            x, length = stage(x, length)
        x = self.lstm(x.flatten(1, 2).transpose(1, 2), length)
        return self.project(self.pool(x, length))[:, None]
