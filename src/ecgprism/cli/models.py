"""Commands on models: train, distill, evaluate, predict, embed, demo."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ecgprism.cli.terminal import (
    DamagedOption,
    JsonOption,
    LeadOption,
    LeadsOption,
    RateOption,
    UnitOption,
    ZeroOption,
    app,
    declaration,
    key_values,
    names,
    needed,
    out_console,
    parent_made,
    print_json,
    progress_bar,
    say,
)
from ecgprism.errors import EcgprismError

if TYPE_CHECKING:
    from ecgprism.config import Config
    from ecgprism.evidence.evaluation import Evaluation
    from ecgprism.metrics.intervals import Estimate
    from ecgprism.training.watch import Watch


TableOption = Annotated[
    Path | None,
    typer.Option(help="patients as a table (CSV, .xlsx), joined by its column record_id, or path where there is none"),
]
ColumnOption = Annotated[
    list[str] | None, typer.Option(help="where a column of that table stands, as in record_id=ID (repeatable)")
]


class Aggregates(StrEnum):
    """How windows of one recording become one answer."""

    MEAN = "mean"
    MAX = "max"


@app.command()
def init(
    corpus: Annotated[Path, typer.Option(help="the corpus to train on")],
    out: Annotated[Path, typer.Option(help="the YAML file to write")] = Path("config.yaml"),
    task: Annotated[str | None, typer.Option(help="one of its tasks (default: the first)")] = None,
) -> None:
    """Write a first configuration for a corpus: task, views that fit, window, classes, expected time.

    Example: `ecgprism init --corpus corpora/mine --out mine.yaml`
    """
    from ecgprism.training.starter import init as write_starter

    made = write_starter(corpus, parent_made(out), task)
    print(made.text, end="")
    out_console.print(f"[bold]{escape(str(out))}[/]: written. Next: ecgprism train {escape(str(out))} --out runs/first")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML configuration")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in train.epochs=3")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder to write")] = None,
    init: Annotated[Path | None, typer.Option(help="a trained run to begin with, as far as its weights fit")] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="a part that does not learn: encoders, encoders.VIEW, fusion (repeatable)")
    ] = None,
    logger: Annotated[
        str | None, typer.Option(help="tensorboard, csv, mlflow, wandb, joined by commas (offline by default)")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing but errors and the last line")] = False,
    as_json: JsonOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run")] = False,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="take one batch through every stage, keep nothing")
    ] = False,
) -> None:
    """Train a model: best checkpoint, history and TensorBoard logs go into the run folder.

    Examples: `ecgprism train configs/cinc2017.yaml --out runs/a` ·
    `ecgprism train configs/cinc2017.yaml corpus=corpora/mine train.epochs=5 --out runs/b` ·
    `ecgprism train configs/cinc2017.yaml --out runs/a --resume` ·
    `ecgprism train mine.yaml --init runs/a --freeze encoders train.thaw_epoch=3 --out runs/c`
    """
    from ecgprism.config import read_config

    given = list(overrides or ())
    given += [f"init={init}"] if init is not None else []
    given += [f"train.freeze=[{', '.join(freeze)}]"] if freeze else []
    given += [f"train.loggers=[{logger}]"] if logger else []
    parsed = read_config(config, given)
    if fast_dev_run:
        _dev_run(parsed, quiet=quiet or as_json)
    else:
        _trained(parsed, needed(out, "--out RUN"), resume, overwrite, quiet, as_json)


@app.command()
def distill(
    runs: Annotated[list[str], typer.Argument(help="trained runs, the teachers; and key=value for the configuration")],
    into: Annotated[Path | None, typer.Option(help="YAML configuration of the student")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder to write")] = None,
    soft: Annotated[
        float | None,
        typer.Option(help="share of their probabilities in the targets (default: 0.7); labels are the rest"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing but errors and the last line")] = False,
    as_json: JsonOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run")] = False,
) -> None:
    """Train one small model on what several trained ones say (knowledge distillation).

    A recording is judged by the teachers that were not trained on it, where there are any: give runs of all folds of a
    cross-validation. A teacher that was trained on what the student is to be tested on is refused.

    Examples: `ecgprism distill runs/wave runs/fused --into configs/cinc2017_tiny.yaml --out runs/student` ·
    `ecgprism distill runs/fold*-of-5 --into configs/cinc2017.yaml train.epochs=24 --out runs/student`
    """
    from ecgprism.config import parse_config, read_config

    given = [each for each in runs if "=" in each and not Path(each).exists()]
    teachers = [each for each in runs if each not in given]
    if not teachers:
        raise EcgprismError("distill: expected the folders of trained runs, the teachers")
    wanted = {"teachers": teachers} | ({} if soft is None else {"soft": soft})
    student = read_config(needed(into, "--into CONFIG"), given)
    parsed = parse_config(student.plain() | {"distill": wanted})
    _trained(parsed, needed(out, "--out RUN"), resume, overwrite, quiet, as_json)


def _dev_run(config: Config, *, quiet: bool) -> None:
    """Take one batch through training, checkpoint and evaluation."""
    import tempfile

    from ecgprism.evidence.evaluation import evaluate as run_evaluation
    from ecgprism.training.run import fit

    with tempfile.TemporaryDirectory() as folder, _training_watch(quiet) as watch:
        fitted = fit(config, folder, fast_dev_run=True, overwrite=True, watch=watch)
        run_evaluation(fitted.path, resamples=10, first=config.train.batch_size, note=lambda said: None)
    out_console.print("fast dev run: training, checkpoint, reload, evaluation - all passed; nothing was kept")


def _trained(config: Config, out: Path, resume: bool, overwrite: bool, quiet: bool, as_json: bool) -> None:
    """Train, and say what came out."""
    from ecgprism.training.run import fit

    with _training_watch(quiet or as_json) as watch:
        fitted = fit(config, out, resume=resume, overwrite=overwrite, watch=watch)
    if as_json:
        facts = {"run": str(out), "best_epoch": fitted.best_epoch, "seconds": fitted.seconds}
        print_json({**facts, "history": fitted.history})
        return
    out_console.print(
        f"[bold]{escape(str(out))}[/]: best epoch {fitted.best_epoch} of {len(fitted.history)}, "
        f"{fitted.seconds:.0f} s. Next: ecgprism evaluate {escape(str(out))}"
    )


@contextlib.contextmanager
def _training_watch(quiet: bool) -> Iterator[Watch]:
    """Draw a training on the terminal, or nothing."""
    from ecgprism.presentation.console import ConsoleWatch
    from ecgprism.training.watch import Watch

    if quiet:
        yield Watch()
        return
    with ConsoleWatch(out_console) as shown:
        yield shown


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    corpus: Annotated[Path | None, typer.Option(help="another corpus with some of the model's classes")] = None,
    split: Annotated[str | None, typer.Option(help="test, all, val or train (default: test; all of another)")] = None,
    aggregate: Annotated[Aggregates | None, typer.Option(help="windows of a recording (default: the run's)")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the results (default: the run)")] = None,
    resamples: Annotated[int, typer.Option(help="bootstrap resamples", min=2)] = 1000,
    plots: Annotated[
        Path | None, typer.Option(help="folder for ROC, precision-recall, reliability, confusion, training")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a run with 95% intervals; writes metrics.json and predictions.parquet.

    Examples: `ecgprism evaluate runs/a --plots plots` ·
    `ecgprism evaluate runs/a --corpus corpora/other --out results/other`
    """
    from ecgprism.evidence.evaluation import evaluate as run_evaluation

    with progress_bar("evaluating") as update:
        result = run_evaluation(
            run, corpus=corpus, split=split, aggregate=aggregate.value if aggregate else None, out=out,
            resamples=resamples, progress=update, note=lambda said: None,  # shown with the report
        )  # fmt: skip
    if as_json:
        print(result.report.to_json(), end="")
    else:
        _show(result)
    if plots is not None:
        from ecgprism.presentation.curves import plot_answers, plot_training
        from ecgprism.presentation.style import save

        plots.mkdir(parents=True, exist_ok=True)
        for name, figure in {**plot_answers(result.path), "training": plot_training(run)}.items():
            save(figure, plots / f"{name}.png")
        if not as_json:
            out_console.print(f"pictures: {escape(str(plots))}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="a run folder, or the name of weights that come with ecgprism")],
    paths: Annotated[list[Path], typer.Argument(help="recordings, or folders of them")],
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: print)")] = None,
    lead: LeadOption = None,
    rate: RateOption = None,
    unit: UnitOption = None,
    leads: LeadsOption = None,
    zero: ZeroOption = None,
    accept_damaged: DamagedOption = False,
    metadata: Annotated[list[str] | None, typer.Option(help="patient data, as in age=63 (repeatable)")] = None,
    metadata_table: TableOption = None,
    column: ColumnOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad file")] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict on files of any length and rate: a probability per class, the label(s), and the rule that filled them.

    A terminal gets a short table; a pipe, or --out, CSV with a row per recording and the thresholds as columns t_CLASS.

    Examples: `ecgprism predict runs/a data/A00001.hea` ·
    `ecgprism predict runs/a data/ --out predictions.csv --metadata age=63 --metadata sex=female` ·
    `ecgprism predict runs/a data/ --out predictions.csv --metadata-table patients.csv` ·
    `ecgprism predict rhythm-1lead ecg.xml` (weights that come with ecgprism)
    """
    from ecgprism.files import atomic
    from ecgprism.prediction.files import predict as run_prediction
    from ecgprism.presentation.tables import show_predictions

    declared = declaration(lead, rate, unit, leads, zero, accept_damaged)
    table = run_prediction(
        run, paths, declared=declared, metadata=key_values(metadata or []), metadata_table=metadata_table,
        metadata_columns=names(column), strict=strict, note=say,
    )  # fmt: skip
    if out is not None:
        with atomic(parent_made(out)) as path:
            table.to_csv(path, index=False)
    if as_json:
        print_json(table.to_dict(orient="records"))
    elif out is not None:
        out_console.print(f"[bold]{escape(str(out))}[/]: {len(table)} recordings")
    elif out_console.is_terminal:
        show_predictions(out_console, table)
    else:
        print(table.to_csv(index=False), end="")


@app.command()
def pull(
    name: Annotated[str | None, typer.Argument(help="such as rhythm-1lead (default: list them)")] = None,
    to: Annotated[Path | None, typer.Option(help="the folder to write (default: one of that name)")] = None,
) -> None:
    """Trained weights that come with the package: show what is known of them, and copy them into a folder.

    `predict`, `embed` and `train --init` take their names as they are: `ecgprism predict rhythm-1lead ecg.xml`.

    Examples: `ecgprism pull` · `ecgprism pull rhythm-1lead --to models/rhythm`
    """
    from ecgprism.interface.storage import about, weights
    from ecgprism.interface.storage import pull as copy_weights

    if name is None:
        for each in weights():
            title = about(each).splitlines()[0].lstrip("# ")
            out_console.print(f"[bold]{each}[/]: {escape(title)}", soft_wrap=True)
        return
    folder = copy_weights(name, to)
    print(about(name))
    out_console.print(f"[bold]{escape(str(folder))}[/]: written. Next: ecgprism predict {escape(str(folder))} ECG")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="a trained run, or the name of weights that come with ecgprism")],
    to: Annotated[Path | None, typer.Option(help="the file to write (default: the run's name with .onnx)")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a trained model as one ONNX file with its views inside, checked against PyTorch before it is kept.

    `predict` and `embed` take the file in place of a run, without PyTorch; so does whatever runs ONNX.

    Examples: `ecgprism export runs/a --to model.onnx` · `ecgprism export rhythm-1lead` ·
    `ecgprism predict model.onnx data/`
    """
    from ecgprism.model.exporting import export as write_onnx

    with out_console.status("") as status:
        done = write_onnx(run, to, progress=status.update)
    if as_json:
        differences = {str(each.batch): each.difference for each in done.parity}
        print_json({"file": str(done.file), "bytes": done.size, "largest_difference_by_batch": differences})
        return
    table = Table("batch", "largest difference from PyTorch")
    for each in done.parity:
        table.add_row(str(each.batch), f"{each.difference:.1e}")
    out_console.print(table)
    out_console.print(
        f"[bold]{escape(str(done.file))}[/]: {done.size / 1e6:.1f} MB. "
        f"Next: ecgprism predict {escape(str(done.file))} ECG"
    )


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="a run folder, or the name of weights that come with ecgprism")],
    paths: Annotated[list[Path], typer.Argument(help="recordings, or folders of them")],
    out: Annotated[Path | None, typer.Option(help="Parquet file to write")] = None,
    lead: LeadOption = None,
    rate: RateOption = None,
    unit: UnitOption = None,
    leads: LeadsOption = None,
    zero: ZeroOption = None,
    accept_damaged: DamagedOption = False,
    metadata: Annotated[list[str] | None, typer.Option(help="patient data, as in age=63 (repeatable)")] = None,
    metadata_table: TableOption = None,
    column: ColumnOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad file")] = False,
) -> None:
    """Write the fused and each view's embedding of every recording, for downstream work.

    Example: `ecgprism embed runs/a data/ --out embeddings.parquet`
    """
    from ecgprism.files import atomic
    from ecgprism.prediction.files import embed as run_embedding

    target = needed(out, "--out FILE.parquet")
    declared = declaration(lead, rate, unit, leads, zero, accept_damaged)
    table = run_embedding(
        run, paths, declared=declared, metadata=key_values(metadata or []), metadata_table=metadata_table,
        metadata_columns=names(column), strict=strict, note=say,
    )  # fmt: skip
    with atomic(parent_made(target)) as path:
        table.to_parquet(path, index=False)
    out_console.print(f"[bold]{escape(str(target))}[/]: {len(table)} recordings")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the results")] = Path("demo"),
    records: Annotated[int, typer.Option(help="simulated recordings", min=200)] = 1500,
    epochs: Annotated[int, typer.Option(help="epochs per model", min=1)] = 8,
) -> None:
    """Simulate ECGs, train a fused model and each view alone, compare them, predict on a file. A few minutes.

    Example: `ecgprism demo --out demo`
    """
    from ecgprism.cli.tour import run_demo

    run_demo(out, records, epochs, out_console)


