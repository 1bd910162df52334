"""The command line: every command is one call into the modules above."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ecgprism.errors import EcgprismError

if TYPE_CHECKING:
    from ecgprism.evaluation import Evaluation

USER_ERROR, ALL_REJECTED, INTERRUPTED = 2, 3, 130

app = typer.Typer(
    name="ecgprism",
    help="See one ECG through several views at once, fuse them, and measure what each view is worth.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out_console, err_console = Console(), Console(stderr=True)


class Kind(StrEnum):
    """What `list` lists."""

    VIEWS = "views"
    ENCODERS = "encoders"
    FUSIONS = "fusions"
    SOURCES = "sources"


class Aggregates(StrEnum):
    """How windows of one recording become one answer."""

    MEAN = "mean"
    MAX = "max"


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2 (3: all rejected)."""
    try:
        status = app(standalone_mode=False)
    except EcgprismError as error:
        _fail(str(error), ALL_REJECTED if type(error).__name__ == "AllRejectedError" else USER_ERROR)
    except OSError as error:
        _fail(f"{error.filename or 'writing'}: {error.strerror or error}", USER_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        # the parser's own errors: their class lives in click or, in some releases, in typer's copy of it
        if not hasattr(error, "format_message"):
            raise
        if "NoArgsIsHelp" in type(error).__name__:
            error.show()  # type: ignore[attr-defined]
            sys.exit(USER_ERROR)
        _fail(error.format_message(), USER_ERROR)
    if status == INTERRUPTED:  # typer turns Ctrl-C inside a command into this status
        _fail("interrupted; run the same command again to go on (train: with --resume)", INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


@app.command("list")
def list_components(kind: Annotated[Kind, typer.Argument(help="what to list")]) -> None:
    """Show every component with its options.

    Example: `ecgprism list encoders`
    """
    from ecgprism.registry import components, options

    given_by_caller = {Kind.VIEWS: 1, Kind.ENCODERS: 2, Kind.FUSIONS: 2, Kind.SOURCES: 0}[kind]
    table = Table(box=None, pad_edge=False)
    for title in ("name", "options (with defaults)", "what it is"):
        table.add_column(title, overflow="fold")
    for name, cls in components(kind.value).items():
        known = options(cls, given_by_caller)
        shown = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in known.values()]
        summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
        table.add_row(escape(name), escape("\n".join(shown)), escape(summary))
    out_console.print(table)


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="which kind of data set: see `ecgprism list sources`")],
    root: Annotated[str | None, typer.Argument(help="its folder, or the CSV of a manifest")] = None,
    options: Annotated[list[str] | None, typer.Argument(help="key=value options of the source")] = None,
    out: Annotated[Path | None, typer.Option(help="the corpus folder to write")] = None,
    rate: Annotated[float, typer.Option(help="sampling rate of the corpus in Hz")] = 100.0,
    workers: Annotated[int | None, typer.Option(help="processes (default: one per core)", min=1)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad record")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing corpus")] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="a record id to leave out (repeatable)")] = None,
) -> None:
    """Read every recording of a data set into a corpus; an interrupted ingest goes on where it stopped.

    Bad records go to rejected.csv with their reason. Exit status: 0, 2 for a bad command, 3 when all were rejected.

    Examples: `ecgprism ingest cinc2017 data/cinc2017 --out corpora/cinc2017` ·
    `ecgprism ingest manifest mine.csv task=diagnosis kind=multiclass --out corpora/mine --rate 250`
    """
    from ecgprism.ingestion import ingest as run

    given = list(options or [])
    if root is not None and "=" in root and not Path(root).exists():
        given.insert(0, root)
        root = None
    target = _needed(out, "--out CORPUS")
    parsed = _key_values(given)
    with _progress("reading") as update:
        done = run(
            source, root, target, rate_hz=rate, options=parsed, workers=workers, strict=strict, overwrite=overwrite,
            exclude=exclude or (), progress=update,
        )  # fmt: skip
    out_console.print(
        f"[bold]{escape(str(done.path))}[/]: {done.records} recordings at {rate:g} Hz"
        + (f", {done.resumed} of them from an interrupted ingest" if done.resumed else "")
    )
    out_console.print(f"split: {escape(done.split_rule)}")
    for count, what in (
        (done.rejected, f"rejected, see {done.path / 'rejected.csv'}"),
        (done.flat_leads, "flat leads, masked"),
        (done.unknown_patients, "recordings of unknown patient, each its own cluster"),
        (done.duplicates, "recordings with a waveform that stands more than once, kept in one split"),
    ):
        if count:
            out_console.print(f"{count} {escape(what)}")
    if done.skipped_channels:
        out_console.print(f"channels that are no ECG leads, skipped: {escape(', '.join(done.skipped_channels))}")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="a recording; one in an archive as archive.zip::name")],
    plot: Annotated[Path | None, typer.Option(help="PNG to draw it into")] = None,
    lead: Annotated[list[str] | None, typer.Option(help="a lead's spelling, as in ECG=I (repeatable)")] = None,
    rate: Annotated[float | None, typer.Option(help="sampling rate in Hz of a file that does not say it")] = None,
    unit: Annotated[str | None, typer.Option(help="unit of a file that does not say it: mV, uV, nV, or 5uV")] = None,
    leads: Annotated[str | None, typer.Option(help="leads of a table without names, as in I,II,V1")] = None,
) -> None:
    """Show what a recording holds: format, leads, rate, length, units as found, patient, quality, annotations.

    Examples: `ecgprism info ecg.xml --plot ecg.png` ·
    `ecgprism info watch.csv --rate 512 --unit uV --leads I`
    """
    from ecgprism import formats
    from ecgprism.quality import FLAGS, assess

    given = tuple(name.strip() for name in leads.split(",")) if leads else None
    recording = formats.read(path, _leads(lead), rate_hz=rate, unit=unit, leads=given)
    quality = assess(recording)
    table = Table(box=None, pad_edge=False, show_header=False)
    units = ", ".join(sorted(set(recording.units) - {"derived"})) or "mV"
    beats = [a for a in recording.annotations if a.symbol]
    rows = {
        "format": recording.format,
        "leads": ", ".join(recording.leads),
        "length": f"{recording.duration_s:.1f} s, {recording.signal.shape[1]} samples at {recording.rate_hz:g} Hz",
        "units as found": units,
        "derived": ", ".join(n for n, u in zip(recording.leads, recording.units, strict=False) if u == "derived"),
        "skipped": ", ".join(recording.skipped),
        "not recorded": f"{quality.missing:.1%}" if quality.missing else "",
        **{flag: ", ".join(getattr(quality, flag)) for flag in FLAGS},
        "quality": "no lead flagged" if quality.good else "",
        "patient": ", ".join(f"{key} {value}" for key, value in recording.metadata.items()),
        "annotations": f"{len(recording.annotations)} ({len(beats)} beats)" if recording.annotations else "",
        **recording.details,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(value))
    out_console.print(table)
    if plot is not None:
        from ecgprism.plots import draw_ecg

        draw_ecg(recording, _parent_made(plot), path.name)
        out_console.print(f"picture: {escape(str(plot))}")


