"""Channels that a file keeps in several groups or series, put together on one time line: nothing is dropped unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgprism.ecg.leads import LEADS, canonical_lead
from ecgprism.formats.contract import Channel, Declaration

MAX_GROUPS = 500  # each costs time however short it is
MOST_GAPS = 6  # times what was recorded: a longer time line is a damaged time, or another recording
FREE_CELLS = 2_000_000  # samples of all leads, gaps included, that are granted in any case


@dataclass(frozen=True, eq=False)
class Group:
    """Channels of one length and rate that begin together, so many seconds after some common moment."""

    name: str
    channels: Sequence[Channel]
    start_s: float = 0.0
    averaged: bool = False

    @property
    def samples(self) -> int:
        """Length of every channel."""
        return len(self.channels[0].samples)

    @property
    def kind(self) -> tuple[float, int]:
        """What groups that belong together have in common: rate and length."""
        return self.channels[0].rate_hz, self.samples


def merged(groups: Sequence[Group], declared: Declaration) -> tuple[list[Channel], tuple[str, ...]]:
    """Return the channels of one recording and, by name with the reason, what is not among them.

    Groups of equal rate and length belong together: those with the most leads are the recording. They and what else
    has their rate are placed by their times, NaN between. An averaged beat, a lead that is there already and differs,
    another rate, or a time far away is skipped.
    """
    skipped = [f"{_names(g)} ({g.name}, an averaged beat)" for g in groups if g.averaged]
    rhythm = [group for group in groups if not group.averaged]
    if len(rhythm) == 1 and (declared.leads or not _twice(rhythm[0], declared)):
        return list(rhythm[0].channels), tuple(skipped)
    if not rhythm:
        return [], tuple(skipped)
    leads: dict[tuple[float, int], set[str | None]] = {}
    for group in rhythm:
        leads.setdefault(group.kind, {None}).update(
            canonical_lead(c.name, declared.lead_aliases) for c in group.channels
        )
    kind = max(leads, key=lambda kind: (len(leads[kind]), kind[1]))
    chosen = sorted((g for g in rhythm if g.kind == kind), key=lambda group: group.start_s)
    near, together, recorded = [chosen[0]], {each.name for each in chosen[0].channels}, 0
    for group in chosen:
        length, both = (
            (group.start_s - chosen[0].start_s) * kind[0] + kind[1],
            together | {c.name for c in group.channels},
        )
        if len(both) * length <= max(FREE_CELLS, MOST_GAPS * (recorded + kind[1] * len(group.channels))):
            together, recorded = both, recorded + kind[1] * len(group.channels)
            near += [group] if group is not chosen[0] else []
    line = _Line(near[0].start_s, round((near[-1].start_s - near[0].start_s) * kind[0]) + kind[1], kind[0])
    placed = set(map(id, near))
    for group in [*near, *(g for g in rhythm if id(g) not in placed)]:
        reasons = [(channel.name, line.place(channel, group)) for channel in group.channels]
        skipped += [f"{name} ({group.name}: {reason})" for name, reason in reasons if reason]
    order = {lead: at for at, lead in enumerate(LEADS)}
    return sorted(
        line.held.values(),
        key=lambda each: order.get(canonical_lead(each.name, declared.lead_aliases) or "", len(LEADS)),
    ), tuple(skipped)


def _twice(group: Group, declared: Declaration) -> bool:
    """Return whether a lead is there more than once; other channels of one name are the user's to tell apart."""
    names = [each.name for each in group.channels if canonical_lead(each.name, declared.lead_aliases)]
    return len(set(names)) < len(names)


def _names(group: Group) -> str:
    names = [each.name for each in group.channels]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} leads"


class _Line:
    """A time line of so many samples on which channels are placed."""

    def __init__(self, start_s: float, samples: int, rate_hz: float) -> None:
        self.start_s, self.samples, self.rate_hz = start_s, samples, rate_hz
        self.held: dict[str, Channel] = {}

    def place(self, channel: Channel, group: Group) -> str:
        """Place a channel; return why it cannot be, or nothing."""
        if channel.rate_hz != self.rate_hz:
            return f"{channel.rate_hz:g} Hz, the others have {self.rate_hz:g} Hz"
        offset = (group.start_s - self.start_s) * self.rate_hz
        first, count = round(offset) if abs(offset) < 2**53 else -1, len(channel.samples)
        if first < 0 or first + count > self.samples:
            return f"{count / self.rate_hz:g} s from {offset / self.rate_hz:g} s on, the others end at {self.end_s:g} s"
        part, there = slice(first, first + count), self.held.get(channel.name)
        if there is None:
            if count != self.samples:
                kind = np.result_type(channel.samples.dtype, np.float16)  # float32 holds 16 bits exactly
                values = np.full(self.samples, np.nan, np.promote_types(kind, np.float32))
                values[part] = channel.samples
                channel = replace(channel, samples=values)
            self.held[channel.name] = channel
            return ""
        if (there.unit, there.gain, there.offset) != (channel.unit, channel.gain, channel.offset):
            return "there already, in other steps"
        old, new = there.samples[part], channel.samples
        both = ~np.isnan(old) & ~np.isnan(new)
        if not np.array_equal(old[both], new[both]):
            return "there already, and not the same"
        if np.isnan(old).any():
            there.samples[part] = np.where(np.isnan(old), new, old)
        return ""

    @property
    def end_s(self) -> float:
        """Where the time line ends, from its start."""
        return self.samples / self.rate_hz
