"""Fetching, end to end against a server on this machine that fails in every way a server does."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ecgprism.datasets import fetching, server
from ecgprism.datasets.catalogue import DATASETS, Dataset, datasets_table, size_text
from ecgprism.datasets.fetching import fetch
from ecgprism.datasets.listing import parsed_sums, refusal
from ecgprism.datasets.transfer import FetchProgress
from ecgprism.errors import EcgprismError
from ecgprism.registry import components, find

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
                    return self.send(int(value), b"", {"Retry-After": "7"} if value == 429 else {})  # type: ignore[call-overload]
                if what == "redirect":
                    return self.send(302, b"", {"Location": str(value)})
                if body is None:
                    return self.send(404, b"no such file")
                if what == "body":
                    body = value  # type: ignore[assignment]
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
                kept = int(value) if what in ("cut", "cut anew", "stall") else len(body)  # type: ignore[call-overload]
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
        })  # type: ignore[arg-type]  # fmt: skip
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


# Whole fetches


def test_everything_is_fetched_with_licence_citation_and_record(replica: Replica, tmp_path: Path) -> None:
    said: list[str] = []
    assert run(replica, tmp_path / "new" / "tiny", announce=said.append) == []
    got = tree(tmp_path / "new" / "tiny")
    assert {name: got.pop(name) for name in FILES} == FILES
    assert got.pop(SUMS) == replica.content(SUMS)
    assert "Licence X" in said[0] and "Nobody. Nothing" in said[0]
    assert "Licence X" in got.pop("LICENSE").decode()
    citation = got.pop("CITATION").decode()
    assert "Nobody. Nothing" in citation and "Goldberger" in citation
    record = json.loads(got.pop("dataset.json"))
    assert got == {}
    assert (record["name"], record["version"], record["files"]) == ("tiny", "1.2.3", sorted(FILES))
    assert record["url"] == f"{replica.base}/tiny/1.2.3/"
    assert record["licence"] == TINY.licence and record["citation"] == TINY.citation
    assert record["fetched"].startswith(time.strftime("%Y-", time.gmtime()))


def test_what_is_complete_is_not_asked_for_again(replica: Replica, tmp_path: Path) -> None:
    run(replica, tmp_path)
    record = tmp_path / "dataset.json"
    record.write_text(record.read_text().replace('"fetched": "2', '"fetched": "1'))
    before = tree(tmp_path)
    replica.requests.clear()
    seen: list[FetchProgress] = []
    run(replica, tmp_path, progress=seen.append)
    assert replica.requests == [(SUMS, None)]
    assert tree(tmp_path) == before
    assert seen[-1].files_done == seen[-1].files_total == len(FILES)


def test_a_lost_file_alone_is_fetched_again(replica: Replica, tmp_path: Path) -> None:
    run(replica, tmp_path)
    (tmp_path / "table.csv").unlink()
    replica.requests.clear()
    run(replica, tmp_path)
    assert [name for name, _ in replica.requests] == [SUMS, "table.csv"]


@pytest.mark.parametrize("damage", [b"", b"a,b", b"a,b\n1,3\n", b"a,b\n1,2\n and more"])
def test_a_file_that_differs_is_replaced(replica: Replica, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(damage)
    fetch("tiny", tmp_path, base_url=replica.base, announce=None, sleep=lambda _: None)
    assert verified(tmp_path, replica) == set(FILES)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_file_that_differs_and_cannot_be_replaced_does_not_stay(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"wrong")
    replica.plan = {"table.csv": [("status", 404)]}
    with pytest.raises(EcgprismError, match="404"):
        fetch("tiny", tmp_path, base_url=replica.base, announce=None)
    assert not (tmp_path / "table.csv").exists()


def test_parallel_workers_give_the_same(replica: Replica, tmp_path: Path) -> None:
    replica.files |= {f"many/{i:03}.dat": os.urandom(i * 37) for i in range(60)}
    for workers in (1, 8):
        replica.plan = {BIG: [("cut", 1000)], "many/031.dat": [("status", 500)], "many/007.dat": [("body", b"wrong")]}
        run(replica, tmp_path / str(workers), workers=workers)
    one, eight = tree(tmp_path / "1"), tree(tmp_path / "8")
    assert one.pop("dataset.json") and eight.pop("dataset.json")
    assert one == eight
    assert {name: one[name] for name in replica.files} == replica.files


def test_workers_work_at_the_same_time(replica: Replica, tmp_path: Path) -> None:
    replica.files = {f"{i}.dat": b"x" for i in range(3)}
    replica.plan = {name: [("status", 503)] for name in replica.files}
    together = threading.Barrier(3, timeout=2)
    run(replica, tmp_path, workers=3, sleep=lambda _: together.wait())
    assert not together.broken and verified(tmp_path, replica) == set(replica.files)


def test_progress_counts_files_and_bytes(replica: Replica, tmp_path: Path) -> None:
    seen: list[FetchProgress] = []
    replica.plan = {BIG: [("cut", 70_000), ("cut", 1)], "table.csv": [("body", b"wrong")]}
    run(replica, tmp_path, progress=seen.append)
    total = sum(map(len, FILES.values()))
    assert seen[-1] == FetchProgress(len(FILES), len(FILES), total, 300_000)
    assert [p.files_done for p in seen] == sorted(p.files_done for p in seen)
    assert all(0 <= p.bytes_done <= total for p in seen)
    assert any(0 < p.bytes_done < total for p in seen)
    seen.clear()
    run(replica, tmp_path / "part", progress=seen.append, include="records100/")
    assert {p.bytes_total for p in seen} == {None}


def test_bytes_total_is_unknown_once_the_estimate_is_passed(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "tiny", replace(TINY, size_bytes=1000))
    seen: list[FetchProgress] = []
    run(replica, tmp_path, progress=seen.append)
    assert seen[0].bytes_total == 1000 and seen[-1].bytes_total is None


# Parts


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ("records100/", {"records100/00000/00001_lr.dat", "records100/00000/00001_lr.hea"}),
        ("records100", {"records100/00000/00001_lr.dat", "records100/00000/00001_lr.hea"}),
        ("*.hea", {"records100/00000/00001_lr.hea"}),
        (["*.hea", BIG], {"records100/00000/00001_lr.hea", BIG}),
    ],
)
def test_include_fetches_a_part_with_tables_and_licence(
    replica: Replica, tmp_path: Path, include: str | list[str], expected: set[str]
) -> None:
    run(replica, tmp_path, include=include)
    assert verified(tmp_path, replica) == {*expected, "LICENSE.txt", "table.csv"}
    run(replica, tmp_path, include="empty")
    record = json.loads((tmp_path / "dataset.json").read_text())
    assert record["files"] == sorted({*expected, "LICENSE.txt", "table.csv", "empty"})


def test_include_that_matches_nothing_names_the_nearest_folder(replica: Replica, tmp_path: Path) -> None:
    text = failure(replica, tmp_path / "new", include="record100/")
    assert "record100/" in text and "did you mean 'records100/'?" in text
    assert not (tmp_path / "new").exists()


def test_a_data_set_that_is_a_part_of_a_project_fetches_that_part(replica: Replica, tmp_path: Path) -> None:
    replica.files = {
        "LICENSE.txt": b"l", "training/georgia/g1/E00001.hea": b"g", "training/georgia_more/E2.hea": b"m",
        "training/ningbo/g1/JS1.hea": b"n", "papers/a.pdf": b"p",
    }  # fmt: skip
    run(replica, tmp_path / "g", name="georgia")
    assert verified(tmp_path / "g", replica) == {"LICENSE.txt", "training/georgia/g1/E00001.hea"}
    run(replica, tmp_path / "all", name="challenge2021")
    assert verified(tmp_path / "all", replica) == set(replica.files) - {"papers/a.pdf"}
    assert "training/cpsc_2018/" in failure(replica, tmp_path / "none", name="cpsc2018")


# Connections that fail


def test_a_cut_in_the_middle_of_a_file_is_resumed_there(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("cut", 70_000), ("cut", 30_000)]}
    assert run(replica, tmp_path) == [1.0, 2.0]
    assert replica.asked(BIG) == [None, "bytes=70000-", "bytes=100000-"]


def test_what_another_life_left_is_resumed(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("cut", 50_000)]}
    assert "cut after 50000 of 150000 bytes" in failure(replica, tmp_path, attempts=1)
    assert (tmp_path / f"{BIG}.partial").stat().st_size == 50_000
    assert not (tmp_path / BIG).exists()
    run(replica, tmp_path)
    assert replica.asked(BIG) == [None, "bytes=50000-"]


def test_a_partial_file_that_is_whole_needs_no_request(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "table.csv.partial").write_bytes(FILES["table.csv"])
    run(replica, tmp_path)
    assert replica.asked("table.csv") == []
    assert not (tmp_path / "table.csv.partial").exists()


@pytest.mark.parametrize("left", [b"rubbish", b"more bytes than the whole file has" * 10])
def test_a_partial_file_of_something_else_is_thrown_away(replica: Replica, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "table.csv.partial").write_bytes(left)
    run(replica, tmp_path)
    assert replica.asked("table.csv")[-1] is None


def test_a_server_without_ranges_sends_the_file_anew(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("cut", 70_000), ("no range", None)]}
    assert run(replica, tmp_path) == [1.0]
    assert replica.asked(BIG) == [None, "bytes=70000-"]


def test_an_answer_with_another_range_is_not_appended(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("cut", 70_000), ("odd range", None)]}
    assert run(replica, tmp_path) == [1.0, 2.0]
    assert replica.asked(BIG) == [None, "bytes=70000-", None]


def test_a_server_that_always_starts_anew_and_is_always_cut_is_given_up(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RENEWING_BYTES", 10)
    replica.plan = {BIG: [("cut anew", 70_000)] * 20}
    assert "cut after 70000" in failure(replica, tmp_path)
    assert len(replica.asked(BIG)) == 5


def test_failures_are_counted_anew_when_the_file_grew(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RENEWING_BYTES", 10_000)
    replica.plan = {BIG: [("cut", 10_000)] * 14}
    run(replica, tmp_path, attempts=2)
    assert len(replica.asked(BIG)) == 15


def test_a_server_error_is_tried_again_after_growing_pauses(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {"table.csv": [("status", 500), ("status", 502), ("status", 503), ("status", 504)]}
    assert run(replica, tmp_path) == [1.0, 2.0, 4.0, 8.0]
    replica.plan = {SUMS: [("status", 500), ("cut", 20), ("status", 429)]}
    assert run(replica, tmp_path) == [1.0, 2.0, 7.0], "Retry-After is kept"


def test_a_server_that_only_fails_is_given_up(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {"table.csv": [("status", 503)] * 20}
    text = failure(replica, tmp_path, attempts=3)
    assert f"{replica.base}/tiny/1.2.3/table.csv" in text and "503" in text and "3 times" in text
    assert len(replica.asked("table.csv")) == 3


def test_pauses_are_bounded(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {SUMS: [("status", 500)] * 9}
    assert max(run(replica, tmp_path, attempts=10)) == 30.0


@pytest.mark.parametrize("name", [SUMS, "table.csv"])
@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_file_that_is_not_there_is_an_error_at_once(replica: Replica, tmp_path: Path, name: str, status: int) -> None:
    replica.plan = {name: [("status", status)]}
    text = failure(replica, tmp_path)
    assert f"{replica.base}/tiny/1.2.3/{name}" in text and str(status) in text
    assert len(replica.asked(name)) == 1


def test_an_odd_success_is_no_file(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {"table.csv": [("odd status", None)]}
    assert "203" in failure(replica, tmp_path)


@pytest.mark.parametrize("answer", [("hold", None), ("stall", 60_000)])
def test_a_silent_server_is_left_and_asked_again(replica: Replica, tmp_path: Path, answer: tuple[str, object]) -> None:
    replica.plan = {BIG: [answer]}
    assert run(replica, tmp_path, timeout_s=0.1) == [1.0]
    assert replica.asked(BIG) == [None, "bytes=60000-" if answer[0] == "stall" else None]
    replica.plan = {"table.csv": [("hold", None)] * 9}
    (tmp_path / "table.csv").unlink()
    assert "the server is silent" in failure(replica, tmp_path, timeout_s=0.02)


def test_no_server_at_all(tmp_path: Path) -> None:
    gone = Replica()
    gone.close()
    assert "refused" in failure(gone, tmp_path, attempts=2).lower()


def test_a_body_without_a_length(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("chunked", None)], SUMS: [("chunked", None)]}
    assert run(replica, tmp_path) == []
    assert (tmp_path / BIG).read_bytes() == FILES[BIG]


# Checksums


def test_a_wrong_checksum_is_fetched_once_more(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("body", b"x" * 150_000)]}
    assert run(replica, tmp_path) == []
    assert replica.asked(BIG) == [None, None]


def test_a_checksum_that_stays_wrong_is_an_error_and_leaves_nothing(replica: Replica, tmp_path: Path) -> None:
    bad = b"x" * 150_000
    replica.plan = {BIG: [("body", bad)] * 9}
    text = failure(replica, tmp_path)
    assert f"{replica.base}/tiny/1.2.3/{BIG}" in text
    assert hashlib.sha256(bad).hexdigest() in text and hashlib.sha256(FILES[BIG]).hexdigest() in text
    assert len(replica.asked(BIG)) == 2
    assert not (tmp_path / BIG).exists() and not (tmp_path / f"{BIG}.partial").exists()
    assert json.loads((tmp_path / "dataset.json").read_text())["files"] == []


Fault = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 3000)),
    st.tuples(st.just("status"), st.sampled_from([500, 503, 429, 408])),
    st.sampled_from([("no range", None), ("odd range", None), ("chunked", None)]),
)


@given(
    faults=st.dictionaries(st.integers(0, 4), st.lists(Fault, max_size=4)),
    wrong=st.sets(st.integers(0, 4)),
    left=st.dictionaries(st.integers(0, 4), st.integers(0, 4000)),
    workers=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_the_files_are_right_in_the_end(
    replica: Replica,
    faults: dict[int, list[tuple[str, object]]],
    wrong: set[int],
    left: dict[int, int],
    workers: int,
) -> None:
    replica.files = {f"{i}.dat": bytes([i]) * (700 * i) + b"." for i in range(5)}
    replica.plan = {f"{i}.dat": list(faults.get(i, [])) for i in range(5)}
    for i in wrong - left.keys():
        replica.plan[f"{i}.dat"].insert(0, ("body", b"?" * 50))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, size in left.items():
            (folder / f"{i}.dat.partial").write_bytes(replica.files[f"{i}.dat"][:size])
        run(replica, folder, workers=workers, attempts=20)
        assert verified(folder, replica) == set(replica.files)
        assert not list(folder.rglob("*.partial"))


# Ends that come from outside


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_ends_in_the_middle_leaves_what_can_be_resumed(
    replica: Replica, tmp_path: Path, how: signal.Signals
) -> None:
    replica.plan = {BIG: [("stall", 120_000)]}
    code = f"""if True:
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        from ecgprism.datasets import fetching
        from ecgprism.datasets.catalogue import DATASETS, Dataset
        DATASETS["tiny"] = Dataset("t", "tiny", "1.2.3", 9, 2, 12, (100,), "n", "L (L)", "c", None)
        fetching.fetch("tiny", {str(tmp_path)!r}, base_url={replica.base!r}, timeout_s=1.0, attempts=1,
            announce=None, progress=lambda p: print(p.files_done, p.bytes_done, flush=True))
    """
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    others = sum(len(body) for name, body in FILES.items() if name != BIG)
    for line in child.stdout:
        files, size = map(int, line.split())
        if files == len(FILES) - 1 and size >= others + 120_000:
            break
    child.send_signal(how)
    _, said = child.communicate(timeout=10)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in said or how is signal.SIGKILL
    assert verified(tmp_path, replica) == set(FILES) - {BIG}
    assert (tmp_path / f"{BIG}.partial").stat().st_size >= 120_000 - 10_000
    replica.requests.clear()
    run(replica, tmp_path)
    assert [name for name, _ in replica.requests] == [SUMS, BIG]
    assert replica.asked(BIG) != [None]


def test_one_file_that_fails_stops_the_others_where_they_are(replica: Replica, tmp_path: Path) -> None:
    replica.files = {"a.dat": b"a"} | {f"{i:03}.dat": b"x" for i in range(200)}
    replica.plan = {"a.dat": [("status", 404)]}
    began = time.monotonic()
    assert "a.dat" in failure(replica, tmp_path, workers=2)
    assert len(replica.requests) < 150
    assert time.monotonic() - began < 2


def test_one_file_that_fails_stops_another_in_its_middle(replica: Replica, tmp_path: Path) -> None:
    replica.files = {"a.dat": b"a", "b.dat": bytes(400)}
    replica.plan = {"a.dat": [("status", 500), ("status", 404)], "b.dat": [("trickle", None)]}
    began = time.monotonic()
    assert "a.dat" in failure(replica, tmp_path, workers=2, sleep=lambda _: time.sleep(0.1))
    assert time.monotonic() - began < 1
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch")] == []
    assert 0 < (tmp_path / "b.dat.partial").stat().st_size < 400


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_what_is_needed_where(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "records500/00000").mkdir(parents=True)
    (tmp_path / f"{BIG}.partial").symlink_to("/dev/full")
    text = failure(replica, tmp_path)
    assert str(tmp_path) in text and BIG in text and "150 kB" in text and "no space left" in text and "300 kB" in text


@pytest.mark.parametrize("free", [0, 1000, 299_999])
def test_too_little_space_is_said_before_anything_is_fetched(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, free))
    text = failure(replica, tmp_path)
    assert str(tmp_path) in text and "300 kB are needed" in text and size_text(free) in text
    assert [name for name, _ in replica.requests] == [SUMS]


def test_what_is_there_needs_no_space(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "tiny", replace(TINY, size_bytes=sum(map(len, FILES.values()))))
    replica.plan = {BIG: [("cut", 100_000)]}
    failure(replica, tmp_path, attempts=1)
    for name in set(FILES) - {BIG}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(FILES[name])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 50_000))
    run(replica, tmp_path)


def test_a_file_larger_than_the_disk_is_not_begun(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 110_000))
    text = failure(replica, tmp_path, include="records500/")
    assert BIG in text and "150 kB" in text and "110 kB" in text
    assert not (tmp_path / f"{BIG}.partial").exists()


def test_another_error_of_the_disk_is_not_called_full(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "x")

    monkeypatch.setattr(fetching, "write_whole", refuse)
    with pytest.raises(PermissionError):
        run(replica, tmp_path)


# Hostile lists

HOSTILE = [
    "x" * 5000, "a/" * 40 + "b", "a/" * 1500 + "b", "é" * 200, ".lock",
    "../evil", "a/../../evil", "/etc/passwd", "//server/share", "C:/evil", "c:evil", "a\\b", "..\\evil", "\\\\s\\x",
    "a//b", "a/./b", ".", "..", "a/", "a\x00b", "a\x1b[2Jb", "file.txt:stream", "dataset.json", SUMS, "a.partial",
    "a.partial/b", "a\u202eb", "a\u2028b",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_before_anything_is_fetched(replica: Replica, tmp_path: Path, name: str) -> None:
    good = hashlib.sha256(FILES["table.csv"]).hexdigest()
    replica.sums = f"{good} table.csv\n{'0' * 64} {name}\n".encode()
    text = failure(replica, tmp_path / "in")
    assert f"{SUMS}, line 2" in text and "nothing was fetched" in text
    assert [asked for asked, _ in replica.requests] == [SUMS]
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.sampled_from("./\\:~ab\x00\n C"), max_size=12) | st.text(max_size=20))
@example("..")
@example("a/../..")
@example("C:..\\x")
@settings(max_examples=400, deadline=None)
def test_an_accepted_name_stays_inside_the_folder_on_every_system(name: str) -> None:
    if refusal(name) is not None:
        return
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    assert not posix.is_absolute() and not windows.is_absolute() and not windows.drive and not windows.root
    assert ".." not in posix.parts and ".." not in windows.parts
    assert os.path.normpath(f"/data/{name}") == f"/data/{name}"
    assert posix.parts == windows.parts == tuple(name.split("/"))


@given(st.lists(st.text(max_size=30), max_size=6).map("\n".join) | st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_list_is_read_or_refused_in_one_line(text: str) -> None:
    with contextlib.suppress(EcgprismError):
        parsed_sums(text.encode(errors="replace"), "u")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(listing: bytes) -> None:
    with contextlib.suppress(EcgprismError):
        assert parsed_sums(listing, "u")


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (b"", "lists no files"),
        (b"\n \n", "lists no files"),
        (b"<html>log in</html>\n", "line 1: expected a SHA-256 and a file name and got '<html>"),
        (b"\xff\xfe", "not UTF-8"),
        (f"{'0' * 63} a\n".encode(), "line 1"),
        (f"{'0' * 64} a\n{'1' * 64} a\n".encode(), "line 2: file name 'a' stands twice"),
    ],
)
def test_a_list_that_is_none_is_refused(replica: Replica, tmp_path: Path, listing: bytes, expected: str) -> None:
    replica.sums = listing
    assert expected in failure(replica, tmp_path)


@pytest.mark.parametrize("line", ["{} a b", "{}  a b", "{} *a b", "{} a b\r"])
def test_every_usual_form_of_a_list_is_read(line: str) -> None:
    assert parsed_sums(f"{line.format('AB' * 32)}\n\n".encode(), "u") == {"a b": "ab" * 32}


def test_a_list_without_end_is_left(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LONGEST_SUMS_BYTES", 100)
    assert "longer than 100 bytes" in failure(replica, tmp_path)
    replica.plan = {SUMS: [("endless", None)]}
    assert "longer than 100 bytes" in failure(replica, tmp_path)
    replica.server.shutdown()
    assert replica.endless_bytes < 30_000_000


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://physionet.org/files", "ftp://physionet.org", "file:///etc", "physionet.org/files", "", " ", "https://",
        "http://127.0.0.1.evil.org", "http://127.0.0.1@evil.org", "http://localhost.evil.org", "http://evil.org#127.0.0.1",
        "https://a.org/?x", "https://a b.org", "http://evil.org\\@127.0.0.1", "http://[::1", "https://a.org:x/",
        "https://me:secret@a.org", "http://0.0.0.0",
    ],
)  # fmt: skip
def test_plain_http_and_odd_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(EcgprismError, match="base URL") as caught:
        fetch("tiny", tmp_path, base_url=url or " ", announce=None, attempts=1)
    assert "https://" in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["https://a.org/x/", "http://localhost:1", "http://127.8.9.1/x", "http://[::1]:80/x"])
def test_https_and_this_machine_are_allowed(url: str) -> None:
    assert server.checked_base(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("https://a.org/x", "https://a.org/y", True),
        ("https://a.org/x", "https://b.org/y", True),
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/x", "http://127.0.0.1/x", False),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", True),
        ("http://127.0.0.1/x", "http://localhost/x", False),
        ("http://127.0.0.1/x", "http://b.org/x", False),
        ("http://127.0.0.1/x", "https://b.org/x", True),
        ("https://a.org/x", "ftp://a.org/x", False),
        ("https://127.0.0.1/x", "http://127.0.0.1/x", False),
        ("http://a.org/x", "http://a.org/y", False),
    ],
)
def test_redirects_end_at_https_or_on_this_machine(old: str, new: str, allowed: bool) -> None:
    assert server.may_redirect(old, new) is allowed


def test_a_redirect_on_the_same_host_is_followed_with_its_range(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("cut", 100), ("redirect", f"{replica.base}/tiny/1.2.3/moved"), ("behave", None)]}
    replica.files["moved"] = FILES[BIG]
    run(replica, tmp_path, include=BIG)
    assert replica.asked("moved") == ["bytes=100-"]


@pytest.mark.parametrize("target", ["http://localhost:1/x", "http://example.org/x", "file:///etc/passwd"])
def test_a_redirect_elsewhere_is_refused(replica: Replica, tmp_path: Path, target: str) -> None:
    replica.plan = {"table.csv": [("redirect", target)]}
    text = failure(replica, tmp_path)
    assert "table.csv" in text and len(replica.asked("table.csv")) == 1


def test_a_proxy_is_not_asked_for_this_machine(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    run(replica, tmp_path, attempts=1)


# Names and folders


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="unknown data set 'ptbx'; did you mean 'ptbxl'"):
        fetch("ptbx", tmp_path)


@pytest.mark.parametrize("option", ["workers", "attempts"])
def test_numbers_below_one_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(EcgprismError, match="expected 1 or more"):
        fetch("tiny", tmp_path, **{option: 0})  # type: ignore[arg-type]


def test_a_folder_belongs_to_one_data_set(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica.plan = {"table.csv": [("status", 404)]}
    failure(replica, tmp_path)  # it is the folder's from the first file on
    monkeypatch.setitem(DATASETS, "other", replace(TINY, slug="other"))
    assert "holds tiny 1.2.3, not other 1.2.3" in failure(replica, tmp_path, name="other")
    monkeypatch.setitem(DATASETS, "tiny", replace(TINY, version="2"))
    assert "holds tiny 1.2.3, not tiny 2" in failure(replica, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}', '{"name": "tiny", "version": "1.2.3"}', "\x00"])
def test_a_record_that_is_none_is_refused(replica: Replica, tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    assert "dataset.json: not written by fetch" in failure(replica, tmp_path)


def test_a_file_is_no_folder(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    assert "is a file" in failure(replica, tmp_path / "f")


def test_a_published_file_is_not_overwritten_by_ours(replica: Replica, tmp_path: Path) -> None:
    replica.files |= {"LICENSE": b"theirs", "CITATION": b"theirs too"}
    run(replica, tmp_path)
    run(replica, tmp_path)
    assert verified(tmp_path, replica) == set(replica.files)


# Archives


def zipped(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], object] = lambda _: None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            file.writestr(info, body)
    return buffer.getvalue()


RECORDS = {
    "training2017/REFERENCE.csv": b"A00001,N\nA00002,A\n",
    "training2017/A00001.hea": b"h" * 30,
    "training2017/A00001.mat": os.urandom(3000),
}


def pack(replica: Replica, archive: bytes) -> None:
    replica.files = {"LICENSE.txt": b"l", "REFERENCE-v3.csv": b"A00001,N\n", "training2017.zip": archive, "x/y.m": b"m"}


def test_an_archive_is_unpacked_and_its_source_reads_it(replica: Replica, tmp_path: Path) -> None:
    pack(replica, zipped({"training2017/": b"", **RECORDS}))
    run(replica, tmp_path, name="cinc2017")
    assert {name: (tmp_path / name).read_bytes() for name in RECORDS} == RECORDS
    assert not (tmp_path / "x").exists()
    assert json.loads((tmp_path / "dataset.json").read_text())["unpacked"] == {"training2017.zip": 3}
    source = find("sources", "cinc2017")(tmp_path)
    assert [entry.record_id for entry in source.entries()] == ["A00001", "A00002"]


def test_unpacking_again_changes_nothing_and_repairs_what_is_damaged(replica: Replica, tmp_path: Path) -> None:
    pack(replica, zipped(RECORDS))
    run(replica, tmp_path, name="cinc2017")
    first, second, third = (tmp_path / name for name in RECORDS)
    second.write_bytes(b"H" * 30)
    third.unlink()
    kept = first.stat()
    run(replica, tmp_path, name="cinc2017")
    assert {name: (tmp_path / name).read_bytes() for name in RECORDS} == RECORDS
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "training2017/../../evil", "C:/evil", "a\\..\\..\\evil", "../evil/", SUMS, "a.partial"]
)
def test_a_member_that_leaves_the_folder_is_refused(replica: Replica, tmp_path: Path, name: str) -> None:
    pack(replica, zipped({"fine": b"f", name: b"evil"}))
    text = failure(replica, tmp_path / "in", name="cinc2017")
    assert "training2017.zip: member" in text and "nothing was unpacked" in text
    assert [path.name for path in tmp_path.iterdir()] == ["in"] and not (tmp_path / "in" / "fine").exists()


def test_a_link_in_an_archive_is_refused(replica: Replica, tmp_path: Path) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    pack(replica, zipped({"training2017": b"/etc"}, link))
    assert "symbolic link" in failure(replica, tmp_path, name="cinc2017")


@pytest.mark.parametrize("name", ["REFERENCE-v3.csv", "training2017.zip"])
def test_a_member_that_takes_a_verified_files_name_is_refused(replica: Replica, tmp_path: Path, name: str) -> None:
    pack(replica, zipped({name: b"evil"}))
    assert "another file's" in failure(replica, tmp_path, name="cinc2017")


def test_a_bomb_is_not_unpacked(replica: Replica, tmp_path: Path) -> None:
    pack(replica, zipped({"training2017/zeros": bytes(10**6)}))
    text = failure(replica, tmp_path, name="cinc2017")
    assert "unpacks to 1.0 MB, more than 20 times its size" in text
    assert not (tmp_path / "training2017").exists()


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_says(replica: Replica, tmp_path: Path) -> None:
    archive = bytearray(zipped({"training2017/zeros": bytes(10**6)}))
    for at in (archive.find(b"PK\x03\x04") + 22, archive.find(b"PK\x01\x02") + 24):
        archive[at : at + 4] = (100).to_bytes(4, "little")
    pack(replica, bytes(archive))
    assert "cannot be unpacked" in failure(replica, tmp_path, name="cinc2017")
    assert not list((tmp_path / "training2017").iterdir())


def test_a_damaged_archive_leaves_no_damaged_file(replica: Replica, tmp_path: Path) -> None:
    archive = bytearray(zipped(RECORDS))
    at = archive.find(RECORDS["training2017/A00001.mat"][:50])
    archive[at + 10] ^= 1
    pack(replica, bytes(archive))
    assert "cannot be unpacked" in failure(replica, tmp_path, name="cinc2017")
    assert not (tmp_path / "training2017/A00001.mat").exists()
    pack(replica, b"no archive")
    shutil.rmtree(tmp_path)
    assert "cannot be unpacked" in failure(replica, tmp_path, name="cinc2017")


def test_a_disk_that_fills_while_unpacking(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    pack(replica, zipped(RECORDS))
    monkeypatch.setattr(shutil, "copyfileobj", full)
    text = failure(replica, tmp_path, name="cinc2017")
    assert str(tmp_path) in text and "unpacking training2017.zip needs 3.0 kB" in text
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 3000))
    assert "unpacking training2017.zip needs 3.0 kB" in failure(replica, tmp_path, name="cinc2017", include="*.zip")


def test_what_is_unpacked_needs_no_space(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "cinc2017", replace(DATASETS["cinc2017"], size_bytes=3000, unpacked_bytes=10**9))
    pack(replica, zipped(RECORDS))
    run(replica, tmp_path, name="cinc2017")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 1000))
    run(replica, tmp_path, name="cinc2017")


# The table


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"tiny"}))
def test_a_data_set_says_what_it_is_and_what_reads_it(name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.source is None or dataset.source in components("sources")
    assert dataset.licence.split(",")[0].endswith(("(CC BY 4.0)", "(ODC-By 1.0)"))
    assert "doi:10." in dataset.citation and dataset.citation.endswith(".")
    assert dataset.size_bytes > 10**7 and dataset.records > 10 and dataset.rate_hz and dataset.leads in (1, 2, 12)
    assert all(part.endswith(("/", ".zip", ".csv")) for part in dataset.parts)
    assert set(dataset.archives) <= set(dataset.parts)
    own = {"nstdb": None, "chapman": "challenge2021", "georgia": "challenge2021", "cpsc2018": "challenge2021"}
    assert dataset.source == own.get(name, name)
    command = dataset.ingest_command(name, f"data/{name}")
    assert (command is None) == (dataset.source is None)
    if command is not None:
        assert command.split()[:3] == ["ecgprism", "ingest", dataset.source] and f"data/{name}" in command


def test_the_table_has_a_row_for_each() -> None:
    rows = datasets_table()
    assert [row["name"] for row in rows] == list(DATASETS)
    assert all(isinstance(cell, str) for row in rows for cell in row.values())
    assert {row["licence"] for row in rows} >= {"CC BY 4.0", "ODC-By 1.0"}


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (10**8, "100 MB"), (3 * 10**9, "3.0 GB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ptbxl", "https://physionet.org/files/ptb-xl/1.0.3/"),
        ("cinc2017", "https://physionet.org/files/challenge-2017/1.0.0/"),
        ("mitbih", "https://physionet.org/files/mitdb/1.0.0/"),
        ("nstdb", "https://physionet.org/files/nstdb/1.0.0/"),
        ("ludb", "https://physionet.org/files/ludb/1.0.1/"),
        ("challenge2021", "https://physionet.org/files/challenge-2021/1.0.3/"),
        ("chapman", "https://physionet.org/files/challenge-2021/1.0.3/"),
        ("georgia", "https://physionet.org/files/challenge-2021/1.0.3/"),
        ("cpsc2018", "https://physionet.org/files/challenge-2021/1.0.3/"),
    ],
)
def test_without_a_mirror_physionet_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    def asked(mirror: server.Mirror, file: str, _: int) -> bytes:
        raise EcgprismError(mirror.address(file))

    monkeypatch.setattr(server.Mirror, "read", asked)
    with pytest.raises(EcgprismError) as caught:
        fetch(name, tmp_path, announce=None)
    assert str(caught.value) == url + SUMS
