"""The recorder: noise at the electrodes, exchanged and loose electrodes, amplifier and converter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ecgprism.ecg import noise
from ecgprism.ecg.electrodes import EIGHT, ELECTRODES, POTENTIALS, TWELVE, Floats, swapped
from ecgprism.errors import ConfigError, nearest

#: the shares (power) of the kinds of noise in a resting recording
_SHARES = {"wander": 0.45, "muscle": 0.4, "motion": 0.1, "mains": 0.05}


@dataclass(frozen=True)
class Acquisition:
    """How a record is recorded.

    `snr_db` signal-to-noise ratio in dB (None: drawn, about 23; infinite: no noise); `kinds` of noise in it;
    `swap` pairs of exchanged electrodes (`LA/RA`); `lead_off` electrodes without contact: a chest lead is flat then, a
    limb electrode picks up hum and drift; `range_mv` where the amplifier saturates; `step_uv` of the converter.
    Raises ConfigError for what no recorder can do.
    """

    snr_db: float | None = None
    kinds: tuple[str, ...] = noise.KINDS
    mains_hz: float = 50.0
    swap: tuple[str, ...] = ()
    lead_off: tuple[str, ...] = ()
    range_mv: float = 10.0
    step_uv: float = 2.5

    def __post_init__(self) -> None:
        """Check everything."""
        if self.snr_db is not None and math.isnan(self.snr_db):
            raise ConfigError("snr_db = nan: expected a number of dB")
        for kind in self.kinds:
            if kind not in noise.KINDS:
                raise ConfigError(f"no noise {kind!r}{nearest(kind, noise.KINDS)}")
        if not self.kinds and self.snr_db != math.inf:
            raise ConfigError("kinds is empty: name a kind of noise, or ask for snr_db=inf")
        for name in self.lead_off:
            if name not in ELECTRODES:
                raise ConfigError(f"lead_off: no electrode {name!r}{nearest(name, ELECTRODES)}")
        for name, value in (("mains_hz", self.mains_hz), ("range_mv", self.range_mv), ("step_uv", self.step_uv)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} = {value:g}: expected a positive number")
        swapped(np.zeros((len(ELECTRODES), 0)), self.swap)


@dataclass(frozen=True, eq=False)
class RecorderOutput:
    """Twelve leads (12, T) mV as recorded, and the ratio (dB) and RMS (mV, by kind) of their noise."""

    signal: Floats
    snr_db: float
    levels_mv: dict[str, float]


def acquire(
    eight: Floats, breath: Floats, r_peaks: Floats, rate_hz: float, options: Acquisition, rng: np.random.Generator
) -> RecorderOutput:
    """Record the leads I, II, V1..V6 of a heart (8, T) mV; `breath` (T,) moves the electrodes, `r_peaks` in samples."""
    samples = eight.shape[1]
    wanted_db = options.snr_db if options.snr_db is not None else float(np.clip(rng.normal(23, 5), 9, 37))
    pick_up = np.zeros((len(ELECTRODES), samples))
    levels = {}
    if wanted_db != math.inf:
        parts = {}
        for kind in options.kinds:
            share = math.sqrt(_SHARES[kind] * rng.lognormal(0, 0.7))
            arguments = (options.mains_hz,) if kind == "mains" else ()
            part = noise.GENERATORS[kind](len(ELECTRODES), samples, rate_hz, rng, *arguments)
            if kind == "wander":
                part = part + rng.normal(0, 0.7, (len(ELECTRODES), 1)) * breath
            parts[kind] = share * part * rng.lognormal(0, 0.25, (len(ELECTRODES), 1))
        pick_up = np.asarray(sum(parts.values()))
        if not pick_up.any():  # mains above half the rate: nothing of it is left
            raise ConfigError(f"noise {', '.join(options.kinds)} has nothing below half of {rate_hz:g} Hz")
        gain = _gain(eight, pick_up, r_peaks, rate_hz, wanted_db)
        pick_up *= gain
        levels = {kind: float(gain * math.sqrt(np.vdot(part, part) / part.size)) for kind, part in parts.items()}
    potentials = POTENTIALS @ eight + pick_up
    for name in options.lead_off:
        at = ELECTRODES.index(name)
        if at < 3:
            loose = noise.mains(1, samples, rate_hz, rng, options.mains_hz) + noise.wander(1, samples, rate_hz, rng)
            potentials[at] = 0.4 * loose[0]
    potentials = swapped(potentials, options.swap)
    recorded = EIGHT @ potentials
    for name in options.lead_off:
        at = ELECTRODES.index(name)
        if at >= 3:
            recorded[at - 1] = 0.0
    step_mv = 1e-3 * options.step_uv
    recorded = np.clip(np.rint(recorded / step_mv) * step_mv, -options.range_mv, options.range_mv)
    return RecorderOutput(TWELVE @ recorded, wanted_db, levels)


def _gain(eight: Floats, pick_up: Floats, r_peaks: Floats, rate_hz: float, wanted_db: float) -> float:
    """Return the factor of the noise; the ratio is that of the twelve leads."""
    half, samples = round(noise.QRS_HALF_S * rate_hz), eight.shape[1]
    if not ((r_peaks >= half) & (r_peaks + half < samples)).any():  # a second between two beats: its steepest place
        steepest = np.abs(np.diff(eight, axis=1)).sum(axis=0).argmax()
        r_peaks = np.array([min(max(steepest, half), samples - half - 1)])
    return noise.gain_for(TWELVE @ eight, TWELVE @ (EIGHT @ pick_up), r_peaks, rate_hz, wanted_db)
