"""What may be written of a recording: known words, and numbers in the range of an ECG; all else is refused.

A copy is written anew from these values, so no byte of the source stands in it that is neither of them nor a sample.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, canonical_lead
from ecgprism.ecg.recording import MIN_RATE_HZ
from ecgprism.errors import EcgprismError

OLDEST_YEARS = 89
DUMMY = datetime(1900, 1, 1)  # where a format demands a date; EDF+ prescribes 1985
MAX_RATE_HZ, ANY_RATE_HZ = 10_000, 1200
#: leads that have a name, beside those that this package reads
FURTHER = ("X Y Z -aVR V2R V7R V8R V9R CC5 CM5 CM2 CS2 D A J A1 A2 A3 A4 "
           "ECG EKG ECG1 ECG2 ECG3 EKG1 EKG2 EKG3 MLI MLII MLIII MV1 MV2 MV5")  # fmt: skip
LABELS = {label.lower() for label in (*LEADS, *FURTHER.split())}
MICROVOLTS = {"nV": 1e-3, "uV": 1.0, "mV": 1e3, "V": 1e6}
STEPS_UV = (1e-3, 100.0)  # one bit; devices have 0.1 to 30
MAX_OFFSET_UV = 5_000.0
SIXTEEN_BITS = 1 << 15
FEWEST_FAR_SAMPLES = 100  # a device of more bits has as many
FEWEST_LETTERS_SAMPLES = 3  # six letters in a row


class AnonymisationError(EcgprismError):
    """A file that cannot be anonymised, or whose copy did not pass the check; nothing was written."""


@dataclass(frozen=True)
class Source:
    """A file to copy: its bytes, ecgdatakit's record of it (integers as stored), the secret that makes identifiers."""

    path: Path
    data: bytes
    record: Any
    key: bytes

    def replacement(self, original: object) -> bytes:
        """Return 16 bytes in the place of an identifier, the same for the same one and key."""
        return hmac.new(b"ecgprism" + self.key, str(original).encode(), hashlib.sha256).digest()[:16]

    def refusal(self, reason: str) -> AnonymisationError:
        """Return the error that says why this file is not copied."""
        return AnonymisationError(f"{self.path}: not anonymised: {reason}; nothing was written")


@dataclass
class Copy:
    """A copy: its bytes, the part of them that is no sample (searched for what must be gone), what was left out."""

    data: bytes
    searched: bytes
    secrets: set[str]
    left_out: str


@dataclass(frozen=True)
class Channel:
    """A lead as stored: physical values are offset + step * counts, in `unit` ("" where the file does not say it)."""

    label: str
    counts: NDArray[np.float64]
    rate_hz: float
    step: float
    offset: float
    unit: str
    is_off: bool


@dataclass(frozen=True)
class Filters:
    """Limits in Hz that a filter of an ECG can have; None where not stated, or where it is something else."""

    highpass_hz: float | None
    lowpass_hz: float | None
    notch_hz: float | None


def years(record: Any) -> int | None:
    """Return the age to write: the stated or computed one, 90 for all above 89."""
    age = record.patient.age
    return None if age is None or age < 0 else age if age <= OLDEST_YEARS else OLDEST_YEARS + 1


def bounded(value: object, low: float, high: float, digits: int = 6) -> float | None:
    """Return a number of at most so many digits within the limits, None for anything else."""
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return number if low <= number <= high and float(f"{number:.{digits}g}") == number else None


def is_round(value: float) -> bool:
    """Return whether a number has no more digits than a scale: five, also in units of a power of two (4.8828125)."""
    return any(bounded(value * 2**bits, -np.inf, np.inf, 5) is not None for bits in range(25))


def number_text(value: float) -> str:
    """Return a number as one writes it; reading gives the same number."""
    return str(int(value)) if value == int(value) else repr(float(value))


def label_is_known(label: str) -> bool:
    """Return whether a label is a lead's name, with a number behind it where a file has it twice."""
    plain = re.sub(r"_\d{1,2}$", "", label.strip())
    return plain.lower() in LABELS or canonical_lead(plain) is not None


def filters_of(record: Any) -> Filters:
    """Return the filters of a recording, as far as they are filters."""
    found = record.recording.acquisition.filters
    return Filters(
        bounded(found.highpass or "", 1e-3, 50, 3),
        bounded(found.lowpass or "", 1, 999, 3),
        next((hz for hz in (50.0, 60.0) if found.notch == hz), None),
    )


