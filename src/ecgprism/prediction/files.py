"""Prediction on files: any length, any rate, leads by name in any order, by any engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.quality import doubts
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, ReadError, one_line
from ecgprism.formats import reading
from ecgprism.formats.contract import Declared
from ecgprism.interface.answers import Answers, decide
from ecgprism.interface.card import Card
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.interface.scoring import Engine, Scores, score
from ecgprism.prediction.engines import engine_for
from ecgprism.prediction.patient import known_value, known_values

if TYPE_CHECKING:
    from ecgprism.model.prism import PrismModel

CHUNK_FILES, CHUNK_SAMPLES = 64, 16_000_000  # held in memory at a time, whichever is reached first
LABELS_JOIN = "|"
PROBLEM = "problem"


@dataclass(frozen=True, eq=False)
class Input:
    """A file as the model gets it: signal (L, T) with its leads, and what of it needs saying."""

    signal: NDArray[np.float32]
    leads: tuple[str, ...]
    metadata: Mapping[str, float | str]
    remarks: tuple[str, ...]


@dataclass
class Chunk:
    """Some files in their order, each with its input or with the reason why there is none."""

    paths: list[Path] = field(default_factory=list)
    found: list[Input | ReadError] = field(default_factory=list)

    @property
    def inputs(self) -> list[Input]:
        """The inputs that there are."""
        return [each for each in self.found if isinstance(each, Input)]

    @property
    def full(self) -> bool:
        """Whether no more should be held."""
        # a model of twelve leads gets twelve, however few a file has
        samples = sum(max(len(each.signal), len(STANDARD_LEADS)) * each.signal.shape[1] for each in self.inputs)
        return len(self.paths) >= CHUNK_FILES or samples >= CHUNK_SAMPLES

    def table(self, columns: Mapping[str, Sequence[object] | NDArray[Any]]) -> pd.DataFrame:
        """Return a row for each file, `columns` being of those that could be read."""
        names = {"record_id": [path.stem for path in self.paths], "path": [str(path) for path in self.paths]}
        read = [n for n, each in enumerate(self.found) if isinstance(each, Input)]
        filled = pd.DataFrame(dict(columns), index=read).reindex(range(len(self.paths)))
        problems = ["; ".join(each.remarks) if isinstance(each, Input) else str(each) for each in self.found]
        return pd.DataFrame(names).join(filled).assign(**{PROBLEM: problems})


def predict(
    model: Engine | PrismModel | str | Path,
    paths: Sequence[str | Path],
    *,
    declared: Declared | None = None,
    lead_aliases: Mapping[str, str] | None = None,
    metadata: Mapping[str, float | str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Return one row per recording of the files and folders: record_id, path, `p_<class>`, label(s) and `problem`.

    `declared` says of the files what they do not say themselves, `lead_aliases` only which names are leads. A file that
    cannot be read has NaN, no label and the reason as its problem (`strict` raises instead); leads that are masked (not
    there, or flat) and values that the model does not know are said there too, and all of it through `note`. Raises
    EcgprismError when nothing could be read, and for metadata that the model does not know.
    """
    tables = []
    for chunk, scores in _scored(engine_for(model), paths, _with(declared, lead_aliases), metadata, strict, note):
        answers = _answers(chunk, scores)
        labels = [LABELS_JOIN.join(held) for held in answers.labels()]
        columns: dict[str, Sequence[object] | NDArray[Any]] = {**answers.columns(), "labels": labels}
        tables.append(chunk.table(columns).fillna({"labels": ""}))
    return pd.concat(tables, ignore_index=True)


