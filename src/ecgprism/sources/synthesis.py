"""Simulated data sets as files: WFDB records with annotations, the truth as tables, a manifest to ingest them by."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgprism.errors import EcgprismError
from ecgprism.files import LOCK, PARTIAL, locked, to_disk
from ecgprism.processes import start_worker
from ecgprism.simulator.patients import METADATA
from ecgprism.simulator.simulation import SimulatedRecord
from ecgprism.sources.opening import open_source
from ecgprism.sources.simulated import SimulatedSource

CHUNK = 16  # records a worker process makes at a time
WFDB, MANIFEST, BEATS, RECORDS = "wfdb", "manifest.csv", "beats.parquet", "records.parquet"
OWN = re.compile(
    rf"{WFDB}|{WFDB}/sim_\d{{6,}}\.(hea|dat|atr|wave)|{re.escape(LOCK)}|"
    + "|".join(map(re.escape, (MANIFEST, BEATS, RECORDS)))
)


def synthesise(
    n: int,
    out: str | Path,
    *,
    task: str = "superdiagnostic",
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write `n` simulated records as WFDB into the folder `out`; the same options give the same files.

    `out` then has wfdb/sim_000000.hea, .dat, .atr (beats and rhythm changes) and .wave (onset, peak and end of P, QRS
    and T), manifest.csv with the labels of `task`, beats.parquet (one row per beat) and records.parquet (conditions,
    rhythm spans, noise). `options` are those of the source `simulated`. Raises EcgprismError when `out` is not empty,
    and with `overwrite` when it holds anything that is not from here.
    """
    out = Path(out).resolve() if Path(out).is_symlink() else Path(out)
    made, aside = out.with_name(out.name + PARTIAL), out.with_name(f".{out.name}.replaced")
    if aside.is_dir() and not out.exists():  # an overwrite was killed between its two renames
        aside.rename(out)
    _check_out(out, overwrite)
    source = open_source("simulated", None, {**(options or {}), "n": n, "task": task})
    assert isinstance(source, SimulatedSource)
    made.mkdir(parents=True, exist_ok=True)
    with locked(made, "simulation"):
        for folder in (made, aside):
            _check_own(folder)
        _clear(aside)
        shutil.rmtree(made / WFDB, ignore_errors=True)
        try:
            (made / WFDB).mkdir()
            _write(source, task, made, workers, progress)
            (made / LOCK).unlink(missing_ok=True)
            if out.exists():
                out.rename(aside)
            made.rename(out)
            to_disk(out.parent)
        except BaseException:
            _clear(made)
            raise
        _clear(aside)
    return out


def write_wfdb(simulated: SimulatedRecord, folder: Path, name: str) -> None:
    """Write one simulated record: .hea and .dat (format 16), .atr (beats, rhythm), .wave (wave borders)."""
    import wfdb  # noqa: PLC0415

    recording, truth = simulated.recording, simulated.truth
    leads, rate_hz = recording.leads, recording.rate_hz
    wfdb.wrsamp(
        name,
        fs=rate_hz,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        p_signal=recording.signal.T.astype(np.float64),
        fmt=["16"] * len(leads),
        adc_gain=[2000.0] * len(leads),
        baseline=[0] * len(leads),
        comments=[f"{key}: {recording.metadata[key]}" for key in METADATA if key in recording.metadata],
        write_dir=str(folder),
    )
    last = recording.signal.shape[1] - 1

    def annotate(extension: str, marks: list[tuple[float, str, str]]) -> None:
        marks = sorted((min(max(round(at * rate_hz), 0), last), symbol, note) for at, symbol, note in marks)
        samples, symbols, notes = zip(*marks, strict=True)
        wfdb.wrann(
            name, extension, np.array(samples), list(symbols), aux_note=list(notes), fs=rate_hz, write_dir=str(folder)
        )

    beats = truth.beats()
    rhythm = [(span.start_s, "+", span.note) for span in truth.spans]
    annotate("atr", rhythm + [(at, symbol, "") for at, symbol in zip(beats["r_s"], beats["symbol"], strict=True)])
    borders = []
    for wave, symbols in (("p", "(p)"), ("qrs", "(N)"), ("t", "(t)")):
        for point, symbol in zip(("onset", "peak", "offset"), symbols, strict=True):
            at_s = beats[f"{wave}_{point}_s"].dropna()
            borders += [(at, symbol, "") for at in at_s if 0 <= at * rate_hz <= last]
    if borders:
        annotate("wave", borders)


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise EcgprismError unless `out` may be written: it is empty, or may be overwritten and is all from here."""
    if out.exists() and not out.is_dir():
        raise EcgprismError(f"{out}: is no folder; choose another folder")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise EcgprismError(
                f"{out}: exists already; choose another folder, or overwrite it (--overwrite, overwrite=True)"
            )
        _check_own(out)


def _check_own(folder: Path) -> None:
    """Raise EcgprismError when a folder holds anything that no simulation wrote."""
    inside = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    if foreign := sorted(name for name in inside if not OWN.fullmatch(name)):
        raise EcgprismError(
            f"{folder}: holds {foreign[0]!r} besides simulated records, so it is not overwritten; move that away"
        )


def _clear(folder: Path) -> None:
    """Delete the simulated records in a folder, and the folder when nothing else is in it."""
    shutil.rmtree(folder / WFDB, ignore_errors=True)
    for name in (MANIFEST, BEATS, RECORDS, LOCK):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write(
    source: SimulatedSource, task: str, folder: Path, workers: int | None, progress: Callable[[int, int], None]
) -> None:
    done, beats, records = 0, [], []
    work = partial(_records, source, folder / WFDB)
    progress(0, source.n)
    with ProcessPoolExecutor(workers, initializer=start_worker, initargs=(os.getpid(),)) as pool:
        for made in pool.map(work, (range(i, min(i + CHUNK, source.n)) for i in range(0, source.n, CHUNK))):
            beats += [rows for rows, _ in made]
            records += [row for _, row in made]
            done += len(made)
            progress(done, source.n)
    manifest = pd.DataFrame(
        {
            "path": f"{WFDB}/{entry.record_id}",
            "record_id": entry.record_id,
            "patient_id": entry.patient_id,
            "labels": "|".join(entry.labels.get(task, ())),
            **entry.metadata,
        }
        for entry in source.entries()
    )
    known = [column for column in METADATA if column in manifest]
    manifest[["path", "record_id", "patient_id", "labels", *known]].to_csv(folder / MANIFEST, index=False)
    pd.concat(beats, ignore_index=True).to_parquet(folder / BEATS, index=False)
    pd.DataFrame(records).to_parquet(folder / RECORDS, index=False)


def _records(source: SimulatedSource, folder: Path, indices: range) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    made = []
    for index in indices:
        simulated = source.simulated(index)
        truth, name = simulated.truth, f"sim_{index:06d}"
        write_wfdb(simulated, folder, name)
        beats = truth.beats()
        beats.insert(0, "record_id", name)
        row = {
            "record_id": name,
            "patient_id": simulated.traits.patient_id,
            "snr_db": truth.snr_db,
            "conditions": json.dumps(dict(truth.conditions)),
            "rhythm_spans": json.dumps([list(span) for span in truth.spans]),
            "p_not_conducted_s": truth.p_only_s.tolist(),
            **{f"{task}_labels": "|".join(held) for task, held in simulated.traits.labels.items()},
            **{f"{kind}_mv": truth.levels_mv.get(kind, 0.0) for kind in ("wander", "muscle", "motion", "mains")},
        }
        made.append((beats, row))
    return made
