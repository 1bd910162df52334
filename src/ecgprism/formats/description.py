"""info(): what a recording holds, without its samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgprism.ecg.quality import Quality, assess, doubts
from ecgprism.ecg.recording import Recording
from ecgprism.formats.reading import read


@dataclass(frozen=True)
class RecordingInfo:
    """Format, leads, rate and length, units as found, patient, quality, and how many annotations there are.

    `derived` leads were computed from others, `skipped` ones are in the file and not read; `doubts` say what makes unit
    or rate doubtful; `details` are the format's own.
    """

    format: str
    leads: tuple[str, ...]
    rate_hz: float
    duration_s: float
    samples: int
    units: tuple[str, ...]
    derived: tuple[str, ...]
    skipped: tuple[str, ...]
    quality: Quality
    doubts: tuple[str, ...]
    metadata: dict[str, str | float]
    annotations: int
    beats: int
    details: dict[str, str]


def info(path: str | Path, **declared: Any) -> RecordingInfo:
    """Return what a recording holds; `declared` is `rate_hz`, `unit`, `leads` and so on, as of `read`.

    Raises ReadError naming file, format and reason.
    """
    return info_of(read(path, **declared))


def info_of(recording: Recording) -> RecordingInfo:
    """Return what a recording that is read holds."""
    return RecordingInfo(
        format=recording.format,
        leads=recording.leads,
        rate_hz=recording.rate_hz,
        duration_s=recording.duration_s,
        samples=recording.signal.shape[1],
        units=tuple(sorted(set(recording.units) - {"derived"})) or ("mV",),
        derived=tuple(n for n, u in zip(recording.leads, recording.units, strict=False) if u == "derived"),
        skipped=tuple(recording.skipped),
        quality=assess(recording),
        doubts=doubts(recording),
        metadata=dict(recording.metadata),
        annotations=len(recording.annotations),
        beats=sum(bool(each.symbol) for each in recording.annotations),
        details=dict(recording.details),
    )
