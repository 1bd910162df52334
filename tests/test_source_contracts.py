"""The contract of sources: options, entries, labels, workers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ecgprism import registry
from ecgprism.errors import ConfigError
from ecgprism.registry import check_options, find
from ecgprism.sources.contract import ItemSource, Source
from tests.contract_parts import sources

from .data_sets import write_challenge, write_ludb, write_mitbih


def ptbxl_root(folder: Path) -> Path:
    (folder / "ptbxl_database.csv").write_text(
        "ecg_id,patient_id,age,sex,height,weight,scp_codes,strat_fold,filename_lr,filename_hr\n"
        "1,15709.0,56.0,1,,63.0,\"{'NORM': 100.0, 'SR': 0.0}\",3,records100/00000/00001_lr,records500/00000/00001_hr\n"
        "2,,300.0,0,,,\"{'IMI': 15.0}\",10,records100/00000/00002_lr,records500/00000/00002_hr\n"
    )
    (folder / "scp_statements.csv").write_text(
        ",diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "NORM,1.0,,,NORM,NORM\nIMI,1.0,,,MI,IMI\nSR,,,1.0,,\n"
    )
    return folder


def cinc2017_root(folder: Path) -> Path:
    (folder / "REFERENCE.csv").write_text("A00001,N\nA00002,~\n")
    return folder


def manifest_root(folder: Path) -> Path:
    (folder / "manifest.csv").write_text("path,patient_id,labels,age\na,p1,one|two,50\nb,,two,\n")
    return folder


def challenge2021_root(folder: Path) -> Path:
    return write_challenge(folder, {"g1/JS1": "426783006", "g2/E1": "164889003,1"})


def ludb_root(folder: Path) -> Path:
    return write_ludb(folder, {"1": "Sinus rhythm", "2": "Atrial fibrillation"})


def arrays_root(folder: Path) -> Path:
    np.save(folder / "signals.npy", np.random.default_rng(0).normal(0, 100, (2, 1, 500)).astype(np.float32))
    (folder / "labels.csv").write_text("record_id,patient_id,labels\na,p1,AF\nb,p2,N\n")
    return folder / "signals.npy"


ROOTS = {
    "ptbxl": ptbxl_root, "cinc2017": cinc2017_root, "manifest": manifest_root, "mitbih": write_mitbih,
    "challenge2021": challenge2021_root, "ludb": ludb_root, "arrays": arrays_root,
}  # fmt: skip


# options that a source has no defaults for; relative to the folder of the test
SAID = {"arrays": {"labels": "labels.csv", "rate_hz": 250.0, "unit": "uV", "leads": "II"}}


@pytest.fixture
def source(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The source with its defaults, over two records (a folder of its layout where it needs one)."""
    monkeypatch.chdir(tmp_path)
    wanted = registry.options(find("sources", name))
    if "root" in wanted:
        if name not in ROOTS:
            pytest.fail(f"no example folder of {name}: add one to ROOTS")
        root = ROOTS[name](tmp_path)
        return find("sources", name)(root, **check_options("sources", name, SAID.get(name, {}), 1))
    return find("sources", name)(**check_options("sources", name, {"n": 2} if "n" in wanted else {}))


@sources
def test_source_is_described_and_refuses_an_unknown_option_with_the_nearest_name(name: str) -> None:
    cls = find("sources", name)
    assert (cls.__doc__ or "").strip()
    given = int("root" in registry.options(cls))
    known = list(registry.options(cls, given))
    with pytest.raises(ConfigError, match=f"{name} has no option 'zzz'"):
        check_options("sources", name, {"zzz": 1}, given)
    for option in known:
        with pytest.raises(ConfigError, match=f"{name} has no option '{option}_'; did you mean '{option}'?"):
            check_options("sources", name, {f"{option}_": 1}, given)


@sources
def test_source_yields_the_same_entries_every_time_with_labels_of_its_tasks(name: str, source: Source) -> None:
    entries = list(source.entries())
    assert len(entries) == 2
    assert entries == list(source.entries())
    assert len({entry.record_id for entry in entries}) == 2
    assert dict(source.lead_aliases) == {str(a): str(b) for a, b in source.lead_aliases.items()}
    seen = set()
    for entry in entries:
        held = [entry.labels]
        if isinstance(source, ItemSource):
            held = [item.labels for item in source.items(entry, source.read(entry))[0]]
        for key, labels in ((key, labels) for labels_of in held for key, labels in labels_of.items()):
            task = source.tasks[key]
            seen.add(key)
            assert set(labels) <= set(task.classes)
            assert task.kind == "multilabel" or len(labels) == 1
    assert seen, "no entry has a label"
    assert all(task.kind in ("multilabel", "multiclass") for task in source.tasks.values())


@sources
def test_source_goes_to_a_worker_process(name: str, source: Source) -> None:
    twin = pickle.loads(pickle.dumps(source))
    assert list(twin.entries()) == list(source.entries())
    assert dict(twin.tasks) == dict(source.tasks)
    if name == "simulated":
        entry = next(iter(source.entries()))
        assert np.array_equal(source.read(entry).signal, twin.read(entry).signal)
