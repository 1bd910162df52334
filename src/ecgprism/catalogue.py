"""What components there are, read from their files without running them: listing views must not load PyTorch."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from ecgprism.registry import FOLDERS, components, options, registered

GIVEN_BY_CALLER = {"views": 1, "encoders": 2, "fusions": 2, "sources": 0}


@dataclass(frozen=True)
class Description:
    """A component by name, its options as `option=default`, and what it is in a sentence or two."""

    name: str
    options: tuple[str, ...]
    summary: str


def described(kind: str) -> list[Description]:
    """Return every component of `kind`, by name: built-in ones, those of installed packages and of plugins."""
    given = GIVEN_BY_CALLER[kind]
    if "torch" in sys.modules or entry_points(group=f"ecgprism.{kind}"):
        return [_of_class(name, cls, given) for name, cls in components(kind).items()]
    folder = Path(importlib.import_module(FOLDERS[kind]).__path__[0])
    found = {each.name: each for file in sorted(folder.glob("*.py")) for each in _in_file(file, kind, given)}
    found |= {name: _of_class(name, cls, given) for name, cls in registered(kind).items()}
    return [found[name] for name in sorted(found)]


def _of_class(name: str, cls: type, given: int) -> Description:
    known = options(cls, given).values()
    shown = tuple(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in known)
    return Description(name, shown, _summary(inspect.getdoc(cls)))


def _in_file(file: Path, kind: str, given: int) -> Iterator[Description]:
    """Yield the components that a file registers, as its text has them; where that does not tell, the file is run."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        name = _registered_as(node, kind) if isinstance(node, ast.ClassDef) else None
        if name is None or not isinstance(node, ast.ClassDef):
            continue
        try:
            yield Description(name, tuple(_options(node, given)), _summary(ast.get_docstring(node)))
        except ValueError:  # a default that is no literal
            module = importlib.import_module(f"{FOLDERS[kind]}.{file.stem}")
            yield _of_class(name, getattr(module, node.name), given)


def _registered_as(node: ast.ClassDef, kind: str) -> str | None:
    """Return the name that a class has in the registry, None where it is no component of `kind`."""
    for call in node.decorator_list:
        if isinstance(call, ast.Call):
            words = [each.value for each in call.args if isinstance(each, ast.Constant)]
            if words[:1] == [kind] and len(words) == 2:
                return str(words[1])
    return None


def _options(node: ast.ClassDef, given: int) -> Iterator[str]:
    """Yield the options of a component: its constructor's arguments, less `self` and those that the caller gives.

    Raises ValueError for a default that is no literal, and for a constructor that stands elsewhere.
    """
    made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if not made and node.bases:
        raise ValueError(f"{node.name}: its constructor is inherited")
    for function in made:
        plain = [*function.args.posonlyargs, *function.args.args]
        defaults = [None] * (len(plain) - len(function.args.defaults)) + list(function.args.defaults)
        named = list(zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True))
        for argument, default in [*zip(plain, defaults, strict=True), *named][1 + given :]:
            yield argument.arg if default is None else f"{argument.arg}={ast.literal_eval(default)}"


def _summary(text: str | None) -> str:
    return (text or "").split("\n\n")[0].replace("\n", " ")
