"""Commands on evidence: ablate, compare, stress."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ecgprism.cli.terminal import JsonOption, app, err_console, needed, out_console, parent_made, progress_bar

if TYPE_CHECKING:
    from ecgprism.evidence.ablation import AblationProgress
    from ecgprism.evidence.reports import ComparisonReport, Discordance, LedgerReport, ModelReport, StressReport
    from ecgprism.evidence.suspects import Audit
    from ecgprism.metrics.intervals import Difference, Estimate

SHOWN = 25  # conditions of a stress test on the terminal


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
    as_json: JsonOption = False,
) -> None:
    """Find out what each view is worth: every view alone, the model without it, the whole, and controls of its size.

    The same command goes on after a kill. Writes ledger.json, ledger.png and every run.

    Examples: `ecgprism ablate configs/cinc2017.yaml --out ablations/cinc --seeds 1 --folds 5` ·
    `ecgprism ablate configs/ptbxl.yaml train.epochs=10 --out ablations/ptbxl --workers 2`
    """
    from ecgprism.config import read_config
    from ecgprism.evidence.ledger import ablate as run_ablation
    from ecgprism.presentation.ledgers import plot_ledger
    from ecgprism.presentation.style import save
    from ecgprism.training.devices import trainings_at_a_time

    parsed = read_config(config, overrides or ())
    target = needed(out, "--out DIR")
    at_a_time = workers or trainings_at_a_time(parsed.train.device, threads)
    with _progress() as show:
        ledger = run_ablation(
            parsed, target, seeds=seeds, folds=folds, workers=at_a_time, threads=threads, resamples=resamples,
            overwrite=overwrite, show=show,
        )  # fmt: skip
    save(plot_ledger(ledger.report), target / "ledger.png")
    if as_json:
        print(ledger.report.to_json(), end="")
        return
    _show_ledger(ledger.report)
    out_console.print(f"written: {escape(str(target / 'ledger.json'))}, ledger.png, and the runs beside them")
    out_console.print(f"[bold]{escape(ledger.verdict)}[/]", highlight=False)


@app.command()
def audit(
    runs: Annotated[list[Path], typer.Argument(help="trained runs: best those of all folds of a cross-validation")],
    out: Annotated[Path | None, typer.Option(help="CSV to write, the most doubted label first")] = None,
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures of the most doubted")] = None,
    most: Annotated[int, typer.Option(help="how many of them", min=1)] = 50,
    corpus: Annotated[Path | None, typer.Option(help="their corpus, where it has moved")] = None,
) -> None:
    """Find the labels that models doubt most (confident learning); each judges its own test split alone.

    Train `fold=1/5` to `fold=5/5` of a configuration to have every record judged by a model that has not seen it.

    Examples: `ecgprism audit runs/fold1 runs/fold2 runs/fold3 runs/fold4 runs/fold5 --out suspects.csv` ·
    `ecgprism audit runs/a --out suspects.csv --pictures suspects --most 20`
    """
    from ecgprism.evidence.suspects import audit as run_audit
    from ecgprism.files import atomic

    target = needed(out, "--out FILE")
    with progress_bar("judging") as update:
        found = run_audit(runs, corpus=corpus, progress=update)
    with atomic(parent_made(target)) as path:
        found.table.to_csv(path, index=False)
    pairs = Counter((each.label, each.suggested) for each in found.suspects)
    table = Table("label", "suggested", "items", title=f"{len(found.suspects)} of {found.judged} judged labels doubted")
    for (label, suggested), count in pairs.most_common(SHOWN):
        table.add_row(escape(label), escape(suggested), str(count))
    out_console.print(table)
    if left := found.items - found.judged:
        out_console.print(f"{left} of {found.items} items are in the test split of none of these runs: not judged")
    if pictures is not None:
        _draw_suspects(found, pictures, most)
    out_console.print(f"[bold]{escape(str(target))}[/]: written")


def _draw_suspects(found: Audit, folder: Path, most: int) -> None:
    """Draw the most doubted items, in order."""
    from ecgprism.ecg.recording import Recording
    from ecgprism.presentation.paper import plot
    from ecgprism.presentation.style import save

    folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(found.suspects[:most], start=1):
        signal = found.corpus.signal(each.record)[:, each.start :]
        recording = Recording(signal, found.corpus.rate_hz, found.corpus.leads_of(each.record))
        said = f"label {each.label} ({each.p_label:.2f}), suggested {each.suggested} ({each.p_suggested:.2f})"
        name = re.sub(r"[^\w.-]+", "_", each.record_id)[:80]
        save(plot(recording, f"{each.record_id}: {said}"), folder / f"{number:03d}_{name}.png")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="two evaluated runs or more, tested on the same records")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write")] = None,
    resamples: Annotated[int, typer.Option(help="bootstrap resamples", min=2)] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Compare runs on the same test records: paired bootstrap, DeLong by class, McNemar, Holm for more than two.

    Examples: `ecgprism compare runs/wave runs/fused` · `ecgprism compare runs/a runs/b runs/c --out comparison.json`
    """
    from ecgprism.evidence.comparison import compare as run_comparison

    report = run_comparison(runs, resamples=resamples)
    if as_json:
        print(report.to_json(), end="")
    else:
        _show_comparison(report)
    if out is not None:
        report.write(out)
    if out is not None and not as_json:
        out_console.print(f"written: {escape(str(out))}")


