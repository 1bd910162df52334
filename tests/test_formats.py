"""Reading WFDB: our fast decoder against the wfdb package, what headers may say, and every refusal in one line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS, STANDARD_LEADS, canonical_lead
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import reading
from ecgprism.formats.wfdb import read_header

from .records import GAIN, digital, physical, write_raw, write_wfdb

#: eight samples of one signal, and a header of one line that describes them
SAMPLES = np.array([1, -2, 3, 400, -500, 6, 7, -8], dtype="<i2")
LINE = "a.dat 16 200/mV 16 0 1 0 0 I"


def header(*lines: str, record: str | None = None) -> str:
    return "\n".join([record or f"a {len(lines)} 100 {len(SAMPLES) // max(len(lines), 1)}", *lines, ""])


def raw(folder: Path, *lines: str, record: str | None = None, data: bytes | None = SAMPLES.tobytes()) -> Path:
    return write_raw(folder, header(*lines, record=record), data)


def refusal(path: Path, names: str | None = None) -> str:
    """The message of the ReadError, after checking that it is one line that names the file."""
    with pytest.raises(ReadError) as caught:
        reading.read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path.parent / (names or path.name)) + ": ")
    return message


def same(signal: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Equal to the last bit of float32, NaN in the same places."""
    assert signal.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(signal), np.isnan(expected))
    recorded = ~np.isnan(expected)
    assert recorded.any() or not expected.size or np.isnan(signal).all()
    if recorded.any():
        np.testing.assert_array_max_ulp(signal[recorded], expected[recorded].astype(np.float32), maxulp=1)


# --- the fast decoder against the wfdb package


@st.composite
def format_16(draw: st.DrawFn) -> dict[str, object]:
    n = draw(st.integers(1, 12))
    samples = draw(st.integers(1, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reach = draw(st.sampled_from([1, 100, 32_767]))
    values = rng.integers(-reach, reach + 1, size=(samples, n))
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))] = -32768
    gain = st.one_of(st.sampled_from([1.0, 200.0, 1000.0, 204.8]), st.floats(0.01, 1e6))
    return {
        "values": values,
        "leads": draw(st.permutations(LEADS))[:n],
        "gains": draw(st.lists(gain, min_size=n, max_size=n)),
        "baselines": draw(st.lists(st.integers(-32768, 32767), min_size=n, max_size=n)),
        "rate_hz": draw(st.sampled_from([100, 128, 257, 360, 500, 1000])),
    }


