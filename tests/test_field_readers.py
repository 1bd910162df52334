"""Recordings as people really have them: the right value, or one line that says what to declare. Each is made here."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism import archives
from ecgprism.ecg.metadata import demographics
from ecgprism.errors import ReadError
from ecgprism.formats import reading
from tests.field_files import written
from tests.records import digital, write_raw, write_wfdb


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
        opened = ep.open_recording(path, **said)
        assert (opened.rate_hz, opened.duration_s) == (250, 1.6)
        np.testing.assert_allclose(opened.read(0.4, 0.8).signal, values[100:200].T / 200, rtol=1e-6)
    path = write_raw(tmp_path, "a 2 0 100\n" + lines, data)
    opened = ep.open_recording(path, rate_hz=250)
    assert (opened.rate_hz, opened.duration_s) == (250, 1.6)
    np.testing.assert_allclose(ep.read(path, rate_hz=250).signal, values.T / 200, rtol=1e-6)


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


def test_zero_is_declared_of_a_table_alone_in_open_recording_too(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "a", np.arange(500)[:, None] % 9)
    for read in (ep.read, ep.open_recording):
        with pytest.raises(ReadError, match="only a table can leave it open"):
            read(path, zero=3.0)
