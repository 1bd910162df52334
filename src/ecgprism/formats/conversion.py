"""Recordings written as WFDB, EDF or DICOM waveform, whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ConfigError, warn
from ecgprism.formats import reading
from ecgprism.formats.contract import Declaration
from ecgprism.formats.wfdb import header_path
from ecgprism.formats.writing import dicom, edf, wfdb
from ecgprism.formats.writing.contract import LIMIT, STEPS_UV, ConversionError, Note, digitise
from ecgprism.formats.writing.dicom import coded

# fmt: off
__all__ = [
    "LIMIT", "STEPS_UV", "ConversionError", "Note", "check_target", "coded", "convert", "digitise", "write",
]
# fmt: on


def convert(
    source: str | Path,
    target: str | Path,
    *,
    declared: Declaration | None = None,
    lead_aliases: Mapping[str, str] | None = None,
    fill: bool = False,
    overwrite: bool = False,
    note: Note | None = warn,
) -> Path:
    """Read a recording of any format and write it as the suffix of `target` says: .hea, .edf or .dcm.

    Every value comes back within half a step of the integers: 0.1 uV where the range of the lead allows it, at most
    1 uV unless the range demands more; nothing is clipped. What cannot go along (channels that are no leads; to EDF and
    DICOM, annotations) is said through `note` (a warning). With `fill`, EDF and DICOM get 0 mV where nothing was
    recorded, and EDF at the end where its records do not come out even; without, both are refused. Raises ConfigError
    for a target that cannot be, ReadError for the source, ConversionError for what the format cannot hold.
    """
    source, target = Path(source), Path(target)
    _writer(target)
    check_target(source, target, wfdb.files(target), overwrite)
    recording = reading.read_declared(source, (declared or Declaration()).with_aliases(lead_aliases or {}))
    return write(recording, target, fill=fill, overwrite=overwrite, note=note)


def write(
    recording: Recording,
    target: str | Path,
    *,
    fill: bool = False,
    overwrite: bool = False,
    note: Note | None = warn,
) -> Path:
    """Write a recording as the suffix of `target` says; see `convert`. Name and identity are never written."""
    target = Path(target)
    said: Note = note or (lambda _: None)
    writer = _writer(target)
    check_target(None, target, wfdb.files(target), overwrite)
    if recording.skipped:
        said(f"{target}: channels left out: {', '.join(recording.skipped)}")
    if recording.annotations and writer is not wfdb:
        said(f"{target}: {len(recording.annotations)} annotations left out; only WFDB (.hea) takes them along")
    if lost := [key for key in recording.details if key not in writer.KEPT]:
        said(f"{target}: left out of what the file says besides: {', '.join(lost)}")
    writer.write(recording, target, fill, said)
    return target


def check_target(source: Path | None, target: Path, files: Sequence[Path], overwrite: bool) -> None:
    """Raise ConfigError unless `files`, which make up the target, can be written without harm to anything."""
    sources = (source, header_path(source)) if source and target.exists() else ()
    if any(path.exists() and path.samefile(target) for path in sources):
        raise ConfigError(f"{target}: source and target are the same file")
    taken = [path for path in files if path.exists()]
    if taken and not overwrite:
        raise ConfigError(
            f"{taken[0]} exists already; choose another name, or overwrite it (--overwrite, overwrite=True)"
        )
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.parent} does not exist")


def _writer(target: Path) -> ModuleType:
    known = {".hea": wfdb, ".edf": edf, ".dcm": dicom}
    if target.suffix.lower() not in known:
        raise ConfigError(
            f"{target}: the suffix {target.suffix!r} names no format to write; "
            "there are: .hea (WFDB), .edf (EDF), .dcm (DICOM waveform)"
        )
    if target.suffix.lower() == ".hea" and not re.fullmatch(r"[-\w]+", target.stem, re.ASCII):
        raise ConfigError(f"{target}: a WFDB record is named with letters, digits, - and _; not {target.stem!r}")
    return known[target.suffix.lower()]
