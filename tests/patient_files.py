"""Made files of every format with everything about a patient that one can hold."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgprism.ecg.recording import Recording
from ecgprism.formats.conversion import write

edfio = pytest.importorskip("edfio")


pydicom = pytest.importorskip("pydicom")


#: one made patient, in every file of these tests; nothing of it may be in a copy
LAST, FIRST, NUMBER, DOCTOR, PLACE, SERIAL = (
    "Żółwińska",
    "Aniela",
    "PID-77123-Q",
    "Grzegorz",
    "Szpital Zdrój",
    "SN99812X",
)


BORN, ACQUIRED = date(1931, 3, 14), date(2019, 11, 27)


SECRETS = (
    "lwińska",
    "Aniela",
    "77123",
    "Grzegorz",
    "Szpital",
    "Zdr",
    "99812",
    "1931",
    "2019",
    "1127",
    "0314",
    "14.03",
    "11-27",
)


SAMPLES: NDArray[np.int16] = np.random.default_rng(5).integers(-900, 900, (8, 500)).astype("<i2")


MDC = "2.16.840.1.113883.6.24"


LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def ascii_only(text: str) -> str:
    return text.replace("Żół", "Zol").replace("ń", "n").replace("ó", "o")


def muse(age: str = "88", units: str = "YEARS", extra: str = "") -> bytes:
    leads = "".join(
        f"<LeadData><LeadByteCountTotal>1000</LeadByteCountTotal><LeadSampleCountTotal>500</LeadSampleCountTotal>"
        f"<LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>"
        f"<LeadID>{lead}</LeadID><LeadSampleSize>2</LeadSampleSize><LeadOff>FALSE</LeadOff>"
        f"<LeadDataCRC32>{zlib.crc32(row.tobytes())}</LeadDataCRC32>"
        f"<WaveFormData>\n{base64.encodebytes(row.tobytes()).decode()}</WaveFormData></LeadData>"
        for lead, row in zip(LEADS, SAMPLES, strict=True)
    )
    stated = f"<PatientAge>{age}</PatientAge><AgeUnits>{units}</AgeUnits>" if age else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd">
<!-- {LAST} --><RestingECG><MuseInfo><MuseVersion>9</MuseVersion></MuseInfo>
<PatientDemographics><PatientID>{NUMBER}</PatientID>{stated}<DateofBirth>03-14-1931</DateofBirth>
<Gender>FEMALE</Gender><PatientLastName>{LAST}</PatientLastName><PatientFirstName>{FIRST}</PatientFirstName>
</PatientDemographics><TestDemographics><SiteName>{PLACE}</SiteName><AcquisitionDate>11-27-2019</AcquisitionDate>
<AcquisitionTime>09:03:32</AcquisitionTime><OverreaderLastName>{DOCTOR}</OverreaderLastName></TestDemographics>
<PharmaData><PharmaCartID>{SERIAL}</PharmaCartID></PharmaData>
<Diagnosis><DiagnosisStatement><StmtText>Confirmed by {DOCTOR}</StmtText></DiagnosisStatement></Diagnosis>
<Waveform><WaveformType>Rhythm</WaveformType><SampleType>CONTINUOUS_SAMPLES</SampleType><SampleBase>500</SampleBase>
<SampleExponent>0</SampleExponent><HighPassFilter>16</HighPassFilter><LowPassFilter>150</LowPassFilter>
<ACFilter>NONE</ACFilter>{extra}{leads}</Waveform></RestingECG>""".encode()


def sierra(age: str = "<years>88</years>", encoding: str = "utf-8") -> bytes:
    samples = base64.b64encode(SAMPLES.tobytes()).decode()
    return f"""<?xml version="1.0" encoding="{encoding}"?>
<restingecgdata xmlns="http://www3.medical.philips.com" status="Confirmed by {DOCTOR}" lang="en">
<documentinfo><documentname>{NUMBER}.xml</documentname><documenttype>SierraECG</documenttype>
<documentversion>1.03</documentversion></documentinfo>
<dataacquisition date="2019-11-27" time="07:27:34"><machine machineid="{SERIAL}">Cart</machine>
<acquirer><operatorid>{DOCTOR}</operatorid><institutionname>{PLACE}</institutionname></acquirer>
<signalcharacteristics><samplingrate>500</samplingrate><signalresolution>5</signalresolution>
<signalbandwidth>0.05-150</signalbandwidth><acquisitiontype>STD-12</acquisitiontype>
<signalsigned>True</signalsigned><numberchannelsallocated>8</numberchannelsallocated></signalcharacteristics>
</dataacquisition><patient><generalpatientdata><patientid>{NUMBER}</patientid>
<name><lastname>{LAST}</lastname><firstname>{FIRST}</firstname></name>
<age><dateofbirth>1931-03-14</dateofbirth>{age}</age><sex>Female</sex></generalpatientdata></patient>
<interpretations><interpretation date="2019-11-27"><mdsignatureline>{DOCTOR}</mdsignatureline></interpretation>
</interpretations><waveforms><parsedwaveforms dataencoding="Base64" durationperchannel="1000" nbitspersample="16"
 numberofleads="8" leadlabels="{" ".join(LEADS)}" operator="{DOCTOR}">{samples}</parsedwaveforms></waveforms>
</restingecgdata>""".encode(encoding)


