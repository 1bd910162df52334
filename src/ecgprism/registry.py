"""Name -> class for sources, views, encoders and fusions; options checked against the constructor's signature.

A component is one file in the folder of its kind, found by listing that folder. Others come from installed packages
(entry points) and from files that a user names (`load_plugin`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from ecgprism.errors import ConfigError, first_problem, nearest, one_line

T = TypeVar("T")

#: kind -> folder that holds a file of each built-in component; entry points are in the group `ecgprism.<kind>`
FOLDERS = {
    "sources": "ecgprism.sources",
    "views": "ecgprism.model.views",
    "encoders": "ecgprism.model.encoders",
    "fusions": "ecgprism.model.fusions",
}
_PLUGIN = "ecgprism_plugin_"
_components: dict[str, dict[str, type]] = {kind: {} for kind in FOLDERS}
_listed: set[str] = set()


def register(kind: str, name: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: make a component known as `name` among the components of `kind`."""

    def add(cls: type[T]) -> type[T]:
        known = _components[kind].get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"{kind}: {name!r} is already taken by {known.__module__}.{known.__qualname__}")
        _components[kind][name] = cls
        return cls

    return add


def components(kind: str) -> dict[str, type]:
    """Return every component of `kind` by name: the built-in ones, those of installed packages and of plugins."""
    if kind not in FOLDERS:
        raise ConfigError(f"no components of kind {kind!r}{nearest(kind, FOLDERS)}")
    if kind not in _listed:
        folder = importlib.import_module(FOLDERS[kind])
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            importlib.import_module(module.name)
        for point in entry_points(group=f"ecgprism.{kind}"):
            register(kind, point.name)(point.load())
        _listed.add(kind)
    return dict(sorted(_components[kind].items()))


def registered(kind: str) -> dict[str, type]:
    """Return the components of `kind` that are loaded by now."""
    return dict(_components[kind])


def load_plugin(file: str | Path) -> Path:
    """Run a Python file that registers components, once for the same content; returns its absolute path.

    It runs with all rights of this process, so only files that the user names are loaded, never those that a model
    names. Raises ConfigError for one that is missing or fails.
    """
    path = Path(file).resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"plugin {file}: {error.strerror or error}") from None
    name = f"{_PLUGIN}{path.stem}_{hashlib.sha256(content).hexdigest()[:12]}"
    if name in sys.modules:
        return path
    spec = importlib.util.spec_from_file_location(name, path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ConfigError(f"plugin {file}: expected a Python file, as in my_view.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        del sys.modules[name]
        raise
    except Exception as error:  # whatever the user's code raises is theirs to mend
        del sys.modules[name]
        raise ConfigError(f"plugin {file}: {type(error).__name__}: {one_line(error)}") from None
    return path


def plugins_of(classes: Iterable[type]) -> tuple[str, ...]:
    """Return the names of the plugin files that define some classes."""
    files = {sys.modules[cls.__module__].__file__ for cls in classes if cls.__module__.startswith(_PLUGIN)}
    return tuple(sorted(Path(file).name for file in files if file))


def find(kind: str, name: str) -> type:
    """Return the class registered as `name`. Raises ConfigError with the nearest name when there is none."""
    known = components(kind)
    if name not in known:
        raise ConfigError(f"{kind}: there is no {name!r}{nearest(name, known)}")
    return known[name]


def options(cls: type, given_by_caller: int = 0) -> dict[str, inspect.Parameter]:
    """Return the options of a component: its constructor's arguments, less the first ones that the caller supplies."""
    parameters = list(inspect.signature(cls).parameters.values())[given_by_caller:]
    return {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def all_options(kind: str, name: str, given: Mapping[str, Any], given_by_caller: int) -> dict[str, Any]:
    """Return the options of a component, those at their defaults too; its first arguments are the caller's."""
    known = options(find(kind, name), given_by_caller)
    return {**{key: p.default for key, p in known.items() if p.default is not p.empty}, **given}


def check_options(
    kind: str, name: str, given: Mapping[str, Any], given_by_caller: int = 0, where: str = ""
) -> dict[str, Any]:
    """Validate options against the constructor's signature and return them converted.

    `where` names the place in the configuration for the message. Raises ConfigError for an unknown option (with the
    nearest name), a wrong type, an impossible value or a missing required option.
    """
    cls = find(kind, name)
    at = where or name
    known = options(cls, given_by_caller)
    for key in given:
        if key not in known:
            raise ConfigError(f"{at}: {name} has no option {key!r}{nearest(key, known)}")
    hints = get_type_hints(vars(cls).get("__init__", cls), include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default) for p in known.values()
    }
    model = create_model(f"{name}_options", __config__=ConfigDict(arbitrary_types_allowed=True), **fields)
    try:
        checked = model(**given)
    except ValidationError as error:
        raise ConfigError(f"{at}: {first_problem(error)}") from None
    return {key: getattr(checked, key) for key in given}
