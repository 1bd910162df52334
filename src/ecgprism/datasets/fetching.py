"""Fetch an open data set from PhysioNet: resumable, parallel, every file verified against the published SHA-256.

A file grows under `<name>.partial` and gets its name only when its checksum is right. Whatever stops a fetch (a lost
connection, a full disk, Ctrl-C, a power cut), the same call goes on where it was.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import ipaddress
import json
import re
import shutil
import ssl
import stat
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from ecgprism.datasets.catalogue import DATASETS, PARTIAL, RECORD, SUMS, Dataset, parsed_sums, refusal, size_text
from ecgprism.errors import EcgprismError, nearest
from ecgprism.files import atomic

PHYSIONET = "https://physionet.org/files"
CHUNK_BYTES = 1 << 18
LONGEST_SUMS_BYTES = 64 << 20  # PTB-XL's list has 87,000 lines and 8 MB
RENEWING_BYTES = 1 << 20  # an attempt that got this far starts the count of failures anew
LONGEST_PAUSE_S = 30.0
LARGEST_RATIO = 20  # unpacked to packed: ECGs reach 4, a bomb 1000
PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
GO_ON = "the same command goes on from here"


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is; `bytes_total` is the data set's approximate size, None where it is not known."""

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int | None


Report = Callable[[FetchProgress], object]


