"""Fetching, end to end against a server on this machine that fails in every way a server does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgprism.datasets import fetching, server
from ecgprism.datasets.catalogue import DATASETS, datasets_table, size_text
from ecgprism.datasets.fetching import fetch
from ecgprism.datasets.transfer import FetchProgress
from ecgprism.errors import EcgprismError
from ecgprism.registry import components
from tests.replica import BIG, FILES, SUMS, TINY, Replica, Usage, failure, replica, run, tiny, tree, verified

__all__ = ["replica", "tiny"]  # fixtures


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


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="unknown data set 'ptbx'; did you mean 'ptbxl'"):
        fetch("ptbx", tmp_path)


@pytest.mark.parametrize("option", ["workers", "attempts"])
def test_numbers_below_one_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(EcgprismError, match="expected 1 or more"):
        fetch("tiny", tmp_path, **{option: 0})


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
