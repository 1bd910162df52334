"""Signals in a corpus: quantised within half a step, resampled, gaps kept."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import resample_poly

from ecgprism.corpus.quantisation import NOT_RECORDED, quantise
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.resampling import resample
from ecgprism.errors import EcgprismError, ReadError
from tests.ingests import Floats, ingest_these, one_line, recording, wave

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


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(500, 100), (360, 100), (128, 250), (999, 1000), (250.25, 100), (100, 100.05)]
)
@pytest.mark.parametrize("samples", [5, 997])
def test_resampling_is_that_of_scipy(from_hz: float, to_hz: float, samples: int) -> None:
    signal = wave(n_leads=3, samples=samples)
    ratio = Fraction(to_hz / from_hz).limit_denominator(10_000)
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
