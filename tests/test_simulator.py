"""The simulator: lead algebra, truth against what is measured from the signal, and a task that no scalar solves."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from scipy.signal import find_peaks
from sklearn.metrics import roc_auc_score

from ecgprism.errors import ReadError
from ecgprism.recording import STANDARD_LEADS
from ecgprism.simulator import (
    CLASSES,
    METADATA,
    TWELVE,
    Simulated,
    Traits,
    draw,
    draw_patient,
    simulate,
    tachycardia_bpm,
    wide_ms,
)
from ecgprism.sources.contract import Entry
from ecgprism.sources.simulated import SimulatedSource

RATE_HZ = 100.0
N = 600


@cache
def records() -> tuple[Simulated, ...]:
    return tuple(simulate(index) for index in range(N))


@cache
def traits() -> tuple[Traits, ...]:
    return tuple(draw(index) for index in range(2000))


def speed(signal: np.ndarray) -> np.ndarray:
    """(L, T) mV -> (T,): how fast the heart vector moves, mV/s over all leads."""
    return np.sqrt((np.gradient(signal.astype(np.float64), 1 / RATE_HZ, axis=1) ** 2).sum(0))


def beats(signal: np.ndarray) -> np.ndarray:
    energy = np.convolve(speed(signal) ** 2, np.ones(9), "same")
    return find_peaks(energy, height=0.25 * np.percentile(energy, 98), distance=int(0.25 * RATE_HZ))[0]


def median_beat(track: np.ndarray, at: np.ndarray, before: int = 10, after: int = 14) -> np.ndarray:
    """(..., T) -> (..., before + after): the median over the beats that lie wholly inside."""
    inside = at[(at >= before) & (at + after <= track.shape[-1])]
    return np.median(np.stack([track[..., k - before : k + after] for k in inside]), axis=0)


def qrs_width(signal: np.ndarray, at: np.ndarray) -> float:
    """Samples of the median beat in which the heart vector moves fast."""
    moving = median_beat(speed(signal), at)
    return float((moving > 0.2 * moving.max()).sum())


def scalars(simulated: Simulated) -> dict[str, float]:
    """What one might measure of a record by hand, and its metadata."""
    signal = simulated.recording.signal.astype(np.float64)
    at = beats(signal)
    rr_s = np.diff(at) / RATE_HZ
    beat = median_beat(signal, at) - np.median(signal, axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(signal - signal.mean(1, keepdims=True), axis=1)) ** 2).sum(0)
    f_hz = np.fft.rfftfreq(signal.shape[1], 1 / RATE_HZ)
    metadata = simulated.recording.metadata
    return {
        "rate": 60 / rr_s.mean(),
        "median rate": 60 / float(np.median(rr_s)),
        "irregularity": rr_s.std() / rr_s.mean(),
        "successive differences": float(np.sqrt((np.diff(rr_s) ** 2).mean())),
        "width": qrs_width(signal, at),
        "rms": float(np.sqrt((signal**2).mean())),
        "centroid": float((f_hz * power).sum() / power.sum()),
        **{f"R {lead}": high for lead, high in zip(STANDARD_LEADS, beat.max(1), strict=True)},
        **{f"S {lead}": low for lead, low in zip(STANDARD_LEADS, -beat.min(1), strict=True)},
        **{f"rms {lead}": rms for lead, rms in zip(STANDARD_LEADS, signal.std(1), strict=True)},
        **{key: float(metadata.get(key, np.nan)) for key in METADATA if key != "sex"},
        "sex": float(metadata["sex"] == "male"),
    }


@cache
def rows() -> tuple[dict[str, float], ...]:
    return tuple(scalars(record) for record in records())


@cache
def single_auroc() -> dict[str, np.ndarray]:
    """Scalar -> (K,): AUROC of each class with the better sign, a missing value taken as the median."""
    target = np.array([[name in record.labels for name in CLASSES] for record in records()])
    result = {}
    for key in rows()[0]:
        values = np.array([row[key] for row in rows()])
        values[np.isnan(values)] = np.nanmedian(values)
        auroc = np.array([roc_auc_score(target[:, k], values) for k in range(len(CLASSES))])
        result[key] = np.maximum(auroc, 1 - auroc)
    return result


def test_record_is_twelve_finite_leads_of_the_asked_length():
    recording = simulate(3, rate_hz=250.0, duration_s=7.3).recording
    assert recording.leads == STANDARD_LEADS
    assert recording.signal.shape == (12, 1825)
    assert recording.signal.dtype == np.float32
    assert np.isfinite(recording.signal).all()
    assert recording.rate_hz == 250.0


def test_limb_leads_obey_einthoven_and_goldberger():
    for record in records()[:50]:
        lead = dict(zip(STANDARD_LEADS, record.recording.signal, strict=True))
        close = {"rtol": 0, "atol": 4 * np.finfo(np.float32).eps * np.abs(record.recording.signal).max()}
        np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], **close)
        np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, **close)
        np.testing.assert_allclose(lead["aVL"], lead["I"] - lead["II"] / 2, **close)
        np.testing.assert_allclose(lead["aVF"], lead["II"] - lead["I"] / 2, **close)


def test_the_eight_measured_leads_are_independent():
    independent = records()[0].recording.signal[[0, 1, 6, 7, 8, 9, 10, 11]]
    assert np.linalg.matrix_rank(independent.astype(np.float64), tol=1e-2) == 8
    assert np.linalg.matrix_rank(TWELVE) == 8


def test_same_seed_and_index_same_record_in_any_process():
    once, again = simulate(17, seed=5), simulate(17, seed=5)
    np.testing.assert_array_equal(once.recording.signal, again.recording.signal)
    np.testing.assert_array_equal(once.r_peaks_s, again.r_peaks_s)
    code = "import hashlib; from ecgprism.simulator import simulate; s = simulate(17, seed=5); "
    code += "print(hashlib.sha256(s.recording.signal.tobytes()).hexdigest(), *s.labels)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert other == [hashlib.sha256(once.recording.signal.tobytes()).hexdigest(), *once.labels]


@pytest.mark.parametrize("other", [{"index": 16}, {"index": 18}, {"seed": 6}])
def test_another_index_or_seed_is_another_record(other, monkeypatch):
    given = {"index": 17, "seed": 5}
    one, two = simulate(**given), simulate(**given | other)
    assert not np.allclose(one.recording.signal, two.recording.signal, atol=0.05)
    assert one.traits.rate_bpm != two.traits.rate_bpm
    # the same heart in another record still beats at other times
    monkeypatch.setattr("ecgprism.simulator.draw", lambda index, *, seed: one.traits)
    assert abs(simulate(**given | other).r_peaks_s[0] - one.r_peaks_s[0]) > 1e-3


def test_truth_depends_neither_on_rate_nor_on_duration():
    fine = simulate(9, rate_hz=500.0, duration_s=4.0)
    coarse = simulate(9, rate_hz=100.0, duration_s=4.0)
    assert fine.labels == coarse.labels == simulate(9).labels
    np.testing.assert_array_equal(fine.r_peaks_s, coarse.r_peaks_s)
    # without noise they would be the same curve: compare where the heart outweighs the muscles
    for lead in (1, 9, 10):
        assert np.corrcoef(fine.recording.signal[lead, ::5], coarse.recording.signal[lead])[0, 1] > 0.95


def test_rate_measured_from_the_signal_is_the_true_rate():
    errors = []
    for record in records()[:150]:
        at = beats(record.recording.signal)
        true_rr_s = np.diff(record.r_peaks_s)
        errors.append(60 * RATE_HZ / np.median(np.diff(at)) / (60 / np.median(true_rr_s)) - 1)
    assert np.percentile(np.abs(errors), 95) < 0.03
    mean_bpm = np.array([60 / np.diff(record.r_peaks_s).mean() for record in records()])
    drawn_bpm = np.array([record.traits.rate_bpm for record in records()])
    assert np.corrcoef(mean_bpm, drawn_bpm)[0, 1] > 0.97
    assert np.median(mean_bpm / drawn_bpm) == pytest.approx(1, abs=0.02)


def test_r_peaks_lie_on_the_qrs_complexes():
    for record in records()[:40]:
        moving = speed(record.recording.signal)
        at = np.rint(record.r_peaks_s * RATE_HZ).astype(int)
        at = at[(at > 6) & (at < len(moving) - 6)]
        assert np.mean([moving[k - 5 : k + 6].max() for k in at]) > 4 * np.median(moving)


def test_fibrillation_is_more_irregular_than_sinus_rhythm():
    spread = {True: [], False: []}
    for record in records():
        rr_s = np.diff(beats(record.recording.signal))
        spread[record.traits.fibrillating].append(rr_s.std() / rr_s.mean())
    assert np.median(spread[True]) > 3 * np.median(spread[False])
    assert np.percentile(spread[False], 95) > np.percentile(spread[True], 25)  # premature beats are irregular too


def test_fibrillation_replaces_p_waves_by_4_to_9_hz():
    """Before the QRS complex lead II shows a P wave in sinus rhythm; in fibrillation V1 swings at 4 to 9 Hz."""
    p_wave, share = {True: [], False: []}, {True: [], False: []}
    for record in records()[:300]:
        signal, fibrillating = record.recording.signal.astype(np.float64), record.traits.fibrillating
        lead = median_beat(signal[1], np.rint(record.r_peaks_s * RATE_HZ).astype(int), before=30, after=1)
        p_wave[fibrillating].append(lead[12:22].max() - np.median(lead[:10]))
        quiet = (np.abs(np.arange(1000) / RATE_HZ - record.r_peaks_s[:, None]) > 0.08).all(0)
        power = np.abs(np.fft.rfft((signal[6] - np.median(signal[6])) * quiet)) ** 2
        f_hz = np.fft.rfftfreq(1000, 1 / RATE_HZ)
        share[fibrillating].append(power[(f_hz > 4) & (f_hz < 9)].sum() / power[f_hz > 1].sum())
    assert np.median(p_wave[False]) > 0.05 > 2 * np.median(p_wave[True])
    assert np.median(share[True]) > 1.3 * np.median(share[False])


def test_wide_qrs_measures_wider():
    width = np.array([qrs_width(record.recording.signal, beats(record.recording.signal)) for record in records()])
    wide = np.array(["WIDE" in record.labels for record in records()])
    assert width[wide].mean() > width[~wide].mean() + 1
    assert np.corrcoef(width, [record.traits.qrs_ms for record in records()])[0, 1] > 0.5


def test_true_qrs_duration_is_that_of_the_waves():
    for each in traits()[:200]:
        qrs = each.waves.stretch == 0
        centre, edge = each.waves.centre_s[qrs], 2.2 * each.waves.width_s[qrs]
        assert 1e3 * ((centre + edge).max() - (centre - edge).min()) == pytest.approx(each.qrs_ms)


def test_labels_follow_from_the_traits_with_a_soft_border_only():
    for each in traits():
        patient, labels = each.patient, each.labels
        assert ("NORM" in labels) == (labels == ("NORM",))
        assert ("AFIB" in labels) == each.fibrillating
        assert ("TACHY" in labels) == (each.rate_bpm > tachycardia_bpm(patient.age_years))
        if abs(each.qrs_ms - wide_ms(patient.sex)) > 15:  # five standard deviations of the reader
            assert ("WIDE" in labels) == (each.qrs_ms > wide_ms(patient.sex))
        if abs(np.log(each.voltage)) > 0.15:
            assert ("HYP" in labels) == (each.voltage > 1)


def test_borders_are_soft():
    """Many records lie near a border, so that measurement decides: no gap between the classes."""
    from_wide = np.array([each.qrs_ms - wide_ms(each.patient.sex) for each in traits()])
    from_tachycardia = np.array([each.rate_bpm / tachycardia_bpm(each.patient.age_years) for each in traits()])
    assert 0.1 < np.mean(np.abs(from_wide) < 6) < 0.5
    assert 0.1 < np.mean(np.abs(from_tachycardia - 1) < 0.08) < 0.5
    assert 0.05 < np.mean(np.abs(np.log([each.voltage for each in traits()])) < 0.08) < 0.5


def test_two_records_of_a_patient_share_who_they_are():
    first, second, stranger = (simulate(index) for index in (8, 9, 10))
    assert first.recording.patient_id == second.recording.patient_id != stranger.recording.patient_id
    assert first.recording.metadata == second.recording.metadata != stranger.recording.metadata
    assert first.traits.patient == second.traits.patient == draw_patient(4)
    assert not np.allclose(first.recording.signal, second.recording.signal, atol=0.05)


def test_metadata_are_plausible_and_missing_as_often_as_said():
    patients = [draw_patient(number) for number in range(1500)]
    written = [patient.metadata for patient in patients]
    assert all(18 <= row.get("age", 50) <= 95 and row["sex"] in {"female", "male"} for row in written)
    heights = np.array([row["height"] for row in written if "height" in row])
    weights = np.array([row["weight"] for row in written if "weight" in row])
    assert 135 < heights.min() < heights.max() < 205
    assert 30 < weights.min() < weights.max() < 180
    missing = {key: np.mean([key not in row for row in written]) for key in METADATA}
    assert missing["sex"] == 0
    assert missing["age"] == pytest.approx(0.03, abs=0.02)
    assert missing["height"] == pytest.approx(0.4, abs=0.05)
    assert missing["weight"] == pytest.approx(0.4, abs=0.05)
    assert 0.45 < np.mean([row["sex"] == "female" for row in written]) < 0.55


@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_is_neither_rare_nor_usual_and_classes_combine(seed):
    labels = [draw(index, seed=seed).labels for index in range(1200)]
    for name in CLASSES:
        assert 0.08 < np.mean([name in each for each in labels]) < 0.45, name
    assert np.mean([len(each) > 1 for each in labels]) > 0.1


def test_no_scalar_of_a_record_solves_the_task():
    macro = {key: auroc.mean() for key, auroc in single_auroc().items()}
    assert max(macro.values()) < 0.9, max(macro, key=lambda key: macro[key])
    # the scalars are real ones: each class but NORM is seen by the one that is made for it
    for key, name in (("irregularity", "AFIB"), ("rate", "TACHY"), ("width", "WIDE"), ("R V5", "HYP")):
        assert single_auroc()[key][CLASSES.index(name)] > 0.7, key


def test_no_metadata_column_decides_a_class():
    for key in METADATA:
        assert single_auroc()[key].max() < 0.85, key


def test_neither_rate_nor_age_alone_decides_tachycardia():
    target = ["TACHY" in each.labels for each in traits()]
    rate, age = np.array([(each.rate_bpm, each.patient.age_years) for each in traits()]).T
    assert roc_auc_score(target, rate) < 0.95
    assert roc_auc_score(target, age) < 0.7
    assert roc_auc_score(target, rate + 0.75 * age) == 1


def test_voltage_limits_depend_on_sex_and_age_and_weight_hides_voltage():
    """Among equal R waves in V5 more women, more of the old and more of the heavy are HYP."""
    tallest = np.array([row["R V5"] for row in rows()])
    target = np.array(["HYP" in record.labels for record in records()])
    patients = [record.traits.patient for record in records()]
    women = np.array([patient.sex == "female" for patient in patients])
    old = np.array([patient.age_years > 60 for patient in patients])
    heavy = np.array([patient.weight_kg > 78 for patient in patients])
    near = (tallest > np.percentile(tallest, 60)) & (tallest < np.percentile(tallest, 95))
    for group in (women, old, heavy):
        assert target[near & group].mean() > target[near & ~group].mean() + 0.05


def test_source_entries_agree_with_the_recordings():
    source = SimulatedSource(n=12, seed=3, rate_hz=200.0, duration_s=2.0)
    entries = list(source.entries())
    assert [entry.record_id for entry in entries] == [f"sim_{index:06d}" for index in range(12)]
    assert entries == list(source.entries())
    assert {name for entry in entries for name in entry.labels["simulated"]} <= set(source.tasks["simulated"].classes)
    for index, entry in enumerate(entries):
        recording, truth = source.read(entry), simulate(index, seed=3, rate_hz=200.0, duration_s=2.0)
        assert (entry.path, entry.split) == ("", None)
        assert entry.patient_id == recording.patient_id == f"p{index // 2:06d}"
        assert entry.metadata == recording.metadata
        assert entry.labels == {"simulated": truth.labels}
        assert recording.signal.shape == (12, 400)
        np.testing.assert_array_equal(recording.signal, truth.recording.signal)


def test_source_pickles():
    source = SimulatedSource(n=3, seed=2)
    entry = next(iter(source.entries()))
    other = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(other.read(pickle.loads(pickle.dumps(entry))).signal, source.read(entry).signal)


def test_source_simulates_no_signal_to_enumerate(monkeypatch):
    monkeypatch.setattr("ecgprism.simulator._play", lambda *_: pytest.fail("entries() played a record"))
    assert len(list(SimulatedSource(n=4).entries())) == 4


@pytest.mark.parametrize("record_id", ["sim_000003", "A00001", "sim_1"])
def test_source_refuses_the_entry_of_another_source(record_id):
    with pytest.raises(ReadError, match="sim_000000 to sim_000002"):
        SimulatedSource(n=3).read(Entry(record_id, "", {}))
