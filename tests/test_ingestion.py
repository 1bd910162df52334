"""Ingest: what is stored, that nothing is lost or clipped, and that no interruption leaves a trace in the corpus."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal as signals
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ecgprism.corpus import ingestion
from ecgprism.corpus.ingestion import AllRejectedError, IngestReport, ingest
from ecgprism.corpus.meta import ITEMS, META, RECORDS, REJECTED, SIGNALS
from ecgprism.corpus.quantisation import NOT_RECORDED, quantise
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import filled, prepared_signal
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.resampling import resample
from ecgprism.errors import EcgprismError, ReadError

from .records import MADE_WAIT_S, Made, known, listed, write_manifest

Floats = NDArray[np.float32]
FILES = {SIGNALS, RECORDS, ITEMS, META, REJECTED}


def recording(signal: Any, leads: Sequence[str] = STANDARD_LEADS, rate_hz: float = 100.0, **given: Any) -> Recording:
    rows = np.atleast_2d(np.asarray(signal, dtype=np.float32))
    return Recording(rows, rate_hz, tuple(leads[: len(rows)]), **given)


def wave(seed: int = 0, n_leads: int = 1, samples: int = 300) -> Floats:
    return np.random.default_rng(seed).normal(0, 1, (n_leads, samples)).astype(np.float32)


def ingest_these(
    recordings: Sequence[Recording | Exception], out: Path, changes: Any = None, **given: Any
) -> IngestReport:
    with listed(recordings, changes):
        return ingest("listed", None, out, workers=1, **given)


def ingest_made(out: Path, n: int = 12, **given: Any) -> IngestReport:
    with known("made", Made):
        return ingest("made", None, out, **{"options": {"n": n}, "workers": 1, **given})


def contents(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.iterdir()}


def partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def one_line(error: BaseException) -> str:
    assert len(str(error).splitlines()) == 1
    return str(error)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ingest") / "undisturbed"
    ingest_made(out)
    return out


# --- integers


SIGNALS_MV = arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 40)),
    elements=st.one_of(
        st.just(np.nan),
        st.floats(-2, 2, width=32),
        st.floats(-500, 500, width=32),
        st.floats(-1e6, 1e6, width=32),
        st.floats(300, 300.125, width=32),
    ),
)


@settings(deadline=None, max_examples=300)
@given(SIGNALS_MV)
@example(np.float32([[1, np.nextafter(np.float32(1), np.float32(2))]]))
@example(np.float32([[400, 400.0049, np.nan]]))  # the offset of an electrode, on which a small ECG rides
@example(np.float32([[0, 1e-45], [-1e6, 1e6]]))
@example(np.float32([[7, 7, 7], [np.nan, np.nan, np.nan]]))
def test_a_signal_comes_back_within_half_a_step_and_never_clipped(signal: Floats) -> None:
    values, scale, zero, empty = quantise(signal)
    recorded = ~np.isnan(signal)
    assert (values.dtype, scale.dtype, zero.dtype) == (np.dtype("<i2"), np.float32, np.float32)
    np.testing.assert_array_equal(values != NOT_RECORDED, recorded)
    np.testing.assert_array_equal(empty, ~recorded.any(axis=1))
    assert (np.abs(values[recorded].astype(np.int64)) <= 32_767).all()
    assert np.isfinite(scale).all()
    assert (scale > 0).all()
    back = values * scale[:, None] + zero[:, None]
    assert back.dtype == np.float32
    step = np.broadcast_to(scale[:, None].astype(np.float64), signal.shape)
    # float32 itself has no finer values than this
    grain = np.spacing(np.maximum(np.abs(signal), np.abs(zero)[:, None])).astype(np.float64)
    error = np.abs(back.astype(np.float64) - signal)
    assert (error <= 0.505 * step + 2 * grain)[recorded].all()


@settings(deadline=None)
@given(SIGNALS_MV)
def test_the_steps_are_as_fine_as_the_range_of_the_lead_allows(signal: Floats) -> None:
    _, scale, zero, empty = quantise(signal)
    for row, step, middle, nothing in zip(signal, scale, zero, empty, strict=True):
        if not nothing:
            half = (float(np.nanmax(row)) - float(np.nanmin(row))) / 2
            assert step <= max((half + float(np.spacing(np.abs(middle)))) / 32_766 * 1.001, 1.2e-38)


def test_the_extremes_of_a_lead_are_the_extremes_of_the_integers() -> None:
    values, scale, zero, _ = quantise(np.float32([[-1, 0, 3], [np.nan, -2, 2]]))
    np.testing.assert_array_equal(values, [[-32_766, -16_383, 32_766], [-32_768, -32_766, 32_766]])
    np.testing.assert_allclose(zero, [1, 0])
    np.testing.assert_allclose(scale, [2 / 32_766] * 2)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(2, 50)), min_size=1, max_size=4), st.data())
def test_what_is_ingested_comes_out_of_the_corpus_within_half_a_step(
    shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    value = st.one_of(st.just(np.nan), st.floats(-5, 5, width=32))
    given_mv = [data.draw(arrays(np.float32, shape, elements=value)) for shape in shapes]
    for signal in given_mv:
        signal[0, :2] = -1, 1  # so that no recording is all flat
    with tempfile.TemporaryDirectory() as folder:
        ingest_these([recording(signal) for signal in given_mv], Path(folder) / "c")
        corpus = Corpus(Path(folder) / "c")
        n, lengths = len(given_mv), np.array([signal.shape[1] for signal in given_mv])
        read, mask = corpus.windows(np.arange(n), np.zeros(n, dtype=np.int64), lengths, STANDARD_LEADS[:5])
        for i, signal in enumerate(given_mv):
            with np.errstate(all="ignore"):
                spread = np.array([np.ptp(row[~np.isnan(row)]) if (~np.isnan(row)).any() else 0.0 for row in signal])
            held = ~np.isnan(signal) & (spread >= 0.005)[:, None]
            stored = read[i, : len(signal), : signal.shape[1]]
            step = (spread / 2 / 32_766)[:, None]
            assert (np.abs(stored - signal)[held] <= np.broadcast_to(0.51 * step + 2e-6, signal.shape)[held]).all()
            gaps = (~held) & held.any(axis=1)[:, None]
            mean = np.where(held, stored, 0).sum(axis=1, dtype=np.float64) / np.maximum(held.sum(axis=1), 1)
            np.testing.assert_allclose(stored[gaps], np.broadcast_to(mean[:, None], gaps.shape)[gaps], atol=1e-4)
            assert not stored[~held & ~gaps].any()
            np.testing.assert_array_equal(mask[i], [*held.any(axis=1), *[False] * (5 - len(signal))])


# --- resampling


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "up", "down"),
    [(100, 100, 1, 1), (500, 100, 1, 5), (300, 100, 1, 3), (360, 100, 5, 18), (257, 100, 100, 257), (128, 250, 125, 64),
     (1000, 360, 9, 25), (250, 500, 2, 1)],
)  # fmt: skip
@pytest.mark.parametrize("samples", [1, 2, 299, 1000])
def test_resampling_changes_the_length_by_its_ratio_rounded_up(
    from_hz: float, to_hz: float, up: int, down: int, samples: int
) -> None:
    assert Fraction(to_hz / from_hz).limit_denominator(10_000) == Fraction(up, down)
    out = resample(wave(samples=samples), from_hz, to_hz)
    assert (out.shape, out.dtype) == ((1, ceil(samples * up / down)), np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(500, 100), (360, 100), (128, 250)])
def test_resampling_is_that_of_scipy(from_hz: int, to_hz: int) -> None:
    signal = wave(n_leads=3, samples=997)
    ratio = Fraction(to_hz, from_hz)
    expected = resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    np.testing.assert_allclose(resample(signal, from_hz, to_hz), expected, atol=2e-5)


def test_resampling_keeps_what_the_new_rate_can_hold_and_removes_the_rest() -> None:
    at_s = np.arange(2500) / 500
    slow, fast = np.sin(2 * np.pi * 7 * at_s), np.sin(2 * np.pi * 90 * at_s)
    out = resample(np.float32([slow, fast, 300 + slow]), 500, 100)
    inside = slice(20, -20)
    np.testing.assert_allclose(out[0, inside], slow[::5][inside], atol=0.01)
    assert np.abs(out[1, inside]).max() < 0.01
    np.testing.assert_allclose(out[2], 300 + out[0], atol=0.05)  # no edge where the offset would begin


def test_what_was_not_recorded_stays_so_in_time_and_does_not_spread() -> None:
    signal = wave(n_leads=3, samples=3000)
    smooth = np.cumsum(signal, axis=1) / 20
    signal, whole = smooth.copy(), smooth
    signal[0, 1000:1500] = np.nan
    signal[1] = np.nan
    out, expected = resample(signal, 300, 100), resample(whole, 300, 100)
    gap = np.isnan(out[0])
    np.testing.assert_array_equal(np.flatnonzero(gap), np.arange(334, 500))
    assert np.isnan(out[1]).all()
    np.testing.assert_array_equal(out[2], expected[2])
    np.testing.assert_allclose(out[0, :320], expected[0, :320], atol=0.01)
    assert not np.isnan(signal[0, :1000]).any()  # the signal that came in is not written to
    assert np.isnan(signal[0, 1000:1500]).all()


@pytest.mark.parametrize("rate_hz", [100.0, 250.0])
def test_the_corpus_holds_the_resampled_signal_and_its_rates(tmp_path: Path, rate_hz: float) -> None:
    given_mv = recording(wave(n_leads=2, samples=1001), rate_hz=360)
    ingest_these([given_mv], tmp_path / "c", rate_hz=rate_hz)
    corpus = Corpus(tmp_path / "c")
    expected = resample(given_mv.signal, 360, rate_hz)
    (row,) = corpus.records.to_dict("records")
    assert (corpus.rate_hz, row["source_rate_hz"], row["samples"]) == (rate_hz, 360, expected.shape[1])
    read, _ = corpus.windows(np.array([0]), np.array([0]), np.array([expected.shape[1]]), ("I", "II"))
    np.testing.assert_allclose(read[0], expected, atol=np.ptp(expected) / 65_532 * 1.1)


@pytest.mark.parametrize("rate_hz", [19.9, 5001, float("nan"), float("inf"), -100])
def test_a_rate_that_no_corpus_has_is_refused(tmp_path: Path, rate_hz: float) -> None:
    with pytest.raises(EcgprismError, match=r"rate .* Hz: expected 20 to 5000 Hz"):
        ingest_these([recording(wave())], tmp_path / "c", rate_hz=rate_hz)
    assert not list(tmp_path.iterdir())


# --- flat, empty and absurd


def test_a_flat_lead_is_masked_and_named(tmp_path: Path) -> None:
    signal = wave(n_leads=4, samples=100)
    signal[1] = 0.3
    signal[2] = np.nan
    signal[3] = np.linspace(0, 0.0049, 100)
    done = ingest_these([recording(signal)], tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    (row,) = corpus.records.to_dict("records")
    assert (done.flat_leads, list(row["flat_leads"]), list(row["leads"])) == (
        3, ["II", "III", "aVR"], ["I", "II", "III", "aVR"],
    )  # fmt: skip
    read, mask = corpus.windows(np.array([0]), np.array([0]), np.array([100]), STANDARD_LEADS[:4])
    assert mask.tolist() == [[True, False, False, False]]
    assert not read[0, 1:].any()
    assert (corpus.digital(0)[1:] == NOT_RECORDED).all()


def test_a_lead_that_moves_by_five_microvolts_is_kept() -> None:
    signal = np.float32([np.linspace(0, 0.00501, 50)])
    np.testing.assert_array_equal(prepared_signal(recording(signal), 100), signal)


@pytest.mark.parametrize("signal", [np.zeros((2, 50)), np.full((2, 50), np.nan), np.linspace(0, 0.004, 50)[None]])
def test_a_recording_of_flat_or_empty_leads_alone_is_rejected(signal: Floats) -> None:
    with pytest.raises(ReadError, match="every lead is flat or empty"):
        prepared_signal(recording(signal), 100)


@pytest.mark.parametrize("value", [501, -501, np.inf, -np.inf])
def test_what_cannot_be_millivolts_is_rejected_with_the_lead(value: float) -> None:
    signal = wave(n_leads=2)
    signal[1, 7] = value
    with pytest.raises(ReadError) as caught:
        prepared_signal(recording(signal, path=Path("x/a.hea")), 100)
    assert one_line(caught.value) == (
        f"x/a.hea: lead II reaches {abs(value):g} mV; over 500 mV the unit or gain is wrong"
    )
    signal[1, 7] = np.clip(value, -500, 500)
    assert prepared_signal(recording(signal), 100).shape == (2, 300)


def test_a_recording_of_one_sample_at_the_new_rate_is_still_recorded(tmp_path: Path) -> None:
    done = ingest_these([recording([[0.0, 1.0]], rate_hz=500)], tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    _, mask = corpus.windows(np.array([0]), np.array([0]), np.array([1]), ("I",))
    assert (done.records, mask.tolist()) == (1, [[True]])


# --- rejections


def test_a_bad_record_is_listed_with_its_reason_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    given_mv = [recording(wave(0)), ReadError("a.hea: torn, \"quoted\"\nand broken"), recording(wave(2))]  # fmt: skip
    done = ingest_these(given_mv, tmp_path / "c", {1: {"path": "some/a"}})
    with (tmp_path / "c" / REJECTED).open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["record_id", "path", "reason"], ["r1", "some/a", 'a.hea: torn, "quoted"\nand broken'],
        ]  # fmt: skip
    assert (done.records, done.rejected) == (2, 1)
    assert Corpus(tmp_path / "c").records["record_id"].tolist() == ["r0", "r2"]


def test_a_file_that_fails_while_it_is_read_is_a_bad_record(tmp_path: Path) -> None:
    done = ingest_these([recording(wave(0)), OSError(5, "Input/output error", "a.dat")], tmp_path / "c")
    assert (done.records, done.rejected) == (1, 1)
    assert "Input/output error" in (tmp_path / "c" / REJECTED).read_text()


def test_when_every_record_is_rejected_the_first_reason_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(AllRejectedError) as caught:
        ingest_these([ReadError("a.hea: torn"), ReadError("b.hea: lost")], tmp_path / "c")
    assert one_line(caught.value) == "listed: all 2 recordings were rejected; the first: a.hea: torn"
    assert not list(tmp_path.iterdir())


def test_when_every_record_is_rejected_the_corpus_to_overwrite_stays(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c")
    before = contents(tmp_path / "c")
    with pytest.raises(AllRejectedError):
        ingest_these([ReadError("a.hea: torn")], tmp_path / "c", overwrite=True)
    assert contents(tmp_path / "c") == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_strict_stops_at_the_first_bad_record_and_the_same_without_goes_on(tmp_path: Path, undisturbed: Path) -> None:
    with pytest.raises(ReadError) as caught:
        ingest_made(tmp_path / "c", strict=True)
    assert one_line(caught.value).startswith("m3: made/3: made to be bad")
    assert not (tmp_path / "c").exists()
    assert ingest_made(tmp_path / "c").resumed == 3
    assert contents(tmp_path / "c") == contents(undisturbed)


def test_a_record_id_that_stands_twice_is_refused_with_both_paths(tmp_path: Path) -> None:
    twice = {0: {"record_id": "x", "path": "one"}, 2: {"record_id": "x", "path": "two"}}
    with pytest.raises(EcgprismError) as caught:
        ingest_these([recording(wave(i)) for i in range(3)], tmp_path / "c", twice)
    assert one_line(caught.value) == "listed: record id 'x' stands twice (one and two)"
    assert not list(tmp_path.iterdir())


def test_a_source_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="listed: the source has no recordings"):
        ingest_these([], tmp_path / "c")


def test_excluded_records_are_left_out_and_must_exist(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(4)]
    ingest_these(given_mv, tmp_path / "c", exclude=["r0", "r2"])
    assert Corpus(tmp_path / "c").records["record_id"].tolist() == ["r1", "r3"]
    with pytest.raises(EcgprismError, match="--exclude r9: the source has no such record"):
        ingest_these(given_mv, tmp_path / "d", exclude=["r1", "r9"])
    with pytest.raises(EcgprismError, match="the source has no recordings"):
        ingest_these(given_mv, tmp_path / "d", exclude=["r0", "r1", "r2", "r3"])


def test_excluding_one_of_two_equal_ids_does_not_refuse_the_other_records(tmp_path: Path) -> None:
    done = ingest_these(
        [recording(wave(i)) for i in range(3)], tmp_path / "c", {2: {"record_id": "r0"}}, exclude=["r0"]
    )
    assert done.records == 1


# --- what is there already


def test_an_existing_corpus_is_refused_unless_it_is_to_be_overwritten(tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "c"
    ingest_these([recording(wave())], out)
    before = contents(out)
    with pytest.raises(EcgprismError, match=r"exists already; choose another --out, or --overwrite it"):
        ingest_made(out)
    assert contents(out) == before
    ingest_made(out, overwrite=True)
    assert contents(out) == contents(undisturbed)


def test_overwrite_never_deletes_what_is_no_corpus(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("years of work")
    with pytest.raises(EcgprismError, match="no corpus"):
        ingest_these([recording(wave())], out, overwrite=True)
    assert (out / "chapter1.tex").read_text() == "years of work"


# --- the tables


def test_the_tables_hold_what_the_source_says(tmp_path: Path, undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    assert {path.name for path in undisturbed.iterdir()} == FILES
    assert corpus.records["record_id"].tolist() == [f"m{i}" for i in range(12) if i != 3]
    row = corpus.records.set_index("record_id").loc["m5"]
    assert (row["patient_id"], list(row["leads"]), row["source_rate_hz"]) == ("p2", ["V1", "I", "aVR"], 360)
    assert (list(row["flat_leads"]), list(row["skipped_channels"]), row["path"]) == (["aVR"], ["RESP"], "made/5")
    assert corpus.records["patient_id"].tolist() == [
        None if i % 5 == 4 else f"p{i // 2}" for i in range(12) if i != 3
    ]  # fmt: skip
    assert corpus.leads == ("I", "II", "aVR", "V1")
    assert corpus.meta.lead_aliases == {"ECG": "I"}
    assert corpus.meta.metadata == {"age": "numeric", "site": "categorical"}
    ages = [np.nan if i % 4 == 0 else 40.0 + i for i in range(12) if i != 3]
    np.testing.assert_array_equal(corpus.metadata["age"], ages)
    assert corpus.metadata["site"].tolist() == ["ab"[i % 2] for i in range(12) if i != 3]
    labels = [None if value is None else list(value) for value in corpus.items["labels.form"]]
    assert labels == [None if i % 3 == 0 else list(range(i % 4)) for i in range(12) if i != 3]
    assert [list(value) for value in corpus.items["labels.rhythm"]] == [[i % 3] for i in range(12) if i != 3]
    assert corpus.items["length"].tolist() == corpus.records["samples"].tolist()
    assert not corpus.items["start"].any()


def test_an_ingest_reports_its_counts(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    done = ingest_made(tmp_path / "c", progress=lambda n, total: told.append((n, total)))
    assert told == [(n, 12) for n in range(13)]
    assert (done.path, done.records, done.rejected, done.resumed) == (tmp_path / "c", 11, 1, 0)
    assert (done.flat_leads, done.unknown_patients, done.skipped_channels) == (4, 2, ("RESP",))
    meta = json.loads((tmp_path / "c" / META).read_text())
    assert {key: meta[key] for key in ("records", "rejected", "flat_leads", "unknown_patients", "duplicates")} == {
        "records": 11, "rejected": 1, "flat_leads": 4, "unknown_patients": 2, "duplicates": 0,
    }  # fmt: skip


def test_metadata_of_the_file_are_kept_and_those_of_the_source_come_first(tmp_path: Path) -> None:
    given_mv = [recording(wave(i), metadata={"age": 50.0, "sex": "male"}) for i in range(2)]
    ingest_these(given_mv, tmp_path / "c", {0: {"metadata": {"age": 51.0}}, 1: {"metadata": {"site": 3}}})
    table = Corpus(tmp_path / "c").metadata
    assert table["age"].tolist() == [51.0, 50.0]
    assert table["sex"].tolist() == ["male", "male"]
    np.testing.assert_array_equal(table["site"], [np.nan, 3.0])


def test_a_metadata_column_with_one_text_is_text(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(2)]
    ingest_these(given_mv, tmp_path / "c", {0: {"metadata": {"site": 3}}, 1: {"metadata": {"site": "x"}}})
    assert Corpus(tmp_path / "c").metadata["site"].tolist() == ["3", "x"]


def test_a_copy_of_a_waveform_is_found_at_another_gain_and_kept_in_the_split_of_the_first(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(30)]
    given_mv[29] = recording(2 * wave(0))
    done = ingest_these(given_mv, tmp_path / "c")
    table = Corpus(tmp_path / "c").records
    assert (done.duplicates, table["cluster"].nunique()) == (1, 29)
    assert (table["waveform"][0], table["cluster"][0], table["split"][0]) == (
        table["waveform"][29], table["cluster"][29], table["split"][29],
    )  # fmt: skip


def test_the_official_split_is_kept_and_stands_beside_what_is_made_of_it(tmp_path: Path) -> None:
    changes = {i: {"split": "val" if i >= 20 else "train"} for i in range(24)}
    done = ingest_these([recording(wave(i)) for i in range(24)], tmp_path / "c", changes)
    table = Corpus(tmp_path / "c").records
    assert table["official_split"].tolist() == ["train"] * 20 + ["val"] * 4
    assert table["split"].tolist()[20:] == ["test"] * 4
    assert table["split"].tolist()[:20].count("val") == 2
    assert "its validation part is test" in done.split_rule
    Corpus(tmp_path / "c").refuse_leaks()


def test_a_leak_in_the_official_split_is_refused_by_the_corpus(tmp_path: Path) -> None:
    changes = {i: {"split": split, "patient_id": "p"} for i, split in enumerate(["train", "val", "test"])}
    ingest_these([recording(wave(i)) for i in range(3)], tmp_path / "c", changes)
    with pytest.raises(EcgprismError, match="patient p stands in two splits: r0 in train, r1 in val"):
        Corpus(tmp_path / "c").refuse_leaks()


def test_a_source_that_is_all_test_can_be_ingested(tmp_path: Path) -> None:
    ingest_these([recording(wave(i)) for i in range(3)], tmp_path / "c", {i: {"split": "test"} for i in range(3)})
    assert Corpus(tmp_path / "c").records["split"].tolist() == ["test"] * 3


# --- the same bytes, however it went


def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    for workers in (1, 2):
        ingest_made(tmp_path / str(workers), n=70, workers=workers)  # more than four chunks
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(Corpus(tmp_path / "2").records) == 63


def interrupted(out: Path, after: int = 6) -> None:
    """Ingest and stop when `after` records are journalled."""

    def stop(number: int, _: int | None) -> None:
        if number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_made(out, progress=stop)
    assert partial(out).is_dir()
    assert not out.exists()


@pytest.mark.parametrize("after", [0, 1, 4, 11, 12])
def test_an_interrupted_ingest_goes_on_where_it_stopped(tmp_path: Path, undisturbed: Path, after: int) -> None:
    interrupted(tmp_path / "c", after)
    with pytest.raises(
        EcgprismError, match=r"no corpus here .*; its ingest was not finished: run it again to continue"
    ):
        Corpus(tmp_path / "c")
    assert ingest_made(tmp_path / "c").resumed == after
    assert contents(tmp_path / "c") == contents(undisturbed)
    assert not partial(tmp_path / "c").exists()


def _rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def _append(name: str, data: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(data)

    return damage


def _cut(name: str, n_bytes: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        os.truncate(folder / name, (folder / name).stat().st_size - n_bytes)

    return damage


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (_cut("journal.jsonl", 1), 5),  # the end of the line
        (_cut("journal.jsonl", 20), 5),
        (_append("journal.jsonl", b'{"record_id": "m6", "off'), 6),
        (_append("journal.jsonl", b"\0" * 300), 6),  # what some file systems leave after a power cut
        (_append("journal.jsonl", b"\xff\xfe\n"), 6),
        (_append("journal.jsonl", b"{}\n"), 6),
        (_append("journal.jsonl", b"null\n"), 6),
        (_append(SIGNALS, b"\1" * 333), 6),
        (_cut(SIGNALS, 2), 5),
        (lambda folder: (folder / SIGNALS).unlink(), 0),
        (lambda folder: (folder / "journal.jsonl").unlink(), 0),
        (lambda folder: (folder / "settings.json").unlink(), 0),
        (_rewrite("settings.json", lambda _: b""), 0),
    ],
)
def test_what_a_crash_left_half_written_is_written_again(
    tmp_path: Path, undisturbed: Path, damage: Callable[[Path], None], left: int
) -> None:
    interrupted(tmp_path / "c", 6)
    damage(partial(tmp_path / "c"))
    assert ingest_made(tmp_path / "c").resumed == left
    assert contents(tmp_path / "c") == contents(undisturbed)


@pytest.mark.parametrize("step", ["write_tables", "write_meta", "_finish"])
def test_a_crash_after_the_last_record_is_mended(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ingestion, step, stop)
        ingest_made(tmp_path / "c")
    assert ingest_made(tmp_path / "c").resumed == 12
    assert contents(tmp_path / "c") == contents(undisturbed)


def test_a_crash_just_before_the_name_appears_is_mended(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", stop)
        ingest_made(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    ingest_made(tmp_path / "c")
    assert contents(tmp_path / "c") == contents(undisturbed)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"rate_hz": 250.0}, "rate_hz"),
        ({"options": {"n": 13}}, "options"),
        ({"exclude": ["m0"]}, "entries"),
    ],
)
def test_an_interrupted_ingest_is_not_continued_with_other_settings(
    tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    interrupted(tmp_path / "c")
    with pytest.raises(EcgprismError, match=f"an interrupted ingest with another {key} is here"):
        ingest_made(tmp_path / "c", **change)
    assert ingest_made(tmp_path / "c").resumed == 6


def test_an_interrupted_ingest_is_not_continued_with_other_labels(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(2)]
    with pytest.raises(ReadError):
        ingest_these([*given_mv, ReadError("torn")], tmp_path / "c", strict=True)
    with pytest.raises(EcgprismError, match="another entries is here"):
        ingest_these([*given_mv, ReadError("torn")], tmp_path / "c", {0: {"labels": {"labels": ("B",)}}})


IN_A_PROCESS = """
    import json, resource, sys
    from pathlib import Path
    from ecgprism.errors import EcgprismError
    from ecgprism.corpus.ingestion import ingest
    from tests.records import Made, known

    def made(out, **given):
        with known("made", Made):
            ingest("made", None, out, **{"options": {"n": 12}, "workers": 1, **given})
