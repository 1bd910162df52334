"""main(): the commands together, and a user's mistake as one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ecgprism.cli import corpora, evidence, models, recordings
from ecgprism.cli.terminal import app, fail, out_console
from ecgprism.errors import EcgprismError

__all__ = ["app", "corpora", "evidence", "main", "models", "recordings"]

USER_ERROR, ALL_REJECTED, INTERRUPTED = 2, 3, 130


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2 (3: all rejected)."""
    try:
        status = app(_plugins_first(sys.argv[1:]), standalone_mode=False)
    except EcgprismError as error:
        fail(str(error), ALL_REJECTED if type(error).__name__ == "AllRejectedError" else USER_ERROR)
    except OSError as error:
        fail(f"{error.filename or 'writing'}: {error.strerror or error}", USER_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        # the parser's own errors: their class lives in click or, in some releases, in typer's copy of it
        wrong_use: Any = error
        if not hasattr(wrong_use, "format_message"):
            raise
        if "NoArgsIsHelp" in type(error).__name__:
            wrong_use.show()
            sys.exit(USER_ERROR)
        fail(wrong_use.format_message(), USER_ERROR)
    if status == INTERRUPTED:  # typer turns Ctrl-C inside a command into this status
        fail("interrupted; run the same command again to go on (train: with --resume)", INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def show_version(wanted: bool) -> None:
    """Print the version and stop, where that is asked for."""
    if wanted:
        from importlib.metadata import version

        out_console.print(f"ecgprism {version('ecgprism')}", highlight=False)
        raise typer.Exit


@app.callback()
def load_plugins(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="a Python file with views, encoders, fusions or sources of your own; it is run (repeatable)"),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="show the version and stop", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    """See one ECG through several views at once, fuse them, and measure what each view is worth."""
    if plugin:
        from ecgprism.registry import load_plugin

        for file in plugin:
            load_plugin(file)


def _plugins_first(words: list[str]) -> list[str]:
    """Return the command line with every --plugin FILE before the command: it may stand anywhere."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += [word, *left]
        elif word == "--plugin":
            first += [word, *(value for value in [next(left, None)] if value is not None)]
        else:
            (first if word.startswith("--plugin=") else rest).append(word)
    return [*first, *rest]
