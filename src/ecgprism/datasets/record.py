"""dataset.json, beside fetched data: what they are, where they came from, which files are there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ecgprism.datasets.catalogue import Dataset
from ecgprism.datasets.listing import RECORD
from ecgprism.errors import EcgprismError
from ecgprism.files import atomic


@dataclass(frozen=True)
class FolderRecord:
    """The files of a folder that are there, whole and verified, and how many each archive held."""

    files: tuple[str, ...] = ()
    unpacked: dict[str, int] = field(default_factory=dict)

    def write(self, folder: Path, name: str, dataset: Dataset, url: str) -> None:
        """Write it with what the data set is."""
        content = {
            "name": name, "title": dataset.title, "version": dataset.version, "url": url,
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"), "licence": dataset.licence,
            "citation": dataset.citation, "unpacked": self.unpacked, "files": self.files,
        }  # fmt: skip
        write_whole(folder / RECORD, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def earlier_record(folder: Path, name: str, dataset: Dataset) -> FolderRecord | None:
    """Return the record of an earlier fetch; a folder that belongs to another data set is refused."""
    if folder.exists() and not folder.is_dir():
        raise EcgprismError(f"{folder}: is a file; expected a folder to fetch {name} into")
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        held = (content["name"], content["version"])
        files = tuple(str(file) for file in content["files"])
        unpacked = {str(file): int(count) for file, count in content["unpacked"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise EcgprismError(f"{path}: not written by fetch; choose another folder, or remove it") from None
    if held != (name, dataset.version):
        raise EcgprismError(f"{folder}: holds {held[0]} {held[1]}, not {name} {dataset.version}: choose another folder")
    return FolderRecord(files, unpacked)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)
