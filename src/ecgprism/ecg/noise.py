"""Noise of an ECG: its kinds, and the signal-to-noise ratio that scales them.

Axis legend: L leads or electrodes, T samples, K beats.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft

from ecgprism.errors import ConfigError

Floats = NDArray[np.float64]

QRS_HALF_S = 0.05  # around an R peak, where the peak-to-peak amplitude is taken
_TRIMMED = 0.05  # the share of the smallest and of the largest values that `nst` leaves out


def trimmed_mean(values: Floats) -> Floats:
    """Return the mean over the last axis without its 5% smallest and 5% largest values, as `nst` takes it."""
    cut = math.floor(_TRIMMED * values.shape[-1])
    return np.asarray(np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1))


def signal_power(clean: ArrayLike, r_peaks: ArrayLike, rate_hz: float) -> float:
    """Return the power (mV^2) of a signal (L, T) with R peaks (K,) in samples: mean QRS amplitude squared over 8.

    The amplitude is the trimmed mean over beats of the peak-to-peak value around each R peak: a sine of that height has
    that power (Moody, Muldrow and Mark 1984; the `nst` program of PhysioNet). Several leads are averaged. Raises
    ConfigError when no beat lies inside.
    """
    signal = np.atleast_2d(np.asarray(clean, dtype=np.float64))
    half = max(round(QRS_HALF_S * rate_hz), 1)
    at = np.asarray(r_peaks, dtype=np.intp)
    at = at[(at >= half) & (at + half < signal.shape[1])]
    if not len(at):
        raise ConfigError("no beat lies inside the signal: its signal-to-noise ratio is not defined")
    around = signal[:, at[:, None] + np.arange(-half, half + 1)]
    return float((trimmed_mean(around.max(axis=2) - around.min(axis=2)) ** 2).mean() / 8)


def noise_power(noise: ArrayLike, rate_hz: float) -> float:
    """Return the power (mV^2) of a noise (L, T): the trimmed mean of its RMS in windows of 1 s, squared, as in `nst`.

    The mean of each window does not count (`sigamp`, which `nst` calibrates by): slow wander is taken by its slope.
    Several leads are averaged.
    """
    signal = np.atleast_2d(np.asarray(noise, dtype=np.float64))
    width = min(max(round(rate_hz), 1), signal.shape[1])
    whole = signal[:, : signal.shape[1] // width * width].reshape(len(signal), -1, width)
    return float((trimmed_mean(whole.std(axis=2)) ** 2).mean())


def snr_db(clean: ArrayLike, noise: ArrayLike, r_peaks: ArrayLike, rate_hz: float) -> float:
    """Return the signal-to-noise ratio in dB as the noise stress tool `nst` defines it; infinite without noise."""
    power = noise_power(noise, rate_hz)
    return math.inf if power == 0 else 10 * math.log10(signal_power(clean, r_peaks, rate_hz) / power)


def gain_for(clean: ArrayLike, noise: ArrayLike, r_peaks: ArrayLike, rate_hz: float, wanted_db: float) -> float:
    """Return the factor of `noise` at which `snr_db` is `wanted_db`. Raises ConfigError for what is no number of dB."""
    if math.isnan(wanted_db):
        raise ConfigError("snr_db = nan: expected a number of dB")
    if wanted_db == math.inf:
        return 0.0
    power = noise_power(noise, rate_hz)
    if power == 0:
        raise ConfigError("the noise is 0 everywhere: no factor gives it a signal-to-noise ratio")
    return math.sqrt(signal_power(clean, r_peaks, rate_hz) / power / 10 ** (wanted_db / 10))


def wander(channels: int, samples: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Return baseline wander (L, T) of RMS about 1: drift below 0.5 Hz."""
    f_hz = np.fft.rfftfreq(2 * samples, 1 / rate_hz)
    return _coloured(np.asarray(np.exp(-((f_hz / 0.2) ** 2))), channels, samples, rng)


def muscle(channels: int, samples: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Return surface EMG (L, T) of RMS about 1: broad, around 20-80 Hz, in bursts."""
    f_hz = np.fft.rfftfreq(2 * samples, 1 / rate_hz)
    noise = _coloured(np.asarray(f_hz * np.exp(-f_hz / 35)), channels, samples, rng)
    t_s = np.arange(samples) / rate_hz
    burst = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.05, 0.4, (channels, 1)) * t_s + rng.uniform(0, 7, (channels, 1)))
    return np.asarray(noise * burst)


def motion(channels: int, samples: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Return electrode motion (L, T) of RMS about 1: sudden shifts of one contact that relax within a second."""
    noise = np.zeros((channels, samples))
    t_s = np.arange(samples) / rate_hz
    events = max(rng.poisson(channels * samples / rate_hz / 12), 1)
    rows = rng.permutation(channels)[: max(channels // 3, 1)][rng.integers(0, max(channels // 3, 1), events)]
    starts_s = rng.uniform(-0.5, samples / rate_hz, events)
    sizes = rng.uniform(0.4, 1.5, events) * np.where(rng.random(events) < 0.5, -1, 1)
    for row, at_s, size, relaxation_s in zip(rows, starts_s, sizes, rng.uniform(0.15, 0.6, events), strict=True):
        part = slice(max(math.ceil(at_s * rate_hz), 0), max(math.ceil((at_s + 3) * rate_hz), 0))
        since = t_s[part] - at_s
        noise[row, part] += size * (np.exp(-since / relaxation_s) - np.exp(-since * (1 / relaxation_s + 1 / 0.03)))
    return np.asarray(noise / max(_rms(noise), 1e-15))


def mains(channels: int, samples: int, rate_hz: float, rng: np.random.Generator, mains_hz: float = 50.0) -> Floats:
    """Return mains hum (L, T) of RMS about 1 with its third harmonic; what lies above half the rate is filtered off."""
    t_s = np.arange(samples) / rate_hz
    noise = np.zeros((channels, samples))
    size = rng.lognormal(0, 0.5, (channels, 1))
    phase = rng.uniform(0, 2 * np.pi)
    for order, share in ((1, 1.0), (3, 0.25)):
        if order * mains_hz < rate_hz / 2:
            noise += share * np.sin(2 * np.pi * order * mains_hz * t_s + order * phase)
    return np.asarray(math.sqrt(2) * size * noise)


#: kind of noise -> what makes it (channels, samples, rate, generator)
GENERATORS: dict[str, Callable[..., Floats]] = {"wander": wander, "muscle": muscle, "motion": motion, "mains": mains}
KINDS = tuple(GENERATORS)


def _coloured(density: Floats, channels: int, samples: int, rng: np.random.Generator) -> Floats:
    """Return Gaussian noise (L, T) of this one-sided density over the frequencies of twice the length, of RMS 1."""
    # twice the length: the Fourier series is periodic, noise is not
    heard = np.flatnonzero(density > 1e-7 * density.max())
    heard = heard[heard > 0]
    # single precision: noise has no more to say, and takes half of the time
    white = np.zeros((channels, len(density)), dtype=np.complex64)
    drawn = rng.standard_normal((channels, len(heard), 2), dtype=np.float32).view(np.complex64)[:, :, 0]
    white[:, heard] = np.sqrt(density[heard]).astype(np.float32) * drawn
    noise = irfft(white, 2 * samples)[:, :samples].astype(np.float64)
    return np.asarray(noise / max(_rms(noise), 1e-15))


def _rms(noise: Floats) -> float:
    return math.sqrt(float(np.vdot(noise, noise)) / max(noise.size, 1))