@settings(deadline=None, max_examples=60)
@given(format_16())
def test_the_fast_decoder_equals_the_wfdb_package(record: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_wfdb(Path(folder), "r", **record)
        read, said = reading.wfdb.read(path), wfdb.rdheader(str(path))
        same(read.signal, physical(path))
        assert read.leads == tuple(record["leads"])
        assert read.rate_hz == record["rate_hz"]
        written = [None if total == 0 else total for total in said.checksum]
        assert [channel.checksum for channel in read_header(path.with_suffix(".hea")).channels] == written


def test_format_16_is_decoded_without_the_wfdb_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = write_wfdb(tmp_path, "fast", digital(2), ["I", "V1"])
    slow = write_wfdb(tmp_path, "slow", digital(2), ["I", "V1"], fmt="24")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("the wfdb package was asked")

    monkeypatch.setattr(wfdb, "rdrecord", refuse)
    assert reading.read(fast).signal.shape == (2, 200)
    with pytest.raises(ReadError, match=r"not readable as WFDB \(RuntimeError: the wfdb package was asked\)"):
        reading.read(slow)


def test_a_sample_of_minus_32768_is_not_recorded_whatever_the_baseline(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "r", np.array([[-32768], [-32767], [32767]]), baselines=-32768, gains=1.0)
    np.testing.assert_array_equal(reading.read(path).signal, np.float32([[np.nan, 1, 65535]]))


@pytest.mark.parametrize("fmt", ["24", "32", "80", "212", "516", "524"])
def test_other_storage_formats_equal_the_wfdb_package(tmp_path: Path, fmt: str) -> None:
    values = digital(3, 101) // (8 if fmt == "80" else 1)
    path = write_wfdb(
        tmp_path, "r", values, ["V6", "aVR", "I"], fmt=fmt, baselines=[3, -5, 0], gains=[200.0, 50.0, 1e3]
    )
    read = reading.read(path)
    same(read.signal, physical(path))
    np.testing.assert_allclose(read.signal[0], (values[:, 0] - 3) / 200, rtol=1e-6)
    assert (read.leads, read.signal.shape) == (("V6", "aVR", "I"), (3, 101))


@pytest.mark.parametrize("fmt", ["8", "61", "160", "310", "311"])
def test_storage_formats_that_wfdb_only_reads_equal_the_wfdb_package(tmp_path: Path, fmt: str) -> None:
    data = bytes(range(7, 7 + 48))
    samples = {"8": 48, "61": 24, "160": 24, "310": 36, "311": 36}[fmt]
    path = raw(tmp_path, f"a.dat {fmt} 200/mV 10 0 0 0 0 II", record=f"a 1 100 {samples}", data=data)
    read = reading.read(path)
    assert read.signal.shape == (1, samples)
    same(read.signal, physical(path.with_suffix("")))


def test_a_sample_of_minus_2048_in_format_212_is_not_recorded(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "r", np.array([[5], [-2048], [7], [8]]), fmt="212", gains=1.0)
    np.testing.assert_array_equal(reading.read(path).signal, np.float32([[5, np.nan, 7, 8]]))


def test_signals_in_two_files_equal_the_wfdb_package(tmp_path: Path) -> None:
    SAMPLES.tofile(tmp_path / "b.dat")
    path = raw(tmp_path, LINE, "b.dat 16 100/mV 16 0 1 0 0 V1", record="a 2 100 8")
    read = reading.read(path)
    same(read.signal, physical(path.with_suffix("")))
    np.testing.assert_allclose(read.signal[1], 2 * read.signal[0])


def test_two_formats_in_two_files_equal_the_wfdb_package(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "r", digital(2), ["I", "V1"], fmt=["16", "212"])
    same(reading.read(path).signal, physical(path))


@pytest.mark.parametrize("fmt", ["16", "24", "212"])
def test_signals_of_several_frequencies_come_at_their_own_rate_and_the_others_are_named(
    tmp_path: Path, fmt: str
) -> None:
    rng = np.random.default_rng(0)
    one, two, resp = (rng.integers(-900, 900, n) for n in (400, 400, 100))
    wfdb.wrsamp(
        "r", fs=62.5, units=["mV"] * 3, sig_name=["II", "V5", "I"], e_d_signal=[one, two, resp],
        samps_per_frame=[4, 4, 1], fmt=[fmt] * 3, adc_gain=[GAIN] * 3, baseline=[0, 0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    read, opened = reading.read(tmp_path / "r"), reading.open_recording(tmp_path / "r")
    assert (read.rate_hz, read.leads) == (250, ("II", "V5"))
    np.testing.assert_allclose(read.signal, np.stack([one, two]) / GAIN, rtol=1e-6)
    assert read.skipped == ("I (62.5 Hz, the leads that were read have 250 Hz)",)
    assert (opened.rate_hz, opened.duration_s) == (250, 1.6)
    np.testing.assert_allclose(opened.read(0.4, 0.8).signal, np.stack([one, two])[:, 100:200] / GAIN, rtol=1e-6)
    chosen = reading.read(tmp_path / "r", leads=["I"])
    assert (chosen.rate_hz, chosen.leads) == (62.5, ("I",))
    np.testing.assert_allclose(chosen.signal[0], resp / GAIN, rtol=1e-6)


def test_a_record_of_several_segments_equals_the_wfdb_package(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "s1", digital(2, 60, seed=1), ["I", "V1"])
    write_wfdb(tmp_path, "s2", digital(2, 40, seed=2), ["I", "V1"])
    path = write_raw(tmp_path, "whole/2 2 100 100\ns1 60\ns2 40\n", name="whole")
    read = reading.read(path)
    assert read.signal.shape == (2, 100)
    same(read.signal, np.concatenate([physical(tmp_path / "s1"), physical(tmp_path / "s2")], axis=1))


def test_a_byte_offset_skips_the_prolog_of_the_signal_file(tmp_path: Path) -> None:
    path = raw(tmp_path, LINE.replace(" 16 ", " 16+24 ", 1), data=b"\xff" * 24 + SAMPLES.tobytes())
    np.testing.assert_allclose(reading.read(path).signal[0], SAMPLES / 200, rtol=1e-6)


@pytest.mark.parametrize("name", ["a", "a.hea", "a.dat"])
def test_a_record_may_be_named_with_or_without_suffix(tmp_path: Path, name: str) -> None:
    raw(tmp_path, LINE)
    assert reading.read(str(tmp_path / name)).path == tmp_path / "a.hea"


def test_a_record_name_with_dots_is_not_cut(tmp_path: Path) -> None:
    write_raw(tmp_path, header(LINE.replace("a.dat", "p.1.dat")), name="p.1")
    (tmp_path / "p.1.dat").write_bytes(SAMPLES.tobytes())
    assert reading.read(tmp_path / "p.1").signal.shape == (1, 8)
    assert reading.read(tmp_path / "p.1.hea").signal.shape == (1, 8)


# --- what a header may say


@pytest.mark.parametrize(
    ("unit", "factor"), [("mV", 1), ("MV", 1), ("uV", 1e-3), ("µV", 1e-3), ("V", 1e3), ("nV", 1e-6), ("", 1)]
)
@pytest.mark.parametrize("fmt", ["16", "24"])
def test_every_unit_of_voltage_becomes_millivolts(tmp_path: Path, unit: str, factor: float, fmt: str) -> None:
    samples = SAMPLES if fmt == "16" else np.repeat(SAMPLES, 1)
    data = SAMPLES.tobytes() if fmt == "16" else b"".join(int(s).to_bytes(3, "little", signed=True) for s in samples)
    gain = f"4/{unit}" if unit else "4"
    path = raw(tmp_path, f"a.dat {fmt} {gain} 16 0 1 0 0 I", data=data)
    np.testing.assert_allclose(reading.read(path).signal[0], SAMPLES / 4 * factor, rtol=1e-6)


@pytest.mark.parametrize("fmt", ["16", "24"])
@pytest.mark.parametrize("unit", ["mmHg", "NU", "mv/s", "m"])
def test_an_unknown_unit_of_a_lead_is_refused(tmp_path: Path, unit: str, fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(), units=unit, fmt=fmt).with_suffix(".hea")
    assert f"lead I has unit {unit!r}" in refusal(path)


@pytest.mark.parametrize("fmt", ["16", "212"])
@pytest.mark.parametrize("gain", ["0", "0.0/mV", "0(5)/mV", None])
def test_an_uncalibrated_lead_is_refused(tmp_path: Path, gain: str | None, fmt: str) -> None:
    line = f"a.dat {fmt} {gain} 16 0 0 0 0 I" if gain else f"a.dat {fmt}"
    samples = {"16": 8, "212": 10}[fmt]
    path = raw(tmp_path, line, record=f"a 1 100 {samples}", data=SAMPLES.tobytes()[: 16 if fmt == "16" else 15])
    message = refusal(path)
    assert ("uncalibrated (gain 0 or missing)" if gain else "no channel is a known ECG lead") in message


def test_a_negative_gain_turns_the_signal(tmp_path: Path) -> None:
    path = raw(tmp_path, LINE.replace("200/mV", "-200/mV"))
    np.testing.assert_allclose(reading.read(path).signal[0], SAMPLES / -200, rtol=1e-6)


def test_without_a_baseline_the_adc_zero_is_the_baseline(tmp_path: Path) -> None:
    path = raw(tmp_path, "a.dat 16 200/mV 16 50 1 0 0 I")
    same(reading.read(path).signal, physical(path.with_suffix("")))
    np.testing.assert_allclose(reading.read(path).signal[0], (SAMPLES - 50.0) / 200, rtol=1e-6)


def test_channels_that_are_no_lead_are_skipped_and_named_and_need_no_known_unit(tmp_path: Path) -> None:
    values = digital(3)
    leads, units, gains = ["RESP", "II", "ABP inv"], ["pm", "mV", "mmHg"], [1.0, GAIN, 0.5]
    read = reading.read(write_wfdb(tmp_path, "r", values, leads, units=units, gains=gains))
    assert (read.leads, read.skipped) == (("II",), ("RESP", "ABP inv"))
    np.testing.assert_allclose(read.signal[0], values[:, 1] / GAIN, rtol=1e-6)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_record_without_any_lead_is_refused_with_its_channels(tmp_path: Path, fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(2), ["RESP", "v99"], fmt=fmt).with_suffix(".hea")
    message = refusal(path)
    assert "no channel is a known ECG lead (channels: 'RESP', 'v99')" in message
    assert "--lead RESP=I" in message


@pytest.mark.parametrize("leads", [["II", "MLII"], ["ECG V1", "MDC_ECG_LEAD_V1"]])
@pytest.mark.parametrize("fmt", ["16", "24"])
def test_one_lead_twice_is_refused(tmp_path: Path, leads: list[str], fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(2), leads, fmt=fmt).with_suffix(".hea")
    assert f"lead {canonical_lead(leads[0])} is there more than once" in refusal(path)


@pytest.mark.parametrize(
    ("comments", "metadata"),
    [
        (["Age: 74", "Sex: Male"], {"age": 74.0, "sex": "male"}),
        (["<age>: 6.5", "<sex>: F"], {"age": 6.5, "sex": "female"}),
        (["age:81", "SEX: female", "Dx: 1"], {"age": 81.0, "sex": "female"}),
        (["Age: NaN", "Sex: Unknown"], {}),
        (["Age: Unknown", "sex: m"], {"sex": "male"}),
        (["75 F 1011 654 x1", "Package: 5", "Stage: 4"], {}),
        ([], {}),
    ],
)
def test_age_and_sex_are_read_from_the_comments_where_they_are_given(
    tmp_path: Path, comments: list[str], metadata: dict[str, float | str]
) -> None:
    for fmt in ("16", "24"):
        assert reading.read(write_wfdb(tmp_path, f"r{fmt}", digital(), fmt=fmt, comments=comments)).metadata == metadata


def test_comments_may_stand_anywhere_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    text = header("#Age: 5", LINE, "# Sex: M", record="a 1 100/1000(5) 8 12:30:00 1/2/2003").replace("\n", "\r\n")
    read = reading.read(write_raw(tmp_path, "\r\n# one\r\n" + text, SAMPLES.tobytes()))
    assert (read.rate_hz, read.metadata, read.signal.shape) == (100, {"age": 5.0, "sex": "male"}, (1, 8))


def test_a_header_without_rate_means_250_hz(tmp_path: Path) -> None:
    assert reading.read(raw(tmp_path, LINE, record="a 1")).rate_hz == 250


@pytest.mark.parametrize(("fmt", "record"), [("16", "a 1 100"), ("16", "a 1 100 0"), ("24", "a 1 100")])
def test_a_header_may_leave_the_number_of_samples_open_or_zero(tmp_path: Path, fmt: str, record: str) -> None:
    data = SAMPLES.tobytes() if fmt == "16" else bytes(24)
    path = raw(tmp_path, LINE.replace(" 16 ", f" {fmt} ", 1), record=record, data=data)
    assert reading.read(path).signal.shape == (1, 8)


# --- refusals


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_truncated_signal_file_is_refused(tmp_path: Path, fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(2, 50), ["I", "V1"], fmt=fmt)
    data = path.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-12])
    if fmt == "16":
        message = refusal(path.with_suffix(".hea"), "r.dat")
        assert "truncated" in message
        assert "the header says 50 samples of 2 signals, it holds 47" in message
    else:
        assert "is truncated: the header says 50 samples, the signal files hold 48" in refusal(path.with_suffix(".hea"))


def test_a_signal_file_that_ends_inside_a_sample_is_refused(tmp_path: Path) -> None:
    assert "ends inside a sample" in refusal(raw(tmp_path, LINE, data=SAMPLES.tobytes() + b"x"), "a.dat")
    no_length = raw(tmp_path, LINE, record="a 1 100", data=SAMPLES.tobytes() + b"x")
    assert "ends inside a sample" in refusal(no_length, "a.dat")


@pytest.mark.parametrize("data", [b"", b"prolog"])
def test_an_empty_signal_file_is_refused(tmp_path: Path, data: bytes) -> None:
    line = LINE.replace(" 16 ", f" 16+{len(data)} ", 1)
    assert "an empty signal file" in refusal(raw(tmp_path, line, data=data), "a.dat")
    assert "an empty signal file" in refusal(raw(tmp_path, line, record="a 1 100", data=data), "a.dat")


def test_a_missing_signal_file_is_refused(tmp_path: Path) -> None:
    path = raw(tmp_path, LINE, data=None)
    assert "its signal file a.dat does not exist" in refusal(path)
    (tmp_path / "a.dat").mkdir()
    assert "its signal file a.dat does not exist" in refusal(path)


@pytest.mark.parametrize("fmt", ["24", "212"])
def test_a_missing_or_empty_signal_file_of_another_format_is_refused(tmp_path: Path, fmt: str) -> None:
    path = raw(tmp_path, LINE.replace(" 16 ", f" {fmt} ", 1), data=None)
    assert "its signal file a.dat does not exist" in refusal(path)
    (tmp_path / "a.dat").touch()
    assert "an empty signal file" in refusal(path, "a.dat")


def test_a_signal_file_longer_than_the_header_says_is_refused(tmp_path: Path) -> None:
    message = refusal(raw(tmp_path, LINE, data=SAMPLES.tobytes() * 2), "a.dat")
    assert "longer than said" in message
    assert "the header says 8 samples of 1 signals, it holds 16" in message


def test_a_wrong_checksum_names_the_lead_and_both_sums(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "r", digital(2, 50), ["I", "V1"])
    data = bytearray(path.with_suffix(".dat").read_bytes())
    data[2] ^= 1  # the lowest bit of the first sample of II
    path.with_suffix(".dat").write_bytes(data)
    said = wfdb.rdheader(str(path)).checksum[1]
    held = int(np.frombuffer(bytes(data), "<i2").reshape(50, 2)[:, 1].sum()) & 0xFFFF
    message = refusal(path.with_suffix(".hea"), "r.dat")
    assert f"signal V1 have checksum {held}, the header says {said}" in message
    assert held != said


def test_a_checksum_may_be_written_as_a_negative_number(tmp_path: Path) -> None:
    total = int(SAMPLES.sum())
    assert total < 0
    assert reading.read(raw(tmp_path, LINE.replace(" 0 1 0 0 ", f" 0 1 {total} 0 "))).signal.shape == (1, 8)
    assert "checksum" in refusal(raw(tmp_path, LINE.replace(" 0 1 0 0 ", f" 0 1 {total - 1} 0 ")), "a.dat")


@pytest.mark.parametrize("fmt", ["24", "32", "80", "212", "516"])
def test_a_wrong_checksum_is_refused_in_other_storage_formats_too(tmp_path: Path, fmt: str) -> None:
    path = write_wfdb(tmp_path, "r", digital(2, 50) // 8, ["I", "V1"], fmt=fmt).with_suffix(".hea")
    said = str(wfdb.rdheader(str(path.with_suffix(""))).checksum[1])
    path.write_text(path.read_text().replace(f" {said} 0 V1", f" {int(said) + 1} 0 V1"))
    assert "checksum" in refusal(path)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((LINE,), "announces 2 signals and describes 1"),
        ((), "announces 2 signals and describes 0"),
        (("# a comment", LINE), "announces 2 signals and describes 1"),
    ],
)
def test_fewer_signal_lines_than_announced_are_refused(tmp_path: Path, lines: tuple[str, ...], problem: str) -> None:
    assert problem in refusal(raw(tmp_path, *lines, record="a 2 100 4"))


