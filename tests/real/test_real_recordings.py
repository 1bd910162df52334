"""Real recordings, where they are at hand, in the folder that ECGPRISM_DATA names.

It holds cinc2017/, ptbxl/, mitdb/, challenge2021/, ludb/ and formats/. Nothing is written into the checkout, nor beside
the data.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import wfdb
from numpy.typing import NDArray

from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import STANDARD_LEADS, canonical_lead
from ecgprism.errors import ReadError
from ecgprism.formats import reading
from ecgprism.formats.wfdb import read_header
from ecgprism.sources.contract import ItemSource
from ecgprism.sources.mitbih import CLASS_OF
from ecgprism.sources.opening import open_source

DATA = os.environ.get("ECGPRISM_DATA", "")
CINC = {"ECG": "I"}


def folder(name: str) -> Path:
    """A folder of the data, or skip the test with the reason."""
    if not DATA:
        pytest.skip("ECGPRISM_DATA does not name a folder of real recordings")
    path = Path(DATA).absolute() / name
    if not path.is_dir():
        pytest.skip(f"no {name} in {DATA}")
    return path


@cache
def headers(name: str) -> tuple[Path, ...]:
    return tuple(sorted(folder(name).rglob("*.hea")))


def some(name: str, n: int) -> list[Path]:
    """`n` headers drawn from a folder, the same ones every time."""
    every = headers(name)
    return [every[i] for i in np.sort(np.random.default_rng(0).choice(len(every), n, replace=False))]


def equals_wfdb(header: Path, aliases: dict[str, str] | None = None) -> None:
    """What we read is what the wfdb package reads, to the last bit of float32, and its checksums are those we hold."""
    read = reading.read(header, aliases)
    expected = wfdb.rdrecord(str(header.with_suffix("")))
    chosen = [i for i, name in enumerate(expected.sig_name) if canonical_lead(name, aliases)]
    assert read.leads == tuple(canonical_lead(expected.sig_name[i], aliases) for i in chosen)
    assert read.rate_hz == expected.fs
    assert {expected.units[i].lower() for i in chosen} == {"mv"}
    signal = expected.p_signal[:, chosen].T
    np.testing.assert_array_equal(np.isnan(read.signal), np.isnan(signal))
    recorded = ~np.isnan(signal)
    np.testing.assert_array_max_ulp(read.signal[recorded], signal[recorded].astype(np.float32), maxulp=1)


def spoiled(header: Path, to: Path) -> Path:
    """A copy of a record with the lowest bit of one sample in its middle turned; returns its header."""
    data = header.with_suffix(".mat" if header.with_suffix(".mat").is_file() else ".dat")
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2 & ~1] ^= 1
    (to / data.name).write_bytes(damaged)
    (to / header.name).write_bytes(header.read_bytes())
    return to / header.name


# --- CinC 2017


def test_every_cinc_header_reads_and_fits_its_signal_file() -> None:
    for path in headers("cinc2017"):
        header = read_header(path)
        assert (header.rate_hz, len(header.channels), header.channels[0].name) == (300, 1, "ECG")
        assert header.samples is not None
        assert 9 * 300 <= header.samples <= 61 * 300
        assert path.with_suffix(".mat").stat().st_size == 24 + 2 * header.samples
    assert len(headers("cinc2017")) == 6827


def test_a_hundred_cinc_recordings_equal_the_wfdb_package() -> None:
    for path in some("cinc2017", 100):
        equals_wfdb(path, CINC)


def test_the_cinc_reference_has_its_published_counts_and_its_source_lists_them() -> None:
    source = open_source("cinc2017", folder("cinc2017"), {"reference": "REFERENCE.csv"})
    entries = list(source.entries())
    assert Counter(entry.labels["rhythm"] for entry in entries) == {
        ("N",): 4043, ("O",): 1966, ("A",): 591, ("~",): 227,
    }  # fmt: skip
    newest = open_source("cinc2017", folder("cinc2017"))
    assert newest.notes == ("labels of REFERENCE-v3.csv",)
    assert Counter(entry.labels["rhythm"][0] for entry in newest.entries()) == {
        "A": 600,
        "N": 4067,
        "O": 1939,
        "~": 221,
    }
    assert {entry.record_id for entry in entries} == {path.stem for path in headers("cinc2017")}


def test_two_hundred_cinc_records_are_stored_within_a_step_of_the_resampled_original(tmp_path: Path) -> None:
    chosen = some("cinc2017", 200)
    with (chosen[0].parent / "REFERENCE.csv").open(newline="") as file:
        label_of = dict(csv.reader(file))
    subset = tmp_path / "training2017"
    subset.mkdir()
    for path in chosen:
        for suffix in (".hea", ".mat"):
            (subset / path.with_suffix(suffix).name).symlink_to(path.with_suffix(suffix))
    (subset / "REFERENCE.csv").write_text("".join(f"{path.stem},{label_of[path.stem]}\n" for path in chosen))
    done = ingest("cinc2017", tmp_path, tmp_path / "corpus", workers=1)
    assert (done.records, done.rejected, done.unknown_patients) == (200, 0, 200)
    corpus = Corpus(tmp_path / "corpus")
    corpus.refuse_leaks()
    assert corpus.rate_hz == 100
    for i, path in enumerate(chosen):
        original = reading.read(path, CINC)
        expected = prepared_signal(original, 100)
        samples = expected.shape[1]
        assert samples == math.ceil(original.signal.shape[1] / 3)
        stored, mask = corpus.windows(np.array([i]), np.array([0]), np.array([samples]), ("I",))
        step = np.ptp(expected) / 2 / 32_766
        assert mask.all()
        assert np.abs(stored[0] - expected).max() <= 0.51 * step + 1e-6
        assert corpus.records["record_id"][i] == path.stem
    examples = corpus.select("rhythm")
    held = ["NAO~"[k] for k in examples.target.argmax(axis=1)]
    assert held == [label_of[path.stem] for path in chosen]
    for label, n in Counter(held).items():
        for split, fraction in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            assert abs(corpus.select("rhythm", [split]).target[:, "NAO~".index(label)].sum() - fraction * n) < 2


# --- PTB-XL


def test_ptbxl_record_1_is_a_woman_of_56_with_ten_seconds_of_twelve_leads() -> None:
    source = open_source("ptbxl", folder("ptbxl"))
    entry = next(iter(source.entries()))
    read = source.read(entry)
    assert (entry.record_id, entry.patient_id, entry.split) == ("ptbxl_00001", "15709", "train")
    assert (entry.metadata["age"], entry.metadata["sex"]) == (56.0, "female")
    assert "height" not in entry.metadata
    assert entry.labels["superdiagnostic"] == ("NORM",)
    assert entry.labels["form"] == ("LVOLT",)  # of likelihood 0, and counted
    assert (read.signal.shape, read.rate_hz, read.leads) == ((12, 1000), 100.0, STANDARD_LEADS)
    assert not read.skipped


def test_a_hundred_ptbxl_recordings_equal_the_wfdb_package() -> None:
    low = [path for path in headers("ptbxl") if path.stem.endswith("_lr")]
    for i in np.random.default_rng(0).choice(len(low), 100, replace=False):
        equals_wfdb(low[i])


def test_the_ptbxl_recordings_at_500_hz_equal_the_wfdb_package() -> None:
    high = [path for path in headers("ptbxl") if path.stem.endswith("_hr")]
    assert len(high) == 20
    for path in high:
        equals_wfdb(path)
        assert reading.read(path).signal.shape == (12, 5000)


def test_the_two_stored_rates_of_ptbxl_are_one_ecg_after_our_resampling() -> None:
    inside = slice(20, -20)  # at the edges their filter and ours differ
    for high in [path for path in headers("ptbxl") if path.stem.endswith("_hr")][:5]:
        low = Path(str(high).replace("records500", "records100").replace("_hr", "_lr"))
        resampled, stored = prepared_signal(reading.read(high), 100), reading.read(low).signal
        assert resampled.shape == stored.shape
        for ours, theirs in zip(resampled[:, inside], stored[:, inside], strict=True):
            assert np.corrcoef(ours, theirs)[0, 1] > 0.98
            assert 0.9 < np.std(ours) / np.std(theirs) < 1.1
            shifted = [np.corrcoef(ours[1 + lag : len(ours) - 1 + lag], theirs[1:-1])[0, 1] for lag in (-1, 0, 1)]
            assert np.argmax(shifted) == 1


def test_the_ptbxl_manifest_has_its_known_split_labels_and_metadata() -> None:
    source = open_source("manifest", folder("ptbxl"), {"task": "superdiagnostic"})
    entries = list(source.entries())
    assert len(entries) == 1732
    assert Counter(entry.split for entry in entries) == {"train": 1490, "val": 242}
    assert set(source.tasks["superdiagnostic"].classes) == {"NORM", "MI", "STTC", "CD", "HYP"}
    counts = {
        split: Counter(label for e in entries if e.split == split for label in e.labels.get("superdiagnostic", ()))
        for split in ("train", "val")
    }
    assert counts == {
        "train": {"NORM": 801, "MI": 266, "STTC": 345, "CD": 321, "HYP": 159},
        "val": {"NORM": 111, "MI": 55, "STTC": 69, "CD": 48, "HYP": 30},
    }
    assert sum(not entry.labels for entry in entries) == 19
    assert sum(entry.patient_id is None for entry in entries) == 989
    first = entries[0]
    assert (first.record_id, first.patient_id, first.metadata) == (
        "ptbxl_00001", "15709", {"age": 56.0, "sex": "female"},
    )  # fmt: skip
    assert all(Path(entry.path + ".hea").is_file() for entry in entries)


def test_the_ptbxl_tables_and_the_manifest_agree() -> None:
    official = {entry.record_id: entry for entry in open_source("ptbxl", folder("ptbxl")).entries()}
    ours = {e.record_id: e for e in open_source("manifest", folder("ptbxl"), {"task": "superdiagnostic"}).entries()}
    assert len(official) == 743
    for record_id, entry in official.items():
        other = ours[record_id]
        assert set(entry.labels.get("superdiagnostic", ())) == set(other.labels.get("superdiagnostic", ()))
        assert entry.patient_id == other.patient_id


# --- MIT-BIH, challenge 2021, and damage


@pytest.mark.parametrize("at", range(3))
def test_mit_bih_recordings_in_format_212_equal_the_wfdb_package_on_their_leads(at: int) -> None:
    path = headers("mitdb")[at * (len(headers("mitdb")) // 3)]
    assert {channel.format for channel in read_header(path).channels} == {"212"}
    equals_wfdb(path)
    read = reading.read(path)
    assert (read.signal.shape[1], read.rate_hz, read.leads[0]) == (650_000, 360, "II")


def test_every_mit_bih_header_names_two_leads() -> None:
    leads = [[canonical_lead(c.name) for c in read_header(path).channels] for path in headers("mitdb")]
    assert len(leads) == 22
    assert all(len(pair) == 2 and None not in pair for pair in leads)


def test_the_challenge_records_equal_the_wfdb_package_and_tell_age_and_sex() -> None:
    read = [reading.read(path) for path in headers("challenge2021")]
    assert len(read) == 25
    for path, recording in zip(headers("challenge2021"), read, strict=True):
        equals_wfdb(path)
        assert set(recording.leads) == set(STANDARD_LEADS)
        assert recording.metadata["sex"] in ("female", "male")
        assert 0 < float(recording.metadata["age"]) < 120
        sex = next(line for line in path.read_text().splitlines() if "Sex" in line)
        assert str(recording.metadata["sex"]) in sex.lower()


@pytest.mark.parametrize(("name", "n"), [("cinc2017", 100), ("ptbxl", 100), ("mitdb", 1)])
def test_one_turned_bit_in_a_real_recording_is_noticed_where_the_header_gives_a_checksum(
    name: str, n: int, tmp_path: Path
) -> None:
    noticed = 0
    for path in some(name, n):
        given = [channel.checksum for channel in read_header(path).channels]
        held = sums(path)
        assert [total for total, said in zip(held, given, strict=True) if said is not None] == [
            said for said in given if said is not None
        ]
        if None not in given:
            with pytest.raises(ReadError, match="checksum"):
                reading.read(spoiled(path, tmp_path), CINC)
            noticed += 1
    assert noticed == (0 if name == "cinc2017" else n)


def sums(path: Path) -> NDArray[np.int64]:
    stored = wfdb.rdrecord(str(path.with_suffix("")), physical=False).d_signal
    return stored.sum(axis=0, dtype=np.int64) & 0xFFFF


# --- labels of beats, of the challenge, of LUDB


def test_every_mit_bih_annotation_is_that_of_the_wfdb_package_and_ds1_has_its_published_counts() -> None:
    source = open_source("mitbih", folder("mitdb"))
    assert isinstance(source, ItemSource)
    counts: Counter[str] = Counter()
    for entry in source.entries():
        recording = source.read(entry)
        theirs = wfdb.rdann(entry.path.removesuffix(".hea"), "atr")
        assert [mark.at_s for mark in recording.annotations] == (theirs.sample / 360).tolist()
        assert [mark.symbol for mark in recording.annotations] == theirs.symbol
        assert [mark.note for mark in recording.annotations] == [note.rstrip("\0") for note in theirs.aux_note]
        items, unused = source.items(entry, recording)
        assert Counter(item.labels["beat"][0] for item in items) == Counter(
            CLASS_OF[symbol] for symbol in theirs.symbol if symbol in CLASS_OF
        )
        assert len(items) + len(unused) == len(theirs.symbol)
        assert (entry.split, 20 < float(recording.metadata["age"]) < 90) == ("train", True)
        counts.update(item.labels["beat"][0] for item in items)
    assert counts == {"N": 45866, "S": 944, "V": 3788, "F": 415, "Q": 8}


def test_mit_bih_record_100_has_its_known_beats_and_an_average_rate() -> None:
    root = folder("formats") / "wfdb"
    source = open_source("mitbih", root)
    assert isinstance(source, ItemSource)
    entry = next(entry for entry in source.entries() if entry.record_id == "100")
    recording = source.read(entry)
    assert Counter(mark.symbol for mark in recording.annotations) == {"N": 2239, "A": 33, "V": 1, "+": 1}
    items, unused = source.items(entry, recording)
    assert Counter(item.labels["beat"] for item in items) == {("N",): 2239, ("S",): 33, ("V",): 1}
    assert (list(unused), entry.split, dict(recording.metadata)) == (["+"], "test", {"age": 69.0, "sex": "male"})
    pre = [float(item.metadata["rr_pre_s"]) for item in items[1:]]
    assert 70 < 60 / np.mean(pre) < 80
    early = [float(item.metadata["rr_ratio"]) for item in items if item.labels["beat"] == ("S",)]
    assert np.mean(early) < 0.85
    # the annotated moment is that of the R wave
    ii = recording.signal[recording.leads.index("II")]
    peaks = [
        np.argmax(ii[round(360 * (item.start_s + 0.4)) : round(360 * (item.start_s + 0.6))]) for item in items[1:-1]
    ]
    assert np.median(np.abs(np.array(peaks) - 36)) <= 2


def test_the_challenge_source_labels_its_25_records(tmp_path: Path) -> None:
    done = ingest("challenge2021", folder("challenge2021"), tmp_path / "c", workers=1)
    corpus = Corpus(tmp_path / "c")
    chosen = corpus.select("scored")
    assert (done.records, done.rejected, len(chosen), chosen.left_out) == (25, 0, 25, 0)
    assert chosen.target.any(axis=1).all()
    codes = [
        code for path in headers("challenge2021") for line in path.read_text().splitlines() if "Dx:" in line
        for code in line.split(":")[1].strip().split(",")
    ]  # fmt: skip
    assert chosen.target.sum() + sum(done.unused.values()) == len(codes)
    held = corpus.tasks["scored"].classes.index("NSR")
    assert chosen.target[:, held].sum() == codes.count("426783006")
    assert corpus.metadata["age"].notna().all()


def test_ludb_has_its_200_rhythms_and_waves_that_the_wfdb_package_reads() -> None:
    source = open_source("ludb", folder("ludb"))
    entries = list(source.entries())
    assert Counter(entry.labels["rhythm"][0] for entry in entries) == {
        "Sinus rhythm": 143, "Sinus bradycardia": 25, "Atrial fibrillation": 15, "Sinus arrhythmia": 8,
        "Sinus tachycardia": 4, "Atrial flutter, typical": 3, "Irregular sinus rhythm": 2,
    }  # fmt: skip
    for entry in entries[::10]:
        recording = source.read(entry)
        theirs = wfdb.rdann(entry.path.removesuffix(".hea"), "ii")
        assert [(mark.at_s, mark.symbol) for mark in recording.annotations] == [
            *zip((theirs.sample / 500).tolist(), theirs.symbol, strict=True)
        ]
        assert (recording.signal.shape, set(recording.metadata)) == ((12, 5000), {"age", "sex"})
