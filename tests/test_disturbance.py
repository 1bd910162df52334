"""Disturbances: the algebra of swapped leads, the ratio of noise, and that nothing else is changed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.noise import snr_db
from ecgprism.ecg.qrs import find_r_peaks
from ecgprism.ecg.recorded_noise import RECORD, RecordedNoise, in_leads
from ecgprism.errors import EcgprismError, ReadError
from ecgprism.evidence.disturbance import (
    FAMILIES,
    LEVELS_DB,
    SWAPS,
    Condition,
    Setting,
    StressRecording,
    conditions,
    swap_leads,
)  # fmt: skip
from ecgprism.simulator.acquisition import Acquisition
from ecgprism.simulator.simulation import simulate

from .records import write_wfdb

RATE_HZ = 100.0


def twelve(index: int = 3) -> StressRecording:
    made = simulate(index, rate_hz=RATE_HZ, duration_s=10.0, acquisition=Acquisition(snr_db=math.inf)).recording
    peaks = find_r_peaks(made.signal, RATE_HZ)
    return StressRecording(index, made.signal, made.leads, RATE_HZ, peaks)


def setting(**changes: object) -> Setting:
    given: dict[str, object] = {
        "leads": STANDARD_LEADS, "views": ("wave", "stft", "meta"), "columns": ("age", "sex"), "rate_hz": RATE_HZ,
        "longest_s": 30.0, "shortest_s": 10.0, "recorded": None, "seed": 0,
    }  # fmt: skip
    return Setting(**(given | changes))


def one(family: str, name: str, level: float | None = None, **changes: object) -> Condition:
    (found,) = [c for c in conditions(setting(**changes), [family])[0] if c.name == name and level in (None, c.level)]
    return found


# Swapped electrodes, against the definitions of the leads (Einthoven, Goldberger, Wilson)

SWAPPED = {
    "LA/RA": {"I": ("-", "I"), "II": ("+", "III"), "III": ("+", "II"), "aVR": ("+", "aVL"), "aVL": ("+", "aVR"),
              "aVF": ("+", "aVF")},
    "LA/LL": {"I": ("+", "II"), "II": ("+", "I"), "III": ("-", "III"), "aVR": ("+", "aVR"), "aVL": ("+", "aVF"),
              "aVF": ("+", "aVL")},
    "RA/LL": {"I": ("-", "III"), "II": ("-", "II"), "III": ("-", "I"), "aVR": ("+", "aVF"), "aVL": ("+", "aVL"),
              "aVF": ("+", "aVR")},
}  # fmt: skip


@pytest.mark.parametrize("pair", SWAPS)
def test_a_swap_follows_the_definitions_of_the_leads(pair: str) -> None:
    before = twelve()
    after = dict(zip(before.leads, swap_leads(before.signal, before.leads, pair), strict=True))
    was = dict(zip(before.leads, before.signal, strict=True))
    expected = {lead: ("+", lead) for lead in STANDARD_LEADS}
    if pair in SWAPPED:
        expected |= SWAPPED[pair]  # Wilson's terminal is the mean of all three: the chest leads stay
    else:
        a, b = pair.split("/")
        expected |= {a: ("+", b), b: ("+", a)}
    for lead, (sign, source) in expected.items():
        np.testing.assert_allclose(after[lead], was[source] * (1 if sign == "+" else -1), atol=2e-6, err_msg=lead)


@pytest.mark.parametrize("pair", SWAPS)
def test_a_swap_undoes_itself_and_keeps_einthoven(pair: str) -> None:
    recorded = twelve(5)
    once = swap_leads(recorded.signal, recorded.leads, pair)
    np.testing.assert_allclose(swap_leads(once, recorded.leads, pair), recorded.signal, atol=3e-6)
    rows = [recorded.leads.index(lead) for lead in ("I", "II", "III")]
    np.testing.assert_allclose(once[rows[1]], once[rows[0]] + once[rows[2]], atol=3e-6)


@pytest.mark.parametrize("pair", [*SWAPS, "LA/V1"])
def test_a_swap_touches_only_leads_that_take_part(pair: str) -> None:
    """A lead that is missing, or missing for a while, is missing in the one lead that it becomes, and nowhere else."""
    before = twelve()
    whole = swap_leads(before.signal, before.leads, pair)
    moved = {lead for lead, row, was in zip(before.leads, whole, before.signal, strict=True) if (row != was).any()}
    for lost in before.leads:
        signal = before.signal.copy()
        signal[before.leads.index(lost), 300:310] = np.nan
        after = swap_leads(signal, before.leads, pair)
        gaps = np.isnan(after)
        np.testing.assert_array_equal(after[~gaps], whole[~gaps])
        for lead, row, was in zip(before.leads, after, signal, strict=True):
            if lead not in moved:
                np.testing.assert_array_equal(row, was)
        if pair in SWAPS:
            assert gaps.sum() == 10  # 120 where a gap times a weight of 0 was counted in
    if pair in SWAPPED:
        assert moved == {lead for lead, change in SWAPPED[pair].items() if change != ("+", lead)}
    elif pair in SWAPS:
        assert moved == set(pair.split("/"))


def test_a_swap_of_a_limb_and_a_chest_electrode_follows_the_potentials() -> None:
    """By hand from the definitions: with LA and V1 exchanged, I is V1's potential minus RA's."""
    rng = np.random.default_rng(0)
    potential = dict(zip(("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6"), rng.normal(size=(9, 50)), strict=True))

    def leads_of(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        terminal = (p["RA"] + p["LA"] + p["LL"]) / 3
        limb = {
            "I": p["LA"] - p["RA"], "II": p["LL"] - p["RA"], "III": p["LL"] - p["LA"],
            "aVR": p["RA"] - (p["LA"] + p["LL"]) / 2, "aVL": p["LA"] - (p["RA"] + p["LL"]) / 2,
            "aVF": p["LL"] - (p["RA"] + p["LA"]) / 2,
        }  # fmt: skip
        return limb | {f"V{i}": p[f"V{i}"] - terminal for i in range(1, 7)}

    before = leads_of(potential)
    expected = leads_of(potential | {"LA": potential["V1"], "V1": potential["LA"]})
    signal = np.array([before[lead] for lead in STANDARD_LEADS], dtype=np.float32)
    found = swap_leads(signal, STANDARD_LEADS, "LA/V1")
    for lead, row in zip(STANDARD_LEADS, found, strict=True):
        np.testing.assert_allclose(row, expected[lead], atol=1e-5, err_msg=lead)


def test_a_swap_needs_its_leads() -> None:
    recorded = twelve()
    np.testing.assert_array_equal(swap_leads(recorded.signal[:6], recorded.leads[:6], "LA/RA"), recorded.signal[:6])
    assert "from which a swap is computed" in conditions(setting(leads=("I", "II")), ["swap"])[1]["swap"]


# Noise


@pytest.mark.parametrize("kind", RECORD)
@pytest.mark.parametrize("level", LEVELS_DB)
def test_noise_has_the_ratio_that_it_is_named_by(kind: str, level: float) -> None:
    recorded = twelve()
    disturb = one("noise", kind, level).of_record
    assert disturb is not None
    noise = disturb(recorded).astype(float) - recorded.signal
    assert snr_db(recorded.signal, noise, recorded.r_peaks, RATE_HZ) == pytest.approx(level, abs=0.02)


def test_a_curve_is_of_one_noise_that_grows_and_repeats() -> None:
    recorded = twelve()
    parts = [one("noise", "muscle", level).of_record for level in (6.0, 6.0, 0.0)]
    a, again, louder = (part(recorded).astype(float) - recorded.signal for part in parts if part is not None)
    np.testing.assert_array_equal(a, again)
    np.testing.assert_allclose(louder, a * 10 ** (6 / 20), atol=1e-5)
    other = one("noise", "muscle", 6.0).of_record
    assert other is not None
    elsewhere = other(StressRecording(4, recorded.signal, recorded.leads, RATE_HZ, recorded.r_peaks)) - recorded.signal
    assert abs(np.corrcoef(a[0], elsewhere[0])[0, 1]) < 0.2


def test_one_lead_of_half_a_minute_gets_motion_noise_at_the_ratio_too() -> None:
    """Few shifts of one electrode: the trimmed mean may leave all of them out, then another draw is taken."""
    made = simulate(3, rate_hz=RATE_HZ, duration_s=30.0, acquisition=Acquisition(snr_db=math.inf)).recording
    disturb = one("noise", "motion", 6.0).of_record
    assert disturb is not None
    for number in range(40):
        recorded = StressRecording(number, made.signal[:1], ("I",), RATE_HZ, find_r_peaks(made.signal, RATE_HZ))
        noise = disturb(recorded).astype(float) - recorded.signal
        assert snr_db(recorded.signal, noise, recorded.r_peaks, RATE_HZ) == pytest.approx(6.0, abs=0.05)


def test_noise_keeps_what_was_not_recorded_and_the_relations_of_the_leads() -> None:
    recorded = twelve()
    signal = recorded.signal.copy()
    signal[7] = np.nan
    signal[0, :20] = np.nan
    disturb = one("noise", "motion", 0.0).of_record
    assert disturb is not None
    noisy = disturb(StressRecording(3, signal, recorded.leads, RATE_HZ, recorded.r_peaks))
    np.testing.assert_array_equal(np.isnan(noisy), np.isnan(signal))
    whole = disturb(recorded)
    np.testing.assert_allclose(whole[1], whole[0] + whole[2], atol=1e-4)


def test_a_gap_beside_an_offset_is_neither_a_beat_nor_a_part_of_the_ratio() -> None:
    """As 0 mV it was a step of 1.5 mV on both sides: two beats, and a signal that seemed larger than it is."""
    recorded = twelve()
    at = recorded.r_peaks[4]
    signal = recorded.signal + np.float32(1.5)
    signal[:, at - 10 : at + 10] = np.nan
    found = find_r_peaks(signal, RATE_HZ)
    np.testing.assert_array_equal(found, np.delete(recorded.r_peaks, 4))
    disturb = one("noise", "muscle", 6.0).of_record
    assert disturb is not None
    gapped = StressRecording(3, signal, recorded.leads, RATE_HZ, found)
    without = StressRecording(3, recorded.signal, recorded.leads, RATE_HZ, found)
    added = [(disturb(each) - each.signal)[:, : at - 10] for each in (gapped, without)]
    np.testing.assert_allclose(added[0], added[1], atol=1e-3)


def noise_folder(folder: Path, names: tuple[str, ...] = ("bw", "ma")) -> Path:
    for seed, name in enumerate(names):
        values = np.random.default_rng(seed).normal(size=(7200, 2)) * 100
        values[3600:] += 500  # the second half is told from the first by its mean
        write_wfdb(folder, name, values.astype(int), ("noise1", "noise2"), rate_hz=360)
    return folder


def test_recorded_noise_is_halved_and_resampled(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path)
    first, second = (RecordedNoise.read(folder, 100.0, half) for half in ("first", "second"))
    assert set(first.kinds) == {"wander", "muscle"}
    assert first.kinds["wander"].shape == (2, 1000)
    middle = slice(50, -50)
    assert abs(first.kinds["muscle"][:, middle].mean()) < 0.1
    assert second.kinds["muscle"][:, middle].mean() == pytest.approx(2.5, abs=0.1)
    drawn = second.draw("wander", 5, 3000, np.random.default_rng(0))
    assert drawn.shape == (5, 3000)
    np.testing.assert_allclose(drawn.mean(axis=1), 0, atol=1e-9)


def test_kinds_that_are_not_recorded_are_simulated(tmp_path: Path) -> None:
    bank = RecordedNoise.read(noise_folder(tmp_path, ("ma",)), 100.0, "second")
    drawn = [in_leads("motion", ("I",), 500, 100.0, np.random.default_rng(0), given) for given in (bank, None)]
    np.testing.assert_array_equal(*drawn)
    muscle = [in_leads("muscle", ("I",), 500, 100.0, np.random.default_rng(0), given) for given in (bank, None)]
    assert not np.array_equal(*muscle)
    with pytest.raises(ReadError, match="none of the noise records bw, ma, em"):
        RecordedNoise.read(tmp_path / "nowhere", 100.0, "first")
    (tmp_path / "ma.dat").write_bytes(b"123")
    with pytest.raises(ReadError, match="ma"):
        RecordedNoise.read(tmp_path, 100.0, "first")


def test_mains_above_half_the_rate_is_filtered_off_and_seen_at_a_higher_rate() -> None:
    recorded = twelve()
    hum = one("mains", "60 Hz", 0.0).of_record
    assert hum is not None
    assert np.abs(hum(recorded) - recorded.signal)[:, 20:-20].max() < 0.05
    made = simulate(3, rate_hz=250.0, duration_s=10.0, acquisition=Acquisition(snr_db=math.inf)).recording
    fine = StressRecording(3, made.signal, made.leads, 250.0, find_r_peaks(made.signal, 250.0))
    added = (hum(fine) - fine.signal)[0, 250:-250]
    power = np.abs(np.fft.rfft(added * np.hanning(len(added))))
    assert np.fft.rfftfreq(len(added), 1 / 250)[power.argmax()] == pytest.approx(60, abs=0.5)


# The others


def test_lost_leads_are_not_recorded_and_the_others_untouched() -> None:
    recorded = twelve()
    for name, kept in (
        ("without V3", set(STANDARD_LEADS) - {"V3"}), ("limb leads only", set(STANDARD_LEADS[:6])),
        ("precordial leads only", set(STANDARD_LEADS[6:])), ("I only", {"I"}), ("II only", {"II"}),
    ):  # fmt: skip
        disturb = one("leads", name).of_record
        assert disturb is not None
        after = disturb(recorded)
        for row, lead in enumerate(recorded.leads):
            if lead in kept:
                np.testing.assert_array_equal(after[row], recorded.signal[row])
            else:
                assert np.isnan(after[row]).all()
    assert len(conditions(setting(), ["leads"])[0]) == 12 + 4


@pytest.mark.parametrize("rate_hz", [62.5, 125.0, 250.0, 360.0, 500.0, 1000.0])
def test_another_source_rate_keeps_length_and_shape(rate_hz: float) -> None:
    recorded = twelve()
    disturb = one("rate", f"recorded at {rate_hz:g} Hz").of_record
    assert disturb is not None
    after = disturb(recorded)
    assert after.shape == recorded.signal.shape
    inner = slice(50, -50)
    assert np.corrcoef(after[1, inner], recorded.signal[1, inner])[0, 1] > (0.93 if rate_hz < 100 else 0.999)
    assert (np.abs(after - recorded.signal)[:, inner].max() > 0.02) == (rate_hz < 100)


def test_what_is_done_to_an_item() -> None:
    ramp = np.tile(np.arange(1000, dtype=np.float32), (2, 1))
    item = {(f, c.name): c.of_item for f in ("length", "clock", "start") for c in conditions(setting(), [f])[0]}
    shorter = item["length", "at most 5 s"]
    assert shorter is not None
    np.testing.assert_array_equal(shorter(ramp, RATE_HZ), ramp[:, 250:750])
    np.testing.assert_array_equal(shorter(ramp[:, :300], RATE_HZ), ramp[:, :300])
    later = item["start", "0.25 s later"]
    assert later is not None
    np.testing.assert_array_equal(later(ramp, RATE_HZ), ramp[:, 25:])
    fast = item["clock", "+2%"]
    assert fast is not None
    assert fast(ramp, RATE_HZ).shape == (2, 1020)
    np.testing.assert_allclose(fast(ramp, RATE_HZ)[0, 510], 500, atol=0.5)


def test_gain_scales_and_missing_parts_are_named() -> None:
    recorded = twelve()
    half = one("gain", "times 0.5").of_record
    assert half is not None
    np.testing.assert_allclose(half(recorded), 0.5 * recorded.signal)
    assert [c.no_metadata for c in conditions(setting(), ["metadata"])[0]] == [("age",), ("sex",), ("age", "sex")]
    hidden = {c.name: c.hidden for c in conditions(setting(), ["view"])[0]}
    assert hidden["wave hidden"] == ("wave",)
    assert hidden["only wave"] == ("stft", "meta")
    assert len(conditions(setting(views=("a", "b")), ["view"])[0]) == 2


def test_what_cannot_be_is_skipped_with_the_reason() -> None:
    bare = setting(leads=("I",), views=("wave",), columns=(), longest_s=0.8, shortest_s=0.1)
    found, skipped = conditions(bare, list(FAMILIES))
    assert set(skipped) == {"leads", "swap", "length", "start", "metadata", "view"}
    assert {c.family for c in found} == {"noise", "mains", "gain", "rate", "clock"}
    with pytest.raises(EcgprismError, match="did you mean 'noise'"):
        conditions(bare, ["nose"])


def test_r_peaks_are_those_of_the_simulator_in_sinus_rhythm() -> None:
    for index in range(6):
        quiet = Acquisition(snr_db=24.0)
        made = simulate(index, rate_hz=RATE_HZ, duration_s=20.0, conditions={"sinus_rhythm": 0.5}, acquisition=quiet)
        found = find_r_peaks(made.recording.signal, RATE_HZ) / RATE_HZ
        truth = made.truth.r_peaks_s
        inside = truth[(truth > 1) & (truth < 19)]
        assert np.mean([np.abs(found - beat).min() < 0.1 for beat in inside]) > 0.95


def test_where_no_beat_stands_out_the_steepest_place_stands_for_one() -> None:
    step = np.zeros((1, 300), dtype=np.float32)
    step[0, 120:] = 1.0
    (found,) = find_r_peaks(step, RATE_HZ)
    assert found == pytest.approx(120, abs=5)
    assert len(find_r_peaks(np.full((1, 300), np.nan), RATE_HZ)) == 1
    assert len(find_r_peaks(np.zeros((1, 3)), RATE_HZ)) == 0
