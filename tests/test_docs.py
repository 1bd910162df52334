"""README and docs: what they show runs, what they link to exists."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from ecgprism.config import parse_config, read_config
from ecgprism.registry import check_options
from ecgprism.simulator.conditions import CONDITIONS

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("python")
    exec(compile(snippet, "README.md", "exec"), {})
    assert (tmp_path / "runs/sim/metrics.json").is_file()


def test_the_python_of_the_simulators_page_runs_and_every_condition_has_its_picture() -> None:
    (snippet,) = blocks("python", "docs/simulator.md")
    exec(compile(snippet, "simulator.md", "exec"), {})
    text = (ROOT / "docs/simulator.md").read_text()
    for name, condition in CONDITIONS.items():
        assert f"## {condition.title}\n" in text
        assert f"`{name}`: {condition.quantity} {condition.low:g} (severity 0) to {condition.high:g}" in text


def test_the_configuration_of_the_readme_is_valid() -> None:
    (snippet,) = blocks("yaml")
    config = parse_config(yaml.safe_load(snippet))
    for branch in config.views.values():
        check_options("views", branch.view.name, branch.view.options, 1)
        check_options("encoders", branch.encoder.name, branch.encoder.options, 2)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_that_is_shipped_is_valid(path: Path) -> None:
    config = read_config(path)
    for branch in config.views.values():
        check_options("views", branch.view.name, branch.view.options, 1)
        check_options("encoders", branch.encoder.name, branch.encoder.options, 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_architecture_page_names_every_part_and_draws_it_as_it_is() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for path in (ROOT / "src/ecgprism").iterdir():
        if not path.name.startswith("__") and path.suffix in ("", ".py"):
            assert f"`{path.name}" in text, path.name
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        structure = importlib.import_module("structure")
    finally:
        sys.path.pop(0)
    assert structure.mermaid() in text, "run python bench/structure.py --write"


def test_the_walks_of_the_architecture_page_exist_and_are_short() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`([a-z_.]+):([A-Za-z_.]+)`", text)
    assert len(named) >= 18
    for module, name in named:
        found = importlib.import_module(f"ecgprism.{module}")
        for part in name.split("."):
            found = getattr(found, part)
    walk = text[text.index("A source becomes a gradient") :]
    hops = re.findall(r"^\d\. `([a-z_.]+):([A-Za-z_.]+)`", walk, flags=re.MULTILINE)
    assert [name for _, name in hops] == ["train", "fit", "_train", "TrainingModule.training_step", "total"]
    calls = {
        "fit": "_fit(",
        "_train": "trainer.fit(module)",
    }  # fit holds the folder around _fit; Lightning calls the step
    for (module, caller), (_, callee) in pairwise(hops):
        source = inspect.getsource(importlib.import_module(f"ecgprism.{module}"))
        assert calls.get(caller, f"{callee.rpartition('.')[2]}(") in source, (caller, callee)


def test_the_page_on_python_runs_from_its_first_line_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in blocks("python", "docs/python.md"):
        exec(compile(block, "docs/python.md", "exec"), scope)
    assert scope["report"].records == 120
    assert len(scope["table"]) == len(scope["vectors"]) == 5
    assert scope["tuned"].model.task.classes == ("NORM", "MI")
    assert len(scope["scores"]) == 2
