"""Disturbances of recordings: noise, gain, lost leads, swapped electrodes, other rates and clocks, missing parts.

Axis legend: L leads, T samples, K beats. A disturbance acts on a recording as the corpus holds it, in millivolts at its
rate. Noise is scaled by `noise.gain_for`, the ratio of the noise stress test, over all leads of a recording; R peaks
are found on the clean recording.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.conditioning import filled
from ecgprism.ecg.electrodes import EIGHT, POTENTIALS, TWELVE, swapped
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.noise import KINDS, QRS_HALF_S, gain_for, mains, noise_power
from ecgprism.ecg.recorded_noise import RECORD, RecordedNoise, in_leads
from ecgprism.ecg.resampling import resample
from ecgprism.errors import EcgprismError, nearest

DRAWS = 10  # of a noise until there is some
LEVELS_DB = (24.0, 18.0, 12.0, 6.0, 0.0, -6.0)
MAINS_HZ, MAINS_DB, MAINS_RATE_HZ = (50.0, 60.0), (12.0, 0.0), 500.0
GAINS = (0.5, 0.8, 1.25, 2.0)
LIMB, PRECORDIAL = STANDARD_LEADS[:6], STANDARD_LEADS[6:]
INDEPENDENT = ("I", "II", *PRECORDIAL)
SWAPS = ("LA/RA", "LA/LL", "RA/LL", "V1/V2", "V2/V3", "V3/V4", "V4/V5", "V5/V6", "V1/V3")
RATES_HZ = (62.5, 125.0, 250.0, 360.0, 500.0, 1000.0)
LENGTHS_S = (20.0, 10.0, 5.0, 2.5)
CLOCK_PERCENT = (-5.0, -2.0, -0.5, 0.5, 2.0, 5.0)
STARTS_S = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class StressRecording:
    """A test recording: signal (L, T) in mV, NaN where not recorded, its number, and R peaks (K,) in samples."""

    number: int
    signal: NDArray[np.float32]
    leads: tuple[str, ...]
    rate_hz: float
    r_peaks: NDArray[np.int64]


Disturb = Callable[[StressRecording], NDArray[np.float32]]


@dataclass(frozen=True)
class Condition:
    """One disturbance. `of_record` changes a recording (same T), `of_item` what is classified (any T).

    `no_metadata` names the columns that are missing, `hidden` the views.
    """

    family: str
    name: str
    level: float | None = None
    of_record: Disturb | None = None
    of_item: Callable[[NDArray[np.float32], float], NDArray[np.float32]] | None = None
    no_metadata: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def _scaled(recorded: StressRecording, noise: NDArray[np.float64], level_db: float) -> NDArray[np.float32]:
    """Return the signal with noise (L, T) at a ratio in dB; leads that are not recorded stay so."""
    clean = recorded.signal
    there = filled(clean.astype(np.float64))
    held = ~np.isnan(clean).all(axis=1)
    half = round(QRS_HALF_S * recorded.rate_hz)
    inside = (recorded.r_peaks >= half) & (recorded.r_peaks + half < clean.shape[1])
    if not inside.any() or not held.any() or noise_power(noise[held], recorded.rate_hz) == 0:
        return clean
    gain = gain_for(there[held], noise[held], recorded.r_peaks, recorded.rate_hz, level_db)
    return (clean + gain * noise).astype(np.float32)


def _noisy(
    recorded: StressRecording, kind: str, level_db: float, recorded_noise: RecordedNoise | None, seed: int
) -> NDArray[np.float32]:
    # one draw per recording and kind, whatever the level: a curve is of one noise that grows
    samples, rate_hz = recorded.signal.shape[1], recorded.rate_hz
    for attempt in range(DRAWS):
        rng = np.random.default_rng([seed, recorded.number, KINDS.index(kind), attempt])
        noise = in_leads(kind, recorded.leads, samples, rate_hz, rng, recorded_noise)
        # a single shift of an electrode can fall into the seconds that the trimmed mean leaves out
        if noise_power(noise, rate_hz) > 0:
            break
    return _scaled(recorded, noise, level_db)


def _humming(recorded: StressRecording, hum_hz: float, level_db: float, seed: int) -> NDArray[np.float32]:
    """Return the recording as taken at 500 Hz with mains hum, then resampled as ingest does."""
    rng = np.random.default_rng([seed, recorded.number, KINDS.index("mains")])
    fine = resample(recorded.signal, recorded.rate_hz, MAINS_RATE_HZ)
    peaks = np.round(recorded.r_peaks * MAINS_RATE_HZ / recorded.rate_hz).astype(np.int64)
    noise = mains(len(fine), fine.shape[1], MAINS_RATE_HZ, rng, hum_hz)
    hummed = _scaled(StressRecording(recorded.number, fine, recorded.leads, MAINS_RATE_HZ, peaks), noise, level_db)
    return _as_long(resample(hummed, MAINS_RATE_HZ, recorded.rate_hz), recorded.signal.shape[1])


def _amplified(recorded: StressRecording, gain: float) -> NDArray[np.float32]:
    return recorded.signal * np.float32(gain)


def _with_leads(recorded: StressRecording, kept: frozenset[str]) -> NDArray[np.float32]:
    lost = np.array([lead not in kept for lead in recorded.leads])
    return np.where(lost[:, None], np.float32(np.nan), recorded.signal)


def _swapped(recorded: StressRecording, pair: str) -> NDArray[np.float32]:
    return swap_leads(recorded.signal, recorded.leads, pair)


def swap_leads(signal: NDArray[np.float32], leads: Sequence[str], pair: str) -> NDArray[np.float32]:
    """Return standard leads (L, T) as recorded with two electrodes exchanged; without the leads it needs, unchanged.

    A lead becomes another one, perhaps upside down, wherever the algebra says so: what one lead lacks (NaN) is lacking
    in that one alone; a lead that takes no part becomes itself.
    """
    if not set(INDEPENDENT) <= set(leads):
        return signal
    # each lead afterwards (12, 8), of I, II, V1..V6 before
    made_of = TWELVE @ EIGHT @ swapped(POTENTIALS, (pair,))
    held = [lead for lead in STANDARD_LEADS if lead in leads]
    before = np.array([TWELVE[STANDARD_LEADS.index(lead)] for lead in held])
    out = signal.copy()
    for lead in held:
        wanted = made_of[STANDARD_LEADS.index(lead)]
        same = [(sign, held[at]) for sign in (1, -1) for at in np.flatnonzero(np.isclose(before, sign * wanted).all(1))]
        terms = same[:1] or [(wanted[k], INDEPENDENT[k]) for k in np.flatnonzero(np.abs(wanted) > 1e-9)]
        out[leads.index(lead)] = sum(weight * signal[leads.index(source)] for weight, source in terms)
    return out


def _through(recorded: StressRecording, rate_hz: float) -> NDArray[np.float32]:
    """Return the recording as taken at another rate and resampled as ingest does."""
    other = resample(recorded.signal, recorded.rate_hz, rate_hz)
    return _as_long(resample(other, rate_hz, recorded.rate_hz), recorded.signal.shape[1])


def _as_long(signal: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Return the signal with this many samples: resampling there and back may add or lose one."""
    lack = samples - signal.shape[1]
    return signal[:, :samples] if lack <= 0 else np.pad(signal, ((0, 0), (0, lack)), mode="edge")


