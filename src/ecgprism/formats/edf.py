"""EDF, EDF+ and BDF through edfio; windows are read without loading the whole file.

Format: Kemp and Olivan 2003 (EDF+), https://www.edfplus.info; BDF: BioSemi's 24-bit variant.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Declared, Found, assembled, demographics

EDF_MAGIC, BDF_MAGIC = b"0       ", b"\xffBIOSEMI"
_DAYS_PER_YEAR = 365.2425


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of EDF or BDF."""
    return head[:8] in (EDF_MAGIC, BDF_MAGIC)


def opened(path: Path) -> Any:
    """Return edfio's object of a file, its data not loaded. Raises ReadError."""
    try:
        import edfio  # noqa: PLC0415
    except ImportError:
        raise ReadError(f"{path}: reading EDF needs: pip install 'ecgprism[formats]'") from None
    with path.open("rb") as file:
        magic = file.read(8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return edfio.read_bdf(path) if magic == BDF_MAGIC else edfio.read_edf(path, lazy_load_data=True)
    except Exception as error:  # the library raises what its header parser stumbles over
        raise ReadError(
            f"{path}: no valid EDF ({' '.join(str(error).split())[:200] or type(error).__name__})"
        ) from None


def read(path: Path, declared: Declared, start_s: float = 0.0, stop_s: float | None = None) -> Recording:
    """Read a file, or the part of it between two times. Raises ReadError with the reason."""
    file = opened(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two dates that differ, a header that says less than it may
            channels = [_channel(signal, start_s, stop_s) for signal in file.signals]
            annotations = _annotations(file)
            metadata, details = _patient(file)
    except Exception as error:  # damaged numbers of a header show when they are used
        raise ReadError(
            f"{path}: no valid EDF ({' '.join(str(error).split())[:200] or type(error).__name__})"
        ) from None
    # channels that are no leads keep their own rates: they are named, not read
    names = [canonical_lead(channel.name, declared.lead_aliases) for channel in channels]
    ordered = [c for c, name in zip(channels, names, strict=True) if name]
    others = [c for c, name in zip(channels, names, strict=True) if not name]
    return assembled(path, "EDF", Found(ordered + others, metadata, annotations, details), declared)


def _channel(signal: Any, start_s: float, stop_s: float | None) -> Channel:
    rate_hz = float(signal.sampling_frequency)
    label = signal.label.strip()
    if start_s == 0 and stop_s is None:
        samples = signal.digital
    else:
        total = len(signal.digital) / rate_hz if stop_s is None else stop_s
        samples = signal.get_digital_slice(start_s, total)
    low, high = signal.digital_range
    bottom, top = signal.physical_range
    gain = (top - bottom) / (high - low)
    return Channel(label, samples, signal.physical_dimension, rate_hz, gain, bottom - gain * low)


def _annotations(file: Any) -> tuple[Annotation, ...]:
    return tuple(
        Annotation(float(a.onset), note=str(a.text), stop_s=None if a.duration is None else float(a.onset + a.duration))
        for a in file.annotations
    )


def _patient(file: Any) -> tuple[dict[str, float | str], dict[str, str]]:
    details: dict[str, str] = {}
    born = age = sex = None
    acquired: date | None = None
    with suppress(Exception):  # plain EDF says nothing of the patient in a form that can be read
        sex = file.patient.sex
        born = file.patient.birthdate
    with suppress(Exception):  # the date of an anonymised file is none
        acquired = file.startdate
    if acquired is not None:
        details["acquired"] = acquired.isoformat()
        if born is not None:
            age = f"{max((acquired - born).days, 0) / _DAYS_PER_YEAR:.0f}"
    filters = sorted({signal.prefiltering for signal in file.signals if signal.prefiltering.strip()})
    if filters:
        details["filters"] = " | ".join(filters)
    return demographics(age, sex), details