def embed(
    model: Engine | PrismModel | str | Path,
    paths: Sequence[str | Path],
    *,
    declared: Declared | None = None,
    lead_aliases: Mapping[str, str] | None = None,
    metadata: Mapping[str, float | str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Return one row per recording: record_id, path, `fused` and one column per view, each a vector; `problem`.

    Arguments as of `predict`.
    """
    engine = engine_for(model, embeddings=True)
    scored = _scored(engine, paths, _with(declared, lead_aliases), metadata, strict, note)
    tables = [
        chunk.table({name: list(vectors) for name, vectors in scores.embeddings.items()}) for chunk, scores in scored
    ]
    return pd.concat(tables, ignore_index=True)


def _with(declared: Declared | None, lead_aliases: Mapping[str, str] | None) -> Declared:
    return (declared or Declared()).with_aliases(lead_aliases or {})


def _answers(chunk: Chunk, scores: Scores) -> Answers:
    card, probabilities = scores.card, scores.probabilities
    item = tuple((str(n), 0) for n in range(len(chunk.inputs)))
    return Answers(card.kind, card.classes, item, probabilities, decide(probabilities, card.kind, card.thresholds))


def _scored(
    engine: Engine,
    paths: Sequence[str | Path],
    declared: Declared,
    metadata: Mapping[str, float | str] | None,
    strict: bool,
    note: Callable[[str], None],
) -> Iterator[tuple[Chunk, Scores]]:
    """Read and score recordings, a bounded number of files and samples at a time."""
    card = engine.card
    given = known_values(card, metadata or {})
    declared = replace(declared, lead_aliases={**card.lead_aliases, **declared.lead_aliases})
    count, failed = 0, Chunk()
    for chunk in _chunks(card, paths, declared, given, strict, note):
        inputs = chunk.inputs
        if not inputs and not count:  # columns are known from the first answer on
            failed.paths += chunk.paths
            failed.found += chunk.found
            continue
        if not count and failed.paths:
            chunk = Chunk(failed.paths + chunk.paths, failed.found + chunk.found)  # noqa: PLW2901
        count += len(chunk.paths)
        assembler = SignalAssembler(
            [each.signal for each in inputs], [each.leads for each in inputs], [each.metadata for each in inputs],
            card.spec,
        )  # fmt: skip
        yield chunk, score(engine, assembler)
    if not count:
        first = next((each for each in failed.found if isinstance(each, ReadError)), None)
        raise first or EcgprismError("no recordings given")


def _chunks(
    card: Card,
    paths: Sequence[str | Path],
    declared: Declared,
    given: Mapping[str, float | str],
    strict: bool,
    note: Callable[[str], None],
) -> Iterator[Chunk]:
    chunk = Chunk()
    for path in paths:
        for file in reading.find(path):
            try:
                found: Input | ReadError = _input(card, reading.read_declared(file, declared), given)
                remarks = "; ".join(found.remarks) if isinstance(found, Input) else ""
                if remarks:
                    note(f"{file}: {remarks}")
            except ReadError as error:
                if strict:
                    raise
                found = error
                note(f"no answer: {error}")
            # one file of thousands must not end the others, whatever it does to the code behind its reader
            except Exception as error:
                found = ReadError(f"{file}: not usable ({type(error).__name__}: {one_line(error)})")
                if strict:
                    raise found from error
                note(f"no answer: {found}")
            chunk.paths.append(file)
            chunk.found.append(found)
            if chunk.full:
                yield chunk
                chunk = Chunk()
    if chunk.paths:
        yield chunk


def _input(card: Card, recording: Recording, given: Mapping[str, float | str]) -> Input:
    """Return a recording as the model gets it. Raises ReadError when there is nothing for it to see."""
    missing = [lead for lead in card.leads if lead not in recording.leads]
    if len(missing) == len(card.leads):
        raise ReadError(
            f"{recording.path}: has leads {', '.join(recording.leads)}, none of the model's {', '.join(card.leads)}"
        )
    signal = prepared_signal(recording, card.rate_hz)
    empty = {lead for lead, row in zip(recording.leads, signal, strict=True) if np.isnan(row).all()}
    flat = [lead for lead in card.leads if lead in empty]
    if len(missing) + len(flat) == len(card.leads):
        said = f"missing: {', '.join(missing) or 'none'}; flat: {', '.join(flat)}"
        raise ReadError(f"{recording.path}: every lead that the model knows is flat or missing ({said})")
    metadata, unknown = dict(given), []
    for column in card.metadata:
        if column.name in recording.metadata and column.name not in given:
            value, problem = known_value(column, recording.metadata[column.name])
            if value is not None:
                metadata[column.name] = value
            if problem:
                unknown.append(f"{problem}, taken as missing")
    remarks = [
        f"leads missing: {', '.join(missing)}" if missing else "",
        f"flat: {', '.join(flat)}" if flat else "",
        f"damaged: {recording.details['damaged']}" if "damaged" in recording.details else "",
        *unknown,
        *doubts(recording),
    ]
    return Input(signal, recording.leads, metadata, tuple(remark for remark in remarks if remark))
