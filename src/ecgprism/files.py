"""Files that are written whole or not at all, and folders that one process writes at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecgprism.errors import EcgprismError

LOCK, PARTIAL = ".lock", ".partial"


class atomic:  # noqa: N801  (reads as a word: `with atomic(path) as temporary`)
    """Write a file whole or not at all: a temporary name inside the block, on disk and renamed at its end."""

    def __init__(self, path: Path) -> None:
        """`path` is the name at the end."""
        self.path, self.temporary = path, path.with_name(path.name + PARTIAL)

    def __enter__(self) -> Path:
        """Return the temporary path."""
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Rename, or remove after an error."""
        if kind is None:
            to_disk(self.temporary)
            self.temporary.replace(self.path)
            to_disk(self.path.parent)
        else:
            self.temporary.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk: a rename must not outrun what it names."""
    with contextlib.suppress(PermissionError):  # folders cannot be opened on some systems
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this process alone. Raises EcgprismError when another process writes in it.

    The lock is a file in the folder, held by the operating system: it ends with the process, however that ends.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  (only where something is written)

    lock = FileLock(folder / LOCK, timeout=0)
    busy = EcgprismError(f"{folder}: another {what} is writing here; let it end, or choose another folder")
    try:
        lock.acquire()
    except Timeout:
        raise busy from None
    try:
        # the folder may have been renamed or deleted between the opening of the file and its locking
        if not _same_file(folder / LOCK, lock):
            raise busy
        yield
    finally:
        lock.release()


def _same_file(path: Path, lock: object) -> bool:
    descriptor = getattr(getattr(lock, "_context", None), "lock_file_fd", None)
    try:
        return descriptor is None or os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
