"""The shape of the package: import direction, names, and what importing it does not do."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ecgprism
from ecgprism.registry import components

ROOT = Path(ecgprism.__file__).parent
FILES = {
    ".".join(("ecgprism", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}
modules = pytest.mark.parametrize("module", FILES)

#: The way of the data through the package: a file or folder imports those above it.
ORDER = [
    *("errors", "extras", "files", "markup", "registry", "catalogue", "config", "archives", "processes"),
    *("ecg", "formats", "interface", "simulator", "sources", "datasets", "corpus"),
    *("runtime", "model", "metrics", "training", "prediction", "classifier", "evidence", "presentation", "cli"),
    "__main__",
]
#: a folder of components -> what its files share and what builds on them; any other file is a component
COMPONENTS = {
    "ecgprism.sources": {
        "array_labels",
        "contract",
        "physionet",
        "columns",
        "labels",
        "split_column",
        "tables",
        "opening",
        "synthesis",
    },
    "ecgprism.model.views": {"beats", "contract", "fourier"},
    "ecgprism.model.encoders": {"contract", "layers"},
    "ecgprism.model.fusions": {"contract", "layers"},
}
#: components that build on another one
BUILDS_ON = {
    "ecgprism.model.views.spectrum": {"ecgprism.model.views.spectrogram"},  # scales its log power alike
    "ecgprism.sources.synthesis": {"ecgprism.sources.simulated"},
}
ALLOWED = {"registry": {"ecgprism.errors"}, "config": {"ecgprism.errors", "ecgprism.registry"}}
#: a library -> the only places that import it
WALLS = {
    "torch": ("ecgprism.model", "ecgprism.training"),
    "lightning": ("ecgprism.training",),
    "matplotlib": ("ecgprism.presentation",),
    "typer": ("ecgprism.cli",),
    "onnxruntime": ("ecgprism.runtime",),
}
#: places that do without a library
WITHOUT = {"ecgprism.ecg": ("pandas",), "ecgprism.interface": ("pandas",)}
LONGEST_MODULE, LONGEST_CLASS, LONGEST_FUNCTION = 500, 200, 60  # lines
NO_NAME_FOR_A_MODULE = {"util", "utils", "helper", "helpers", "base", "manager", "common", "misc", "core", "lib"}
HEAVY = ("torch", "lightning", "pandas", "matplotlib", "scipy", "numpy", "pydantic", "wfdb")


def imported(module: str) -> Iterator[str]:
    """Yield the modules of the package that one imports, at its top or inside a function."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "ecgprism")
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{module}, line {node.lineno}: relative import; write it in full")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ecgprism":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


def outside(module: str) -> set[str]:
    """Return the libraries that a module imports, at its top or inside a function, but for type checkers."""
    for_types = {
        inner
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(TREES[module]):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def part(module: str) -> str:
    """Return the file or folder at the top of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else "ecgprism"


def python(code: str, folder: Path, **environment: str) -> str:
    """Run code in a new interpreter in an empty folder that is its home as well."""
    result = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(code)],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# What importing does not do


def test_importing_the_package_loads_nothing_heavy_and_writes_nothing(tmp_path: Path) -> None:
    out = python(f"import sys, ecgprism; print([name for name in {HEAVY} if name in sys.modules])", tmp_path)
    assert out.strip() == "[]"
    assert list(tmp_path.rglob("*")) == []


def test_listing_components_and_using_a_model_loads_neither_lightning_nor_matplotlib(tmp_path: Path) -> None:
    code = """
        import sys, torch
        from ecgprism import PrismModel, components
        from ecgprism.model.batch import Batch
        from ecgprism.interface.card import InputSpec
        from ecgprism.config import Branch
        from ecgprism.interface.scoring import score
        from ecgprism.model.engine import TorchEngine
        from ecgprism.interface.card import Task

        assert all(components(kind) for kind in ("views", "encoders", "fusions", "sources"))
        branch = Branch(view="spectrum", encoder={"mlp": {"hidden": 4}})
        model = PrismModel(InputSpec(("I",), 100.0, 300), Task("multiclass", ("a", "b")), {"freq": branch}, dim=4)
        model.save("m")
        model = PrismModel.load("m")
        model(Batch(torch.zeros(1, 1, 300), None, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 0)))
        print([name for name in ("lightning", "matplotlib", "tensorboard", "wandb") if name in sys.modules])
    """
    assert python(code, tmp_path).strip() == "[]"
    assert {path.name for path in tmp_path.rglob("*")} == {"m", "model.json", "model.safetensors"}


# Import direction


def inside(module: str, places: Iterable[str]) -> bool:
    """Whether a module is one of the places or lies in one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_every_part_has_its_place_in_the_order() -> None:
    assert sorted({part(module) for module in FILES} - {"ecgprism"}) == sorted(ORDER)


