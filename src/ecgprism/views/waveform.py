"""The waveform view: the signal itself."""

from __future__ import annotations

from typing import Literal

from ecgprism.registry import register
from ecgprism.views.contract import Batch, Features, InputSpec, Shape, View, centred


@register("views", "waveform")
class Waveform(View):
    """The signal in time: (B, L, T), centred on each lead's mean.

    `scale`: `none` keeps millivolts (amplitude is diagnostic, in hypertrophy for one); `record` divides a record by its
    own standard deviation over all leads (for devices whose gain says nothing).
    """

    def __init__(self, spec: InputSpec, scale: Literal["none", "record"] = "none") -> None:
        """Shape (L, T) of the window."""
        super().__init__()
        self.scale = scale
        self.shape = Shape((len(spec.leads), spec.window), "LT", timed=True)

    def forward(self, batch: Batch) -> Features:
        """Return (B, L, T); padding and missing leads stay 0."""
        x = centred(batch)
        if self.scale == "record":
            count = x.shape[2] if batch.length is None else batch.length[:, None, None]
            power = x.square().sum(dim=(1, 2), keepdim=True)
            leads = batch.lead_mask.sum(dim=1).clamp(min=1)[:, None, None]
            x = x / (power / (count * leads)).clamp(min=1e-6).sqrt()
        return Features(x, batch.length)
