"""Commands on recordings: info, convert, anonymize, simulate."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    needed,
    out_console,
    parent_made,
    print_json,
    progress_bar,
    say,
)
from ecgprism.errors import EcgprismError

if TYPE_CHECKING:
    from ecgprism.formats.description import RecordingInfo


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="a recording; one in an archive as archive.zip::name")],
    plot: Annotated[
        Path | None, typer.Option(help="picture to draw it into (.png, .svg, .pdf), 25 mm/s and 10 mm/mV")
    ] = None,
    lead: LeadOption = None,
    rate: RateOption = None,
    unit: UnitOption = None,
    leads: LeadsOption = None,
    zero: ZeroOption = None,
    accept_damaged: DamagedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a recording holds: format, leads, rate, length, units as found, patient, quality, annotations.

    Examples: `ecgprism info ecg.xml --plot ecg.png` ·
    `ecgprism info watch.csv --rate 512 --unit uV --leads I` · `ecgprism info ecg.xml --json`
    """
    from ecgprism.ecg.quality import FLAGS
    from ecgprism.formats import reading
    from ecgprism.formats.description import info_of
    from ecgprism.presentation.style import check_picture

    if plot is not None:
        check_picture(plot)
    recording = reading.read_declared(path, declaration(lead, rate, unit, leads, zero, accept_damaged))
    found = info_of(recording)
    if as_json:
        print_json(found)
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in _rows(found, FLAGS).items():
            if value:
                table.add_row(name, escape(value))
        out_console.print(table)
    if plot is not None:
        from ecgprism.presentation.paper import plot as plot_recording
        from ecgprism.presentation.style import save

        save(plot_recording(recording, path.name), parent_made(plot))
        if not as_json:
            out_console.print(f"picture: {escape(str(plot))}")


def _rows(found: RecordingInfo, flags: Sequence[str]) -> dict[str, str]:
    """Return what `info` shows, by name; what is empty is left out."""
    quality = found.quality
    return {
        "format": found.format,
        "leads": ", ".join(found.leads),
        "length": f"{found.duration_s:.1f} s, {found.samples} samples at {found.rate_hz:g} Hz",
        "units as found": ", ".join(found.units),
        "derived": ", ".join(found.derived),
        "skipped": ", ".join(found.skipped),
        "not recorded": f"{quality.missing:.1%}" if quality.missing else "",
        **{flag: ", ".join(getattr(quality, flag)) for flag in flags},
        "quality": "no lead flagged" if quality.good else "",
        "doubtful": "; ".join(found.doubts),
        "patient": ", ".join(f"{key} {value}" for key, value in found.metadata.items()),
        "annotations": f"{found.annotations} ({found.beats} beats)" if found.annotations else "",
        **found.details,
    }


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="a recording of any format")],
    target: Annotated[Path, typer.Argument(help="what to write: .hea (WFDB), .edf or .dcm")],
    lead: LeadOption = None,
    rate: RateOption = None,
    unit: UnitOption = None,
    leads: LeadsOption = None,
    zero: ZeroOption = None,
    accept_damaged: DamagedOption = False,
    fill: Annotated[bool, typer.Option("--fill", help="write 0 mV where nothing was recorded (EDF, DICOM)")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing target")] = False,
) -> None:
    """Convert a recording to WFDB, EDF or DICOM; every value comes back within a step of the converter.

    Examples: `ecgprism convert ecg.xml ecg.edf` · `ecgprism convert data/A00001.hea ecg.dcm --lead ECG=I`
    """
    from ecgprism.formats.conversion import convert as run_conversion

    declared = declaration(lead, rate, unit, leads, zero, accept_damaged)
    written = run_conversion(source, target, declared=declared, fill=fill, overwrite=overwrite, note=say)
    out_console.print(f"[bold]{escape(str(written))}[/]: written")


@app.command()
def anonymize(
    source: Annotated[Path, typer.Argument(help="a DICOM, GE MUSE, Sierra or aECG XML, SCP-ECG or EDF file")],
    target: Annotated[Path, typer.Argument(help="the copy to write; its name must not tell the patient either")],
    key: Annotated[str, typer.Option(help="a secret from which new identifiers are made (DICOM, aECG)")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing target")] = False,
) -> None:
    """Write a copy without identity: samples, leads, filters, age and sex alone; verified before it is there.

    Not covered: the heartbeat itself, rare diagnoses, and a number or word that could be a technical one. A person
    must review the copy before it is given away.

    Example: `ecgprism anonymize ecg.dcm clean.dcm`
    """
    from ecgprism.formats.anonymisation.copies import anonymize

    written = anonymize(source, target, key=key, overwrite=overwrite, note=say)
    out_console.print(f"[bold]{escape(str(written))}[/]: written and verified; review it before you give it away")


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
    snr_db: Annotated[float | None, typer.Option(help="signal-to-noise ratio (default: drawn, about 23)")] = None,
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
    target = needed(out, "--out DIR")
    options: dict[str, Any] = {"seed": seed, "rate_hz": rate, "duration_s": seconds, "snr_db": snr_db}
    if condition:
        options["conditions"] = _severities(condition)
    with progress_bar("simulating") as update:
        if file_format is Formats.CORPUS:
            from ecgprism.corpus.ingestion import ingest as run_ingest

            options |= {"n": n, "task": task.value}
            run_ingest(
                "simulated", None, target, rate_hz=rate, options=options, workers=workers, overwrite=overwrite,
                progress=update, note=say,
            )  # fmt: skip
        else:
            from ecgprism.sources.synthesis import synthesise

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