class Tasks(StrEnum):
    """What simulated records are labelled with."""

    RHYTHM = "rhythm"
    SUPERDIAGNOSTIC = "superdiagnostic"


class Formats(StrEnum):
    """What simulated records are written as."""

    WFDB = "wfdb"
    CORPUS = "corpus"


@app.command()
def simulate(
    n: Annotated[int, typer.Option("--n", help="number of records, two of each patient", min=1)] = 1000,
    out: Annotated[Path | None, typer.Option(help="the folder to write")] = None,
    task: Annotated[Tasks, typer.Option(help="labels of the manifest, or of the corpus")] = Tasks.SUPERDIAGNOSTIC,
    rate: Annotated[float, typer.Option(help="sampling rate in Hz")] = 500.0,
    seconds: Annotated[float, typer.Option(help="length of a record in s")] = 10.0,
    seed: Annotated[int, typer.Option(help="the same seed gives the same records", min=0)] = 0,
    snr_db: Annotated[float | None, typer.Option(help="signal-to-noise ratio (default: drawn, about 20)")] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="a condition, as in lbbb or lbbb=0.8 (repeatable; default: as in nature)")
    ] = None,
    file_format: Annotated[Formats, typer.Option("--format", help="WFDB files with truth, or a corpus")] = Formats.WFDB,
    workers: Annotated[int | None, typer.Option(help="processes (default: one per core)", min=1)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
) -> None:
    """Simulate 12-lead ECGs with known truth: beats, wave borders, rhythm, conditions, noise.

    Examples: `ecgprism simulate --n 2000 --out sim --task rhythm --rate 500` ·
    `ecgprism simulate --n 20 --out lbbb --condition lbbb --condition atrial_fibrillation=0.5 --snr-db 12` ·
    `ecgprism simulate --n 5000 --rate 100 --format corpus --out corpora/sim`
    """
    target = _needed(out, "--out DIR")
    options: dict[str, Any] = {"seed": seed, "rate_hz": rate, "duration_s": seconds, "snr_db": snr_db}
    if condition:
        options["conditions"] = _severities(condition)
    with _progress("simulating") as update:
        if file_format is Formats.CORPUS:
            from ecgprism.ingestion import ingest as run_ingest

            options |= {"n": n, "task": task.value}
            run_ingest(
                "simulated", None, target, rate_hz=rate, options=options, workers=workers, overwrite=overwrite,
                progress=update,
            )  # fmt: skip
        else:
            from ecgprism.synthesis import synthesise

            synthesise(
                n, target, task=task.value, options=options, workers=workers, overwrite=overwrite, progress=update
            )
    what = "corpus" if file_format is Formats.CORPUS else "wfdb/, manifest.csv, beats.parquet, records.parquet"
    out_console.print(f"[bold]{escape(str(target))}[/]: {n} records of {rate:g} Hz ({what})")


