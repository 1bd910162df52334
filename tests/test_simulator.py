"""The simulator: lead algebra, truth, patients, determinism, bad input, and a task that no scalar solves.

The clinical criteria of its conditions are measured in test_conditions.py.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks
from sklearn.metrics import roc_auc_score

from ecgprism.ecg.electrodes import EIGHT, POTENTIALS, TWELVE, swapped
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.errors import ConfigError, EcgprismError, ReadError
from ecgprism.simulator.acquisition import Acquisition
from ecgprism.simulator.conditions import (
    CONDITIONS,
    RHYTHMS,
    SUPERDIAGNOSTIC,
    check_combination,
    compatible,
    statements,
)
from ecgprism.simulator.patients import METADATA, draw_patient
from ecgprism.simulator.simulation import AAMI, SimulatedRecord, Traits, draw, simulate
from ecgprism.sources.contract import Entry
from ecgprism.sources.simulated import SimulatedSource

RATE_HZ = 100.0
N = 500
QUIET = Acquisition(snr_db=math.inf)


@cache
def records() -> tuple[SimulatedRecord, ...]:
    return tuple(simulate(index) for index in range(N))


@cache
def traits() -> tuple[Traits, ...]:
    return tuple(draw(index) for index in range(3000))


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


def scalars(simulated: SimulatedRecord) -> dict[str, float]:
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
    labelled = [k for k, record in enumerate(records()) if record.traits.labels["superdiagnostic"]]
    held = [records()[k].traits.labels["superdiagnostic"] for k in labelled]
    target = np.array([[name in labels for name in SUPERDIAGNOSTIC] for labels in held])
    result = {}
    for key in rows()[0]:
        values = np.array([rows()[k][key] for k in labelled])
        values[np.isnan(values)] = np.nanmedian(values)
        auroc = np.array([roc_auc_score(target[:, k], values) for k in range(len(SUPERDIAGNOSTIC))])
        result[key] = np.maximum(auroc, 1 - auroc)
    return result


# Leads


def test_record_is_twelve_finite_leads_of_the_asked_length() -> None:
    recording = simulate(3, rate_hz=250.0, duration_s=7.3).recording
    assert recording.leads == STANDARD_LEADS
    assert recording.signal.shape == (12, 1825)
    assert recording.signal.dtype == np.float32
    assert np.isfinite(recording.signal).all()
    assert recording.rate_hz == 250.0


def test_limb_leads_obey_einthoven_and_goldberger_with_and_without_noise() -> None:
    for record in records()[:50]:
        for signal in (record.recording.signal, record.clean):
            lead = dict(zip(STANDARD_LEADS, signal, strict=True))
            close = {"rtol": 0, "atol": 4 * np.finfo(np.float32).eps * np.abs(signal).max()}
            np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], **close)
            np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, **close)
            np.testing.assert_allclose(lead["aVL"], lead["I"] - lead["II"] / 2, **close)
            np.testing.assert_allclose(lead["aVF"], lead["II"] - lead["I"] / 2, **close)


def test_potentials_give_back_the_leads_and_wilsons_terminal_is_zero() -> None:
    np.testing.assert_allclose(EIGHT @ POTENTIALS, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(POTENTIALS[:3].sum(axis=0), 0, atol=1e-12)
    assert np.linalg.matrix_rank(TWELVE) == 8


@pytest.mark.parametrize(
    ("pair", "now", "before"),
    [
        ("LA/RA", ("I", "II", "III", "aVR", "aVL", "aVF"), ("-I", "III", "II", "aVL", "aVR", "aVF")),
        ("LA/LL", ("I", "II", "III", "aVR", "aVL", "aVF"), ("II", "I", "-III", "aVR", "aVF", "aVL")),
        ("RA/LL", ("I", "II", "III", "aVR", "aVL", "aVF"), ("-III", "-II", "-I", "aVF", "aVL", "aVR")),
        ("V1/V2", ("V1", "V2", "V3", "I"), ("V2", "V1", "V3", "I")),
    ],
)
def test_swapped_electrodes_give_the_leads_of_the_textbook(
    pair: str, now: tuple[str, ...], before: tuple[str, ...]
) -> None:
    right = simulate(5, acquisition=QUIET).recording.signal
    wrong = simulate(5, acquisition=Acquisition(snr_db=math.inf, swap=(pair,))).recording.signal
    for lead, other in zip(now, before, strict=True):
        expected = right[STANDARD_LEADS.index(other.lstrip("-"))] * (-1 if other.startswith("-") else 1)
        np.testing.assert_allclose(wrong[STANDARD_LEADS.index(lead)], expected, atol=0.006, err_msg=lead)


@given(st.permutations(range(9)), st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_swapping_twice_changes_nothing(values: list[int], a: int, b: int) -> None:
    names = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
    potentials = np.array(values, dtype=float)[:, None]
    if a != b:
        pair = f"{names[a]}/{names[b]}"
        np.testing.assert_array_equal(swapped(potentials, (pair, pair)), potentials)
        assert not np.array_equal(swapped(potentials, (pair,)), potentials)


def test_loose_electrodes_a_chest_lead_goes_flat_and_a_limb_electrode_spoils_what_it_touches() -> None:
    chest = simulate(5, acquisition=Acquisition(lead_off=("V3",))).recording.signal
    assert np.ptp(chest[STANDARD_LEADS.index("V3")]) == 0 < np.ptp(chest[STANDARD_LEADS.index("V2")])
    fine, limb = (simulate(5, acquisition=Acquisition(snr_db=math.inf, lead_off=off)) for off in ((), ("LA",)))
    change = np.abs(limb.recording.signal - fine.recording.signal).max(axis=1)
    assert change[STANDARD_LEADS.index("II")] == 0
    assert change[STANDARD_LEADS.index("I")] > 0.2


def test_amplifier_saturates_and_converter_has_steps() -> None:
    signal = simulate(5, acquisition=Acquisition(range_mv=0.4, step_uv=50)).recording.signal
    recorded = signal[[0, 1, 6, 7, 8, 9, 10, 11]]
    assert np.abs(recorded).max() == pytest.approx(0.4)
    np.testing.assert_allclose(recorded / 0.05, np.rint(recorded / 0.05), atol=1e-4)


# Truth


def test_same_seed_and_index_same_record_in_any_process() -> None:
    once, again = simulate(17, seed=5), simulate(17, seed=5)
    np.testing.assert_array_equal(once.recording.signal, again.recording.signal)
    np.testing.assert_array_equal(once.truth.r_peaks_s, again.truth.r_peaks_s)
    code = "import hashlib; from ecgprism.simulator.simulation import simulate; s = simulate(17, seed=5); "
    code += "print(hashlib.sha256(s.recording.signal.tobytes()).hexdigest(), *s.traits.labels['rhythm'])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert other == [hashlib.sha256(once.recording.signal.tobytes()).hexdigest(), *once.traits.labels["rhythm"]]


@pytest.mark.parametrize("other", [{"index": 16}, {"index": 18}, {"seed": 6}])
def test_another_index_or_seed_is_another_record(other: dict[str, int]) -> None:
    one, two = simulate(17, seed=5), simulate(**{"index": 17, "seed": 5} | other)
    assert not np.allclose(one.recording.signal, two.recording.signal, atol=0.05)


def test_truth_depends_neither_on_rate_nor_on_noise() -> None:
    fine = simulate(9, rate_hz=500.0, duration_s=4.0, acquisition=QUIET)
    coarse = simulate(9, rate_hz=100.0, duration_s=4.0, acquisition=Acquisition(snr_db=3))
    assert fine.traits.labels == coarse.traits.labels == simulate(9).traits.labels
    np.testing.assert_array_equal(fine.truth.r_peaks_s, coarse.truth.r_peaks_s)
    np.testing.assert_allclose(fine.recording.signal, fine.clean, atol=0.003)
    for lead in (1, 9, 10):
        assert np.corrcoef(fine.clean[lead, ::5], coarse.clean[lead])[0, 1] > 0.97


def test_rate_measured_from_the_signal_is_the_true_rate() -> None:
    errors = []
    for record in records()[:150]:
        if set(record.truth.symbols) <= {"N", "L", "R"}:
            measured = np.median(np.diff(beats(record.recording.signal))) / RATE_HZ
            errors.append(measured / np.median(np.diff(record.truth.r_peaks_s)) - 1)
    assert len(errors) > 90
    assert np.percentile(np.abs(errors), 95) < 0.03


def test_r_peaks_lie_on_the_qrs_complexes() -> None:
    for record in records()[:60]:
        moving = speed(record.clean)
        at = np.rint(record.truth.r_peaks_s * RATE_HZ).astype(int)
        at = at[(at > 6) & (at < len(moving) - 6)]
        assert np.mean([moving[k - 5 : k + 6].max() for k in at]) > 4 * np.median(moving)


def test_wave_borders_are_in_their_order_and_waves_that_are_not_there_are_missing() -> None:
    for record in records()[:200]:
        table = record.truth.beats()
        assert set(table["aami"]) <= {"N", "S", "V", "Q"}
        assert (table["symbol"].map(AAMI) == table["aami"]).all()
        for wave in ("p", "qrs", "t"):
            there = table[[f"{wave}_onset_s", f"{wave}_peak_s", f"{wave}_offset_s"]].dropna()
            assert (np.diff(there.to_numpy(), axis=1) > 0).all()
        both = table.dropna(subset=["p_peak_s"])
        assert (both["p_peak_s"] < both["qrs_onset_s"]).all()
        if "atrial_fibrillation" in record.traits.conditions:
            assert table["p_peak_s"].isna().all()
        assert record.truth.spans[0].start_s == 0
        assert record.truth.spans[-1].stop_s == 10
        assert all(a.stop_s == b.start_s for a, b in zip(record.truth.spans, record.truth.spans[1:], strict=False))


def test_labels_follow_from_the_conditions() -> None:
    for each in traits():
        assert each.labels == statements(each.conditions)
        diagnoses = {CONDITIONS[name].superdiagnostic for name in each.conditions} - {None}
        sinus = all(name.startswith("sinus_") for name in each.conditions)
        assert set(each.labels["superdiagnostic"]) == (diagnoses or ({"NORM"} if sinus else set()))
        assert all(compatible(a, b) for a, b in combinations(each.conditions, 2))
        assert all(0 <= severity <= 1 for severity in each.conditions.values())


# Patients


def test_two_records_of_a_patient_share_who_they_are() -> None:
    first, second, stranger = (simulate(index) for index in (8, 9, 10))
    assert first.recording.patient_id == second.recording.patient_id != stranger.recording.patient_id
    assert first.recording.metadata == second.recording.metadata != stranger.recording.metadata
    np.testing.assert_array_equal(first.traits.patient.torso, second.traits.patient.torso)
    np.testing.assert_array_equal(first.traits.patient.torso, draw_patient(4).torso)
    assert not np.allclose(first.recording.signal, second.recording.signal, atol=0.05)


def test_metadata_are_plausible_and_missing_as_often_as_said() -> None:
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


def test_age_and_sex_tell_something_of_rate_voltage_qt_and_prevalence() -> None:
    patients = [draw_patient(number) for number in range(3000)]
    women = np.array([patient.sex == "female" for patient in patients])
    old = np.array([patient.age_years > 70 for patient in patients])
    young = np.array([patient.age_years < 45 for patient in patients])
    for name, higher, lower in (
        ("rest_bpm", women, ~women), ("qt_ms", women, ~women), ("strength", ~women, women), ("strength", young, old),
        ("respiratory", young, old), ("pr_s", old, young), ("fibrillates", old, young),
    ):  # fmt: skip
        values = np.array([getattr(patient, name) for patient in patients])
        assert values[higher].mean() > 1.03 * abs(values[lower].mean()) or values[lower].mean() < 0, name
    hypertrophied = np.array(["lvh" in patient.chronic for patient in patients])
    assert hypertrophied[old].mean() > 1.5 * hypertrophied[young].mean()


@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_of_both_tasks_occurs_and_diagnoses_combine(seed: int) -> None:
    labels = [draw(index, seed=seed).labels for index in range(2000)]
    counts = {task: Counter(name for each in labels for name in each[task]) for task in ("superdiagnostic", "rhythm")}
    for name in SUPERDIAGNOSTIC:
        assert 0.08 < counts["superdiagnostic"][name] / len(labels) < 0.5, name
    assert set(counts["rhythm"]) == set(RHYTHMS)
    assert all(each["rhythm"] for each in labels)
    assert np.mean([len(each["superdiagnostic"]) > 1 for each in labels]) > 0.1


def test_no_scalar_of_a_record_solves_the_diagnosis() -> None:
    macro = {key: auroc.mean() for key, auroc in single_auroc().items()}
    assert max(macro.values()) < 0.9, max(macro, key=lambda key: macro[key])
    # the scalars are real ones: width tells of conduction, voltage of hypertrophy
    for key, name in (("width", "CD"), ("R V5", "HYP")):
        assert single_auroc()[key][SUPERDIAGNOSTIC.index(name)] > 0.65, key


def test_no_metadata_column_decides_a_class() -> None:
    for key in METADATA:
        assert single_auroc()[key].max() < 0.8, key


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conditions": {"lbb": 0.5}}, "no condition 'lbb'; did you mean 'lbbb'?"),
        ({"conditions": {"lbbb": 0.5, "rbbb": 0.5}}, "conditions lbbb and rbbb cannot hold together"),
        ({"conditions": {"atrial_fibrillation": 0.5, "av_block_1": 0.5}}, "atrial_fibrillation and av_block_1"),
        ({"conditions": {"lbbb": 1.5}}, "lbbb: severity 1.5; expected 0 to 1"),
        ({"conditions": {"lbbb": math.nan}}, "lbbb: severity nan; expected 0 to 1"),
        ({"rate_hz": 0}, "sampling rate 0 Hz"),
        ({"rate_hz": -100.0}, "sampling rate -100 Hz"),
        ({"duration_s": 0}, "duration_s = 0: expected 1 s or more"),
        ({"duration_s": -3.0}, "duration_s = -3"),
        ({"duration_s": math.nan}, "duration_s = nan"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EcgprismError) as caught:
        simulate(0, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snr_db": math.nan}, "snr_db = nan"),
        ({"kinds": ("wandr",)}, "no noise 'wandr'; did you mean 'wander'?"),
        ({"kinds": ()}, "kinds is empty"),
        ({"lead_off": ("V7",)}, "lead_off: no electrode 'V7'"),
        ({"swap": ("LA-RA",)}, "no electrode 'LA-RA'"),
        ({"swap": ("LA",)}, "expected two electrodes"),
        ({"swap": ("LA/LA",)}, "expected two electrodes"),
        ({"step_uv": 0.0}, "step_uv = 0"),
        ({"range_mv": -1.0}, "range_mv = -1"),
        ({"mains_hz": math.inf}, "mains_hz = inf"),
    ],
)
def test_impossible_recorders_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Acquisition(**arguments)
    assert message in str(caught.value)


def test_every_pair_of_conditions_either_plays_or_is_refused_by_name() -> None:
    for a, b in combinations(CONDITIONS, 2):
        if compatible(a, b):
            made = simulate(0, conditions={a: 0.5, b: 0.5}, duration_s=4.0, acquisition=QUIET)
            assert np.isfinite(made.clean).all()
        else:
            with pytest.raises(ConfigError, match=f"{a} and {b} cannot hold together"):
                check_combination([a, b])


@given(
    seed=st.integers(0, 2**31), index=st.integers(0, 10**7), rate_hz=st.sampled_from([50.0, 100.0, 257.0, 1000.0]),
    duration_s=st.floats(1, 12),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_record_of_any_length_is_an_ecg(seed: int, index: int, rate_hz: float, duration_s: float) -> None:
    made = simulate(index, seed=seed, rate_hz=rate_hz, duration_s=duration_s)
    assert made.recording.signal.shape == (12, round(duration_s * rate_hz))
    assert np.isfinite(made.recording.signal).all()
    assert 0.05 < np.ptp(made.clean, axis=1).max() < 15
    assert (np.diff(made.truth.r_peaks_s) > 0.15).all()


# The source


@pytest.mark.parametrize("task", ["superdiagnostic", "rhythm", None])
def test_source_entries_agree_with_the_recordings(task: str | None) -> None:
    source = SimulatedSource(n=12, seed=3, rate_hz=200.0, duration_s=2.0, task=task)
    entries = list(source.entries())
    assert [entry.record_id for entry in entries] == [f"sim_{index:06d}" for index in range(12)]
    assert entries == list(source.entries())
    assert set(source.tasks) == ({task} if task else {"superdiagnostic", "rhythm"})
    for index, entry in enumerate(entries):
        recording, truth = source.read(entry), simulate(index, seed=3, rate_hz=200.0, duration_s=2.0)
        assert (entry.path, entry.split) == ("", None)
        assert entry.patient_id == recording.patient_id == f"p{index // 2:06d}"
        assert entry.metadata == recording.metadata
        expected = {name: held for name, held in truth.traits.labels.items() if held and name in source.tasks}
        assert entry.labels == expected
        np.testing.assert_array_equal(recording.signal, truth.recording.signal)


def test_source_pickles() -> None:
    source = SimulatedSource(n=3, seed=2, conditions={"lbbb": 0.4})
    entry = next(iter(source.entries()))
    other = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(other.read(pickle.loads(pickle.dumps(entry))).signal, source.read(entry).signal)


def test_source_simulates_no_signal_to_enumerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecgprism.simulator.simulation.add", lambda *_: pytest.fail("entries() played a record"))
    assert len(list(SimulatedSource(n=4).entries())) == 4


@pytest.mark.parametrize("record_id", ["sim_000003", "A00001", "sim_1"])
def test_source_refuses_the_entry_of_another_source(record_id: str) -> None:
    with pytest.raises(ReadError, match="sim_000000 to sim_000002"):
        SimulatedSource(n=3).read(Entry(record_id, "", {}))
