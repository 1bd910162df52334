"""A server that stands for PhysioNet and fails as it is told; a tiny data set on it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from ecgprism.datasets.catalogue import DATASETS, Dataset
from ecgprism.datasets.fetching import fetch
from ecgprism.errors import EcgprismError

SUMS = "SHA256SUMS.txt"


Usage = namedtuple("Usage", "total used free")


TINY = Dataset(
    "A tiny data set", "tiny", "1.2.3", 300_000, 2, 12, (100,), "none", "Licence X (X 1.0)", "Nobody. Nothing (2024).",
    "manifest", tables=("table.csv",),
)  # fmt: skip


FILES = {
    "LICENSE.txt": b"the whole licence\n",
    "table.csv": b"a,b\n1,2\n",
    "records100/00000/00001_lr.dat": bytes(range(256)) * 400,
    "records100/00000/00001_lr.hea": b"header\n",
    "records500/00000/00001_hr.dat": os.urandom(150_000),
    "empty": b"",
    "a name, with #signs? & 100%.txt": b"odd",
}


BIG = "records500/00000/00001_hr.dat"


class Replica:
    """A server of `files`; `plan[name]` says what happens to the requests of a file, one by one, then it behaves."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.sums: bytes | None = None
        self.plan: dict[str, list[tuple[str, object]]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.endless_bytes = 0
        self.released, self.lock = threading.Event(), threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}/files"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def content(self, name: str) -> bytes | None:
        if name == SUMS:
            lines = (f"{hashlib.sha256(body).hexdigest()} {name}\n" for name, body in self.files.items())
            return "".join(lines).encode() if self.sums is None else self.sums
        return self.files.get(name)

    def asked(self, name: str) -> list[str | None]:
        """The Range headers of the requests of a file."""
        return [wanted for asked, wanted in self.requests if asked == name]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        replica = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    self.answer()

            def answer(self) -> None:  # noqa: PLR0911  (one way to fail a line)
                assert self.path.startswith("/files/")
                name = unquote(self.path.split("/", 4)[4])
                wanted = self.headers["Range"]
                with replica.lock:
                    replica.requests.append((name, wanted))
                    what, value = (replica.plan.get(name) or [("behave", None)]).pop(0)
                body = replica.content(name)
                if what == "hold":
                    replica.released.wait(2)
                    return
                if what == "status":
                    return self.send(int(value), b"", {"Retry-After": "7"} if value == 429 else {})
                if what == "redirect":
                    return self.send(302, b"", {"Location": str(value)})
                if body is None:
                    return self.send(404, b"no such file")
                if what == "body":
                    body = value
                if what == "trickle":
                    self.send(200, body, kept=0)
                    for i in range(400):
                        time.sleep(0.005)
                        self.wfile.write(body[i : i + 1])
                    return
                if what in ("chunked", "endless"):
                    return self.chunked(body) if what == "chunked" else self.endless()
                start = (
                    int(wanted.removeprefix("bytes=").removesuffix("-"))
                    if wanted and what not in ("no range", "cut anew")
                    else 0
                )
                if start and start >= len(body):
                    return self.send(416, b"")
                headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
                if what == "odd range":
                    headers, start = {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}, 0
                status = 206 if headers else 200
                if what == "odd status":
                    status = 203
                kept = int(value) if what in ("cut", "cut anew", "stall") else len(body)
                self.send(status, body[start:], headers, kept)
                if what == "stall":
                    self.wfile.flush()
                    replica.released.wait(2)

            def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, kept: int = -1) -> None:
                self.send_response(status)
                for key, value in (headers or {}).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:kept] if kept >= 0 else body)

            def endless(self) -> None:
                self.send_response(200)
                self.end_headers()
                while replica.endless_bytes < 50_000_000:
                    self.wfile.write(b"0" * 100_000)
                    replica.endless_bytes += 100_000

            def chunked(self, body: bytes) -> None:
                self.protocol_version = "HTTP/1.1"
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in (body[:100], body[100:]):
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if part else b"")
                self.wfile.write(b"0\r\n\r\n")

        return Handler


@pytest.fixture
def replica() -> Iterator[Replica]:
    server = Replica()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "tiny", TINY)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**50, 0, 2**50))


def verified(folder: Path, replica: Replica) -> set[str]:
    """The published files under their final names; each must be the published one, whatever happens around it."""
    there = {name for name in replica.files if (folder / name).is_file()}
    for name in there:
        with contextlib.suppress(FileNotFoundError):  # a bad one, on its way to be replaced
            assert (folder / name).read_bytes() == replica.files[name], f"{name} is unverified under its final name"
    return there


def run(replica: Replica, folder: Path, name: str = "tiny", **options: object) -> list[float]:
    """Fetch, looking all the time at what lies under final names; return the pauses."""
    pauses: list[float] = []
    try:
        fetch(name, folder, **{
            "base_url": replica.base, "sleep": pauses.append, "announce": None, "workers": 1, "timeout_s": 2.0,
            "progress": lambda _: verified(folder, replica), **options,
        })  # fmt: skip
    finally:
        verified(folder, replica)
    return pauses


def failure(replica: Replica, folder: Path, **options: object) -> str:
    """Fetch in vain; return the one line of the error."""
    with pytest.raises(EcgprismError) as caught:
        run(replica, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    }


def zipped(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], object] = lambda _: None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            file.writestr(info, body)
    return buffer.getvalue()


def pack(replica: Replica, archive: bytes) -> None:
    replica.files = {"LICENSE.txt": b"l", "REFERENCE-v3.csv": b"A00001,N\n", "training2017.zip": archive, "x/y.m": b"m"}
