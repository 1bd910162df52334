"""Commands on data sets: list, datasets, fetch, ingest, corpus check."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ecgprism.cli.terminal import (
    JsonOption,
    app,
    err_console,
    key_values,
    needed,
    out_console,
    print_json,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from ecgprism.corpus.ingestion import IngestReport
    from ecgprism.corpus.meta import CorpusMeta

CATEGORIES_SHOWN = 8  # of a metadata column

corpus_app = typer.Typer(help="Look after a corpus.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")


class Kind(StrEnum):
    """What `list` lists."""

    VIEWS = "views"
    ENCODERS = "encoders"
    FUSIONS = "fusions"
    SOURCES = "sources"


@app.command("list")
def list_components(
    kind: Annotated[Kind | None, typer.Argument(help="what to list (default: all kinds)")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show every component with its options: views, encoders, fusions, sources.

    Example: `ecgprism list encoders`
    """
    from ecgprism.catalogue import described

    if as_json:
        print_json({each.value: described(each.value) for each in ([kind] if kind else Kind)})
        return
    for each in [kind] if kind else Kind:
        table = Table(box=None, pad_edge=False, title=None if kind else f"\n{each.value}", title_justify="left")
        for title in ("name", "options (with defaults)", "what it is"):
            table.add_column(title, overflow="fold")
        for component in described(each.value):
            table.add_row(escape(component.name), escape("\n".join(component.options)), escape(component.summary))
        out_console.print(table)


@app.command("datasets")
def list_datasets(as_json: JsonOption = False) -> None:
    """Show the open data sets that `fetch` knows: size, leads, labels, licence, and what reads them.

    Example: `ecgprism datasets`
    """
    from ecgprism.datasets.catalogue import datasets_table

    rows = datasets_table()
    if as_json:
        print_json(rows)
        return
    shown = ("name", "records", "leads", "rate (Hz)", "size (about)", "licence")
    table = Table(box=None, pad_edge=False)
    for title in (*shown, "what it is"):
        table.add_column(title, overflow="fold")
    for row in rows:
        lines = (f"{row['what it is']}.", f"Labels: {row['labels']}.", f"To read it: {row['to read it']}", row["note"])
        table.add_row(*(escape(row[title]) for title in shown), escape("\n".join(filter(None, lines))))
    out_console.print(table)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="which data set: see `ecgprism datasets`")],
    to: Annotated[Path | None, typer.Option(help="the folder to fetch into (default: data/NAME)")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="a part: a folder, a file or a pattern (repeatable; default: everything)")
    ] = None,
    mirror: Annotated[str | None, typer.Option(help="another server, laid out as physionet.org/files")] = None,
    workers: Annotated[int, typer.Option(help="files at the same time", min=1)] = 4,
    timeout: Annotated[float, typer.Option(help="seconds that the server may be silent", min=0.1)] = 30.0,
    least_rate: Annotated[float, typer.Option(help="bytes per second, over a minute, that are enough", min=0)] = 1000.0,
) -> None:
    """Fetch an open data set from PhysioNet and verify every file; an interrupted fetch goes on where it stopped.

    Examples: `ecgprism fetch cinc2017` · `ecgprism fetch ptbxl --to data/ptbxl --include records100/ --workers 16`
    """
    from ecgprism.datasets.catalogue import DATASETS
    from ecgprism.datasets.fetching import fetch as run_fetch

    target = to if to is not None else Path("data") / name
    with progress_bar("fetching") as update:
        run_fetch(
            name, target, base_url=mirror, include=include, workers=workers, timeout_s=timeout, least_rate=least_rate,
            announce=lambda text: err_console.print(escape(text)),
            progress=lambda now: update(now.files_done, now.files_total),
        )  # fmt: skip
    command = DATASETS[name].ingest_command(name, target)
    out_console.print(f"[bold]{escape(str(target))}[/]: {escape(name)} is there, every file verified")
    out_console.print(f"Next: {escape(command)}" if command else "no source of `ecgprism ingest` reads it")
    if DATASETS[name].note:
        out_console.print(f"note: {escape(DATASETS[name].note)}")


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="which kind of data set: see `ecgprism list sources`")],
    root: Annotated[str | None, typer.Argument(help="its folder, or the CSV of a manifest")] = None,
    options: Annotated[list[str] | None, typer.Argument(help="key=value options of the source")] = None,
    out: Annotated[Path | None, typer.Option(help="the corpus folder to write")] = None,
    rate: Annotated[float, typer.Option(help="sampling rate of the corpus in Hz")] = 100.0,
    labels: Annotated[Path | None, typer.Option(help="the table beside a file of arrays")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="where a manifest's column stands, as in path=filename (repeatable)")
    ] = None,
    label_columns: Annotated[str | None, typer.Option(help="columns of 1 and 0 that are labels, as in AF,MI")] = None,
    accept_damaged: Annotated[
        bool, typer.Option("--accept-damaged", help="read a manifest's files whose sums or lengths do not fit")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="processes (default: one per core)", min=1)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad record")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing corpus")] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="a record id to leave out (repeatable)")] = None,
    record_timeout: Annotated[float, typer.Option(help="seconds that reading one record may take", min=0.1)] = 60.0,
    worker_memory: Annotated[int, typer.Option(help="MiB that a process may use for one record", min=64)] = 4096,
) -> None:
    """Read every recording of a data set into a corpus; an interrupted ingest goes on where it stopped.

    Bad records go to rejected.csv with their reason. Exit status: 0, 2 for a bad command, 3 when all were rejected.

    Examples: `ecgprism ingest cinc2017 data/cinc2017 --out corpora/cinc2017` ·
    `ecgprism ingest manifest mine.csv task=diagnosis kind=multiclass --out corpora/mine --rate 250` ·
    `ecgprism ingest manifest mine.xlsx --column path=File --label-columns AF,MI --out corpora/mine`
    """
    from ecgprism.corpus.ingestion import ingest as run

    given = list(options or [])
    if root is not None and "=" in root and not Path(root).exists():
        given.insert(0, root)
        root = None
    target = needed(out, "--out CORPUS")
    said = {"labels": labels and str(labels), "columns": column and "|".join(column), "label_columns": label_columns}
    parsed = key_values(given) | {key: value for key, value in said.items() if value}
    parsed |= {"accept_damaged": True} if accept_damaged else {}
    with progress_bar("reading") as update:
        done = run(
            source, root, target, rate_hz=rate, options=parsed, workers=workers, strict=strict, overwrite=overwrite,
            exclude=exclude or (), record_timeout_s=record_timeout, worker_memory_mb=worker_memory, progress=update,
            note=lambda problem: None,  # told below, with all else
        )  # fmt: skip
    _tell(done)


