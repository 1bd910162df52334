"""Conversion: every format gives back what went in, within half a step; what it cannot hold is refused, not bent."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, STANDARD_LEADS
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ConfigError, ReadError
from ecgprism.formats import reading
from ecgprism.formats.conversion import ConversionError, convert, digitise, write
from ecgprism.formats.writing.dicom import MDC_LEADS
from tests.records import digital, write_raw, write_wfdb

edfio = pytest.importorskip("edfio")
pydicom = pytest.importorskip("pydicom")
pytest.importorskip("ecgdatakit")

SUFFIXES = (".hea", ".edf", ".dcm")
MEN = {"age": 63.0, "sex": "male"}


def made(
    leads: tuple[str, ...] = ("I", "V1"), samples: int = 1000, rate_hz: float = 500.0, peak: float = 2.0, **given: Any
) -> Recording:
    signal = np.random.default_rng(len(leads) + samples).uniform(-peak, peak, (len(leads), samples))
    return Recording(signal.astype(np.float32), rate_hz, leads, **given)


def equal(read: Recording, expected: Recording, step_uv: float) -> None:
    assert set(expected.leads) <= set(read.leads)
    ours = read.signal[[read.leads.index(lead) for lead in expected.leads]]
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected.signal))
    # half a step, and what float32 itself loses at this amplitude, once on either side
    slack = 2 * np.spacing(np.abs(expected.signal).astype(np.float64).max(initial=1, where=~np.isnan(expected.signal)))
    slack = slack + 2 * np.spacing(np.float32(np.nanmax(np.abs(expected.signal), initial=1)))
    assert np.nanmax(np.abs(ours.astype(np.float64) - expected.signal), initial=0) <= step_uv / 2000 + slack


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    leads = draw(st.lists(st.sampled_from(LEADS), min_size=1, max_size=16, unique=True))
    samples = draw(st.integers(1, 700))
    fractions = [62.4725, 128.5, 249.89, 1000 / 7.8, 1e6 / 3906, 1000 / 3, 511.627]
    rate = draw(st.sampled_from([50.0, 100.0, 125.0, 200.0, 250.0, 256.0, 360.0, 500.0, 512.0, 1000.0, *fractions]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    peak = draw(st.sampled_from([1e-4, 0.5, 3.2, 3.3, 32.0, 32.1, 500.0, 2000.0]))
    offset = draw(st.sampled_from([0.0, 0.0, 3.0, -300.0, 2999.5]))
    signal = (rng.uniform(-peak, peak, (len(leads), samples)) + offset).astype(np.float32)
    for row in range(len(leads)):
        start = draw(st.integers(0, samples))
        signal[row, start : start + draw(st.integers(0, samples))] = np.nan if draw(st.booleans()) else 0.0
    age = draw(st.none() | st.integers(0, 120) | st.sampled_from([0.5, 1.25, 1.75]))
    sex = draw(st.sampled_from([None, "male", "female"]))
    metadata = ({} if age is None else {"age": float(age)}) | ({} if sex is None else {"sex": sex})
    return Recording(signal, rate, tuple(leads), metadata=metadata)


def filled_with_zero(recording: Recording, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 mV where nothing was recorded, or what is nearest to it in the range of a lead far from zero."""
    held = digitise(recording)
    lows = [(o - 32_000 * s) / 1000 for o, s in zip(held.offsets_uv, held.steps_uv, strict=True)]
    highs = [(o + 32_000 * s) / 1000 for o, s in zip(held.offsets_uv, held.steps_uv, strict=True)]
    zeros = np.clip(0, lows, highs)[:, None]
    return np.where(np.isnan(signal), zeros, signal).astype(np.float32)


def largest_step(recording: Recording) -> float:
    """The finest step that its ranges allow: one of 65 000 parts of the range of the lead, rounded up to 1, 2, 5."""
    return max(digitise(recording).steps_uv)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recording=recordings(), suffix=st.sampled_from(SUFFIXES))