def _show(result: Evaluation) -> None:
    from ecgprism.presentation import tables

    report = result.report
    out_console.print(
        f"{report.items} of split {report.split}: {report.patients} patients"
        + (f" ({report.unknown_patients} unknown, each its own)" if report.unknown_patients else "")
        + (f", {report.left_out} without a label left out" if report.left_out else "")
    )
    for note in report.notes:
        out_console.print(f"note: {escape(note)}", highlight=False)
    overall = tables.table("metric", "value", "95% interval")
    for name, entry in report.metrics.items():
        overall.add_row(name, *_cells(entry))
    out_console.print(overall)
    shown = ("auroc", "f1", "sensitivity", "specificity")
    by_class = tables.table("class", "n", *shown, numbers=["n"])
    rank = {label: float(n) for label, n in report.positives.items()}
    for label in tables.most(rank):
        cells = (" ".join(_cells(report.per_class[label][name], 2)) for name in shown)
        by_class.add_row(escape(label), str(report.positives[label]), *cells)
    out_console.print(by_class)
    where = f"in {result.path / 'metrics.json'}"
    tables.tell_rest(out_console, rank, where)
    if report.confusion is not None:
        tables.show_confusion(out_console, report, where)
    out_console.print(f"written: {escape(str(result.path / 'metrics.json'))}, predictions.parquet beside it")


def _cells(entry: Estimate, digits: int = 3) -> tuple[str, str]:
    """Return value and interval; `?` marks an interval that too many resamples left undefined."""
    if math.isnan(entry.value):
        return "undefined", ""
    if not entry.known:
        return f"{entry.value:.3f}", "(undefined)"
    return f"{entry.value:.3f}", f"({entry.low:.{digits}f}-{entry.high:.{digits}f})" + ("?" if entry.shaky else "")
