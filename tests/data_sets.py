"""Small data sets as their publishers lay them out: MIT-BIH, the challenge of 2021, LUDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.sources.contract import Entry
from ecgprism.sources.opening import open_source

from .records import digital, write_wfdb


def write_beats(
    folder: Path,
    name: str,
    beats: Sequence[tuple[float, str]],
    *,
    leads: Sequence[str] = ("MLII", "V1"),
    duration_s: float = 20.0,
    rate_hz: int = 200,
    comments: Sequence[str] = (),
    annotator: str = "atr",
) -> Path:
    """Write a record with its annotations: a narrow spike for every beat, a broad one for V."""
    at = np.arange(round(duration_s * rate_hz)) / rate_hz
    values = digital(len(leads), len(at), seed=sum(map(ord, name))) / 50.0
    for at_s, symbol in beats:
        width_s = 0.06 if symbol == "V" else 0.02
        values += 200 * np.exp(-(((at - at_s) / width_s) ** 2))[:, None]
    write_wfdb(folder, name, np.rint(values).astype(np.int64), leads, rate_hz=rate_hz, comments=comments)
    samples = np.array([round(at_s * rate_hz) for at_s, _ in beats])
    wfdb.wrann(name, annotator, samples, [symbol for _, symbol in beats], write_dir=str(folder))
    return folder


def write_mitbih(folder: Path, names: Sequence[str] = ("101", "100")) -> Path:
    """Write records of normal beats, every fourth of them ventricular and early."""
    for number, name in enumerate(names):
        regular = 0.8 + 0.02 * number
        beats = [(0.5 + regular * i - (0.25 if i % 4 == 3 else 0.0), "V" if i % 4 == 3 else "N") for i in range(20)]
        write_beats(folder, name, beats, comments=[f"{50 + number} F 1 2 x1", "Digoxin"])
    return folder


def write_challenge(folder: Path, dx: Mapping[str, str]) -> Path:
    """Write records of two leads with the header's comments; `dx` by path below the folder."""
    for path, codes in dx.items():
        at = folder / path
        lines = ["Age: 61", "Sex: Female", f"Dx: {codes}", "Rx: Unknown"]
        write_wfdb(at.parent, at.name, digital(2, seed=len(path)), ["I", "V6"], rate_hz=500, comments=lines)
    return folder


def write_ludb(folder: Path, rhythms: Mapping[str, str], lead: str = "ii") -> Path:
    """Write records as LUDB has them: comments in angle brackets, a wave file for a lead."""
    for name, rhythm in rhythms.items():
        lines = ["<age>: 51", "<sex>: F", "<diagnoses>:", f"Rhythm: {rhythm}.", "Left ventricular hypertrophy. "]
        leads = [lead.lower() for lead in STANDARD_LEADS]
        write_wfdb(folder / "data", name, digital(12, 500), leads, rate_hz=500, comments=lines)
        symbols, samples = list("(p)(N)(t)"), np.array([20, 30, 40, 60, 70, 80, 120, 140, 160])
        wfdb.wrann(name, "wave", samples, symbols, write_dir=str(folder / "data"))  # which refuses the suffix v2
        (folder / "data" / f"{name}.wave").rename(folder / "data" / f"{name}.{lead}")
    return folder


def entries(name: str, root: Path, **options: object) -> list[Entry]:
    return list(open_source(name, root, options).entries())


def wave(seconds: float = 10.0, rate_hz: float = 100.0) -> NDArray[np.float64]:
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.exp(-(((at % 0.8 - 0.4) / 0.03) ** 2)) + 0.05 * np.sin(at)