def channels_of(source: Source, leads: list[Any]) -> list[Channel]:
    """Return leads for a writer. Raises AnonymisationError for what is neither a lead nor an ECG."""
    return [_channel(source, lead) for lead in leads]


def _channel(source: Source, lead: Any) -> Channel:
    check_lead(source, lead)
    if not (is_round(lead.resolution) and is_round(lead.offset)):
        raise source.refusal(f"the scale of {lead.label} has more digits than a device's")
    is_off = str(lead.annotations.get("LeadOff", "")).upper() == "TRUE"
    label = re.sub(r"_\d{1,2}$", "", lead.label)
    return Channel(label, lead.samples, lead.sampling_rate, lead.resolution, lead.offset, lead.resolution_unit, is_off)


def check_sums(source: Source) -> None:
    """Raise AnonymisationError where a checksum does not fit: the samples may be others, and a copy has new sums."""
    if source.record.raw_metadata.get("checksum_valid") is False:
        raise source.refusal("its checksums do not fit its content")


def check_lead(source: Source, lead: Any) -> None:
    """Raise AnonymisationError unless a lead has the name, unit, scale, rate and samples of an ECG."""
    if not label_is_known(lead.label):
        raise source.refusal("it has a channel whose label is no lead's name")
    if lead.resolution_unit not in ("", *MICROVOLTS):
        raise source.refusal(f"the unit of {lead.label} is none of an ECG")
    scale = MICROVOLTS.get(lead.resolution_unit, 1.0)
    check_scale(source, lead.label, lead.resolution * scale, lead.offset * scale)
    check_rate(source, lead.label, float(lead.sampling_rate))
    check_counts(source, lead.label, lead.samples)


def check_rate(source: Source, label: str, rate_hz: float) -> None:
    """Raise AnonymisationError unless devices have such a rate: any up to 1200 Hz, above it hundreds or powers of 2."""
    is_usual = rate_hz <= ANY_RATE_HZ or rate_hz % 100 == 0 or (rate_hz.is_integer() and int(rate_hz).bit_count() == 1)
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not is_usual:
        raise source.refusal(f"the sampling rate of {label} is none of an ECG")


def check_scale(source: Source, label: str, step_uv: float, offset_uv: float) -> None:
    """Raise AnonymisationError unless one bit and the offset are as large as those of an ECG."""
    if not STEPS_UV[0] <= step_uv <= STEPS_UV[1]:
        raise source.refusal(f"one bit of {label} is not as large as that of an ECG")
    if not abs(offset_uv) <= MAX_OFFSET_UV:
        raise source.refusal(f"the offset of {label} is not that of an ECG")


def check_counts(source: Source, label: str, counts: NDArray[Any]) -> None:
    """Raise AnonymisationError where single numbers among the samples stand out, or samples spell a text."""
    far = np.count_nonzero(np.abs(counts) > SIXTEEN_BITS)
    if 0 < far < max(0.01 * len(counts), FEWEST_FAR_SAMPLES):
        raise source.refusal(f"{label} has single numbers among its samples that are none")
    if any(_spelling(counts)):
        raise source.refusal(f"samples of {label} spell a text")


def _spelling(counts: NDArray[Any]) -> Iterator[bool]:
    """Yield True for every run of 16-bit samples whose bytes are letters, behind the largest jumps of the lead."""
    finite = np.nan_to_num(counts, nan=0.0)
    words = np.clip(finite, -SIXTEEN_BITS, SIXTEEN_BITS - 1).astype("<i2").view(np.uint8).reshape(-1, 2)
    letters = (((words | 32) >= ord("a")) & ((words | 32) <= ord("z")) | np.isin(words, list(b" -'^,"))).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], letters, [False])).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    runs = runs[runs[:, 1] - runs[:, 0] >= FEWEST_LETTERS_SAMPLES]
    if not len(runs) or letters.mean() > 0.05:  # a lead that swings through the whole range of 16 bits
        return
    # a word may begin and end in the middle of a sample: the jump is up to two samples away
    jumps = np.concatenate([[np.inf, np.inf], np.abs(np.diff(finite)), [np.inf, np.inf]])
    inside = np.concatenate([np.arange(start, stop + 3) for start, stop in runs])
    usual = np.delete(jumps[2:-2], np.clip(inside - 2, 0, len(jumps) - 5)).max(initial=0.0)
    for start, stop in runs:
        into, out = jumps[start : start + 2].max(), jumps[stop + 1 : stop + 3].max()
        yield bool(min(into, out) > usual)