def _severities(texts: list[str]) -> dict[str, float]:
    """Return conditions with their severities; one without is of medium severity."""
    parsed = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            parsed[name] = float(value) if equals else 0.5
        except ValueError:
            raise EcgprismError(f"--condition {text}: {value!r} is no number; expected 0 to 1") from None
    return parsed


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML configuration")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in train.epochs=3")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder to write")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run")] = False,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="take one batch through every stage, keep nothing")
    ] = False,
) -> None:
    """Train a model: best checkpoint, history and TensorBoard logs go into the run folder.

    Examples: `ecgprism train configs/cinc2017.yaml --out runs/a` ·
    `ecgprism train configs/cinc2017.yaml corpus=corpora/mine train.epochs=5 --out runs/b` ·
    `ecgprism train configs/cinc2017.yaml --out runs/a --resume`
    """
    import tempfile

    from ecgprism.config import read_config
    from ecgprism.console import ConsoleWatch
    from ecgprism.evaluation import evaluate as run_evaluation
    from ecgprism.training import fit

    parsed = read_config(config, overrides or ())
    watch = ConsoleWatch(out_console)
    if fast_dev_run:
        with tempfile.TemporaryDirectory() as folder, watch:
            fitted = fit(parsed, folder, fast_dev_run=True, overwrite=True, watch=watch)
            run_evaluation(fitted.path, resamples=10, first=parsed.train.batch_size)
        out_console.print("fast dev run: training, checkpoint, reload, evaluation - all passed; nothing was kept")
        return
    target = _needed(out, "--out RUN")
    with watch:
        fitted = fit(parsed, target, resume=resume, overwrite=overwrite, watch=watch)
    out_console.print(
        f"[bold]{escape(str(target))}[/]: best epoch {fitted.best_epoch} of {len(fitted.history)}, "
        f"{fitted.seconds:.0f} s. Next: ecgprism evaluate {escape(str(target))}"
    )


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    corpus: Annotated[Path | None, typer.Option(help="another corpus with the same classes")] = None,
    split: Annotated[str | None, typer.Option(help="test, all, val or train (default: test; all of another)")] = None,
    aggregate: Annotated[Aggregates | None, typer.Option(help="windows of a recording (default: the run's)")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the results (default: the run)")] = None,
    resamples: Annotated[int, typer.Option(help="bootstrap resamples", min=2)] = 1000,
) -> None:
    """Evaluate a run with 95% intervals; writes metrics.json and predictions.parquet.

    Examples: `ecgprism evaluate runs/a` · `ecgprism evaluate runs/a --corpus corpora/other --out results/other`
    """
    from ecgprism.evaluation import evaluate as run_evaluation

    with _progress("evaluating") as update:
        result = run_evaluation(
            run, corpus=corpus, split=split, aggregate=aggregate.value if aggregate else None, out=out,
            resamples=resamples, progress=update,
        )  # fmt: skip
    _show(result)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    paths: Annotated[list[Path], typer.Argument(help="recordings, or folders of them")],
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: print)")] = None,
    lead: Annotated[list[str] | None, typer.Option(help="a lead's spelling, as in ECG=I (repeatable)")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="patient data, as in age=63 (repeatable)")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad file")] = False,
) -> None:
    """Predict on files of any length and rate: one row per recording, a probability per class and the label(s).

    Examples: `ecgprism predict runs/a data/A00001.hea` ·
    `ecgprism predict runs/a data/ --out predictions.csv --metadata age=63 --metadata sex=female`
    """
    from ecgprism.files import whole
    from ecgprism.prediction import predict as run_prediction

    table = run_prediction(
        run, paths, lead_aliases=_leads(lead), metadata=_key_values(metadata or []), strict=strict, note=_note
    )
    if out is None:
        print(table.to_csv(index=False), end="")
        return
    with whole(_parent_made(out)) as path:
        table.to_csv(path, index=False)
    out_console.print(f"[bold]{escape(str(out))}[/]: {len(table)} recordings")


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    paths: Annotated[list[Path], typer.Argument(help="recordings, or folders of them")],
    out: Annotated[Path | None, typer.Option(help="Parquet file to write")] = None,
    lead: Annotated[list[str] | None, typer.Option(help="a lead's spelling, as in ECG=I (repeatable)")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="patient data, as in age=63 (repeatable)")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad file")] = False,
) -> None:
    """Write the fused and each view's embedding of every recording, for downstream work.

    Example: `ecgprism embed runs/a data/ --out embeddings.parquet`
    """
    from ecgprism.files import whole
    from ecgprism.prediction import embed as run_embedding

    target = _needed(out, "--out FILE.parquet")
    table = run_embedding(
        run, paths, lead_aliases=_leads(lead), metadata=_key_values(metadata or []), strict=strict, note=_note
    )
    with whole(_parent_made(target)) as path:
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
    from ecgprism.demo import run_demo

    run_demo(out, records, epochs, out_console)


