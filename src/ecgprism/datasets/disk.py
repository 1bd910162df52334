"""Room on the disk, and one line where it ends."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecgprism.datasets.catalogue import size_text
from ecgprism.datasets.server import GO_ON
from ecgprism.errors import EcgprismError


@contextmanager
def room(folder: Path, needed: str) -> Iterator[None]:
    """Turn a full disk into one line that says how much is needed and where."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_space(folder, needed, free_bytes(folder)) from None


def check_room(folder: Path, size: int, needed: str) -> None:
    """Raise EcgprismError unless so many bytes are free; `needed` says what for."""
    free = free_bytes(folder)
    if size > free:
        raise _no_space(folder, needed, free)


def free_bytes(folder: Path) -> int:
    """Return how many bytes are free where a folder is."""
    return shutil.disk_usage(folder).free


def _no_space(folder: Path, needed: str, free: int) -> EcgprismError:
    return EcgprismError(f"{folder}: no space left on the disk: {needed}, {size_text(free)} are free; {GO_ON}")
