"""What is declared of a file: leads by name and position, one JSON for a folder, limb leads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ecgprism as ep
from ecgprism.ecg.leads import canonical_lead
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.units import millivolts
from ecgprism.errors import ReadError
from ecgprism.formats import reading
from ecgprism.formats.contract import with_limb_leads
from tests.field_files import RATE_HZ, beats, edf, peak, written
from tests.records import digital, write_raw, write_wfdb


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
        read = ep.read(path, **said)
        assert read.leads == ("II", "V1")
        assert (peak(read, "II"), peak(read, "V1")) == (pytest.approx(1, abs=0.01), pytest.approx(0.7, abs=0.01))
        opened = ep.open_recording(path, **said)
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
