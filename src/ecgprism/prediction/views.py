"""What a model sees: each view of a recording as an array, with what stands along its axes.

Axis legend: L leads, T samples or frames, F frequency bins or features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.formats import reading
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.model.batch import Batch
from ecgprism.model.prism import PrismModel
from ecgprism.model.views.contract import View


@dataclass(frozen=True, eq=False)
class ViewArray:
    """One view of a recording: its values, and by letter what stands along each axis (leads, Hz, s, feature names)."""

    name: str
    values: NDArray[np.float32]
    axes: dict[str, list[float] | list[str]]

    def __repr__(self) -> str:
        """Return name and shape."""
        return f"ViewArray({self.name}: {' x '.join(f'{axis}={len(along)}' for axis, along in self.axes.items())})"


def views_of(model: PrismModel | str | Path, recording: Recording | str | Path) -> dict[str, ViewArray]:
    """Return by name what each view of a model makes of a whole recording.

    Raises EcgprismError for a recording with none of the model's leads.
    """
    loaded = model if isinstance(model, PrismModel) else PrismModel.load(model)
    held = recording if isinstance(recording, Recording) else reading.read(recording, loaded.card.lead_aliases)
    if not set(held.leads) & set(loaded.spec.leads):
        raise EcgprismError(f"{held.path}: has none of the model's leads {', '.join(loaded.spec.leads)}")
    signal = prepared_signal(held, loaded.spec.rate_hz)
    metadata: list[Any] = [dict(held.metadata)]
    assembler = SignalAssembler([signal], [held.leads], metadata, loaded.spec)
    whole = np.array([signal.shape[1]])
    batch = Batch.of(assembler.batch(np.array([0]), np.array([0]), whole))
    found = {}
    for name, module in loaded.views.items():
        view = cast(View, module)
        values = view(batch).x[0].detach().numpy()
        found[name] = ViewArray(name, values, view.axes(values.shape))
    return found
