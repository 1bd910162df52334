"""Vendors' files give the signal as it is: rates as written, all groups, coded leads, calibration, nothing unsaid."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from tests import vendor_files as files

pytest.importorskip("ecgdatakit")
VALUES = files.steps(12, 250)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(folder: Path, data: bytes, **given: Any) -> Recording:
    path = folder / "a"
    path.write_bytes(data)
    return ep.read(path, **given)


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(ReadError) as caught:
        read(folder, data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lead(recording: Recording, name: str) -> np.ndarray:
    return recording.signal[recording.leads.index(name)]


# Rates


@given(
    text=st.sampled_from(["62.4725", "249.89", "128.5", "500", "1000", "360.0", "127.999"])
    | st.floats(20, 5000).map("{:.8g}".format)
)
@quick
def test_a_dicom_rate_is_what_the_file_says(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, files.dicom(files.dicom_group(VALUES[:2], rate=text))).rate_hz == float(text)


@pytest.mark.parametrize(
    ("increment", "unit", "rate_hz"),
    [("7.8", "ms", 1000 / 7.8), ("0.0078", "s", 1000 / 7.8), ("7800", "us", 1000 / 7.8), ("2", "ms", 500),
     ("0.002", "s", 500), ("3.90625", "ms", 256), ("16006.56", "us", 1e6 / 16006.56), ("0.003", "s", 1 / 0.003)],
)  # fmt: skip
def test_an_aecg_increment_gives_the_rate(increment: str, unit: str, rate_hz: float, tmp_path: Path) -> None:
    rows = {"I": files.digits(VALUES[0]), "II": files.digits(VALUES[1])}
    assert read(tmp_path, files.aecg(files.aecg_series(files.aecg_set(rows, increment, unit)))).rate_hz == rate_hz


@pytest.mark.parametrize(
    ("interval", "rate_hz"),
    [(b"\x01\xfc\x00\x4e", 1000 / 7.8), (b"\x00\xff\x05\x05", 128.5),
     (b"\x00\xfe" + struct.pack(">I", 24989), 249.89), (b"\x01\xfd\x00\x02", 500)],
)  # fmt: skip
def test_an_mfer_rate_is_mantissa_and_exponent_of_an_interval_or_a_frequency(
    interval: bytes, rate_hz: float, tmp_path: Path
) -> None:
    assert read(tmp_path, files.mfer(VALUES[:2], interval=interval)).rate_hz == pytest.approx(rate_hz, rel=1e-12)


@pytest.mark.parametrize("interval_us", [2000, 1250, 3906, 7813, 1000])
def test_an_scp_rate_is_a_million_over_the_microseconds(interval_us: int, tmp_path: Path) -> None:
    assert read(tmp_path, files.scp(VALUES[:2], interval_us=interval_us)).rate_hz == 1e6 / interval_us


@pytest.mark.parametrize(
    ("base", "exponent", "rate_hz"), [("1285", "-1", 128.5), ("5", "2", 500), ("249.89", "0", 249.89)]
)
def test_a_muse_rate_is_base_and_exponent(base: str, exponent: str, rate_hz: float, tmp_path: Path) -> None:
    assert (
        read(tmp_path, files.muse(files.muse_wave(files.muse_lead("I", VALUES[0]), "Rhythm", base, exponent))).rate_hz
        == rate_hz
    )


def test_a_sierra_rate_that_is_a_fraction_is_refused(tmp_path: Path) -> None:
    assert "sampling rate of '128.5' Hz; expected a whole number" in refusal(
        tmp_path, files.sierra(VALUES[:2], rate="128.5")
    )


def test_times_that_tell_of_another_rate_are_refused(tmp_path: Path) -> None:
    rows = {"I": files.digits(files.steps(1, 5000)[0])}
    series = files.aecg_series(files.aecg_set(rows, "1"), span=("20200101120000", "20200101120010"))
    assert "lasts 10 s by its times, 5 s by its samples and increment" in refusal(tmp_path, files.aecg(series))
    series = files.aecg_series(files.aecg_set(rows, "2"), span=("20200101120000", "20200101120010"))
    assert read(tmp_path, files.aecg(series)).duration_s == 10


# Groups and series


def test_dicom_groups_of_three_leads_are_twelve_leads_in_their_order(tmp_path: Path) -> None:
    codes = (("2:6", "2:7", "2:8"), ("2:1", "2:2", "2:61"), ("2:3", "2:4", "2:5"), ("2:62", "2:63", "2:64"))
    groups = [files.dicom_group(VALUES[3 * k : 3 * k + 3], part) for k, part in enumerate(codes)]
    found = read(tmp_path, files.dicom(*groups))
    assert (found.leads, found.skipped) == (STANDARD_LEADS, ())
    for name, row in zip(
        ("V4", "V5", "V6", "I", "II", "III", "V1", "V2", "V3", "aVR", "aVL", "aVF"), VALUES, strict=True
    ):
        np.testing.assert_allclose(lead(found, name), row / 1e3, rtol=1e-6)


def test_a_rhythm_strip_of_another_length_and_an_averaged_beat_are_named(tmp_path: Path) -> None:
    strip, beat = files.steps(1, 1000, 5), files.steps(2, 60, 6)
    found = read(
        tmp_path,
        files.dicom(
            files.dicom_group(beat, MultiplexGroupLabel="MEDIAN BEAT"),
            files.dicom_group(strip, ["2:2"]),
            files.dicom_group(VALUES[:3], ["2:1", "2:2", "2:61"]),
            files.dicom_group(VALUES[3:6], ["2:3", "2:4", "2:5"]),
        ),
    )
    assert found.leads == (*STANDARD_LEADS[:6], "V1", "V2", "V3")
    assert found.signal.shape[1] == 250
    assert found.skipped == (
        "I, II (group 1 MEDIAN BEAT, an averaged beat)",
        "II (group 2 RHYTHM: 2 s from 0 s on, the others end at 0.5 s)",
    )
    np.testing.assert_allclose(lead(found, "II"), VALUES[1] / 1e3, rtol=1e-6)


def test_groups_at_different_times_are_placed_with_nothing_between(tmp_path: Path) -> None:
    groups = [
        files.dicom_group(VALUES[3 * k : 3 * k + 3], part, offset=str(500 * k))
        for k, part in enumerate((("2:1", "2:2", "2:61"), ("2:62", "2:63", "2:64"), ("2:3", "2:4", "2:5")))
    ]
    strip = files.dicom_group(np.concatenate([VALUES[1], VALUES[9], VALUES[10]])[None], ["2:2"])
    found = read(tmp_path, files.dicom(*groups, strip))
    assert found.signal.shape == (9, 750)
    np.testing.assert_allclose(lead(found, "V2")[500:], VALUES[7] / 1e3, rtol=1e-6)
    assert np.isnan(lead(found, "V2")[:500]).all()
    assert np.isnan(lead(found, "I")[250:]).all()
    # the strip of the same samples fills the rest of its lead
    np.testing.assert_allclose(lead(found, "II"), np.concatenate([VALUES[1], VALUES[9], VALUES[10]]) / 1e3, rtol=1e-6)


def test_a_lead_that_is_there_already_and_differs_another_rate_and_another_day_are_named(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        files.dicom(
            files.dicom_group(VALUES[:2]),
            files.dicom_group(VALUES[2:3], ["2:2"]),
            files.dicom_group(VALUES[2:3], ["2:3"], rate="250"),
            files.dicom_group(VALUES[3:5], ["2:4", "2:5"], offset="86400000"),
        ),
    )
    assert found.leads == STANDARD_LEADS[:6]
    assert found.signal.shape[1] == 250
    assert found.skipped == (
        "II (group 2 RHYTHM: there already, and not the same)",
        "V1 (group 3 RHYTHM: 250 Hz, the others have 500 Hz)",
        "V2 (group 4 RHYTHM: 0.5 s from 86400 s on, the others end at 0.5 s)",
        "V3 (group 4 RHYTHM: 0.5 s from 86400 s on, the others end at 0.5 s)",
    )


def test_aecg_series_are_merged_by_their_times_and_a_pause_is_missing(tmp_path: Path) -> None:
    def part(names: tuple[str, ...], first: int, begin: str) -> str:
        rows = {name: files.digits(VALUES[first + k]) for k, name in enumerate(names)}
        return files.aecg_series(files.aecg_set(rows, begin=begin))

    begin = "20200101115959.900+0100"
    both = files.aecg(part(("I", "II"), 0, begin), part(("V1", "V2"), 2, begin))
    found = read(tmp_path, both)
    assert (found.leads, found.skipped) == ((*STANDARD_LEADS[:6], "V1", "V2"), ())
    np.testing.assert_allclose(lead(found, "V2"), VALUES[3] * 5e-3, rtol=1e-6)
    later = files.aecg(part(("V1", "V2"), 0, begin), part(("V1", "V2"), 2, "20200101120000.600+0100"))
    found = read(tmp_path, later)
    assert found.signal.shape == (2, 600)
    expected = np.concatenate([VALUES[0] * 5e-3, np.full(100, np.nan), VALUES[2] * 5e-3])
    np.testing.assert_allclose(lead(found, "V1"), expected, rtol=1e-6)


def test_aecg_sets_of_one_series_and_averaged_beats(tmp_path: Path) -> None:
    rows = {"V1": files.digits(VALUES[0])}
    sets = [files.aecg_set(rows, begin=begin, code="TIME_RELATIVE") for begin in ("0", "0.5")]
    beat = files.aecg_series(files.aecg_set({"V1": "1 2 3"}), code="REPRESENTATIVE_BEAT")
    found = read(tmp_path, files.aecg(files.aecg_series(*sets), beat))
    np.testing.assert_allclose(found.signal[0], np.tile(VALUES[0], 2) * 5e-3, rtol=1e-6)
    assert found.skipped == ("V1 (series 2, an averaged beat)",)


def test_scp_leads_that_were_recorded_one_after_the_other_are_placed_so(tmp_path: Path) -> None:
    names = ("V1", "V2", "V3", "V4")
    found = read(tmp_path, files.scp(VALUES[:4], names, starts=(1, 1, 251, 501)))
    assert (found.leads, found.signal.shape) == (names, (4, 750))
    for row, (first, values) in enumerate(zip((0, 0, 250, 500), VALUES, strict=False)):
        np.testing.assert_allclose(found.signal[row, first : first + 250], values * 2.5e-3, rtol=1e-6)
        assert np.isnan(found.signal[row]).sum() == 500


def test_a_short_group_that_was_derived_is_an_averaged_beat_whatever_its_label(tmp_path: Path) -> None:
    beat = files.dicom_group(
        VALUES[3:6, :60], ["2:3", "2:4", "2:5"], MultiplexGroupLabel="", WaveformOriginality="DERIVED"
    )
    found = read(tmp_path, files.dicom(beat, files.dicom_group(VALUES[:2])))
    assert (found.leads, found.signal.shape[1]) == (STANDARD_LEADS[:6], 250)
    assert found.skipped == ("V1, V2, V3 (group 1, an averaged beat)",)


def test_a_muse_time_offset_is_noted(tmp_path: Path) -> None:
    lead = files.muse_lead("V1", VALUES[0]).replace("Offset>0<", "Offset>7<")
    assert "LeadTimeOffset of 7" in read(tmp_path, files.muse(files.muse_wave(lead))).details["notes"]


def test_further_waveforms_and_averaged_beats_of_muse_are_named(tmp_path: Path) -> None:
    leads = "".join(files.muse_lead(name, row) for name, row in zip(("I", "II"), VALUES, strict=False))
    waves = [files.muse_wave(leads, kind) for kind in ("Median", "Rhythm", "Rhythm")]
    assert read(tmp_path, files.muse(*waves)).skipped == ("averaged beat (2 leads)", "another rhythm waveform")


# Leads


@pytest.mark.parametrize("kind", ["dicom", "aecg", "ishne", "muse", "scp", "mfer"])
def test_frank_leads_are_known_wherever_they_are_coded(kind: str, tmp_path: Path) -> None:
    rows = dict(zip("XYZ", VALUES, strict=False))
    data = {
        "dicom": lambda: files.dicom(files.dicom_group(VALUES[:3], ["2:16", "2:17", "2:18"])),
        "aecg": lambda: files.aecg(files.aecg_series(files.aecg_set({k: files.digits(v) for k, v in rows.items()}))),
        "ishne": lambda: files.ishne(VALUES[:3], (2, 3, 4)),
        "muse": lambda: files.muse(files.muse_wave("".join(files.muse_lead(k, v) for k, v in rows.items()))),
        "scp": lambda: files.scp(VALUES[:3], ("X", "Y", "Z")),
        "mfer": lambda: files.mfer(VALUES[:3], (16, 17, 18)),
    }[kind]()
    found = read(tmp_path, data)
    assert found.leads == ("VX", "VY", "VZ")
    ratios = [float(found.signal[k, 0]) / VALUES[k, 0] for k in range(3)]
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert read(tmp_path, data, lead_aliases={"X": "V1", "Y": "V2"}).leads[:2] == ("V1", "V2")


def test_atc_reads_twelve_blocks_and_names_what_it_does_not_know(tmp_path: Path) -> None:
    names = [b"ecg ", *(b"ecg" + n for n in (b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9", b"a", b"b", b"c"))]
    rows = dict(zip(reversed(names), VALUES[::-1], strict=True))
    found = read(tmp_path, files.atc(rows, files.atc_block(b"xyz1", b"?") + files.atc_block(b"ecg ", b"12")))
    assert found.leads == STANDARD_LEADS
    np.testing.assert_allclose(found.signal, VALUES * 5e-4, rtol=1e-6)
    assert found.skipped == ("block 'xyz1'", "block 'ecg ' (again)")


@pytest.mark.parametrize("last", [249, 250])
@pytest.mark.parametrize("huffman", [False, True])
def test_scp_leads_that_are_numbered_from_zero_are_read(last: int, huffman: bool, tmp_path: Path) -> None:
    found = read(tmp_path, files.scp(VALUES[:2], first=0, last=last, huffman=huffman))
    count = 249 if huffman and last == 249 else 250
    np.testing.assert_allclose(found.signal[:2], VALUES[:2, :count] * 2.5e-3, rtol=1e-6)


def test_scp_without_a_number_of_samples_is_refused(tmp_path: Path) -> None:
    assert "goes from sample 0 to 0" in refusal(tmp_path, files.scp(VALUES[:2], first=0, last=0, huffman=True))


def test_a_lead_that_is_there_twice_is_one_where_both_are_the_same(tmp_path: Path) -> None:
    for second, skipped in ((VALUES[0], ()), (VALUES[1], ("V1 (rhythm: there already, and not the same)",))):
        leads = files.muse_lead("V1", VALUES[0]) + files.muse_lead("V1", second)
        found = read(tmp_path, files.muse(files.muse_wave(leads)))
        assert (found.leads, found.skipped) == (("V1",), skipped)
        np.testing.assert_allclose(found.signal[0], VALUES[0] * 4.88e-3, rtol=1e-6)


def test_no_lead_is_derived_from_one_whose_electrode_was_off(tmp_path: Path) -> None:
    leads = files.muse_lead("I", VALUES[0]) + files.muse_lead("II", VALUES[1], off=True)
    found = read(tmp_path, files.muse(files.muse_wave(leads)))
    assert (found.leads, found.details["notes"]) == (("I", "II"), "lead II was off")


def test_dicom_is_read_without_its_preamble(tmp_path: Path) -> None:
    whole = files.dicom(files.dicom_group(VALUES[:2]))
    expected = read(tmp_path, whole)
    for data in (whole[132:], whole[whole.index(b"\x08\x00\x16\x00UI") :]):
        found = read(tmp_path, data)
        assert found.format == "DICOM"
        np.testing.assert_array_equal(found.signal, expected.signal)


# Calibration and units


def test_units_are_those_of_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, files.muse(files.muse_wave(files.muse_lead("I", VALUES[0])))).units == ("4.88uV",)
    for unit, millivolts in (("uV", 1e-3), ("mV", 1.0), ("V", 1e3), ("nV", 1e-6)):
        group = files.dicom_group(VALUES[:1], [files.dicom_channel("2:3", "0.5", unit)])
        found = read(tmp_path, files.dicom(group))
        assert found.units == (unit,)
        np.testing.assert_allclose(found.signal[0], VALUES[0] * 0.5 * millivolts, rtol=1e-6)


@pytest.mark.parametrize("kind", ["dicom", "dicom zero", "aecg", "ishne", "muse"])
def test_a_lead_without_calibration_is_named_and_never_zero(kind: str, tmp_path: Path) -> None:
    good, bad = files.dicom_channel("2:3"), files.dicom_channel("2:4", None)
    zero = files.dicom_channel("2:4", "0")
    data = {
        "dicom": lambda: files.dicom(files.dicom_group(VALUES[:2], [good, bad])),
        "dicom zero": lambda: files.dicom(files.dicom_group(VALUES[:2], [good, zero])),
        "aecg": lambda: files.aecg(
            files.aecg_series(files.aecg_set({"V1": files.digits(VALUES[0])})),
            files.aecg_series(files.aecg_set({"V2": files.digits(VALUES[1])}, scale="")),
        ),
        "ishne": lambda: files.ishne(VALUES[:2], (11, 12), nv=[2500, 0, *[1] * 10]),
        "muse": lambda: files.muse(
            files.muse_wave(files.muse_lead("V1", VALUES[0]) + files.muse_lead("V2", VALUES[1], units="FURLONGS"))
        ),
    }[kind]()
    found = read(tmp_path, data)
    assert (found.leads, found.skipped) == (("V1",), ("V2 (not calibrated)",))
    assert read(tmp_path, data, unit="5uV").leads == ("V1", "V2")


def test_where_nothing_is_calibrated_the_user_is_asked(tmp_path: Path) -> None:
    data = files.scp(VALUES[:2], avm_nv=0)
    assert "says no unit" in refusal(tmp_path, data)
    np.testing.assert_allclose(read(tmp_path, data, unit="5uV").signal[0], VALUES[0] * 5e-3, rtol=1e-6)


def test_dicom_values_are_sensitivity_correction_and_baseline(tmp_path: Path) -> None:
    channel = files.dicom_channel("2:3", "2.5", ChannelSensitivityCorrectionFactor="1.1", ChannelBaseline="-40")
    found = read(tmp_path, files.dicom(files.dicom_group(VALUES[:1], [channel])))
    np.testing.assert_allclose(found.signal[0], (VALUES[0] * 2.75 - 40) / 1e3, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "bits", "low", "high"),
    [("SB", 8, -128, 127), ("UB", 8, 0, 255), ("US", 16, 0, 65_535), ("SL", 32, -(2**30), 2**30), ("UL", 32, 0, 2**31)],
)
def test_dicom_samples_of_other_widths_and_signs(kind: str, bits: int, low: int, high: int, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(low, high + 1, (3, 251))
    values[0, :2] = low, high
    codes = ["2:3", "2:4", "2:5"]
    found = read(tmp_path, files.dicom(files.dicom_group(values, codes, kind=kind, bits=bits)))
    np.testing.assert_allclose(found.signal, values / 1e3, rtol=1e-6)


def test_dicom_companded_samples_are_refused(tmp_path: Path) -> None:
    assert "8 bits, interpretation 'MB': not read" in refusal(
        tmp_path, files.dicom(files.dicom_group(VALUES[:2], kind="MB", bits=8))
    )


def test_dicom_samples_of_fewer_bits_than_they_take_up(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(-2048, 2048, (1, 250))
    values[0, :2] = -2048, 2047
    for written in (values, values & 0xFFF):  # the sign in all bits, or only in the twelfth
        channel = files.dicom_channel("2:3", WaveformBitsStored=12)
        found = read(tmp_path, files.dicom(files.dicom_group(written.astype(np.int32), [channel])))
        np.testing.assert_allclose(found.signal, values / 1e3, rtol=1e-6)
    channel = files.dicom_channel("2:3", WaveformBitsStored=12)
    assert "more than its 12 bits stored hold" in refusal(
        tmp_path, files.dicom(files.dicom_group(values * 3, [channel]))
    )


def test_dicom_padding_is_missing_and_a_value_of_the_signal_is_not(tmp_path: Path) -> None:
    values = VALUES[:3].copy()
    values[1, 10:20] = -32768
    group = files.dicom_group(values, ["2:3", "2:4", "2:5"], WaveformPaddingValue=b"\x00\x80")
    found = read(tmp_path, files.dicom(group))
    assert np.flatnonzero(np.isnan(found.signal[1])).tolist() == list(range(10, 20))
    assert not np.isnan(found.signal[[0, 2]]).any()
    values = VALUES[:3].copy()
    values[:, 30:40] = 0
    values[1, 100] = 0
    found = read(tmp_path, files.dicom(files.dicom_group(values, ["2:3", "2:4", "2:5"], WaveformPaddingValue=b"\0\0")))
    assert np.flatnonzero(np.isnan(found.signal[1])).tolist() == list(range(30, 40))
    assert found.signal[1, 100] == 0


def test_a_dicom_channel_that_begins_late_is_placed_late(tmp_path: Path) -> None:
    late = files.dicom_channel("2:4", ChannelSampleSkew="3")
    seconds = files.dicom_channel("2:5", ChannelTimeSkew="0.004")
    part = files.dicom_channel("2:6", ChannelSampleSkew="0.25")
    found = read(
        tmp_path, files.dicom(files.dicom_group(VALUES[:4], [files.dicom_channel("2:3"), late, seconds, part]))
    )
    assert found.signal.shape == (4, 253)
    for row, (first, values) in enumerate(zip((0, 3, 2, 0), VALUES, strict=False)):
        np.testing.assert_allclose(found.signal[row, first : first + 250], values / 1e3, rtol=1e-6)
        assert np.isnan(found.signal[row]).sum() == 3
    assert "V4 was sampled 0.25 of a sample later" in found.details["notes"]


def test_a_deflated_dicom_file_is_read(tmp_path: Path) -> None:
    plain = read(tmp_path, files.dicom(files.dicom_group(VALUES[:2])))
    for syntax in ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2"):
        np.testing.assert_array_equal(
            read(tmp_path, files.dicom(files.dicom_group(VALUES[:2]), syntax=syntax)).signal, plain.signal
        )


# Patient and time


def test_dicom_time_keeps_its_zone_and_a_placeholder_is_none(tmp_path: Path) -> None:
    for text, zone, expected in (
        ("20200922090332+0200", None, "2020-09-22T09:03:32+02:00"),
        ("20200922090332.25", "-0530", "2020-09-22T09:03:32.250000-05:30"),
        ("20200922090332", None, "2020-09-22T09:03:32"),
        ("19000101000000", None, None),
    ):
        given = {"AcquisitionDateTime": text} | ({"TimezoneOffsetFromUTC": zone} if zone else {})
        assert read(tmp_path, files.dicom(files.dicom_group(VALUES[:2]), **given)).details.get("acquired") == expected


@pytest.mark.parametrize(
    ("age", "born", "years"),
    [("089Y", "", 89), ("018M", "", 1.5), ("", "19300315", 89), ("000D", "", 0), ("x", "", None)],
)
def test_dicom_age(age: str, born: str, years: float | None, tmp_path: Path) -> None:
    data = files.dicom(
        files.dicom_group(VALUES[:2]), PatientAge=age, PatientBirthDate=born, AcquisitionDateTime="20200101120000"
    )
    assert read(tmp_path, data).metadata.get("age") == years
