"""Name -> class for sources, views, encoders and fusions; options checked against the constructor's signature."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from ecgprism.errors import ConfigError, nearest

T = TypeVar("T")

#: kind -> module whose import registers the built-in components of that kind
_BUILT_IN = {
    "sources": "ecgprism.sources",
    "views": "ecgprism.views",
    "encoders": "ecgprism.encoders",
    "fusions": "ecgprism.fusion",
}
#: kind -> entry point group through which other packages add components
_ENTRY_POINTS = {kind: f"ecgprism.{'fusion' if kind == 'fusions' else kind}" for kind in _BUILT_IN}
_components: dict[str, dict[str, type]] = {kind: {} for kind in _BUILT_IN}
_loaded: set[str] = set()


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
    """Return every component of `kind` by name: the built-in ones and those of installed packages."""
    if kind not in _BUILT_IN:
        raise ConfigError(f"no components of kind {kind!r}{nearest(kind, _BUILT_IN)}")
    if kind not in _loaded:
        importlib.import_module(_BUILT_IN[kind])
        for point in entry_points(group=_ENTRY_POINTS[kind]):
            register(kind, point.name)(point.load())
        _loaded.add(kind)
    return dict(sorted(_components[kind].items()))


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


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as one line: key, value that came, what is wrong."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"]) or "value"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "missing":
        return f"{key} is missing{more}"
    return f"{key} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}{more}"
