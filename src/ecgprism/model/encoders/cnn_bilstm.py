"""A 1-D CNN with a bidirectional LSTM: beats by convolution, rhythm by recurrence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ecgprism.model.encoders.contract import Encoder, expect
from ecgprism.model.encoders.layers import AttentionPool, BiLstm, ConvBlock, Residual
from ecgprism.model.views.contract import Features, Shape
from ecgprism.registry import register

LONG = 500  # samples


@register("encoders", "cnn_bilstm")
class CnnBiLstm(Encoder):
    """Residual 1-D CNN (`stages` of stride 2 after a strided stem), bidirectional LSTM, attention pooling."""

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        width: Annotated[int, Field(gt=0)] = 32,
        stages: Annotated[int, Field(gt=0)] = 4,
        kernel: Annotated[int, Field(gt=0)] = 7,
        hidden: Annotated[int, Field(gt=0)] = 64,
        stem_stride: Annotated[int, Field(gt=0)] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        """Channels grow from `width` by `width` a stage; `kernel` is odd; `hidden` LSTM units a direction.

        `stem_stride` is 4 for a signal of LONG samples and more, 2 for a shorter one.
        """
        super().__init__()
        expect("cnn_bilstm", in_shape, "leads and one axis more", len(in_shape.sizes) == 2 and in_shape.axes[0] == "L")
        expect("cnn_bilstm", in_shape, f"an odd kernel, not {kernel}", kernel % 2 == 1)
        stem_stride = stem_stride or (4 if in_shape.sizes[1] >= LONG else 2)
        self.stem = ConvBlock(in_shape.sizes[0], width, (1, 2 * kernel + 1), (1, stem_stride))
        widths = [width * (stage + 1) for stage in range(stages)]
        self.stages = nn.ModuleList(
            Residual(before, after, (1, kernel), (1, 2), dropout)
            for before, after in zip([width, *widths], widths, strict=False)
        )
        self.lstm = BiLstm(widths[-1], hidden)
        self.pool = AttentionPool(2 * hidden)
        self.project = nn.Linear(4 * hidden, dim)

    def forward(self, features: Features) -> Tensor:
        """Return one token (B, 1, D) of (B, L, T)."""
        x, length = self.stem(features.x[:, :, None], features.length)
        for stage in self.stages:
            x, length = stage(x, length)
        x = self.lstm(x[:, :, 0].transpose(1, 2), length)
        return self.project(self.pool(x, length))[:, None]
