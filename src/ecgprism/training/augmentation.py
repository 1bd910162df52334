"""Augmentations of a training batch, on its device; drawn from the generator given, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ecgprism.config import Augment
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import centred, valid_steps

WANDER_HZ, MUSCLE_HZ = (0.05, 0.7), (20.0, 45.0)  # where baseline wander and surface EMG have their power


def augment(
    batch: Batch, options: Augment, rate_hz: float, generator: torch.Generator, noises: Sequence[Tensor] = ()
) -> Batch:
    """Return the batch with the augmentations that are switched on; padding and missing leads stay 0.

    `noises` are recorded, (C, T) at the batch's rate, one per kind: with them, every other record gets theirs.
    """
    signal, lead_mask = batch.signal, batch.lead_mask
    n, leads, samples = signal.shape

    if batch.length is None:
        valid = torch.ones(n, 1, samples, device=signal.device)
    else:
        valid = valid_steps(batch.length, samples)[:, None, :].to(signal.dtype)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device).to(signal.device)

    if options.scale:
        signal = signal * (1 + options.scale * (2 * uniform(n, 1, 1) - 1))
    if options.flip:
        signal = signal * torch.where(uniform(n, 1, 1) < options.flip, -1.0, 1.0)
    if options.noise_db:
        low, high = options.noise_db
        noise = coloured_noise(uniform(n, leads, samples), rate_hz, uniform(n, 1, 1))
        if noises:
            drawn = drawn_noise(noises, uniform(n), uniform(2, n, leads), samples)
            noise = torch.where(uniform(n, 1, 1) < 0.5, drawn, noise)
        recorded = lead_mask.sum(dim=1)[:, None, None] * valid.sum(dim=2, keepdim=True)
        power = (centred(replace(batch, signal=signal)).square().sum(dim=(1, 2), keepdim=True)) / recorded.clamp(min=1)
        ratio = 10 ** ((low + (high - low) * uniform(n, 1, 1)) / 10)
        signal = signal + noise * (power / ratio).sqrt()
    if options.frequency_mask_hz:
        signal = band_stop(signal, rate_hz, options.frequency_mask_hz * uniform(n, 1), uniform(n, 1))
    if options.time_mask:
        length = valid.sum(dim=2)
        width = options.time_mask * uniform(n, 1) * length
        start = uniform(n, 1) * (length - width)
        at = torch.arange(samples, device=signal.device)
        masked = ((at >= start) & (at < start + width))[:, None, :]
        # the lead's mean, not 0 mV: an offset would make a step of it
        level = (signal * valid).sum(dim=2, keepdim=True) / length[:, :, None].clamp(min=1)
        signal = torch.where(masked, level, signal)
    if options.lead_dropout and leads > 1:
        kept = uniform(n, leads) >= options.lead_dropout
        # a record keeps at least one of its leads
        kept |= (~(kept & lead_mask).any(dim=1, keepdim=True)) & lead_mask
        lead_mask = lead_mask & kept
    signal = signal * lead_mask[:, :, None]
    signal = signal * valid
    return replace(batch, signal=signal, lead_mask=lead_mask)


def drawn_noise(noises: Sequence[Tensor], kind: Tensor, place: Tensor, samples: int) -> Tensor:
    """Return unit-power noise (B, L, T) from records (C, T): `kind` (B,) and `place` (2, B, L: start, channel) in 0..1.

    A row has one kind of noise; each lead its own place in it.
    """
    rows = []
    for b, chosen in enumerate((kind * len(noises)).long().clamp(max=len(noises) - 1).tolist()):
        held = noises[chosen]
        start = (place[0, b] * held.shape[1]).long()[:, None] + torch.arange(samples, device=place.device)
        channel = (place[1, b] * held.shape[0]).long().clamp(max=held.shape[0] - 1)[:, None]
        part = held[channel, start % held.shape[1]]
        part = part - part.mean(dim=1, keepdim=True)
        rows.append(part / part.square().mean().clamp(min=1e-12).sqrt())
    return torch.stack(rows)


def coloured_noise(uniform: Tensor, rate_hz: float, share: Tensor) -> Tensor:
    """Return unit-power noise (B, L, T): `share` (B, 1, 1) of baseline wander, the rest in the band of muscle noise."""
    white = torch.fft.rfft(uniform - 0.5, dim=2)
    frequency = torch.fft.rfftfreq(uniform.shape[2], 1 / rate_hz, device=uniform.device)
    parts = []
    for low, high in (WANDER_HZ, MUSCLE_HZ):
        inside = (frequency >= low) & (frequency <= max(min(high, rate_hz / 2), low + rate_hz / uniform.shape[2]))
        part = torch.fft.irfft(white * inside, n=uniform.shape[2], dim=2)
        parts.append(part / part.square().mean(dim=2, keepdim=True).clamp(min=1e-12).sqrt())
    return parts[0] * share.sqrt() + parts[1] * (1 - share).sqrt()


def band_stop(signal: Tensor, rate_hz: float, width_hz: Tensor, place: Tensor) -> Tensor:
    """Return (B, L, T) without a band of `width_hz` (B, 1) that begins at the share `place` (B, 1) of 0-40 Hz."""
    spectrum = torch.fft.rfft(signal, dim=2)
    frequency = torch.fft.rfftfreq(signal.shape[2], 1 / rate_hz, device=signal.device)
    low = place * (min(40.0, rate_hz / 2) - width_hz).clamp(min=0)
    kept = (frequency < low) | (frequency > low + width_hz)
    return torch.fft.irfft(spectrum * kept[:, None, :], n=signal.shape[2], dim=2)
