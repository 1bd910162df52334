"""Files brought from a mirror into a folder, in several threads: resumed, counted, verified, within a limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from ecgprism.datasets.catalogue import size_text
from ecgprism.datasets.disk import check_room, room
from ecgprism.datasets.listing import SUMS
from ecgprism.datasets.server import Mirror, NoRangeError, PassingError, StoppedError
from ecgprism.errors import EcgprismError
from ecgprism.files import PARTIAL, file_digest, to_disk

ASIDE = ".before"


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is; `bytes_total` is the data set's approximate size, None where it is not known."""

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int | None


Report = Callable[[FetchProgress], object]


class Transfer:
    """The files of one fetch: threads that share a mirror and the counts."""

    def __init__(
        self,
        mirror: Mirror,
        folder: Path,
        chosen: Mapping[str, str],
        *,
        longest_bytes: int,
        bytes_total: int | None = None,
        is_ours: bool = True,
        report: Report | None = None,
    ) -> None:
        """`chosen` maps names to SHA-256; all files together may have `longest_bytes`.

        In a folder that `is_ours`, a file that differs is fetched over; in another one it is put aside as `.before`.
        """
        self.mirror, self.folder, self.chosen, self.report = mirror, folder, chosen, report
        self.is_ours = is_ours
        self.longest_bytes, self.bytes_total = longest_bytes, bytes_total
        self.bytes_done = self.files_done = 0
        self.sizes: dict[str, int] = {}
        self.lock = threading.Lock()

    def run(self, workers: int) -> int:
        """Fetch all files; return how many were not there before."""
        pool = ThreadPoolExecutor(workers, thread_name_prefix="fetch")
        try:
            futures = [pool.submit(self.fetch_file, name, digest) for name, digest in self.chosen.items()]
            return sum(future.result() for future in as_completed(futures))
        except BaseException:  # Ctrl-C too: the threads end at their next chunk, their partial files stay
            self.mirror.stopped.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def fetch_file(self, name: str, digest: str) -> bool:
        """Bring one file under its name; return False where it was there already."""
        path = self.folder / name
        partial = path.with_name(path.name + PARTIAL)
        if self.mirror.stopped.is_set():
            raise StoppedError
        self.check_places(name, path, partial)
        if path.is_file():
            if file_digest(path) == digest:
                self.tell(name, path.stat().st_size, done=True)
                return False
            self.set_aside(path, partial)
        with self.disk(name):
            path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            found = file_digest(partial) if partial.is_file() else ""  # whole, if the process ended before the renaming
            if found != digest:
                self.mirror.persist(name, lambda: self.grow(name, partial))
                found = file_digest(partial)
            if found == digest:
                to_disk(partial)
                partial.replace(path)
                to_disk(path.parent)
                self.tell(name, path.stat().st_size, done=True)
                return True
            partial.unlink()
        raise EcgprismError(f"{self.mirror.address(name)}: fetched twice, SHA-256 {found}, but {SUMS} says {digest}")

    def set_aside(self, path: Path, partial: Path) -> None:
        """Take away a file that is not the published one; what fetch did not write is kept."""
        if self.is_ours:
            path.replace(partial)  # a download that was cut before: what is there may do
            return
        aside = path.with_name(path.name + ASIDE)
        if aside.exists():
            raise EcgprismError(f"{path}: is not the published file, and {aside.name} is there too; move them away")
        path.replace(aside)

    def check_places(self, name: str, path: Path, partial: Path) -> None:
        """Raise EcgprismError where something else has the place of a file, or of its folder."""
        for place in (path, partial):
            if place.is_dir():
                raise EcgprismError(f"{place}: is a folder, where fetch would write the file {name}; move it away")
        folder = next((parent for parent in path.parents if parent.exists()), self.folder)
        if not folder.is_dir():
            raise EcgprismError(f"{folder}: is a file, where fetch would make a folder for {name}; move it away")

    def grow(self, name: str, partial: Path) -> None:
        """Append to the partial file what it lacks; start anew where the server sends the file from its beginning."""
        start = partial.stat().st_size if partial.exists() else 0
        try:
            response = self.mirror.open(name, start)
        except NoRangeError:
            partial.unlink()
            raise
        with response:
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                if not (start and (response.headers["Content-Range"] or "").startswith(f"bytes {start}-")):
                    partial.unlink(missing_ok=True)
                    raise PassingError(f"asked for bytes {start}-, sent another range")
            else:
                start = 0
            length = response.length or 0
            self.check_size(name, start + length, partial)
            check_room(self.folder, length, f"{name} needs {size_text(length)} more")
            size = start
            self.tell(name, size)
            with self.disk(name, length), partial.open("ab" if start else "wb") as file:
                try:
                    for chunk in self.mirror.chunks(response):
                        self.check_size(name, size + len(chunk), partial)
                        file.write(chunk)
                        size += len(chunk)
                        self.tell(name, size)
                except PassingError as trouble:  # what came from the file's beginning may come and be lost for ever
                    trouble.gained = size - start if start else 0
                    raise

    def check_size(self, name: str, size: int, partial: Path) -> None:
        """Raise EcgprismError, and remove the partial file, where all files would be larger than the data set is."""
        with self.lock:
            others = self.bytes_done - self.sizes.get(name, 0)
        if others + size > self.longest_bytes:
            partial.unlink(missing_ok=True)
            raise EcgprismError(
                f"{self.mirror.address(name)}: more comes than the whole data set has, {size_text(self.longest_bytes)} "
                "with a margin: not what was expected; nothing of this file was kept"
            )

    def tell(self, name: str, size: int, *, done: bool = False) -> None:
        """Count a file as `size` bytes long so far."""
        with self.lock:
            self.bytes_done += size - self.sizes.get(name, 0)
            self.sizes[name] = size
            self.files_done += done
            if self.report is not None:
                known = self.bytes_total if self.bytes_done <= (self.bytes_total or 0) else None
                self.report(FetchProgress(self.files_done, len(self.chosen), self.bytes_done, known))

    def disk(self, name: str, length: int = 0) -> AbstractContextManager[None]:
        """Return a context in which a full disk is one line about this file."""
        total = "" if self.bytes_total is None else f", the whole data set about {size_text(self.bytes_total)}"
        return room(self.folder, f"{name} needs {size_text(length)} more{total}" if length else f"at {name}{total}")
