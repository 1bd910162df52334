"""corpus.json: what a corpus is, as one validated model, with check sums of its files and of itself."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgprism.ecg.leads import LEADS
from ecgprism.errors import ConfigError, EcgprismError, first_problem
from ecgprism.files import atomic
from ecgprism.interface.card import Task

FORMAT_VERSION: Literal[2] = 2
SIGNALS, RECORDS, ITEMS, META, REJECTED = (
    "signals.i16", "records.parquet", "items.parquet", "corpus.json", "rejected.csv",
)  # fmt: skip
TABLES = (RECORDS, ITEMS)
MIN_CORPUS_HZ, MAX_CORPUS_HZ = 20, 5000
_CHECKSUM = re.compile(rb'"checksum": "([0-9a-f]{64})"\n\}\n$')

Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ColumnKind = Literal["numeric", "categorical"]


class CorpusMeta(BaseModel):
    """What a corpus is and what its ingest found; counts are of records unless they say otherwise.

    `entries` is the digest of the source's entries, `fingerprint` that of all a model sees, `sha256` those of the
    tables. `metadata` has the kind of each column, `missing` the share of it that is, `ranges` the least and the
    greatest number, `categories` how often each word stands there (the most frequent ones of many); `classes` the
    number of items by task, class and split; `unused` counts what the source said besides and no class stands for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format: Literal[2] = FORMAT_VERSION
    ecgprism: str
    source: str
    options: dict[str, str]
    seed: int
    rate_hz: Annotated[float, Field(ge=MIN_CORPUS_HZ, le=MAX_CORPUS_HZ)]
    leads: Annotated[tuple[str, ...], Field(min_length=1)]
    lead_aliases: dict[str, str]
    tasks: Annotated[dict[str, Task], Field(min_length=1)]
    metadata: dict[str, ColumnKind]
    missing: dict[str, Annotated[float, Field(ge=0, le=1)]]
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    categories: dict[str, dict[str, Count]] = Field(default_factory=dict)
    classes: dict[str, dict[str, dict[str, Count]]]
    records: Annotated[int, Field(ge=1)]
    rejected: Count
    items: Count
    flat_leads: Count
    unknown_patients: Count
    duplicates: Count
    skipped_channels: tuple[str, ...]
    split_rule: str
    unused: dict[str, Count]
    notes: tuple[str, ...]
    entries: str
    fingerprint: Digest
    sha256: dict[str, Digest]

    @model_validator(mode="after")
    def _possible(self) -> CorpusMeta:
        """Refuse what no ingest writes."""
        if set(self.leads) - set(LEADS) or len(set(self.leads)) < len(self.leads):
            raise ValueError(f"leads {', '.join(self.leads)}")
        if set(self.sha256) != set(TABLES):
            raise ValueError(f"sha256 of {', '.join(self.sha256)}")
        return self


def write_meta(folder: Path, meta: CorpusMeta) -> None:
    """Write corpus.json, which ends with the SHA-256 of itself."""
    text = json.dumps(meta.model_dump(mode="json") | {"checksum": ""}, indent=2) + "\n"
    found = hashlib.sha256(text.encode()).hexdigest()
    with atomic(folder / META) as path:
        path.write_text(text.removesuffix('""\n}\n') + f'"{found}"\n}}\n', encoding="utf-8")


def read_meta(folder: Path) -> CorpusMeta:
    """Return what corpus.json says. Raises EcgprismError when it is damaged, or of another format."""
    path = folder / META
    data = path.read_bytes()
    try:
        tree = json.loads(data)
        version = tree["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EcgprismError(f"{path}: damaged (no JSON of a corpus); ingest it again") from None
    if version != FORMAT_VERSION:
        raise EcgprismError(f"{path}: corpus format {version!r}, expected {FORMAT_VERSION}: ingest it again")
    ending = _CHECKSUM.search(data)
    blank = data[: ending.start(1)] + data[ending.end(1) :] if ending else b""
    if ending is None or hashlib.sha256(blank).hexdigest() != ending[1].decode():
        raise EcgprismError(f"{path}: damaged (its check sum does not fit); ingest it again")
    del tree["checksum"]
    try:
        return CorpusMeta.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise EcgprismError(f"{path}: damaged: {first_problem(error)}; ingest it again") from None
    except ConfigError as error:  # of a task that none can be
        raise EcgprismError(f"{path}: damaged: {error}; ingest it again") from None
