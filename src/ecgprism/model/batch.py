"""Batch: the arrays of `interface.inputs` as tensors, what a network sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ecgprism.interface.inputs import Arrays


@dataclass(frozen=True)
class Batch:
    """One batch: signal float32 (B, L, T) in mV, everything in it by row.

    `length` int64 (B,) counts the valid samples, None when every row is full; `lead_mask` bool (B, L); `metadata`
    float32 (B, M) with NaN for missing, categories as their number; `target` float32 (B, K); `index` int64 (B,) is the
    item's position among the examples.
    """

    signal: Tensor
    length: Tensor | None
    lead_mask: Tensor
    metadata: Tensor
    target: Tensor | None = None
    index: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        moved = {key: value.to(device) for key, value in vars(self).items() if value is not None}
        return replace(self, **moved)

    @classmethod
    def of(cls, arrays: Arrays) -> Batch:
        """Return arrays as tensors that share their memory."""
        return cls(
            torch.from_numpy(arrays.signal),
            None if arrays.length is None else torch.from_numpy(arrays.length),
            torch.from_numpy(arrays.lead_mask),
            torch.from_numpy(arrays.metadata),
            None if arrays.target is None else torch.from_numpy(arrays.target),
            None if arrays.index is None else torch.from_numpy(arrays.index),
        )
