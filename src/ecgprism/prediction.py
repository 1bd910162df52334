"""Prediction on files: any length, any rate, leads by name in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from ecgprism import formats
from ecgprism.batch import SignalAssembler
from ecgprism.errors import EcgprismError, ReadError, nearest
from ecgprism.inference import Scores, score
from ecgprism.ingestion import prepared_signal
from ecgprism.metrics import decide
from ecgprism.model import PrismModel
from ecgprism.recording import Recording

CHUNK = 64  # recordings held in memory at a time
LABELS_JOIN = "|"


@dataclass(frozen=True)
class Scored:
    """A chunk of recordings with the model's answers, row by row."""

    recordings: list[Recording]
    paths: list[Path]
    scores: Scores


def predict(
    model: PrismModel | str | Path,
    paths: Sequence[str | Path],
    *,
    lead_aliases: Mapping[str, str] | None = None,
    metadata: Mapping[str, float | str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Return one row per recording of the files and folders: record_id, path, `p_<class>` and label(s).

    A lead that the model knows and the file lacks is masked and said through `note`; so is a file that cannot be read,
    which is then left out (`strict` raises instead). Raises EcgprismError when nothing could be read.
    """
    model = _loaded(model)
    rows: list[dict[str, str | float]] = []
    for chunk in _scored(model, paths, lead_aliases, metadata, strict, note, embeddings=False):
        thresholds = np.asarray(model.card.thresholds) if model.card.thresholds is not None else 0.5
        decided = decide(chunk.scores.probabilities, model.task.kind, thresholds)
        for path, p, held in zip(chunk.paths, chunk.scores.probabilities, decided, strict=True):
            row: dict[str, str | float] = {"record_id": path.stem, "path": str(path)}
            row |= {f"p_{name}": float(value) for name, value in zip(model.task.classes, p, strict=True)}
            row["labels"] = LABELS_JOIN.join(n for n, yes in zip(model.task.classes, held, strict=True) if yes)
            rows.append(row)
    return pd.DataFrame(rows)


def embed(
    model: PrismModel | str | Path,
    paths: Sequence[str | Path],
    *,
    lead_aliases: Mapping[str, str] | None = None,
    metadata: Mapping[str, float | str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Return one row per recording: record_id, path, and the embeddings `fused` and of each view as lists of D."""
    model = _loaded(model)
    tables = []
    for chunk in _scored(model, paths, lead_aliases, metadata, strict, note, embeddings=True):
        table = pd.DataFrame({"record_id": [p.stem for p in chunk.paths], "path": [str(p) for p in chunk.paths]})
        for name, vectors in chunk.scores.embeddings.items():
            table[name] = list(vectors)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _loaded(model: PrismModel | str | Path) -> PrismModel:
    return model if isinstance(model, PrismModel) else PrismModel.load(model)


def _scored(
    model: PrismModel,
    paths: Sequence[str | Path],
    lead_aliases: Mapping[str, str] | None,
    metadata: Mapping[str, float | str] | None,
    strict: bool,
    note: Callable[[str], None],
    embeddings: bool,
) -> Iterator[Scored]:
    """Read and score recordings, a bounded number at a time."""
    known = [column.name for column in model.spec.metadata.columns]
    for key in metadata or {}:
        if key not in known:
            raise EcgprismError(f"metadata {key!r}: the model has no such column{nearest(key, known)}")
    aliases = {**model.card.lead_aliases, **(lead_aliases or {})}
    found = (file for path in paths for file in formats.find(path))
    count = 0
    first_problem = None
    while files := list(islice(found, CHUNK)):
        recordings, signals, kept = [], [], []
        for file in files:
            try:
                recording = formats.read(file, aliases)
                _say_missing(model, recording, note)
                signals.append(prepared_signal(recording, model.spec.rate_hz))
            except ReadError as error:
                if strict:
                    raise
                first_problem = first_problem or error
                note(f"left out: {error}")
                continue
            recordings.append(recording)
            kept.append(file)
        if not kept:
            continue
        count += len(kept)
        given = [{**recording.metadata, **(metadata or {})} for recording in recordings]
        assembler = SignalAssembler(signals, [recording.leads for recording in recordings], given, model.spec)
        yield Scored(recordings, kept, score(model, assembler, embeddings=embeddings))
    if not count:
        raise first_problem or EcgprismError("no recordings given")


def _say_missing(model: PrismModel, recording: Recording, note: Callable[[str], None]) -> None:
    missing = [lead for lead in model.spec.leads if lead not in recording.leads]
    if len(missing) == len(model.spec.leads):
        raise ReadError(
            f"{recording.path}: has leads {', '.join(recording.leads)}, "
            f"none of the model's {', '.join(model.spec.leads)}"
        )
    if missing:
        note(f"{recording.path}: leads not in the file, masked: {', '.join(missing)}")
