"""Windowed DFT as a product with a fixed matrix: only the wanted bins, differentiable, exports to ONNX as it is."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ecgprism.errors import ConfigError


class BandPower(nn.Module):
    """Power spectral density (mV^2/Hz) of overlapping frames, in a band: as scipy.signal.spectrogram, in float32.

    One-sided, Hann window, each frame's mean removed (`detrend="constant"`, `scaling="density"`).
    """

    basis: Tensor
    weight: Tensor

    def __init__(self, rate_hz: float, window_s: float, hop_s: float, low_hz: float, high_hz: float) -> None:
        """Raises ConfigError when the band holds no bin or lies above half the sampling rate."""
        super().__init__()
        self.width, self.hop = round(window_s * rate_hz), round(hop_s * rate_hz)
        if self.width < 4 or self.hop < 1:
            raise ConfigError(f"window_s={window_s:g}, hop_s={hop_s:g}: too short at {rate_hz:g} Hz")
        if not 0 <= low_hz < high_hz <= rate_hz / 2:
            raise ConfigError(f"band {low_hz:g}-{high_hz:g} Hz does not fit into 0-{rate_hz / 2:g} Hz (half the rate)")
        frequencies = np.fft.rfftfreq(self.width, 1 / rate_hz)
        bins = np.flatnonzero((frequencies >= low_hz) & (frequencies <= high_hz))
        if len(bins) < 2:
            raise ConfigError(
                f"window_s={window_s:g}: the band {low_hz:g}-{high_hz:g} Hz holds {len(bins)} frequency bins"
            )
        self.frequencies_hz = frequencies[bins]
        taper = torch.hann_window(self.width, dtype=torch.float64).numpy()
        angle = 2 * math.pi * np.outer(np.arange(self.width), bins) / self.width
        basis = taper[:, None] * np.hstack([np.cos(angle), np.sin(angle)])
        basis -= basis.mean(axis=0)  # removing a frame's mean is linear: fold it into the matrix
        density = 1 / (rate_hz * (taper**2).sum())
        both_sides = np.where((bins == 0) | (2 * bins == self.width), 1.0, 2.0)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32), persistent=False)
        self.register_buffer("weight", torch.tensor(density * both_sides, dtype=torch.float32), persistent=False)

    def frames(self, samples: int) -> int:
        """Return the number of frames of a signal; one shorter than a frame has one."""
        return max(samples - self.width, 0) // self.hop + 1

    def valid_frames(self, length: Tensor) -> Tensor:
        """Return (B,) frames that lie whole inside the valid samples (at least the first)."""
        return (length - self.width).clamp(min=0) // self.hop + 1

    def forward(self, signal: Tensor) -> Tensor:
        """Return power (B, L, N, F) of (B, L, T): N frames from the first sample on, as many as lie whole inside."""
        with torch.autocast(signal.device.type, enabled=False):
            signal = signal.float()
            if signal.shape[2] < self.width:
                signal = nn.functional.pad(signal, (0, self.width - signal.shape[2]))
            frames = signal.unfold(2, self.width, self.hop)
            # one product of all frames: a batch of small ones takes several times as long
            parts = (frames.flatten(0, 2) @ self.basis).unflatten(0, frames.shape[:3])
            bins = parts.shape[3] // 2
            return (parts[..., :bins].square() + parts[..., bins:].square()) * self.weight
