"""Components of one's own: the documented example from a file, kept with the run, named again by whoever opens it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ecgprism.errors import ConfigError
from ecgprism.registry import components, load_plugin

from .conftest import small_tree

PAGE = Path(__file__).parents[1] / "docs/plugins.md"


def example(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return str(block)


def ecgprism(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ecgprism", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_the_documented_example_trains_and_predicts_with_its_file_and_says_which_without(
    corpus_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "my_parts.py").write_text(example("python"))
    documented = yaml.safe_load(example("yaml"))
    tree = small_tree(corpus_path, epochs=1) | documented
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    trained = ecgprism("train", "config.yaml", "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run/plugins/my_parts.py").read_text() == example("python")
    without = ecgprism("evaluate", "run", cwd=tmp_path)
    assert without.returncode == 2
    assert "there is no 'slope'" in without.stderr
    assert "--plugin run/plugins/my_parts.py" in without.stderr
    for words in (
        ["--plugin", "run/plugins/my_parts.py", "evaluate", "run"],
        ["evaluate", "run", "--plugin=my_parts.py"],
    ):
        evaluated = ecgprism(*words, cwd=tmp_path)
        assert evaluated.returncode == 0, evaluated.stderr
    listed = ecgprism("list", "views", "--plugin", "my_parts.py", cwd=tmp_path)
    assert "slope" in listed.stdout


def test_a_plugin_runs_once_and_may_not_take_a_name(tmp_path: Path) -> None:
    file = tmp_path / "once.py"
    text = "import ecgprism as ep\n@ep.register('fusions', 'of_a_test')\nclass Mine:\n    pass\n"
    file.write_text(text)
    load_plugin(file)
    first = components("fusions")["of_a_test"]
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/once.py").write_text(text)
    load_plugin(tmp_path / "copy/once.py")
    assert components("fusions")["of_a_test"] is first
    file.write_text(text.replace("of_a_test", "concat"))
    with pytest.raises(ConfigError, match="'concat' is already taken"):
        components("fusions")
        load_plugin(file)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken.py", "1 / 0", "plugin .*broken.py: ZeroDivisionError: division by zero"),
        ("syntax.py", "def", "plugin .*syntax.py: SyntaxError"),
        ("data.txt", "", "expected a Python file"),
    ],
)
def test_a_plugin_that_fails_is_one_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_plugin(tmp_path / name)
    with pytest.raises(ConfigError, match="No such file"):
        load_plugin(tmp_path / "none.py")
