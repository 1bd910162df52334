"""Copies of ECG files without the patient: what may stay is listed, everything else goes, and the result is checked.

DICOM PS3.15 annex E (Basic Profile with Retain Patient Characteristics), GE MUSE and Philips Sierra XML, HL7 aECG,
SCP-ECG (EN 1064), EDF and EDF+. Sex and age stay (not in EDF), the age as 90 above 89.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import io
import re
import struct
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ecgprism.errors import EcgprismError
from ecgprism.files import atomic
from ecgprism.formats.conversion import Note, check_target, coded, library

KNOWN = "DICOM, GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG and EDF"
OLDEST_YEARS = 89
DUMMY = datetime(1900, 1, 1)  # where a format demands a date; EDF+ prescribes 1985
_NO_NAMES = "anonymous anonymized anonymised unknown none null startdate ecg 19000101 19850101".split()  # noqa: SIM905


class AnonymisationError(EcgprismError):
    """A file that cannot be anonymised, or whose copy did not pass the check; nothing was written."""


@dataclass
class Rewritten:
    """A copy: its bytes, the part of them that is no sample (searched for what must be gone), what was left out."""

    data: bytes
    searched: bytes
    secrets: set[str]
    left_out: str


def anonymise(
    source: str | Path, target: str | Path, *, key: str = "", overwrite: bool = False, note: Note | None = None
) -> Path:
    """Write a copy of an ECG file without what identifies the patient or the people and places of the recording.

    The format stays. Identifiers of DICOM and aECG become others, the same for the same original and `key`, so that the
    files of a study stay together; without a secret `key`, who has the originals can find them out. The copy is read
    again: it must have the samples, age and sex of the source, and none of its names, numbers and dates. Raises
    AnonymisationError where that is not so, or for another format, and leaves nothing behind; ConfigError for a target
    that cannot be. `target` is the caller's: its name must not tell the patient either.
    """
    source, target = Path(source), Path(target)
    check_target(source, target, [target], overwrite)
    before = _parsed(source)
    name, rewrite = before.file_format.name, _REWRITERS.get(before.file_format.parser)
    if rewrite is None:
        raise AnonymisationError(
            f"{source}: {name} cannot be anonymised; {KNOWN} can. Convert it: that leaves names out"
        )
    try:
        copy = rewrite(source.read_bytes(), before, key.encode())
    except (ValueError, LookupError, struct.error, RecursionError) as error:
        raise AnonymisationError(f"{source}: damaged {name} ({error})") from None
    with atomic(target) as path:
        path.write_bytes(copy.data)
        _check(source, path, before, copy)
    if note:
        note(f"{target}: left out: {copy.left_out}")
    return target


def _parsed(path: Path) -> Any:
    parsing = library("ecgdatakit.parsing", "anonymising")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parsing.FileParser.parse(path)
    except ImportError as error:
        raise AnonymisationError(f"{path}: needs {error.name or 'more'}: pip install 'ecgprism[formats]'") from None
    except Exception as error:  # the library wraps what its parsers stumble over, in kinds of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AnonymisationError(f"{path}: not readable ({reason}); {KNOWN} can be anonymised") from None


def _years(record: Any) -> int | None:
    """Return the age to write: the stated or computed one, 90 for all above 89."""
    age = record.patient.age
    return None if age is None or age < 0 else age if age <= OLDEST_YEARS else OLDEST_YEARS + 1


def _check(source: Path, path: Path, before: Any, copy: Rewritten) -> None:
    """Raise AnonymisationError unless the file at `path` has the samples of the source and nothing of the patient."""
    after = _parsed(path)
    ours, theirs = ([*record.leads, *(record.median_beats or ())] for record in (after, before))
    same = len(ours) == len(theirs) and all(
        (a.label, a.sampling_rate, a.units) == (b.label, b.sampling_rate, b.units)
        and np.array_equal(a.samples, b.samples, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )
    patient, kept, wrong = after.patient, (after.patient.age, after.patient.sex), ""
    if not same:
        wrong = "the copy has other samples"
    elif before.file_format.parser != "EDFParser" and kept != (_years(before), before.patient.sex):
        wrong = "the copy has another age or sex"
    elif patient.patient_id not in ("", "X X X X") or patient.first_name or patient.last_name or patient.birth_date:
        wrong = "the copy still names the patient"
    elif found := _found(copy.searched, copy.secrets | _secrets(before)):
        wrong = f"{found} names, numbers or dates of the patient or the place still stand in the copy"
    if wrong:
        raise AnonymisationError(f"{source}: not anonymised: {wrong}; nothing was written")


def _found(searched: bytes, secrets: set[str]) -> int:
    """Return how many of the strings occur, in any case and any usual encoding."""
    encodings, halves = ("latin-1", "utf-8", "utf-16-le", "utf-16-be"), (searched, searched[1:])
    text = "\0".join(half.decode(encoding, "replace") for half in halves for encoding in encodings).casefold()
    found = 0
    for secret in map(str.casefold, secrets):
        # three letters, or a few digits, occur by chance inside of something longer
        alone = len(secret) < 4 or (secret.isdigit() and len(secret) < 8)
        found += bool(re.search(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])" if alone else re.escape(secret), text))
    return found


def _secrets(record: Any) -> set[str]:
    """Return what of a parsed file identifies somebody."""
    recording, patient, statements = record.recording, record.patient, record.interpretation
    people = (patient.first_name, patient.last_name, recording.technician, recording.referring_physician)
    numbers = (statements.interpreter, patient.patient_id, recording.device.serial_number)
    days = (patient.birth_date, recording.date, statements.interpretation_date)
    return set().union(*map(_words, people + numbers), *map(_dates, days), _phrase(recording.device.institution))


def _words(text: object) -> set[str]:
    """Return the parts of a name or number that are long enough to be searched for."""
    words = re.findall(r"[^\W_]+(?:[-.][^\W_]+)*", str(text or ""))
    parts = {part for word in words for part in (word, *re.split(r"[-.]", word))}
    return {p for p in parts if len(p) >= (6 if p.isdigit() else 3) and p.casefold() not in _NO_NAMES}


def _phrase(text: object) -> set[str]:
    return {str(text)} if len(str(text or "")) >= 4 and str(text).casefold() not in _NO_NAMES else set()


def _dates(day: date | None) -> set[str]:
    """Return the usual spellings of a day."""
    if day is None or f"{day:%Y%m%d}" in _NO_NAMES:
        return set()
    forms = ("%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%b{0}%Y")
    short = ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%d{0}%b{0}%y")
    texts = {form.format(sign) for form in forms for sign in ("", "-", ".", "/", " ")}
    return {day.strftime(text) for text in texts | {form.format(sign) for form in short for sign in "-./"}}


def _replacement(original: str, key: bytes) -> bytes:
    """Return 16 bytes in the place of an identifier, the same for the same one and key."""
    return hmac.new(b"ecgprism" + key, original.encode(), hashlib.sha256).digest()[:16]


# DICOM

_DICOM_KEPT = """
    SpecificCharacterSet SOPClassUID Modality Manufacturer ManufacturerModelName SoftwareVersions PatientSex
    SeriesNumber InstanceNumber SOPInstanceUID StudyInstanceUID SeriesInstanceUID MultiplexGroupUID
    MultiplexGroupTimeOffset TriggerTimeOffset TriggerSamplePosition CodeValue CodingSchemeDesignator
    CodingSchemeVersion CodeMeaning AcquisitionContextSequence ValueType ConceptNameCodeSequence ConceptCodeSequence
    NumericValue MeasurementUnitsCodeSequence WaveformAnnotationSequence ReferencedWaveformChannels
    AnnotationGroupNumber TemporalRangeType ReferencedSamplePositions ReferencedTimeOffsets
    """.split()  # noqa: SIM905
_TECHNICAL = {"US", "UL", "SS", "SL", "FL", "FD", "DS", "IS", "CS", "OB", "OW", "OB or OW", "SQ"}
_EMPTY = "StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID PatientName PatientID PatientBirthDate"
_NUMBERS_OF = {"PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID", "DeviceSerialNumber"}
_SCHEMES = {"SCPECG", "MDC", "UCUM", "DCM", "SCT", "SRT", "LN"}


def _dicom(data: bytes, record: Any, key: bytes) -> Rewritten:
    pydicom = library("pydicom", "anonymising DICOM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that the standard does not allow: most of them go
        file = pydicom.dcmread(io.BytesIO(data))
        secrets = set().union(*map(_dicom_secrets, file.iterall()))
        copy = _dicom_kept(pydicom, file, key)
        for keyword in _EMPTY.split():
            setattr(copy, keyword, "")
        copy.ContentDate, copy.ContentTime, copy.AcquisitionDateTime = "19000101", "000000", "19000101000000"
        age, years = str(file.get("PatientAge", "")), _years(record)
        stated = re.fullmatch(r"\d{3}[DWMY]", age) and (years or 0) <= OLDEST_YEARS
        if stated or years is not None:
            copy.PatientAge = age if stated else f"{years:03d}Y"
        copy.PatientIdentityRemoved, copy.LongitudinalTemporalInformationModified = "YES", "REMOVED"
        copy.DeidentificationMethod = "ecgprism: all but listed elements removed"
        profile = coded(pydicom, "113100", "DCM", "Basic Application Confidentiality Profile")
        option = coded(pydicom, "113108", "DCM", "Retain Patient Characteristics Option")
        copy.DeidentificationMethodCodeSequence = [profile, option]
        copy.file_meta = pydicom.dataset.FileMetaDataset()
        copy.file_meta.TransferSyntaxUID = file.file_meta.TransferSyntaxUID
        stream = io.BytesIO()
        copy.save_as(stream, enforce_file_format=True)
    searched = stream.getvalue()
    for group in copy.WaveformSequence:
        searched = searched.replace(bytes(group.WaveformData), b"\0")
    texts = sum("UnformattedTextValue" in item for item in file.get("WaveformAnnotationSequence", ()))
    return Rewritten(stream.getvalue(), searched, secrets, f"{texts} annotations of text, all elements not listed")


def _dicom_kept(pydicom: Any, dataset: Any, key: bytes) -> Any:
    """Return a copy with the listed elements, and those of channels and samples that are no text."""
    copy = pydicom.Dataset()
    for element in dataset:
        keyword, value = element.keyword, element.value
        if keyword == "MultiplexGroupLabel":  # a text, of which only the kind of group is of use
            median = re.search("MEDIAN|REPRESENTATIVE|AVERAGE", str(value).upper())
            value = "MEDIAN BEAT" if median else "RHYTHM" if "RHYTHM" in str(value).upper() else "ECG"
        elif keyword not in _DICOM_KEPT and (element.tag.group not in (0x003A, 0x5400) or element.VR not in _TECHNICAL):
            continue
        elif element.VR == "SQ":
            value = [_dicom_kept(pydicom, item, key) for item in value if keyword[:8] != "Waveform" or _is_kept(item)]
        elif keyword.endswith("UID") and keyword != "SOPClassUID":
            value = f"2.25.{int.from_bytes(_replacement(str(value), key), 'big')}"
        copy.add_new(element.tag, element.VR, value)
    return copy


def _is_kept(item: Any) -> bool:
    """Return whether an item is a group of channels, or an annotation that holds nothing but numbers and codes."""
    coded = {code.get("CodingSchemeDesignator") for code in item.get("ConceptNameCodeSequence", ())}
    return "WaveformData" in item or ("UnformattedTextValue" not in item and bool(coded) and coded <= _SCHEMES)


def _dicom_secrets(element: Any) -> set[str]:
    if element.VR in ("PN", "DA") or element.keyword in _NUMBERS_OF or element.keyword.endswith("InstanceUID"):
        return _words(str(element.value).replace("^", " "))
    return _phrase(element.value) if element.keyword.startswith("Institution") and element.VR != "SQ" else set()


# XML

_NUMBER = r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?"
_FLAG = r"true|false|yes|no|0|1"
_SEX = r"male|female|unknown|other|[mfuo]|un"
_LEAD = r"-?(I{1,3}|aV[RLF]|a?V\d{0,2}[RLFXYZ]?|[XYZDAJ]|C[CMR]\d?)"
_BASE64, _NUMBERS = r"[A-Za-z0-9+/=\s]*", r"[-+\d.eE,\s]*"  # samples: never searched for names


@dataclass(frozen=True)
class Grammar:
    """What of a kind of XML stays: elements with a pattern of their text ("": none), attributes with one of theirs."""

    elements: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, str] = field(default_factory=dict)


def _all(names: str, pattern: str = "") -> dict[str, str]:
    return dict.fromkeys(names.split(), pattern)


_MUSE = Grammar({
    **_all("PatientDemographics Waveform LeadData"),
    **_all("PatientAge WaveformStartTime NumberofLeads SampleBase SampleExponent LeadByteCountTotal LeadTimeOffset "
           "LeadSampleCountTotal LeadAmplitudeUnitsPerBit LeadHighLimit LeadLowLimit LeadOffsetFirstSample "
           "FirstSampleBaseline LeadSampleSize LeadDataCRC32", _NUMBER),
    **_all("LeadOff BaselineSway", _FLAG), **_all("HighPassFilter LowPassFilter ACFilter", rf"{_NUMBER}|none|off|no"),
    "AgeUnits": "years|months|weeks|days|hours", "Gender": _SEX, "WaveformType": "rhythm|median", "LeadID": _LEAD,
    "SampleType": "continuous_samples", "LeadAmplitudeUnits": "(micro|milli|nano)?volts?|[umn]?v",
    "WaveFormData": _BASE64,
})  # fmt: skip
_SIERRA = Grammar(
    {
        **_all("documentinfo dataacquisition signalcharacteristics patient generalpatientdata age waveforms repbeats"),
        **_all("samplingrate resolution signalresolution hipass lowpass acsetting notchfilterfreqs bitspersample years "
               "signaloffset numberchannelsallocated numberchannelsvalid documentversion", _NUMBER),
        **_all("signalsigned notchfiltered", _FLAG), "signalbandwidth": rf"{_NUMBER}-{_NUMBER}", "sex": _SEX,
        "documenttype": "SierraECG|PhilipsECG", **_all("parsedwaveforms repbeat waveform", rf"{_BASE64}|{_NUMBERS}"),
        **_all("acquisitiontype leadset electrodeplacement", r"[a-z]{0,4}[-_ ]?\d{0,2}[-_ ]?(wire|lead)?"),  # STD-12
    },
    {
        **_all("resolution durationperchannel numberofleads samplespersecond samplespersec nbitspersample hipass "
               "bitspersample signaloffset lowpass notchfilterfreqs duration", _NUMBER),
        **_all("compressflag filterflag signalsigned notchfiltered artfiltered upsampled downsampled", _FLAG),
        **_all("compression compressmethod", "xli|none|uncompressed"), "dataencoding": "base64|plain",
        "leadname": _LEAD, "leadlabels": rf"{_LEAD}(\s+{_LEAD})*",
    },
    {"xmlns": "http://www3.medical.philips.com"},
)  # fmt: skip
_AECG = Grammar(
    {
        **_all("id code effectiveTime low high center componentOf timepointEvent subjectAssignment subject "
               "trialSubject subjectDemographicPerson administrativeGenderCode clinicalTrial controlVariable value "
               "relatedObservation component series derivation derivedSeries sequenceSet sequence head increment "
               "origin scale"),
        "digits": _NUMBERS,
    },
    {
        "code": r"(MDC|MINDRAY)_\w+|TIME_(ABSOLUTE|RELATIVE)|RHYTHM|REPRESENTATIVE_BEAT|93000|21612-7|[mfu]|un",
        "codeSystem": r"2\.16\.840\.1\.113883\.[56]\.\d+", "value": rf"{_NUMBER}([-+]\d{{4}})?", "inclusive": _FLAG,
        "unit": r"[umnµμ]?V|[umµμ]?s|k?Hz|a|mo|wk|d|h|1|deg", "type": "[A-Z]{2,5}(_[A-Z]{2,3})?",
    },
    {"xmlns": "urn:hl7-org:v3", "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance"},
)  # fmt: skip
_IDENTIFYING = re.compile(
    r"(?!codeSystem|display|lead|software)\w*(name|id|number|given|family|mrn|extension|line|clinician|operator)", re.I
)


def _xml(
    grammar: Grammar, finish: Callable[[Any, Any, bytes], None], data: bytes, record: Any, key: bytes
) -> Rewritten:
    original = library("ecgdatakit.parsing.helpers.xml", "anonymising XML").parse_xml_root(data)
    root = _xml_kept(original, grammar)
    finish(root, record, key)
    values = [v for e in root.iter() for v in (*e.attrib.values(), e.text or "") if len(v) < 200]  # no samples
    root.attrib.update(grammar.namespaces)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    pairs = [(n, t.strip()) for e in original.iter() for n, t in ((e.tag, e.text), *e.attrib.items()) if t]
    named = {text for name, text in pairs if _IDENTIFYING.fullmatch(name) or (name == "root" and "-" in text)}
    secrets = set().union(*map(_words, named - {value.strip() for value in values}))
    return Rewritten(text, "\0".join(values).encode(), secrets, "measurements, statements and all other text")


def _xml_kept(element: Any, grammar: Grammar) -> Any:
    copy = ElementTree.Element(element.tag)
    for name, value in element.attrib.items():
        pattern = grammar.attributes.get(name)
        if pattern and re.fullmatch(pattern, value.strip(), re.IGNORECASE):
            copy.set("xsi:type" if name == "type" else name, value.strip())
    for child in element:
        pattern = grammar.elements.get(child.tag)
        if pattern is None:
            continue
        kept = _xml_kept(child, grammar)
        text = (child.text or "").strip()
        if pattern and re.fullmatch(pattern, text, re.IGNORECASE):
            kept.text = text
        copy.append(kept)
    return copy


def _put(root: Any, path: str, value: object) -> None:
    for tag in path.split("/"):
        found = root.find(tag)
        root = ElementTree.SubElement(root, tag) if found is None else found
    root.text = None if value is None else str(value)


def _finish_muse(root: Any, record: Any, key: bytes) -> None:
    years = _years(record)
    if years is None or years > OLDEST_YEARS or not root.findtext("PatientDemographics/PatientAge"):
        for tag, value in (("PatientAge", years), ("AgeUnits", None if years is None else "YEARS")):
            _put(root, f"PatientDemographics/{tag}", value)


def _finish_sierra(root: Any, record: Any, key: bytes) -> None:
    _put(root, "patient/generalpatientdata/age/years", _years(record))


def _finish_aecg(root: Any, record: Any, key: bytes) -> None:
    """Write age, new identifiers, and times counted from a day that says nothing."""
    for variable in root.findall("controlVariable"):
        root.remove(variable)
    if (years := _years(record)) is not None:
        variable = ElementTree.Element("controlVariable")
        observation = ElementTree.SubElement(variable, "relatedObservation")
        ElementTree.SubElement(observation, "code", code="21612-7", codeSystem="2.16.840.1.113883.6.1")
        ElementTree.SubElement(observation, "value", {"xsi:type": "PQ", "value": str(years), "unit": "a"})
        root.insert([child.tag for child in root].index("component"), variable)
    people = [parent for tag in ("trialSubject", "clinicalTrial") for parent in root.iter(tag)]
    for parent in (*people, *root.iter("timepointEvent")):
        for child in [
            c for c in parent if c.tag in ("code", "effectiveTime") or (c.tag == "componentOf" and not len(c))
        ]:
            parent.remove(child)
    masked = [element for parent in people for element in parent.findall("id")]
    for number, element in enumerate(root.iter("id")):
        new = uuid.UUID(bytes=_replacement(f"{record.raw_metadata['document_id']} {number}", key))
        element.attrib = {"nullFlavor": "MSK"} if element in masked else {"root": str(new)}
    times = [e for tag in ("low", "high", "center", "head") for e in root.iter(tag) if not e.get("unit")]
    stamps = [(e, _timestamp(e.get("value", ""))) for e in times]
    first = min((stamp for _, stamp in stamps if stamp), default=DUMMY)
    for element, stamp in stamps:
        if stamp:
            element.set("value", f"{DUMMY + (stamp - first):%Y%m%d%H%M%S.%f}")
        elif element.tag != "head":
            element.attrib.pop("value", None)


def _timestamp(text: str) -> datetime | None:
    match = re.fullmatch(r"(\d{8,14})(\.\d+)?([-+]\d{4})?", text)
    return datetime.strptime(match[1].ljust(14, "0") + (match[2] or ".0")[:7], "%Y%m%d%H%M%S.%f") if match else None


# SCP-ECG

_SCP_KEPT = (2, 3, 4, 5, 6)  # what decoding the samples needs; all others are measurements, statements or a maker's own


def _crc(data: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


def _scp(data: bytes, record: Any, key: bytes) -> Rewritten:
    held: dict[int, bytes] = {}
    for at in range(22, 6 + struct.unpack_from("<I", data, 10)[0] - 9, 10):
        number, length, index = struct.unpack_from("<HII", data, at)
        if length and index:
            held[number] = data[index - 1 : index - 1 + length]
    tags = dict(_scp_tags(held.get(1, b"")[16:]))
    years, age, versions = _years(record), tags.get(4, b""), held.get(1, data[6:])[8:10]
    if years is None or years > OLDEST_YEARS or len(age) != 3 or not any(age[:2]):
        age = struct.pack("<HB", years, 1) if years else b""
    old, device = tags.get(14, b"").ljust(36, b"\0"), bytearray(36)
    device[6:8], device[14:16], device[18], device[35] = old[6:7] + b"\xff", old[14:16], old[18], 1
    written = [
        (2, b"\0"), (4, age), (8, tags.get(8, b"\0")[:1]), (14, bytes(device) + b"\0" * 5),
        (25, struct.pack("<HBB", DUMMY.year, DUMMY.month, DUMMY.day)), (26, b"\0\0\0"),
        *((tag, tags[tag]) for tag, size in ((27, 2), (28, 2), (29, 1), (33, 2)) if len(tags.get(tag, b"")) == size),
        (255, b""),
    ]  # fmt: skip
    body = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in written if value or tag == 255)
    sections = {1: _scp_section(1, versions, body)}
    for number in _SCP_KEPT:
        if number in held:
            clean = held[number][2:10] + bytes(6) + held[number][16:]
            good = held[number][:2] == _crc(held[number][2:])  # a damaged section stays recognisable as one
            sections[number] = (_crc(clean) if good else held[number][:2]) + clean
    at, pointers = 6 + 16 + 120, struct.pack("<HII", 0, 136, 7)
    for number in range(1, 12):
        length = len(sections.get(number, b""))
        pointers += struct.pack("<HII", number, length, at + 1 if length else 0)
        at += length
    rest = struct.pack("<I", at) + _scp_section(0, data[14:16], pointers, b"SCPECG")
    copied = b"".join(sections.values())
    texts = [v.decode("latin-1") for tag, v in tags.items() if tag in (0, 1, 2, 3, 13, *range(16, 24), 30, 31, 35)]
    gone = ", ".join(str(number) for number in sorted(held) if number not in (0, 1, *_SCP_KEPT))
    left_out = f"sections {gone or 'none'}; of section 1 all but age, sex and filters"
    return Rewritten(
        _crc(rest + copied) + rest + copied, rest + sections[1], set().union(*map(_words, texts)), left_out
    )


def _scp_section(number: int, versions: bytes, body: bytes, reserved: bytes = bytes(6)) -> bytes:
    body += b"\0" * (len(body) % 2)
    section = struct.pack("<HI", number, 16 + len(body)) + versions + reserved + body
    return _crc(section) + section


def _scp_tags(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 3 <= len(body) and body[at] != 255:
        size = struct.unpack_from("<H", body, at + 1)[0]
        yield body[at], body[at + 3 : at + 3 + size]
        at += 3 + size


# EDF

_EDF_WORD = r"(ag|agcl|agagcl|silver|chloride|gold|cup|disc|gel|wet|dry|active|passive|adhesive|ecg|electrodes?)"
_EDF_TRANSDUCER = rf"{_EDF_WORD}([-/ ]+{_EDF_WORD})*"
_EDF_FILTERS = r"((hp|lp|n|bp|notch)[: ]*(dc|[\d.]{1,8}) ?(hz)?[ ,;]*)*"


def _edf(data: bytes, record: Any, key: bytes) -> Rewritten:
    n = int(data[252:256])
    start = 256 * (n + 1)
    columns, at = [], 256
    for width in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        columns.append([data[at + i * width : at + (i + 1) * width] for i in range(n)])
        at += n * width
    for value in (value for column in (*columns[3:7], columns[8]) for value in column):
        float(value)  # a ValueError where a number should be and is not
    samples = [int(value) for value in columns[8]]
    ends = 2 * np.cumsum(samples)
    records = np.frombuffer(data[start:], np.uint8)
    records = records[: len(records) // ends[-1] * ends[-1]].reshape(-1, ends[-1]).copy()
    announced = int(data[236:244])
    records = records[: announced if announced >= 0 else None]
    annotated = [i for i in range(n) if columns[0][i].strip() == b"EDF Annotations"]
    for i in annotated:
        _edf_times(records[:, ends[i] - 2 * samples[i] : ends[i]], i == annotated[0] and data[192:196] == b"EDF+")
    columns[1] = [_edf_text(value, _EDF_TRANSDUCER) for value in columns[1]]
    columns[7] = [_edf_text(value, _EDF_FILTERS) for value in columns[7]]
    columns[9] = [b" " * 32] * n
    header = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80) + b"01.01.8500.00.00"
    kind = data[192:197] if data[192:197] in (b"EDF+C", b"EDF+D") else b""
    header += f"{start:<8}".encode() + kind.ljust(44) + f"{len(records):<8}".encode() + data[244:252]
    header += f"{n:<4}".encode() + b"".join(b"".join(column) for column in columns)
    secrets = _words(data[8:168].decode("latin-1"))
    return Rewritten(header + records.tobytes(), header, secrets, "patient, recording, start and texts of annotations")


def _edf_times(block: Any, keeping_time: bool) -> None:
    """Leave of annotations (N, bytes) the time of the data record, where this is the signal that keeps it."""
    for row in block:
        onset = re.match(rb"[-+]\d+(\.\d*)?", row.tobytes()) if keeping_time else None
        row[:] = np.frombuffer((onset[0] + b"\x14\x14" if onset else b"").ljust(len(row), b"\0"), np.uint8)


def _edf_text(value: bytes, pattern: str) -> bytes:
    return value if re.fullmatch(pattern, value.decode("latin-1").strip(), re.I) else b" " * len(value)


_REWRITERS: dict[str, Callable[[bytes, Any, bytes], Rewritten]] = {
    "DICOMWaveformParser": _dicom,
    "GEMuseXMLParser": partial(_xml, _MUSE, _finish_muse),
    "SierraXMLParser": partial(_xml, _SIERRA, _finish_sierra),
    "HL7aECGParser": partial(_xml, _AECG, _finish_aecg),
    "SCPECGParser": _scp,
    "EDFParser": _edf,
}
