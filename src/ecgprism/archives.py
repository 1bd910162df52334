"""Recordings inside .zip, .gz and .tar archives: unpacked safely into a temporary folder, a member named by `::`."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ecgprism.errors import ReadError, nearest

if TYPE_CHECKING:
    from _typeshed import SupportsRead

SEPARATOR = "::"
MAX_MEMBERS = 200_000
MAX_BYTES = 4 * 2**30  # unpacked
MAX_RATIO = 200  # unpacked over packed; ECGs reach about 20, bombs thousands
FREE_BYTES = 10 * 2**20  # however small the archive is, so much may come out of it
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


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with the content of an archive. Raises ReadError for one that is damaged or a trap."""
    with TemporaryDirectory(prefix="ecgprism-") as folder:
        target = Path(folder)
        try:
            _unpack(path, target)
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise ReadError(f"{path}: damaged archive ({' '.join(str(error).split())[:200]})") from None
        except (ValueError, gzip.BadGzipFile) as error:
            raise ReadError(f"{path}: damaged archive ({' '.join(str(error).split())[:200]})") from None
        yield target


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
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
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