def _tell(done: IngestReport) -> None:
    out_console.print(
        f"[bold]{escape(str(done.path))}[/]: {done.records} recordings at {done.meta.rate_hz:g} Hz"
        + (f", {done.resumed} of them from an interrupted ingest" if done.resumed else "")
    )
    out_console.print(f"split: {escape(done.split_rule)}")
    for count, what in (
        (done.rejected, f"rejected, see {done.path / 'rejected.csv'}"),
        (done.flat_leads, "flat leads, masked"),
        (done.unknown_patients, "recordings of unknown patient, each its own cluster"),
        (done.items if done.items != done.records else 0, "items to classify"),
        (sum(done.unused.values()), f"marks of {len(done.unused)} kinds that no class stands for, see corpus.json"),
        (done.duplicates, "recordings that are copies of another (at any gain, offset or sign), kept in its split"),
    ):
        if count:
            out_console.print(f"{count} {escape(what)}")
    if done.skipped_channels:
        out_console.print(f"channels that are no ECG leads, skipped: {escape(', '.join(done.skipped_channels))}")
    _tell_classes(done.meta, done.path)
    for name in done.meta.metadata:
        out_console.print(escape(f"metadata {name}: {_column(done.meta, name)}"), highlight=False)
    for note in done.notes:
        say(note)


def _column(meta: CorpusMeta, name: str) -> str:
    """Return the kind of a metadata column, what is in it, and how much is missing."""
    from ecgprism.errors import listed

    missing = f"{meta.missing.get(name, 0):.0%} missing"
    if meta.metadata[name] == "numeric":
        least, greatest = meta.ranges[name]
        return f"numbers, {least:g} to {greatest:g}, {missing}"
    words = meta.categories[name]
    held = listed([f"{word} {n}" for word, n in words.items()], CATEGORIES_SHOWN)
    differ = len(words) > max(CATEGORIES_SHOWN, sum(words.values()) / 2)
    return f"categories, {missing}: {held}" + ("; nearly all differ: is it a name or a date?" if differ else "")


def _tell_classes(meta: CorpusMeta, path: Path) -> None:
    """Show the items of every class by split."""
    from ecgprism.corpus.splits import SPLITS
    from ecgprism.presentation.tables import show_class_counts

    for task, classes in meta.classes.items():
        out_console.print(escape(f"task {task} ({meta.tasks[task].kind}), items by class:"))
        show_class_counts(out_console, classes, SPLITS, f"in {path / 'corpus.json'}")


@corpus_app.command("check")
def check_corpus(corpus: Annotated[Path, typer.Argument(help="the folder of a corpus")]) -> None:
    """Check every byte of a corpus against the check sums that its ingest wrote.

    Example: `ecgprism corpus check corpora/cinc2017`
    """
    from ecgprism.corpus.store import Corpus

    opened = Corpus(corpus)
    opened.check()
    out_console.print(
        f"[bold]{escape(str(corpus))}[/]: {opened.meta.records} recordings, {opened.meta.items} items, all as ingested"
    )
