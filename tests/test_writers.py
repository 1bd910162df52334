"""Writing a corpus: one writer at a time, killed at any moment the same command goes on, nothing foreign is deleted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgprism.corpus import ingestion
from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.journal import JOURNAL, Journal, JournalEntry, Settings
from ecgprism.corpus.meta import META, RECORDS, SIGNALS
from ecgprism.corpus.signals import waveform_hash
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.sources.contract import Entry

from .ingests import contents, ingest_made, one_line, partial, recording, wave
from .records import MADE_WAIT_S, Listed, Made, known, listed

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks")


# --- two writers


TWO = """
    import sys, time
    from ecgprism.corpus.ingestion import ingest
    from ecgprism.errors import EcgprismError
    from tests.records import Made, known

    while time.time() < float(sys.argv[2]):
        time.sleep(0.001)
    with known("made", Made):
        try:
            ingest("made", None, sys.argv[1], options={"n": 40}, workers=1)
            print("done")
        except EcgprismError as error:
            print(error)
"""


@pytest.mark.parametrize("offset_s", [0.0, 0.02, 0.1, 0.3])
def test_the_second_of_two_ingests_into_one_folder_gets_one_line(tmp_path: Path, offset_s: float) -> None:
    begin = time.time() + 4.0
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                textwrap.dedent(TWO),
                str(tmp_path / "c"),
                str(begin + i * offset_s),
            ],
            cwd=Path(__file__).parents[1],
            env=os.environ | {MADE_WAIT_S: "0.05"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    told = sorted(writer.communicate(timeout=60)[0].strip() for writer in writers)
    busy = f"{partial(tmp_path / 'c')}: another ingest is writing here; let it end, or choose another folder"
    assert told == sorted([busy, "done"])
    ingest_made(tmp_path / "d", n=40)
    assert contents(tmp_path / "c") == contents(tmp_path / "d")


def test_a_source_that_changes_while_it_is_read_makes_no_corpus(tmp_path: Path) -> None:
    class Changing(Listed):
        recordings = [recording(wave(i)) for i in range(3)]  # noqa: RUF012
        asked = 0

        def entries(self) -> Iterator[Entry]:
            type(self).asked += 1
            found = list(super().entries())
            yield from found if self.asked == 1 else [found[0], found[1], found[1]]

        def read(self, entry: Entry) -> Recording:
            return self.recordings[int(entry.record_id[1:])]

    with known("changing", Changing), pytest.raises(EcgprismError, match="the source changed while it was read"):
        ingest("changing", None, tmp_path / "c", workers=1)
    assert not (tmp_path / "c").exists()


# --- killed before any file operation


OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def _killed_before(operation: int, folder: Path, overwrite: bool) -> None:
    """Ingest in this process, which kills itself in front of its n-th change of a file below a folder."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in OPERATIONS or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not isinstance(arguments[2], int):
            return
        if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
            return
        seen += 1
        if seen == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    ingest_made(folder / "c", n=5, overwrite=overwrite)
    os._exit(77)  # fewer operations than that


