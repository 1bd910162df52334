"""The moving average of a model's weights, which is validated and kept."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class MovingAverage(Generic[Model]):
    """Exponential moving average of weights and buffers, slower as training goes on, up to a decay.

    What is no floating-point number (a counter of batches) is copied.
    """

    def __init__(self, model: Model, decay: float) -> None:
        """Begin as a copy of the model."""
        self.model, self.decay, self.steps = copy.deepcopy(model), decay, 0

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take up the model after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 0.0
        self.steps += 1
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        averaged, current = zip(*((a, c) for a, c in pairs if a.is_floating_point()), strict=True)
        if decay:
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay)
        else:
            torch._foreach_copy_(list(averaged), list(current))
        for a, c in pairs:
            if not a.is_floating_point():
                a.copy_(c)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"steps": self.steps, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.steps = state["steps"]
        self.model.load_state_dict(state["model"])


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
