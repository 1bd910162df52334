"""Views rhythm and scalogram against what is known: simulated beats, intervals, waves; sines and the formula."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ecgprism.interface.card import InputSpec, MetadataSchema
from ecgprism.model.batch import Batch
from ecgprism.model.views.beats import find_beats, low_quantile, running_max
from ecgprism.model.views.rhythm import FEATURES, Rhythm
from ecgprism.model.views.scalogram import CENTRE, FLOOR, SPREAD, Scalogram
from ecgprism.simulator.simulation import simulate

RATE_HZ, WINDOW = 100.0, 3000
SPEC = InputSpec(("II",), RATE_HZ, WINDOW, MetadataSchema())


def beats_at(times_s: np.ndarray, p_before_s: np.ndarray | float = 0.16, samples: int = WINDOW) -> np.ndarray:
    """Return a lead (T,) in mV with a QRS complex, a P and a T wave of Gaussians at each time."""
    t = np.arange(samples) / RATE_HZ
    signal = np.zeros(samples)
    for at, before in zip(times_s, np.broadcast_to(p_before_s, len(times_s)), strict=True):
        for height, offset, width in ((1.2, 0.0, 0.02), (-0.3, 0.04, 0.015), (0.15, -before, 0.03), (0.3, 0.28, 0.06)):
            signal += height * np.exp(-0.5 * ((t - at - offset) / width) ** 2)
    return signal


def batch_of(*signals: np.ndarray) -> Batch:
    length = torch.tensor([len(signal) for signal in signals])
    rows = np.zeros((len(signals), 1, int(length.max())), dtype=np.float32)
    for row, signal in zip(rows, signals, strict=True):
        row[0, : len(signal)] = signal
    same = bool((length == length.max()).all())
    mask = torch.ones(len(signals), 1, dtype=torch.bool)
    return Batch(torch.from_numpy(rows), None if same else length, mask, torch.zeros(len(signals), 0))


def features(batch: Batch) -> dict[str, Tensor]:
    """Return each feature (B, N) by name."""
    x, _ = Rhythm(SPEC)(batch)
    return dict(zip(FEATURES, x.unbind(dim=1), strict=True))


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 500.0])
def test_beats_of_simulated_ecgs_are_found_where_they_are(rate_hz: float) -> None:
    found = there = hits = 0
    for index in range(12):
        made = simulate(index, rate_hz=rate_hz, duration_s=10)
        signal = torch.from_numpy(made.recording.signal)[None]
        beats = find_beats(signal - signal.mean(dim=2, keepdim=True), None, rate_hz)
        at_s = beats.at[beats.there].numpy() / rate_hz
        truth = made.truth.r_peaks_s
        truth = truth[(truth > 0.1) & (truth < 9.9)]
        found, there = found + len(at_s), there + len(truth)
        hits += sum(bool(np.abs(at_s - each).min() < 0.15) for each in truth)
    assert hits >= 0.97 * there
    assert found <= 1.1 * there


def test_a_flat_record_has_its_steepest_place_for_a_beat() -> None:
    beats = find_beats(torch.zeros(1, 1, 500), None, RATE_HZ)
    assert beats.there.any()
    assert beats.height.isfinite().all()


def test_intervals_are_told_relative_to_the_median_around() -> None:
    times_s = np.array([1.0, 1.8, 2.6, 3.4, 3.9, 5.0, 5.8, 6.6, 7.4])  # an early beat and its pause
    x = features(batch_of(beats_at(times_s, samples=1000)))
    beat = x["beat"][0] > 0
    assert int(beat.sum()) == len(times_s)
    before, after = x["before"][0][beat], x["after"][0][beat]
    at = 4
    assert float(before[at]) == pytest.approx(4 * math.log(0.5 / 0.8), abs=0.15)
    assert float(after[at]) == pytest.approx(4 * math.log(1.1 / 0.8), abs=0.15)
    assert float(before[0]) == float(after[-1]) == 0
    assert float(before[2].abs()) < 0.15
    assert float(x["interval"][0][beat].abs().max()) < 0.15  # 0.8 s is the usual one
    assert int(x["irregular"][0][beat].argmax()) in (at, at + 1)


def test_p_waves_at_no_fixed_time_agree_less_and_a_strange_beat_is_unlike_the_others() -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(1.0, 29.0, 0.8)
    fixed = beats_at(times_s)
    loose = beats_at(times_s, rng.uniform(0.1, 0.3, len(times_s)))
    strange = fixed.copy()
    strange[round(9.0 * RATE_HZ) - 9 : round(9.0 * RATE_HZ) + 10] = -np.hanning(19) * 1.5
    x = features(batch_of(fixed, loose, strange))
    agreement = [float(x["p_agreement"][row][x["beat"][row] > 0].mean()) for row in range(2)]
    assert agreement[0] > agreement[1] + 1
    likeness = x["qrs_likeness"][2].where(x["beat"][2] > 0, torch.tensor(9.0))
    assert int(likeness.argmin()) == int(9.0 / 0.25)
    assert float(likeness.min()) < 0 < float(likeness[: int(8.0 / 0.25)].min())


def test_a_louder_record_differs_in_steepness_alone() -> None:
    signal = beats_at(np.arange(1.0, 29.0, 0.8))
    x = features(batch_of(signal / 3, signal))
    for name, values in x.items():
        change = (values[1] - values[0])[x["beat"][0] > 0]
        expected = 2 * math.log(3) if name == "steepness" else 0.0
        torch.testing.assert_close(change, torch.full_like(change, expected), atol=0.02, rtol=0, msg=name)


def test_beats_beyond_the_end_are_no_beats() -> None:
    whole, short = beats_at(np.arange(1.0, 29.0, 0.8)), beats_at(np.arange(1.0, 11.0, 0.8), samples=1200)
    batch = batch_of(whole, short)
    x, length = Rhythm(SPEC)(batch)
    assert length is not None
    assert length.tolist() == [120, 48]
    loud = batch.signal.clone()
    loud[1, 0, 1200:] = 5.0
    assert torch.equal(Rhythm(SPEC)(replace(batch, signal=loud * (loud != 5.0))).x, x)
    assert x[1, 0].sum() == len(np.arange(1.0, 11.0, 0.8))


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 51])
def test_running_max_is_that_of_every_window(width: int) -> None:
    x = torch.randn(3, 80)
    assert torch.equal(running_max(x, width), x.unfold(1, width, 1).amax(dim=2))


def test_low_quantile_counts_finite_numbers_alone() -> None:
    infinite = float("inf")
    x = torch.tensor([[3.0, 1.0, 2.0, infinite], [infinite] * 4, [5.0, infinite, infinite, infinite]])
    assert low_quantile(x, 0.5).tolist() == [2.0, 0.0, 5.0]
    assert low_quantile(x, 0.3).tolist() == [1.0, 0.0, 5.0]


# Scalogram


def power_of(view: Scalogram, signal: np.ndarray) -> np.ndarray:
    """Return the power (F, T) in mV^2 that a view says of a lead."""
    x = view(batch_of(signal)).x[0, 0]
    return (10 ** (x * SPREAD + CENTRE) - FLOOR).numpy()


@pytest.mark.parametrize("number", [6, 14, 20, 25])
def test_a_sine_has_the_power_of_its_amplitude_at_its_frequency(number: int) -> None:
    view = Scalogram(SPEC)
    f_hz = float(view.frequencies_hz[number])
    t = np.arange(WINDOW) / RATE_HZ
    power = power_of(view, 0.7 * np.sin(2 * np.pi * f_hz * t))[:, 90:100]
    assert power[number].mean() == pytest.approx(0.49, rel=0.05)
    assert int(power.mean(axis=1).argmax()) == number


def test_the_scalogram_is_the_formula_of_morlet() -> None:
    view = Scalogram(SPEC, low_hz=2.0, high_hz=30.0, scales=9)
    signal = beats_at(np.arange(1.0, 29.0, 0.7))
    ours = power_of(view, signal)
    t, zero_mean = np.arange(WINDOW) / RATE_HZ, signal - signal.mean()
    for number, f_hz in enumerate(view.frequencies_hz):
        sigma_s = 6.0 / (2 * np.pi * f_hz)
        for step in (40, 90, 131):
            envelope = np.exp(-0.5 * ((t - t[16 * step]) / sigma_s) ** 2)
            wave = envelope * np.exp(-2j * np.pi * f_hz * (t - t[16 * step]))
            expected = abs(2 * (zero_mean * wave).sum() / envelope.sum()) ** 2
            assert ours[number, step] == pytest.approx(expected, rel=0.05, abs=2e-4)


def test_a_click_is_sharper_in_time_at_high_frequencies() -> None:
    view = Scalogram(SPEC)
    signal = np.zeros(WINDOW)
    signal[1504] = 5.0
    power = power_of(view, signal)
    widths = [(row > 0.25 * row.max()).sum() for row in power]
    assert widths[4] > 3 * widths[20]
    assert {int(row.argmax()) for row in power[5:]} == {94}


def test_an_octave_is_computed_with_wavelets_of_its_own_width() -> None:
    view = Scalogram(SPEC)
    widths = [bank.wavelets.shape[0] for bank in view.banks]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 30 * widths[-1]
    assert sum(bank.wavelets.shape[1] for bank in view.banks) == 2 * len(view.frequencies_hz)
