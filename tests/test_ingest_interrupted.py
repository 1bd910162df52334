"""Ingest in workers and after crashes: the same bytes, whatever ended it."""

from __future__ import annotations

import contextlib
import json
import os
import signal as signals
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecgprism.corpus import ingestion
from ecgprism.corpus.meta import RECORDS, SIGNALS
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError, ReadError
from tests.ingests import _rewrite, contents, ingest_made, ingest_these, one_line, partial, recording, undisturbed, wave

__all__ = ["undisturbed"]  # fixtures

from .records import MADE_WAIT_S


def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    for workers in (1, 2):
        ingest_made(tmp_path / str(workers), n=70, workers=workers)  # more than four chunks
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(Corpus(tmp_path / "2").records) == 63


def interrupted(out: Path, after: int = 6) -> None:
    """Ingest and stop when `after` records are journalled."""

    def stop(number: int, _: int | None) -> None:
        if number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_made(out, progress=stop)
    assert partial(out).is_dir()
    assert not out.exists()


@pytest.mark.parametrize("after", [0, 1, 4, 11, 12])
def test_an_interrupted_ingest_goes_on_where_it_stopped(tmp_path: Path, undisturbed: Path, after: int) -> None:
    interrupted(tmp_path / "c", after)
    with pytest.raises(
        EcgprismError, match=r"no corpus here .*; its ingest was not finished: run it again to continue"
    ):
        Corpus(tmp_path / "c")
    assert ingest_made(tmp_path / "c").resumed == after
    assert contents(tmp_path / "c") == contents(undisturbed)
    assert not partial(tmp_path / "c").exists()


def _append(name: str, data: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(data)

    return damage


def _cut(name: str, n_bytes: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        os.truncate(folder / name, (folder / name).stat().st_size - n_bytes)

    return damage


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (_cut("journal.jsonl", 1), 5),  # the end of the line
        (_cut("journal.jsonl", 20), 5),
        (_append("journal.jsonl", b'{"record_id": "m6", "off'), 6),
        (_append("journal.jsonl", b"\0" * 300), 6),  # what some file systems leave after a power cut
        (_append("journal.jsonl", b"\xff\xfe\n"), 6),
        (_append("journal.jsonl", b"{}\n"), 6),
        (_append("journal.jsonl", b"null\n"), 6),
        (_append(SIGNALS, b"\1" * 333), 6),
        (_cut(SIGNALS, 2), 5),
        (lambda folder: (folder / SIGNALS).unlink(), 0),
        (lambda folder: (folder / "journal.jsonl").unlink(), 0),
        (lambda folder: (folder / "settings.json").unlink(), 0),
        (_rewrite("settings.json", lambda _: b""), 0),
    ],
)
def test_what_a_crash_left_half_written_is_written_again(
    tmp_path: Path, undisturbed: Path, damage: Callable[[Path], None], left: int
) -> None:
    interrupted(tmp_path / "c", 6)
    damage(partial(tmp_path / "c"))
    assert ingest_made(tmp_path / "c").resumed == left
    assert contents(tmp_path / "c") == contents(undisturbed)


@pytest.mark.parametrize("step", ["write_tables", "write_meta", "_finish"])
def test_a_crash_after_the_last_record_is_mended(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ingestion, step, stop)
        ingest_made(tmp_path / "c")
    assert ingest_made(tmp_path / "c").resumed == 12
    assert contents(tmp_path / "c") == contents(undisturbed)


