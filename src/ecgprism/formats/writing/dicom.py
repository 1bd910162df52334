"""DICOM waveform: one multiplex group. PS3.3 A.34, PS3.16 CID 3001."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.extras import library
from ecgprism.files import atomic
from ecgprism.formats.writing.contract import (
    ConversionError,
    Note,
    age_years,
    digitise,
    filled,
    filters,
    moment,
    spelled_sex,
)

KEPT = ("acquired", "highpass_hz", "lowpass_hz", "notch_hz")  # details that go along

#: PS3.16 CID 3001: the number in the coding scheme MDC (as `2:number`) and the meaning that belongs to it
MDC_LEADS = {
    "I": (1, "Lead I"), "II": (2, "Lead II"), "III": (61, "Lead III"), "aVR": (62, "aVR, augmented voltage, right"),
    "aVL": (63, "aVL, augmented voltage, left"), "aVF": (64, "aVF, augmented voltage, foot"),
    **{f"V{n}": (n + 2, f"Lead V{n}") for n in range(1, 8)}, "V8": (66, "Lead V8"), "V9": (67, "Lead V9"),
    **{f"V{n}R": (n + 8, f"Lead V{n}R") for n in range(3, 7)},
    "VX": (16, "Lead X"), "VY": (17, "Lead Y"), "VZ": (18, "Lead Z"),
}  # fmt: skip


def write(recording: Recording, target: Path, fill: bool, note: Note) -> None:
    """Write one group of all leads, without the patient's identity: gaps are filled up or refused."""
    pydicom = library("pydicom", "writing DICOM", ConversionError)
    rate = _rate(recording, target)
    sop_class, digitised, now = _sop_class(recording, target), digitise(recording), datetime.now()
    # Waveform Padding Value could mark gaps, but readers differ in what they take for padding
    integers = filled(recording, digitised, target, fill, note)
    years = age_years(recording)
    file = _dataset(
        pydicom,
        SOPClassUID=sop_class,
        SOPInstanceUID=pydicom.uid.generate_uid(prefix=None),
        StudyInstanceUID=pydicom.uid.generate_uid(prefix=None),
        SeriesInstanceUID=pydicom.uid.generate_uid(prefix=None),
        StudyDate="", StudyTime="", AccessionNumber="", ReferringPhysicianName="", StudyID="", SeriesNumber="1",
        InstanceNumber="1", Modality="ECG", Manufacturer="", SoftwareVersions="ecgprism",
        ContentDate=now.strftime("%Y%m%d"), ContentTime=now.strftime("%H%M%S"),
        # the standard wants a value; a recording need not tell when it was acquired
        AcquisitionDateTime=_time(recording) or "19000101000000",
        AcquisitionContextSequence=[], PatientName="", PatientID="", PatientBirthDate="",
        PatientSex=spelled_sex(recording, {"male": "M", "female": "F"}),
    )  # fmt: skip
    if years is not None:  # three digits and a unit
        file.PatientAge = f"{int(years):03d}Y" if years >= 2 else f"{int(years * 12):03d}M"
    for key, name, factor in (("height", "PatientSize", 0.01), ("weight", "PatientWeight", 1.0)):
        value = recording.metadata.get(key)
        if isinstance(value, int | float):
            setattr(file, name, f"{value * factor:.6g}")
    wave = _dataset(
        pydicom,
        MultiplexGroupTimeOffset="0", WaveformOriginality="ORIGINAL", MultiplexGroupLabel="RHYTHM",
        NumberOfWaveformChannels=len(recording.leads), NumberOfWaveformSamples=recording.signal.shape[1],
        SamplingFrequency=rate, WaveformBitsAllocated=16, WaveformSampleInterpretation="SS",
    )  # fmt: skip
    wave.ChannelDefinitionSequence = [
        _channel(pydicom, lead, step, offset, filters(recording))
        for lead, step, offset in zip(recording.leads, digitised.steps_uv, digitised.offsets_uv, strict=True)
    ]
    wave.add_new("WaveformData", "OW", integers.T.astype("<i2").tobytes())
    file.WaveformSequence = [wave]
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    with atomic(target) as path:
        file.save_as(path, enforce_file_format=True)


def _sop_class(recording: Recording, target: Path) -> str:
    """Return the storage class whose limits the recording keeps (PS3.3 A.34.3.4, A.34.4.4, A.34.5.4)."""
    rate_hz, samples, leads = recording.rate_hz, recording.signal.shape[1], recording.leads
    if 200 <= rate_hz <= 1000 and samples <= 16_384 and set(leads) == set(STANDARD_LEADS):
        return "1.2.840.10008.5.1.4.1.1.9.1.1"  # 12-lead ECG
    if 200 <= rate_hz <= 1000 and len(leads) <= 24:
        return "1.2.840.10008.5.1.4.1.1.9.1.2"  # general ECG
    if 50 <= rate_hz <= 1000 and len(leads) <= 12:
        return "1.2.840.10008.5.1.4.1.1.9.1.3"  # ambulatory ECG
    raise ConversionError(
        f"{target}: no DICOM ECG holds {len(leads)} leads at {rate_hz:g} Hz; up to 24 leads at 200 to 1000 Hz, or 12 "
        "leads at 50 to 1000 Hz; write WFDB or EDF, or resample first"
    )


def _channel(pydicom: Any, lead: str, step_uv: float, offset_uv: int, used: dict[str, float]) -> Any:
    number, meaning = MDC_LEADS[lead]
    spelled = {
        "highpass_hz": "FilterLowFrequency",
        "lowpass_hz": "FilterHighFrequency",
        "notch_hz": "NotchFilterFrequency",
    }
    return _dataset(
        pydicom,
        ChannelLabel=lead,
        ChannelSourceSequence=[coded(pydicom, f"2:{number}", "MDC", meaning)],
        ChannelSensitivity=f"{step_uv:g}",
        ChannelSensitivityUnitsSequence=[coded(pydicom, "uV", "UCUM", "microvolt")],
        ChannelSensitivityCorrectionFactor="1",
        ChannelBaseline=str(offset_uv),
        ChannelSampleSkew="0",
        WaveformBitsStored=16,
        **{spelled[key]: f"{value:.10g}" for key, value in used.items()},
    )


def coded(pydicom: Any, value: str, scheme: str, meaning: str) -> Any:
    """Return an item of a code sequence."""
    return _dataset(pydicom, CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _dataset(pydicom: Any, **elements: object) -> Any:
    dataset = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _rate(recording: Recording, target: Path) -> str:
    """Return the rate in the 16 characters of a decimal string. Raises ConversionError where they do not hold it."""
    text = next((t for t in (f"{recording.rate_hz:.{n}g}" for n in range(6, 17)) if float(t) == recording.rate_hz), "")
    if not text or len(text) > 16:
        raise ConversionError(
            f"{target}: DICOM cannot hold a rate of {recording.rate_hz!r} Hz exactly; write WFDB, or resample first"
        )
    return text


def _time(recording: Recording) -> str:
    """Return the time of acquisition with its zone, the day alone where no time is known, or nothing."""
    acquired = moment(recording)
    if acquired is None:
        return ""
    if len(recording.details["acquired"]) <= len("2020-01-01"):
        return f"{acquired:%Y%m%d}"
    fraction = f".{acquired.microsecond:06d}" if acquired.microsecond else ""
    return f"{acquired:%Y%m%d%H%M%S}{fraction}{format(acquired, '%z')[:5]}"