"""


def in_a_process(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start Python in a session of its own, with `made(out)` at hand."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(IN_A_PROCESS) + textwrap.dedent(code), *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(session: int) -> set[int]:
    """The living processes of a session, from /proc."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found


def killed(out: Path, workers: int, n: int, after: int, wait_s: float) -> int:
    """Start a slow ingest and kill its process without warning after `after` records; returns its session."""
    code = 'made(sys.argv[1], options={"n": int(sys.argv[2])}, workers=int(sys.argv[3]))'
    with in_a_process(code, out, n, workers, **{MADE_WAIT_S: str(wait_s)}) as process:
        journal, began = partial(out) / "journal.jsonl", time.monotonic()
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= after):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() - began < 60
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signals.SIGKILL
    return process.pid


def test_an_ingest_killed_in_the_middle_and_run_again_gives_the_same_bytes(tmp_path: Path, undisturbed: Path) -> None:
    killed(tmp_path / "c", workers=1, n=12, after=5, wait_s=0.5)
    assert not (tmp_path / "c").exists()
    assert 5 <= ingest_made(tmp_path / "c").resumed < 12
    assert contents(tmp_path / "c") == contents(undisturbed)


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are counted by /proc")
def test_an_ingest_killed_with_two_processes_leaves_none_behind_and_goes_on(tmp_path: Path) -> None:
    session = killed(tmp_path / "c", workers=2, n=80, after=16, wait_s=0.02)
    began = time.monotonic()
    while (left := processes_of(session)) and time.monotonic() - began < 5:
        time.sleep(0.1)
    for process in left:  # ours: the session began with the process started above
        os.kill(process, signals.SIGKILL)
    assert ingest_made(tmp_path / "c", n=80).resumed >= 16
    ingest_made(tmp_path / "d", n=80)
    assert contents(tmp_path / "c") == contents(tmp_path / "d")
    assert not left


