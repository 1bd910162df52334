"""A 1-D residual network without recurrence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ecgprism.model.encoders.contract import Encoder, expect
from ecgprism.model.encoders.layers import AttentionPool, ConvBlock, Residual
from ecgprism.model.views.contract import Features, Shape
from ecgprism.registry import register


@register("encoders", "resnet1d")
class ResNet1d(Encoder):
    """1-D residual network (after Wang et al. 2017), `stages` of two blocks, the first of each with stride 2."""

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        width: Annotated[int, Field(gt=0)] = 32,
        stages: Annotated[int, Field(gt=0)] = 4,
        kernel: Annotated[int, Field(gt=0)] = 5,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        """Channels grow from `width` by `width` a stage; `kernel` is odd."""
        super().__init__()
        expect("resnet1d", in_shape, "leads and one axis more", len(in_shape.sizes) == 2 and in_shape.axes[0] == "L")
        expect("resnet1d", in_shape, f"an odd kernel, not {kernel}", kernel % 2 == 1)
        self.stem = ConvBlock(in_shape.sizes[0], width, (1, 2 * kernel + 1), (1, 2))
        blocks, before = [], width
        for stage in range(stages):
            after = width * (stage + 1)
            blocks.append(Residual(before, after, (1, kernel), (1, 2), dropout))
            blocks.append(Residual(after, after, (1, kernel), (1, 1), dropout))
            before = after
        self.blocks = nn.ModuleList(blocks)
        self.pool = AttentionPool(before)
        self.project = nn.Linear(2 * before, dim)

    def forward(self, features: Features) -> Tensor:
        """Return one token (B, 1, D) of (B, L, T)."""
        x, length = self.stem(features.x[:, :, None], features.length)
        for block in self.blocks:
            x, length = block(x, length)
        return self.project(self.pool(x[:, :, 0].transpose(1, 2), length))[:, None]