@modules
def test_module_imports_only_parts_above_its_own(module: str) -> None:
    if module == "ecgprism":
        pytest.skip("names everything, loads it on first use")
    for other in imported(module):
        assert other != "ecgprism", f"{module} imports the package's own public names; import from their module"
        if part(other) != part(module):
            assert ORDER.index(part(other)) < ORDER.index(part(module)), f"{module} imports {other}, which is below it"


def test_the_imports_inside_a_folder_have_one_direction() -> None:
    within = {module: {o for o in imported(module) if part(o) == part(module)} - {module} for module in FILES}
    TopologicalSorter(within).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("folder", COMPONENTS)
def test_components_know_what_they_share_and_not_each_other(folder: str) -> None:
    shared = {f"{folder}.{name}" for name in COMPONENTS[folder]}
    components_here = {module for module in FILES if module.startswith(f"{folder}.")} - shared
    for module in components_here | shared:
        assert set(imported(module)) & components_here <= BUILDS_ON.get(module, set()), module


@modules
def test_a_library_is_imported_behind_its_wall_alone(module: str) -> None:
    for library in outside(module):
        assert library not in WALLS or inside(module, WALLS[library]), f"{module} imports {library}"
        for place, libraries in WITHOUT.items():
            assert not inside(module, [place]) or library not in libraries, f"{module} imports {library}"


@pytest.mark.parametrize("module", [name for name, path in FILES.items() if path.name == "__init__.py"])
def test_a_folders_init_holds_nothing_that_loads(module: str) -> None:
    if module != "ecgprism":
        assert [type(node) for node in TREES[module].body] == [ast.Expr], module


@pytest.mark.parametrize("name", ALLOWED)
def test_registry_and_config_know_no_component(name: str) -> None:
    assert set(imported(f"ecgprism.{name}")) <= ALLOWED[name]


# Names


@pytest.mark.parametrize("kind", ["views", "encoders", "fusions", "sources"])
def test_a_component_lives_in_the_file_of_its_name_and_every_such_file_has_one(kind: str) -> None:
    (folder,) = (folder for folder in COMPONENTS if folder.endswith(f".{kind}"))
    own = {name: cls.__module__ for name, cls in components(kind).items() if cls.__module__.startswith("ecgprism.")}
    assert own == {name: f"{folder}.{name}" for name in own}
    files = {module for module in FILES if module.startswith(f"{folder}.")}
    assert files == set(own.values()) | {f"{folder}.{name}" for name in COMPONENTS[folder]}


@modules
def test_module_has_a_name_that_says_something(module: str) -> None:
    words = set(module.rpartition(".")[2].lower().split("_"))
    assert not words & NO_NAME_FOR_A_MODULE


@modules
def test_no_type_has_a_participle_for_a_name(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ClassDef) and node.name != "Gated":  # what the fusion is called in the field
            assert not re.fullmatch(r"_?[A-Z][a-z]+ed", node.name), f"{module}.{node.name}: say what it is"