WITHOUT_ROOM = """
    folder, limits = Path(sys.argv[1]), json.loads(sys.argv[2])
    told = {}
    for limit in limits:
        out = folder / str(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            made(out, rate_hz=20.0)
        except EcgprismError as error:
            told[limit] = str(error)
        except BaseException as error:
            told[limit] = f"{type(error).__name__} escaped: {error}"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if limit in told:
            try:
                made(out, rate_hz=20.0)
            except BaseException as error:
                told[limit] += f" and afterwards {type(error).__name__}: {error}"
    print(json.dumps(told))
"""


def test_an_ingest_that_cannot_write_says_so_in_one_line_and_then_goes_on(tmp_path: Path) -> None:
    ingest_made(tmp_path / "undisturbed", rate_hz=20.0)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "undisturbed").iterdir()}
    # too little for the settings, the first record, one in the middle, the record table
    limits = [0, 40, 300, sizes[SIGNALS] // 2, sizes[RECORDS] - 500]
    assert sizes[SIGNALS] < limits[-1]
    output = in_a_process(WITHOUT_ROOM, tmp_path, json.dumps(limits)).communicate(timeout=60)[0]
    told = json.loads(output.splitlines()[-1])
    assert sorted(map(int, told)) == sorted(limits)
    for limit, message in told.items():
        assert len(message.splitlines()) == 1, message
        assert message.startswith("cannot write "), (limit, message)
        assert "and afterwards" not in message, (limit, message)
        assert message.endswith("run the same command again: it goes on where it stopped")
        assert contents(tmp_path / limit) == contents(tmp_path / "undisturbed")


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EcgprismError) as caught:
        ingest_these([recording(wave())], tmp_path / "file" / "c")
    assert one_line(caught.value).startswith(f"cannot write {tmp_path}/file/c.partial")


