"""Recordings as people really have them: the right value, or one line that says what to declare. Each is made here."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism import archives
from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.metadata import demographics
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ReadError
from ecgprism.formats import reading
from ecgprism.formats.contract import with_limb_leads
from tests.records import digital, write_raw, write_wfdb

RATE_HZ = 200
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def beats(samples: int, height: float = 1.0, rate_hz: float = RATE_HZ) -> np.ndarray:
    """A spike of so many mV each second."""
    at = np.arange(samples) / rate_hz % 1.0
    return height * np.exp(-(((at - 0.5) / 0.02) ** 2))


def edf(
    signals: list[tuple[str, np.ndarray]],
    *,
    unit: bytes = b"uV",
    per_record: int = RATE_HZ,
    duration: str = "1",
    onsets: list[float] | None = None,
    texts: dict[int, bytes] | None = None,
    kind: bytes = b"",
    records: int | None = None,
    physical: dict[str, tuple[str, str]] | None = None,
    per_signal: dict[str, int] | None = None,
    patient: bytes = b"X X X X",
    bdf: bool = False,
) -> bytes:
    """Write an EDF (or BDF) file byte by byte: values in mV, steps of 0.1 uV."""
    width = 3 if bdf else 2
    counts = {name: (per_signal or {}).get(name, per_record) for name, _ in signals}
    n = len(signals[0][1]) // counts[signals[0][0]]
    names = [name.encode("latin-1") for name, _ in signals] + ([b"EDF Annotations"] if onsets is not None else [])
    steps = 2**23 if bdf else 2**15

    def fields(values: list[bytes], size: int) -> bytes:
        return b"".join(value.ljust(size)[:size] for value in values)

    usual = ("-800000", "800000") if bdf else ("-3276.8", "3276.7")
    step = (float(usual[1]) - float(usual[0])) / (2 * steps - 1)
    ranges = [(physical or {}).get(name, usual) for name, _ in signals]
    ranges += [("-1", "1")] * (len(names) - len(signals))
    sizes = [counts[name] for name, _ in signals] + [40] * (len(names) - len(signals))
    head = (b"\xffBIOSEMI" if bdf else b"0".ljust(8)) + patient.ljust(80) + b"Startdate X X X X".ljust(80)
    head += b"01.01.0100.00.00" + str(256 * (len(names) + 1)).encode().ljust(8) + kind.ljust(44)
    head += str(n if records is None else records).encode().ljust(8) + duration.encode().ljust(8)
    head += str(len(names)).encode().ljust(4) + fields(names, 16) + fields([b""] * len(names), 80)
    head += fields([unit] * len(names), 8) + fields([low.encode() for low, _ in ranges], 8)
    head += fields([high.encode() for _, high in ranges], 8) + fields([str(-steps).encode()] * len(names), 8)
    head += fields([str(steps - 1).encode()] * len(names), 8) + fields([b""] * len(names), 80)
    head += fields([str(size).encode() for size in sizes], 8) + fields([b""] * len(names), 32)
    body = b""
    for record in range(n):
        for name, values in signals:
            part = values[record * counts[name] : (record + 1) * counts[name]] * 1e3 - float(usual[0])
            part = np.round(part / step - steps).astype("<i4")
            body += part.astype("<i2").tobytes() if not bdf else part.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        if onsets is not None:
            said = f"+{onsets[record]:.9g}".encode() + b"\x14\x14\x00" + (texts or {}).get(record, b"")
            body += said.ljust(40 * width, b"\x00")
    return head + body


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def peak(recording: Recording, lead: str) -> float:
    return float(np.nanmax(recording.signal[recording.leads.index(lead)]))


# EDF


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


# Leads that are connected, leads that are declared


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_no_lead_is_derived_from_one_that_is_not_connected(tmp_path: Path, fmt: str) -> None:
    values = np.stack([1000 * beats(4000), np.zeros(4000)], axis=1).round().astype(int)
    path = write_wfdb(tmp_path, "a", values, ["I", "II"], rate_hz=RATE_HZ, gains=1000.0, fmt=fmt)
    assert ep.read(path).leads == ("I", "II")
    assert ep.open_recording(path).leads == ep.open_recording(path).read(0, 1).leads == ("I", "II")


def test_a_lead_that_wakes_up_late_is_connected_in_every_window(tmp_path: Path) -> None:
    values = np.stack([1000 * beats(12_000), np.r_[np.zeros(11_000), 700 * beats(1000)]], axis=1).round().astype(int)
    path = write_wfdb(tmp_path, "a", values, ["I", "II"], rate_hz=RATE_HZ, gains=1000.0)
    opened = ep.open_recording(path)
    assert opened.leads == opened.read(0, 1).leads == ep.read(path).leads == ("I", "II", "III", "aVR", "aVL", "aVF")


def test_derived_leads_are_missing_where_one_of_their_pair_is() -> None:
    one, two = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    two[10:20] = np.nan
    derived = with_limb_leads(Recording(np.stack([one, two]), 100, ("I", "II")))
    assert np.isnan(derived.signal[2:, 10:20]).all()
    assert not np.isnan(derived.signal[2:, :10]).any()
    empty = with_limb_leads(Recording(np.stack([one, np.full(50, np.nan, np.float32)]), 100, ("I", "II")))
    assert empty.leads == ("I", "II")
    of_three = np.stack([one, np.zeros(50, np.float32), one / 2])
    assert with_limb_leads(Recording(of_three, 100, ("I", "II", "III"))).leads == (
        *("I", "II", "III", "aVR", "aVL", "aVF"),
    )


@pytest.mark.parametrize("form", ["wfdb", "edf"])
def test_channels_of_one_name_are_declared_by_position_or_number(tmp_path: Path, form: str) -> None:
    one, two = beats(600), beats(600, 0.7)
    if form == "wfdb":
        values = np.stack([one, two], axis=1) * 1000
        header = "a 2 200 600\n" + "a.dat 16 1000/mV 16 0 0 0 0 ECG\n" * 2
        path = write_raw(tmp_path, header, values.round().astype("<i2").tobytes())
    else:
        path = written(tmp_path / "a.edf", edf([("ECG", one), ("ECG", two)]))
    for said in ({"leads": ["II", "V1"]}, {"lead_aliases": {"ECG#1": "II", "ECG#2": "V1"}}):
        read = ep.read(path, **said)  # type: ignore[arg-type]
        assert read.leads == ("II", "V1")
        assert (peak(read, "II"), peak(read, "V1")) == (pytest.approx(1, abs=0.01), pytest.approx(0.7, abs=0.01))
        opened = ep.open_recording(path, **said)  # type: ignore[arg-type]
        assert opened.leads == ("II", "V1")
    assert ep.read(path, leads=["-", "V1"]).leads == ("V1",)
    assert ep.read(path, {"ECG#2": "V1"}).leads == ("V1",)
    with pytest.raises(ReadError, match=r"more than once \('ECG', 'ECG'\).*--lead 'ECG#2=I'"):
        ep.read(path, {"ECG": "II"})
    with pytest.raises(ReadError, match="'VI' is none; did you mean"):
        ep.read(path, leads=["II", "VI"])
    with pytest.raises(ReadError, match=r"2 channels .* 3 declared leads"):
        ep.read(path, leads=["II", "V1", "V2"])


def test_the_advice_quotes_a_name_with_blanks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", edf([("Kanal 1", beats(600))]))
    with pytest.raises(ReadError, match="--lead 'Kanal 1=I'"):
        ep.read(path)


@pytest.mark.parametrize(
    ("spelling", "lead"),
    [
        ("DI", "I"), ("DII", "II"), ("DIII", "III"), ("D1", "I"), ("D2", "II"), ("D3", "III"), ("EKG II", "II"),
        ("ECG II-Ref", "II"), ("MV2", "V2"), ("II\x00\x00", "II"), ("EKG aVR", "aVR"), ("MDC_ECG_LEAD_X", "VX"),
        ("ECG Y", "VY"), ("MDC_ECG_ELEC_POTL_II", "II"),
    ],
)  # fmt: skip
def test_leads_are_known_by_what_people_call_them(spelling: str, lead: str) -> None:
    assert canonical_lead(spelling) == lead


@pytest.mark.parametrize("name", ["X", "Y", "Z", "D4", "ACC X", "x" * 200_000, "DIV"])
def test_what_is_no_lead_stays_none(name: str) -> None:
    assert canonical_lead(name) is None


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("microvolts", 1e-3), ("Millivolt", 1), ("mcV", 1e-3), ("ÂµV", 1e-3), ("volts", 1e3), ("nanovolt", 1e-6),
     ("2.5microV", 2.5e-3), ("mV\x00", 1), (".V", None), ("µ", None), ("9" * 100_000, None), ("mV/s", None)],
)  # fmt: skip
def test_units_are_known_in_words_and_never_guessed(unit: str, factor: float | None) -> None:
    assert millivolts(unit) == (pytest.approx(factor) if factor else None)


def test_a_rate_is_declared_where_the_file_says_none_and_refused_where_it_says_another(tmp_path: Path) -> None:
    data = digital(1, 100).astype("<i2").tobytes()
    path = write_raw(tmp_path, "a 1 0 100\na.dat 16 200/mV 16 0 0 0 0 I\n", data)
    with pytest.raises(ReadError, match="sampling rate 0 Hz"):
        ep.read(path)
    assert ep.read(path, rate_hz=250).rate_hz == ep.open_recording(path, rate_hz=250).rate_hz == 250
    path = write_raw(tmp_path, "a 1 500 100\na.dat 16 200/mV 16 0 0 0 0 I\n", data)
    assert ep.read(path, rate_hz=500).rate_hz == 500
    with pytest.raises(ReadError, match="has a rate of 500 Hz; declared are 250 Hz"):
        ep.read(path, rate_hz=250)


def test_one_json_holds_for_a_folder_and_that_of_a_file_before_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("1000\n2000\n3000\n" * 20)
    (tmp_path / "ecg.json").write_text(json.dumps({"rate_hz": 250, "unit": "uV", "leads": ["V1"]}))
    (tmp_path / "b.csv.json").write_text(json.dumps({"leads": ["II"], "unit": "mV", "zero": 500}))
    assert list(reading.find(tmp_path)) == [tmp_path / "a.csv", tmp_path / "b.csv"]
    one, two = ep.read(tmp_path / "a.csv"), ep.read(tmp_path / "b.csv")
    assert (one.leads, one.rate_hz, float(one.signal[0, 0])) == (("V1",), 250, 1.0)
    assert (two.leads, two.rate_hz, float(two.signal[0, 0])) == (("II",), 250, 500.0)
    write_wfdb(tmp_path / "w", "x", digital(2), ["ECG", "ECG 2"])
    (tmp_path / "w" / "ecg.json").write_text(json.dumps({"leads": ["I", "V2"]}))
    assert ep.read(tmp_path / "w" / "x").leads == ("I", "V2")


# WFDB


def test_a_header_in_latin_1_gives_microvolts(tmp_path: Path) -> None:
    header = "a 1 100 200\na.dat 16 1(0)/µV 16 0 0 0 0 I\n# Größe: 1\n".encode("latin-1")
    values = digital(1)
    path = write_raw(tmp_path, header, values.astype("<i2").tobytes())
    np.testing.assert_allclose(ep.read(path).signal[0], values[:, 0] / 1e3, rtol=1e-6)


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_a_record_in_capitals_is_found(tmp_path: Path, fmt: str) -> None:
    values = digital(2)
    write_wfdb(tmp_path, "x", values, ["I", "V1"], fmt=fmt)
    for suffix in (".hea", ".dat"):
        (tmp_path / f"x{suffix}").rename(tmp_path / f"X{suffix.upper()}")
    for path in (tmp_path / "X.HEA", tmp_path / "X", tmp_path / "X.DAT"):
        np.testing.assert_allclose(ep.read(path).signal, values.T / 200, rtol=1e-6)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_wrong_sum_or_a_short_file_is_read_when_damage_is_accepted_and_marked(tmp_path: Path, fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(2, 50), ["I", "V1"], fmt=fmt)
    data = bytearray(path.with_suffix(".dat").read_bytes())
    data[0] ^= 1
    path.with_suffix(".dat").write_bytes(data)
    assert "have checksum" in ep.read(path, accept_damaged=True).details["damaged"]
    path.with_suffix(".dat").write_bytes(data[:-12])
    read = ep.read(path, accept_damaged=True)
    assert read.signal.shape == (2, 47 if fmt == "16" else 48)
    assert "truncated" in read.details["damaged"]
    with pytest.raises(ReadError):
        ep.read(path)


def test_segments_with_pauses_and_changing_signals_are_put_together(tmp_path: Path) -> None:
    one, two = digital(2, 60, seed=1), digital(2, 40, seed=2)
    write_wfdb(tmp_path, "s1", one, ["II", "V1"], gains=100.0)
    write_wfdb(tmp_path, "s2", two, ["V1", "II"], gains=400.0, fmt="212")
    write_raw(
        tmp_path,
        "layout 2 100 0\n~ 0 200/mV 16 0 0 0 0 II\n~ 0 200/mV 16 0 0 0 0 V1\n".replace("~ 0", "~ 16"),
        name="layout",
    )
    path = write_raw(tmp_path, "m/4 2 100 130\nlayout 0\ns1 60\n~ 30\ns2 40\n", name="m")
    read = ep.read(path)
    expected = np.full((2, 130), np.nan)
    expected[:, :60] = one.T / 100
    expected[:, 90:] = two.T[::-1] / 400
    np.testing.assert_allclose(read.signal, expected, rtol=1e-6)
    opened = ep.open_recording(path)
    np.testing.assert_allclose(opened.read(0.5, 1.1).signal, expected[:, 50:110], rtol=1e-6)


@pytest.mark.parametrize(
    ("comments", "metadata"),
    [
        (["Age: 300", "Sex: F"], {"sex": "female"}), (["Age: 63Y", "Gender: Male"], {"age": 63.0, "sex": "male"}),
        (["<age>: 65 <sex>: F <diagnoses>: none"], {"age": 65.0, "sex": "female"}), (["Age: 6 months"], {"age": 0.5}),
        (["Age: 74 Sex: M"], {"age": 74.0, "sex": "male"}), (["Dx: old age: 5"], {}),
        (["Age: 130"], {"age": 130.0}), (["Age: -3", "Sex: 1"], {}), (["Age: 63 years"], {"age": 63.0}),
    ],
)  # fmt: skip
def test_patients_of_wfdb_headers(tmp_path: Path, comments: list[str], metadata: dict[str, object]) -> None:
    assert ep.read(write_wfdb(tmp_path, "r", digital(), comments=comments)).metadata == metadata


@given(st.one_of(st.floats(), st.integers(), st.text(max_size=50), st.none()))
def test_an_age_is_possible_or_missing(age: object) -> None:
    assert 0 <= float(demographics(age=age).get("age", 0)) <= 130


def test_a_rate_that_is_declared_again_changes_no_window(tmp_path: Path) -> None:
    values = digital(2, 400)
    data = values.reshape(100, 4, 2).transpose(0, 2, 1).astype("<i2").tobytes()
    lines = "".join(f"a.dat 16x4 200/mV 16 0 0 0 0 {lead}\n" for lead in ("II", "V5"))
    path = write_raw(tmp_path, "a 2 62.5 100\n" + lines, data)
    for said in ({}, {"rate_hz": 250}):
        opened = ep.open_recording(path, **said)  # type: ignore[arg-type]
        assert (opened.rate_hz, opened.duration_s) == (250, 1.6)
        np.testing.assert_allclose(opened.read(0.4, 0.8).signal, values[100:200].T / 200, rtol=1e-6)
    path = write_raw(tmp_path, "a 2 0 100\n" + lines, data)
    opened = ep.open_recording(path, rate_hz=250)
    assert (opened.rate_hz, opened.duration_s) == (250, 1.6)
    np.testing.assert_allclose(ep.read(path, rate_hz=250).signal, values.T / 200, rtol=1e-6)


# Tables


APPLE_KEYS = {
    "en": ("Recorded Date", "Classification", "Sample Rate,512 hertz", "Lead,Lead I", "Unit,µV"),
    "de": ("Aufzeichnungsdatum", "Klassifizierung", "Messrate,512\u00a0Hertz", "Ableitung,Ableitung I", "Einheit,µV"),
    "fr": ("Date", "Classification", "Fréquence d’échantillonnage,512 hertz", "Dérivation,Dérivation I", "Unité,µV"),
    "es": ("Fecha", "Clasificación", "Frecuencia de muestreo,512 hercios", "Derivación,Derivación I", "Unidad,µV"),
    "nl": ("Datum", "Classificatie", "Bemonsteringsfrequentie,512 hertz", "Afleiding,Afleiding I", "Eenheid,µV"),
    "fraction": ("Recorded Date", "Classification", "Sample Rate,511,422 hertz", "Lead,Lead I", "Unit,µV"),
}


@pytest.mark.parametrize("language", APPLE_KEYS)
@pytest.mark.parametrize("comma", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_an_apple_watch_export_of_any_language_is_whole(
    tmp_path: Path, language: str, comma: bool, encoding: str
) -> None:
    values = np.round(800 * beats(1024, rate_hz=512), 3)
    date, kind, rate, lead, unit = APPLE_KEYS[language]
    lines = [
        "Name",
        f"{date},2024-08-26 18:15:35 +0100",
        f"{kind},Sinus Rhythm",
        'Device,"Watch6,6"',
        rate,
        "",
        "",
        lead,
        unit,
        "",
    ]
    lines += [f"{value:g}".replace(".", "," if comma else ".") for value in values]
    path = tmp_path / "ecg.csv"
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    read = ep.read(path)
    assert (read.format, read.leads, read.units) == ("Apple Watch CSV", ("I",), ("µV",))
    assert read.rate_hz == (511.422 if language == "fraction" else 512)
    np.testing.assert_allclose(read.signal[0], values / 1e3, atol=1e-6)
    assert read.details["statements"] == "Sinus Rhythm"


def test_an_apple_watch_export_that_went_through_a_spreadsheet_is_whole(tmp_path: Path) -> None:
    for sep, quote in ((";", ""), (",", '"'), (";", '"')):
        lines = [
            f"Name{sep}",
            f"Messrate{sep}{quote}511,5 Hertz{quote}",
            sep,
            f"Ableitung{sep}Ableitung I",
            f"Einheit{sep}µV",
            "",
        ]
        lines += [f"{quote}{value}{quote}{sep if sep == ';' else ''}" for value in ("4,108", "-7,5", "12")]
        read = ep.read(written(tmp_path / "a.csv", "\n".join(lines) + "\n"))
        assert read.rate_hz == 511.5
        np.testing.assert_allclose(read.signal[0], [4.108e-3, -7.5e-3, 12e-3], atol=1e-7)


@pytest.mark.parametrize("bad", ["abc", "1,2,3", "Unit,µV", "1.2.3", "-"])
def test_a_line_that_is_no_number_is_an_error_with_its_line(tmp_path: Path, bad: str) -> None:
    text = "Sample Rate,512 hertz\n\nLead,Lead I\nUnit,µV\n\n" + "1\n2\n" + bad + "\n3\n"
    with pytest.raises(ReadError, match=r"line 8: .* is no number"):
        ep.read(written(tmp_path / "a.csv", text))
    mixed = "Sample Rate,512 hertz\n\nLead,Lead I\nUnit,µV\n\n1,5\n2.5\n"
    with pytest.raises(ReadError, match="decimal commas"):
        ep.read(written(tmp_path / "a.csv", mixed))


ROWS = np.round(np.stack([beats(50, 1.0, 50), beats(50, -0.7, 50)], axis=1), 4)


def lines(rows: np.ndarray, delimiter: str = ",", decimal: str = ".") -> list[str]:
    return [delimiter.join(f"{value:.4f}".replace(".", decimal) for value in row) for row in rows]


def table(name: str) -> str:
    plain = lines(ROWS)
    commas = lines(ROWS, ";", ",")
    return "\n".join(
        {
            "names": ["I,V1", *plain],
            "ends in a delimiter": ["I,V1", *(row + "," for row in plain)],
            "names end so too": ["I,V1,", *(row + "," for row in plain)],
            "row names of R": ['"I","V1"', *(f'"{n}",{row}' for n, row in enumerate(plain, 1))],
            "row names without quotes": ["I,V1", *(f"{n},{row}" for n, row in enumerate(plain, 1))],
            "semicolons": ["I;V1", *commas],
            "semicolons and time": [
                "time;I;V1",
                *(f"{n / 250:.3f};".replace(".", ",") + row for n, row in enumerate(commas)),
            ],
            "tabs and commas": ["I\tV1", *lines(ROWS, "\t", ",")],
            "physiobank": [
                "'Elapsed time','I','V1'",
                "'seconds','mV','mV'",
                *(f"{n / 250:.3f},{row}" for n, row in enumerate(plain)),
            ],
            "physiobank clock": [
                "'Elapsed time','I','V1'",
                "'hh:mm:ss.mmm','mV','mV'",
                *(f"'0:00.{4 * n:03}',{row}" for n, row in enumerate(plain)),
            ],
            "physiobank date": [
                "'Elapsed time','I','V1'",
                "'hh:mm:ss.mmm','mV','mV'",
                *(f"'[09:00:00.{4 * n:03} 01/02/1990]',{row}" for n, row in enumerate(plain)),
            ],
            "quoted commas": ['"I","V1"', *('"' + row.replace(";", '","') + '"' for row in commas)],
            "comments": ["# made", "I,V1", *plain[:20], "# a pause for coffee", *plain[20:]],
            "blank end": ["I,V1", *plain, "", "", ""],
            "index": [",I,V1", *(f"{n},{row}" for n, row in enumerate(plain))],
            "seconds": ["t,I,V1", *(f"{n * 0.004:.6f},{row}" for n, row in enumerate(plain))],
            "clock": ["time,I,V1", *(f"2024-05-01T10:00:00.{4 * n:03},{row}" for n, row in enumerate(plain))],
        }[name]
    )


@pytest.mark.parametrize(
    "name",
    ["names", "ends in a delimiter", "names end so too", "row names of R", "row names without quotes", "semicolons",
     "semicolons and time", "tabs and commas", "physiobank", "physiobank clock", "physiobank date", "quoted commas",
     "comments", "blank end", "index", "seconds", "clock"],
)  # fmt: skip
def test_tables_as_programs_write_them_are_right(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.csv", table(name))
    says = any(word in name for word in ("physio",))
    timed = says or any(word in name for word in ("time", "seconds", "clock"))
    read = ep.read(path, rate_hz=None if timed else 250, unit=None if says else "mV")
    assert (read.leads, read.rate_hz) == (("I", "V1"), 250)
    np.testing.assert_allclose(read.signal, ROWS.T, atol=1e-6)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_a_header_in_any_usual_encoding_gives_its_units(tmp_path: Path, encoding: str) -> None:
    text = "I [µV],V1 [µV]\n" + "\n".join(lines(ROWS * 1000))
    read = ep.read(written(tmp_path / "a.csv", text.encode(encoding)), rate_hz=250)
    np.testing.assert_allclose(read.signal, ROWS.T, atol=1e-4)


def test_the_log_of_a_chest_strap_is_read(tmp_path: Path) -> None:
    rows = []
    for n, value in enumerate(beats(260, 1, 130)):
        clock, ns = f"2023-05-15T12:34:{56 + n // 130:02}.{n % 73 * 13:03}", 599_618_164_814_402_784 + n * 7_692_308
        rows.append(f"{clock};{ns};{n * 7.692308:.6f};{round(1000 * value)}")
    text = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]\n" + "\n".join(rows)
    read = ep.read(written(tmp_path / "a.txt", text), {"ecg": "I"})
    assert (read.leads, read.rate_hz) == (("I",), 130)
    assert peak(read, "I") == pytest.approx(1, abs=0.02)


def test_a_rate_from_times_is_as_fractional_as_the_times(tmp_path: Path) -> None:
    for rate_hz, digits, expected in ((249.89, 7, 249.89), (360, 3, 360), (62.4725, 6, 62.4725), (250, 3, 250)):
        text = "time,I\n" + "\n".join(f"{n / rate_hz:.{digits}f},{n % 7}" for n in range(2000))
        assert ep.read(written(tmp_path / "a.csv", text), unit="mV").rate_hz == pytest.approx(expected, rel=1e-6)
    gap = "time,I\n" + "\n".join(f"{(n + (n > 500)) / 250:.3f},{n % 7}" for n in range(1000))
    with pytest.raises(ReadError, match="no evenly spaced time"):
        ep.read(written(tmp_path / "a.csv", gap), unit="mV")


def test_the_layout_of_ten_public_loaders_with_its_adc_zero(tmp_path: Path) -> None:
    rows = "\n".join(f"{n},{1024 + round(200 * a)},{1024 + round(200 * b)}" for n, (a, b) in enumerate(ROWS))
    path = written(tmp_path / "100.csv", "'sample #','MLII','V5'\n" + rows)
    read = ep.read(path, rate_hz=360, unit="5uV", zero=1024)
    assert read.leads == ("II", "V5")
    np.testing.assert_allclose(read.signal, ROWS.T, atol=2.6e-3)
    with pytest.raises(ReadError, match="zero = 1024 is declared"):
        ep.read(write_wfdb(tmp_path, "w", digital()), zero=1024)


def test_one_column_with_decimal_commas_is_never_two_leads(tmp_path: Path) -> None:
    values = np.round(beats(200) * 1.2345 - 0.2, 4)
    column = [f"{value:.4f}".rstrip("0").rstrip(".").replace(".", ",") for value in values]
    for whole in (False, True):
        path = written(tmp_path / "a.csv", "\n".join(c for c in column if whole or "," in c))
        with pytest.raises(ReadError):
            ep.read(path, rate_hz=200, unit="mV", leads=["I", "II"])
        kept = [v for v, c in zip(values, column, strict=True) if whole or "," in c]
        np.testing.assert_allclose(ep.read(path, rate_hz=200, unit="mV", leads=["I"]).signal[0], kept, atol=1e-6)
    path = written(tmp_path / "a.csv", "\n".join(f"{c},{c}" for c in column if "," in c))
    with pytest.raises(ReadError, match="decimal commas"):
        ep.read(path, rate_hz=200, unit="mV", leads=["I", "II", "V1", "V2"])
    named = written(tmp_path / "b.csv", "I\n" + "\n".join(column))
    np.testing.assert_allclose(ep.read(named, rate_hz=200, unit="mV").signal[0], values, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("I,V1\n1,2\n3,4\n5\n", "line 4: 1 cells, the first row has 2"),
        ("I,V1\n1,2\n3,4\n5,6,7\n8,9\n", "line 4: 3 cells"),
        ("I,V1\n1,2\n3,4\n\n5,6\n", "line 4: 1 cells"),
        ("I\n1\n2\n\n3\n", "line 4: empty"),
        ("I,V1\n1,2\n3,4\n5,six\n", "line 4: 'six' is no number"),
        ("I,V1,V2\n1,2\n3,4\n5,6\n", "2 cells, the line of names has 3"),
        ("time,I\n0,1,2\n1,2,3\n", "3 cells, the line of names has 2"),
        ("a,b\nc,d\ne,f\n", "text, and no table of numbers: 'c' in line 2 is none"),
        ("1,2\n3,4\n" * 30 + "5\n", "line 61: 1 cells"),
    ],
)
def test_a_short_row_or_a_word_is_an_error_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        ep.read(written(tmp_path / "a.csv", rows), rate_hz=250, unit="mV", leads=["I", "V1"])


@pytest.mark.parametrize(
    ("rows", "cell"),
    [
        ("I,V1\n1,-\n2,4\n3,5\n", "'-' in line 2"),
        ("I,V1\n0x10,1\n2,4\n3,5\n", "'0x10' in line 2"),
        ("x,1\n2,3\n4,5\n", "'x' in line 1"),
        ("0.5,x\n2,3\n4,5\n", "'x' in line 1"),
        ("I,V1\n1,2\nx,4\n5,6\n", "'x' in line 3"),
    ],
)
def test_a_first_row_with_a_cell_that_is_no_number_is_never_passed_over(tmp_path: Path, rows: str, cell: str) -> None:
    with pytest.raises(ReadError, match=f"{cell} is none"):
        ep.read(written(tmp_path / "a.csv", rows), rate_hz=250, unit="mV", leads=["I", "V1"])


@pytest.mark.parametrize(
    "rows",
    [
        ",0,1\n0,0.5,0.6\n1,0.7,0.8\n", "0,1\n0.5,0.6\n0.7,0.8\n", "  0.5   0.6\n  0.7   0.8\n", "0.5|0.6\n0.7|0.8\n",
        "sep=;\nI;V1\n0,5;0,6\n0,7;0,8\n", "I_mV,V1_mV\n0.5,0.6\n0.7,0.8\n", "500,600\n700,800\n",
        "I V1\n0,5 0,6\n0,7 0,8\n",
    ],
)  # fmt: skip
def test_names_of_pandas_blanks_and_what_a_spreadsheet_adds(tmp_path: Path, rows: str) -> None:
    unit = "uV" if "500" in rows else "mV"
    read = ep.read(written(tmp_path / "a.csv", rows), rate_hz=250, unit=unit, leads=["I", "V1"])
    np.testing.assert_allclose(read.signal, [[0.5, 0.7], [0.6, 0.8]], rtol=1e-6)


@given(
    rows=st.lists(st.tuples(*[st.floats(-5, 5).map(lambda v: round(v, 4))] * 3), min_size=3, max_size=30),
    delimiter=st.sampled_from([",", ";", "\t"]),
    comma=st.booleans(),
    names=st.booleans(),
)
@quick
def test_any_table_reads_as_it_was_written(
    rows: list[tuple[float, float, float]], delimiter: str, comma: bool, names: bool, tmp_path: Path
) -> None:
    decimal = "," if comma and delimiter != "," else "."
    body = lines(np.array(rows), delimiter, decimal)
    path = written(tmp_path / "a.csv", "\n".join([*([delimiter.join(["I", "II", "V1"])] if names else []), *body]))
    read = ep.read(path, rate_hz=250, unit="mV", leads=["I", "II", "V1"])
    held = read.signal[[read.leads.index(lead) for lead in ("I", "II", "V1")]]
    np.testing.assert_allclose(held, np.array(rows).T, atol=1e-4)


# Archives and folders


def test_what_a_mac_leaves_is_no_recording(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "f", "two", digital(2), ["I", "V1"])
    (tmp_path / "f" / "._two.hea").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (tmp_path / "f" / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (tmp_path / "f" / "__MACOSX").mkdir()
    (tmp_path / "f" / "__MACOSX" / "._two.hea").write_bytes(b"\x00\x05\x16\x07")
    assert list(reading.find(tmp_path / "f")) == [tmp_path / "f" / "two.hea"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted((tmp_path / "f").rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path / "f"))
    assert ep.read(tmp_path / "a.zip").leads == ("I", "V1")
    assert [str(path) for path in reading.find(tmp_path / "a.zip")] == [f"{tmp_path}/a.zip::two.hea"]


def test_an_archive_of_many_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(8):
            archive.writestr(f"{n}.csv", "1\n2\n3\n4\n")
    count = []
    whole = archives._unpack
    monkeypatch.setattr(archives, "_unpack", lambda *args: (count.append(1), whole(*args))[1])
    for path in reading.find(tmp_path / "a.zip"):
        assert ep.read(path, rate_hz=100, unit="mV", leads=["I"]).path == path
    assert len(count) == 1
    folders = {entry.folder for entry in archives._kept}
    assert len(folders) == 1
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x.csv", "1\n2\n3\n")
        archive.writestr("y.csv", "1\n2\n3\n")
    assert len(list(reading.find(tmp_path / "b.zip"))) == 2
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(ReadError, match=r"no recording 'z\.csv'"):
        ep.read(f"{tmp_path}/b.zip::z.csv")


def test_a_worker_process_leaves_the_archives_of_its_parent_alone(tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(2):
            archive.writestr(f"{n}.csv", "1\n2\n3\n4\n")
    paths = [str(path) for path in reading.find(tmp_path / "a.zip")]
    mine = archives._kept[0].folder
    with ProcessPoolExecutor(1) as pool:
        theirs = pool.submit(_folder_of, paths[0]).result()
    assert mine.is_dir()
    assert theirs != str(mine)
    assert not Path(theirs).exists()


def _folder_of(path: str) -> str:
    ep.read(path, rate_hz=100, unit="mV", leads=["I"])
    return str(archives._kept[0].folder)


@pytest.mark.parametrize("name", ["a.csv", "a.dat", "a", "a.edf", "a.zip"])
def test_a_pipe_is_refused_and_not_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ReadError, match="pipe, socket or device"):
        ep.read(tmp_path / name)
    assert list(reading.find(tmp_path / name)) == [tmp_path / name]
    with pytest.raises(ReadError, match="no recording below"):
        list(reading.find(tmp_path))


@pytest.mark.parametrize("fmt", ["16", "212", "24"])
def test_a_pipe_as_signal_file_is_refused(tmp_path: Path, fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(2), ["I", "V1"], fmt=fmt)
    path.with_suffix(".dat").unlink()
    os.mkfifo(path.with_suffix(".dat"))
    with pytest.raises(ReadError, match=r"its signal file r\.dat does not exist"):
        ep.read(path)


def test_what_is_not_there_and_folders_are_named_as_they_were_given(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"/x\.csv: no such file"):
        ep.read(tmp_path / "x.csv")
    with pytest.raises(ReadError, match="a folder; name a recording in it"):
        ep.read(tmp_path)
    (tmp_path / "rec").mkdir()
    write_wfdb(tmp_path, "rec", digital())
    assert ep.read(tmp_path / "rec").leads == ("I",)


def test_an_interval_of_7_8_ms_is_no_whole_rate(tmp_path: Path) -> None:
    sampled = {"origin": {"value": 0, "unit": "mV"}, "period": 7.8, "factor": 1, "dimensions": 1, "data": "1 2 3 E"}
    component = [{"code": {"coding": [{"display": "MDC_ECG_LEAD_X"}]}, "valueSampledData": sampled}]
    path = written(tmp_path / "a.json", json.dumps({"resourceType": "Observation", "component": component}))
    assert (ep.read(path).rate_hz, ep.read(path).leads) == (1000 / 7.8, ("VX",))


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"), (b"MATLAB 5.0 MAT-file" + bytes(300), "MATLAB"), (b"%PDF-1.4", "PDF"),
     (b"PAR1" + bytes(50), "Parquet"), (b"\x80\x04\x95" + bytes(50), "pickle"), (b"\x89PNG\r\n" + bytes(9), "PNG")],
)  # fmt: skip
def test_what_people_also_have_is_named(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(ReadError, match=name):
        ep.read(written(tmp_path / "a", content))


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "<NA>", "-1.#IND", "#N/A", "1e999"])
@pytest.mark.parametrize("comment", ["", "# a remark\n"])  # with one, lines are read one by one
def test_a_cell_that_is_no_number_is_refused_however_the_table_is_read(tmp_path: Path, cell: str, comment: str) -> None:
    rows = "".join(f"{n / 250},0.{n % 7}\n" for n in range(500))
    path = tmp_path / "ecg.csv"
    path.write_text(f"time,I\n{rows}{comment}2,{cell}\n")
    with pytest.raises(ReadError, match=r"is no number|infinite"):
        ep.read(path, unit="mV")


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "NA", "n/a", "N/A", "null", "None"])
def test_a_cell_that_says_missing_is_missing_however_the_table_is_read(tmp_path: Path, cell: str) -> None:
    rows = "".join(f"{n / 250},0.{n % 7}\n" for n in range(500))
    for comment in ("", "# a remark\n"):
        (tmp_path / "ecg.csv").write_text(f"time,I\n{rows}{comment}2,{cell}\n")
        assert np.isnan(ep.read(tmp_path / "ecg.csv", unit="mV").signal).sum() == 1


def test_zero_is_declared_of_a_table_alone_in_open_recording_too(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "a", np.arange(500)[:, None] % 9)
    for read in (ep.read, ep.open_recording):
        with pytest.raises(ReadError, match="only a table can leave it open"):
            read(path, zero=3.0)
