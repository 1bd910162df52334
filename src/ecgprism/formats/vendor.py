"""GE MUSE, Philips Sierra, HL7 aECG, SCP-ECG, DICOM and MFER through ecgdatakit, each recognised by its content."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import scp
from ecgprism.formats.contract import Channel, Declared, Found, assembled, check_xml, demographics

HEAD = 4096  # bytes of a file that tell its format


def xml_root(head: bytes) -> str:
    """Return the name of the root element that the first bytes of an XML file show, or an empty text."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head.decode("utf-16", errors="ignore")
    else:
        text = head.decode("utf-8-sig", errors="ignore")
    if not text.lstrip().startswith("<"):
        return ""
    text = re.sub(r"<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^>\[]*(\[.*?\])?[^>]*>", "", text, flags=re.DOTALL)
    match = re.search(r"<(?:[\w.-]+:)?([\w.-]+)", text)
    return match[1] if match else ""


#: name -> (title, parser of ecgdatakit, test of the first bytes and of the root element that they show)
KINDS: dict[str, tuple[str, str, Callable[[bytes, str], bool]]] = {
    "dicom": ("DICOM", "DICOMWaveformParser", lambda head, root: head[128:132] == b"DICM"),
    "scp": ("SCP-ECG", "SCPECGParser", lambda head, root: head[16:22] == b"SCPECG"),
    "mfer": ("MFER", "MFERParser", lambda head, root: head[:1] == b"@" and b"MFR " in head[:8]),
    "muse": ("GE MUSE XML", "GEMuseXMLParser", lambda head, root: root == "RestingECG"),
    "sierra": ("Philips Sierra XML", "SierraXMLParser", lambda head, root: root == "restingecgdata"),
    "aecg": ("HL7 aECG", "HL7aECGParser", lambda head, root: root == "AnnotatedECG"),
}


def recognised(head: bytes, root: str) -> str | None:
    """Return the name of the format that the first bytes of a file and their root element show, or None."""
    return next((name for name, (_, _, test) in KINDS.items() if test(head, root)), None)


def read(path: Path, kind: str, declared: Declared) -> Recording:
    """Read a file of one of these kinds. Raises ReadError with the format and the reason."""
    title, parser, _ = KINDS[kind]
    if kind in ("muse", "sierra", "aecg"):
        check_xml(path)
    record = _parsed(path, title, parser)
    if kind == "scp" and record is None:
        return assembled(path, title, scp.truncated(path), declared)
    assert record is not None
    if not record.leads:
        raise ReadError(f"{path}: {title} without a rhythm waveform")
    if kind == "dicom":
        _unpad(path, record.leads)
    channels = [
        Channel(lead.label, lead.samples, "" if lead.is_raw else lead.units, float(lead.sampling_rate))
        for lead in record.leads
    ]
    patient = record.patient
    found = Found(
        channels,
        demographics(patient.age, patient.sex, patient.height, patient.weight),
        details=_details(record),
        patient_id=patient.patient_id or None,
    )
    return assembled(path, title, found, declared)


def _parsed(path: Path, title: str, parser: str) -> Any:
    """Return ecgdatakit's record; None for an SCP file that announces more samples than it can hold."""
    try:
        from ecgdatakit.parsing import FileParser  # noqa: PLC0415
    except ImportError:
        raise ReadError(f"{path}: reading {title} needs: pip install 'ecgprism[formats]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = FileParser.parse(path, units="mV")
    except ImportError as error:
        raise ReadError(f"{path}: reading {title} needs {error.name}: pip install 'ecgprism[formats]'") from None
    except RecursionError:
        raise ReadError(f"{path}: no valid {title} (nested too deeply)") from None
    except Exception as error:  # the library wraps what its parsers stumble over, in kinds of its own
        reason = " ".join(str(error).split())[:300]
        if parser == "SCPECGParser" and "holds 32767 samples" in reason:
            return None
        raise ReadError(f"{path}: no valid {title} ({reason or type(error).__name__})") from None
    if record.file_format.parser != parser:
        raise ReadError(f"{path}: looks like {title} and reads as {record.file_format.name}")
    return record


def _unpad(path: Path, leads: list[Any]) -> None:
    """Give samples back that only happen to have the padding value: padding is missing in every channel at once."""
    import pydicom  # noqa: PLC0415

    for group in pydicom.dcmread(path).WaveformSequence:
        padding = group.get("WaveformPaddingValue")
        shape = (int(group.NumberOfWaveformSamples), int(group.NumberOfWaveformChannels))
        if padding is None or group.WaveformBitsAllocated != 16 or shape != (len(leads[0].samples), len(leads)):
            continue
        value = int.from_bytes(padding, "little", signed=True) if isinstance(padding, bytes) else int(padding)
        raw = np.frombuffer(group.WaveformData, "<i2", shape[0] * shape[1]).reshape(shape)
        everywhere = (raw == value).all(axis=1)
        for lead, column in zip(leads, raw.T, strict=True):
            lost = np.isnan(lead.samples) & (column == value) & ~everywhere
            there = np.flatnonzero(~np.isnan(lead.samples))
            if not lost.any() or not len(there) or np.ptp(column[there]) == 0:
                continue
            low, high = there[column[there].argmin()], there[column[there].argmax()]
            step = (lead.samples[high] - lead.samples[low]) / (int(column[high]) - int(column[low]))
            lead.samples[lost] = lead.samples[low] + (value - int(column[low])) * step
        return


def _details(record: Any) -> dict[str, str]:
    """Return device, time, filters and the machine's statements as text, where the file has them."""
    recording, device = record.recording, record.recording.device
    filters = recording.acquisition.filters
    given = {
        "acquired": recording.date.isoformat() if recording.date else "",
        "manufacturer": device.manufacturer,
        "device": device.model or device.name,
        "software": device.software_version,
        "highpass_hz": filters.highpass,
        "lowpass_hz": filters.lowpass,
        "notch_hz": filters.notch,
        "statements": " | ".join(" ".join(part for part in pair if part) for pair in record.interpretation.statements),
        "heart_rate_bpm": record.measurements.heart_rate,
        "qrs_ms": record.measurements.qrs_duration,
        "qt_ms": record.measurements.qt_interval,
    }
    return {key: str(value) for key, value in given.items() if value not in (None, "")}
