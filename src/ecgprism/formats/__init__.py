"""read(path) -> Recording, whatever the file format (WFDB so far)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ecgprism.errors import ReadError
from ecgprism.formats import wfdb
from ecgprism.recording import Recording


def read(path: str | Path, lead_aliases: Mapping[str, str] | None = None) -> Recording:
    """Read one recording; a WFDB record is named with or without `.hea`.

    `lead_aliases` declares further lead spellings (`{"ECG": "I"}`). Raises ReadError naming the file and the reason.
    """
    return wfdb.read(Path(path), lead_aliases)


def find(path: str | Path) -> Iterator[Path]:
    """Yield what `read` takes below a folder, in order of name, or the path itself if it is no folder."""
    path = Path(path)
    if not path.is_dir():
        yield path
        return
    headers = sorted(path.rglob("*.hea"))
    if not headers:
        raise ReadError(f"{path}: no recording below this folder (looked for WFDB headers, *.hea)")
    yield from headers
