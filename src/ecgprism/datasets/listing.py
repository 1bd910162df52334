"""The published list of checksums, and which names from outside may become files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ecgprism.errors import EcgprismError
from ecgprism.files import LOCK, PARTIAL

SUMS, RECORD = "SHA256SUMS.txt", "dataset.json"
LONGEST_PART_BYTES = 255 - len(PARTIAL)  # of what file systems take
LONGEST_NAME_BYTES, DEEPEST = 1000, 32


def parsed_sums(listing: bytes, url: str) -> dict[str, str]:
    """Return {name: SHA-256}; one name that leaves the folder, and nothing of the list is used."""
    try:
        lines = listing.decode("utf-8").split("\n")  # not splitlines: it splits at more than line ends
    except UnicodeDecodeError as error:
        raise EcgprismError(f"{url}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *]?(.+)", line.removesuffix("\r"))
        if match is None:
            raise EcgprismError(f"{url}, line {number}: expected a SHA-256 and a file name and got {line[:80]!r}")
        digest, name = match[1].lower(), match[2]
        if (reason := refusal(name)) is not None:
            raise EcgprismError(f"{url}, line {number}: file name {name[:80]!r} {reason}: nothing was fetched")
        if sums.setdefault(name, digest) != digest:
            raise EcgprismError(f"{url}, line {number}: file name {name!r} stands twice, with two checksums")
    if not sums:
        raise EcgprismError(f"{url}: lists no files")
    if (twin := file_and_folder(sums)) is not None:
        raise EcgprismError(f"{url}: {twin[:80]!r} is a file and a folder: nothing was fetched")
    return sums


def refusal(name: str) -> str | None:
    """Return why a name from outside may not become a path inside a folder; None where it may."""
    parts = name.split("/")
    encoded = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    reasons = {
        "has a backslash or a colon (a Windows path)": "\\" in name or ":" in name,
        "is an absolute path": name.startswith("/"),
        "has an empty, '.' or '..' part": any(part in ("", ".", "..") for part in parts),
        "has a control character": not name.isprintable(),
        "is one that fetch itself writes": name in (SUMS, RECORD, LOCK),
        f"ends in {PARTIAL}": any(part.endswith(PARTIAL) for part in parts),
        "is too long": max(encoded) > LONGEST_PART_BYTES or sum(encoded) > LONGEST_NAME_BYTES or len(parts) > DEEPEST,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def file_and_folder(names: Iterable[str]) -> str | None:
    """Return a name that is that of a file, and of a folder of another file; None where there is none."""
    files = set(names)
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    return min(files & folders, default=None)
