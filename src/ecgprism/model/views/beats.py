"""QRS complexes by tensor operations: found on any device, inside an exported model, and differentiable around them.

Axis legend: B batch, L leads, T samples, N blocks of REFRACTORY_S; a block holds at most one beat.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ecgprism.model.views.contract import valid_steps

SLOPE_S, COMPLEX_S, REFRACTORY_S = 0.02, 0.1, 0.25
SHARE = 0.4  # of the height of the beats around
BEAT_BLOCKS, AROUND_BLOCKS = 7, 41  # a beat lies in every 1.75 s; heights are compared within 10 s
QUANTILE = 0.3  # of the tops around: one artefact does not raise the bar for the beats beside it
TIE = 1e-5  # of a height: nearer ones are equal
T_WAVE_S, T_WAVE_SHARE = (0.2, 0.4), 0.5  # so soon after a beat twice as steep comes its T wave


class Beats(NamedTuple):
    """The beats of a batch by block: `there` bool (B, N), `at` their samples (B, N), `height` over the bar (B, N).

    `energy` (B, N) is the slope of the complex over all leads, in mV per 40 ms.
    """

    there: Tensor
    at: Tensor
    height: Tensor
    energy: Tensor


def find_beats(signal: Tensor, length: Tensor | None, rate_hz: float) -> Beats:
    """Return the beats of centred signals (B, L, T), padding and missing leads 0; the steepest place where none is.

    Peaks of the slope's energy over all leads, at least 0.4 of the height of the beats around, as
    `ecgprism.ecg.qrs.find_r_peaks` has them. Measured on MIT-BIH by `bench/r_peaks.py`.
    """
    energy = slope_energy(signal, length, rate_hz)
    samples, step = energy.shape[1], block_samples(rate_hz)
    blocks = -(-samples // step)
    padded = F.pad(energy, (0, blocks * step - samples))
    valid = None if length is None else -(-length // step)
    bar = SHARE * _level(padded.unflatten(1, (blocks, step)).amax(dim=2), valid)
    block_of = torch.arange(blocks * step, device=energy.device) // step
    first, last = (round(seconds * rate_hz) for seconds in T_WAVE_S)
    steeper = running_max(F.pad(padded, (last, 0)), last - first + 1)[:, : blocks * step]
    peak = padded >= (1 - TIE) * running_max(F.pad(padded, (step, step)), 2 * step + 1)
    peak = peak & (padded > bar[:, block_of]) & (padded >= T_WAVE_SHARE * steeper)
    # the first of equal ones, as quantised signals have them: every engine and thread count chooses the same
    peak = peak & (running_max(F.pad(peak.to(padded.dtype), (step, 0)), step)[:, : blocks * step] == 0)
    peak = peak | ((padded >= padded.amax(dim=1, keepdim=True)) & ~peak.any(dim=1, keepdim=True))
    height, place = (padded * peak).unflatten(1, (blocks, step)).max(dim=2)
    there = peak.unflatten(1, (blocks, step)).any(dim=2)
    at = (torch.arange(blocks, device=energy.device) * step + place).clamp(max=samples - 1)
    return Beats(there, at, height / bar.clamp(min=1e-6), height)


def block_samples(rate_hz: float) -> int:
    """Return the samples of a block."""
    return max(round(REFRACTORY_S * rate_hz), 1)


def slope_energy(signal: Tensor, length: Tensor | None, rate_hz: float) -> Tensor:
    """Return (B, T): the root of all leads' squared slopes, averaged over a complex; 0 beyond the valid samples."""
    half, width = max(round(SLOPE_S * rate_hz), 1), max(round(COMPLEX_S * rate_hz), 1) | 1
    slope = F.pad(signal[:, :, 2 * half :] - signal[:, :, : -2 * half], (half, half))[:, :, : signal.shape[2]]
    if length is not None:
        slope = slope * valid_steps(length - half, signal.shape[2])[:, None, :]
    power = F.avg_pool1d(slope.square().sum(dim=1, keepdim=True), width, 1, width // 2)[:, 0]
    if length is not None:
        power = power * valid_steps(length, signal.shape[2])
    # the root of 0 has no slope of its own
    return (power + 1e-12).sqrt() * (power > 0)


def _level(tops: Tensor, valid: Tensor | None) -> Tensor:
    """Return (B, N): a low quantile of the tops (B, N) of the beats around each block."""
    reach = BEAT_BLOCKS // 2
    tops = running_max(F.pad(tops, (reach, reach)), BEAT_BLOCKS)
    if valid is not None:
        tops = tops.masked_fill(~valid_steps(valid, tops.shape[1]), float("inf"))
    reach = AROUND_BLOCKS // 2
    around = F.pad(tops, (reach, reach), value=float("inf")).unfold(1, AROUND_BLOCKS, 1)
    return low_quantile(around, QUANTILE)


def low_quantile(values: Tensor, share: float) -> Tensor:
    """Return a quantile of the finite numbers of the last axis: one of them, the lower one; 0 where there is none."""
    count = (values < float("inf")).sum(dim=-1, keepdim=True)
    chosen = values.sort(dim=-1).values.gather(-1, ((count - 1).clamp(min=0) * share).long())
    return torch.where(count > 0, chosen, 0.0).squeeze(-1)


def running_max(x: Tensor, width: int) -> Tensor:
    """Return the maximum of every `width` neighbours along the last axis, by doubling: `width - 1` fewer than came."""
    size = 1
    while 2 * size <= width:
        x, size = torch.maximum(x[..., :-size], x[..., size:]), 2 * size
    rest = width - size
    return torch.maximum(x[..., :-rest], x[..., rest:]) if rest else x
