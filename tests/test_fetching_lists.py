"""Lists of files and sums: hostile names, lists without end, damage in any byte."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecgprism.datasets import fetching
from ecgprism.datasets.listing import parsed_sums, refusal
from ecgprism.errors import EcgprismError
from tests.replica import FILES, SUMS, Replica, failure, replica, tiny

__all__ = ["replica", "tiny"]  # fixtures

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