class _PassingError(Exception):
    """A failure that may pass. The server asks to wait `after_s`; a file had grown by `gained` bytes before it."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s, self.gained = after_s, 0


class _NoRangeError(_PassingError):
    """The server cannot continue the partial file."""


class _StoppedError(Exception):
    """Another file failed, or the user interrupted: this one leaves what it has in its partial file."""


def fetch(
    name: str,
    to: str | Path,
    *,
    base_url: str | None = None,
    include: str | Sequence[str] | None = None,
    workers: int = 4,
    progress: Report | None = None,
    announce: Callable[[str], object] | None = print,
    timeout_s: float = 30.0,
    attempts: int = 5,
    sleep: Callable[[float], object] | None = None,
) -> Path:
    """Fetch a data set of DATASETS into the folder `to`, verify it, unpack its archives, and return the folder.

    `include` (folders `records100/`, files or patterns `*.hea`) asks for a part; tables and licence come along.
    `base_url` is a mirror laid out as physionet.org/files. A file already there with the right checksum is not fetched
    again, one that differs is replaced. `progress` is called from the working threads, one call at a time. `announce`
    is given licence and citation, which also go into the folder (LICENSE, CITATION) with `dataset.json`. A file is
    given up after `attempts` failures in a row; `timeout_s` is how long the server may be silent.
    """
    if name not in DATASETS:
        raise EcgprismError(f"unknown data set {name!r}{nearest(name, DATASETS)}")
    if workers < 1 or attempts < 1:
        raise EcgprismError(f"workers and attempts: expected 1 or more and got {workers} and {attempts}")
    dataset, folder = DATASETS[name], Path(to)
    url = f"{_checked_base(base_url or PHYSIONET)}/{dataset.slug}/{dataset.version}/"
    earlier = _earlier_record(folder, name, dataset)
    if announce is not None:
        announce(dataset.notice(name))
    mirror = _Mirror(url, timeout_s, attempts, sleep)
    listing = mirror.read(SUMS, LONGEST_SUMS_BYTES)
    listed = parsed_sums(listing, url + SUMS)
    patterns = (include,) if isinstance(include, str) else tuple(include or ())
    chosen = dataset.choose(listed, patterns)
    with _disk(folder, f"{dataset.title} takes about {size_text(dataset.size_bytes)}"):
        folder.mkdir(parents=True, exist_ok=True)
        if not patterns:
            _check_space(folder, dataset, chosen)
        for file, text in (("LICENSE", dataset.licence_text(listed)), ("CITATION", dataset.citation_text())):
            if file not in listed:
                _write(folder / file, text.encode())
        if earlier is None:  # from here on, nothing else is fetched into this folder
            _write_record(folder, name, dataset, url)
        total = dataset.size_bytes if not patterns else None
        fetched = _Fetching(mirror, folder, chosen, progress, total).run(workers)
        unpacked = {file: _unpack(folder / file, listed) for file in dataset.archives if file in chosen}
        _write(folder / SUMS, listing)
        there = {file for file in (earlier or {}).get("files", ()) if file in listed and (folder / file).is_file()}
        files = sorted({*chosen, *there})
        if fetched or earlier is None or files != earlier["files"]:
            _write_record(folder, name, dataset, url, files, unpacked or (earlier or {}).get("unpacked", {}))
    return folder


class _Mirror:
    """A server's folder: files are read over one opener, with retries."""

    def __init__(self, url: str, timeout_s: float, attempts: int, sleep: Callable[[float], object] | None) -> None:
        self.url, self.timeout_s, self.attempts = url, timeout_s, attempts
        self.stopped = threading.Event()
        self.sleep = sleep or self.stopped.wait
        # a proxy of the environment is not asked for what lies on this machine
        proxies = [urllib.request.ProxyHandler({})] if _is_loopback(url) else []
        self.opener = urllib.request.build_opener(_Redirects, *proxies)

    def address(self, name: str) -> str:
        return self.url + quote(name)

    def read(self, name: str, longest: int) -> bytes:
        """Return a small file whole."""

        def attempt() -> bytes:
            with self.open(name) as response:
                text = b"".join(self.chunks(response, longest=longest + 1))
            if len(text) > longest:
                raise EcgprismError(f"{self.address(name)}: longer than {size_text(longest)}: not what was expected")
            return text

        return self.persist(name, attempt)

    def persist(self, name: str, attempt: Callable[[], Any]) -> Any:
        """Return what `attempt` returns, after pauses and new attempts where it meets trouble."""
        failures = 0
        while True:
            if self.stopped.is_set():
                raise _StoppedError
            try:
                return attempt()
            except _PassingError as trouble:
                failures = 1 if trouble.gained >= RENEWING_BYTES else failures + 1
                if failures >= self.attempts:
                    raise EcgprismError(f"{self.address(name)}: {trouble} ({failures} times); {GO_ON}") from None
                wanted = 2.0 ** (failures - 1) if trouble.after_s is None else trouble.after_s
                self.sleep(min(wanted, LONGEST_PAUSE_S))

    def open(self, name: str, start: int = 0) -> http.client.HTTPResponse:
        """Ask for a file from byte `start` on."""
        url = self.address(name)
        headers = {"User-Agent": "ecgprism", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            request = urllib.request.Request(url, headers=headers)
            response: http.client.HTTPResponse = self.opener.open(request, timeout=self.timeout_s)
        except HTTPError as error:
            error.close()
            if error.code in PASSING or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _PassingError(f"HTTP status {error.code}", after_s=_seconds(error.headers)) from None
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                raise _NoRangeError(f"nothing there from byte {start} on") from None
            if error.code == HTTPStatus.NOT_FOUND:
                raise EcgprismError(f"{url}: not there (HTTP status 404)") from None
            raise EcgprismError(f"{url}: refused (HTTP status {error.code})") from None
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise EcgprismError(f"{url}: the server's certificate is not valid ({error.reason})") from None
            raise _PassingError(_reason(error.reason)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an odd redirect
            raise _PassingError(_reason(error)) from None
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            response.close()
            raise EcgprismError(f"{url}: expected HTTP status 200 and got {response.status}")
        return response

    def chunks(self, response: http.client.HTTPResponse, longest: int | None = None) -> Iterator[bytes]:
        """Yield the body as it comes. The standard library takes a body that was cut for whole: it is counted here."""
        expected, got = response.length, 0
        while longest is None or got < longest:
            if self.stopped.is_set():
                raise _StoppedError
            if expected is not None and got >= expected:
                return
            try:
                chunk = response.read1(CHUNK_BYTES if expected is None else min(CHUNK_BYTES, expected - got))
            except (OSError, http.client.HTTPException) as error:
                raise _PassingError(_reason(error)) from None
            if not chunk:
                if expected is None:
                    return
                raise _PassingError(f"cut after {got} of {expected} bytes")
            got += len(chunk)
            yield chunk


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to https only, or within this machine."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not _may_redirect(req.full_url, newurl):
            raise EcgprismError(f"{req.full_url}: redirects to {newurl}: expected https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _may_redirect(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    if after.scheme == "https":
        return True
    same_host = before.hostname == after.hostname and before.scheme == after.scheme == "http"
    return same_host and _is_loopback(new)  # so plain http stays on this machine, and https stays https


class _Fetching:
    """The files of one fetch: threads that share a mirror and the counts."""

    def __init__(
        self, mirror: _Mirror, folder: Path, chosen: Mapping[str, str], report: Report | None, bytes_total: int | None
    ) -> None:
        self.mirror, self.folder, self.chosen, self.report = mirror, folder, chosen, report
        self.bytes_total, self.bytes_done, self.files_done = bytes_total, 0, 0
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
            raise _StoppedError
        if path.is_file():
            if _sha256(path) == digest:
                self.tell(name, path.stat().st_size, done=True)
                return False
            path.replace(partial)  # perhaps another program's download that was cut: what is there may do
        with self.disk(name):
            path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            found = _sha256(partial) if partial.is_file() else ""  # whole, if the process ended before the renaming
            if found != digest:
                self.mirror.persist(name, lambda: self.grow(name, partial))
                found = _sha256(partial)
            if found == digest:
                partial.replace(path)
                self.tell(name, path.stat().st_size, done=True)
                return True
            partial.unlink()
        raise EcgprismError(f"{self.mirror.address(name)}: fetched twice, SHA-256 {found}, but {SUMS} says {digest}")

    def grow(self, name: str, partial: Path) -> None:
        """Append to the partial file what it lacks; start anew where the server sends the file from its beginning."""
        start = partial.stat().st_size if partial.exists() else 0
        try:
            response = self.mirror.open(name, start)
        except _NoRangeError:
            partial.unlink()
            raise
        with response:
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                if not (start and (response.headers["Content-Range"] or "").startswith(f"bytes {start}-")):
                    partial.unlink(missing_ok=True)
                    raise _PassingError(f"asked for bytes {start}-, sent {response.headers['Content-Range']}")
            else:
                start = 0
            length = response.length or 0
            free = shutil.disk_usage(self.folder).free
            if length > free:
                raise _no_space(self.folder, f"{name} needs {size_text(length)} more", free)
            size = start
            self.tell(name, size)
            with self.disk(name, length), partial.open("ab" if start else "wb") as file:
                try:
                    for chunk in self.mirror.chunks(response):
                        file.write(chunk)
                        size += len(chunk)
                        self.tell(name, size)
                except _PassingError as trouble:  # what came from the file's beginning may come and be lost for ever
                    trouble.gained = size - start if start else 0
                    raise

    def tell(self, name: str, size: int, *, done: bool = False) -> None:
        """Count a file as `size` bytes long so far."""
        with self.lock:
            self.bytes_done += size - self.sizes.get(name, 0)
            self.sizes[name] = size
            self.files_done += done
            if self.report is not None:
                known = self.bytes_total if self.bytes_done <= (self.bytes_total or 0) else None
                self.report(FetchProgress(self.files_done, len(self.chosen), self.bytes_done, known))

    def disk(self, name: str, length: int = 0) -> Any:
        total = "" if self.bytes_total is None else f", the whole data set about {size_text(self.bytes_total)}"
        return _disk(self.folder, f"{name} needs {size_text(length)} more{total}" if length else f"at {name}{total}")


# Archives


def _unpack(archive: Path, listed: Iterable[str]) -> int:
    """Unpack a verified zip archive where it lies; return its number of files. What is there already is kept."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked_members(archive, opened, set(listed))
            missing = [member for member in members if not _is_there(archive.parent / member.filename, member)]
            needed, free = sum(member.file_size for member in missing), shutil.disk_usage(archive.parent).free
            if needed > free:
                raise _no_space(archive.parent, f"unpacking {archive.name} needs {size_text(needed)}", free)
            for member in missing:
                path = archive.parent / member.filename
                with _disk(archive.parent, f"unpacking {archive.name} needs {size_text(needed)}"):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # reading ends at the size that the archive declares, and compares the CRC: bombs cannot lie
                    with atomic(path) as temporary, opened.open(member) as packed, temporary.open("wb") as file:
                        shutil.copyfileobj(packed, file, CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise EcgprismError(f"{archive}: cannot be unpacked ({error})") from None
    return len(members)


def _checked_members(archive: Path, opened: zipfile.ZipFile, taken: set[str]) -> list[zipfile.ZipInfo]:
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
    total, largest = sum(member.file_size for member in members), LARGEST_RATIO * archive.stat().st_size
    if total > largest:
        raise EcgprismError(
            f"{archive}: unpacks to {size_text(total)}, more than {LARGEST_RATIO} times its size: nothing was unpacked"
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


# What is written beside the data


def _earlier_record(folder: Path, name: str, dataset: Dataset) -> dict[str, Any] | None:
    """Return the dataset.json of an earlier fetch; a folder that belongs to another data set is refused."""
    if folder.exists() and not folder.is_dir():
        raise EcgprismError(f"{folder}: is a file; expected a folder to fetch {name} into")
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        held = (record["name"], record["version"])
        record["files"], record["unpacked"] = list(record["files"]), dict(record["unpacked"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise EcgprismError(f"{path}: not written by fetch; choose another folder, or remove it") from None
    if held != (name, dataset.version):
        raise EcgprismError(f"{folder}: holds {held[0]} {held[1]}, not {name} {dataset.version}: choose another folder")
    return dict(record)


def _write_record(
    folder: Path,
    name: str,
    dataset: Dataset,
    url: str,
    files: Sequence[str] = (),
    unpacked: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Write dataset.json; `files` are those that are there, whole and verified."""
    record = {
        "name": name, "title": dataset.title, "version": dataset.version, "url": url,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"), "licence": dataset.licence,
        "citation": dataset.citation, "unpacked": dict(unpacked), "files": list(files),
    }  # fmt: skip
    _write(folder / RECORD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


# Disk, addresses, connections


@contextmanager
def _disk(folder: Path, needed: str) -> Iterator[None]:
    """Turn a full disk into one line that says how much is needed and where."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_space(folder, needed, shutil.disk_usage(folder).free) from None


def _no_space(folder: Path, needed: str, free: int) -> EcgprismError:
    return EcgprismError(f"{folder}: no space left on the disk: {needed}, {size_text(free)} are free; {GO_ON}")


def _check_space(folder: Path, dataset: Dataset, chosen: Iterable[str]) -> None:
    """Refuse to begin what cannot end, as far as the approximate size tells."""
    needed = dataset.size_bytes + dataset.unpacked_bytes
    for name in chosen:
        paths = (folder / name, folder / (name + PARTIAL))
        there = sum(path.stat().st_size for path in paths if path.is_file())
        needed -= there
        if name in dataset.archives and paths[0].is_file():  # unpacking looks for itself
            needed -= dataset.unpacked_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _no_space(folder, f"about {size_text(needed)} are needed", free)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked_base(url: str) -> str:
    """Return a mirror's address without its last slash; plain http only within this machine."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # a port that is no number, half an IPv6 address
        good = False
    if not good or "@" in parts.netloc or not re.fullmatch(r"[!-\[\]-~]+", url):
        raise EcgprismError(f"base URL {url!r}: expected an address such as {PHYSIONET}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(url)):
        raise EcgprismError(f"base URL {url!r}: expected https:// (http:// only for 127.0.0.1 and localhost)")
    return url.rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(headers: Message) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _reason(error: object) -> str:
    """Return why a connection failed, in words."""
    if isinstance(error, TimeoutError):
        return "the server is silent"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