def _show(result: Evaluation) -> None:
    report = result.report
    out_console.print(
        f"{report['items']} of split {report['split']}: {report['patients']} patients"
        + (f" ({report['unknown_patients']} unknown, each its own)" if report["unknown_patients"] else "")
        + (f", {report['left_out']} without a label left out" if report["left_out"] else "")
    )
    for name in report["notes"]:
        out_console.print(f"note: {escape(name)}")
    overall = Table("metric", "value", "95% interval", box=None, pad_edge=False)
    for name, entry in report["metrics"].items():
        overall.add_row(name, *_cells(entry))
    out_console.print(overall)
    shown = ("auroc", "f1", "sensitivity", "specificity")
    by_class = Table("class", "n", *shown, box=None, pad_edge=False)
    for label, entries in report["per_class"].items():
        cells = (" ".join(_cells(entries[name], 2)) for name in shown)
        by_class.add_row(escape(label), str(report["positives"][label]), *cells)
    out_console.print(by_class)
    if "confusion" in report:
        matrix = Table("true \\ predicted", *map(escape, report["per_class"]), box=None, pad_edge=False)
        for label, row in zip(report["per_class"], report["confusion"], strict=True):
            matrix.add_row(escape(label), *map(str, row))
        out_console.print(matrix)
    out_console.print(f"written: {escape(str(result.path / 'metrics.json'))}, predictions.parquet beside it")


def _cells(entry: Mapping[str, Any], digits: int = 3) -> tuple[str, str]:
    """Return value and interval; `?` marks an interval that too many resamples left undefined."""
    if entry["value"] is None:
        return "undefined", ""
    if entry["low"] is None:
        return f"{entry['value']:.3f}", "(undefined)"
    interval = f"({entry['low']:.{digits}f}-{entry['high']:.{digits}f})"
    return f"{entry['value']:.3f}", interval + ("?" if entry["shaky"] else "")


@contextmanager
def _progress(what: str) -> Iterator[Any]:
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


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise EcgprismError(f"say where the result goes with {option}")
    return path


def _parent_made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _note(message: str) -> None:
    print(f"note: {message}", file=sys.stderr)


def _key_values(texts: list[str]) -> dict[str, Any]:
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


def _leads(texts: list[str] | None) -> dict[str, str]:
    from ecgprism.errors import nearest
    from ecgprism.recording import LEADS

    aliases = {key: str(value) for key, value in _key_values(texts or []).items()}
    for spelling, lead in aliases.items():
        if lead not in LEADS:
            raise EcgprismError(f"--lead {spelling}={lead}: {lead!r} is no lead{nearest(lead, LEADS)}")
    return aliases
