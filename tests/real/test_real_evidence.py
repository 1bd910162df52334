"""Noise, QRS complexes and stress on real recordings, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgprism.config import parse_config
from ecgprism.corpus.ingestion import ingest
from ecgprism.ecg.noise import gain_for, snr_db
from ecgprism.ecg.qrs import find_r_peaks
from ecgprism.ecg.recorded_noise import RecordedNoise, in_leads
from ecgprism.ecg.resampling import resample
from ecgprism.evidence.disturbance import StressRecording, swap_leads
from ecgprism.evidence.ledger import ablate
from ecgprism.evidence.robustness import stress
from ecgprism.formats.reading import read
from ecgprism.training.run import fit

from ..records import write_csv
from .test_real_recordings import folder

BEATS = list("NLRBAaJSVrFejnE/fQ")


def test_the_noise_stress_database_is_halved_and_each_kind_is_what_it_is_called() -> None:
    halves = [RecordedNoise.read(folder("nstdb"), 100.0, half) for half in ("first", "second")]
    for half in halves:
        assert set(half.kinds) == {"wander", "muscle", "motion"}
        assert {part.shape for part in half.kinds.values()} == {(2, 90278)}
        fast = {}
        for kind, part in half.kinds.items():
            power = np.abs(np.fft.rfft(part - part.mean(axis=1, keepdims=True), axis=1)) ** 2
            frequency = np.fft.rfftfreq(part.shape[1], 1 / 100)
            fast[kind] = power[:, frequency > 10].sum() / power[:, frequency > 0.5].sum()
        assert fast["muscle"] > 5 * fast["wander"]
    for kind in halves[0].kinds:
        assert not np.array_equal(halves[0].kinds[kind], halves[1].kinds[kind])


@pytest.mark.parametrize("rate_hz", [100.0, 360.0])
def test_nearly_every_annotated_beat_of_mit_bih_is_found(rate_hz: float) -> None:
    found_beats = beats = 0
    for header in sorted(folder("mitdb").glob("*.hea")):
        record, notes = wfdb.rdrecord(str(header.with_suffix(""))), wfdb.rdann(str(header.with_suffix("")), "atr")
        truth = notes.sample[np.isin(notes.symbol, BEATS)] / record.fs
        found = find_r_peaks(resample(record.p_signal.T.astype(np.float32), 360.0, rate_hz), rate_hz) / rate_hz
        beside = np.searchsorted(found, truth).clip(1, len(found) - 1)
        near = np.minimum(np.abs(truth - found[beside - 1]), np.abs(truth - found[beside]))
        found_beats += int((near < 0.1).sum())
        beats += len(truth)
    assert beats > 50_000
    assert found_beats / beats > 0.995


def test_recorded_noise_on_a_real_recording_has_the_ratio_asked_for() -> None:
    bank = RecordedNoise.read(folder("nstdb"), 360.0, "second")
    record = wfdb.rdrecord(str(folder("mitdb") / "101"))
    signal = record.p_signal.T.astype(np.float32)
    peaks = find_r_peaks(signal, 360.0)
    recorded = StressRecording(0, signal, ("II", "V1"), 360.0, peaks)
    noise = in_leads("muscle", recorded.leads, signal.shape[1], 360.0, np.random.default_rng(0), bank)
    gain = gain_for(signal, noise, peaks, 360.0, 6.0)
    assert snr_db(signal, gain * noise, peaks, 360.0) == pytest.approx(6.0, abs=1e-6)


def test_swapped_leads_of_a_real_recording_keep_their_relations() -> None:
    header = next(iter(sorted(folder("ptbxl").rglob("*_lr.hea"))))
    recording = read(header)
    swapped = dict(zip(recording.leads, swap_leads(recording.signal, recording.leads, "LA/RA"), strict=True))
    was = dict(zip(recording.leads, recording.signal, strict=True))
    # the file rounds each lead to a microvolt, so its own relations hold within two
    np.testing.assert_allclose(swapped["I"], -was["I"], atol=0.004)
    np.testing.assert_allclose(swapped["aVR"], was["aVL"], atol=0.004)
    np.testing.assert_allclose(swapped["V5"], was["V5"], atol=0.004)


def test_a_little_ablation_and_stress_test_on_real_recordings(tmp_path: Path) -> None:
    data = folder("cinc2017")
    headers = sorted(data.rglob("*.hea"))[:120]
    labels = dict(line.split(",") for line in next(data.rglob("REFERENCE.csv")).read_text().split())
    rows = [
        {"path": header, "record_id": header.stem, "labels": "N" if labels[header.stem] == "N" else "rest"}
        for header in headers
    ]
    write_csv(tmp_path / "m.csv", rows)
    options = {"kind": "multiclass", "leads": "ECG=I"}
    corpus = ingest("manifest", tmp_path / "m.csv", tmp_path / "corpus", workers=1, options=options).path
    views = {
        "freq": {"view": "spectrum", "encoder": {"mlp": {"hidden": 8}}},
        "stft": {"view": "spectrogram", "encoder": {"crnn2d": {"width": 4, "stages": 1, "hidden": 4}}},
    }
    augment = {"noise_db": [0, 20], "noise_from": str(folder("nstdb"))}
    tree = {"corpus": str(corpus), "views": views, "dim": 8, "augment": augment, "train": {"epochs": 1}}
    ledger = ablate(parse_config(tree), tmp_path / "ablation", seeds=1, folds=2, workers=2, resamples=50)
    assert ledger.report.items == len(headers)
    assert ledger.verdict
    fit(parse_config(tree), tmp_path / "run")
    report = stress(tmp_path / "run", noise=folder("nstdb"), families=["noise", "view"], resamples=20)
    assert report.noise == {"wander": "recorded", "muscle": "recorded", "motion": "recorded"}
    assert len(report.conditions) == 18 + 2
