"""The notebooks: they run in a fresh kernel, and what is kept of them is what was run."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path("docs/tutorials")


def tutorials() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorials", "bench/tutorials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorials"] = module
    spec.loader.exec_module(module)
    return module


TUTORIALS = tutorials()


@pytest.mark.parametrize("name", TUTORIALS.NOTEBOOKS)
def test_a_notebook_is_kept_with_its_outputs_and_runs(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 300_000
    assert ["".join(cell["source"]) for cell in kept["cells"]] == TUTORIALS.NOTEBOOKS[name]
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert sum(bool(cell["outputs"]) for cell in code) >= len(code) - 2
    assert not any(each["output_type"] == "error" for cell in code for each in cell["outputs"])
    for text in ("Warning", "/tmp", "/work", "/home"):
        assert text not in json.dumps([cell["outputs"] for cell in code])
    ran = TUTORIALS.executed(TUTORIALS.notebook(TUTORIALS.NOTEBOOKS[name]))
    for before, now in zip(kept["cells"], ran.cells, strict=True):
        assert kinds(before) == kinds(now)


def kinds(cell: Mapping[str, Any]) -> list[str]:
    """Return what a cell shows; texts that a training prints line by line arrive in any number of pieces."""
    found = [each["output_type"] for each in cell.get("outputs", ())]
    return sorted(each for each in found if each != "stream") + ["stream"] * ("stream" in found)


def test_the_notebooks_are_linked_where_people_begin() -> None:
    for page in ("README.md", "docs/python.md"):
        text = Path(page).read_text(encoding="utf-8")
        for name in TUTORIALS.NOTEBOOKS:
            assert f"tutorials/{name}.ipynb" in text
