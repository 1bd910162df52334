"""Components as their files describe them: what running them would say, without running them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecgprism.catalogue import GIVEN_BY_CALLER, _in_file, _of_class, described
from ecgprism.registry import FOLDERS, components


@pytest.mark.parametrize("kind", sorted(FOLDERS))
def test_the_text_of_a_file_says_what_its_class_does(kind: str) -> None:
    given = GIVEN_BY_CALLER[kind]
    folder = Path("src") / FOLDERS[kind].replace(".", "/")
    read = {each.name: each for file in folder.glob("*.py") for each in _in_file(file, kind, given)}
    assert read == {name: _of_class(name, cls, given) for name, cls in components(kind).items()}


def test_listing_loads_no_torch_and_knows_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from ecgprism.registry import register\n"
        "@register('sources', 'mine')\n"
        "class Mine:\n"
        "    '''My own recordings.'''\n"
        "    def __init__(self, root, season: str = 'spring'):\n"
        "        '''Nothing.'''\n"
    )
    code = (
        "import sys\n"
        "from ecgprism.catalogue import described\n"
        "from ecgprism.registry import load_plugin\n"
        "load_plugin('mine.py')\n"
        "for kind in ('views', 'encoders', 'fusions', 'sources'):\n"
        "    print(kind, [(each.name, each.options) for each in described(kind) if each.name in ('mine', 'mlp')])\n"
        "print([name for name in ('torch', 'lightning', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.splitlines()
    assert done[1] == "encoders [('mlp', ('hidden=128', 'dropout=0.2'))]"
    assert done[3] == "sources [('mine', ('root', 'season=spring'))]"
    assert done[4] == "[]"


def test_every_kind_is_listed_where_none_is_named() -> None:
    done = subprocess.run([sys.executable, "-m", "ecgprism", "list"], capture_output=True, text=True, check=True).stdout
    for name in ("rhythm", "bilstm", "bottleneck", "cinc2017"):
        assert name in done
    assert all(each.summary for each in described("views"))
