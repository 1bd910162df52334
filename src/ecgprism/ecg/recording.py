"""Recording: one ECG as acquired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS
from ecgprism.errors import ReadError, one_line
from ecgprism.markup import page

#: sampling rates outside this range are not ECGs (a header's typing error more likely)
MIN_RATE_HZ, MAX_RATE_HZ = 20.0, 50_000.0
FLAT_MV = 0.005  # a lead whose peak-to-peak stays below is not connected


@dataclass(frozen=True)
class Annotation:
    """What a file says of a moment or a stretch of time: a beat (`symbol` as WFDB writes it), a rhythm (`note`)."""

    at_s: float
    symbol: str = ""
    note: str = ""
    stop_s: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """One ECG as acquired.

    `signal` is float32 (L, T) in mV, NaN where nothing was recorded; `rate_hz` samples per second; `leads` canonical
    names in the order of the rows. `metadata` holds what a model may use of the patient (age years, sex, height cm,
    weight kg); a missing value is absent, never 0. `skipped` lists what of the file is not in the signal: channels that
    are no ECG leads by their name, others with the reason behind it. `format` and `units` (by lead) are those found;
    `details` tells device, acquisition time, filters and the machine's statements, where the file has them (no model
    input, for the answer may be among them), and under `damaged` what was wrong with a file that was read all the same.
    `unconnected` are leads whose electrode was off, as the file says. Raises ReadError when shape, rate or leads cannot
    be those of an ECG.
    """

    signal: NDArray[np.float32]
    rate_hz: float
    leads: tuple[str, ...]
    patient_id: str | None = None
    metadata: Mapping[str, float | str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    path: Path | None = None
    format: str = ""
    units: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    unconnected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what every later step relies on."""
        at = f"{self.path}: " if self.path else ""
        check_rate(self.rate_hz, at)
        if self.signal.ndim != 2 or self.signal.shape[0] != len(self.leads):
            raise ReadError(f"{at}signal of shape {self.signal.shape} does not fit {len(self.leads)} leads")
        if self.signal.shape[1] == 0:
            raise ReadError(f"{at}the recording holds no samples")
        for lead in self.leads:
            if lead not in LEADS:
                raise ReadError(f"{at}{lead!r} is no canonical lead name; there are: {', '.join(LEADS)}")
        if len(set(self.leads)) != len(self.leads):
            double = next(lead for lead in self.leads if self.leads.count(lead) > 1)
            raise ReadError(f"{at}lead {double} is there more than once")

    def __repr__(self) -> str:
        """Return what it is in one line: the signal itself says nothing as text."""
        known = ", ".join(f"{key} {value}" for key, value in self.metadata.items())
        parts = (f"{', '.join(self.leads)}", f"{self.duration_s:.4g} s at {self.rate_hz:g} Hz", self.format, known)
        return one_line(f"Recording({str(self.path) + ': ' if self.path else ''}{'; '.join(filter(None, parts))})", 300)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what the file says, and the picture that `plot` draws."""
        facts = {
            "leads": ", ".join(self.leads),
            "length": f"{self.duration_s:.4g} s, {self.signal.shape[1]} samples at {self.rate_hz:g} Hz",
            "format": self.format,
            "units as found": ", ".join(sorted(set(self.units))),
            "patient": ", ".join(f"{key} {value}" for key, value in self.metadata.items()),
            "annotations": len(self.annotations) or "",
            "not in the signal": ", ".join(self.skipped),
            "not connected": ", ".join(self.unconnected),
            **{key: one_line(value) for key, value in self.details.items()},
        }
        # by name: a recording does without matplotlib, and stands above what draws it
        figure = import_module("ecgprism").plot(self)
        return page(f"Recording {self.path or ''}".strip(), facts, figure=figure)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.signal.shape[1] / self.rate_hz


def check_rate(rate_hz: float, at: str = "") -> None:
    """Raise ReadError unless `rate_hz` can be the sampling rate of an ECG."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ReadError(f"{at}sampling rate {rate_hz:g} Hz; expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz")
