"""A server's folder: files are asked for with retries, and no answer may be too slow, too long or without end."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import IO, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from ecgprism.datasets.catalogue import size_text
from ecgprism.errors import EcgprismError, one_line

PHYSIONET = "https://physionet.org/files"
CHUNK_BYTES = 1 << 18
RENEWING_BYTES = 1 << 20  # an attempt that got this far starts the count of failures anew
LONGEST_PAUSE_S = 30.0
PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
GO_ON = "the same command goes on from here"
Made = TypeVar("Made")


class PassingError(Exception):
    """A failure that may pass. The server asks to wait `after_s`; a file had grown by `gained` bytes before it."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        """`reason` is told when all attempts failed."""
        super().__init__(reason)
        self.after_s, self.gained = after_s, 0


class NoRangeError(PassingError):
    """The server cannot continue a partial file."""


class StoppedError(Exception):
    """Another file failed, or the user interrupted: this one leaves what it has in its partial file."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    It may be silent for `timeout_s`, which is also what connection and headers may take together; a body must bring
    `least_rate` bytes per second, counted over `window_s`; a file that is read whole must come within `whole_s`.
    """

    timeout_s: float = 30.0
    least_rate: float = 1000.0
    window_s: float = 60.0
    whole_s: float = 600.0


class Mirror:
    """A server's folder."""

    def __init__(
        self, url: str, patience: Patience, attempts: int, sleep: Callable[[float], object] | None = None
    ) -> None:
        """`url` ends in a slash; a file is given up after `attempts` failures in a row."""
        self.url, self.patience, self.attempts = url, patience, attempts
        self.stopped = threading.Event()
        self.sleep = sleep or self.stopped.wait
        # a proxy of the environment is not asked for what lies on this machine
        proxies = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
        self.opener = urllib.request.build_opener(_Redirects, _Plain, _Secure, *proxies)

    def address(self, name: str) -> str:
        """Return the address of a file."""
        return self.url + quote(name)

    def read(self, name: str, longest: int) -> bytes:
        """Return a small file whole. Raises EcgprismError where it is longer."""

        def attempt() -> bytes:
            ends = time.monotonic() + self.patience.whole_s
            text = bytearray()
            with self.open(name) as response:
                for chunk in self.chunks(response):
                    text += chunk
                    if len(text) > longest:
                        raise EcgprismError(
                            f"{self.address(name)}: longer than {size_text(longest)}: not what was expected"
                        )
                    if time.monotonic() > ends:
                        raise PassingError(f"not there after {self.patience.whole_s:g} s")
            return bytes(text)

        return self.persist(name, attempt)

    def persist(self, name: str, attempt: Callable[[], Made]) -> Made:
        """Return what `attempt` returns, after pauses and new attempts where it meets trouble."""
        failures = 0
        while True:
            if self.stopped.is_set():
                raise StoppedError
            try:
                return attempt()
            except PassingError as trouble:
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
            response: http.client.HTTPResponse = self.opener.open(request, timeout=self.patience.timeout_s)
        except HTTPError as error:
            error.close()
            raise _failure(url, error, start) from None
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise EcgprismError(
                    f"{url}: the server's certificate is not valid ({one_line(error.reason)})"
                ) from None
            raise PassingError(_reason(error.reason)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an odd redirect
            raise PassingError(_reason(error)) from None
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            response.close()
            raise EcgprismError(f"{url}: expected HTTP status 200 and got {response.status}")
        return response

    def chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body as it comes. The standard library takes a body that was cut for whole: it is counted here."""
        expected, got = response.length, 0
        with _Watch(response, self.patience) as watch:
            while expected is None or got < expected:
                if self.stopped.is_set():
                    raise StoppedError
                try:
                    chunk = response.read1(CHUNK_BYTES if expected is None else min(CHUNK_BYTES, expected - got))
                except (OSError, http.client.HTTPException) as error:
                    raise PassingError(watch.reason if watch.is_late else _reason(error)) from None
                if watch.is_late:
                    raise PassingError(watch.reason)
                if not chunk:
                    if expected is None:
                        return
                    raise PassingError(f"cut after {got} of {expected} bytes")
                got += len(chunk)
                watch.got = got
                yield chunk


class _Watch:
    """A thread that cuts a connection which brings less than the least rate over a window.

    It stands beside the reading, for a single read can last for hours: a chunk's length that comes byte by byte.
    """

    def __init__(self, response: http.client.HTTPResponse, patience: Patience) -> None:
        self.response, self.patience = response, patience
        self.reason = f"slower than {size_text(patience.least_rate)} per second"
        self.got, self.is_late, self.done = 0, False, threading.Event()

    def __enter__(self) -> _Watch:
        threading.Thread(target=self.run, name="watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()

    def run(self) -> None:
        before, least = 0, self.patience.least_rate * self.patience.window_s
        while not self.done.wait(self.patience.window_s):
            if self.got - before < least:
                self.is_late = True
                if isinstance(self.response, _Answer):
                    _cut(self.response.socket)
                return
            before = self.got


def _failure(url: str, error: HTTPError, start: int) -> Exception:
    """Return what an HTTP status of failure means."""
    if error.code in PASSING or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PassingError(f"HTTP status {error.code}", after_s=_seconds(error.headers))
    if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
        return NoRangeError(f"nothing there from byte {start} on")
    if error.code == HTTPStatus.NOT_FOUND:
        return EcgprismError(f"{url}: not there (HTTP status 404)")
    return EcgprismError(f"{url}: refused (HTTP status {error.code})")


# Connections


class _Answer(http.client.HTTPResponse):
    """A response that can be cut from another thread."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.socket = sock


class _Deadline(http.client.HTTPConnection):
    """A connection that is cut when it was not made, and its headers were not there, within its timeout.

    The standard library's timeout is that of one read: a byte now and then, or `100 Continue` for ever, passes it.
    """

    response_class = _Answer
    is_late = False
    timer: threading.Timer

    def request(self, *args: Any, **options: Any) -> None:
        self.timer = threading.Timer(self.timeout or 0, self.end)
        self.timer.daemon = True
        self.timer.start()
        try:
            super().request(*args, **options)
        except BaseException:
            self.timer.cancel()
            raise

    def connect(self) -> None:
        super().connect()
        if self.is_late:
            raise TimeoutError

    def getresponse(self) -> http.client.HTTPResponse:
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException):
            if not self.is_late:
                raise
        finally:
            self.timer.cancel()
        if self.is_late:  # headers that end because the connection does are taken for whole
            raise TimeoutError
        return response

    def end(self) -> None:
        self.is_late = True
        if self.sock is not None:
            _cut(self.sock)