def _die(operation: int, folder: Path, overwrite: bool) -> bool:
    """Return whether there was an operation of that number to die before."""
    process = multiprocessing.get_context("fork").Process(target=_killed_before, args=(operation, folder, overwrite))
    process.start()
    process.join()
    assert process.exitcode in (77, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


@linux
def test_an_ingest_killed_before_any_of_its_file_operations_goes_on(tmp_path: Path) -> None:
    ingest_made(tmp_path / "undisturbed", n=5)
    operation = 1
    while _die(operation, folder := tmp_path / str(operation), overwrite=False):
        folder.mkdir(exist_ok=True)
        try:
            ingest_made(folder / "c", n=5)
        except EcgprismError as error:  # it was killed behind its last step but one
            assert "exists already" in one_line(error)
        held = contents(folder / "c")
        held.pop(".lock", None)
        assert held == contents(tmp_path / "undisturbed"), operation
        assert not partial(folder / "c").exists()
        operation += 1
    assert operation > 20


@linux
@pytest.mark.parametrize("overwrite", [True, False])
def test_an_overwrite_killed_before_any_of_its_file_operations_leaves_a_way_on(tmp_path: Path, overwrite: bool) -> None:
    ingest_made(tmp_path / "undisturbed", n=5)
    ingest_made(tmp_path / "older", n=7)
    operation = 1
    while True:
        folder = tmp_path / str(operation)
        ingest_made(folder / "c", n=7)
        if not _die(operation, folder, overwrite=True):
            break
        wanted = [contents(tmp_path / "undisturbed")]
        try:
            ingest_made(folder / "c", n=5, overwrite=overwrite)
        except EcgprismError as error:
            assert not overwrite
            assert "exists already" in one_line(error)
            wanted.append(contents(tmp_path / "older"))
        held = contents(folder / "c")
        held.pop(".lock", None)
        assert held in wanted, operation
        Corpus(folder / "c").check()
        if overwrite:
            assert sorted(path.name for path in folder.iterdir()) == ["c"], operation
        operation += 1
    assert operation > 25


def test_a_finished_corpus_that_lacks_only_its_name_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", stop)
        ingest_made(tmp_path / "c")
    assert not (partial(tmp_path / "c") / "settings.json").exists()
    before = contents(partial(tmp_path / "c"))
    with pytest.raises(EcgprismError, match="a finished ingest with another options is here; rename the folder to"):
        ingest_made(tmp_path / "c", n=13)
    assert contents(partial(tmp_path / "c")) == before
    monkeypatch.setattr(Made, "read", stop)  # nothing is read again
    assert ingest_made(tmp_path / "c").resumed == 12
    assert {name: data for name, data in before.items() if name != ".lock"} == contents(tmp_path / "c")


def test_a_finished_corpus_without_its_name_that_is_damaged_is_named_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ingest_made(tmp_path / "c")
    (partial(tmp_path / "c") / META).write_text("{}")
    with pytest.raises(EcgprismError, match=r"damaged .*; delete .*c\.partial first"):
        ingest_made(tmp_path / "c")
    assert (partial(tmp_path / "c") / RECORDS).is_file()


# --- what is not ours


@pytest.mark.parametrize("name", ["chapter1.tex", "journal.jsonl.bak", "settings.json/inner", ".hidden"])
def test_a_foreign_folder_of_the_name_of_ours_is_refused_and_not_touched(tmp_path: Path, name: str) -> None:
    foreign = partial(tmp_path / "c") / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("years of work")
    with pytest.raises(EcgprismError, match="so it is no interrupted ingest") as caught:
        ingest_made(tmp_path / "c")
    assert name.split("/", maxsplit=1)[0] in one_line(caught.value)
    assert foreign.read_text() == "years of work"
    assert [path.name for path in partial(tmp_path / "c").iterdir()] == [name.split("/", maxsplit=1)[0]]


def test_a_file_of_the_name_of_our_folder_is_refused(tmp_path: Path) -> None:
    partial(tmp_path / "c").write_text("mine")
    with pytest.raises(EcgprismError, match="a file is in the way"):
        ingest_made(tmp_path / "c")
    assert partial(tmp_path / "c").read_text() == "mine"


def test_a_corpus_with_notes_beside_it_is_not_overwritten(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c")
    (tmp_path / "c" / "notes.txt").write_text("mine")
    with pytest.raises(EcgprismError, match=r"holds 'notes\.txt' besides a corpus, so it is not overwritten"):
        ingest_made(tmp_path / "c", n=3, overwrite=True)
    assert (tmp_path / "c" / "notes.txt").read_text() == "mine"
    assert len(Corpus(tmp_path / "c").records) == 11


def test_notes_that_appear_while_a_corpus_is_overwritten_stay(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c")

    def note(number: int, _: int | None) -> None:
        if number == 2:
            (tmp_path / "c" / "notes.txt").write_text("mine")

    ingest_made(tmp_path / "c", n=3, overwrite=True, progress=note)
    assert (tmp_path / ".c.replaced" / "notes.txt").read_text() == "mine"
    assert len(Corpus(tmp_path / "c").records) == 3


def test_an_overwritten_corpus_whose_successor_was_deleted_comes_back(tmp_path: Path) -> None:
    ingest_made(tmp_path / "c")
    before = contents(tmp_path / "c")
    (tmp_path / "c").rename(tmp_path / ".c.replaced")  # killed between two renames, then c.partial deleted by hand
    with pytest.raises(EcgprismError, match="exists already"):
        ingest_made(tmp_path / "c")
    assert contents(tmp_path / "c") == before


# --- everything is on disk before it has its name


def test_files_are_on_disk_before_they_are_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    steps: list[tuple[str, bool]] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def note_sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def note(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(path: Path, to: Path) -> Path:
            inside = [path] if path.is_file() else [file for file in path.iterdir() if file.name != ".lock"]
            steps.append((to.name, all(file.stat().st_ino in synced for file in inside)))
            return move(path, to)

        return moved

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note(replace))
    monkeypatch.setattr(Path, "rename", note(rename))
    ingest_made(tmp_path / "c")
    names = ["settings.json", "rejected.csv", "records.parquet", "items.parquet", "corpus.json", "c"]
    assert steps == [(name, True) for name in names]


# --- resuming from any cut


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_cut_of_journal_and_signals_resumes_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    ingest_made(folder / "undisturbed", n=8)
    after = data.draw(st.integers(1, 7), label="records done")

    def stop(number: int, _: int | None) -> None:
        if number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_made(folder / "c", n=8, progress=stop)
    for name in (JOURNAL, SIGNALS):
        path = partial(folder / "c") / name
        size = path.stat().st_size
        match data.draw(st.sampled_from(["keep", "cut", "zeros", "more", "flip"]), label=name):
            case "cut":
                os.truncate(path, data.draw(st.integers(0, size), label="to"))
            case "zeros":  # what some file systems leave after a power cut
                begin = data.draw(st.integers(0, size), label="from")
                path.write_bytes(path.read_bytes()[:begin] + bytes(size - begin))
            case "more":
                path.write_bytes(path.read_bytes() + data.draw(st.binary(max_size=50), label="more"))
            case "flip" if name == SIGNALS and size:
                held = bytearray(path.read_bytes())
                held[data.draw(st.integers(0, size - 1), label="at")] ^= 1
                path.write_bytes(held)
    ingest_made(folder / "c", n=8)
    assert contents(folder / "c") == contents(folder / "undisturbed")


ROWS = st.lists(
    st.tuples(st.text(min_size=1, max_size=8), st.integers(1, 3), st.integers(1, 20), st.booleans()), max_size=6
)


@settings(deadline=None, max_examples=50)
@given(ROWS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_journal_gives_back_its_rows_up_to_any_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, bool]], cut: int, cut_signals: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    wanted = Settings("s", "r", {}, 100.0, 0, "e")
    entries = []
    for i, (name, leads, samples, rejected) in enumerate(rows):
        values = np.random.default_rng(i).integers(-9, 9, (leads, samples)).astype("<i2")
        row = {"record_id": f"{i}{name}", "path": name}
        if rejected:
            row |= {"rejected": "why"}
        else:
            row |= {"leads": ["I"] * leads, "samples": samples, "waveform": waveform_hash(values)}
        entries.append(JournalEntry.of(row, b"" if rejected else values.tobytes()))
    with Journal(folder, wanted).opened() as journal:
        for entry in entries:
            journal.append(entry)
    assert [row["record_id"] for row in journal.rows()] == [entry.record_id for entry in entries]
    lines, signals = (folder / JOURNAL).read_bytes(), (folder / SIGNALS).read_bytes()
    os.truncate(folder / JOURNAL, min(cut, len(lines)))
    os.truncate(folder / SIGNALS, min(cut_signals, len(signals)))
    again = Journal(folder, wanted)
    whole = 0
    for count in range(len(entries) + 1):
        held = "".join(entry.line + "\n" for entry in entries[:count]).encode()
        needed = sum(len(entry.samples) for entry in entries[:count])
        if len(held) <= cut and needed <= cut_signals:
            whole = count
    assert again.done == whole
    assert (folder / JOURNAL).read_bytes() == "".join(entry.line + "\n" for entry in entries[:whole]).encode()
    assert (folder / SIGNALS).read_bytes() == b"".join(entry.samples for entry in entries[:whole])


# --- one record costs itself alone


def reasons(corpus: Path) -> dict[str, str]:
    import csv

    with (corpus / "rejected.csv").open(newline="", encoding="utf-8") as file:
        return {row["record_id"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("workers", [1, 2])
def test_any_exception_of_a_source_rejects_its_record_with_the_type(tmp_path: Path, workers: int) -> None:
    broken = [
        recording(wave(0)),
        ValueError("zip() argument 2\nis longer"),
        RecursionError(),
        KeyError("x"),
        recording(wave(4)),
    ]
    with listed(broken, {1: {"path": "some/a"}}):
        done = ingest("listed", None, tmp_path / "c", workers=workers)
    assert (done.records, done.rejected) == (2, 3)
    assert reasons(tmp_path / "c") == {
        "r1": "some/a: ValueError: zip() argument 2 is longer", "r2": "r2: RecursionError", "r3": "r3: KeyError: 'x'",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"labels": ("A", "C")}, "label 'C' is no class of task labels; there are: A, B"),
        ({"labels": ("a",)}, "label 'a' is no class of task labels; did you mean 'A'?"),
        ({"label": ("A",)}, "a label of task 'label'; did you mean 'labels'?"),
    ],
)
def test_a_label_outside_the_classes_rejects_its_record(
    tmp_path: Path, labels: dict[str, tuple[str, ...]], reason: str
) -> None:
    with listed([recording(wave(0)), recording(wave(1))], {1: {"labels": labels}}):
        ingest("listed", None, tmp_path / "c", workers=1)
    assert reasons(tmp_path / "c") == {"r1": reason}


@linux
@pytest.mark.parametrize("workers", [1, 2])
def test_a_record_that_hangs_crashes_or_fills_the_memory_is_rejected_with_the_reason(
    tmp_path: Path, workers: int
) -> None:
    class Hostile(Listed):
        recordings = [recording(wave(i)) for i in range(40)]  # noqa: RUF012

        def read(self, entry: Entry) -> Recording:
            match entry.record_id:
                case "r3":
                    time.sleep(60)
                case "r5":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "r7":
                    bytearray(2**30)
            return self.recordings[int(entry.record_id[1:])]

    with known("hostile", Hostile):
        done = ingest("hostile", None, tmp_path / "c", workers=workers, record_timeout_s=1.0, worker_memory_mb=300)
    assert (done.records, done.rejected) == (37, 3)
    assert reasons(tmp_path / "c") == {
        "r3": "r3: not read within 1 s",
        "r5": "r5: ends the process that reads it (killed by SIGKILL)",
        "r7": "r7: MemoryError",
    }
    with listed([recording(wave(i)) for i in range(40)]):
        ingest("listed", None, tmp_path / "d", workers=1, exclude=["r3", "r5", "r7"])
    for name in (SIGNALS, RECORDS):
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "d" / name).read_bytes()


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_killed_or_stopped_neither_ends_nor_blocks_an_ingest(
    tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MADE_WAIT_S, "0.02")

    def strike(number: int, _: int | None) -> None:
        if number == 30:
            os.kill(multiprocessing.active_children()[0].pid or 0, how)

    ingest_made(tmp_path / "c", n=70, workers=2, record_timeout_s=1.0, progress=strike)
    monkeypatch.setenv(MADE_WAIT_S, "0")
    ingest_made(tmp_path / "d", n=70)
    assert contents(tmp_path / "c") == contents(tmp_path / "d")


def test_what_an_ingest_did_stands_in_its_corpus(tmp_path: Path) -> None:
    done = ingest_made(tmp_path / "c")
    assert done.meta == Corpus(tmp_path / "c").meta
    assert done.meta.classes["rhythm"] == {
        name: {
            split: int(count)
            for split in ("train", "val", "test")
            if (count := Corpus(tmp_path / "c").select("rhythm", split).target[:, k].sum())
        }
        for k, name in enumerate("NAO")
    }
    assert done.meta.missing == {"age": round(3 / 11, 4), "site": 0.0}
    assert json.loads((tmp_path / "c" / META).read_text())["fingerprint"] == Corpus(tmp_path / "c").fingerprint
    assert ingestion.RECORD_TIMEOUT_S == 60
