"""ingest_arrays(): signals and labels that are arrays become a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ecgprism.corpus.ingestion import IngestReport, ingest
from ecgprism.ecg.arrays import ArrayRecordings
from ecgprism.errors import warn
from ecgprism.interface.card import Kind, Table
from ecgprism.sources.arrays import LABELS, ArraySource, content_digest


def ingest_arrays(
    X: NDArray[Any] | Sequence[NDArray[Any]],  # noqa: N803  (as everywhere in the field)
    y: Any,
    out: str | Path,
    *,
    rate_hz: float | None,
    leads: Sequence[str] | None,
    unit: str | None,
    classes: Sequence[str] | None = None,
    kind: Kind | None = None,
    patients: Sequence[Any] | None = None,
    record_ids: Sequence[Any] | None = None,
    splits: Sequence[Any] | None = None,
    metadata: Table | None = None,
    task: str = LABELS,
    corpus_rate_hz: float = 100.0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    note: Callable[[str], None] = warn,
) -> IngestReport:
    """Make a corpus of signals X, (N, leads, samples) or a list of (leads, samples), and labels y.

    `y` has class names, lists of them, numbers with `classes`, or rows of 0 and 1 with `classes`. `patients` keeps
    recordings of one patient in one split; without them each is its own. `splits` (train, val or test for each) are
    kept; without them 80/10/10 by patient. What needs saying goes to `note`. Raises ConfigError for what is missing,
    does not fit, or is no class (regression is not there).
    """
    recordings = ArrayRecordings.of(X, rate_hz, leads, unit)
    source = ArraySource(
        recordings,
        y,
        classes=classes,
        kind=kind,
        task=task,
        patients=patients,
        record_ids=record_ids,
        splits=splits,
        metadata=metadata,
    )
    return ingest(
        source,
        f"array {content_digest(recordings)}",
        out,
        rate_hz=corpus_rate_hz,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
        note=note,
    )