def test_any_recording_comes_back_within_half_a_step(recording: Recording, suffix: str, tmp_path: Path) -> None:
    said: list[str] = []
    try:
        path = write(recording, tmp_path / f"a{suffix}", fill=True, overwrite=True, note=said.append)
    except ConversionError as error:  # what cannot be exact is refused
        assert suffix != ".hea"
        assert not recording.rate_hz.is_integer()
        assert re.search(r"cannot hold a rate of|no whole number of EDF records|no DICOM ECG holds", str(error))
        return
    read = reading.read(path)
    expected = recording
    if suffix != ".hea":
        assert np.isnan(recording.signal).any() == any("written as 0 mV" in message for message in said)
        excess = read.signal.shape[1] - recording.signal.shape[1]
        assert excess >= 0
        assert (excess > 0) == any("added at the end" in message for message in said)
        assert not excess or suffix == ".edf"
        held = np.pad(recording.signal, ((0, 0), (0, excess)), constant_values=np.nan)
        expected = replace(recording, signal=filled_with_zero(recording, held))
    assert read.rate_hz == recording.rate_hz
    equal(read, expected, largest_step(recording))
    sex = recording.metadata.get("sex")
    if suffix == ".edf":  # a reader may want the date of birth as well before it says anything
        assert edfio.read_edf(path).patient.sex == ("X" if sex is None else str(sex)[0].upper())
    else:
        assert read.metadata.get("sex") == sex
    age = recording.metadata.get("age")
    if suffix == ".edf":
        assert edfio.read_edf(path).patient.additional == (() if age is None else (f"Age={age:.10g}",))
    else:
        assert read.metadata.get("age") == age


@settings(max_examples=200, deadline=None)
@given(recording=recordings())
def test_integers_use_the_finest_step_and_are_never_clipped(recording: Recording) -> None:
    held = digitise(recording)
    gaps = held.integers == -32768
    np.testing.assert_array_equal(gaps, np.isnan(recording.signal))
    assert np.abs(held.integers.astype(int)[~gaps], dtype=int).max(initial=0) <= 32_000
    for row, (step, offset) in enumerate(zip(held.steps_uv, held.offsets_uv, strict=True)):
        values = recording.signal[row].astype(np.float64) * 1000
        back = held.integers[row] * step + offset
        assert np.nanmax(np.abs(np.where(gaps[row], np.nan, back) - values), initial=0) <= step / 2 * (1 + 1e-9)
        spread = np.nanmax(values, initial=-np.inf) - np.nanmin(values, initial=np.inf)
        assert step <= 1 or spread > 2 * 32_000 * (step / 2.5) - 1000


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wfdb_record_read_and_written_anew_has_the_same_integers(suffix: str, tmp_path: Path) -> None:
    source = write_wfdb(tmp_path, "source", digital(12, 5000), STANDARD_LEADS, rate_hz=500, comments=["Age: 63"])
    path = convert(source, tmp_path / f"target{suffix}")
    read, original = reading.read(path), reading.read(source)
    assert (read.leads, read.rate_hz) == (STANDARD_LEADS, 500)
    np.testing.assert_array_equal(read.signal, original.signal)
    if suffix != ".edf":
        assert read.metadata == {"age": 63.0}


# --- what a recording cannot be


def test_an_unknown_suffix_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\.xlsx' names no format to write; there are: \.hea .* \.edf .* \.dcm"):
        convert(tmp_path / "nowhere", tmp_path / "a.xlsx")


def test_a_name_that_wfdb_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"letters, digits, - and _; not 'my ecg'"):
        write(made(), tmp_path / "my ecg.hea")
    with pytest.raises(ConfigError, match="does not exist"):
        write(made(), tmp_path / "nowhere" / "a.edf")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_target_is_replaced_only_on_demand(suffix: str, tmp_path: Path) -> None:
    path = write(made(peak=1), tmp_path / f"a{suffix}")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"exists already.*--overwrite"):
        write(made(peak=2), path)
    assert path.read_bytes() == before
    write(made(peak=2), path, overwrite=True)
    equal(reading.read(path), made(peak=2), 0.1)


@pytest.mark.parametrize("other", [".dat", ".atr"])
def test_files_of_another_record_are_not_taken_over(other: str, tmp_path: Path) -> None:
    (tmp_path / f"a{other}").write_bytes(b"theirs")
    with pytest.raises(ConfigError, match=f"a{other} exists already"):
        write(made(), tmp_path / "a.hea")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{other}"]


