"""Formats other than WFDB: recognised by content, units never guessed, archives safe, damage is one clear line."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism import archives
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import reading
from ecgprism.formats.contract import millivolts_per, with_limb_leads
from tests.records import write_wfdb

RATE_HZ = 250
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def digital(leads: int = 2, samples: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-900, 900, (samples, leads))


def write_edf(path: Path, leads: tuple[str, ...] = ("I", "II"), unit: str = "uV", **patient: object) -> np.ndarray:
    values = digital(len(leads), 4 * RATE_HZ)
    signals = [
        edfio.EdfSignal(
            column.astype(float), RATE_HZ, label=lead, physical_dimension=unit, physical_range=(-1000, 1000)
        )
        for lead, column in zip(leads, values.T, strict=True)
    ]
    edfio.Edf(signals, patient=edfio.Patient(**patient), annotations=[edfio.EdfAnnotation(1.5, None, "Beat")]).write(
        path
    )
    return np.stack([signal.data for signal in edfio.read_edf(path).signals])


def ishne(
    leads: tuple[int, ...] = (5, 6), samples: int = 500, sex: int = 2, checksum: bool = True
) -> tuple[bytes, np.ndarray]:
    import binascii

    values = digital(len(leads), samples).astype("<i2")
    head = bytearray(512)
    struct.pack_into("<iiiih", head, 0, 0, samples, 522, 522, 1)
    struct.pack_into("<h", head, 118, sex)
    struct.pack_into("<h", head, 146, len(leads))
    struct.pack_into("<12h", head, 148, *leads, *[-9] * (12 - len(leads)))
    struct.pack_into("<12h", head, 196, *[2500] * 12)
    struct.pack_into("<h", head, 262, RATE_HZ)
    total = binascii.crc_hqx(bytes(head), 0xFFFF) if checksum else 0
    return b"ISHNE1.0" + struct.pack("<H", total) + bytes(head) + values.tobytes(), values


def atc(values: np.ndarray, rate_hz: int = 300, second: np.ndarray | None = None) -> bytes:
    def block(name: bytes, data: bytes) -> bytes:
        body = name + struct.pack("<I", len(data)) + data
        return body + struct.pack("<I", sum(body) & 0xFFFFFFFF)

    blocks = [
        block(b"fmt ", struct.pack("<BHHBH", 1, rate_hz, 500, 0, 0)),
        block(b"ecg ", values.astype("<i2").tobytes()),
    ]
    if second is not None:
        blocks.append(block(b"ecg2", second.astype("<i2").tobytes()))
    blocks.append(block(b"ann ", struct.pack("<IIHIH", rate_hz, 300, 1, 600, 2)))
    return b"ALIVE\x00\x00\x00" + struct.pack("<I", 3) + b"".join(blocks)


def muse(values: np.ndarray) -> str:
    import base64

    def lead(name: str, column: np.ndarray) -> str:
        data = base64.b64encode(column.astype("<i2").tobytes()).decode()
        return (
            f"<LeadData><LeadByteCountTotal>{2 * len(column)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"
            f"<LeadSampleCountTotal>{len(column)}</LeadSampleCountTotal>"
            "<LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>"
            f"<LeadID>{name}</LeadID><WaveFormData>{data}</WaveFormData></LeadData>"
        )

    def waveform(kind: str, part: np.ndarray) -> str:
        leads = "".join(
            lead(name, column) for name, column in zip(("I", "II", *STANDARD_LEADS[6:]), part.T, strict=True)
        )
        return (
            f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>500</SampleBase>"
            f"<SampleExponent>0</SampleExponent>{leads}</Waveform>"
        )

    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><RestingECG><PatientDemographics><PatientAge>63</PatientAge>'
        "<AgeUnits>YEARS</AgeUnits><Gender>FEMALE</Gender></PatientDemographics>"
        f"{waveform('Median', 3 * values[:200])}{waveform('Rhythm', values)}</RestingECG>"
    )


# Each format


def test_edf_gives_leads_units_annotations_and_lists_what_is_no_lead(tmp_path: Path) -> None:
    expected = write_edf(tmp_path / "a.edf", ("I", "V2", "Resp"), sex="F")
    read = ep.read(tmp_path / "a.edf")
    assert (read.format, read.leads, read.units, read.skipped) == ("EDF", ("I", "V2"), ("uV", "uV"), ("Resp",))
    np.testing.assert_allclose(read.signal, expected[:2] / 1000, atol=1e-6)
    assert read.metadata == {"sex": "female"}
    assert [(a.at_s, a.note) for a in read.annotations] == [(1.5, "Beat")]


def test_content_not_the_name_tells_the_format(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf")
    content, _ = ishne()
    (tmp_path / "b.edf").write_bytes(content)
    (tmp_path / "a.edf").rename(tmp_path / "a.xml")
    assert ep.read(tmp_path / "a.xml").format == "EDF"
    assert ep.read(tmp_path / "b.edf").format == "ISHNE"
    (tmp_path / "muse").write_text(muse(digital(8)))
    assert ep.read(tmp_path / "muse").format == "GE MUSE XML"


def test_ishne_equals_its_samples_and_refuses_a_damaged_header_and_a_cut_file(tmp_path: Path) -> None:
    content, values = ishne((5, 11))
    path = tmp_path / "a.ecg"
    path.write_bytes(content)
    read = ep.read(path)
    assert (read.leads, read.rate_hz, read.metadata) == (("I", "V1"), RATE_HZ, {"sex": "female"})
    np.testing.assert_allclose(read.signal, values.T * 2.5e-3, atol=1e-6)
    path.write_bytes(content[:60] + b"\x01" + content[61:])
    with pytest.raises(ReadError, match="another checksum"):
        ep.read(path)
    path.write_bytes(content[:-4])
    with pytest.raises(ReadError, match="truncated or longer"):
        ep.read(path)


def test_atc_has_leads_beats_and_sums_that_are_verified(tmp_path: Path) -> None:
    one, two = digital(2).T
    path = tmp_path / "a.atc"
    path.write_bytes(atc(one, second=two))
    read = ep.read(path)
    assert read.leads == STANDARD_LEADS[:6]  # the others follow from I and II
    np.testing.assert_allclose(read.signal[:2], np.stack([one, two]) * 5e-4, atol=1e-6)
    np.testing.assert_allclose(read.signal[2], (two - one) * 5e-4, atol=1e-6)
    assert [(a.at_s, a.symbol) for a in read.annotations] == [(1.0, "N"), (2.0, "Q")]
    content = bytearray(atc(one))
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReadError, match="is damaged"):
        ep.read(path)


def test_muse_rhythm_is_read_and_not_the_median_beat_and_twelve_leads_come_of_eight(tmp_path: Path) -> None:
    values = digital(8, 1000)
    (tmp_path / "a.xml").write_text(muse(values))
    read = ep.read(tmp_path / "a.xml")
    assert read.leads == STANDARD_LEADS
    assert read.rate_hz == 500
    np.testing.assert_allclose(read.signal[0], values[:, 0] * 4.88e-3, atol=1e-6)
    np.testing.assert_allclose(read.signal[2], (values[:, 1] - values[:, 0]) * 4.88e-3, atol=1e-5)
    assert read.metadata == {"age": 63.0, "sex": "female"}


@pytest.mark.parametrize("suffix", [".json", ".xml"])
def test_fhir_chunks_are_joined_marks_are_missing_and_origin_and_factor_apply(tmp_path: Path, suffix: str) -> None:
    def component(lead: str, data: str) -> dict[str, object]:
        code = {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.24", "display": f"MDC_ECG_ELEC_POTL_{lead}"}]}
        sampled = {"origin": {"value": 5, "unit": "uV"}, "period": 4, "factor": 2, "dimensions": 1, "data": data}
        return {"code": code, "valueSampledData": sampled}

    parts = [component("I", "1 2 E"), component("V1", "0 0 0 0"), component("I", "-3")]
    path = tmp_path / f"a{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps({"resourceType": "Observation", "component": parts}))
    else:

        def xml(p: dict) -> str:
            sampled = p["valueSampledData"]
            return (
                f'<component><code><coding><display value="{p["code"]["coding"][0]["display"]}"/></coding></code>'
                f'<valueSampledData><origin><value value="5"/><unit value="uV"/></origin><period value="4"/>'
                f'<factor value="2"/><dimensions value="1"/><data value="{sampled["data"]}"/></valueSampledData>'
                "</component>"
            )

        path.write_text(f'<Observation xmlns="http://hl7.org/fhir">{"".join(map(xml, parts))}</Observation>')
    read = ep.read(path)
    assert (read.leads, read.rate_hz) == (("I", "V1"), 250)
    np.testing.assert_allclose(read.signal, [[7e-3, 9e-3, np.nan, -1e-3], [5e-3] * 4], atol=1e-7)
    path.write_text(path.read_text().replace("uV", "furlong"))
    with pytest.raises(ReadError, match="unit 'furlong'"):
        ep.read(path)


APPLE = (
    "Name,A B\nDate of Birth,1970-01-01\nRecorded Date,2019-03-28 10:00:00\nClassification,Sinus Rhythm\nSymptoms,\n"
    'Software Version,1.0\nDevice,"Watch4,2"\nSample Rate,511.627 hertz\n\n\nLead,Lead I\nUnit,µV\n\n'
)


def test_apple_watch_csv_says_everything_itself(tmp_path: Path) -> None:
    (tmp_path / "ecg.csv").write_text(APPLE + "\n".join(["-100.5", "20", "30.25"] * 200))
    read = ep.read(tmp_path / "ecg.csv")
    assert (read.format, read.leads, read.rate_hz, read.units) == ("Apple Watch CSV", ("I",), 511.627, ("µV",))
    np.testing.assert_allclose(read.signal[0, :3], [-0.1005, 0.02, 0.03025], atol=1e-7)
    assert read.details["statements"] == "Sinus Rhythm"
    assert "A B" not in str(read)


def test_a_table_needs_what_it_does_not_say_from_the_caller_or_from_the_file_beside_it(tmp_path: Path) -> None:
    path, values = tmp_path / "a.csv", digital(2)
    path.write_text("\n".join(",".join(map(str, row)) for row in values))
    with pytest.raises(ReadError, match=r"no sampling rate; declare it, as in --rate 500"):
        ep.read(path)
    with pytest.raises(ReadError, match="names no leads"):
        ep.read(path, rate_hz=RATE_HZ, unit="uV")
    with pytest.raises(ReadError, match="says no unit"):
        ep.read(path, rate_hz=RATE_HZ, leads=["I", "V1"])
    with pytest.raises(ReadError, match="2 columns of samples, 3 declared leads"):
        ep.read(path, rate_hz=RATE_HZ, unit="uV", leads=["I", "V1", "V2"])
    read = ep.read(path, rate_hz=RATE_HZ, unit="5uV", leads=["I", "V1"])
    np.testing.assert_allclose(read.signal, values.T * 5e-3, atol=1e-6)
    beside = tmp_path / "a.csv.json"
    beside.write_text(json.dumps({"rate_hz": RATE_HZ, "unit": "5uV", "leads": ["I", "V1"]}))
    np.testing.assert_array_equal(ep.read(path).signal, read.signal)
    assert list(reading.find(tmp_path)) == [path]
    beside.write_text(json.dumps({"rate": RATE_HZ}))
    with pytest.raises(ReadError, match="unknown key 'rate'; did you mean 'rate_hz'"):
        ep.read(path)


def test_a_table_with_names_units_and_time_says_everything_itself(tmp_path: Path) -> None:
    values = digital(2, 50)
    rows = [f"{k * 4},{a},{b},7" for k, (a, b) in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join(["time (ms),I (uV),V1 [mV],SpO2 (mV)", *rows]))
    read = ep.read(tmp_path / "a.csv")
    assert (read.leads, read.rate_hz, read.skipped) == (("I", "V1"), 250, ("SpO2",))
    np.testing.assert_allclose(read.signal, [values[:, 0] / 1e3, values[:, 1]], rtol=1e-6)
    uneven = [f"{k * k},1,2,3" for k in range(50)]
    (tmp_path / "a.csv").write_text("\n".join(["time (ms),I (uV),V1 (mV),SpO2 (mV)", *uneven]))
    with pytest.raises(ReadError, match="no evenly spaced time"):
        ep.read(tmp_path / "a.csv")


@pytest.mark.parametrize("turned", [False, True])
def test_npy_is_read_in_either_orientation_and_never_unpickled(tmp_path: Path, turned: bool) -> None:
    values = digital(2).astype(np.float32)
    np.save(tmp_path / "a.npy", values if turned else values.T)
    read = ep.read(tmp_path / "a.npy", rate_hz=RATE_HZ, unit="uV", leads=["I", "V1"])
    np.testing.assert_allclose(read.signal, values.T / 1e3, rtol=1e-6)
    np.save(tmp_path / "b.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match="no valid NPY"):
        ep.read(tmp_path / "b.npy", rate_hz=RATE_HZ, unit="uV", leads=["I"])


# Units and leads


@pytest.mark.parametrize(
    ("unit", "millivolts"),
    [("mV", 1), ("uV", 1e-3), ("µV", 1e-3), ("nV", 1e-6), ("V", 1e3), ("5uV", 5e-3), ("2.5 nV", 2.5e-6)],
)
def test_units_are_what_they_say(unit: str, millivolts: float) -> None:
    assert millivolts_per(unit, "here") == pytest.approx(millivolts)


@pytest.mark.parametrize("unit", ["", "mm", "mW", "°", "0uV", "1.2.3uV", "uVV"])
def test_a_unit_that_is_none_is_refused_with_the_way_to_declare_it(unit: str) -> None:
    with pytest.raises(ReadError, match="--unit uV"):
        millivolts_per(unit, "here")


@given(st.sampled_from([("I", "II"), ("I", "III"), ("II", "III")]), st.integers(0, 2**31))
@quick
def test_any_two_limb_leads_give_the_six(pair: tuple[str, str], seed: int) -> None:
    one, two = np.random.default_rng(seed).normal(size=(2, 20))
    six = dict(zip(STANDARD_LEADS, (one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2), strict=False))
    held = Recording(np.stack([six[lead] for lead in pair]).astype(np.float32), 100, pair)
    derived = with_limb_leads(held)
    assert derived.leads == STANDARD_LEADS[:6]
    np.testing.assert_allclose(derived.signal, np.stack(list(six.values())), atol=1e-5)


# Windows


@pytest.mark.parametrize("kind", ["wfdb16", "wfdb212", "edf", "ishne", "csv"])
def test_a_window_is_that_part_of_the_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    given: dict[str, object] = {}
    if kind.startswith("wfdb"):
        write_wfdb(tmp_path, "a", digital(2, 1000), ["II", "V1"], fmt=kind[4:], rate_hz=RATE_HZ)
    elif kind == "edf":
        write_edf(path)
    elif kind == "ishne":
        path.write_bytes(ishne(samples=1000)[0])
    else:
        path.write_text("\n".join(",".join(map(str, row)) for row in digital(2, 1000)))
        given = {"rate_hz": RATE_HZ, "unit": "uV", "leads": ["I", "V1"]}
    whole, opened = ep.read(path, **given), ep.open_recording(path, **given)
    assert (opened.leads, opened.rate_hz, opened.duration_s) == (whole.leads, whole.rate_hz, whole.duration_s)
    for start_s, stop_s in ((0.0, 0.4), (1.0, 3.0), (3.5, 9.0)):
        part = opened.read(start_s, stop_s)
        expected = whole.signal[:, round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)]
        np.testing.assert_allclose(part.signal, expected, atol=1e-6)
    np.testing.assert_allclose(opened.read().signal, whole.signal, atol=1e-6)
    for start_s, stop_s in ((-1.0, 2.0), (2.0, 2.0), (3.0, 1.0), (99.0, 100.0)):
        with pytest.raises(ReadError, match="nothing between"):
            opened.read(start_s, stop_s)


# Archives


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_recordings_are_read_inside_archives(tmp_path: Path) -> None:
    content, values = ishne((5, 11))
    other, _ = ishne((5,), samples=100)
    one = zipped(tmp_path / "one.zip", {"deep/a.ecg": content, "readme.txt": b"hello"})
    np.testing.assert_allclose(ep.read(one).signal, values.T * 2.5e-3, atol=1e-6)
    two = zipped(tmp_path / "two.zip", {"a.ecg": content, "b.ecg": other})
    with pytest.raises(ReadError, match=r"2 recordings in it \(a.ecg, b.ecg\); name one, as in two.zip::NAME"):
        ep.read(two)
    assert ep.read(f"{two}::b.ecg").signal.shape == (1, 100)
    with pytest.raises(ReadError, match=r"no recording 'c\.ecg' in it; did you mean"):
        ep.read(f"{two}::c.ecg")
    assert [str(path) for path in reading.find(two)] == [f"{two}::a.ecg", f"{two}::b.ecg"]
    (tmp_path / "a.ecg.gz").write_bytes(gzip.compress(content))
    assert ep.read(tmp_path / "a.ecg.gz").signal.shape == (2, 500)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("x/a.ecg")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    assert ep.read(tmp_path / "a.tar.gz").signal.shape == (2, 500)
    assert ep.open_recording(tmp_path / "a.tar.gz").read(0.0, 1.0).signal.shape == (2, RATE_HZ)


@pytest.mark.parametrize("name", ["../evil.ecg", "/etc/evil.ecg", "a/../../evil.ecg", "C:\\evil.ecg", "..\\evil.ecg"])
def test_a_member_that_leads_out_of_its_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReadError, match="leads out of the archive"):
        ep.read(zipped(tmp_path / "a.zip", {name: ishne()[0]}))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        tar.addfile(member, io.BytesIO(b""))
    with pytest.raises(ReadError, match="leads out of the archive"):
        ep.read(tmp_path / "a.tar")
    assert not list(tmp_path.parent.glob("evil*"))


def test_bombs_links_and_archives_in_archives_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    with pytest.raises(ReadError, match="unpacks to more than"):
        ep.read(zipped(tmp_path / "bomb.zip", {"a.ecg": bytes(3_000_000)}))
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(30_000_000)))
    with pytest.raises(ReadError, match="unpacks to more than"):
        ep.read(tmp_path / "bomb.gz")
    inner = zipped(tmp_path / "inner.zip", {"a.ecg": ishne()[0]}).read_bytes()
    with pytest.raises(ReadError, match="an archive inside an archive"):
        ep.read(zipped(tmp_path / "outer.zip", {"inner.zip": inner}))
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        member = tarfile.TarInfo("a.ecg")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ReadError, match="no recording in it"):
        ep.read(tmp_path / "link.tar")


# Whatever the bytes


def seeds() -> dict[str, bytes]:
    """A small valid file of every format that can be written here."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_edf(Path(folder) / "a.edf")
        edf = (Path(folder) / "a.edf").read_bytes()
        one = zipped(Path(folder) / "a.zip", {"a.ecg": ishne(samples=20)[0]}).read_bytes()
    observation = {"resourceType": "Observation", "code": {"text": "I"}, "valueSampledData": {"origin": {"unit": "mV"},
                   "period": 4, "dimensions": 1, "data": "1 2 3 E"}}  # fmt: skip
    return {
        "edf": edf, "ishne": ishne(samples=50)[0], "atc": atc(digital(1, 50)[:, 0]), "zip": one,
        "muse": muse(digital(8, 30)).encode(), "fhir": json.dumps(observation).encode(),
        "apple": (APPLE + "1\n2\n3\n4").encode(), "gz": gzip.compress(ishne(samples=20)[0]),
    }  # fmt: skip


