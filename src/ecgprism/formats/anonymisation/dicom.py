"""DICOM waveforms written anew: listed elements, known codes with their meaning of the standard, bounded numbers.

PS3.15 annex E (Basic Profile with Retain Patient Characteristics), PS3.3 A.34, PS3.16 CID 3001.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from ecgprism.ecg.leads import canonical_lead
from ecgprism.extras import library
from ecgprism.formats.anonymisation import secrets
from ecgprism.formats.anonymisation.content import (
    OLDEST_YEARS,
    Copy,
    Source,
    bounded,
    check_counts,
    check_lead,
    is_round,
    years,
)
from ecgprism.formats.conversion import coded
from ecgprism.formats.dicom import BEATS

#: an element's value -> the value to write; None leaves it out
Rule = Callable[[Any], Any]

_ECG_CLASSES = [f"1.2.840.10008.5.1.4.1.1.9.1.{n}" for n in (1, 2, 3, 4)]  # 12-lead, general, ambulatory, 32 bits
_SYNTAXES = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
#: context groups of PS3.16: leads, timing, axis, electrode placement, beats, durations, voltages, filters, noise
_GROUPS = (3001, 3228, 3229, 3263, 3335, 3676, 3680, 3687, 3688, 3689, 3690)
_UNITS = {
    "uV": "microvolt", "mV": "millivolt", "nV": "nanovolt", "V": "volt", "ms": "milliseconds", "s": "seconds",
    "Hz": "hertz", "/min": "per minute", "{H.B.}/min": "heart beats per minute", "{beats}/min": "beats per minute",
    "deg": "degrees", "%": "percent", "1": "no units",
}  # fmt: skip
#: EN 1064 numbers its fields; carts write them as codes
_SCP_CODE = re.compile(r"5\.(4\.5|6\.3|7\.\d|8\.\d|9\.\d|10\.2\.[1-5]|10\.3|13\.5)-\d{1,2}(-\d{1,2}){0,2}")
_SCP_MEANINGS = {
    "5.10.2.1-3": "RR Interval", "5.10.2.1-5": "PP Interval", "5.10.2.5-1": "Ventricular Heart Rate",
    "5.10.2.5-3": "Atrial Heart Rate", "5.10.2.5-5": "QTc Interval", "5.10.3-11": "P Axis", "5.10.3-13": "QRS Axis",
    "5.10.3-15": "T Axis", "5.13.5-7": "PR Interval", "5.13.5-9": "QRS Duration", "5.13.5-11": "QT Interval",
    "5.4.5-33-1": "Electrode Placement",
}  # fmt: skip
_PROGRAM = "2.25.155077665931807499115834027537488690881"
_EMPTY = "StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID PatientName PatientID PatientBirthDate"
_NUMBERS_OF = {"PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID", "DeviceSerialNumber"}


def _words(*known: str) -> Rule:
    return lambda value: str(value) if str(value) in known else None


def _numbers(low: float, high: float, digits: int = 7) -> Rule:
    def rule(value: Any) -> Any:
        values = [value] if isinstance(value, str | int | float) else list(value)
        kept = [bounded(v, low, high, digits) for v in values]
        if not kept or None in kept:
            return None
        exact = [int(v) if v == int(v) else v for v in kept if v is not None]
        return exact if len(exact) > 1 else exact[0]

    return rule


def _group_label(value: Any) -> str:
    """Return which kind of group it is; the rest of the text goes."""
    averaged = any(word in str(value).upper() for word in BEATS)
    return "MEDIAN BEAT" if averaged else "RHYTHM" if "RHYTHM" in str(value).upper() else "ECG"


def _group_offset(value: Any) -> Any:
    """Return where in the recording a group begins, in ms: leads of a paper-like record begin at 0, 2500, 5000."""
    return value if bounded(value, 0, 60_000) is not None and float(value) % 50 == 0 else None


def _sensitivity(value: Any) -> Any:
    return value if bounded(value, 1e-9, 10_000, 16) is not None and is_round(float(value)) else None


def _padding(value: Any) -> Any:
    """Return the value of samples that are none, where it is the least, the largest or 0."""
    raw = bytes(value) if isinstance(value, bytes | bytearray) else b""
    ends = (bytes(2), b"\0\x80", b"\x80\0", b"\xff\x7f", b"\x7f\xff", b"\xff\xff", bytes(1), b"\x80")
    return raw if raw in ends else None


@cache
def _known_codes() -> dict[tuple[str, str], str]:
    """Return (scheme, code) -> meaning of the listed context groups."""
    codes = library("pydicom.sr.codedict", "anonymising DICOM").codes
    groups = [getattr(codes, f"cid{number}") for number in _GROUPS]
    found = [getattr(group, name) for group in groups for name in group.dir()]
    return {(code.scheme_designator, code.value): code.meaning for code in found if code.scheme_designator != "SCT"}


def _code(value: Any) -> Any:
    """Return a code sequence of one known code, with the meaning that belongs to it."""
    item = value[0]
    scheme, code = str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", ""))
    if scheme == "UCUM":
        meaning = _UNITS.get(code)
    elif scheme == "SCPECG":
        known = _SCP_CODE.fullmatch(code)
        meaning = _SCP_MEANINGS.get(code, f"SCP-ECG {code}") if known else None
    else:
        meaning = _known_codes().get((scheme, code))
    return None if meaning is None else [coded(library("pydicom", "anonymising DICOM"), code, scheme, meaning)]


def _items(table: dict[str, Rule], needed: Callable[[Any], bool], value: Any) -> Any:
    """Return the items of a sequence with their listed elements, those that have what they need."""
    kept = [_kept(item, table) for item in value]
    return [item for item in kept if needed(item)] or None


def _kept(dataset: Any, table: dict[str, Rule]) -> Any:
    """Return a copy with the listed elements whose values may stay."""
    pydicom = library("pydicom", "anonymising DICOM")
    copy = pydicom.Dataset()
    for element in dataset:
        rule = table.get(element.keyword)
        if rule is None or element.is_empty or element.VR not in _representations(pydicom, element.tag):
            continue
        value = rule(element.value)
        if value is not None:
            copy.add_new(element.tag, element.VR, value)
    return copy


def _representations(pydicom: Any, tag: Any) -> set[str]:
    return set(pydicom.datadict.dictionary_VR(tag).split(" or "))


def _is_measured(item: Any) -> bool:
    """Return whether an annotation is a number with a name of a known code."""
    return "ConceptNameCodeSequence" in item and "NumericValue" in item


def _is_context(item: Any) -> bool:
    """Return whether an item of the context has a name of a known code, and a value."""
    return "ConceptNameCodeSequence" in item and ("ConceptCodeSequence" in item or "NumericValue" in item)


def _is_text(item: Any) -> bool:
    return "UnformattedTextValue" in item


def _annotations(value: Any) -> Any:
    """Return the annotations that hold nothing but numbers and known codes."""
    return _items(_MEASUREMENT, _is_measured, [item for item in value if not _is_text(item)])


_CHANNEL: dict[str, Rule] = {
    "WaveformChannelNumber": _numbers(0, 99),
    "ChannelLabel": lambda value: canonical_lead(str(value)),
    "ChannelStatus": _words("OK", "TEST DATA", "DISCONNECTED", "QUESTIONABLE", "INVALID", "UNCALIBRATED", "UNZEROED"),
    "ChannelSourceSequence": _code,
    "ChannelSensitivity": _sensitivity,
    "ChannelSensitivityUnitsSequence": _code,
    "ChannelSensitivityCorrectionFactor": _numbers(0.1, 10, 5),
    "ChannelBaseline": _numbers(-5000, 5000, 5),
    "ChannelTimeSkew": _numbers(-1, 1, 3),
    "ChannelSampleSkew": _numbers(-100, 100, 3),
    "WaveformBitsStored": _numbers(1, 32),
    "FilterLowFrequency": _numbers(0, 100, 3),
    "FilterHighFrequency": _numbers(0, 1000, 3),
    "NotchFilterFrequency": _numbers(50, 60, 2),
    "NotchFilterBandwidth": _numbers(0, 20, 2),
}
_GROUP: dict[str, Rule] = {
    "MultiplexGroupTimeOffset": _group_offset,
    "WaveformOriginality": _words("ORIGINAL", "DERIVED"),
    "NumberOfWaveformChannels": _numbers(1, 99),
    "NumberOfWaveformSamples": _numbers(1, 1e9, 10),
    "SamplingFrequency": _numbers(20, 10_000),
    "MultiplexGroupLabel": _group_label,
    "ChannelDefinitionSequence": partial(_items, _CHANNEL, lambda item: True),
    "WaveformBitsAllocated": _numbers(8, 32),
    "WaveformSampleInterpretation": _words("SB", "UB", "MB", "AB", "SS", "US", "SL", "UL"),
    "WaveformPaddingValue": _padding,
    "WaveformData": bytes,
}
_MEASUREMENT: dict[str, Rule] = {
    "ValueType": _words("CODE", "NUMERIC"),
    "ConceptNameCodeSequence": _code,
    "ConceptCodeSequence": _code,
    "NumericValue": _numbers(-5000, 5000, 5),
    "MeasurementUnitsCodeSequence": _code,
    "ReferencedWaveformChannels": _numbers(0, 99),
    "AnnotationGroupNumber": _numbers(0, 99),
}
_FILE: dict[str, Rule] = {
    "SOPClassUID": _words(*_ECG_CLASSES),
    "PatientSex": _words("M", "F", "O"),
    "SeriesNumber": _numbers(0, 99),
    "InstanceNumber": _numbers(0, 99),
    "AcquisitionContextSequence": partial(_items, _MEASUREMENT, _is_context),
    "WaveformSequence": partial(_items, _GROUP, lambda item: "WaveformData" in item),
    "WaveformAnnotationSequence": _annotations,
}


def copied(source: Source) -> Copy:
    """Return the waveforms, numeric measurements of known codes, age and sex of a DICOM file."""
    pydicom = library("pydicom", "anonymising DICOM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that the standard does not allow: most of them go
        file = pydicom.dcmread(io.BytesIO(source.data))
        syntax = file.file_meta.TransferSyntaxUID
        if syntax not in _SYNTAXES:
            raise source.refusal("its transfer syntax is none of the standard's for waveforms")
        texts = sum(_is_text(item) for item in file.get("WaveformAnnotationSequence", ()))
        copy = _kept(file, _FILE)
        if "SOPClassUID" not in copy or "WaveformSequence" not in copy:
            raise source.refusal("it is no DICOM waveform of an ECG")
        _check_groups(source, copy)
        _add_identity(pydicom, source, file, copy)
        copy.file_meta = pydicom.dataset.FileMetaDataset()
        copy.file_meta.TransferSyntaxUID = syntax
        # pydicom would write its own, whose root stands in the identifiers of files that it made: none may be left
        copy.file_meta.ImplementationClassUID, copy.file_meta.ImplementationVersionName = _PROGRAM, "ecgprism"
        stream = io.BytesIO()
        copy.save_as(stream, enforce_file_format=True)
        found = set().union(*map(_secrets_of, file.iterall()))
    searched = stream.getvalue()
    for group in copy.WaveformSequence:
        searched = searched.replace(bytes(group.WaveformData), b"\0")
    left_out = f"{texts} annotations of text, all elements, codes and numbers not listed"
    return Copy(stream.getvalue(), searched, found, left_out)


def _check_groups(source: Source, copy: Any) -> None:
    """Raise AnonymisationError where leads are none of an ECG; cut what stands behind the samples."""
    for lead in (*source.record.leads, *(source.record.median_beats or ())):
        check_lead(source, lead)
    for group in copy.WaveformSequence:
        channels = group.NumberOfWaveformChannels
        held = channels * group.NumberOfWaveformSamples * group.WaveformBitsAllocated // 8
        group.WaveformData = bytes(group.WaveformData)[:held] + b"\0" * (held % 2)
        if group.WaveformBitsAllocated == 16:  # in the order of bytes that spells
            for counts in np.frombuffer(group.WaveformData, "<i2").reshape(-1, channels).T:
                check_counts(source, "a lead", counts.astype(np.float64))


def _add_identity(pydicom: Any, source: Source, file: Any, copy: Any) -> None:
    """Write what the standard wants in the place of identifiers, names and dates."""
    copy.Modality, copy.Manufacturer = "ECG", ""
    for keyword in _EMPTY.split():
        setattr(copy, keyword, "")
    if "PatientSex" not in copy:
        copy.PatientSex = ""
    copy.ContentDate, copy.ContentTime, copy.AcquisitionDateTime = "19000101", "000000", "19000101000000"
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if keyword in file:
            setattr(copy, keyword, _identifier(source, file[keyword].value))
    for old, new in zip(_waveforms(file), copy.WaveformSequence, strict=True):
        if "MultiplexGroupUID" in old:
            new.MultiplexGroupUID = _identifier(source, old.MultiplexGroupUID)
    age, to_write = str(file.get("PatientAge", "")), years(source.record)
    stated = re.fullmatch(r"\d{3}[DWMY]", age) and (to_write or 0) <= OLDEST_YEARS
    if stated or to_write is not None:
        copy.PatientAge = age if stated else f"{to_write:03d}Y"
    copy.PatientIdentityRemoved, copy.LongitudinalTemporalInformationModified = "YES", "REMOVED"
    copy.DeidentificationMethod = "ecgprism: all but listed elements removed"
    profile = coded(pydicom, "113100", "DCM", "Basic Application Confidentiality Profile")
    option = coded(pydicom, "113108", "DCM", "Retain Patient Characteristics Option")
    copy.DeidentificationMethodCodeSequence = [profile, option]


def _waveforms(file: Any) -> Iterator[Any]:
    return (group for group in file.WaveformSequence if "WaveformData" in group)


def _identifier(source: Source, original: Any) -> str:
    return f"2.25.{int.from_bytes(source.replacement(original), 'big')}"


def _secrets_of(element: Any) -> set[str]:
    if element.VR in ("PN", "DA") or element.keyword in _NUMBERS_OF or element.keyword.endswith("InstanceUID"):
        return secrets.words(str(element.value).replace("^", " "))
    return secrets.phrase(element.value) if element.keyword.startswith("Institution") and element.VR != "SQ" else set()
