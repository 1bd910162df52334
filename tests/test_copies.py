"""Copies: a waveform at another gain, offset or sign is found; different ECGs, however alike, are not taken for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ecgprism.corpus.copies import alike, compared_lead, moving_mean, pairs, signature
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.resampling import resample
from ecgprism.errors import EcgprismError
from ecgprism.sources.simulated import SimulatedSource

from .ingests import ingest_these, recording, wave

Floats = NDArray[np.float32]
RATE_HZ = 100.0


@pytest.fixture(scope="module")
def simulated() -> list[Recording]:
    source = SimulatedSource(n=120, seed=5, rate_hz=200.0)
    return [source.read(entry) for entry in source.entries()]


def as_file(signal: Floats, steps_per_mv: float) -> Floats:
    """What a file of so many integer steps a millivolt gives back."""
    return (np.rint(signal * steps_per_mv) / steps_per_mv).astype(np.float32)


CHANGES = {
    "x 1.1": lambda signal: signal * 1.1,
    "/ 4.88, 200 steps a mV": lambda signal: as_file(signal / 4.88, 200),
    "x 10": lambda signal: as_file(signal * 10, 200),
    "+ 0.37": lambda signal: as_file(signal + 0.37, 500),
    "x 1.1 + 5": lambda signal: as_file(signal * 1.1 + 5, 1000),
    "negative": lambda signal: -signal,
    "- 0.3 x": lambda signal: as_file(-0.3 * signal, 500),
    "leads at gains of their own": lambda signal: signal * np.linspace(0.5, 3, len(signal))[:, None],
    "at half the rate": lambda signal: as_file(resample(signal, 200, 100), 200),
}


@pytest.mark.parametrize("name", CHANGES)
def test_fifty_copies_of_fifty_are_found_and_nothing_else(
    simulated: list[Recording], name: str, tmp_path: Path
) -> None:
    rate_hz = 100.0 if name == "at half the rate" else 200.0
    copies = [
        replace(r, signal=CHANGES[name](r.signal).astype(np.float32), rate_hz=rate_hz, patient_id=None)
        for r in simulated[:50]
    ]
    done = ingest_these([*simulated, *copies], tmp_path / "c", {i: {"patient_id": None} for i in range(170)})
    table = Corpus(tmp_path / "c").records
    assert done.duplicates == 50
    assert table["copy_of"].fillna("").tolist() == [""] * 120 + [f"r{i}" for i in range(50)]
    assert table["cluster"].tolist()[120:] == table["cluster"].tolist()[:50]
    assert table["cluster"].nunique() == 120
    Corpus(tmp_path / "c").refuse_leaks()


def test_a_copy_at_another_gain_in_another_split_is_refused(simulated: list[Recording], tmp_path: Path) -> None:
    copy = replace(simulated[3], signal=simulated[3].signal * np.float32(1.1) + np.float32(0.2))
    changes = {i: {"split": ("train", "val", "test")[i % 3]} for i in range(10)}
    ingest_these([*simulated[:9], copy], tmp_path / "sound", changes | {9: {"split": "train"}})
    Corpus(tmp_path / "sound").refuse_leaks()
    ingest_these([*simulated[:9], copy], tmp_path / "leaks", changes | {9: {"split": "test"}})
    with pytest.raises(EcgprismError, match=r"the identical waveform .* r3 in train, r9 in test"):
        Corpus(tmp_path / "leaks").refuse_leaks()


def test_copies_of_copies_are_of_the_first(tmp_path: Path) -> None:
    base = wave(0)
    signals = [wave(1), base, wave(2), 3 * base, base, -base + 1, 0.2 * wave(2)]
    ingest_these([recording(signal) for signal in signals], tmp_path / "c")
    copies = Corpus(tmp_path / "c").records["copy_of"].fillna("").tolist()
    assert copies == ["", "", "", "r1", "r1", "r1", "r2"]


def test_many_copies_of_one_are_all_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signals = [wave(0) * gain + offset for gain, offset in rng.uniform(0.1, 5, (60, 2))] + [
        wave(i) for i in range(1, 9)
    ]
    ingest_these([recording(signal) for signal in signals], tmp_path / "c")
    assert Corpus(tmp_path / "c").records["copy_of"].fillna("").tolist() == [""] + ["r0"] * 59 + [""] * 8


# --- no false alarm


def drifting(seed: int, samples: int = 1000) -> Floats:
    """An ECG of 0.05 mV beside the drift of 5 mV that all of them have."""
    at = np.arange(samples)
    return (5 * np.sin(at / 300) + 0.05 * wave(seed, samples=samples)[0]).astype(np.float32)


def test_ecgs_that_share_their_wander_alone_are_no_copies() -> None:
    assert not alike(drifting(0), drifting(1), RATE_HZ)
    assert alike(drifting(0), drifting(0) * np.float32(2), RATE_HZ)
    signatures = [signature(drifting(i)[None], ("I",)) for i in range(40)]
    assert not list(pairs(signatures, lambda a, b: alike(drifting(a), drifting(b), RATE_HZ)))


def test_the_same_rhythm_at_another_phase_or_of_other_shape_is_no_copy(simulated: list[Recording]) -> None:
    for first, second in zip(simulated[:-1:2], simulated[1::2], strict=True):  # two of each patient
        a, b = (prepared_signal(r, RATE_HZ)[1] for r in (first, second))
        assert not alike(a, b, RATE_HZ)
    shifted = prepared_signal(simulated[0], RATE_HZ)[1]
    assert not alike(shifted[:-10], shifted[10:], RATE_HZ)


def test_short_or_flat_recordings_have_no_signature() -> None:
    assert signature(wave(0, samples=49), ("I",)) is None
    assert signature(np.full((2, 100), np.nan, dtype=np.float32), ("I", "II")) is None
    assert signature(wave(0, samples=50), ("I",)) is not None
    assert not alike(wave(0, samples=40)[0], wave(0, samples=40)[0], RATE_HZ)


def test_lead_ii_is_compared_where_it_holds_anything() -> None:
    signal = wave(0, n_leads=3)
    assert compared_lead(signal, STANDARD_LEADS[:3]) == 1
    assert compared_lead(signal, ("V1", "V2", "aVR")) == 2
    signal[1] = np.nan
    assert compared_lead(signal, STANDARD_LEADS[:3]) == 0


def test_time_and_memory_grow_with_the_number_of_records_and_few_pairs_are_compared() -> None:
    rng = np.random.default_rng(0)
    signatures = [rng.bytes(16).hex() for _ in range(30_000)]
    signatures[7] = signatures[29_000]
    inverse = bytes(255 - byte for byte in bytes.fromhex(signatures[11])).hex()
    signatures[20_000] = inverse
    asked: list[tuple[int, int]] = []
    found = list(pairs([*signatures, None], lambda a, b: asked.append((a, b)) is None))
    assert sorted(found) == sorted(asked) == [(7, 29_000), (11, 20_000)]


@pytest.mark.parametrize("width", [3, 4, 40, 101])
def test_the_moving_mean_is_that_of_scipy(width: int) -> None:
    x = np.cumsum(np.random.default_rng(0).normal(size=500)) + 1000
    np.testing.assert_allclose(moving_mean(x, width), uniform_filter1d(x, width, mode="nearest"), rtol=1e-12)
