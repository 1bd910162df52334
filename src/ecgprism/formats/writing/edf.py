"""EDF: whole data records of integers, an exact rate. Format: https://www.edfplus.info/specs."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np

from ecgprism.ecg.recording import Recording
from ecgprism.extras import library
from ecgprism.files import atomic
from ecgprism.formats.writing.contract import (
    LIMIT,
    ConversionError,
    Note,
    age_years,
    digitise,
    filled,
    filters,
    moment,
    spelled_sex,
    zeros,
)

_FILTERS = {"highpass_hz": "HP", "lowpass_hz": "LP", "notch_hz": "N"}
KEPT = ("acquired", "highpass_hz", "lowpass_hz", "notch_hz")  # details that go along


def write(recording: Recording, target: Path, fill: bool, note: Note) -> None:
    """Write an EDF file, with the age in its patient field: gaps and a rest are filled up or refused."""
    edfio = library("edfio", "writing EDF", ConversionError)
    digitised = digitise(recording)
    integers = filled(recording, digitised, target, fill, note)
    samples, seconds = _edf_records(recording, target, fill)
    excess = -integers.shape[1] % samples
    if excess:
        note(f"{target}: {excess} samples of 0 mV added at the end, for EDF holds whole records only")
        integers = np.hstack([integers, np.repeat(zeros(digitised), excess, axis=1)]).astype(np.int16)
    signals = [
        edfio.EdfSignal.from_digital(
            np.ascontiguousarray(integers[row]),
            float(samples / seconds),
            label=f"ECG {lead}",
            physical_dimension="uV",
            physical_range=(offset - LIMIT * step, offset + LIMIT * step),
            digital_range=(-LIMIT, LIMIT),
            prefiltering=" ".join(f"{_FILTERS[key]}:{value:g}Hz" for key, value in filters(recording).items()),
        )
        for row, (lead, step, offset) in enumerate(
            zip(recording.leads, digitised.steps_uv, digitised.offsets_uv, strict=True)
        )
    ]
    years, acquired = age_years(recording), moment(recording)
    # EDF+ keeps sex, and of the age only the date of birth; its further subfields are free
    patient = edfio.Patient(
        sex=spelled_sex(recording, {"male": "M", "female": "F"}) or "X",
        additional=() if years is None else (f"Age={years:.10g}",),
    )
    begin = {}
    if acquired and 1985 <= acquired.year <= 2084:  # two digits of a year
        begin = {
            "recording": edfio.Recording(startdate=acquired.date()),
            "starttime": acquired.time().replace(tzinfo=None),
        }
        if acquired.tzinfo:
            note(f"{target}: EDF has no time zone; {acquired:%z} is lost, the time is that of the clock there")
    edf = edfio.Edf(signals, patient=patient, data_record_duration=float(seconds), **begin)
    with atomic(target) as path:
        edf.write(path)


def _edf_records(recording: Recording, target: Path, fill: bool) -> tuple[int, Fraction]:
    """Return samples and seconds of a data record: an exact rate, a duration of at most 8 characters, no remainder.

    Whole seconds where they come out even, as the specification recommends; else what is nearest to one second.
    """
    rate, held = Fraction(recording.rate_hz).limit_denominator(10_000), recording.signal.shape[1]
    if float(rate) != recording.rate_hz:
        raise ConversionError(
            f"{target}: EDF cannot hold a rate of {recording.rate_hz!r} Hz exactly; write WFDB, or resample first"
        )
    # a duration is a decimal number: of the rate's numerator, all but the factors 2 and 5 must divide the samples
    odd = rate.numerator
    for prime in (2, 5):
        while odd % prime == 0:
            odd //= prime
    most = max(61_440 // (2 * len(recording.leads)), odd)  # the specification's limit of a record, in samples
    # filling up takes less than a second, or the recording would be another one
    lengths = range(-(-held // odd) * odd, held + math.ceil(rate), odd) if fill else [held]
    for length in lengths:
        fitting = [n for n in _divisors(length) if n % odd == 0 and _short(n / rate)]
        fitting = [n for n in fitting if n / float(n / rate) == recording.rate_hz]  # what a reader will find
        small = [n for n in fitting if n <= most] or fitting
        if small:
            samples = min(small, key=lambda n: ((n / rate).denominator != 1, abs(math.log(n / rate))))
            return samples, samples / rate
    raise ConversionError(
        f"{target}: {held} samples at {recording.rate_hz:g} Hz are no whole number of EDF records; "
        + ("write WFDB or DICOM" if fill else "write WFDB or DICOM, or 0 mV at the end with --fill (fill=True)")
    )


def _short(seconds: Fraction) -> bool:
    text = str(seconds.numerator) if seconds.denominator == 1 else str(float(seconds))
    return len(text) <= 8 and "e" not in text


def _divisors(n: int) -> list[int]:
    low = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return [*low, *(n // d for d in low)]
