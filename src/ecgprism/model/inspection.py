"""What a model sees: each view of a recording as an array, with what stands along its axes.

Axis legend: L leads, T samples or frames, F frequency bins or features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.interface.card import InputSpec
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import View


@dataclass(frozen=True, eq=False)
class ViewArray:
    """One view of a recording: its values, and by letter what stands along each axis (leads, Hz, s, feature names)."""

    name: str
    values: NDArray[np.float32]
    axes: dict[str, list[float] | list[str]]

    def __repr__(self) -> str:
        """Return name and shape."""
        return f"ViewArray({self.name}: {self.shape})"

    @property
    def shape(self) -> str:
        """The shape with its letters, as in `L=12 x T=1000`."""
        return " x ".join(f"{axis}={len(along)}" for axis, along in self.axes.items())


def inspect_views(views: Mapping[str, nn.Module], spec: InputSpec, recording: Recording) -> dict[str, ViewArray]:
    """Return by name what each view makes of a whole recording.

    Raises EcgprismError for a recording with none of the leads of `spec`.
    """
    if not set(recording.leads) & set(spec.leads):
        raise EcgprismError(
            f"{recording.path or 'recording'}: has none of the model's leads {', '.join(spec.leads)}; it has "
            f"{', '.join(recording.leads)}"
        )
    signal = prepared_signal(recording, spec.rate_hz)
    metadata: list[Any] = [dict(recording.metadata)]
    assembler = SignalAssembler([signal], [recording.leads], metadata, spec)
    batch = Batch.of(assembler.batch(np.array([0]), np.array([0]), np.array([signal.shape[1]])))
    found = {}
    for name, module in views.items():
        view = cast(View, module)
        buffer = next(view.buffers(), None)
        with torch.no_grad():
            values = view(batch if buffer is None else batch.to(buffer.device)).x[0].float().cpu().numpy()
        found[name] = ViewArray(name, values, view.axes(values.shape))
    return found
