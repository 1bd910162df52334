"""What the commands share: the application, the two consoles, progress, and words turned into values."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console

from ecgprism.errors import EcgprismError

if TYPE_CHECKING:
    from ecgprism.formats.contract import Declaration

app = typer.Typer(
    name="ecgprism",
    help="See one ECG through several views at once, fuse them, and measure what each view is worth.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class TerminalConsole(Console):
    """A console whose reader may go away (`| head`): what is left to say is said to nobody, and the work goes on."""

    def on_broken_pipe(self) -> None:
        """Be quiet from now on."""
        self.quiet = True
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123  (no path)
            os.dup2(nowhere.fileno(), self.file.fileno())


out_console, err_console = TerminalConsole(), TerminalConsole(stderr=True)


def fail(message: str, status: int) -> None:
    """End the program with one line on stderr and an exit status."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


@contextmanager
def progress_bar(what: str) -> Iterator[Any]:
    """Show a progress bar on stderr; yields update(done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    bar = Progress(*columns, console=err_console, transient=True)
    task = bar.add_task(what, total=None, rate="")
    began, first = time.monotonic(), None

    def update(done: int, total: int | None) -> None:
        nonlocal first
        if first is None:  # worker processes are forked after this call: the drawing thread starts at the next
            first = done
            return
        if not bar.live.is_started:
            bar.start()
        rate = (done - first) / max(time.monotonic() - began, 1e-9)
        bar.update(task, completed=done, total=total, rate=f"{rate:.0f}/s")

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


def needed(path: Path | None, option: str) -> Path:
    """Return the path of an option that a command cannot do without. Raises EcgprismError."""
    if path is None:
        raise EcgprismError(f"say where the result goes with {option}")
    return path


def parent_made(path: Path) -> Path:
    """Return a path after making the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def say(message: str) -> None:
    """Tell the user something on stderr."""
    print(f"note: {message}", file=sys.stderr)


def key_values(texts: list[str]) -> dict[str, Any]:
    """Return `key=value` words as values (YAML). Raises EcgprismError."""
    parsed = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise EcgprismError(f"{text!r}: expected key=value")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed[key] = value
    return parsed


def names(texts: list[str] | None) -> dict[str, str]:
    """Return `NAME=COLUMN` words as names. Raises EcgprismError."""
    return {key: str(value) for key, value in key_values(texts or []).items()}


#: what every command that reads recordings lets its user say of them
LeadOption = Annotated[list[str] | None, typer.Option(help="a lead's spelling, as in ECG=I or 'ECG#2=V1' (repeatable)")]
RateOption = Annotated[float | None, typer.Option(help="sampling rate in Hz, where the file does not say it")]
UnitOption = Annotated[str | None, typer.Option(help="unit, where the file does not say it: mV, uV, nV, V, or 5uV")]
LeadsOption = Annotated[
    str | None, typer.Option(help="leads of the channels by position, as in I,II,-,V1, or those to be read")
]
ZeroOption = Annotated[float | None, typer.Option(help="the number that means 0 mV in a table, as in 1024")]
DamagedOption = Annotated[
    bool, typer.Option("--accept-damaged", help="read files whose sums or lengths do not fit, and say so")
]
#: of every command that has something to tell a program
JsonOption = Annotated[bool, typer.Option("--json", help="print the result as JSON, and nothing else")]


def print_json(value: object) -> None:
    """Print a value as one JSON text; what is undefined is null."""
    import json

    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return what JSON has for a value: no NaN, no tuples, no types of NumPy."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def declaration(
    lead: list[str] | None,
    rate: float | None,
    unit: str | None,
    leads: str | None,
    zero: float | None,
    accept_damaged: bool,
) -> Declaration:
    """Return what these options say of a file. Raises EcgprismError, with the nearest lead."""
    from ecgprism.formats.contract import Declaration

    given = tuple(name.strip() for name in leads.split(",")) if leads else None
    return Declaration(lead_aliases(lead), rate, unit, given, zero, accept_damaged)


def lead_aliases(texts: list[str] | None) -> dict[str, str]:
    """Return `SPELLING=LEAD` words by spelling. Raises EcgprismError, with the nearest lead."""
    from ecgprism.ecg.leads import LEADS
    from ecgprism.errors import nearest

    aliases = {key: str(value) for key, value in key_values(texts or []).items()}
    for spelling, lead in aliases.items():
        if lead not in LEADS:
            raise EcgprismError(f"--lead {spelling}={lead}: {lead!r} is no lead{nearest(lead, LEADS)}")
    return aliases
