"""Optional packages have one home that agrees with pyproject; devices and precisions that are not there are refused."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import typer

import ecgprism as ep
from ecgprism.cli.entry import app
from ecgprism.config import Train
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.extras import EXTRAS, library
from ecgprism.training.devices import check_device, trainer_options

from .conftest import small_tree

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
NAMES = {"scikit-learn": "sklearn", "mlflow-skinny": "mlflow"}  # on PyPI -> as imported
BESIDE = {"alembic", "sqlalchemy"}  # what mlflow-skinny keeps its runs with


def test_every_extra_installs_what_is_imported_and_nothing_else() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    found = {
        NAMES.get(name, name): extra
        for extra, needed in extras.items()
        if extra != "dev"
        for name in (re.split(r"[<>=\[]", each)[0] for each in needed)
        if name not in BESIDE
    }
    assert found == EXTRAS


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(EcgprismError, match=r"^a.xlsx: reading Excel needs openpyxl: pip install 'ecgprism\[excel\]'$"):
        library("openpyxl", "a.xlsx: reading Excel")


@pytest.mark.parametrize("given, said", [
    ({"devices": 2}, r"a training takes one device: 1, or \[2\]"),
    ({"devices": [0, 1]}, "a training takes one device"),
    ({"precision": "64"}, "precision"),
])  # fmt: skip
def test_what_no_machine_trains_on_is_refused_by_the_configuration(
    given: dict[str, object], said: str, corpus_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        ep.Config(**small_tree(corpus_path, **given))


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
@pytest.mark.parametrize("given, said", [
    ({"device": "cuda"}, r"train.device = 'cuda': this machine has none; there are: auto, cpu"),
    ({"device": "cpu", "devices": [1]}, r"train.devices = \[1\]: of cpu this machine has 1: \[0\]"),
    ({"device": "cpu", "precision": "16-mixed"}, r"train.precision = '16-mixed': cpu does not train in it"),
])  # fmt: skip
def test_what_this_machine_lacks_leaves_no_folder(
    given: dict[str, object], said: str, corpus_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        ep.fit(ep.Config(**small_tree(corpus_path, **given)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_devices_and_precision_reach_lightning_under_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trainer_options(Train(device="cpu", devices=[0], precision="bf16")) == ("cpu", 1, "bf16-mixed")
    assert trainer_options(Train(device="cpu", precision=32)).precision == "32-true"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert trainer_options(Train(devices=[2])) == ("gpu", [2], "bf16-mixed")
    with pytest.raises(ConfigError, match=r"of cuda this machine has 4: \[0\] to \[3\]"):
        check_device(Train(devices=[4]))


def test_every_command_has_its_function() -> None:
    """By the command's name; `list` would hide Python's own, `datasets` is a package, the demo is a tour."""
    others = {"list": "components", "datasets": "datasets_table", "corpus": "Corpus", "train": "fit"}
    for name in typer.main.get_command(app).commands:
        if name != "demo":
            assert callable(getattr(ep, others.get(name, name))), name
