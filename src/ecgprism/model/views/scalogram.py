"""The scalogram view: log power of a continuous wavelet transform over time and log-spaced frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ecgprism.errors import ConfigError
from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import Features, Shape, View, centred, valid_steps
from ecgprism.registry import register

WIDTHS = 3.0  # of the Gaussian, to either side: beyond, a hundredth of the wavelet is left
FLOOR = 1e-6  # mV^2 below which everything is noise of the converter
#: log10 power (mV^2) of ECGs lies about -3.4 with a spread of about 1.2
CENTRE, SPREAD = -3.4, 1.2


@register("views", "scalogram")
class Scalogram(View):
    """Log power of the Morlet wavelet transform (Torrence and Compo 1998): (B, L, F, T), frequencies log-spaced.

    A sine of amplitude A mV has the power A^2 at its frequency. High frequencies are sharp in time, low ones in
    frequency: `omega` is how many radians a wavelet turns within its width. `hop_s` in seconds.
    """

    def __init__(
        self,
        spec: InputSpec,
        low_hz: Annotated[float, Field(gt=0)] = 0.5,
        high_hz: Annotated[float, Field(gt=0)] = 45.0,
        scales: Annotated[int, Field(ge=2, le=512)] = 28,
        hop_s: Annotated[float, Field(gt=0)] = 0.16,
        omega: Annotated[float, Field(ge=2, le=30)] = 6.0,
    ) -> None:
        """Shape (L, F, T) of the window; a band up to 45 Hz ends at 0.45 of a lower rate."""
        super().__init__()
        high_hz = min(high_hz, 0.45 * spec.rate_hz)
        if not low_hz < high_hz:
            raise ConfigError(f"low_hz = {low_hz:g}: expected less than {high_hz:g} Hz, where the band ends")
        self.hop = round(hop_s * spec.rate_hz)
        if self.hop < 1:
            raise ConfigError(f"hop_s = {hop_s:g}: shorter than a sample at {spec.rate_hz:g} Hz")
        self.leads, self.rate_hz = spec.leads, spec.rate_hz
        self.frequencies_hz = np.geomspace(low_hz, high_hz, scales)
        self.banks = nn.ModuleList(
            Bank(morlets(part, spec.rate_hz, omega, spec.window), self.hop) for part in _octaves(self.frequencies_hz)
        )
        self.shape = Shape((len(spec.leads), scales, -(-spec.window // self.hop)), "LFT", timed=True)

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return leads, hertz, and the seconds of each step."""
        times_s = [i * self.hop / self.rate_hz for i in range(sizes[2])]
        return {"L": list(self.leads), "F": self.frequencies_hz.tolist(), "T": times_s}

    def forward(self, batch: Batch) -> Features:
        """Return (B, L, F, T), about zero mean and unit spread; padding and missing leads are 0."""
        with torch.autocast(batch.signal.device.type, enabled=False):
            signal = centred(batch).float()
            power = torch.cat([bank(signal) for bank in self.banks], dim=2)
        x = ((power + FLOOR).log10() - CENTRE) / SPREAD * batch.lead_mask[:, :, None, None]
        if batch.length is None:
            return Features(x, None)
        length = -(-batch.length // self.hop)
        return Features(x * valid_steps(length, x.shape[3])[:, None, None, :], length)


class Bank(nn.Module):
    """The squared absolute of a signal's product with some wavelets, every `hop` samples; beyond its ends it is 0."""

    wavelets: Tensor

    def __init__(self, wavelets: NDArray[np.complex128], hop: int) -> None:
        """`wavelets` (F, W) of odd width, the middle at the sample they are of."""
        super().__init__()
        parts = np.concatenate([wavelets.real, wavelets.imag]).T
        self.register_buffer("wavelets", torch.tensor(parts, dtype=torch.float32), persistent=False)
        self.hop = hop

    def forward(self, signal: Tensor) -> Tensor:
        """Return (B, L, F, T/hop) of (B, L, T)."""
        width, both = self.wavelets.shape
        steps = -(-signal.shape[2] // self.hop)
        after = (steps - 1) * self.hop + width - width // 2 - signal.shape[2]
        padded = nn.functional.pad(signal, (width // 2, max(after, 0)))
        frames = padded.unfold(2, width, self.hop)[:, :, :steps]
        found = (frames.flatten(0, 2) @ self.wavelets).unflatten(0, frames.shape[:3])
        return (found[..., : both // 2].square() + found[..., both // 2 :].square()).transpose(2, 3)


def morlets(frequencies_hz: NDArray[np.float64], rate_hz: float, omega: float, window: int) -> NDArray[np.complex128]:
    """Return Morlet wavelets (F, W), complex conjugate, so that a sine of amplitude 1 gives an absolute of 1.

    W is that of the lowest frequency, and no more than the window (samples).
    """
    sigma = omega / (2 * math.pi * frequencies_hz) * rate_hz  # samples
    reach = min(math.ceil(WIDTHS * sigma.max()), window // 2)
    t = np.arange(-reach, reach + 1)
    envelope = np.exp(-0.5 * (t / sigma[:, None]) ** 2)
    wave = envelope * np.exp(-2j * math.pi * frequencies_hz[:, None] / rate_hz * t)
    wave -= envelope * (wave.sum(axis=1) / envelope.sum(axis=1))[:, None]  # no answer to a constant
    return 2 * wave / envelope.sum(axis=1)[:, None]


def _octaves(frequencies_hz: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the frequencies by octave: each has wavelets of its own width, which saves nine tenths of the products."""
    octave = np.floor(np.log2(frequencies_hz / frequencies_hz[0]) + 1e-9)
    return [frequencies_hz[octave == number] for number in np.unique(octave)]
