"""Fetching from a server that means harm: bodies without end, bytes that drip, names that cannot be files."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecgprism.datasets import transfer
from ecgprism.datasets.catalogue import DATASETS
from ecgprism.datasets.fetching import fetch
from ecgprism.errors import EcgprismError
from tests.replica import BIG, FILES, SUMS, TINY, Replica, failure, pack, replica, run, tiny, tree, zipped

__all__ = ["replica", "tiny"]  # fixtures
LONGEST_S = 30.0  # every test here must end within, on a busy machine too


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONGEST_S


class Raw:
    """A server that answers every connection with `answer(connection)`, for five seconds at most."""

    def __init__(self, answer: Callable[[socket.socket], object]) -> None:
        self.answer, self.ended, self.connections = answer, threading.Event(), 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.socket.getsockname()[1]}/files"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                self.answer(connection)
            except OSError:
                pass

    def drip(self, connection: socket.socket, text: bytes, pause_s: float = 0.02) -> None:
        ends = time.monotonic() + 5
        while not self.ended.is_set() and time.monotonic() < ends:
            for byte in text:
                if self.ended.wait(pause_s):
                    return
                connection.sendall(bytes([byte]))

    def close(self) -> None:
        self.ended.set()
        self.socket.close()


Answer = Callable[[Raw, socket.socket], object]


@pytest.fixture
def raw() -> Iterator[Callable[[Answer], Raw]]:
    servers: list[Raw] = []

    def made(answer: Answer) -> Raw:
        server = Raw(lambda connection: answer(server, connection))
        servers.append(server)
        return server

    yield made
    for server in servers:
        server.close()


def refused(server: Raw, folder: Path, **options: object) -> str:
    """Fetch in vain; return the one line of the error."""
    with pytest.raises(EcgprismError) as caught:
        fetch("tiny", folder, base_url=server.base, announce=None, attempts=2, sleep=lambda _: None, **{
            "timeout_s": 0.3, "least_rate": 1000.0, "window_s": 0.3, **options,
        })  # fmt: skip
    assert "\n" not in str(caught.value)
    assert server.connections <= 2
    return str(caught.value)


# Too much


def test_a_body_without_end_is_left_and_does_not_stay(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {"table.csv": [("endless", None)] * 9}
    text = failure(replica, tmp_path)
    assert "table.csv" in text and "more comes than the whole data set has" in text
    assert not (tmp_path / "table.csv.partial").exists() and not (tmp_path / "table.csv").exists()
    assert replica.endless_bytes < 20_000_000
    assert len(replica.asked("table.csv")) == 1


def test_a_body_without_end_beside_others_stays_within_the_limit(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {"table.csv": [("endless", None)] * 9}
    assert "more comes than the whole data set has" in failure(replica, tmp_path, workers=4)
    assert replica.endless_bytes < 20_000_000
    assert sum(map(len, tree(tmp_path).values())) < 1_500_000


def test_a_length_larger_than_the_data_set_is_not_begun(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.files["table.csv"] = b"x" * 2_000_000
    assert "more comes than the whole data set has" in failure(replica, tmp_path)
    monkeypatch.setitem(DATASETS, "tiny", replace(TINY, size_bytes=1_400_000))
    run(replica, tmp_path)


def test_all_files_together_have_a_limit(replica: Replica, tmp_path: Path) -> None:
    replica.files = {f"{i}.dat": bytes([i]) * 200_000 for i in range(8)}
    assert "1.4 MB with a margin" in failure(replica, tmp_path)
    assert sum(map(len, tree(tmp_path).values())) < 1_460_000


def test_an_archive_larger_than_the_data_set_is_not_unpacked(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "cinc2017", replace(DATASETS["cinc2017"], unpacked_bytes=10_000))
    noise = b"".join(i.to_bytes(2, "little") for i in range(40_000)) * 16
    pack(replica, zipped({"training2017/a": noise, "training2017/b": FILES[BIG]}))
    assert "more than the data set has, 1.0 MB with a margin" in failure(replica, tmp_path, name="cinc2017")
    assert not (tmp_path / "training2017").exists()


# Too slow


def test_bytes_that_drip_in_a_body_are_left(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("trickle", None)] * 9}
    text = failure(replica, tmp_path, least_rate=2000.0, window_s=0.2, attempts=2)
    assert BIG in text and "slower than 2.0 kB per second (2 times)" in text
    assert 0 < (tmp_path / f"{BIG}.partial").stat().st_size < 2000


def test_a_slow_body_that_is_fast_enough_comes(replica: Replica, tmp_path: Path) -> None:
    replica.files = {"a.dat": bytes(400)}
    replica.plan = {"a.dat": [("trickle", None)]}
    assert run(replica, tmp_path, least_rate=4.0, window_s=0.5) == []


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (b"", b"HTTP/1.1 200 OK\r\nX-A: "),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"a"),
    ],
)
def test_bytes_that_drip_in_headers_or_list_are_left(
    raw: Callable[[Answer], Raw], tmp_path: Path, head: bytes, drip: bytes
) -> None:
    def answer(server: Raw, connection: socket.socket) -> None:
        connection.sendall(head)
        server.drip(connection, drip)

    text = refused(raw(answer), tmp_path / "new")
    assert SUMS in text and ("the server is silent (2 times)" in text or "slower than 1.0 kB per second" in text)
    assert not (tmp_path / "new").exists()


def test_continue_for_ever_is_left(raw: Callable[[Answer], Raw], tmp_path: Path) -> None:
    def answer(server: Raw, connection: socket.socket) -> None:
        ends = time.monotonic() + 5
        while not server.ended.is_set() and time.monotonic() < ends:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    assert "the server is silent" in refused(raw(answer), tmp_path)


@pytest.mark.parametrize("answer", [b"no HTTP\r\nat\nall\r\n\r\n", b"\0\xff\n\n", b"HTTP/1.1 abc\r\n\r\n", b""])
def test_what_is_no_http_is_one_line(raw: Callable[[Answer], Raw], tmp_path: Path, answer: bytes) -> None:
    assert "(2 times)" in refused(raw(lambda _, connection: connection.sendall(answer)), tmp_path)


# Names and places


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("x", "x/y/z", "table.csv")])
def test_a_file_that_is_a_folder_too_is_refused(replica: Replica, tmp_path: Path, names: tuple[str, ...]) -> None:
    replica.sums = "".join(f"{'0' * 64} {name}\n" for name in names).encode()
    text = failure(replica, tmp_path / "in")
    assert "is a file and a folder: nothing was fetched" in text
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 248, "é" * 124, "a/" * 40 + "b", "abcdefgh/" * 120 + "b"])
def test_a_name_that_no_file_system_takes_is_refused(replica: Replica, tmp_path: Path, name: str) -> None:
    replica.sums = f"{'0' * 64} {name}\n".encode()
    assert "is too long: nothing was fetched" in failure(replica, tmp_path / "in")
    replica.sums = None
    replica.files = {"x" * 247: b"a"}
    run(replica, tmp_path / "in")


def test_members_that_are_file_and_folder_are_refused(replica: Replica, tmp_path: Path) -> None:
    pack(replica, zipped({"training2017": b"a", "training2017/b": b"c"}))
    assert "would be a file and a folder" in failure(replica, tmp_path, name="cinc2017")
    (tmp_path / "training2017.zip").unlink()
    pack(replica, zipped({"REFERENCE-v3.csv/b": b"c"}))
    assert "would be a file and a folder" in failure(replica, tmp_path, name="cinc2017")


def test_a_folder_in_a_files_place_is_one_line(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "table.csv").mkdir()
    assert "table.csv: is a folder, where fetch would write the file" in failure(replica, tmp_path)
    (tmp_path / "table.csv").rmdir()
    (tmp_path / "table.csv.partial").mkdir()
    assert "table.csv.partial: is a folder" in failure(replica, tmp_path)


def test_a_file_in_a_folders_place_is_one_line_and_stays(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "records500").write_text("mine")
    assert "records500: is a file, where fetch would make a folder" in failure(replica, tmp_path)
    assert (tmp_path / "records500").read_text() == "mine"


def test_what_is_not_of_the_data_set_stays(replica: Replica, tmp_path: Path) -> None:
    mine = {"notes.txt": b"a", "x.partial": b"b", "records100/mine.dat": b"c", "records500/00000/x.partial": b"d"}
    for name, content in mine.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    run(replica, tmp_path)
    got = tree(tmp_path)
    assert {name: got[name] for name in mine} == mine


def test_what_fetch_did_not_write_is_neither_deleted_nor_overwritten(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"mine")
    fetch("tiny", tmp_path, base_url=replica.base, announce=None)
    assert (tmp_path / "table.csv.before").read_bytes() == b"mine"
    (tmp_path / "table.csv").write_bytes(b"damaged")  # now it is fetch's own
    fetch("tiny", tmp_path, base_url=replica.base, announce=None)
    assert (tmp_path / "table.csv.before").read_bytes() == b"mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "LICENSE").write_bytes(b"my own licence")
    assert "LICENSE: is there already, and not of this data set" in failure(replica, other)
    assert tree(other) == {"LICENSE": b"my own licence"}
    (other / "LICENSE").unlink()
    (other / "table.csv").write_bytes(b"mine")
    (other / "table.csv.before").write_bytes(b"mine too")
    with pytest.raises(EcgprismError, match=r"table\.csv\.before is there too"):
        fetch("tiny", other, base_url=replica.base, announce=None)
    assert (other / "table.csv").read_bytes() == b"mine" and (other / "table.csv.before").read_bytes() == b"mine too"


# Two at once, and a power cut


def test_a_second_fetch_into_a_folder_is_refused(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("stall", 1000)]}
    first = threading.Thread(target=run, args=(replica, tmp_path), kwargs={"attempts": 2})
    first.start()
    while not replica.asked(BIG):
        time.sleep(0.01)
    code = f"""if True:
        from ecgprism.datasets.catalogue import DATASETS, Dataset
        from ecgprism.datasets.fetching import fetch
        DATASETS["tiny"] = Dataset("t", "tiny", "1.2.3", 9, 2, 12, (100,), "n", "L (L)", "c", None)
        try:
            fetch("tiny", {str(tmp_path)!r}, base_url={replica.base!r}, announce=None)
        except Exception as error:
            print(type(error).__name__, error)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    replica.released.set()
    first.join(5)
    assert said.startswith("EcgprismError") and "another fetch is writing here" in said
    assert len(replica.asked(BIG)) == 2
    run(replica, tmp_path)


def test_a_file_is_on_disk_before_it_has_its_name(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        transfer, "to_disk", lambda path: on_disk.append((path.name, (tmp_path / "table.csv").exists()))
    )
    run(replica, tmp_path, include="table.csv")
    assert ("table.csv.partial", False) in on_disk and (tmp_path.name, True) in on_disk