def _cut(connection: socket.socket) -> None:
    """End a connection that another thread reads from; that read returns."""
    with suppress(OSError):  # closed already
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of TLS too, without its farewell


class _SecureDeadline(_Deadline, http.client.HTTPSConnection):
    """The same over TLS."""


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Deadline, req)


class _Secure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureDeadline, req, context=ssl.create_default_context())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to https only, or within this machine."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not may_redirect(req.full_url, newurl):
            raise EcgprismError(f"{req.full_url}: redirects to {newurl[:200]!r}: expected https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# Addresses


def may_redirect(old: str, new: str) -> bool:
    """Return whether an address may send to another one: plain http stays on this machine, https stays https."""
    before, after = urlsplit(old), urlsplit(new)
    if after.scheme == "https":
        return True
    same_host = before.hostname == after.hostname and before.scheme == after.scheme == "http"
    return same_host and is_loopback(new)


def checked_base(url: str) -> str:
    """Return a mirror's address without its last slash; plain http only within this machine."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # a port that is no number, half an IPv6 address
        good = False
    if not good or "@" in parts.netloc or not re.fullmatch(r"[!-\[\]-~]+", url):
        raise EcgprismError(f"base URL {url!r}: expected an address such as {PHYSIONET}")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url)):
        raise EcgprismError(f"base URL {url!r}: expected https:// (http:// only for 127.0.0.1 and localhost)")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether an address is one of this machine."""
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
    return re.sub(r"[^ -~]", "?", one_line(error))  # it may hold what the server sent
