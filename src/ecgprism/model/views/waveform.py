"""The waveform view: the signal itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import Features, Shape, View, centred, valid_steps
from ecgprism.registry import register


@register("views", "waveform")
class Waveform(View):
    """The signal in time: (B, L, T), centred on each lead's mean.

    `scale`: `none` keeps millivolts (amplitude is diagnostic, in hypertrophy for one); `record` divides a record by its
    own standard deviation over all leads (for devices whose gain says nothing). `detrend_s` subtracts the mean of so
    many seconds around each sample: baseline wander goes, and what is slower than about 0.4 / `detrend_s` Hz.
    """

    def __init__(
        self, spec: InputSpec, scale: Literal["none", "record"] = "none", detrend_s: Annotated[float, Field(ge=0)] = 0.0
    ) -> None:
        """Shape (L, T) of the window; `detrend_s` 0 leaves the baseline."""
        super().__init__()
        self.leads, self.rate_hz = spec.leads, spec.rate_hz
        self.scale, self.reach = scale, round(detrend_s * spec.rate_hz / 2)
        self.shape = Shape((len(spec.leads), spec.window), "LT", timed=True)

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return leads, and seconds."""
        return {"L": list(self.leads), "T": [i / self.rate_hz for i in range(sizes[1])]}

    def forward(self, batch: Batch) -> Features:
        """Return (B, L, T); padding and missing leads stay 0."""
        x = centred(batch)
        if self.reach:
            x = self._detrended(x, batch)
        if self.scale == "record":
            count = x.shape[2] if batch.length is None else batch.length[:, None, None]
            power = x.square().sum(dim=(1, 2), keepdim=True)
            leads = batch.lead_mask.sum(dim=1).clamp(min=1)[:, None, None]
            x = x / (power / (count * leads)).clamp(min=1e-6).sqrt()
        return Features(x, batch.length)

    def _detrended(self, x: Tensor, batch: Batch) -> Tensor:
        """Return (B, L, T) less its moving mean over valid samples; padding and missing leads stay 0."""
        valid = batch.lead_mask[:, :, None].to(x.dtype).expand_as(x)
        if batch.length is not None:
            valid = valid * valid_steps(batch.length, x.shape[2])[:, None, :]
        sums, counts = (F.avg_pool1d(each, 2 * self.reach + 1, 1, self.reach) for each in (x, valid))
        return x - sums / counts.clamp(min=1e-6) * valid
