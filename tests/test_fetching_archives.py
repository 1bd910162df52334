"""Data sets that come packed: unpacked whole or not at all, bounded, within their folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ecgprism.datasets.catalogue import DATASETS
from ecgprism.registry import find
from tests.replica import SUMS, Replica, Usage, failure, pack, replica, run, tiny, zipped

__all__ = ["replica", "tiny"]  # fixtures

RECORDS = {
    "training2017/REFERENCE.csv": b"A00001,N\nA00002,A\n",
    "training2017/A00001.hea": b"h" * 30,
    "training2017/A00001.mat": os.urandom(3000),
}


def test_an_archive_is_unpacked_and_its_source_reads_it(replica: Replica, tmp_path: Path) -> None:
    pack(replica, zipped({"training2017/": b"", **RECORDS}))
    run(replica, tmp_path, name="cinc2017")
    assert {name: (tmp_path / name).read_bytes() for name in RECORDS} == RECORDS
    assert not (tmp_path / "x").exists()
    assert json.loads((tmp_path / "dataset.json").read_text())["unpacked"] == {"training2017.zip": 3}
    source = find("sources", "cinc2017")(tmp_path)
    # the last labels, beside the archive, go before those in it
    assert [entry.record_id for entry in source.entries()] == ["A00001"]
    first = find("sources", "cinc2017")(tmp_path, reference="REFERENCE.csv")
    assert [entry.record_id for entry in first.entries()] == ["A00001", "A00002"]


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