@pytest.mark.parametrize("rate", ["0", "-100", "19.9", "50001", "1e9", "nan", "inf", "-inf", "0/0"])
@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_rate_that_no_ecg_has_is_refused(tmp_path: Path, rate: str, fmt: str) -> None:
    path = raw(tmp_path, LINE.replace(" 16 ", f" {fmt} ", 1), record=f"a 1 {rate} 8", data=bytes(24))
    assert "Hz; expected 20 to 50000 Hz" in refusal(path)


@pytest.mark.parametrize("rate", ["20", "50000"])
def test_the_lowest_and_the_highest_rate_are_read(tmp_path: Path, rate: str) -> None:
    assert reading.read(raw(tmp_path, LINE, record=f"a 1 {rate} 8")).rate_hz == float(rate)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n\n", "# only a comment\n", "a\n", "a one 100 8\n", "a 1 fast 8\n", "a 1 100 many\n", "a 0 100 8\n",
        "a -1 100 8\n", header("a.dat"), header("a.dat sixteen 200/mV"), header("a.dat 16 loud/mV"),
        header("a.dat 16 e/mV"), header("a.dat 16 200(x)/mV"), header("a.dat 16 200/mV 16 zero"),
        header("a.dat 16 200/mV 16 0 0 sum 0 I"), header("a.dat 999 200/mV 16 0 0 0 0 I"), "a/x 1 100 8\n",
        "a/-1 1 100 8\n", "a/2 1 100 8\n", "a/2 1 100 8\nb 4\nc 4\n", "\x00\x00\x00\x00",
    ],
)  # fmt: skip
def test_what_is_no_header_is_refused(tmp_path: Path, text: str) -> None:
    refusal(write_raw(tmp_path, text, SAMPLES.tobytes()))