@modules
def test_no_function_has_the_name_of_its_module(module: str) -> None:
    # modules are nouns, functions verbs: `ecgprism.name` must not be now the one, now the other
    defined = {node.name for node in TREES[module].body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert module.rpartition(".")[2] not in defined


@modules
def test_module_classes_and_functions_are_short(module: str) -> None:
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{lines} lines: make it a folder"
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            most = LONGEST_CLASS if isinstance(node, ast.ClassDef) else LONGEST_FUNCTION
            size = (node.end_lineno or 0) - node.lineno + 1
            assert size <= most, f"{module}.{node.name}: {size} lines: it is two things"


#: where plain dictionaries are what they are: trees of YAML and options, rows of tables with columns of the user's own,
#: states of PyTorch
PLAIN = {
    "config", "registry", "cli.terminal", "sources.opening", "sources.synthesis", "corpus.ingestion", "corpus.summary",
    "corpus.tables", "model.prism", "training.averaging",
}  # fmt: skip


@modules
def test_no_plain_dictionary_crosses_the_border_of_a_module(module: str) -> None:
    if module.removeprefix("ecgprism.") in PLAIN:
        return
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            given = [a.annotation for a in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
            for annotation in filter(None, given):
                assert "[str, Any]" not in ast.unparse(annotation), f"{module}.{node.name}"


# The public names


def test_public_names_are_listed_once_and_all_there() -> None:
    assert ecgprism.__all__ == sorted(set(ecgprism.__all__))
    assert dir(ecgprism) == ecgprism.__all__
    assert set(ecgprism._HOME) == set(ecgprism.__all__)
    for_type_checkers = [
        alias.name
        for node in ast.walk(TREES["ecgprism"])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecgprism.")
        for alias in node.names
    ]
    assert sorted(for_type_checkers) == ecgprism.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ecgprism.nothing


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What `import *` gives, and which public names are something else when asked for a second time."""
    code = """
        before = {"before", *globals()}
        from ecgprism import *
        given = sorted(set(globals()) - before)
        import ecgprism, json
        again = {name: getattr(ecgprism, name) for name in ecgprism.__all__}
        print(json.dumps({"given": given, "changed": [n for n in given if globals()[n] is not again[n]]}))
    """
    return json.loads(python(code, tmp_path_factory.mktemp("public")))


def test_star_import_gives_the_public_names_and_nothing_else(resolved: dict[str, list[str]]) -> None:
    assert resolved["given"] == ecgprism.__all__


def test_a_public_name_is_the_same_thing_whatever_was_imported_before(resolved: dict[str, list[str]]) -> None:
    assert resolved["changed"] == []
    assert {name for name in ecgprism.__all__ if f"ecgprism.{name}" in FILES} == set()


@pytest.mark.parametrize("name", ecgprism.__all__)
def test_public_name_is_defined_where_it_is_said_to_be(name: str) -> None:
    home = TREES[f"ecgprism.{ecgprism._HOME[name]}"]
    assert name in {node.name for node in home.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


# Safety


@modules
def test_module_neither_unpickles_nor_evaluates(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            names = {name.split(".")[0] for name in named}
            assert not names & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        at = f"{FILES[module].name}, line {node.lineno}: {called}"
        assert called != "torch.load" or given.get("weights_only") == "True", at
        assert called not in ("np.load", "numpy.load") or given.get("allow_pickle", "False") == "False", at
        assert called not in ("eval", "exec", "pd.read_pickle", "yaml.load", "yaml.unsafe_load"), at


def test_every_rule_names_what_is_there() -> None:
    named = [*COMPONENTS, *BUILDS_ON, *(other for others in BUILDS_ON.values() for other in others), *WITHOUT]
    named += [place for places in WALLS.values() for place in places]
    named += [f"{folder}.{file}" for folder, files in COMPONENTS.items() for file in files]
    assert [name for name in named if name not in FILES] == []


def test_nothing_goes_around_the_name_of_torch_load() -> None:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "torch":
                assert "load" not in {alias.name for alias in node.names}, module
            if isinstance(node, ast.Import):
                aliases = {alias.name: alias.asname for alias in node.names if alias.name == "torch"}
                assert aliases.get("torch") is None, f"{module} gives torch another name"