def _shortened(signal: NDArray[np.float32], rate_hz: float, length_s: float) -> NDArray[np.float32]:
    """Return the middle."""
    kept = min(signal.shape[1], round(length_s * rate_hz))
    start = (signal.shape[1] - kept) // 2
    return signal[:, start : start + kept]


def _stretched(signal: NDArray[np.float32], rate_hz: float, percent: float) -> NDArray[np.float32]:
    """Return the item as a device records it whose clock is wrong: its seconds have more or fewer samples."""
    return resample(signal, rate_hz, round(rate_hz * (1 + percent / 100), 6))


def _later(signal: NDArray[np.float32], rate_hz: float, start_s: float) -> NDArray[np.float32]:
    return signal[:, round(start_s * rate_hz) :]


@dataclass(frozen=True)
class Setting:
    """What decides which conditions there are: leads, views and metadata columns of the model, the test's items.

    `longest_s` and `shortest_s` are lengths of items; `recorded` is the noise at hand, None to simulate it.
    """

    leads: tuple[str, ...]
    views: tuple[str, ...]
    columns: tuple[str, ...]
    rate_hz: float
    longest_s: float
    shortest_s: float
    recorded: RecordedNoise | None
    seed: int


def conditions(setting: Setting, families: Collection[str]) -> tuple[list[Condition], dict[str, str]]:
    """Return the conditions of some families, and by family why there is none. Raises EcgprismError."""
    found: list[Condition] = []
    skipped = {}
    for family in families:
        if family not in FAMILIES:
            raise EcgprismError(f"family {family!r}{nearest(family, FAMILIES)}")
        made = FAMILIES[family](setting)
        if isinstance(made, str):
            skipped[family] = made
        else:
            found += made
    return found, skipped