def test_an_old_annotation_file_does_not_stay_beside_a_new_record(tmp_path: Path) -> None:
    write(made(annotations=(Annotation(0.5, "N"),)), tmp_path / "a.hea")
    assert (tmp_path / "a.atr").is_file()
    write(made(), tmp_path / "a.hea", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dat", "a.hea"]


@pytest.mark.parametrize("named", ["source", "source.hea"])
def test_the_source_is_never_overwritten(named: str, tmp_path: Path) -> None:
    write_wfdb(tmp_path, "source", digital())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="source and target are the same file"):
        convert(tmp_path / named, tmp_path / "source.hea", overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_amplitudes_of_no_ecg_are_refused() -> None:
    for value in (5001.0, -6000.0, np.inf):
        signal = np.zeros((1, 10), dtype=np.float32)
        signal[0, 3] = value
        with pytest.raises(ConversionError, match=r"lead V2 reaches .* mV; at most 5000 mV"):
            digitise(Recording(signal, 500, ("V2",)))


@pytest.mark.parametrize(("suffix", "package"), [(".edf", "edfio"), (".dcm", "pydicom")])
def test_a_missing_package_is_named_with_the_way_to_get_it(
    suffix: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConversionError, match=rf"needs {package}: pip install 'ecgprism\[formats\]'"):
        write(made(), tmp_path / f"a{suffix}")


def test_a_source_that_cannot_be_read_leaves_no_target(tmp_path: Path) -> None:
    write_raw(tmp_path, "a 1 500 10\na.dat 16 200/mV 16 0 0 0 0 I\n", b"12")
    with pytest.raises(ReadError, match="truncated"):
        convert(tmp_path / "a.hea", tmp_path / "b.edf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dat", "a.hea"]


# --- whole or not at all


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_wfdb_record_appears_whole_or_not_at_all(
    at: int, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        write(made(annotations=(Annotation(0.5, "N"),), peak=1), tmp_path / "a.hea")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    names, replace = [".dat", ".atr", ".hea"], Path.replace

    def failing(self: Path, other: Path) -> Path:
        if self.parent.name == "made" and self.suffix == names[at]:
            raise OSError(28, "No space left on device")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="No space"):
        write(made(annotations=(Annotation(0.7, "V"),)), tmp_path / "a.hea", overwrite=overwrite)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("suffix", "package", "cls"), [(".edf", "edfio", "Edf"), (".dcm", "pydicom", "Dataset")])
