"""Fetched archives, unpacked where they lie."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from ecgprism.datasets.catalogue import size_text
from ecgprism.datasets.disk import check_room, room
from ecgprism.datasets.listing import file_and_folder, refusal
from ecgprism.datasets.server import CHUNK_BYTES
from ecgprism.errors import EcgprismError, one_line
from ecgprism.files import atomic

LARGEST_RATIO = 20  # unpacked to packed: ECGs reach 4, a bomb 1000


def unpack(archive: Path, listed: Iterable[str], longest_bytes: int) -> int:
    """Unpack a verified zip archive where it lies; return its number of files. What is there already is kept.

    Raises EcgprismError for one that is damaged, or whose files would be larger than `longest_bytes` together, lie
    outside the folder, or take the name of a `listed` file.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked_members(archive, opened, set(listed), longest_bytes)
            missing = [member for member in members if not _is_there(archive.parent / member.filename, member)]
            size = sum(member.file_size for member in missing)
            needed = f"unpacking {archive.name} needs {size_text(size)}"
            check_room(archive.parent, size, needed)
            for member in missing:
                path = archive.parent / member.filename
                with room(archive.parent, needed):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # reading ends at the size that the archive declares, and compares the CRC: bombs cannot lie
                    with atomic(path) as temporary, opened.open(member) as packed, temporary.open("wb") as file:
                        shutil.copyfileobj(packed, file, CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise EcgprismError(f"{archive}: cannot be unpacked ({one_line(error)})") from None
    return len(members)


def _checked_members(
    archive: Path, opened: zipfile.ZipFile, taken: set[str], longest_bytes: int
) -> list[zipfile.ZipInfo]:
    """Return the files of an archive, all of which may be unpacked beside it."""
    members = []
    for member in opened.infolist():
        name = member.orig_filename.removesuffix("/") if member.is_dir() else member.orig_filename
        reason = refusal(name)
        if reason is None and stat.S_ISLNK(member.external_attr >> 16):
            reason = "is a symbolic link"
        if reason is None and not member.is_dir() and name in taken:
            reason = "is another file's"
        if reason is not None:
            raise EcgprismError(f"{archive}: member {name[:80]!r} {reason}: nothing was unpacked")
        if not member.is_dir():
            taken.add(name)
            members.append(member)
    if (twin := file_and_folder(taken)) is not None:
        raise EcgprismError(f"{archive}: {twin[:80]!r} would be a file and a folder: nothing was unpacked")
    total = sum(member.file_size for member in members)
    if total > LARGEST_RATIO * archive.stat().st_size:
        raise EcgprismError(
            f"{archive}: unpacks to {size_text(total)}, more than {LARGEST_RATIO} times its size: nothing was unpacked"
        )
    if total > longest_bytes:
        raise EcgprismError(
            f"{archive}: unpacks to {size_text(total)}, more than the data set has, {size_text(longest_bytes)} with a "
            "margin: nothing was unpacked"
        )
    return members


def _is_there(path: Path, member: zipfile.ZipInfo) -> bool:
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc == member.CRC
