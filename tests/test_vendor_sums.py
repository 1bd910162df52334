"""Check sums and counts of vendors' files are believed: one changed bit among the samples is never read unsaid."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ecgprism as ep
from ecgprism.errors import ReadError
from ecgprism.formats import reading, vendor
from ecgprism.formats.contract import Declaration
from tests import vendor_files as files

pytest.importorskip("ecgdatakit")
VALUES = files.steps(2, 400)
LEADS = dict(zip(("I", "II"), VALUES, strict=True))


def muse(**given: str) -> bytes:
    return files.muse(files.muse_wave("".join(files.muse_lead(name, row, **given) for name, row in LEADS.items())))


def region(data: bytes, kind: str) -> range:
    """Where the samples stand in a file that was made for this test."""
    if kind.startswith("scp"):
        _, length, index = struct.unpack_from("<HII", data, 6 + 16 + 10 * (3 if kind == "scp packed" else 2))
        return range(index - 1 + 16 + 6 + 4, index - 1 + length)
    if kind == "muse":
        match = re.search(rb"<WaveFormData>([^<]*)<", data)
        assert match
        return range(*match.span(1))
    at = data.index(b"ecg ")
    return range(at + 8, at + 8 + 2 * VALUES.shape[1])


MADE: dict[str, Callable[[], bytes]] = {
    "scp": lambda: files.scp(VALUES),
    "scp packed": lambda: files.scp(VALUES, huffman=True),
    "muse": muse,
    "atc": lambda: files.atc({b"ecg ": VALUES[0], b"ecg2": VALUES[1]}),
}


@pytest.mark.parametrize("kind", MADE)
def test_no_flipped_bit_among_the_samples_is_read_as_another_signal(kind: str, tmp_path: Path) -> None:
    data, path = MADE[kind](), tmp_path / "a"
    path.write_bytes(data)
    true, where = ep.read(path).signal, region(data, kind)
    rng, refused = np.random.default_rng(5), 0
    for at, bit in zip(rng.choice(where, 200), rng.integers(0, 8, 200), strict=True):
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(ep.read(path).signal, true)  # the last bits of base64 stand for nothing
        except ReadError:
            refused += 1
    assert refused >= 195


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "scp",
            r"SCP-ECG section 6 has the CRC \d+, the file says \d+ \(and 1 more\): it is damaged; --accept-damaged",
        ),
        ("muse", r"GE MUSE XML: CRC32 mismatch in lead I \(rhythm\)"),
        ("atc", r"ATC block 'ecg ' has sum \d+, the file says \d+"),
    ],
)
def test_damage_names_its_place_and_is_read_and_marked_when_it_is_accepted(
    kind: str, message: str, tmp_path: Path
) -> None:
    data = bytearray(MADE[kind]())
    if kind == "muse":
        at = region(bytes(data), kind)[8]
        data[at] = ord("B" if data[at] != ord("B") else "C")
    else:
        data[region(bytes(data), kind)[8]] ^= 1
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=message) as caught:
        ep.read(path)
    assert "\n" not in str(caught.value)
    read = vendor_read(path, accept_damaged=True)
    assert re.search(message.partition(" \\(and")[0], read.details["damaged"])
    assert read.signal.shape[1] == VALUES.shape[1]


def vendor_read(path: Path, **given: bool) -> ep.Recording:
    kind = reading._kind(path)
    declared = Declaration(**given)
    readers = {"atc": reading.alivecor.read, "ishne": reading.ishne.read}
    return readers[kind](path, declared) if kind in readers else vendor.read(path, kind, declared)


def test_a_sum_that_is_no_number_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(muse(crc="12a4"))
    with pytest.raises(ReadError, match="lead I has the CRC '12a4'"):
        ep.read(tmp_path / "a")


def test_a_file_without_sums_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(muse(crc=""))
    assert ep.read(tmp_path / "a").signal.shape == (6, 400)


COUNTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "ishne count": (lambda: files.ishne(VALUES, said=399), "399 samples a lead, it holds 400"),
    "ishne cut": (lambda: files.ishne(VALUES)[:-3], "no multiple of 2 leads"),
    "ishne header": (lambda: _changed(files.ishne(VALUES), 300), "another checksum"),
    "mfer short": (lambda: _mfer_counted(410), "shorter than the frame|no waveform data"),
    "mfer long": (lambda: _mfer_counted(390), "its samples are 1600 bytes, its counts say 1560"),
    "scp longer": (lambda: files.scp(VALUES, last=390), "holds 400 samples of lead 1, section 3 says 390"),
    "dicom longer": (
        lambda: files.dicom(files.dicom_group(VALUES, NumberOfWaveformSamples=390)),
        "group 1 RHYTHM holds 1600 bytes of samples, its counts say 1560",
    ),
    "dicom behind": (lambda: files.dicom(files.dicom_group(VALUES)) + b"xyz", "3 bytes behind its last element"),
    "sierra longer": (lambda: files.sierra(VALUES, duration="780"), "its samples are 1600 bytes, 2 leads of 390"),
}


def _changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def _mfer_counted(samples: int) -> bytes:
    return files.mfer(VALUES).replace(files.tag(4, struct.pack(">I", 400)), files.tag(4, struct.pack(">I", samples)))


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_or_length_that_does_not_fit_is_refused_unless_damage_is_accepted(name: str, tmp_path: Path) -> None:
    made, message = COUNTS[name]
    path = tmp_path / "a"
    path.write_bytes(made())
    with pytest.raises(ReadError, match=message):
        ep.read(path)
    read = vendor_read(path, accept_damaged=True)
    assert re.search(message, read.details["damaged"])
    assert read.signal.size


def test_counts_that_announce_more_than_there_is_are_refused_anyway(tmp_path: Path) -> None:
    for data, message in (
        (files.scp(VALUES, last=410), "holds 400 samples, expected 410"),
        (
            files.dicom(files.dicom_group(VALUES, NumberOfWaveformSamples=401)),
            "1600 bytes of samples; 401 samples of 2",
        ),
        (files.sierra(VALUES, duration="820"), "1600 bytes, 1640 expected"),
        (muse().replace(b"<LeadSampleCountTotal>400", b"<LeadSampleCountTotal>401"), "LeadSampleCountTotal 401"),
    ):
        (tmp_path / "a").write_bytes(data)
        for accepted in (False, True):
            with pytest.raises(ReadError, match=message):
                vendor_read(tmp_path / "a", accept_damaged=accepted)


@pytest.mark.parametrize("kind", ["dicom", "aecg", "ishne", "mfer", "sierra"])
def test_these_formats_carry_no_sum_of_their_samples(kind: str, tmp_path: Path) -> None:
    """A changed sample cannot be known there: this says so, and would fail when a reader learnt to."""
    changed = VALUES.copy()
    changed[0, 7] ^= 1
    made: dict[str, Callable[..., bytes]] = {
        "dicom": lambda values: files.dicom(files.dicom_group(values)),
        "aecg": lambda values: files.aecg(
            files.aecg_series(files.aecg_set({"I": files.digits(values[0]), "II": files.digits(values[1])}))
        ),
        "ishne": files.ishne, "mfer": files.mfer, "sierra": files.sierra,
    }  # fmt: skip
    path = tmp_path / "a"
    path.write_bytes(made[kind](VALUES))
    true = ep.read(path).signal
    path.write_bytes(made[kind](changed))
    assert (ep.read(path).signal != true).sum() == 5  # the lead and the four derived ones


# What libraries say is passed on


def test_warnings_of_the_libraries_are_notes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(files.dicom(files.dicom_group(VALUES), PatientAge="63 years"))
    assert ep.read(path).details["notes"] == "an age of '63 years' is not understood"
    path.write_bytes(muse().replace(b"<LeadOff>", b"<FirstSampleBaseline>7</FirstSampleBaseline><LeadOff>"))
    assert "FirstSampleBaseline is non-zero" in ep.read(path).details["notes"]
    path.write_bytes(files.mfer(VALUES, extra=files.tag(0x83, b"\x3f\0\0\x07\xe4\x0d\x28")))
    assert "invalid birth date" in ep.read(path).details["notes"]
    path.write_bytes(files.scp(VALUES))
    assert "notes" not in ep.read(path).details


def test_base64_of_the_test_is_what_muse_writes() -> None:
    assert base64.b64decode(re.search(rb"<WaveFormData>([^<]*)<", muse())[1]) == VALUES[0].astype("<i2").tobytes()