def test_a_failing_write_leaves_nothing(
    suffix: str, package: str, cls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Any, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    name = "write" if suffix == ".edf" else "save_as"
    monkeypatch.setattr(getattr(sys.modules[package], cls), name, failing)
    with pytest.raises(OSError, match="No space"):
        write(made(), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


# --- WFDB


def test_annotations_go_into_the_atr_file_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    annotations = (
        Annotation(1.0, "V"), Annotation(0.5, "N"), Annotation(0.2, note="(AFIB"), Annotation(1.5, "?!", "Lärm"),
        Annotation(1.9999, "N", stop_s=2.5), Annotation(2.0, "N"), Annotation(-1, "N"),
    )  # fmt: skip
    write(made(annotations=annotations), tmp_path / "a.hea", note=said.append)
    read = wfdb.rdann(str(tmp_path / "a"), "atr")
    assert list(read.sample) == [100, 250, 500, 750, 999]
    assert read.symbol == ["+", "N", "V", '"', "N"]
    assert [text.rstrip("\0") for text in read.aux_note] == ["(AFIB", "", "", "?! L?rm", ""]
    assert any("2 annotations lie outside" in message for message in said)
    assert any("no end" in message for message in said)


@pytest.mark.parametrize("suffix", [".edf", ".dcm"])
def test_what_is_left_out_is_said(suffix: str, tmp_path: Path) -> None:
    said: list[str] = []
    write(made(annotations=(Annotation(0.5, "N"),), skipped=("RESP",)), tmp_path / f"a{suffix}", note=said.append)
    assert any("RESP" in message for message in said)
    assert any("1 annotations left out" in message for message in said)


DETAILS = {
    "acquired": "2020-09-22T09:03:32+02:00", "highpass_hz": "0.05", "lowpass_hz": "150.0", "notch_hz": "50",
    "statements": "Confirmed by Kowalski", "damaged": "section 6 has\nthe CRC 1",
}  # fmt: skip


def test_details_go_along_where_a_format_has_room_and_are_said_where_not(tmp_path: Path) -> None:
    said: dict[str, list[str]] = {suffix: [] for suffix in SUFFIXES}
    for suffix, notes in said.items():
        write(made(details=DETAILS), tmp_path / f"a{suffix}", note=notes.append)
    header = (tmp_path / "a.hea").read_text().splitlines()
    assert header[0].endswith(" 09:03:32 22/09/2020")
    assert header[-2:] == ["# Time zone: +0200", "# Damaged: section 6 has the CRC 1"]
    assert reading.read(tmp_path / "a.hea").signal.shape == (2, 1000)
    file = edfio.read_edf(tmp_path / "a.edf")
    assert (file.startdate.isoformat(), file.starttime.isoformat()) == ("2020-09-22", "09:03:32")
    assert {signal.prefiltering for signal in file.signals} == {"HP:0.05Hz LP:150Hz N:50Hz"}
    back = reading.read(tmp_path / "a.dcm").details
    assert {key: back[key] for key in DETAILS if key in back} == {**dict(list(DETAILS.items())[:3]), "notch_hz": "50.0"}
    assert any("+0200 is lost" in note for note in said[".edf"])
    assert any("statements, damaged" in note for note in said[".dcm"])
    for file_ in tmp_path.iterdir():
        assert b"Kowalski" not in file_.read_bytes()


def test_identity_is_never_written(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = write(made(patient_id="Kowalski-77123", metadata=MEN), tmp_path / f"a{suffix}")
        for file in {path, *tmp_path.iterdir()}:
            assert b"Kowalski" not in file.read_bytes()


# --- EDF


@pytest.mark.parametrize("suffix", [".edf", ".dcm"])
def test_gaps_are_refused_unless_they_may_be_filled(suffix: str, tmp_path: Path) -> None:
    recording = made()
    recording.signal[1, 10:20] = np.nan
    with pytest.raises(ConversionError, match=r"10 samples were not recorded \(the first ones in lead V1\).*--fill"):
        write(recording, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []
    said: list[str] = []
    read = reading.read(write(recording, tmp_path / f"a{suffix}", fill=True, note=said.append))
    assert not read.signal[1, 10:20].any()
    assert any("written as 0 mV" in message for message in said)


def test_a_gap_far_from_zero_is_filled_with_zero_millivolts_or_its_nearest(tmp_path: Path) -> None:
    recording = made(peak=1)
    recording.signal[1] += 40
    recording.signal[1, 10:20] = np.nan
    read = reading.read(write(recording, tmp_path / "a.edf", fill=True))
    held = digitise(recording)
    lowest = held.offsets_uv[1] - 32_000 * held.steps_uv[1]
    np.testing.assert_allclose(read.signal[1, 10:20] * 1000, max(lowest, 0), atol=held.steps_uv[1])


@pytest.mark.parametrize(
    ("rate_hz", "samples", "seconds", "per_record"),
    [
        (500, 5000, 1, 500), (500, 1250, 1.25, 625), (257.5, 2575, 2, 515), (1000 / 3, 1000, 3, 1000),
        (360, 3600, 1, 360), (360, 3609, 10.025, 3609), (128, 1, 0.0078125, 1), (500, 5003, 10.006, 5003),
        (500, 50_021, 0.002, 1), (500, 100_042, 0.004, 2), (0.1 * 3000, 600, 1, 300),
    ],
)  # fmt: skip
def test_edf_records_have_an_exact_rate_and_no_remainder(
    rate_hz: float, samples: int, seconds: float, per_record: int, tmp_path: Path
) -> None:
    if rate_hz == 128:
        with pytest.raises(ConversionError, match="no whole number of EDF records"):  # 0.0078125 has 9 characters
            write(made(samples=samples, rate_hz=rate_hz), tmp_path / "a.edf")
        return
    read = edfio.read_edf(write(made(samples=samples, rate_hz=rate_hz), tmp_path / "a.edf"))
    assert read.signals[0].sampling_frequency == pytest.approx(rate_hz, rel=1e-12)
    assert len(read.signals[0].digital) == samples
    assert (read.data_record_duration, read.signals[0].samples_per_data_record) == (seconds, per_record)


def test_edf_of_a_length_that_does_not_fit_is_refused_or_filled_up(tmp_path: Path) -> None:
    recording = made(samples=3607, rate_hz=360)
    with pytest.raises(ConversionError, match=r"3607 samples at 360 Hz are no whole number of EDF records.*--fill"):
        write(recording, tmp_path / "a.edf")
    said: list[str] = []
    read = reading.read(write(recording, tmp_path / "a.edf", fill=True, note=said.append))
    assert read.signal.shape == (2, 3609)
    assert not read.signal[:, 3607:].any()
    assert any("2 samples of 0 mV added at the end" in message for message in said)


@pytest.mark.parametrize("suffix", [".edf", ".dcm"])
def test_a_rate_that_cannot_be_written_exactly_is_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"cannot hold a rate of 123\.45678901234567 Hz exactly; write WFDB"):
        write(made(rate_hz=123.45678901234567, leads=("I",)), tmp_path / f"a{suffix}", fill=True)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_no_edf_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"rate of 333\.33331 Hz exactly"):
        write(made(rate_hz=333.33331), tmp_path / "a.edf", fill=True)


def test_edf_of_a_lead_far_from_zero_is_filled_up_with_what_is_nearest_to_zero(tmp_path: Path) -> None:
    recording = made(samples=3607, rate_hz=360, peak=1)
    recording.signal[1] -= 300
    read = reading.read(write(recording, tmp_path / "a.edf", fill=True))
    np.testing.assert_allclose(read.signal[:, 3607:], [[0, 0], [-296.8, -296.8]], atol=0.01)


def test_edf_is_filled_up_by_less_than_a_second(tmp_path: Path) -> None:
    assert reading.read(write(made(samples=3000, rate_hz=257.5), tmp_path / "a.edf", fill=True)).signal.shape[1] == 3090
    with pytest.raises(ConversionError, match=r"3000 samples at 128\.13 Hz .* records; write WFDB or DICOM$"):
        write(made(samples=3000, rate_hz=128.13), tmp_path / "b.edf", fill=True)


def test_edf_labels_ranges_and_patient_are_those_of_the_standard(tmp_path: Path) -> None:
    read = edfio.read_edf(write(made(metadata=MEN, leads=("I", "aVR"), peak=3), tmp_path / "a.edf"))
    assert read.labels == ("ECG I", "ECG aVR")
    assert {(s.physical_dimension, s.physical_min, s.physical_max) for s in read.signals} == {("uV", -3200, 3200)}
    assert read.local_patient_identification == "X M X X Age=63"
    assert read.local_recording_identification == "Startdate X X X X"


# --- DICOM


def dicom(path: Path) -> Any:
    return pydicom.dcmread(path)


@pytest.mark.parametrize(
    ("leads", "samples", "rate_hz", "name"),
    [
        (STANDARD_LEADS, 16384, 1000, "12-lead ECG Waveform Storage"),
        (STANDARD_LEADS[::-1], 5000, 200, "12-lead ECG Waveform Storage"),
        (STANDARD_LEADS, 16385, 1000, "General ECG Waveform Storage"),
        (STANDARD_LEADS[:11], 500, 500, "General ECG Waveform Storage"),
        (LEADS, 500, 500, "General ECG Waveform Storage"),
        (STANDARD_LEADS, 1000, 199, "Ambulatory ECG Waveform Storage"),
        (("I",), 1000, 50, "Ambulatory ECG Waveform Storage"),
    ],
)
def test_dicom_chooses_the_class_whose_limits_hold(
    leads: tuple[str, ...], samples: int, rate_hz: float, name: str, tmp_path: Path
) -> None:
    read = dicom(write(made(leads, samples, rate_hz), tmp_path / "a.dcm"))
    assert read.SOPClassUID.name == read.file_meta.MediaStorageSOPClassUID.name == name
    assert read.Modality == "ECG"


@pytest.mark.parametrize(("leads", "rate_hz"), [(("I",), 49), (("I",), 1001), (LEADS, 199), (STANDARD_LEADS, 2000)])
def test_dicom_refuses_rates_that_no_class_allows(leads: tuple[str, ...], rate_hz: float, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=rf"no DICOM ECG holds {len(leads)} leads at {rate_hz:g} Hz"):
        write(made(leads, rate_hz=rate_hz), tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []


def test_dicom_names_every_lead_by_the_code_of_the_standard(tmp_path: Path) -> None:
    from pydicom.sr import _cid_dict, _concepts_dict

    concepts = _concepts_dict.concepts["MDC"]
    standard = {
        code: meaning
        for name in _cid_dict.cid_concepts[3001]["MDC"]
        for code, (meaning, cids) in concepts[name].items()
        if 3001 in cids
    }
    (wave,) = dicom(write(made(LEADS), tmp_path / "a.dcm")).WaveformSequence
    for lead, channel in zip(LEADS, wave.ChannelDefinitionSequence, strict=True):
        source = channel.ChannelSourceSequence[0]
        assert source.CodingSchemeDesignator == "MDC"
        assert standard[source.CodeValue] == source.CodeMeaning
        assert lead.removeprefix("V") in source.CodeMeaning
        assert channel.ChannelSensitivityUnitsSequence[0].CodeValue == "uV"


def test_dicom_has_its_mandatory_elements_and_the_patient_without_identity(tmp_path: Path) -> None:
    metadata = {"age": 0.5, "sex": "female", "height": 180.0, "weight": 70.0}
    recording = made(metadata=metadata, details={"acquired": "2020-09-22T09:03:32"}, patient_id="7")
    read = dicom(write(recording, tmp_path / "a.dcm"))
    assert (read.PatientAge, read.PatientSex, read.PatientSize, read.PatientWeight) == ("006M", "F", 1.8, 70)
    assert read.AcquisitionDateTime == "20200922090332"
    assert (read.PatientName, read.PatientID, read.PatientBirthDate, read.StudyDate) == ("", "", "", "")
    uids = {read.SOPInstanceUID, read.StudyInstanceUID, read.SeriesInstanceUID}
    assert len(uids) == 3
    assert all(uid.is_valid for uid in uids)
    assert dicom(write(made(metadata=MEN), tmp_path / "b.dcm")).PatientAge == "063Y"


def test_dicom_gives_physical_values_by_the_formula_of_the_standard(tmp_path: Path) -> None:
    recording = made(peak=40)
    recording.signal[0] += 500
    path = write(recording, tmp_path / "a.dcm")
    values: NDArray[np.float64] = dicom(path).waveform_array(0).T  # microvolts, as pydicom calibrates
    np.testing.assert_allclose(values / 1000, recording.signal, atol=max(digitise(recording).steps_uv) / 2000 + 1e-4)


@pytest.mark.parametrize(
    ("age", "written"), [(89.7, "089Y"), (2.0, "002Y"), (1.99, "023M"), (0.04, "000M"), (119.99, "119Y")]
)
def test_dicom_age_is_that_of_the_last_birthday(age: float, written: str, tmp_path: Path) -> None:
    assert dicom(write(made(metadata={"age": age}), tmp_path / "a.dcm")).PatientAge == written


@pytest.mark.parametrize(
    ("acquired", "written", "read_back"),
    [
        ("2020-09-22T09:03:32+02:00", "20200922090332+0200", "2020-09-22T09:03:32+02:00"),
        ("2020-09-22T09:03:32.250000-05:30", "20200922090332.250000-0530", "2020-09-22T09:03:32.250000-05:30"),
        ("2020-09-22T09:03:32", "20200922090332", "2020-09-22T09:03:32"),
        ("2020-09-22", "20200922", "2020-09-22"),
        ("", "19000101000000", None),
        ("yesterday", "19000101000000", None),
    ],
)
def test_dicom_keeps_the_time_with_its_zone_and_invents_none(
    acquired: str, written: str, read_back: str | None, tmp_path: Path
) -> None:
    path = write(made(details={"acquired": acquired}), tmp_path / "a.dcm")
    assert dicom(path).AcquisitionDateTime == written
    assert reading.read(path).details.get("acquired") == read_back


def test_the_table_of_codes_covers_every_lead() -> None:
    assert set(MDC_LEADS) == set(LEADS)