def test_a_missing_header_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.hea") == f"{tmp_path}/none.hea: no such file"
    with pytest.raises(ReadError, match=r"none\.hea: no such file"):
        reading.read(tmp_path / "none")
    (tmp_path / "folder.hea").mkdir()
    refusal(tmp_path / "folder.hea")


@pytest.mark.parametrize("path", ["", "/", "."])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(ReadError):
        reading.read(path)


@pytest.mark.parametrize("file", ["sub/a.dat", "/a.dat", ".", "..", "x" * 300, "a\x00.dat", "~"])
@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_signal_file_by_an_impossible_name_is_refused(tmp_path: Path, file: str, fmt: str) -> None:
    refusal(raw(tmp_path, f"{file} {fmt} 200/mV 16 0 0 0 0 I"))


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_baseline_beyond_every_float_is_refused(tmp_path: Path, fmt: str) -> None:
    refusal(raw(tmp_path, f"a.dat {fmt} 200({'9' * 400})/mV 16 0 0 0 0 I", data=bytes(16 if fmt == "16" else 24)))


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_channel_without_a_name_is_no_lead(tmp_path: Path, fmt: str) -> None:
    path = raw(tmp_path, f"a.dat {fmt} 200/mV 16 0 0 0 0", data=SAMPLES.tobytes() if fmt == "16" else bytes(24))
    assert "no channel is a known ECG lead" in refusal(path)


