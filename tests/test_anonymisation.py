"""Anonymisation: what identifies is gone in every spelling, the samples stay, a failed check leaves nothing."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wfdb import wrann

from ecgprism.errors import ConfigError
from ecgprism.formats import reading
from ecgprism.formats.anonymisation import copies, secrets
from ecgprism.formats.anonymisation.content import AnonymisationError, Copy, Source
from ecgprism.formats.anonymisation.copies import anonymize
from ecgprism.formats.conversion import convert
from tests.patient_files import (
    DOCTOR,
    FIRST,
    LAST,
    LEADS,
    MAKERS,
    NUMBER,
    SAMPLES,
    SECRETS,
    aecg,
    ascii_only,
    crc,
    dicom,
    edf,
    edfio,
    muse,
    pydicom,
    scp,
    sierra,
)
from tests.records import digital, write_wfdb

FileParser = pytest.importorskip("ecgdatakit.parsing").FileParser


MADE = {name: make() for name, make in MAKERS.items()}


def parsed(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FileParser.parse(path)


def copied(tmp_path: Path, name: str, data: bytes, **options: Any) -> Path:
    source = tmp_path / f"source-{name}"
    source.write_bytes(data)
    return anonymize(source, tmp_path / name, **options)


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_of_the_patient_is_in_the_copy_in_any_encoding(name: str, tmp_path: Path) -> None:
    data = MAKERS[name]()
    assert any(secret.encode() in data or secret.encode("utf-16-le") in data for secret in SECRETS)
    copy = copied(tmp_path, name, data).read_bytes()
    # samples hold any digits by chance: they are not searched
    for row in (*SAMPLES, SAMPLES.T, SAMPLES):
        for held in (row.tobytes(), base64.encodebytes(row.tobytes()).strip(), base64.b64encode(row.tobytes())):
            copy = copy.replace(held, b"")
        copy = copy.replace(" ".join(map(str, row.ravel())).encode(), b"")
    if name.endswith(".dcm"):
        copy = copy.replace(bytes(pydicom.dcmread(tmp_path / name).WaveformSequence[0].WaveformData), b"")
    if name.endswith(".edf"):
        copy = copy[: 256 * 10]
    if name.endswith(".scp"):
        copy = copy.replace(SAMPLES.tobytes(), b"")
    for secret in SECRETS:
        for encoding in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
            spelled = ascii_only(secret) if encoding == "latin-1" else secret
            for case in (spelled, spelled.upper(), spelled.lower()):
                assert case.encode(encoding, "ignore") not in copy, (secret, encoding)


@pytest.mark.parametrize("name", MAKERS)
def test_samples_rate_leads_sex_and_age_stay_and_the_person_goes(name: str, tmp_path: Path) -> None:
    before_path = tmp_path / f"source-{name}"
    after = parsed(copied(tmp_path, name, MAKERS[name]()))
    before = parsed(before_path)
    assert [lead.label for lead in after.leads] == list(LEADS)
    for ours, theirs in zip(after.leads, before.leads, strict=True):
        assert (ours.sampling_rate, ours.units) == (theirs.sampling_rate, theirs.units)
        np.testing.assert_array_equal(ours.samples, theirs.samples)
    patient = after.patient
    assert (patient.first_name, patient.last_name, patient.birth_date) == ("", "", None)
    assert patient.patient_id in ("", "X X X X")
    if not name.endswith(".edf"):
        assert (patient.age, patient.sex) == (88, "F")
    device = after.recording.device
    assert not (device.serial_number or device.institution or after.recording.technician)
    assert after.interpretation.statements == []


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("m.xml", lambda: muse("97")), ("m2.xml", lambda: muse("1164", "MONTHS")),
        ("s.xml", lambda: sierra("<years>97</years>")),
        ("a.xml", lambda: aecg("97")), ("a2.xml", lambda: aecg("1164", "mo")), ("d.dcm", lambda: dicom("097Y")),
        ("p.scp", lambda: scp((97, 1))), ("p2.scp", lambda: scp((1164, 2))),
    ],
)  # fmt: skip
def test_an_age_above_89_becomes_90(name: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    path = copied(tmp_path, name, make())
    assert parsed(path).patient.age == 90
    assert not any(
        text in path.read_bytes() for text in (b">97<", b">1164<", b'"97"', b"097Y", b"\x04\x03\x00\x61\x00")
    )
    if name == "d.dcm":
        assert pydicom.dcmread(path).PatientAge == "090Y"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("m.xml", lambda: muse("")), ("s.xml", lambda: sierra("")), ("a.xml", lambda: aecg("")),
        ("d.dcm", lambda: dicom("")), ("p.scp", lambda: scp(None)),
    ],
)  # fmt: skip
def test_an_age_that_only_the_dates_tell_is_written_before_they_go(
    name: str, make: Callable[[], bytes], tmp_path: Path
) -> None:
    assert parsed(copied(tmp_path, name, make())).patient.age == 88


@pytest.mark.parametrize(
    ("name", "make"),
    [("m.xml", lambda: muse("97", "DECADES")), ("a.xml", lambda: aecg("97", "lustra"))],
)
def test_an_age_in_an_unknown_unit_goes(name: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    data = make().replace(b"<DateofBirth>03-14-1931</DateofBirth>", b"").replace(b'<birthTime value="19310314"/>', b"")
    path = copied(tmp_path, name, data)
    assert parsed(path).patient.age is None
    assert b"97<" not in path.read_bytes()
    assert b'"97"' not in path.read_bytes()


def test_dicom_keeps_what_the_profile_allows_and_replaces_identifiers_consistently(tmp_path: Path) -> None:
    path = copied(tmp_path, "a.dcm", dicom())
    copy = pydicom.dcmread(path)
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    assert "SourceApplicationEntityTitle" not in copy.file_meta
    assert not any(element.tag.is_private for element in copy.iterall())
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        assert not copy[keyword].value
    assert (copy.PatientIdentityRemoved, copy.ContentDate, copy.AcquisitionDateTime) == (
        "YES",
        "19000101",
        "19000101000000",
    )
    assert [item.CodeValue for item in copy.DeidentificationMethodCodeSequence] == ["113100", "113108"]
    uids = [
        copy.SOPInstanceUID,
        copy.StudyInstanceUID,
        copy.SeriesInstanceUID,
        copy.WaveformSequence[0].MultiplexGroupUID,
    ]
    assert len(set(uids)) == 4
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)
    again = pydicom.dcmread(copied(tmp_path, "b.dcm", dicom()))
    keyed = pydicom.dcmread(copied(tmp_path, "c.dcm", dicom(), key="secret"))
    assert again.StudyInstanceUID == copy.StudyInstanceUID != keyed.StudyInstanceUID
    (annotation,) = copy.WaveformAnnotationSequence
    assert annotation.NumericValue == 982
    (wave,) = copy.WaveformSequence
    assert wave.MultiplexGroupLabel == "RHYTHM"
    assert wave.ChannelDefinitionSequence[0].FilterLowFrequency == 0.05
    assert "ChannelLabel" not in wave.ChannelDefinitionSequence[0]


def test_a_dicom_whose_identifiers_pydicom_made_is_copied(tmp_path: Path) -> None:
    file = pydicom.dcmread(io.BytesIO(dicom()))
    file.StudyInstanceUID, file.SeriesInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    stream = io.BytesIO()
    file.save_as(stream)
    copy = pydicom.dcmread(copied(tmp_path, "a.dcm", stream.getvalue()))
    assert copy.file_meta.ImplementationVersionName == "ecgprism"
    assert copy.StudyInstanceUID.startswith("2.25.") and copy.StudyInstanceUID != file.StudyInstanceUID


def test_dicom_keeps_the_age_of_a_child_in_its_unit(tmp_path: Path) -> None:
    assert pydicom.dcmread(copied(tmp_path, "a.dcm", dicom("006M"))).PatientAge == "006M"


def test_xml_keeps_filters_and_is_readable(tmp_path: Path) -> None:
    text = copied(tmp_path, "muse.xml", muse()).read_text(encoding="utf-8")
    assert "<LowPassFilter>150</LowPassFilter>" in text
    assert "Diagnosis" not in text
    assert "Demographics>" in text
    assert parsed(tmp_path / "muse.xml").recording.acquisition.filters.lowpass == 150
    copied(tmp_path, "sierra.xml", sierra())
    assert parsed(tmp_path / "sierra.xml").recording.acquisition.filters.highpass == 0.05
    copied(tmp_path, "aecg.xml", aecg())
    assert parsed(tmp_path / "aecg.xml").recording.acquisition.filters.lowpass == 150


def test_a_lead_that_was_off_stays_marked(tmp_path: Path) -> None:
    data = muse().replace(b"<LeadOff>FALSE", b"<LeadOff>TRUE", 1)
    assert copied(tmp_path, "muse.xml", data).read_bytes().count(b"<LeadOff>TRUE") == 1


def test_the_median_beat_is_copied_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = muse().replace(b"</Waveform>", b"</Waveform>" + muse()[muse().index(b"<Waveform>") :].split(b"</Restin")[0])
    data = data.replace(b"<WaveformType>Rhythm", b"<WaveformType>Median", 1)
    path = copied(tmp_path, "muse.xml", data)
    assert len(parsed(path).median_beats) == len(parsed(path).leads) == len(LEADS)
    rewrite = copies.WRITERS["GEMuseXMLParser"]

    def changing(source: Source) -> Copy:
        made = rewrite(source)
        at = made.data.index(b"<WaveformType>Median")
        made.data = made.data[:at] + made.data[at:].replace(b"<LeadID>V6<", b"<LeadID>V5R<", 1)
        return made

    monkeypatch.setitem(copies.WRITERS, "GEMuseXMLParser", changing)
    with pytest.raises(AnonymisationError, match="other samples"):
        copied(tmp_path, "again.xml", data)


def test_text_in_the_place_of_a_number_goes(tmp_path: Path) -> None:
    data = muse(extra=f"<WaveformStartTime>{FIRST}</WaveformStartTime><NumberofLeads>8 {FIRST}</NumberofLeads>")
    assert b"Aniela" not in copied(tmp_path, "muse.xml", data).read_bytes()


def test_aecg_times_are_counted_from_a_day_that_says_nothing(tmp_path: Path) -> None:
    text = copied(tmp_path, "aecg.xml", aecg()).read_text(encoding="utf-8")
    assert '<center value="19000101000000.000000" />' in text
    assert '<low value="19000101000000.250000" inclusive="true" />' in text
    assert '<high value="19000101000001.250000" />' in text
    assert '<head value="19000101000000.250000" />' in text
    assert text.count('nullFlavor="MSK"') == 2
    assert "61d1a24f" not in text
    assert "dd7b629e" not in text


def test_scp_keeps_what_decoding_needs_with_right_checksums_and_lengths(tmp_path: Path) -> None:
    data = copied(tmp_path, "a.scp", scp()).read_bytes()
    size = struct.unpack_from("<I", data, 2)[0]
    assert size == len(data)
    assert data[:2] == crc(data[2:])
    found = {}
    for at in range(22, 6 + struct.unpack_from("<I", data, 10)[0], 10):
        number, length, index = struct.unpack_from("<HII", data, at)
        if length:
            found[number] = data[index - 1 : index - 1 + length]
            assert found[number][:2] == crc(found[number][2:])
            assert struct.unpack_from("<HI", found[number], 2) == (number, length)
            assert length % 2 == 0
            assert number == 0 or not any(found[number][10:16])
    assert sorted(found) == [0, 1, 3, 6]
    assert b"\x1c\x02\x00\x96\x00" in found[1]  # the low-pass filter
    assert parsed(tmp_path / "a.scp").raw_metadata["checksum_valid"]


@pytest.mark.parametrize("name", ["a.scp", "muse.xml"])
def test_a_file_whose_checksums_do_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    sums = str(zlib.crc32(SAMPLES[0].tobytes())).encode()
    data = scp(damaged=True) if name == "a.scp" else muse().replace(sums, b"12345")
    with pytest.raises(AnonymisationError, match="checksums do not fit"):
        copied(tmp_path, name, data)


def test_edf_keeps_the_times_of_its_records_and_harmless_texts(tmp_path: Path) -> None:
    original, copy = edfio.read_edf(edf()), edfio.read_edf(copied(tmp_path, "a.edf", edf()))
    assert copy.local_patient_identification == "X X X X"
    assert copy.local_recording_identification == "Startdate X X X X"
    assert (copy._startdate, copy._starttime) == (b"01.01.85", b"00.00.00")
    assert copy.reserved == "EDF+C"
    assert list(copy.annotations) == []
    assert len(original.annotations) == 2
    stamps = copy._signals[-1].digital.reshape(2, -1)
    assert bytes(stamps[0]).rstrip(b"\0") == b"+0.25\x14\x14"
    assert bytes(stamps[1]).rstrip(b"\0") == b"+0.75\x14\x14"
    for ours, theirs in zip(copy.signals, original.signals, strict=True):
        np.testing.assert_array_equal(ours.digital, theirs.digital)
        assert (ours.label, ours.physical_range, ours.digital_range) == (
            theirs.label, theirs.physical_range, theirs.digital_range,
        )  # fmt: skip
    assert copy.signals[0].transducer_type == "AgAgCl electrode"
    assert copy.signals[0].prefiltering == "HP:0.05Hz LP:150Hz N:50Hz"
    assert {(s.transducer_type, s.prefiltering) for s in copy.signals[1:]} == {("", "")}


def test_edf_keeps_gaps_and_refuses_times_that_are_none(tmp_path: Path) -> None:
    gap = edf().replace(b"EDF+C", b"EDF+D").replace(b"+0.75\x14\x14\0", b"+65.75\x14\x14")
    stamps = edfio.read_edf(io.BytesIO(copied(tmp_path, "gap.edf", gap).read_bytes()))._signals[-1].digital
    assert [bytes(row).rstrip(b"\0") for row in stamps.reshape(2, -1)] == [b"+0.25\x14\x14", b"+65.75\x14\x14"]
    back = edf().replace(b"EDF+C", b"EDF+D").replace(b"+0.75\x14\x14", b"+0.05\x14\x14")
    for data in (gap.replace(b"EDF+D", b"EDF+C"), back, gap.replace(b"+65.75\x14\x14", b"+8888888\x14")):
        with pytest.raises(AnonymisationError, match="times of its data records"):
            copied(tmp_path, "none.edf", data)


def test_edf_loses_what_stands_where_nothing_should(tmp_path: Path) -> None:
    data, n = bytearray(edf(plus=False)), len(LEADS)
    data[256 + n * 224 : 256 + n * 224 + 6] = FIRST.encode()  # the reserved field of the first signal
    data += (FIRST.encode() * 5000)[: n * 500]  # a data record more than announced
    copy = copied(tmp_path, "a.edf", bytes(data)).read_bytes()
    assert len(copy) == len(edf(plus=False))
    assert FIRST.encode() not in copy


def test_names_and_numbers_are_searched_for_in_parts_and_short_ones_alone() -> None:
    words, found = secrets.words, secrets.count_found
    assert words("Kowalska-Nowak, dr A. Li 1234567") == {"Kowalska-Nowak", "Kowalska", "Nowak", "1234567"}
    assert words("Anonymous 12345 X") == set()
    assert [found(b"xKimx", {"Kim"}), found(b"x Kim_x", {"kim"}), found(b"xKimmyx", {"Kimmy"})] == [0, 1, 1]
    assert [found(b"91234567", {"123456"}), found(b"9-123456", {"123456"}), found(b"920191127", {"20191127"})] == [
        0,
        1,
        1,
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_a_copy_of_a_copy_is_the_same_but_for_identifiers(name: str, tmp_path: Path) -> None:
    first = copied(tmp_path, name, MAKERS[name]())
    second = anonymize(first, tmp_path / f"again-{name}")
    if name.startswith(("a.dcm", "implicit", "aecg")):
        assert len(second.read_bytes()) == pytest.approx(len(first.read_bytes()), abs=20)
    else:
        assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("secret", [LAST, FIRST.upper(), NUMBER, "14.03.1931", "19310314", "1931-03-14", "27-Nov-2019"])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_what_still_stands_in_a_copy_is_found(
    secret: str, encoding: str, shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite = copies.WRITERS["GEMuseXMLParser"]

    def leaking(source: Source) -> Copy:
        made = rewrite(source)
        made.searched += b"x" * (len(made.searched) % 2 + shift) + secret.encode(encoding)
        return made

    monkeypatch.setitem(copies.WRITERS, "GEMuseXMLParser", leaking)
    with pytest.raises(
        AnonymisationError, match=r"source-muse\.xml: not anonymised: .* still stand in the copy"
    ) as caught:
        copied(tmp_path, "muse.xml", muse())
    assert not any(part in str(caught.value) for part in (LAST, FIRST, NUMBER, "1931"))
    assert [path.name for path in tmp_path.iterdir()] == ["source-muse.xml"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<SampleBase>500<", b"<SampleBase>250<", "other samples"),
        (b"<LeadAmplitudeUnitsPerBit>4.88<", b"<LeadAmplitudeUnitsPerBit>4.89<", "other samples"),
        (b"<LeadID>V6<", b"<LeadID>V7<", "other samples"),
        (b"FEMALE", b"MALE", "another age or sex"),
        (b"<PatientAge>88<", b"<PatientAge>87<", "another age or sex"),
        (b"<PatientAge>", b"<PatientID>Q</PatientID><PatientAge>", "still names the patient"),
    ],
)
def test_a_copy_that_differs_is_not_kept(
    old: bytes, new: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite = copies.WRITERS["GEMuseXMLParser"]

    def changing(source: Source) -> Copy:
        made = rewrite(source)
        assert old in made.data
        made.data = made.data.replace(old, new)
        return made

    monkeypatch.setitem(copies.WRITERS, "GEMuseXMLParser", changing)
    (tmp_path / "muse.xml").write_bytes(b"before")
    with pytest.raises(AnonymisationError, match=reason):
        copied(tmp_path, "muse.xml", muse(), overwrite=True)
    assert (tmp_path / "muse.xml").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_channel_with_more_than_a_leads_name_in_its_label_is_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    path = copied(tmp_path, "a.edf", edf().replace(b"ECG V6          ", b"ECG V6 Aniela   "), note=said.append)
    assert b"Aniela" not in path.read_bytes()
    assert [lead.label for lead in parsed(path).leads] == list(LEADS[:-1])
    assert "1 signals that are no ECG" in said[0]


def test_other_formats_are_refused_with_those_that_can_be(tmp_path: Path) -> None:
    record = write_wfdb(tmp_path, "a", digital())
    with pytest.raises(
        AnonymisationError, match=r"WFDB cannot be anonymised; DICOM, GE MUSE XML, .* SCP-ECG and EDF can"
    ):
        anonymize(record.with_suffix(".hea"), tmp_path / "b.hea")
    (tmp_path / "c.txt").write_text("hello")
    with pytest.raises(AnonymisationError, match=r"c\.txt: not readable .* can be anonymised"):
        anonymize(tmp_path / "c.txt", tmp_path / "d.txt")
    with pytest.raises(AnonymisationError, match="not readable"):
        anonymize(tmp_path / "nowhere.dcm", tmp_path / "d.dcm")


def test_what_other_formats_are_told_to_do_leaves_nothing_of_the_patient(tmp_path: Path) -> None:
    record = write_wfdb(tmp_path, "a", digital())
    header = record.with_suffix(".hea")
    header.write_text(header.read_text() + f"# Age: 97\n# Name: {FIRST}\n# Date: 19310314\n")
    wrann("a", "atr", np.array([40, 80]), ["N", '"'], aux_note=["", f"seen by {DOCTOR}"], write_dir=str(tmp_path))
    with pytest.raises(AnonymisationError, match=r"`ecgprism convert` it to \.edf.* and anonymize that"):
        anonymize(header, tmp_path / "b.hea")
    copy = anonymize(convert(header, tmp_path / "b.edf", fill=True), tmp_path / "c.edf")
    for data in ((tmp_path / "b.edf").read_bytes(), copy.read_bytes()):
        assert not any(word.encode() in data for word in (FIRST, DOCTOR, "1931"))
    assert b"97" not in copy.read_bytes()[:256]
    np.testing.assert_array_equal(reading.read(copy).signal, reading.read(tmp_path / "b.edf").signal)


def test_the_note_says_what_is_not_covered(tmp_path: Path) -> None:
    said: list[str] = []
    copied(tmp_path, "muse.xml", muse(), note=said.append)
    assert "left out" in said[0] and "not covered: the heartbeat itself" in said[1] and "person must review" in said[1]


def test_source_and_existing_target_are_protected(tmp_path: Path) -> None:
    source = tmp_path / "a.xml"
    source.write_bytes(muse())
    with pytest.raises(ConfigError, match="the same file"):
        anonymize(source, source, overwrite=True)
    (tmp_path / "b.xml").write_bytes(b"theirs")
    with pytest.raises(ConfigError, match=r"b\.xml exists already"):
        anonymize(source, tmp_path / "b.xml")
    assert source.read_bytes() == muse()
    said: list[str] = []
    anonymize(source, tmp_path / "b.xml", overwrite=True, note=said.append)
    assert any("left out" in message for message in said)


def test_whatever_a_library_stumbles_over_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbling(source: Source) -> Copy:
        raise NotImplementedError("unknown\nvalue")

    monkeypatch.setitem(copies.WRITERS, "GEMuseXMLParser", stumbling)
    with pytest.raises(AnonymisationError, match=r"damaged GE MUSE XML \(unknown value\)"):
        copied(tmp_path, "muse.xml", muse())


@pytest.mark.parametrize("name", ["muse.xml", "a.dcm", "a.scp", "a.edf"])
def test_a_truncated_file_is_one_error_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    data = MAKERS[name]()
    for length in (10, 200, len(data) // 2):
        source = tmp_path / "source"
        source.write_bytes(data[:length])
        with pytest.raises(AnonymisationError, match="source"):
            anonymize(source, tmp_path / "copy")
        assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_entities_in_xml_are_refused(tmp_path: Path) -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE RestingECG [<!ENTITY a "aaaa">]><RestingECG>&a;</RestingECG>'
    with pytest.raises(AnonymisationError, match="not readable"):
        copied(tmp_path, "a.xml", bomb)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_one_line_or_a_copy(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(MAKERS)))
    damaged = bytearray(MADE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(damaged), 4000) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    source, target = tmp_path / f"s{Path(name).suffix}", tmp_path / f"c{Path(name).suffix}"
    source.write_bytes(damaged)
    try:
        anonymize(source, target, overwrite=True)
    except AnonymisationError as error:
        assert "\n" not in str(error)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("muse.xml", b">4.88<", b">77123<", "one bit of I is not as large"),
        ("muse.xml", b">4.88<", b">4.8877123<", "more digits than a device"),
        ("muse.xml", b"<LeadID>V6<", b"<LeadID>Anna<", "no lead's name"),
        ("muse.xml", b"<SampleBase>500<", b"<SampleBase>20191<", "sampling rate of I"),
        ("muse.xml", b"<SampleBase>500<", b"<SampleBase>1931<", "sampling rate of I"),
        ("aecg.xml", b'<origin value="0"', b'<origin value="77123"', "the offset of I"),
        ("aecg.xml", b'value="0.002" unit="s"', b'value="0.0020019580317" unit="s"', "time increment"),
        ("aecg.xml", b"<digits>", b"<digits>1931031 ", "single numbers among its samples"),
        ("a.edf", b"3200    ", b"77123   ", "the range of ECG I is not one"),
        ("a.edf", b"-32768  32000   ", b"-32768  4711    ", "the range of ECG"),
        ("a.edf", b"uV      ", b"Anna    ", "the unit of ECG I"),
        ("a.edf", b"2       0.5     ", b"99      0.5     ", "fewer data records"),
    ],
)
def test_numbers_and_words_that_are_none_of_an_ecg_are_refused(
    name: str, old: bytes, new: bytes, reason: str, tmp_path: Path
) -> None:
    data = MADE[name]
    assert old in data
    with pytest.raises(AnonymisationError, match=reason):
        copied(tmp_path, name, data.replace(old, new, 1))


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("place", [0, 100, 490])
@pytest.mark.parametrize("word", [b"Anna Kowalska ", b"NgThi-Ha"])
@pytest.mark.parametrize("name", ["a.edf", "a.scp", "muse.xml", "sierra.xml", "aecg.xml"])
def test_letters_as_samples_are_refused(
    name: str, word: bytes, place: int, shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = SAMPLES.copy()
    row = bytearray(samples[3].tobytes())
    row[2 * place + shift : 2 * place + shift + len(word)] = word
    samples[3] = np.frombuffer(bytes(row[:1000]), "<i2")
    monkeypatch.setattr("tests.patient_files.SAMPLES", samples)
    with pytest.raises(AnonymisationError, match=r"samples of .*V2 spell a text"):
        copied(tmp_path, name, MAKERS[name]())


def test_a_lead_that_swings_through_all_of_16_bits_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        generator = np.random.default_rng(seed)
        beats = (np.sin(np.arange(500) / 7 + seed) * 20_000).astype("<i2") + generator.integers(-300, 300, 500)
        steps = np.repeat(generator.integers(-31_000, 31_000, 50), 10)
        samples = np.stack([beats, steps, *SAMPLES[2:]]).astype("<i2")
        monkeypatch.setattr("tests.patient_files.SAMPLES", samples)
        copied(tmp_path, "muse.xml", muse(), overwrite=True)