# --- the corpus


def test_windows_are_the_signal_its_mean_in_gaps_and_zeros_and_masks_where_nothing_is(tmp_path: Path) -> None:
    first = wave(0, n_leads=2, samples=120)  # I, II
    first[1, 60:] = np.nan
    second = recording(wave(1, n_leads=1, samples=80), ["V1"])
    ingest_these([recording(first), second], tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    read, mask = corpus.windows(
        np.array([0, 1, 0]), np.array([10, 0, 70]), np.array([100, 80, 30]), ("V1", "II", "aVL", "I")
    )
    assert (read.shape, read.dtype) == ((3, 4, 100), np.float32)
    close = {"rtol": 0, "atol": np.nanmax(np.abs(first)) / 32_766}
    np.testing.assert_allclose(read[0, 3], first[0, 10:110], **close)
    np.testing.assert_allclose(read[0, 1, :50], first[1, 10:60], **close)
    np.testing.assert_allclose(read[1, 0, :80], second.signal[0], **close)
    np.testing.assert_allclose(read[2, 3, :30], first[0, 70:100], **close)
    np.testing.assert_allclose(read[0, 1, 50:100], np.full(50, first[1, 10:60].mean()), **close)  # its gap
    held = np.zeros(read.shape, dtype=bool)
    held[0, 1, 50:100] = True
    held[0, 3], held[0, 1, :50], held[1, 0, :80], held[2, 3, :30] = True, True, True, True
    assert not read[~held].any()
    assert mask.tolist() == [[False, True, False, True], [True, False, False, False], [False, False, False, True]]


def test_records_of_differing_length_and_leads_stand_one_after_another(undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    kept = [entry for entry in Made().entries() if entry.record_id != "m3"]
    assert len({(row["samples"], tuple(row["leads"])) for row in corpus.records.to_dict("records")}) > 8
    for i, entry in enumerate(kept):
        made = Made().read(entry)
        expected = prepared_signal(made, 100)
        read, _ = corpus.windows(np.array([i]), np.array([0]), np.array([expected.shape[1]]), made.leads)
        np.testing.assert_array_equal(corpus.digital(i) == NOT_RECORDED, np.isnan(expected))
        np.testing.assert_allclose(read[0], filled(expected), rtol=0, atol=2e-4)


def test_select_gives_the_items_with_a_label_of_the_task_and_counts_the_others(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c", n=60)
    corpus = Corpus(tmp_path / "c")
    ids = [i for i in range(60) if i % 10 != 3]
    split = corpus.records["split"].to_numpy()
    for splits in (("train",), ("val", "test"), ("train", "val", "test")):
        inside = [row for row in range(len(ids)) if split[row] in splits]
        labelled = [row for row in inside if ids[row] % 3]
        chosen = corpus.select("form", splits)
        assert chosen.record.tolist() == labelled
        assert chosen.left_out == len(inside) - len(labelled)
        assert chosen.target.tolist() == [[k < ids[row] % 4 for k in range(3)] for row in labelled]
        assert chosen.cluster.tolist() == corpus.records["cluster"][labelled].tolist()
        assert chosen.length.tolist() == corpus.records["samples"][labelled].tolist()
        assert len(chosen) == len(labelled)
    first = corpus.select("form").first(3)
    assert (len(first), first.target.shape, first.left_out) == (3, (3, 3), corpus.select("form").left_out)


def test_select_of_some_classes_orders_them_and_leaves_out_what_holds_none_but_others(undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    chosen = corpus.select("rhythm", classes=("O", "N"))
    ids = [i for i in range(12) if i != 3]
    assert chosen.record.tolist() == [row for row, i in enumerate(ids) if i % 3 != 1]
    assert chosen.target.tolist() == [[i % 3 == 2, i % 3 == 0] for i in ids if i % 3 != 1]
    assert chosen.left_out == sum(i % 3 == 1 for i in ids)
    # an item without any class of a multilabel task is a negative of every choice of classes
    empty = [row for row, i in enumerate(ids) if i % 3 and i % 4 == 0]
    assert set(empty) <= set(corpus.select("form", classes=["Z"]).record)
    with pytest.raises(EcgprismError, match="task rhythm has no class 'n'; did you mean 'N'"):
        corpus.select("rhythm", classes=["N", "n"])


def test_a_task_is_found_by_name_or_as_the_only_one(tmp_path: Path, undisturbed: Path) -> None:
    corpus = Corpus(undisturbed)
    assert corpus.task("form")[1].classes == ("X", "Y", "Z")
    with pytest.raises(EcgprismError, match=r"no task 'rythm'; did you mean 'rhythm'\?"):
        corpus.task("rythm")
    with pytest.raises(EcgprismError, match="name one of its tasks with task: rhythm, form"):
        corpus.task(None)
    ingest_these([recording(wave())], tmp_path / "c")
    assert Corpus(tmp_path / "c").task(None)[0] == "labels"


def test_the_fingerprint_is_that_of_the_data(tmp_path: Path) -> None:
    def fingerprint(name: str, seed: int = 1, changes: Any = None, **given: Any) -> str:
        ingest_these([recording(wave(0)), recording(wave(seed))], tmp_path / name, changes, **given)
        return Corpus(tmp_path / name).fingerprint

    same = fingerprint("a")
    assert fingerprint("b") == same
    others = [
        fingerprint("label", changes={1: {"labels": {"labels": ("B",)}}}),
        fingerprint("unlabelled", changes={1: {"labels": {}}}),
        fingerprint("negative", changes={1: {"labels": {"labels": ()}}}),
        fingerprint("wave", seed=2),
        fingerprint("split", changes={0: {"split": "val"}, 1: {"split": "test"}}),
        fingerprint("id", changes={1: {"record_id": "x"}}),
        fingerprint("rate", rate_hz=50.0),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_the_fingerprint_of_the_same_files_in_another_place_is_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_manifest(tmp_path / name, 6)
        ingest("manifest", tmp_path / name, tmp_path / f"{name}.corpus", workers=1)
    first, second = (Corpus(tmp_path / f"{name}.corpus") for name in ("a", "b"))
    assert first.records["path"].tolist() != second.records["path"].tolist()
    assert first.fingerprint == second.fingerprint


def test_a_folder_without_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError) as caught:
        Corpus(tmp_path)
    assert one_line(caught.value) == f"{tmp_path}: no corpus here (make one with `ecgprism ingest`)"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_rewrite(SIGNALS, lambda data: data[:-2]), r"signals\.i16: holds \d+ bytes, the record table needs \d+"),
        (_rewrite(SIGNALS, lambda data: data + b"\0\0"), r"signals\.i16: holds \d+ bytes, the record table needs \d+"),
        (
            _rewrite(META, lambda data: data.replace(b'"format": 2', b'"format": 1')),
            "corpus format 1, expected 2: ingest it",
        ),
        (_rewrite(META, lambda data: data[:40]), "damaged"),
        (_rewrite(RECORDS, lambda data: data[:-9]), "damaged"),
        (lambda folder: (folder / ITEMS).unlink(), "damaged"),
        (lambda folder: (folder / SIGNALS).unlink(), "damaged"),
    ],
)
def test_a_damaged_corpus_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], None], problem: str) -> None:
    ingest_made(tmp_path / "c", n=3)
    damage(tmp_path / "c")
    with pytest.raises(EcgprismError, match=problem) as caught:
        Corpus(tmp_path / "c")
    assert one_line(caught.value).startswith(str(tmp_path / "c"))
