"""views_of(): what a model sees of a recording, both of them by file where that is what one has."""

from __future__ import annotations

from pathlib import Path

from ecgprism.ecg.recording import Recording
from ecgprism.formats import reading
from ecgprism.model.inspection import ViewArray
from ecgprism.model.prism import PrismModel


def views_of(model: PrismModel | str | Path, recording: Recording | str | Path) -> dict[str, ViewArray]:
    """Return by name what each view of a model makes of a whole recording; `model.views_of` for what is at hand.

    Raises EcgprismError for a recording with none of the model's leads.
    """
    loaded = model if isinstance(model, PrismModel) else PrismModel.load(model)
    held = recording if isinstance(recording, Recording) else reading.read(recording, loaded.card.lead_aliases)
    return loaded.views_of(held)
