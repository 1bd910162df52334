"""The spectrum view: log power over frequency, averaged over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import Features, Shape, View, centred, valid_steps
from ecgprism.model.views.fourier import BandPower
from ecgprism.model.views.spectrogram import CENTRE, FLOOR, SPREAD
from ecgprism.registry import register


@register("views", "spectrum")
class Spectrum(View):
    """Log power spectral density by Welch's method (Welch 1967): (B, L, F), segments of `window_s` overlapping by half.

    Only segments that lie whole inside the valid samples count.
    """

    def __init__(
        self,
        spec: InputSpec,
        window_s: Annotated[float, Field(gt=0)] = 2.56,
        low_hz: Annotated[float, Field(ge=0)] = 0.5,
        high_hz: Annotated[float, Field(gt=0)] = 40.0,
    ) -> None:
        """Shape (L, F)."""
        super().__init__()
        self.leads = spec.leads
        self.power = BandPower(spec.rate_hz, window_s, window_s / 2, low_hz, high_hz)
        self.shape = Shape((len(spec.leads), len(self.power.frequencies_hz)), "LF")

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return leads, and hertz."""
        return {"L": list(self.leads), "F": self.power.frequencies_hz.tolist()}

    def forward(self, batch: Batch) -> Features:
        """Return (B, L, F), about zero mean and unit spread; missing leads are 0."""
        power = self.power(centred(batch))
        if batch.length is None:
            mean = power.mean(dim=2)
        else:
            valid = valid_steps(self.power.valid_frames(batch.length), power.shape[2])[:, None, :, None]
            mean = (power * valid).sum(dim=2) / valid.sum(dim=2)
        x = ((mean + FLOOR).log10() - CENTRE) / SPREAD
        return Features(x * batch.lead_mask[:, :, None], None)
