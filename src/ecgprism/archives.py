"""Recordings inside .zip, .gz and .tar archives: unpacked safely into a temporary folder, a member named by `::`.

The last archive of several recordings stays unpacked, for the next one is mostly a member of the same.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ecgprism.errors import ReadError, nearest, one_line

if TYPE_CHECKING:
    from _typeshed import SupportsRead

SEPARATOR = "::"
MAX_MEMBERS, LISTED_BYTES = 20_000, 150  # and what the list says of each, on average
MAX_BYTES = 4 * 2**30  # unpacked
MAX_RATIO = 100  # unpacked over packed; ECGs reach about 20, bombs thousands
FREE_BYTES = 2 * 2**20  # however small the archive is, so much may come out of it
_BLOCK = 2**20


def recognised(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of an archive (a tar without compression: its mark)."""
    return head[:4] == b"PK\x03\x04" or head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar"


def split(path: Path) -> tuple[Path, str | None]:
    """Return archive and member of `archive.zip::member`, or the path and None."""
    text = str(path)
    if SEPARATOR not in text or path.exists():
        return path, None
    archive, member = text.split(SEPARATOR, 1)
    return Path(archive), member


def is_of_the_system(path: Path) -> bool:
    """Return whether a file is what a Mac leaves in archives and folders beside the files of its user."""
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


@dataclass(eq=False)
class _OpenArchive:
    """An archive in a temporary folder, of one process; the folder goes when nobody uses it, at the latest with it."""

    key: tuple[str, int, int, int]
    folder: Path
    users: int = 0
    remove: Finalize = field(init=False)

    def __post_init__(self) -> None:
        # of the multiprocessing module, for it runs at the end of worker processes too, and not in a fork's copy
        self.remove = Finalize(None, shutil.rmtree, (self.folder,), {"ignore_errors": True}, exitpriority=10)


_kept: list[_OpenArchive] = []  # one at most: temporary space is what is short
_guard = threading.Lock()


@contextmanager
def unpacked(path: Path, keep: bool = False) -> Iterator[Path]:
    """Yield a temporary folder with the content of an archive. Raises ReadError for one that is damaged or a trap.

    With `keep` it stays for the next call, until another archive is kept or the process ends.
    """
    state = path.stat()
    key = (str(path.absolute()), state.st_mtime_ns, state.st_size, os.getpid())
    with _guard:
        used = next((each for each in _kept if each.key == key and each.folder.is_dir()), None)
        if used is not None:
            used.users += 1
    if used is None:
        used = _OpenArchive(key, Path(tempfile.mkdtemp(prefix="ecgprism-")), users=1)
        try:
            _unpack(path, used.folder)
        except BaseException as error:
            used.remove()
            if isinstance(error, ReadError) or not isinstance(error, Exception):
                raise
            # archives are read by four libraries, each with its own errors
            raise ReadError(f"{path}: damaged archive ({type(error).__name__}: {one_line(error)})") from None
    try:
        yield used.folder
    finally:
        _released(used, keep)


def _released(used: _OpenArchive, keep: bool) -> None:
    """Keep an archive in place of the one before it, or remove what nobody uses."""
    with _guard:
        used.users -= 1
        of_interest = [used, *_kept]
        if keep and used not in _kept:
            _kept[:] = [used]
        gone = [each for each in of_interest if not each.users and each not in _kept]
    for each in gone:
        each.remove()


def member_of(path: Path, folder: Path, member: str) -> Path | None:
    """Return the file of an unpacked archive that is called so, None where there is none. Raises ReadError."""
    file = _inside(path, folder, member)
    return file if file.is_file() else None


def chosen(path: Path, recordings: list[Path], member: str | None, folder: Path) -> Path:
    """Return the recording that is meant: the named member, or the only one. Raises ReadError with the names."""
    names = {str(recording.relative_to(folder)): recording for recording in recordings}
    if member is not None:
        for name, recording in names.items():
            if member in (name, str(Path(name).with_suffix(""))):
                return recording
        raise ReadError(f"{path}: no recording {member!r} in it{nearest(member, names)}")
    if len(names) != 1:
        listed = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
        what = f"{len(names)} recordings in it ({listed}); name one, as in {path.name}{SEPARATOR}NAME"
        raise ReadError(f"{path}: {what}" if names else f"{path}: no recording in it")
    return next(iter(names.values()))


class _Budget:
    """What may still be unpacked; a trap is found while it opens, not from what its headers claim."""

    def __init__(self, path: Path) -> None:
        self.path, self.left = path, min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * path.stat().st_size))
        self.members = 0

    def copy(self, source: SupportsRead[bytes], target: Path) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise ReadError(f"{self.path}: more than {MAX_MEMBERS} files in it")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while block := source.read(_BLOCK):
                self.left -= len(block)
                if self.left < 0:
                    raise ReadError(f"{self.path}: unpacks to more than {MAX_RATIO} times its size: not opened")
                file.write(block)


def _unpack(path: Path, target: Path) -> None:
    budget = _Budget(path)
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PK\x03\x04":
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise ReadError(f"{path}: more than {MAX_MEMBERS} files in it")
            for member in archive.infolist():
                if not member.is_dir() and member.file_size:  # what is empty is no recording
                    with archive.open(member) as source:
                        budget.copy(source, _inside(path, target, member.filename))
        return
    if head[:2] == b"\x1f\x8b":
        name = path.name.removesuffix(".gz").removesuffix(".tgz") or "recording"
        inner = target / (name if name != path.name else name + ".unpacked")
        with gzip.open(path) as source:
            budget.copy(source, inner)
        with inner.open("rb") as file:
            is_tar = file.read(262)[257:262] == b"ustar"
        if not is_tar:
            return
        held = target.with_name(target.name + ".tar")
        shutil.move(inner, held)
        try:
            _untar(path, held, target, budget)
        finally:
            held.unlink(missing_ok=True)
        return
    _untar(path, path, target, budget)


def _check_directory(path: Path) -> None:
    """Raise ReadError for a zip whose list of members alone would take long to read."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2**16 - 22, 0))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    listed = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if listed > MAX_MEMBERS * LISTED_BYTES:
        raise ReadError(f"{path}: more than {MAX_MEMBERS} files in it")


def _untar(path: Path, tar: Path, target: Path, budget: _Budget) -> None:
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            if member.isfile():  # links and devices are not followed
                source = archive.extractfile(member)
                assert source is not None
                budget.copy(source, _inside(path, target, member.name))


def _inside(path: Path, target: Path, name: str) -> Path:
    """Return where a member goes. Raises ReadError for a name that leads out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or "\x00" in name or not parts.parts:
        raise ReadError(f"{path}: member {name!r} leads out of the archive: not opened")
    return target.joinpath(*parts.parts)