def aecg(age: str = "88", unit: str = "a") -> bytes:
    leads = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead}" codeSystem="{MDC}" displayName="{DOCTOR}"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/><scale value="2.5" unit="uV"/>'
        f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>"
        for lead, row in zip(LEADS, SAMPLES, strict=True)
    )
    stated = (
        f'<controlVariable><relatedObservation><code code="21612-7" codeSystem="2.16.840.1.113883.6.1"/><value '
        f'xsi:type="PQ" value="{age}" unit="{unit}"/><author><assignedEntity><id extension="{NUMBER}"/>'
        f"</assignedEntity></author></relatedObservation></controlVariable>"
        if age
        else ""
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="Observation">
<id root="61d1a24f-b47e-41aa-ae95-f8ac30201927" extension="{NUMBER}"/>
<code code="93000" codeSystem="2.16.840.1.113883.6.12" codeSystemName="CPT-4"/>
<effectiveTime><center value="20191127091000"/></effectiveTime>
<componentOf><timepointEvent><code code="{FIRST}" codeSystem="1.2.77123.5"/><effectiveTime><low value="201911270737"/>
</effectiveTime><performer><studyEventPerformer><assignedPerson><name>{DOCTOR}</name></assignedPerson>
</studyEventPerformer></performer><componentOf><subjectAssignment><subject><trialSubject>
<id root="2.16.840.1.113883.3.400" extension="{NUMBER}"/><subjectDemographicPerson><name>{LAST}</name>
<administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19310314"/>
</subjectDemographicPerson></trialSubject></subject><componentOf><clinicalTrial>
<id root="2.16.840.1.113883.3.400" extension="{NUMBER}"/><title>{PLACE}</title></clinicalTrial></componentOf>
</subjectAssignment></componentOf></timepointEvent></componentOf>{stated}
<component><series><id root="dd7b629e-9be1-4686-a1bf-7896e1201927"/>
<code code="RHYTHM" codeSystem="2.16.840.1.113883.5.4"/>
<effectiveTime><low value="20191127091000.25" inclusive="true"/><high value="20191127091001.25+0100"
 inclusive="{FIRST}"/></effectiveTime>
<author><seriesAuthor><manufacturedSeriesDevice><id extension="{SERIAL}"/></manufacturedSeriesDevice></seriesAuthor>
</author><controlVariable><controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_FILTER_LOW_PASS" codeSystem="{MDC}"/>
<component><controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ" codeSystem="{MDC}"/>
<value xsi:type="PQ" value="150" unit="Hz"/></controlVariable></component></controlVariable></controlVariable>
<component><sequenceSet><component><sequence><code code="TIME_ABSOLUTE" codeSystem="1.2.77123.5"/>
<value xsi:type="GLIST_TS"><head value="20191127091000.250"/><increment value="0.002" unit="s"/></value></sequence>
</component>{leads}</sequenceSet></component>
<subjectOf><annotationSet><component><annotation><code code="MDC_ECG_INTERPRETATION_STATEMENT"/>
<value xsi:type="ST">{LAST}</value></annotation></component></annotationSet></subjectOf></series></component>
</AnnotatedECG>""".encode()


def dicom(age: str = "088Y", implicit: bool = False) -> bytes:
    signal = SAMPLES.astype(np.float32) / 400
    recording = Recording(signal, 500, LEADS, metadata={"sex": "female"})
    with tempfile.TemporaryDirectory() as folder:
        file = pydicom.dcmread(write(recording, Path(folder) / "a.dcm"))
    file.SpecificCharacterSet = "ISO_IR 192"
    file.PatientName, file.PatientID, file.PatientBirthDate = f"{LAST}^{FIRST}", NUMBER, "19310314"
    file.PatientAge, file.OtherPatientIDs, file.PatientComments = age, [NUMBER, "X-77123"], f"{LAST} is ill"
    file.InstitutionName, file.OperatorsName, file.DeviceSerialNumber = PLACE, DOCTOR, SERIAL
    file.StudyDate = file.ContentDate = "20191127"
    file.AcquisitionDateTime, file.StationName = "20191127091000", "ICU-77123"
    file.SOPInstanceUID = "1.2.3.20191127.77123.1"
    file.StudyInstanceUID = "1.2.3.20191127.77123.2"
    file.ReferencedStudySequence = [pydicom.Dataset()]
    file.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3.20191127.77123.2"
    block = file.private_block(0x0011, "Aniela Corp", create=True)
    block.add_new(1, "LO", LAST)
    block.add_new(2, "IS", "77123")
    (wave,) = file.WaveformSequence
    wave.MultiplexGroupLabel, wave.MultiplexGroupUID = f"RHYTHM {FIRST}"[:16], "1.2.3.20191127.77123.3"
    wave.private_block(0x5401, "Aniela Corp", create=True).add_new(1, "LO", LAST)
    wave.ChannelDefinitionSequence[0].ChannelLabel = FIRST
    wave.ChannelDefinitionSequence[0].FilterLowFrequency = "0.05"
    texts = [pydicom.Dataset() for _ in range(3)]
    texts[0].UnformattedTextValue = f"seen by {DOCTOR}"
    texts[1].NumericValue = "982"
    texts[1].ConceptNameCodeSequence = [coded("5.10.2.1-3", "SCPECG", "RR Interval")]
    texts[2].NumericValue = "1"
    texts[2].ConceptNameCodeSequence = [coded("77123", "99LOCAL", FIRST)]
    for item in texts:
        item.ReferencedWaveformChannels = [1, 0]
    file.WaveformAnnotationSequence = texts
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.file_meta.SourceApplicationEntityTitle = "ICU_77123"
    stream = io.BytesIO()
    syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def coded(value: str, scheme: str, meaning: str) -> Any:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def crc(data: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


def scp(age: tuple[int, int] | None = (88, 1), damaged: bool = False) -> bytes:
    def section(number: int, body: bytes, reserved: bytes = b"Aniela") -> bytes:
        body += b"\0" * (len(body) % 2)
        whole = struct.pack("<HIBB", number, 16 + len(body), 20, 20) + reserved + body
        return crc(whole) + whole

    def text(words: str) -> bytes:
        return ascii_only(words).encode("latin-1") + b"\0"

    device = struct.pack("<HHHBB6sBBBBB", 7, 7, 7, 0, 255, b"CARTX\0", 20, 0xC0, 0, 8, 1) + bytes(16) + b"\x08"
    device += b"prog\0" + SERIAL.encode() + b"\0soft\0impl\0maker\0"
    tags = {
        0: text(LAST), 1: text(FIRST), 2: text(NUMBER), 5: struct.pack("<HBB", 1931, 3, 14), 8: b"\2", 14: device,
        16: text(PLACE), 20: text(DOCTOR), 25: struct.pack("<HBB", 2019, 11, 27), 26: b"\t\n\0", 28: b"\x96\0",
        30: text(f"{LAST} fainted"), 31: text(NUMBER),
    }  # fmt: skip
    if age:
        tags[4] = struct.pack("<HB", *age)
    body = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in tags.items()) + b"\xff\0\0"
    codes = (1, 2, 3, 4, 5, 6, 7, 8)
    leads = b"\x08\x44" + b"".join(struct.pack("<IIB", 1, 500, code) for code in codes)
    rhythm = struct.pack("<HHBB", 2500, 2000, 0, 0) + struct.pack("<8H", *[1000] * 8) + SAMPLES.tobytes()
    statement = text(f"Confirmed by {DOCTOR}")
    statements = (
        b"\1" + struct.pack("<HBB", 2019, 11, 27) + b"\t\n\0\1\1" + struct.pack("<H", len(statement)) + statement
    )
    held = {1: section(1, body), 3: section(3, leads), 6: section(6, rhythm), 8: section(8, statements)}
    held[200] = section(200, text(LAST))
    if damaged:
        held[6] = b"\1\2" + held[6][2:]
    numbers = [*range(1, 12), 200]
    at, pointers = 6 + 16 + 10 * 13, struct.pack("<HII", 0, 16 + 10 * 13, 7)
    for number in numbers:
        length = len(held.get(number, b""))
        pointers += struct.pack("<HII", number, length, at + 1 if length else 0)
        at += length
    rest = struct.pack("<I", at) + section(0, pointers, b"SCPECG") + b"".join(held.values())
    return crc(rest) + rest


def edf(plus: bool = True) -> bytes:
    signals = [
        edfio.EdfSignal.from_digital(
            row.astype(np.int16), 500, label=f"ECG {lead}", physical_dimension="uV", physical_range=(-3200, 3200),
            digital_range=(-32000, 32000), transducer_type="AgAgCl electrode" if lead == "I" else FIRST,
            prefiltering="HP:0.05Hz LP:150Hz N:50Hz" if lead == "I" else f"by {DOCTOR}",
        )
        for lead, row in zip(LEADS, SAMPLES, strict=True)
    ]  # fmt: skip
    notes = [edfio.EdfAnnotation(0.1, None, LAST), edfio.EdfAnnotation(0.6, 0.2, DOCTOR)] if plus else None
    file = edfio.Edf(
        signals, data_record_duration=0.5, starttime=time(9, 3, 32, 250_000) if plus else time(9, 3, 32),
        patient=edfio.Patient(code=NUMBER, sex="F", birthdate=BORN, name=f"{ascii_only(LAST)}_{FIRST}"),
        recording=edfio.Recording(startdate=ACQUIRED, investigator_technician_code=DOCTOR, equipment_code=SERIAL),
        annotations=notes,
    )  # fmt: skip
    return file.to_bytes()


MAKERS: dict[str, Callable[[], bytes]] = {
    "muse.xml": muse, "sierra.xml": sierra, "sierra16.xml": lambda: sierra(encoding="utf-16"), "aecg.xml": aecg,
    "a.dcm": dicom, "implicit.dcm": lambda: dicom(implicit=True), "a.scp": scp, "a.edf": edf,
    "plain.edf": lambda: edf(plus=False),
}  # fmt: skip