@app.command()
def stress(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    corpus: Annotated[Path | None, typer.Option(help="where the run's corpus is now, if it was moved")] = None,
    noise: Annotated[
        Path | None, typer.Option(help="folder with the records bw, ma, em of the MIT-BIH Noise Stress Test Database")
    ] = None,
    against: Annotated[list[Path] | None, typer.Option(help="a further run beside it (repeatable)")] = None,
    only: Annotated[list[str] | None, typer.Option(help="a family of conditions, as in noise (repeatable)")] = None,
    split: Annotated[str, typer.Option(help="test, val or train")] = "test",
    records: Annotated[int | None, typer.Option(help="take only so many recordings", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the results (default: the run)")] = None,
    resamples: Annotated[int, typer.Option(help="bootstrap resamples", min=2)] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Test a run under noise, lost leads, swapped electrodes, other rates and clocks, missing metadata and views.

    Writes stress.json and stress.png; without --noise the noise is simulated.

    Examples: `ecgprism stress runs/fused --noise data/nstdb --against runs/wave` ·
    `ecgprism stress runs/fused --only swap --only leads --records 500`
    """
    from ecgprism.evidence.disturbance import FAMILIES
    from ecgprism.evidence.robustness import stress as run_stress
    from ecgprism.presentation.ledgers import plot_stress
    from ecgprism.presentation.style import save

    with progress_bar("conditions") as update:
        report = run_stress(
            run, corpus=corpus, against=against or (), noise=noise, families=tuple(only or FAMILIES), split=split,
            records=records, out=out, resamples=resamples, progress=update,
        )  # fmt: skip
    folder = out or run
    save(plot_stress(report), folder / "stress.png")
    if as_json:
        print(report.to_json(), end="")
        return
    _show_stress(report)
    out_console.print(f"written: {escape(str(folder / 'stress.json'))}, stress.png beside it")


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

    def show(now: AblationProgress) -> None:
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
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def _show_ledger(report: LedgerReport) -> None:
    from ecgprism.presentation.tables import most, table, tell_rest

    shown = _shown(report.metric)
    folds = f"{report.folds} folds, pooled" if report.folds else "the corpus's own test split"
    seeds = "one seed a model" if report.seeds == 1 else f"{report.seeds} seeds a model, as one ensemble"
    out_console.print(f"{report.items} items of {report.patients} patients ({folds}), {seeds}")
    for note in report.notes:
        out_console.print(f"note: {escape(note)}")
    models = table("model", *shown, "members", "parameters", "training", "inference")
    for name, model in report.models.items():
        models.add_row(escape(name), *(_interval(model.metrics[key]) for key in shown), *_costs(model))
    out_console.print(models)
    differences = table("paired difference", *shown)
    for name, difference in report.differences.items():
        differences.add_row(escape(name), *(_interval(difference.metrics[key]) for key in shown))
    out_console.print(differences)
    against = [f"fused - {name}" for name in ("best single", "control")]
    by_class = table("AUROC by class", *against)
    of_class = {
        label: [report.differences[name].per_class[label]["auroc"] for name in against] for label in report.classes
    }
    surest = {label: -_width(each[0]) for label, each in of_class.items()}
    for label in most(surest):
        by_class.add_row(escape(label), *map(_interval, of_class[label]))
    out_console.print(by_class)
    tell_rest(out_console, surest, "in ledger.json", "less sure")
    worth = table("view", "Shapley value", "alone")
    for view, entry in report.worth.items():
        worth.add_row(escape(view), _interval(entry.shapley), _interval(entry.alone))
    out_console.print(worth)
    for entry in report.worth.values():
        out_console.print(escape(entry.sentence), highlight=False)


def _costs(model: ModelReport) -> list[str]:
    if model.members is None:
        return []
    trained = f"{model.training_seconds:.0f} s"
    return [f"{model.members:g}", f"{model.parameters:,}", trained, f"{model.inference_ms:.1f} ms"]


def _show_comparison(report: ComparisonReport) -> None:
    from ecgprism.presentation.tables import most, table, tell_rest

    shown = list(dict.fromkeys([*_shown(report.metric), "macro_f1", "accuracy"]))
    out_console.print(
        f"{report.items} test items of {report.patients} patients"
        + (" (some more than once: everything is clustered by patient)" if report.repeated_patients else "")
    )
    runs = table("run", *shown)
    for entry in report.runs:
        runs.add_row(escape(entry.run), *(_interval(entry.metrics[key]) for key in shown))
    out_console.print(runs)
    corrected = " (p after Holm)" if len(report.pairs) > 1 else " (p)"
    for pair in report.pairs:
        out_console.print(f"[bold]{escape(pair.first)} - {escape(pair.second)}[/]", highlight=False)
        overall = table("metric", "difference" + corrected)
        for key in shown:
            overall.add_row(key, f"{_interval(pair.metrics[key])} {_p(pair.metrics[key])}")
        out_console.print(overall)
        by_class = table("class", "AUROC, DeLong" + corrected, "F1, bootstrap" + corrected)
        surest = {label: -_width(tests["delong"]) for label, tests in pair.per_class.items()}
        for label in most(surest):
            tests = pair.per_class[label]
            cells = (f"{_interval(tests[key])} {_p(tests[key])}" for key in ("delong", "f1"))
            by_class.add_row(escape(label), *cells)
        out_console.print(by_class)
        tell_rest(out_console, surest, "are in --out FILE.json", "less sure")
        accuracy = pair.accuracy
        out_console.print(
            f"right in one only: {accuracy.only_first} and {accuracy.only_second}; {accuracy.test}: {_p(accuracy)}",
            highlight=False,
        )


def _show_stress(report: StressReport) -> None:
    from ecgprism.presentation.tables import table

    noise = ", ".join(f"{kind} {origin}" for kind, origin in report.noise.items())
    out_console.print(f"{report.items} items of {report.patients} patients; noise: {noise}")
    for family, why in report.skipped.items():
        out_console.print(f"note: {family} skipped: {escape(why)}", highlight=False)
    shown = table("condition, worst first", f"{report.metric}, change", *report.models)
    for row in [report.clean, *report.conditions[:SHOWN]]:
        cells = ["undefined" if math.isnan(each.value) else f"{each.value:.3f}" for each in row.models.values()]
        shown.add_row(escape(row.title), "" if row is report.clean else _interval(row.change), *cells)
    out_console.print(shown)
    left = len(report.conditions) - SHOWN
    if left > 0:
        out_console.print(f"and {left} conditions with smaller changes (stress.json, stress.png)")


def _shown(metric: str) -> list[str]:
    """Return the metrics that every table has."""
    return list(dict.fromkeys([metric, "macro_auroc"]))


def _p(test: Difference | Discordance) -> str:
    """Return the p value, corrected where there are several."""
    p = test.p if test.p_holm is None else test.p_holm
    return "p undefined" if math.isnan(p) else "p<0.001" if p < 0.001 else f"p={p:.3f}"


def _width(entry: Estimate) -> float:
    return entry.high - entry.low


def _interval(entry: Estimate) -> str:
    """Return value and interval; a star marks a difference whose interval does not contain zero.

    `?` marks an interval that too many resamples left undefined: it proves nothing.
    """
    if not entry.known:
        return "undefined"
    sign = getattr(entry, "sign", None)
    form = ".3f" if sign is None else "+.3f"
    return (
        f"{entry.value:{form}} ({entry.low:{form}} to {entry.high:{form}}){'?' if entry.shaky else '*' if sign else ''}"
    )
