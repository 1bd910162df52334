"""A multi-layer perceptron for views of fixed size."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ecgprism.model.encoders.contract import Encoder, expect
from ecgprism.model.views.contract import Features, Shape
from ecgprism.registry import register


@register("encoders", "mlp")
class Mlp(Encoder):
    """Two-layer perceptron over a flattened view without a time axis (spectrum, metadata)."""

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        hidden: Annotated[int, Field(gt=0)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    ) -> None:
        """`hidden` units in the first layer."""
        super().__init__()
        expect("mlp", in_shape, "a view of fixed size, such as (L, F) or (F,)", not in_shape.timed)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(in_shape.sizes), hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )

    def forward(self, features: Features) -> Tensor:
        """Return one token (B, 1, D) of (B, ...)."""
        return self.layers(features.x)[:, None]
