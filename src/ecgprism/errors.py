"""The errors a user can cause. Each is one line that says what came, what was expected, and what to do."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class EcgprismError(Exception):
    """A mistake in what the user gave; the command line shows it as one line, without a traceback."""


class ReadError(EcgprismError):
    """A recording that cannot be read, with the file and the reason."""


class ConfigError(EcgprismError):
    """A configuration that cannot be built, with the key and the nearest valid choice."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a hint `; did you mean 'x'?` (or the choices, when none is near) to end an error message with."""
    known = sorted(choices)
    lowered = {choice.lower(): choice for choice in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    return f"; there are: {', '.join(known)}" if known else ""


def listed(names: Sequence[str], most: int) -> str:
    """Return names as a message has them; of many, the first ones and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as one line: key, value that came, what is wrong, how many more."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "missing":
        return f"{key} is missing{more}"
    what = f"{message[0].lower()}{message[1:]}{more}"
    return f"{key} = {one_line(repr(problem['input']))}: {what}" if key else what


def warn(message: str) -> None:
    """Tell a Python caller of a problem as a warning, at the line of theirs that led to it."""
    level, outermost, frame = 1, 1, inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("ecgprism."):
            outermost = level  # libraries between two frames of ours are not who asked
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=outermost + 1)


def one_line(error: object, most: int = 200) -> str:
    """Return what an exception of another library says as one line; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__
