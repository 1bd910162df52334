"""The rhythm view: what stands between the beats, and how each differs from the others of its record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch
from ecgprism.model.views.beats import AROUND_BLOCKS, Beats, block_samples, find_beats, low_quantile
from ecgprism.model.views.contract import Features, Shape, View, centred, valid_steps
from ecgprism.registry import register

#: what a token says of the beat in its block, all about zero mean and unit spread; 0 where no beat is
FEATURES = (
    "beat", "interval", "before", "after", "change", "irregular", "confidence", "height", "steepness",
    "qrs_likeness", "qrs_size", "p_likeness", "p_size", "p_agreement", "t_likeness", "t_size",
)  # fmt: skip
#: segments around a beat, seconds
QRS_S, P_S, T_S = (-0.1, 0.1), (-0.28, -0.08), (0.1, 0.42)
USUAL_INTERVAL_S, USUAL_STEEPNESS = 0.8, 0.3  # seconds, mV per 40 ms
LARGEST = 4.0  # what a feature reaches at most


@register("views", "rhythm")
class Rhythm(View):
    """Beats found inside the model, a token (D=16) every 0.25 s: (B, D, N).

    Intervals relative to the record's own running median, how sure the detection is, and how like the record's average
    the QRS complex, the P wave and the T wave are: what tells fibrillation, ectopy and noise apart (after Zabihi 2017).
    """

    def __init__(self, spec: InputSpec) -> None:
        """Shape (D, N)."""
        super().__init__()
        self.rate_hz = spec.rate_hz
        self.step = block_samples(spec.rate_hz)
        self.shape = Shape((len(FEATURES), -(-spec.window // self.step)), "DN", timed=True)

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return the names of the features, and the seconds at which each token begins."""
        return {"D": list(FEATURES), "N": [i * self.step / self.rate_hz for i in range(sizes[1])]}

    def forward(self, batch: Batch) -> Features:
        """Return (B, D, N); tokens beyond the valid ones are 0."""
        with torch.autocast(batch.signal.device.type, enabled=False):
            signal = centred(batch).float()
            beats = find_beats(signal, batch.length, self.rate_hz)
            held = [beats.there.to(signal.dtype), *self._intervals(beats), *self._heights(beats)]
            for segment_s in (QRS_S, P_S, T_S):
                held += self._likeness(signal, batch, beats, segment_s)
            x = torch.stack(held, dim=1).clamp(-LARGEST, LARGEST) * beats.there[:, None]
        if batch.length is None:
            return Features(x, None)
        length = -(-batch.length // self.step)
        return Features(x * valid_steps(length, x.shape[2])[:, None], length)

    def _intervals(self, beats: Beats) -> list[Tensor]:
        """Return (B, N) each: the median interval around, that before and after each beat over it, how they change."""
        at = beats.at / self.rate_hz
        order = torch.arange(at.shape[1], device=at.device)
        infinite = float("inf")
        earlier = beats.there[:, None, :] & (order < order[:, None])
        later = beats.there[:, None, :] & (order > order[:, None])
        before = at - at[:, None, :].masked_fill(~earlier, -infinite).amax(dim=2)
        after = at[:, None, :].masked_fill(~later, infinite).amin(dim=2) - at
        known = torch.where(beats.there, before, infinite)
        reach = AROUND_BLOCKS // 2
        usual = low_quantile(F.pad(known, (reach, reach), value=infinite).unfold(1, AROUND_BLOCKS, 1), 0.5)
        usual = torch.where(usual > 0, usual, USUAL_INTERVAL_S)
        both = (before < infinite) & (after < infinite)
        last = (before.clamp(max=10) / usual).log().where(before < infinite, 0.0)
        following = (after.clamp(max=10) / usual).log().where(after < infinite, 0.0)
        change = torch.where(both, following - last, 0.0)
        return [3 * (usual / USUAL_INTERVAL_S).log(), 4 * last, 4 * following, 3 * change, 4 * change.abs() - 0.5]

    def _heights(self, beats: Beats) -> list[Tensor]:
        """Return (B, N) each: how far a beat stands over the bar, its slope over that of the others and in mV."""
        usual = low_quantile(torch.where(beats.there, beats.energy, float("inf")), 0.5)[:, None].clamp(min=1e-6)
        return [
            (beats.height.clamp(min=1e-3) / 2.5).log() * 2,
            (beats.energy.clamp(min=1e-6) / usual).log() * 4,
            (beats.energy.clamp(min=1e-6) / USUAL_STEEPNESS).log() * 2,
        ]

    def _likeness(self, signal: Tensor, batch: Batch, beats: Beats, segment_s: tuple[float, float]) -> list[Tensor]:
        """Return (B, N) each: correlation of a segment with the average of its record's beats, size over its.

        Of the P wave besides the share of the segments' power that their average keeps: what comes at no fixed time
        before a beat, as in fibrillation, is averaged out.
        """
        first, last = (round(seconds * self.rate_hz) for seconds in segment_s)
        offsets = torch.arange(first, last + 1, device=signal.device)
        end = signal.shape[2] if batch.length is None else batch.length[:, None, None]
        place = (beats.at[:, :, None] + offsets).clamp(min=0).minimum(torch.as_tensor(end - 1, device=signal.device))
        b, leads, n, width = signal.shape[0], signal.shape[1], place.shape[1], len(offsets)
        taken = signal.gather(2, place.view(b, 1, n * width).expand(-1, leads, -1)).view(b, leads, n, width)
        parts = (taken - taken.mean(dim=3, keepdim=True)).transpose(1, 2).flatten(2)
        there = beats.there[:, :, None]
        average = (parts * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp(min=1)
        own, common = (each.square().sum(dim=2) + 1e-6 for each in (parts, average))
        likeness = (parts * average).sum(dim=2) / (own * common).sqrt()
        found = [3 * likeness - 1.5, (own / common).log()]
        if segment_s == P_S:
            mean_power = (own * beats.there).sum(dim=1, keepdim=True) / there.sum(dim=1).clamp(min=1)
            found.append((4 * common / mean_power - 2).expand_as(likeness))
        return found
