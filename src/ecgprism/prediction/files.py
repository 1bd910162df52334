"""Prediction on files: any length, any rate, leads by name in any order, by any engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, ReadError, nearest
from ecgprism.formats import reading
from ecgprism.interface.answers import Answers, decide
from ecgprism.interface.card import Card
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.interface.scoring import Engine, Scores, score
from ecgprism.prediction.engines import engine_for

if TYPE_CHECKING:
    from ecgprism.model.prism import PrismModel

CHUNK = 64  # recordings held in memory at a time
LABELS_JOIN = "|"


@dataclass(frozen=True)
class Chunk:
    """Some recordings with what the engine said of them, row by row."""

    recordings: list[Recording]
    paths: list[Path]
    scores: Scores

    @property
    def answers(self) -> Answers:
        """Probabilities and decisions of the recordings."""
        card, probabilities = self.scores.card, self.scores.probabilities
        item = tuple((path.stem, 0) for path in self.paths)
        return Answers(card.kind, card.classes, item, probabilities, decide(probabilities, card.kind, card.thresholds))


def predict(
    model: Engine | PrismModel | str | Path,
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
    tables = []
    for chunk in _scored(engine_for(model), paths, lead_aliases, metadata, strict, note):
        answers = chunk.answers
        labels = [LABELS_JOIN.join(held) for held in answers.labels()]
        tables.append(_named(chunk, **answers.columns(), labels=labels))
    return pd.concat(tables, ignore_index=True)


def embed(
    model: Engine | PrismModel | str | Path,
    paths: Sequence[str | Path],
    *,
    lead_aliases: Mapping[str, str] | None = None,
    metadata: Mapping[str, float | str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Return one row per recording: record_id, path, `fused` and one column per view, each a vector.

    Arguments as of `predict`.
    """
    engine = engine_for(model, embeddings=True)
    return pd.concat(
        [
            _named(chunk, **{name: list(vectors) for name, vectors in chunk.scores.embeddings.items()})
            for chunk in _scored(engine, paths, lead_aliases, metadata, strict, note)
        ],
        ignore_index=True,
    )


def _named(chunk: Chunk, **columns: object) -> pd.DataFrame:
    names = {"record_id": [path.stem for path in chunk.paths], "path": [str(path) for path in chunk.paths]}
    return pd.DataFrame({**names, **columns})


def _scored(
    engine: Engine,
    paths: Sequence[str | Path],
    lead_aliases: Mapping[str, str] | None,
    metadata: Mapping[str, float | str] | None,
    strict: bool,
    note: Callable[[str], None],
) -> Iterator[Chunk]:
    """Read and score recordings, a bounded number at a time."""
    card = engine.card
    known = [column.name for column in card.metadata]
    for key in metadata or {}:
        if key not in known:
            raise EcgprismError(f"metadata {key!r}: the model has no such column{nearest(key, known)}")
    aliases = {**card.lead_aliases, **(lead_aliases or {})}
    found = (file for path in paths for file in reading.find(path))
    count = 0
    first_problem = None
    while files := list(islice(found, CHUNK)):
        recordings, signals, kept = [], [], []
        for file in files:
            try:
                recording = reading.read(file, aliases)
                _say_missing(card, recording, note)
                signals.append(prepared_signal(recording, card.rate_hz))
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
        assembler = SignalAssembler(signals, [recording.leads for recording in recordings], given, card.spec)
        yield Chunk(recordings, kept, score(engine, assembler))
    if not count:
        raise first_problem or EcgprismError("no recordings given")


def _say_missing(card: Card, recording: Recording, note: Callable[[str], None]) -> None:
    missing = [lead for lead in card.leads if lead not in recording.leads]
    if len(missing) == len(card.leads):
        raise ReadError(
            f"{recording.path}: has leads {', '.join(recording.leads)}, none of the model's {', '.join(card.leads)}"
        )
    if missing:
        note(f"{recording.path}: leads not in the file, masked: {', '.join(missing)}")
