"""The spectrogram view: log power over time and frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import Features, Shape, View, centred, valid_steps
from ecgprism.model.views.fourier import BandPower
from ecgprism.registry import register

#: mV^2/Hz below which everything is noise of the converter (a step of 5 uV at 100 Hz is about 1e-6)
FLOOR = 1e-6
#: log10 power of ECGs lies about -3 with a spread of about 1.5: brings the network's input near zero mean, unit spread
CENTRE, SPREAD = -3.0, 1.5


@register("views", "spectrogram")
class Spectrogram(View):
    """Log power of the short-time Fourier transform: (B, L, F, T).

    `window_s` and `hop_s` in seconds, band `low_hz` to `high_hz`; frames begin at the first sample, and only frames
    that lie whole inside the valid samples count.
    """

    def __init__(
        self,
        spec: InputSpec,
        window_s: Annotated[float, Field(gt=0)] = 0.64,
        hop_s: Annotated[float, Field(gt=0)] = 0.16,
        low_hz: Annotated[float, Field(ge=0)] = 0.5,
        high_hz: Annotated[float, Field(gt=0)] = 40.0,
    ) -> None:
        """Shape (L, F, T) of the window."""
        super().__init__()
        self.leads, self.rate_hz = spec.leads, spec.rate_hz
        self.power = BandPower(spec.rate_hz, window_s, hop_s, low_hz, high_hz)
        sizes = (len(spec.leads), len(self.power.frequencies_hz), self.power.frames(spec.window))
        self.shape = Shape(sizes, "LFT", timed=True)

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return leads, hertz, and the seconds at the middle of each frame."""
        power = self.power
        times_s = [(i * power.hop + power.width / 2) / self.rate_hz for i in range(sizes[2])]
        return {"L": list(self.leads), "F": power.frequencies_hz.tolist(), "T": times_s}

    def forward(self, batch: Batch) -> Features:
        """Return (B, L, F, T), about zero mean and unit spread; padding and missing leads are 0."""
        log_power = ((self.power(centred(batch)) + FLOOR).log10() - CENTRE) / SPREAD
        x = log_power.transpose(2, 3) * batch.lead_mask[:, :, None, None]
        if batch.length is None:
            return Features(x, None)
        length = self.power.valid_frames(batch.length)
        return Features(x * valid_steps(length, x.shape[3])[:, None, None, :], length)
