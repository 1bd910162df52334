"""What is declared in JSON: of one file in `recording.csv.json` beside it, of all files of a folder in `ecg.json`.

`{"rate_hz": 500, "unit": "uV", "leads": ["I", "II"], "lead_aliases": {"ECG": "I"}, "zero": 1024}`; any may miss.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgprism.ecg.recording import MAX_RATE_HZ, MIN_RATE_HZ
from ecgprism.errors import ReadError, first_problem, nearest, one_line
from ecgprism.formats.contract import MAX_CHANNELS, Declaration

FOLDER = "ecg.json"
MAX_BYTES = 1_000_000
_Name = Annotated[str, Field(max_length=100)]


class FileDeclaration(BaseModel):
    """The keys that such a file may have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rate_hz: Annotated[float | None, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)] = None
    unit: _Name | None = None
    leads: Annotated[list[_Name] | None, Field(max_length=MAX_CHANNELS)] = None
    lead_aliases: dict[_Name, _Name] = Field(default_factory=dict)
    zero: Annotated[float | None, Field(allow_inf_nan=False)] = None


def completed(path: Path, declared: Declaration) -> Declaration:
    """Return what is declared of a file, completed by the JSON beside it, then by that of its folder.

    Raises ReadError for an unknown key or a value that cannot be.
    """
    own = str(path)  # texts, for this is asked for every file that is read
    for beside in (f"{own}.json", os.path.join(os.path.dirname(own), FOLDER)):  # noqa: PTH118, PTH120
        if os.path.isfile(beside) and beside != own:  # noqa: PTH113
            said = _said(Path(beside))
            if said is not None:
                declared = replace(
                    declared,
                    lead_aliases={**said.lead_aliases, **declared.lead_aliases},
                    rate_hz=declared.rate_hz or said.rate_hz,
                    unit=declared.unit or said.unit,
                    leads=declared.leads or (tuple(said.leads) if said.leads else None),
                    zero=declared.zero if declared.zero is not None else said.zero,
                )
    return declared


def _said(path: Path) -> FileDeclaration | None:
    """Return what a file declares, None where it is a FHIR recording of that name."""
    if path.stat().st_size > MAX_BYTES:
        raise ReadError(f"{path}: a declaration of more than {MAX_BYTES} bytes")
    try:
        given = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path}: not valid JSON ({one_line(error)})") from None
    if not isinstance(given, dict):
        raise ReadError(f"{path}: expected an object with {', '.join(FileDeclaration.model_fields)}")
    if path.name == FOLDER and "resourceType" in given:
        return None
    for key in given:
        if key not in FileDeclaration.model_fields:
            raise ReadError(f"{path}: unknown key {key[:40]!r}{nearest(key[:40], FileDeclaration.model_fields)}")
    try:
        return FileDeclaration.model_validate(given)
    except ValidationError as error:
        raise ReadError(f"{path}: {first_problem(error)}") from None
