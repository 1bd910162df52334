"""Commands on evidence: ablate, compare, stress."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ecgprism.cli.terminal import app, err_console, needed, out_console

if TYPE_CHECKING:
    from ecgprism.ablation import Told


@app.command()
def ablate(
    config: Annotated[Path, typer.Argument(help="YAML configuration with two views or more")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in train.epochs=3")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the trainings and the ledger")] = None,
    seeds: Annotated[int, typer.Option(help="trainings per model, judged as one ensemble", min=1)] = 3,
    folds: Annotated[int, typer.Option(help="cross-validate by patient (0: the corpus's own split)", min=0)] = 0,
    workers: Annotated[int | None, typer.Option(help="trainings at a time (default: one per core)", min=1)] = None,
    threads: Annotated[int, typer.Option(help="threads of each training", min=1)] = 1,
    resamples: Annotated[int, typer.Option(help="bootstrap resamples", min=2)] = 1000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace another ablation")] = False,
) -> None:
    """Find out what each view is worth: every view alone, the model without it, the whole, and controls of its size.

    The same command goes on after a kill. Writes ledger.json, ledger.png and every run.

    Examples: `ecgprism ablate configs/cinc2017.yaml --out ablations/cinc --seeds 1 --folds 5` ·
    `ecgprism ablate configs/ptbxl.yaml train.epochs=10 --out ablations/ptbxl --workers 2`
    """
    from ecgprism.config import read_config
    from ecgprism.ledger import ablate as run_ablation
    from ecgprism.plots import draw_ledger

    parsed = read_config(config, overrides or ())
    target = needed(out, "--out DIR")
    at_a_time = workers or _workers(parsed.train.device, threads)
    with _progress() as told:
        ledger = run_ablation(
            parsed, target, seeds=seeds, folds=folds, workers=at_a_time, threads=threads, resamples=resamples,
            overwrite=overwrite, told=told,
        )  # fmt: skip
    draw_ledger(ledger.report, target / "ledger.png")
    _show_ledger(ledger.report)
    out_console.print(f"written: {escape(str(target / 'ledger.json'))}, ledger.png, and the runs beside them")
    out_console.print(f"[bold]{escape(ledger.verdict)}[/]", highlight=False)


def _workers(device: str, threads: int) -> int:
    """Return how many trainings fit the machine: one on an accelerator, else one per core."""
    import torch

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // threads, 1)


@contextmanager
def _progress() -> Iterator[Any]:
    """Show one bar over all epochs of all trainings, and what runs; without a terminal, a line per training."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[done]}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False), TextColumn("{task.fields[running]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=err_console, transient=True, speed_estimate_period=3600)
    task = bar.add_task("ablating", total=None, done="", running="")
    last = -1

    def told(now: Told) -> None:
        nonlocal last
        if err_console.is_terminal and not bar.live.is_started:
            bar.start()
        done = f"{now.done}/{now.planned} trainings"
        running = escape(", ".join(now.running))
        bar.update(task, completed=now.epochs, total=now.epochs_planned, done=done, running=running)
        if not err_console.is_terminal and now.done != last:
            err_console.print(f"{done}; running: {running or 'none'}", highlight=False)
        last = now.done

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()


def _show_ledger(report: Mapping[str, Any]) -> None:
    metric = report["metric"]
    shown = [metric] if metric == "macro_auroc" else [metric, "macro_auroc"]
    folds = f"{report['folds']} folds, pooled" if report["folds"] else "the corpus's own test split"
    out_console.print(
        f"{report['items']} items of {report['patients']} patients ({folds}), {report['seeds']} seed(s) a model"
    )
    models = Table("model", *shown, "members", "parameters", "training s", "inference ms", box=None, pad_edge=False)
    for name, entry in report["models"].items():
        costs = ("members", "parameters", "training_seconds", "inference_ms")
        told = [f"{entry[key]:,}" if key in entry else "" for key in costs]
        models.add_row(escape(name), *(_interval(entry["metrics"][key]) for key in shown), *told)
    out_console.print(models)
    differences = Table("difference (paired)", *shown, *map(escape, report["classes"]), box=None, pad_edge=False)
    for name, entry in report["differences"].items():
        by_class = [_interval(entry["per_class"][label]["auroc"], "+.3f") for label in report["classes"]]
        differences.add_row(escape(name), *(_interval(entry["metrics"][key], "+.3f") for key in shown), *by_class)
    out_console.print(differences)
    out_console.print("(by class: AUROC)")
    worth = Table("view", "Shapley value", "alone", "what it brings", box=None, pad_edge=False)
    for view, entry in report["worth"].items():
        worth.add_row(
            escape(view), _interval(entry["shapley"], "+.3f"), _interval(entry["alone"]), escape(entry["sentence"])
        )
    out_console.print(worth)


def _interval(entry: Mapping[str, Any], form: str = ".3f") -> str:
    """Return value and interval; a star marks a difference whose interval does not contain zero."""
    if entry["value"] is None or entry["low"] is None:
        return "undefined"
    star = "*" if form.startswith("+") and (entry["low"] > 0 or entry["high"] < 0) else ""
    return f"{entry['value']:{form}} ({entry['low']:{form}} to {entry['high']:{form}}){star}"