def test_a_file_that_fails_while_it_is_read_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = raw(tmp_path, LINE)

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(np, "fromfile", fail)
    with pytest.raises(ReadError, match=r"a\.(dat|hea): .*Input/output error"):
        reading.read(path)


TOKENS = [
    "a", "a/1", "a/2", "a.dat", "x/a.dat", ".", "~", "0", "1", "2", "4", "8", "-1", "100", "1e3", "1e999", "nan",
    "0x10", "16", "16x2", "16:1", "16+2", "16+99", "212", "8", "80", "310", "24", "61", "508", "200/mV", "200(0)/mV",
    "0/mV", "1e-300/mV", "1e300/V", "-/mV", "e", "mV", "I", "ECG", "II", "#", "# Age: 5", "9" * 400, "x" * 300, "\x00",
    "é", "100/2(3)", "100(",
]  # fmt: skip
HEADERISH = st.lists(st.lists(st.sampled_from(TOKENS), max_size=10).map(" ".join), max_size=4).map("\n".join)
SIGNAL_LINES = st.builds(
    lambda file, fmt, gain, rest: f"{file} {fmt} {gain} {rest}",
    st.sampled_from(["a.dat", "b.dat", "x/a.dat"]),
    st.sampled_from(["16", "16x2", "16:3", "16+2", "212", "80", "8", "24", "310", "311", "61", "160", "32", "999"]),
    st.sampled_from(["200/mV", "1e-300/mV", "0", "200(7)/uV", "200/X", f"200({'9' * 400})", "e/mV"]),
    st.sampled_from(
        ["16 0 1 0 0 I", "16 0 1 0 0 II", "16 0 1 5 0 I", "16 0 1 0 0", "16 0 1 0 0 ECG", "", "9 9 9 9 9 I"]
    ),
)
RECORD_LINES = st.builds(
    "a {} {} {}".format,
    st.integers(0, 3),
    st.sampled_from([100, "nan", "500/1"]),
    st.sampled_from([*range(10), "", 10**13]),
)
NEARLY = st.builds(
    lambda record, lines: "\n".join([record, *lines]),
    RECORD_LINES,
    st.lists(SIGNAL_LINES, max_size=3),
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    text=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode("utf-8", "replace")),
                   HEADERISH.map(str.encode), NEARLY.map(str.encode)),
    data=st.binary(max_size=40),
)  # fmt: skip
@example(text=header("x/a.dat 16 200/mV 16 0 0 0 0 I").encode(), data=SAMPLES.tobytes())
@example(text=header("a.dat 24 200/mV 16 0 0 0 0").encode(), data=bytes(24))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_header_gives_a_recording_or_one_line_and_nothing_else(text: bytes, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_raw(Path(folder), text, data)
        try:
            read = reading.read(path)
        except ReadError as error:
            assert len(str(error).splitlines()) == 1
            assert folder in str(error)
        else:
            assert isinstance(read, Recording)
            assert read.signal.shape == (len(read.leads), read.signal.shape[1])


# --- folders and leads


def test_find_yields_the_headers_of_a_folder_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b/2.hea", "a.hea", "b/1.hea", "b/1.dat", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(reading.find(tmp_path)) == [tmp_path / name for name in ("a.hea", "b/1.hea", "b/2.hea")]
    assert list(reading.find(str(tmp_path / "b"))) == [tmp_path / "b/1.hea", tmp_path / "b/2.hea"]


def test_find_yields_what_is_no_folder_as_it_stands(tmp_path: Path) -> None:
    assert list(reading.find(tmp_path / "record")) == [tmp_path / "record"]
    assert list(reading.find(str(tmp_path / "a.hea"))) == [tmp_path / "a.hea"]


def test_find_refuses_a_folder_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(ReadError, match=r"no recording below this folder"):
        list(reading.find(tmp_path))


@pytest.mark.parametrize(
    ("spelling", "lead"),
    [
        *((lead, lead) for lead in LEADS),
        *((lead.upper(), lead) for lead in STANDARD_LEADS),
        *((lead.lower(), lead) for lead in STANDARD_LEADS),
        ("aVR", "aVR"), ("AVR", "aVR"), ("avr", "aVR"), ("Avl", "aVL"), (" II ", "II"), ("ECG I", "I"),
        ("ECG_V2", "V2"), ("ecg-avf", "aVF"), ("Lead III", "III"), ("lead_v1", "V1"), ("MLII", "II"),
        ("MDC_ECG_LEAD_V1", "V1"), ("MDC_ECG_LEAD_AVR", "aVR"), ("v3r", "V3R"), ("vx", "VX"),
        ("mli", "I"), ("MLIII", "III"),
    ],
)  # fmt: skip
def test_a_lead_is_known_by_its_usual_spellings(spelling: str, lead: str) -> None:
    assert canonical_lead(spelling) == lead


@pytest.mark.parametrize(
    "name", ["", " ", "ECG", "ECG1", "lead", "V", "V10", "V0", "IV", "IIII", "I II", "MLV1", "RESP", "aV", "VR", "X"]
)
def test_what_is_no_lead_is_not_guessed(name: str) -> None:
    assert canonical_lead(name) is None


def test_aliases_come_first_and_hold_for_their_exact_spelling() -> None:
    assert canonical_lead("ECG", {"ECG": "I"}) == "I"
    assert canonical_lead(" ECG ", {"ECG": "I"}) == "I"
    assert canonical_lead("ecg", {"ECG": "I"}) is None
    assert canonical_lead("II", {"II": "V5"}) == "V5"
    assert canonical_lead("II", {"ECG": "I"}) == "II"


def test_aliases_given_to_read_make_leads_of_channels(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "r", digital(2), ["ECG", "Ch 2"])
    read = reading.read(path, {"ECG": "I", "Ch 2": "V5"})
    assert (read.leads, read.skipped) == (("I", "V5"), ())
    assert reading.read(path, {"Ch 2": "V5"}).skipped == ("ECG",)


def test_an_alias_to_no_lead_is_refused(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, "r", digital(1), ["ECG"])
    with pytest.raises(ReadError, match="'first' is no canonical lead name; there are: I, II"):
        reading.read(path, {"ECG": "first"})


@pytest.mark.parametrize(
    ("signal", "leads", "rate_hz", "problem"),
    [
        (np.zeros((2, 5)), ("I",), 100, r"signal of shape \(2, 5\) does not fit 1 leads"),
        (np.zeros(5), ("I",), 100, r"signal of shape \(5,\) does not fit 1 leads"),
        (np.zeros((1, 0)), ("I",), 100, "holds no samples"),
        (np.zeros((1, 5)), ("avr",), 100, "'avr' is no canonical lead name"),
        (np.zeros((2, 5)), ("I", "I"), 100, "lead I is there more than once"),
        (np.zeros((1, 5)), ("I",), 10, "sampling rate 10 Hz"),
    ],
)
def test_a_recording_checks_what_later_steps_rely_on(
    signal: NDArray[np.float64], leads: tuple[str, ...], rate_hz: float, problem: str
) -> None:
    with pytest.raises(ReadError, match=problem):
        Recording(signal.astype(np.float32), rate_hz, leads)


def test_the_duration_is_samples_over_rate() -> None:
    assert Recording(np.zeros((2, 250), dtype=np.float32), 100, ("I", "II")).duration_s == 2.5
