"""Copies: recordings that are one waveform at another gain, offset or sign, found without comparing all pairs.

Candidates share bits of a signature: the signs of random projections of the slopes of one lead (Charikar 2002). Offsets
have no slope, a gain changes no sign, a negative flips all of them. Correlation then decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import LEADS

BITS, BANDS, BAND_BITS = 128, 6, 21
BINS = 128  # the signature is that of the means of so many stretches: noise of the quantisation averages out
MIN_SAMPLES = 50  # below, chance alone makes slopes alike
MAX_DIFFERENT_BITS = 24  # of a copy whose integers are coarse; of two ECGs about 64 differ
NEIGHBOURS = 8  # that a record is compared with in a band: those with the nearest signatures
LEAST_CORRELATION, LEAST_FAST_CORRELATION = 0.99, 0.95
SLOW_S = 0.4  # what is slower counts for little: wander alone makes different ECGs alike
_ORDER = ("II", "I", *(lead for lead in LEADS if lead not in ("I", "II")))


def signature(signal: NDArray[np.float32], leads: Sequence[str]) -> str | None:
    """Return the signature (hexadecimal) of a recording (L, T), NaN where not recorded; None of one too short."""
    row = compared_lead(signal, leads)
    if signal.shape[1] < MIN_SAMPLES or row is None:
        return None
    bins = min(BINS, signal.shape[1])
    width = signal.shape[1] // bins
    sums = signal[row, : bins * width].reshape(bins, width) @ _ones(width)
    slopes = sums[1:] - sums[:-1]
    projected = slopes @ _directions()[: bins - 1]
    if projected[0] != projected[0]:  # NaN: a gap has no slope
        projected = np.nan_to_num(slopes) @ _directions()[: bins - 1]
    return np.packbits(projected > 0).tobytes().hex()


@cache
def _ones(width: int) -> NDArray[np.float32]:
    return np.ones(width, dtype=np.float32)


@cache
def _directions() -> NDArray[np.float32]:
    # the legacy generator is the one whose numbers never change
    return np.random.RandomState(0).choice([-1, 1], (BINS - 1, BITS)).astype(np.float32)


def compared_lead(signal: NDArray[np.float32], leads: Sequence[str]) -> int | None:
    """Return the row of the lead that recordings are compared by: II where it holds anything, else I, III, ..."""
    for lead in _ORDER:
        if lead in leads:
            values = signal[row := leads.index(lead)]
            if values[0] == values[0] or not np.isnan(values).all():
                return row
    return None


def alike(a: NDArray[np.float32], b: NDArray[np.float32], rate_hz: float) -> bool:
    """Return whether two leads (T,), NaN where not recorded, are one waveform at whatever gain, offset and sign."""
    if abs(len(a) - len(b)) > 1 + 0.001 * len(a):
        return False
    n = min(len(a), len(b))
    both = ~(np.isnan(a[:n]) | np.isnan(b[:n]))
    if both.sum() < MIN_SAMPLES:
        return False
    x, y = a[:n][both].astype(np.float64), b[:n][both].astype(np.float64)
    if abs(_correlation(x, y)) < LEAST_CORRELATION:
        return False
    width = max(round(SLOW_S * rate_hz), 3)
    return abs(_correlation(x - moving_mean(x, width), y - moving_mean(y, width))) >= LEAST_FAST_CORRELATION


def moving_mean(x: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of `width` samples about each of (T,); beyond its ends it is as its first and last samples."""
    padded = np.concatenate([np.repeat(x[:1], width // 2 + 1), x, np.repeat(x[-1:], (width - 1) // 2)])
    sums = np.cumsum(padded - x[0])
    return (sums[width:] - sums[:-width]) / width + x[0]


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0


def pairs(signatures: Sequence[str | None], are_copies: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield pairs of records that are copies of each other: enough of them to connect every set of copies.

    Time is that of six sorts; `are_copies` is asked only where the signatures are alike.
    """
    known = np.flatnonzero([text is not None for text in signatures])
    if len(known) < 2:
        return
    bits = np.frombuffer(bytes.fromhex("".join(text for text in signatures if text)), np.uint8).reshape(len(known), -1)
    asked: set[tuple[int, int]] = set()
    for band in range(BANDS):
        for a, b in _neighbours(bits, band):
            pair = (int(known[min(a, b)]), int(known[max(a, b)]))
            if pair not in asked:
                asked.add(pair)
                if are_copies(*pair):
                    yield pair


def _neighbours(signatures: NDArray[np.uint8], band: int) -> Iterator[tuple[int, int]]:
    """Yield pairs that agree in one band of bits, up to the sign, and in nearly all bits of the whole."""
    bits = np.unpackbits(signatures, axis=1, count=(band + 1) * BAND_BITS)[:, band * BAND_BITS :]
    negative = bits[:, :1]
    key = (bits ^ negative) @ (1 << np.arange(BAND_BITS, dtype=np.int32))
    whole = (signatures ^ (negative * np.uint8(255))).view(">u8")
    order = np.lexsort((whole[:, 1], whole[:, 0], key))
    for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
        a, b = order[:-step], order[step:]
        same = key[a] == key[b]
        a, b = a[same], b[same]
        different = np.unpackbits(signatures[a] ^ signatures[b], axis=1).sum(axis=1)
        near = np.minimum(different, BITS - different) <= MAX_DIFFERENT_BITS
        yield from zip(a[near].tolist(), b[near].tolist(), strict=True)