SEEDS = seeds()


def answer(path: Path) -> None:
    """A recording or one clear line; anything else fails the test."""
    try:
        assert ep.read(path, rate_hz=100, unit="uV", leads=["I"]).signal.size
    except ReadError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)


@pytest.mark.parametrize("kind", SEEDS)
def test_the_seed_itself_is_a_recording(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(SEEDS[kind])
    assert ep.read(tmp_path / "a").signal.size


@pytest.mark.parametrize("kind", SEEDS)
def test_every_truncation_is_a_recording_or_one_line(kind: str, tmp_path: Path) -> None:
    content = SEEDS[kind]
    for length in range(0, min(len(content), 64 * 60), 64):
        (tmp_path / "a").write_bytes(content[:length])
        answer(tmp_path / "a")


@given(kind=st.sampled_from(sorted(SEEDS)), data=st.data())
@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_a_recording_or_one_line(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(content), 1200) - 1))
        content[at] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(content)
    answer(tmp_path / "a")


MAGIC = (
    *(b"", b"0       ", b"\xffBIOSEMI", b"ISHNE1.0", b"ALIVE\0\0\0", b"@ MFR ", b"PK\x03\x04", b"\x1f\x8b", b"{"),
    *(b"\x93NUMPY", b"<RestingECG>", b"<AnnotatedECG>", b"<restingecgdata>", b"<Observation>"),
    *(b"\0" * 128 + b"DICM", b"\0" * 16 + b"SCPECG"),
)


