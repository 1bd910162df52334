"""Prediction on files and arrays: any length, any rate, leads by name in any order, by any engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgprism.ecg.conditioning import prepared_signal
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.metadata import is_missing
from ecgprism.ecg.quality import doubts, too_little
from ecgprism.ecg.recording import Recording
from ecgprism.ecg.rows import rows_of
from ecgprism.errors import EcgprismError, ReadError, one_line, warn
from ecgprism.formats.contract import Declaration
from ecgprism.interface.answers import RULE, Answers, decide, rule_of, threshold_columns
from ecgprism.interface.card import Card, Table
from ecgprism.interface.inputs import SignalAssembler
from ecgprism.interface.scoring import Engine, Scores, score
from ecgprism.prediction.engines import engine_for
from ecgprism.prediction.patient import Told, known_values, patient_values
from ecgprism.prediction.patient_table import PatientTable, known_columns, not_used
from ecgprism.prediction.recordings import (
    Metadata,
    NamedRecording,
    Signals,
    given_recordings,
    is_signals,
    of_arrays,
    of_files,
)
from ecgprism.processes import RECORD_MEMORY_MB, RECORD_TIMEOUT_S, Limits, limited

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

    named: list[NamedRecording] = field(default_factory=list)
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
        return len(self.named) >= CHUNK_FILES or samples >= CHUNK_SAMPLES

    def table(self, columns: Mapping[str, Sequence[object] | NDArray[Any]]) -> pd.DataFrame:
        """Return a row for each file, `columns` being of those that could be read."""
        names = {"record_id": [each.record_id for each in self.named], "path": [each.path for each in self.named]}
        read = [n for n, each in enumerate(self.found) if isinstance(each, Input)]
        filled = pd.DataFrame(dict(columns), index=read).reindex(range(len(self.named)))
        problems = ["; ".join(each.remarks) if isinstance(each, Input) else str(each) for each in self.found]
        return pd.DataFrame(names).join(filled).assign(**{PROBLEM: problems})


def predict(
    model: Engine | PrismModel | str | Path,
    recordings: Sequence[str | Path] | Signals,
    *,
    rate_hz: float | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
    lead_aliases: Mapping[str, str] | None = None,
    declared: Declaration | None = None,
    metadata: Metadata | Table | None = None,
    metadata_table: str | Path | Table | None = None,
    metadata_columns: Mapping[str, str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = warn,
) -> pd.DataFrame:
    """Return one row per recording: record_id, path, `p_<class>`, `labels`, `problem`, `rule`, thresholds `t_<class>`.

    `labels` (joined by `|`) are filled by the rule that stands beside them, and by nothing else: `p >= t`, each class
    that reaches its threshold, or `highest p`, where classes exclude each other.

    `recordings` are files and folders, or signals (N, L, T), or a list of (L, T). `rate_hz`, `unit` and `leads` say
    what files do not say themselves, and arrays never do; `lead_aliases` which names are leads. `metadata` holds for
    all of them, or is a table with a row for each array; `metadata_table` is a file or a table with the patients of
    some of them, joined by `record_id` or else `path` (`metadata_columns` says where a column stands), whose values go
    before those of the files. What cannot be read has NaN, no label and the reason as its problem (`strict` raises
    instead); masked leads (not there, or flat), values that the model does not know, and those in which table and file
    differ are said there too, and all of it through `note` (a warning). Raises EcgprismError when nothing could be
    read, and for metadata that the model does not know.
    """
    declared = _declared(declared, rate_hz, unit, leads, lead_aliases)
    tables = []
    engine = engine_for(model)
    patients = None if metadata_table is None else PatientTable.read(metadata_table, engine.card, metadata_columns)
    for chunk, scores in _scored(engine, recordings, declared, metadata, patients, strict, note):
        answers = _answers(chunk, scores)
        labels = [LABELS_JOIN.join(held) for held in answers.labels()]
        columns: dict[str, Sequence[object] | NDArray[Any]] = {**answers.columns(), "labels": labels}
        limits = threshold_columns(scores.card.kind, scores.card.classes, scores.card.thresholds)
        table = chunk.table(columns).fillna({"labels": ""}).assign(**{RULE: rule_of(scores.card.kind)})
        tables.append(table.assign(**limits))
    return pd.concat(tables, ignore_index=True)


def embed(
    model: Engine | PrismModel | str | Path,
    recordings: Sequence[str | Path] | Signals,
    *,
    rate_hz: float | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
    lead_aliases: Mapping[str, str] | None = None,
    declared: Declaration | None = None,
    metadata: Metadata | Table | None = None,
    metadata_table: str | Path | Table | None = None,
    metadata_columns: Mapping[str, str] | None = None,
    strict: bool = False,
    note: Callable[[str], None] = warn,
) -> pd.DataFrame:
    """Return one row per recording: record_id, path, `fused` and one column per view, each a vector; `problem`.

    Arguments as of `predict`.
    """
    engine = engine_for(model, embeddings=True)
    declared = _declared(declared, rate_hz, unit, leads, lead_aliases)
    patients = None if metadata_table is None else PatientTable.read(metadata_table, engine.card, metadata_columns)
    scored = _scored(engine, recordings, declared, metadata, patients, strict, note)
    tables = [
        chunk.table({name: list(vectors) for name, vectors in scores.embeddings.items()}) for chunk, scores in scored
    ]
    return pd.concat(tables, ignore_index=True)


def _declared(
    declared: Declaration | None, rate_hz: float | None, unit: str | None, leads: Sequence[str] | None,
    lead_aliases: Mapping[str, str] | None,
) -> Declaration:  # fmt: skip
    held = declared or Declaration()
    said = replace(
        held,
        rate_hz=held.rate_hz if rate_hz is None else rate_hz,
        unit=held.unit if unit is None else unit,
        leads=held.leads if leads is None else tuple(rows_of(leads, "leads")),
    )
    return said.with_aliases(lead_aliases or {})


def _answers(chunk: Chunk, scores: Scores) -> Answers:
    card, probabilities = scores.card, scores.probabilities
    item = tuple((str(n), 0) for n in range(len(chunk.inputs)))
    return Answers(card.kind, card.classes, item, probabilities, decide(probabilities, card.kind, card.thresholds))


def _scored(
    engine: Engine,
    recordings: Sequence[str | Path] | Signals,
    declared: Declaration,
    metadata: Metadata | Table | None,
    patients: PatientTable | None,
    strict: bool,
    note: Callable[[str], None],
) -> Iterator[tuple[Chunk, Scores]]:
    """Read and score recordings, a bounded number of them and of samples at a time."""
    card, recordings = engine.card, given_recordings(recordings)
    for_all, of_each = (metadata, None) if metadata is None or _for_all(metadata) else ({}, metadata)
    given = known_values(card, cast(Metadata, for_all or {}))
    declared = replace(declared, lead_aliases={**card.lead_aliases, **declared.lead_aliases})
    if is_signals(recordings):
        table = cast("Table | None", of_each)
        if table is not None and (unused := set(table) - set(known_columns(card, table, "metadata"))):
            note(not_used("metadata", sorted(unused)))
        named = of_arrays(cast(Signals, recordings), declared, table)
    elif of_each is not None:
        raise EcgprismError("metadata: a table goes with arrays; for files give one value a column, or metadata_table")
    else:
        named = of_files(cast("Sequence[str | Path]", recordings), declared)
    if patients is not None:
        named = _with_patients(named, patients, given, note)
    count, failed = 0, Chunk()
    for chunk in _chunks(card, named, given, strict, note):
        inputs = chunk.inputs
        if not inputs and not count:  # columns are known from the first answer on
            failed.named += chunk.named
            failed.found += chunk.found
            continue
        if not count and failed.named:
            chunk = Chunk(failed.named + chunk.named, failed.found + chunk.found)  # noqa: PLW2901
        count += len(chunk.named)
        assembler = SignalAssembler(
            [each.signal for each in inputs], [each.leads for each in inputs], [each.metadata for each in inputs],
            card.spec,
        )  # fmt: skip
        yield chunk, score(engine, assembler)
    if not count:
        first = next((each for each in failed.found if isinstance(each, ReadError)), None)
        raise first or EcgprismError("no recordings given")


def _with_patients(
    named: Iterator[NamedRecording], patients: PatientTable, given: Metadata, note: Callable[[str], None]
) -> Iterator[NamedRecording]:
    """Give every recording its row. Raises EcgprismError for a column that is given for all of them, too."""
    recordings = list(named)
    for column in given:
        if any(column in row for row in patients.rows):
            raise EcgprismError(f"metadata {column!r}: given for all recordings and in {patients.name}; give it once")
    for line in patients.notes(recordings):
        note(line)
    for each in recordings:
        row = patients.row_of(each)
        told = Told(patients.name, None if row is None else patients.rows[row])
        yield replace(each, told=told)


def _for_all(metadata: Metadata | Table) -> bool:
    """Whether metadata holds one value a column."""
    return isinstance(metadata, Mapping) and all(
        isinstance(value, str | Real) or is_missing(value) for value in metadata.values()
    )


def _chunks(
    card: Card,
    named: Iterator[NamedRecording],
    given: Metadata,
    strict: bool,
    note: Callable[[str], None],
) -> Iterator[Chunk]:
    chunk, few_leads = Chunk(), False
    for each in named:
        try:
            with limited(Limits(RECORD_TIMEOUT_S, RECORD_MEMORY_MB)):
                found: Input | ReadError = _input(card, each.read(), given, each.told)
            remarks = "; ".join(found.remarks) if isinstance(found, Input) else ""
            if remarks:
                note(f"{each.path}: {remarks}")
            if not few_leads and isinstance(found, Input) and set(found.leads) > set(card.leads):
                few_leads = True
                note(f"the model looks at {', '.join(card.leads)} alone; the recordings' other leads count for nothing")
        except ReadError as error:
            if strict:
                raise
            found = error
            note(f"no answer: {error}")
        except TimeoutError as error:
            found = ReadError(f"{each.path}: {error}")
            if strict:
                raise found from None
            note(f"no answer: {found}")
        # one file of thousands must not end the others, whatever it does to the code behind its reader
        except Exception as error:
            found = ReadError(f"{each.path}: not usable ({type(error).__name__}: {one_line(error)})")
            if strict:
                raise found from error
            note(f"no answer: {found}")
        chunk.named.append(each)
        chunk.found.append(found)
        if chunk.full:
            yield chunk
            chunk = Chunk()
    if chunk.named:
        yield chunk


def unseen_leads(card: Card, leads: Collection[str], flat: Collection[str]) -> list[str]:
    """Return remarks on what a model misses of a recording: its leads that are not among `leads`, or are flat."""
    kinds = {
        "leads missing": [lead for lead in card.leads if lead not in leads],
        "flat": [lead for lead in card.leads if lead in flat],
    }
    return [f"{what}: {', '.join(names)}" for what, names in kinds.items() if names]


def _input(card: Card, recording: Recording, given: Metadata, told: Told | None) -> Input:
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
    asked = [column for column in card.metadata if column.name not in given]
    of_patient, doubtful = patient_values(asked, recording.metadata, told)
    metadata = {**given, **of_patient}
    remarks = [
        *unseen_leads(card, recording.leads, empty),
        f"damaged: {recording.details['damaged']}" if "damaged" in recording.details else "",
        *doubtful,
        *doubts(recording),
        *too_little(recording),
    ]
    return Input(signal, recording.leads, metadata, tuple(remark for remark in remarks if remark))
