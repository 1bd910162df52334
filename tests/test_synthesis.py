"""Simulated records as files: whole or not at all, and nobody else's files are deleted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.files import locked
from ecgprism.sources.opening import open_source
from ecgprism.sources.synthesis import MANIFEST, synthesise


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return names(synthesise(4, tmp_path_factory.mktemp("fine") / "sim", workers=1))


def test_an_overwrite_replaces_every_file_and_leaves_nothing_beside(tmp_path: Path, written: list[str]) -> None:
    out = synthesise(9, tmp_path / "sim", workers=1)
    with pytest.raises(EcgprismError, match="exists already"):
        synthesise(4, out, workers=1)
    synthesise(4, out, workers=1, overwrite=True)
    assert names(out) == written
    assert names(tmp_path)[0] == "sim"
    assert [path.name for path in tmp_path.iterdir()] == ["sim"]


@pytest.mark.parametrize("foreign", ["thesis.docx", "wfdb/notes.txt", "wfdb/patient_1.hea", "plots/one.png"])
@pytest.mark.parametrize("where", ["sim", "sim.partial", ".sim.replaced"])
def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path, foreign: str, where: str) -> None:
    synthesise(2, tmp_path / "sim", workers=1)
    kept = tmp_path / where / foreign
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(EcgprismError, match="besides simulated records"):
        synthesise(4, tmp_path / "sim", workers=1, overwrite=True)
    assert kept.read_text() == "mine"
    assert len(pd.read_csv(tmp_path / "sim" / MANIFEST)) == 2


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = synthesise(2, tmp_path / "sim", workers=1)
    before = {name: (out / name).read_bytes() for name in names(out) if (out / name).is_file()}

    def full(done: int, total: int) -> None:
        if done == total:
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        synthesise(4, out, workers=1, overwrite=True, progress=full)
    assert {name: (out / name).read_bytes() for name in names(out) if (out / name).is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["sim"]
    synthesise(4, out, workers=1, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["sim"]


def test_what_a_killed_overwrite_left_is_picked_up(tmp_path: Path, written: list[str]) -> None:
    out = synthesise(2, tmp_path / "sim", workers=1)
    out.rename(tmp_path / ".sim.replaced")  # killed between its two renames
    (tmp_path / "sim.partial" / "wfdb").mkdir(parents=True)
    (tmp_path / "sim.partial" / "wfdb" / "sim_000000.hea").touch()
    with pytest.raises(EcgprismError, match="exists already"):
        synthesise(4, out, workers=1)
    assert len(pd.read_csv(out / MANIFEST)) == 2
    synthesise(4, out, workers=1, overwrite=True)
    assert names(out) == written
    assert [path.name for path in tmp_path.iterdir()] == ["sim"]


def test_one_process_writes_a_folder_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "sim.partial").mkdir()
    with locked(tmp_path / "sim.partial", "simulation"), pytest.raises(EcgprismError, match="another simulation"):
        synthesise(2, tmp_path / "sim", workers=1)


@pytest.mark.parametrize(
    "option", [{"rate_hz": 50_000.0}, {"rate_hz": 10.0}, {"duration_s": 1e9}, {"duration_s": float("inf")}]
)
def test_what_no_device_records_is_refused(tmp_path: Path, option: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        open_source("simulated", None, option)


def test_a_link_stays_a_link_and_what_it_points_at_is_replaced(tmp_path: Path, written: list[str]) -> None:
    synthesise(2, tmp_path / "disk" / "sim", workers=1)
    (tmp_path / "sim").symlink_to(tmp_path / "disk" / "sim")
    synthesise(4, tmp_path / "sim", workers=1, overwrite=True)
    assert (tmp_path / "sim").is_symlink()
    assert names(tmp_path / "disk" / "sim") == written
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["sim"]