@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=600))
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_behind_any_magic_are_one_line(magic: bytes, rest: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(magic + rest)
    answer(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 10_000_000, "no table of numbers"),
        (b"1,2\n" * 10 + b"1," + b"9" * 200_000 + b"x\n", "line 11|no table of numbers"),
        (b"<RestingECG>" + b"<a>" * 1_000_000, "elements; expected at most"),
        (b"<AnnotatedECG>" + b"<a>x</a>" * 500_000, "elements; expected at most"),
        (b'<Observation xmlns="http://hl7.org/fhir">' + b"<a/>" * 900_000, "elements; expected at most"),
        (b'{"resourceType": "Observation", "a": ' + b"[" * 1_000_000, "no valid FHIR JSON"),
    ],
    ids=["text", "long cell", "deep", "wide", "fhir", "json"],
)
def test_large_nonsense_is_refused_soon(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ReadError, match=message):
        ep.read(tmp_path / "a", rate_hz=100, unit="uV", leads=["I", "V1"])


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><{root}>&c;</{root}>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><{root}>&a;</{root}>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE], ids=["billion laughs", "external entity"])
@pytest.mark.parametrize("root", ["RestingECG", "AnnotatedECG", "restingecgdata", "Observation"])
def test_xml_traps_are_refused(text: str, root: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text.replace("{root}", root))
    with pytest.raises(ReadError) as caught:
        ep.read(tmp_path / "a.xml")
    assert "root:" not in str(caught.value)
