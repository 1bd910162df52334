"""What a view is: a module of the model that turns a batch into one representation of the ECG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch

__all__ = ["Batch", "Features", "InputSpec", "Shape", "View", "centred", "valid_steps"]


@dataclass(frozen=True)
class Shape:
    """The shape of one record's representation; `timed`: the last axis is time and may be shorter or longer."""

    sizes: tuple[int, ...]
    axes: str
    timed: bool = False

    def __str__(self) -> str:
        """Return for example `L=12 x T=1000`."""
        return " x ".join(f"{axis}={size}" for axis, size in zip(self.axes, self.sizes, strict=True))


class Features(NamedTuple):
    """A batch of representations: `x` (B, ...) and, on a timed view, the valid steps (B,) (None: all)."""

    x: Tensor
    length: Tensor | None


class View(nn.Module):
    """Interface of every view: built from an InputSpec and options, it says its output shape."""

    shape: Shape

    def forward(self, batch: Batch) -> Features:
        """Return the representation of a batch; padding and missing leads are 0 in it."""
        raise NotImplementedError

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return what stands along each axis of a record's representation: leads, seconds, hertz (here: numbers)."""
        return {axis: [float(i) for i in range(size)] for axis, size in zip(self.shape.axes, sizes, strict=True)}

    def present(self, batch: Batch) -> Tensor:
        """Return bool (B,): whether the record has what this view looks at (here: any lead)."""
        return batch.lead_mask.any(dim=1)


def centred(batch: Batch) -> Tensor:
    """Return the signal (B, L, T) less each lead's mean over the valid samples; padding and missing leads are 0."""
    x = batch.signal
    mask = batch.lead_mask[:, :, None].to(x.dtype)
    if batch.length is None:
        return (x - x.mean(dim=2, keepdim=True)) * mask
    mask = mask * valid_steps(batch.length, x.shape[2])[:, None, :]
    return (x - (x * mask).sum(dim=2, keepdim=True) / batch.length[:, None, None]) * mask


def valid_steps(length: Tensor, steps: int) -> Tensor:
    """Return bool (B, steps): the steps before each row's length."""
    return torch.arange(steps, device=length.device) < length[:, None]