def _noise(setting: Setting) -> list[Condition]:
    noisy = partial(_noisy, recorded_noise=setting.recorded, seed=setting.seed)
    return [
        Condition("noise", kind, level, partial(noisy, kind=kind, level_db=level))
        for kind in RECORD
        for level in LEVELS_DB
    ]


def _mains(setting: Setting) -> list[Condition]:
    return [
        Condition("mains", f"{hz:g} Hz", level, partial(_humming, hum_hz=hz, level_db=level, seed=setting.seed))
        for hz in MAINS_HZ
        for level in MAINS_DB
    ]


def _gain(setting: Setting) -> list[Condition]:
    return [Condition("gain", f"times {gain:g}", gain, partial(_amplified, gain=gain)) for gain in GAINS]


def _leads(setting: Setting) -> list[Condition] | str:
    if len(setting.leads) == 1:
        return f"the model has one lead, {setting.leads[0]}"
    kept = {f"without {lead}": set(setting.leads) - {lead} for lead in setting.leads}
    groups = {"limb leads only": LIMB, "precordial leads only": PRECORDIAL, "I only": ("I",), "II only": ("II",)}
    kept |= {name: set(group) for name, group in groups.items() if set(group) < set(setting.leads)}
    return [Condition("leads", name, None, partial(_with_leads, kept=frozenset(each))) for name, each in kept.items()]


def _swap(setting: Setting) -> list[Condition] | str:
    if not set(INDEPENDENT) <= set(setting.leads):
        return f"the model has not all of {', '.join(INDEPENDENT)}, from which a swap is computed"
    return [Condition("swap", pair, None, partial(_swapped, pair=pair)) for pair in SWAPS]


def _rate(setting: Setting) -> list[Condition]:
    rates = [rate for rate in RATES_HZ if rate != setting.rate_hz]
    return [Condition("rate", f"recorded at {hz:g} Hz", hz, partial(_through, rate_hz=hz)) for hz in rates]


def _length(setting: Setting) -> list[Condition] | str:
    lengths = [length for length in LENGTHS_S if length < setting.longest_s]
    if not lengths:
        return f"no item is longer than {LENGTHS_S[-1]:g} s"
    return [Condition("length", f"at most {s:g} s", s, of_item=partial(_shortened, length_s=s)) for s in lengths]


def _clock(setting: Setting) -> list[Condition]:
    return [
        Condition("clock", f"{percent:+g}%", percent, of_item=partial(_stretched, percent=percent))
        for percent in CLOCK_PERCENT
    ]


def _start(setting: Setting) -> list[Condition] | str:
    starts = [start for start in STARTS_S if 2 * start < setting.shortest_s]
    if not starts:
        return f"an item is only {setting.shortest_s:g} s long"
    return [Condition("start", f"{s:g} s later", s, of_item=partial(_later, start_s=s)) for s in starts]


def _metadata(setting: Setting) -> list[Condition] | str:
    if not setting.columns:
        return "no view reads it"
    found = [Condition("metadata", f"no {column}", None, no_metadata=(column,)) for column in setting.columns]
    return found if len(found) == 1 else [*found, Condition("metadata", "none", None, no_metadata=setting.columns)]


def _view(setting: Setting) -> list[Condition] | str:
    views = setting.views
    if len(views) == 1:
        return "the model has one view"
    found = [Condition("view", f"{view} hidden", None, hidden=(view,)) for view in views]
    others = {view: tuple(other for other in views if other != view) for view in views}
    alone = [Condition("view", f"only {view}", None, hidden=hidden) for view, hidden in others.items()]
    return found if len(views) == 2 else found + alone


FAMILIES: dict[str, Callable[[Setting], list[Condition] | str]] = {
    "noise": _noise, "mains": _mains, "gain": _gain, "leads": _leads, "swap": _swap, "rate": _rate,
    "length": _length, "clock": _clock, "start": _start, "metadata": _metadata, "view": _view,
}  # fmt: skip
