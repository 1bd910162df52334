"""EDF as people have it: gaps, Latin-1, open numbers of records, several rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism.errors import ReadError
from tests.field_files import RATE_HZ, beats, edf, peak, quick, written
from tests.records import digital, write_raw


@pytest.mark.parametrize("kind", [b"EDF+D", b"EDF+C"])
@pytest.mark.parametrize("bdf", [False, True])
def test_records_stand_at_their_onsets_and_pauses_are_not_recorded(tmp_path: Path, kind: bytes, bdf: bool) -> None:
    values = beats(6 * RATE_HZ)
    onsets = [0.0, 1.0, 2.0, 12.5, 13.5, 14.5]
    content = edf([("ECG I", values)], onsets=onsets, kind=kind, texts={4: b"+13.6\x15.5\x14late\x14\x00"}, bdf=bdf)
    path = written(tmp_path / "a.edf", content)
    read = ep.read(path)
    expected = np.full(round(15.5 * RATE_HZ), np.nan)
    expected[: 3 * RATE_HZ] = values[: 3 * RATE_HZ]
    expected[round(12.5 * RATE_HZ) :] = values[3 * RATE_HZ :]
    np.testing.assert_allclose(read.signal[0], expected, atol=1e-4)
    assert [(a.at_s, a.note) for a in read.annotations] == [(13.6, "late")]
    opened = ep.open_recording(path)
    assert opened.duration_s == 15.5
    part = opened.read(2.0, 14.0)
    np.testing.assert_array_equal(part.signal, read.signal[:, 2 * RATE_HZ : 14 * RATE_HZ])
    assert [round(a.at_s, 6) for a in part.annotations] == [11.6]
    assert opened.read(0.0, 3.0).annotations == ()


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.5, 3.25]), min_size=1, max_size=8),
    start=st.sampled_from([0.0, 0.5]),
    window=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@quick
def test_any_pauses_are_at_their_place(
    gaps: list[float], start: float, window: tuple[float, float], tmp_path: Path
) -> None:
    onsets, at = [], start
    for gap in gaps:
        onsets.append(at)
        at += 1.0 + gap
    values = np.round(np.random.default_rng(len(gaps)).uniform(-3, 3, len(gaps) * RATE_HZ), 4)
    path = written(tmp_path / "a.edf", edf([("ECG I", values)], onsets=onsets, kind=b"EDF+D"))
    total = round((onsets[-1] + 1 - start) * RATE_HZ)
    expected = np.full(total, np.nan)
    for record, onset in enumerate(onsets):
        first = round((onset - start) * RATE_HZ)
        expected[first : first + RATE_HZ] = values[record * RATE_HZ : (record + 1) * RATE_HZ]
    np.testing.assert_allclose(ep.read(path).signal[0], expected, atol=1e-4)
    low, high = sorted(round(part * total) / RATE_HZ for part in window)
    if low < high:
        part = ep.open_recording(path).read(low, high).signal[0]
        np.testing.assert_allclose(part, expected[round(low * RATE_HZ) : round(high * RATE_HZ)], atol=1e-4)


@pytest.mark.parametrize("onsets", [[0.0, 0.5, 2.0], [5.0, 3.0, 9.0], [0.0, 0.0, 0.0]])
def test_records_that_overlap_or_go_back_are_refused(tmp_path: Path, onsets: list[float]) -> None:
    path = written(tmp_path / "a.edf", edf([("ECG I", beats(3 * RATE_HZ))], onsets=onsets, kind=b"EDF+D"))
    with pytest.raises(ReadError, match=r"data record [23] begins at .* before the one before it ends"):
        ep.read(path)


def test_a_month_between_two_records_is_read_in_parts_only(tmp_path: Path) -> None:
    content = edf([("ECG I", beats(2 * RATE_HZ))], onsets=[0.0, 3_000_000.0], kind=b"EDF+D")
    path = written(tmp_path / "a.edf", content)
    with pytest.raises(ReadError, match=r"open_recording\(path\)\.read"):
        ep.read(path)
    assert peak(ep.open_recording(path).read(3_000_000, 3_000_001), "I") == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [("0", "0"), ("5", "5"), ("nan", "1"), ("0", "inf"), ("", "1"), ("x", "1")])
def test_a_lead_without_calibration_is_named_and_never_zero(tmp_path: Path, low: str, high: str) -> None:
    signals = [("ECG I", beats(600)), ("ECG II", beats(600, 0.7))]
    path = written(tmp_path / "a.edf", edf(signals, physical={"ECG II": (low, high)}))
    read = ep.read(path)
    assert read.leads == ("I",)
    assert read.skipped[0].startswith("ECG II (not calibrated")
    with pytest.raises(ReadError, match="lead ECG II is not calibrated"):
        ep.read(path, leads=["-", "II"])


@pytest.mark.parametrize(("records", "cut"), [(4, 0), (2, 0), (1_000_000, 0), (3, 100), (3, 2 * RATE_HZ)])
def test_an_edf_that_holds_other_records_than_it_says_is_damaged(tmp_path: Path, records: int, cut: int) -> None:
    values = beats(3 * RATE_HZ)
    content = edf([("ECG I", values)], records=records)
    path = written(tmp_path / "a.edf", content[: len(content) - cut])
    with pytest.raises(ReadError, match="truncated or longer than said"):
        ep.read(path)
    read = ep.read(path, accept_damaged=True)
    held = 3 if not cut else 2
    np.testing.assert_allclose(read.signal[0], values[: held * RATE_HZ], atol=1e-4)
    assert f"announces {records} data records" in read.details["damaged"]


def test_an_edf_that_leaves_its_number_of_records_open_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", edf([("ECG I", beats(600))], records=-1))
    assert ep.read(path).signal.shape == (1, 600)
    assert "damaged" not in ep.read(path).details


@pytest.mark.parametrize("header_bytes", ["0", "256", "-1", "99999999", "511"])
def test_an_edf_header_of_another_size_than_its_signals_have_is_refused(tmp_path: Path, header_bytes: str) -> None:
    content = bytearray(edf([("ECG I", beats(600))]))
    content[184:192] = header_bytes.encode().ljust(8)
    with pytest.raises(ReadError, match="no valid EDF header"):
        ep.read(written(tmp_path / "a.edf", bytes(content)))


def test_leads_of_unlike_rates_the_most_common_is_read_and_others_can_be_chosen(tmp_path: Path) -> None:
    signals = [("ECG I", beats(300, 0.8, 100)), ("ECG II", beats(600)), ("ECG V1", beats(600, 0.5))]
    path = written(tmp_path / "a.edf", edf(signals, per_signal={"ECG I": 100}, records=3))
    read = ep.read(path)
    assert (read.leads, read.rate_hz) == (("II", "V1"), RATE_HZ)
    assert read.skipped == ("ECG I (100 Hz, the leads that were read have 200 Hz)",)
    one = ep.read(path, leads=["I"])
    assert (one.leads, one.rate_hz) == (("I",), 100)
    assert peak(one, "I") == pytest.approx(0.8, abs=0.02)


def test_a_fractional_rate_stays_fractional(tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", edf([("ECG I", beats(3 * 77, rate_hz=256.6666))], per_record=77, duration="0.3"))
    assert ep.read(path).rate_hz == 77 / 0.3


@pytest.mark.parametrize("unit", ["µV".encode("latin-1"), "µV".encode(), "μV".encode(), b"uV", b"microV", b"uVolts"])
def test_microvolts_are_understood_however_they_are_written(tmp_path: Path, unit: bytes) -> None:
    path = written(tmp_path / "a.edf", edf([("ECG I", beats(600))], unit=unit))
    assert peak(ep.read(path), "I") == pytest.approx(1, abs=1e-3)


def test_a_declared_unit_wins_over_one_that_means_nothing_and_none_that_does(tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", edf([("ECG I", beats(600))], unit=b".V"))
    with pytest.raises(ReadError, match=r"unit '\.V'.*--unit uV"):
        ep.read(path)
    assert peak(ep.read(path, unit="uV"), "I") == pytest.approx(1, abs=1e-3)
    path = written(tmp_path / "b.edf", edf([("ECG I", beats(600))]))
    assert peak(ep.read(path, unit="microvolts"), "I") == pytest.approx(1, abs=1e-3)
    with pytest.raises(ReadError, match="has unit 'uV'; declared is 'mV'"):
        ep.read(path, unit="mV")


def test_a_declared_unit_is_for_the_leads_that_leave_it_open(tmp_path: Path) -> None:
    header = "a 2 100 100\na.dat 16 200/mV 16 0 0 0 0 I\na.dat 16 0 16 7 0 0 0 V1\n"
    values = digital(2, 100)
    path = write_raw(tmp_path, header, values.astype("<i2").tobytes())
    read = ep.read(path)
    assert (read.leads, read.skipped[0][:21]) == (("I",), "V1 (uncalibrated (gai")
    read = ep.read(path, unit="5uV")
    assert read.leads == ("I", "V1")
    np.testing.assert_allclose(read.signal, [values[:, 0] / 200, (values[:, 1] - 7) * 5e-3], rtol=1e-6, atol=1e-9)


def test_an_annotation_in_latin_1_and_names_padded_with_nul_are_read(tmp_path: Path) -> None:
    texts = {1: b"+1.5\x14Herzklopfen \xfcbel\x14\x00"}
    content = edf([("ECG II\x00\x00", beats(600))], onsets=[0, 1, 2], texts=texts, kind=b"EDF+C")
    read = ep.read(written(tmp_path / "a.edf", content))
    assert (read.leads, read.annotations[0].note, read.annotations[0].at_s) == (("II",), "Herzklopfen übel", 1.5)


def test_sex_and_age_of_an_edf_are_read_and_ages_floored(tmp_path: Path) -> None:
    for patient, age in ((b"X F 02-MAY-1911 X", 89.0), (b"X F X X Age=63", 63.0)):
        content = bytearray(edf([("ECG I", beats(600))], patient=patient))
        content[88:168] = b"Startdate 01-JAN-2001 X X X".ljust(80)
        assert ep.read(written(tmp_path / "a.edf", bytes(content))).metadata == {"age": age, "sex": "female"}
