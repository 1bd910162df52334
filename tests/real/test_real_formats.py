"""Vendors' files, where they are at hand: ECGPRISM_DATA/formats. One ECG in several formats reads the same."""

from __future__ import annotations

import base64
import os
import re
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb
from defusedxml import ElementTree

import ecgprism as ep
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError

DATA = os.environ.get("ECGPRISM_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="ECGPRISM_DATA does not name a folder of real recordings")
FORMATS = Path(DATA).absolute() / "formats"
CONTEC_LEADS = ["I", "II", "III", "aVR", "aVL", "aVF"]


def lead(recording: Recording, name: str) -> np.ndarray:
    return recording.signal[recording.leads.index(name)]


def test_scp_dicom_and_aecg_of_one_ecg_are_equal_to_a_microvolt() -> None:
    scp, dicom, aecg = (ep.read(FORMATS / "scp" / f"Example.{suffix}") for suffix in ("scp", "dcm", "xml"))
    assert [each.format for each in (scp, dicom, aecg)] == ["SCP-ECG", "DICOM", "HL7 aECG"]
    for each in (scp, dicom, aecg):
        assert set(each.leads) == set(STANDARD_LEADS)
        assert (each.rate_hz, each.duration_s) == (500, 10)
        for name in STANDARD_LEADS:
            np.testing.assert_allclose(lead(each, name), lead(scp, name), rtol=0, atol=1e-3)


def test_contec_csv_scp_and_edf_are_one_ecg() -> None:
    scp, edf = (ep.read(FORMATS / "contec" / f"0000050.ECG.{suffix}") for suffix in ("scp", "edf"))
    csv = ep.read(FORMATS / "contec" / "0000050.ECG.csv", rate_hz=800, unit="5uV", leads=CONTEC_LEADS)
    assert "32767 of 37855" in scp.details["truncated"]
    assert csv.signal.shape[1] == edf.signal.shape[1] == 37_855
    for name in CONTEC_LEADS:
        np.testing.assert_allclose(lead(csv, name)[:32_767], lead(scp, name), rtol=0, atol=1e-6)
        # the EDF header says that its whole range is 2 V: its steps are the same, its millivolts are what it says
        steps = (lead(edf, name) + 1000) / (2000 / 65_535) - 32_768
        np.testing.assert_allclose(steps, lead(csv, name) / 5e-3, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["example1.xml", "example2.xml", "MUSE_20200923_093504_79000_example.xml"])
def test_muse_rhythm_equals_an_independent_decode(name: str) -> None:
    read = ep.read(FORMATS / "muse" / name)
    assert read.leads == STANDARD_LEADS
    root = ElementTree.parse(FORMATS / "muse" / name).getroot()
    (rhythm,) = [w for w in root.iter("Waveform") if w.findtext("WaveformType") == "Rhythm"]
    found = 0
    for data in rhythm.iter("LeadData"):
        raw = np.frombuffer(base64.b64decode(data.findtext("WaveFormData")), "<i2")
        expected = raw * float(data.findtext("LeadAmplitudeUnitsPerBit")) / 1000
        np.testing.assert_allclose(lead(read, data.findtext("LeadID")), expected, rtol=0, atol=1e-6)
        found += 1
    assert found == 8
    np.testing.assert_allclose(lead(read, "III"), lead(read, "II") - lead(read, "I"), atol=1e-5)


@pytest.mark.parametrize("name", ["100", "a103l", "s0010_re"])
def test_wfdb_equals_the_wfdb_package(name: str) -> None:
    read = ep.read(FORMATS / "wfdb" / name)
    expected = wfdb.rdrecord(str(FORMATS / "wfdb" / name))
    for row, spelled in enumerate(expected.sig_name):
        canonical = {"MLII": "II"}.get(spelled, next((n for n in read.leads if n.lower() == spelled.lower()), None))
        if canonical:
            np.testing.assert_allclose(lead(read, canonical), expected.p_signal[:, row], rtol=0, atol=1e-6)
    if name == "s0010_re":
        assert read.leads == (*STANDARD_LEADS, "VX", "VY", "VZ")
    if name == "a103l":
        assert read.skipped == ("V", "PLETH")


@pytest.mark.parametrize(
    ("path", "form", "shape", "rate_hz", "given"),
    [
        ("sierra/129DYPRG.XML", "Philips Sierra XML", (12, 5500), 500, {}),
        ("sierra/3191723_ZZDEMOPTONLY_1-04_orig.xml", "Philips Sierra XML", (12, 5500), 500, {}),
        ("aecg/subject1_0.xml", "HL7 aECG", (12, 5000), 500, {}),
        ("dicom/anonymous_ecg.dcm", "DICOM", (12, 10_000), 1000, {}),
        ("ishne/ECG_P28.01.ecg", "ISHNE", (12, 95_573), 1000, {}),
        ("mfer/test-file.MWF", "MFER", (2, 180_000), 250, {}),
        ("atc/1_lead.atc", "AliveCor ATC", (1, 9000), 300, {}),
        ("apple/ecg_2019-03-28.csv", "CSV", (1, 15_314), 512, {"rate_hz": 512, "unit": "uV", "leads": ["I"]}),
        ("fhir/observation-example-sample-data.xml", "FHIR Observation", (6, 116), 100, {"unit": "uV"}),
        ("edf/test_generator_2.edf", "EDF", (1, 120_000), 200, {"lead_aliases": {"ECG": "I"}}),
    ],
)
def test_every_format_is_read(
    path: str, form: str, shape: tuple[int, int], rate_hz: float, given: dict[str, Any]
) -> None:
    began = time.perf_counter()
    read = ep.read(FORMATS / path, **given)
    assert (read.format, read.signal.shape, read.rate_hz) == (form, shape, rate_hz)
    amplitude = np.nanmax(np.abs(read.signal))
    assert 0.05 < amplitude < 30, f"{amplitude} mV: a wrong unit"
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("aecg/empty.xml", "no valid HL7 aECG"),
        ("atc/broken_checksum.atc", "it is damaged"),
        ("sierra/invalid-doc-type.xml", "no valid Philips Sierra XML"),
        ("sierra/invalid-doc-version.xml", "no valid Philips Sierra XML"),
        ("edf/test_edfann.edf", "without any channel"),
        ("edf/test_generator_2.edf", "no channel is a known ECG lead"),
        ("fhir/observation-example-sample-data.xml", "says no unit"),
        ("apple/ecg_2019-03-28.csv", "no sampling rate"),
    ],
)
def test_what_cannot_be_read_is_one_line(path: str, message: str) -> None:
    with pytest.raises(ReadError) as caught:
        ep.read(FORMATS / path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def samples_of(content: bytes) -> list[range]:
    """Where the samples of an SCP (section 6) or MUSE file stand."""
    if content.lstrip().startswith(b"<"):
        return [range(*match.span(1)) for match in re.finditer(rb"<WaveFormData>([^<]*)<", content)]
    for at in range(22, 6 + struct.unpack_from("<I", content, 10)[0], 10):
        number, length, index = struct.unpack_from("<HII", content, at)
        if number == 6:
            return [range(index + 60, index - 1 + length)]
    raise AssertionError("no section 6")


@pytest.mark.parametrize(
    "path", ["scp/Example.scp", "contec/0000050.ECG.scp", "muse/example1.xml", "muse/example2.xml",
             "muse/MUSE_20200923_093504_79000_example.xml"],
)  # fmt: skip
def test_no_flipped_bit_among_the_samples_is_read_as_another_signal(path: str, tmp_path: Path) -> None:
    content, rng, refused = (FORMATS / path).read_bytes(), np.random.default_rng(1), 0
    where = [at for part in samples_of(content) for at in part if not chr(content[at]).isspace()]
    true = ep.read(FORMATS / path).signal
    for at in rng.choice(where, 120):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped").write_bytes(flipped)
        try:
            np.testing.assert_array_equal(ep.read(tmp_path / "flipped").signal, true)
        except ReadError:
            refused += 1
    assert refused >= 115  # the last bits of base64 stand for nothing


@pytest.mark.parametrize(
    "path", ["scp/Example.scp", "muse/example1.xml", "dicom/anonymous_ecg.dcm", "aecg/minimum_aecg.xml",
             "atc/1_lead.atc", "sierra/129DYPRG.XML", "mfer/test-file.MWF", "contec/0000050.ECG.edf",
             "ishne/ECG_P28.01.ecg"],
)  # fmt: skip
def test_truncated_files_are_a_recording_or_one_line(path: str, tmp_path: Path) -> None:
    content = (FORMATS / path).read_bytes()
    lengths = {*range(0, min(len(content), 4096), 64), *np.linspace(4096, len(content) - 1, 25).astype(int).tolist()}
    for length in sorted(lengths):
        (tmp_path / "cut").write_bytes(content[:length])
        try:
            assert ep.read(tmp_path / "cut").signal.size
        except ReadError as error:
            assert "\n" not in str(error)


def test_a_folder_of_all_formats_is_one_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    names = ["scp/Example.scp", "muse/example1.xml", "dicom/anonymous_ecg.dcm", "sierra/129DYPRG.XML", "atc/1_lead.atc"]
    for name in names:
        shutil.copy(FORMATS / name, folder)
    rows = "\n".join(f"{Path(name).name},A" if k % 2 else f"{Path(name).name},B" for k, name in enumerate(names))
    (folder / "m.csv").write_text("path,labels\n" + rows + "\n")
    corpus = ep.Corpus(ep.ingest("manifest", folder / "m.csv", tmp_path / "corpus", workers=1).path)
    assert len(corpus.records) == 5
    assert set(corpus.records["source_rate_hz"]) == {300.0, 500.0, 1000.0}
    held = corpus.records["leads"].map(lambda leads: len(leads.split("|") if isinstance(leads, str) else leads))
    assert sorted(held) == [1, 12, 12, 12, 12]