def test_a_crash_just_before_the_name_appears_is_mended(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", stop)
        ingest_made(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    ingest_made(tmp_path / "c")
    assert contents(tmp_path / "c") == contents(undisturbed)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"rate_hz": 250.0}, "rate_hz"),
        ({"options": {"n": 13}}, "options"),
        ({"exclude": ["m0"]}, "entries"),
    ],
)
def test_an_interrupted_ingest_is_not_continued_with_other_settings(
    tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    interrupted(tmp_path / "c")
    with pytest.raises(EcgprismError, match=f"an interrupted ingest with another {key} is here"):
        ingest_made(tmp_path / "c", **change)
    assert ingest_made(tmp_path / "c").resumed == 6


def test_an_interrupted_ingest_is_not_continued_with_other_labels(tmp_path: Path) -> None:
    given_mv = [recording(wave(i)) for i in range(2)]
    with pytest.raises(ReadError):
        ingest_these([*given_mv, ReadError("torn")], tmp_path / "c", strict=True)
    with pytest.raises(EcgprismError, match="another entries is here"):
        ingest_these([*given_mv, ReadError("torn")], tmp_path / "c", {0: {"labels": {"labels": ("B",)}}})


IN_A_PROCESS = """
    import json, resource, sys
    from pathlib import Path
    from ecgprism.errors import EcgprismError
    from ecgprism.corpus.ingestion import ingest
    from tests.records import Made, known

    def made(out, **given):
        with known("made", Made):
            ingest("made", None, out, **{"options": {"n": 12}, "workers": 1, **given})
"""


def in_a_process(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start Python in a session of its own, with `made(out)` at hand."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(IN_A_PROCESS) + textwrap.dedent(code), *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(session: int) -> set[int]:
    """The living processes of a session, from /proc."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found


def killed(out: Path, workers: int, n: int, after: int, wait_s: float) -> int:
    """Start a slow ingest and kill its process without warning after `after` records; returns its session."""
    code = 'made(sys.argv[1], options={"n": int(sys.argv[2])}, workers=int(sys.argv[3]))'
    with in_a_process(code, out, n, workers, **{MADE_WAIT_S: str(wait_s)}) as process:
        journal, began = partial(out) / "journal.jsonl", time.monotonic()
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= after):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() - began < 60
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signals.SIGKILL
    return process.pid


def test_an_ingest_killed_in_the_middle_and_run_again_gives_the_same_bytes(tmp_path: Path, undisturbed: Path) -> None:
    killed(tmp_path / "c", workers=1, n=12, after=5, wait_s=0.5)
    assert not (tmp_path / "c").exists()
    assert 5 <= ingest_made(tmp_path / "c").resumed < 12
    assert contents(tmp_path / "c") == contents(undisturbed)


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are counted by /proc")
def test_an_ingest_killed_with_two_processes_leaves_none_behind_and_goes_on(tmp_path: Path) -> None:
    session = killed(tmp_path / "c", workers=2, n=80, after=16, wait_s=0.02)
    began = time.monotonic()
    while (left := processes_of(session)) and time.monotonic() - began < 5:
        time.sleep(0.1)
    for process in left:  # ours: the session began with the process started above
        os.kill(process, signals.SIGKILL)
    assert ingest_made(tmp_path / "c", n=80).resumed >= 16
    ingest_made(tmp_path / "d", n=80)
    assert contents(tmp_path / "c") == contents(tmp_path / "d")
    assert not left


WITHOUT_ROOM = """
    folder, limits = Path(sys.argv[1]), json.loads(sys.argv[2])
    told = {}
    for limit in limits:
        out = folder / str(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            made(out, rate_hz=20.0)
        except EcgprismError as error:
            told[limit] = str(error)
        except BaseException as error:
            told[limit] = f"{type(error).__name__} escaped: {error}"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if limit in told:
            try:
                made(out, rate_hz=20.0)
            except BaseException as error:
                told[limit] += f" and afterwards {type(error).__name__}: {error}"
    print(json.dumps(told))
"""


def test_an_ingest_that_cannot_write_says_so_in_one_line_and_then_goes_on(tmp_path: Path) -> None:
    ingest_made(tmp_path / "undisturbed", rate_hz=20.0)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "undisturbed").iterdir()}
    # too little for the settings, the first record, one in the middle, the record table
    limits = [0, 40, 300, sizes[SIGNALS] // 2, sizes[RECORDS] - 500]
    assert sizes[SIGNALS] < limits[-1]
    output = in_a_process(WITHOUT_ROOM, tmp_path, json.dumps(limits)).communicate(timeout=60)[0]
    told = json.loads(output.splitlines()[-1])
    assert sorted(map(int, told)) == sorted(limits)
    for limit, message in told.items():
        assert len(message.splitlines()) == 1, message
        assert message.startswith("cannot write "), (limit, message)
        assert "and afterwards" not in message, (limit, message)
        assert message.endswith("run the same command again: it goes on where it stopped")
        assert contents(tmp_path / limit) == contents(tmp_path / "undisturbed")


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EcgprismError) as caught:
        ingest_these([recording(wave())], tmp_path / "file" / "c")
    assert one_line(caught.value).startswith(f"cannot write {tmp_path}/file/c.partial")
