"""Quality flags: each fault raises its own flag on its own lead, and a clean recording none."""

from __future__ import annotations

import numpy as np
import pytest

from ecgprism.ecg.quality import FLAGS, assess
from ecgprism.ecg.recording import Recording
from ecgprism.simulator.acquisition import Acquisition
from ecgprism.simulator.simulation import simulate

RATE_HZ = 250
QUIET = Acquisition(snr_db=30)  # without any noise a baseline rests at one value, as a clipped one does


def clean(index: int = 0) -> Recording:
    return simulate(index, rate_hz=RATE_HZ, acquisition=QUIET).recording


def spoiled(lead: str, fault: str) -> Recording:
    recording = clean()
    signal, at = recording.signal.copy(), recording.leads.index(lead)
    rng, t_s = np.random.default_rng(0), np.arange(recording.signal.shape[1]) / RATE_HZ
    if fault == "flat":
        signal[at] = 0.3
    elif fault == "clipped":
        signal[at] = np.clip(5 * signal[at], -0.4, 0.4)
    elif fault == "noisy":
        signal[at] += np.diff(rng.normal(0, 0.5, len(t_s) + 1))
    else:
        signal[at] += 8 * np.sin(2 * np.pi * 0.7 * t_s)
    return Recording(signal, RATE_HZ, recording.leads)


def test_clean_recordings_have_no_flag() -> None:
    for index in range(20):
        quality = assess(clean(index))
        assert quality.good, (index, quality)
        assert quality.missing == 0


@pytest.mark.parametrize("fault", FLAGS)
@pytest.mark.parametrize("lead", ["I", "V4"])
def test_a_fault_raises_its_flag_on_its_lead_alone(lead: str, fault: str) -> None:
    quality = assess(spoiled(lead, fault))
    assert {flag: getattr(quality, flag) for flag in FLAGS} == {flag: (lead,) * (flag == fault) for flag in FLAGS}
    assert not quality.good


def test_what_was_not_recorded_is_counted_and_a_lead_of_nothing_is_flat() -> None:
    recording = clean()
    signal = recording.signal.copy()
    signal[2] = np.nan
    quality = assess(Recording(signal, RATE_HZ, recording.leads))
    assert (quality.flat, quality.missing) == (("III",), pytest.approx(1 / 12))


def test_short_and_slow_recordings_are_assessed_without_a_fault() -> None:
    for rate_hz, samples in ((50.0, 500), (250.0, 3), (250.0, 260), (20.0, 1)):
        signal = np.random.default_rng(0).normal(0, 0.3, (2, samples)).astype(np.float32)
        assess(Recording(signal, rate_hz, ("I", "II")))


@pytest.mark.parametrize("span_mv", [2.0, 3.5, 4.0, 4.2, 4.4, 4.7, 5.0, 5.5, 9.0])
def test_a_first_look_passes_no_lead_that_the_spectrum_calls_off(
    span_mv: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(int(10 * span_mv))
    t = np.arange(12 * RATE_HZ) / RATE_HZ
    swings = [np.tanh(20 * np.sin(np.pi * (t + at))) * span_mv / 2 for at in np.linspace(0, 1, 11)]
    steps = np.repeat(rng.uniform(-0.5, 0.5, (30, 12)), RATE_HZ, axis=1) * span_mv
    signals = np.stack([*swings, *steps]).astype(np.float32)
    quick = [assess(Recording(signal[None], RATE_HZ, ("II",))) for signal in signals]
    monkeypatch.setattr("ecgprism.ecg.quality._may_be_off", lambda *_: True)
    assert quick == [assess(Recording(signal[None], RATE_HZ, ("II",))) for signal in signals]
    if span_mv > 5:
        assert any(each.off for each in quick)
