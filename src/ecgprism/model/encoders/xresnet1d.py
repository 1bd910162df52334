"""XResNet in one dimension, the strongest network of the PTB-XL benchmark."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ecgprism.model.encoders.contract import Encoder, expect
from ecgprism.model.encoders.layers import ConvBlock, Shortcut, strided, time_mask
from ecgprism.model.views.contract import Features, Shape, valid_steps
from ecgprism.registry import register

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = {18: 1, 34: 1, 50: 4, 101: 4}


@register("encoders", "xresnet1d")
class XResNet1d(Encoder):
    """XResNet (He et al. 2019) in one dimension, as Strodthoff et al. (2021) used it; depth 101 has 2 M parameters.

    Three convolutions to begin with, shortcuts that average, the last normalisation of a block begins at 0, mean and
    maximum over time. `depth` 18 or 34 has blocks of two convolutions, 50 or 101 bottlenecks of three.
    """

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        depth: Annotated[int, Field(ge=18, le=101)] = 101,
        width: Annotated[int, Field(gt=0)] = 64,
        kernel: Annotated[int, Field(gt=0)] = 5,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        """`width` channels in the blocks of every stage, before expansion; `kernel` is odd."""
        super().__init__()
        expect("xresnet1d", in_shape, "leads and time", in_shape.axes == "LT")
        expect("xresnet1d", in_shape, f"a depth of {', '.join(map(str, BLOCKS))}, not {depth}", depth in BLOCKS)
        expect("xresnet1d", in_shape, f"an odd kernel, not {kernel}", kernel % 2 == 1)
        half = max(width // 2, 1)
        shapes = [(in_shape.sizes[0], half, 2), (half, half, 1), (half, width, 1)]
        self.stem = nn.ModuleList(ConvBlock(a, b, (1, kernel), (1, stride)) for a, b, stride in shapes)
        blocks, before = [], width
        for stage, count in enumerate(BLOCKS[depth]):
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Block(before, width, EXPANSION[depth], kernel, stride))
                before = width * EXPANSION[depth]
        self.blocks = nn.ModuleList(blocks)
        self.project = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * before, dim))

    def forward(self, features: Features) -> Tensor:
        """Return one token (B, 1, D) of (B, L, T)."""
        x, length = features.x[:, :, None], features.length
        for layer in self.stem:
            x, length = layer(x, length)
        x = F.max_pool2d(x, (1, 3), (1, 2), (0, 1))  # what is padded is 0, and nothing here is less
        length = strided(length, 2)
        mask = time_mask(length, x)
        x = x if mask is None else x * mask  # the window after the last one sees the last step, too
        for block in self.blocks:
            x, length = block(x, length)
        x = x[:, :, 0]
        if length is None:
            return self.project(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))[:, None]
        mean = x.sum(dim=2) / length[:, None].clamp(min=1)
        highest = x.masked_fill(~valid_steps(length, x.shape[2])[:, None, :], float("-inf")).amax(dim=2)
        return self.project(torch.cat([mean, highest], dim=1))[:, None]


class Block(nn.Module):
    """Two convolutions, or a bottleneck of three, beside a shortcut that averages where the block strides."""

    def __init__(self, inputs: int, width: int, expansion: int, kernel: int, stride: int) -> None:
        """Channels go from `inputs` over `width` to `width` times `expansion`."""
        super().__init__()
        outputs, wide = width * expansion, (1, kernel)
        if expansion == 1:
            layers = [ConvBlock(inputs, width, wide, (1, stride)), ConvBlock(width, outputs, wide, (1, 1), relu=False)]
        else:
            layers = [
                ConvBlock(inputs, width, (1, 1), (1, 1)),
                ConvBlock(width, width, wide, (1, stride)),
                ConvBlock(width, outputs, (1, 1), (1, 1), relu=False),
            ]
        nn.init.zeros_(layers[-1].norm.weight)
        self.layers = nn.ModuleList(layers)
        self.shortcut = None if inputs == outputs and stride == 1 else Shortcut(inputs, outputs, (1, stride))

    def forward(self, x: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the block's output and its valid steps."""
        y, shorter = x, length
        for layer in self.layers:
            y, shorter = layer(y, shorter)
        return F.relu((x if self.shortcut is None else self.shortcut(x, length)) + y), shorter
