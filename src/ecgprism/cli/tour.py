"""The demo: simulated ECGs, a fused model against each view alone, a prediction on a file. No download, no data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ecgprism.cli.terminal import say
from ecgprism.config import Config, parse_config
from ecgprism.corpus.ingestion import ingest
from ecgprism.errors import EcgprismError
from ecgprism.evidence.comparison import compare
from ecgprism.evidence.evaluation import evaluate
from ecgprism.formats import reading
from ecgprism.prediction.files import predict
from ecgprism.presentation.curves import plot_intervals, plot_training
from ecgprism.presentation.paper import plot
from ecgprism.presentation.style import save
from ecgprism.presentation.tables import show_predictions
from ecgprism.simulator.conditions import CONDITIONS
from ecgprism.simulator.simulation import simulate
from ecgprism.sources.synthesis import write_wfdb
from ecgprism.training.run import fit
from ecgprism.training.watch import Watch, duration

MARK = ".ecgprism-demo"  # what this command made, it may replace
OWN = re.compile(rf"{re.escape(MARK)}|corpus|corpus\.partial|runs|unseen\.(hea|dat|atr|wave)|(ecg|training|views)\.png")
UNSEEN_SEED, UNSEEN = 1, {"lbbb": 0.6, "atrial_fibrillation": 0.4}  # the predicted file: a patient no training has seen
VIEWS = {
    "wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 24, "stages": 3}}},
    "stft": {"view": "spectrogram", "encoder": {"crnn2d": {"width": 12}}},
    "freq": {"view": "spectrum", "encoder": "mlp"},
    "meta": {"view": "metadata", "encoder": "mlp"},
}
MEANING = {
    "fused": "all views together",
    "wave": "the signal itself (1-D CNN, bidirectional LSTM)",
    "stft": "its spectrogram (2-D CNN)",
    "freq": "its spectrum",
    "meta": "age, sex, height, weight",
}


class _Line(Watch):
    """One line that is written over: model, epoch, validation AUROC."""

    def __init__(self, console: Console, name: str, epochs: int) -> None:
        self.console, self.name, self.epochs = console, name, epochs

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Tell the epoch."""
        last = int(row["epoch"]) == self.epochs
        self.console.print(
            f"   {self.name}: epoch {int(row['epoch'])} of {self.epochs}, "
            f"AUROC on validation {row['val_macro_auroc']:.3f}  ",
            end="\r" if self.console.is_terminal and not last else "\n",
        )


def run_demo(out: Path, records: int, epochs: int, console: Console) -> None:
    """Run the whole product once on `records` simulated recordings and leave everything in the folder `out`.

    Raises EcgprismError when `out` holds something that an earlier demo did not make.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).is_file():
            raise EcgprismError(f"{out}: is not empty and not of an earlier demo; choose another --out")
        if foreign := sorted(path.name for path in out.iterdir() if not OWN.fullmatch(path.name)):
            raise EcgprismError(f"{out}: holds {foreign[0]!r} besides a demo, so it is not replaced; move that away")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    console.print(f"1. Simulating {records} twelve-lead ECGs of {records // 2} patients, with noise, as a corpus")
    options = {"n": records, "task": "superdiagnostic"}
    corpus = ingest("simulated", None, out / "corpus", options=options, note=say)
    console.print(
        f"   {corpus.path}: every recording is labelled NORM (normal), MI (infarction), STTC (ST or T change), CD\n"
        "   (conduction disturbance), HYP (hypertrophy), several at once or none of them"
    )
    console.print(
        f"2. Training one model on all views together and one on each view alone, {epochs} epochs each;\n"
        "   patients of the test part are in no training"
    )
    rows, histories = {}, {}
    for name in ("fused", *VIEWS):
        views = VIEWS if name == "fused" else {name: VIEWS[name]}
        fitted = fit(_config(corpus.path, views, epochs), out / "runs" / name, watch=_Line(console, name, epochs))
        rows[name] = (*evaluate(fitted.path, note=say).value("macro_auroc"), fitted.seconds)
        histories[name] = fitted.history
    _show(rows, console)
    console.print(f"   {_worth(out / 'runs', rows)}", highlight=False)
    for name in [name for name in VIEWS if rows[name][1] <= 0.5 <= rows[name][2]]:
        console.print(
            f"   {name} alone cannot be told from guessing on so few patients: {MEANING[name]} say little.",
            highlight=False,
        )
    console.print("3. Predicting on a file of a patient whom no training has seen")
    file = _write_file(out)
    answers = predict(out / "runs" / "fused", [file])
    labels, truth = answers["labels"].iloc[0], " and ".join(CONDITIONS[name].title for name in UNSEEN)
    console.print(f"   {file}: labels {labels or 'none'} (simulated with {truth})")
    show_predictions(console, answers)
    save(plot(reading.read(file), f"{file.name}: {labels or 'no label'}"), out / "ecg.png")
    save(plot_training(histories), out / "training.png")
    told = {f"{name}: {MEANING[name]}": row[:3] for name, row in rows.items()}
    save(plot_intervals(told, "macro AUROC"), out / "views.png")
    console.print(f"   pictures: {out / 'ecg.png'}, {out / 'views.png'}, {out / 'training.png'}")
    console.print(
        "\nNext, on your own data: one CSV with the columns path, record_id, patient_id, labels (and age, sex, ...):\n"
        "  ecgprism ingest manifest mine.csv --out corpora/mine\n"
        "  ecgprism init --corpus corpora/mine --out mine.yaml\n"
        "  ecgprism train mine.yaml --out runs/mine\n"
        "  ecgprism evaluate runs/mine"
    )


def _show(rows: Mapping[str, tuple[float, float, float, float]], console: Console) -> None:
    table = Table(
        "view", "macro AUROC on test", "95% interval", "training", "what it sees", title="What each view tells"
    )
    for name, (value, low, high, seconds) in rows.items():
        table.add_row(name, f"{value:.3f}", f"{low:.3f}-{high:.3f}", duration(seconds), MEANING[name])
    console.print(table)
    console.print("   AUROC: 0.5 is guessing, 1 is perfect; where intervals overlap, do not call one view better")


def _worth(runs: Path, rows: Mapping[str, tuple[float, float, float, float]]) -> str:
    """Return a sentence on whether all views together are better than the best one alone, on the same patients."""
    best = max(VIEWS, key=lambda name: rows[name][0])
    report = compare([runs / "fused", runs / best])
    found = report.pairs[0].metrics["macro_auroc"]
    interval = f"{found.low:+.3f} to {found.high:+.3f}"
    said = f"{found.value:+.3f} ({interval}) in macro AUROC, the same {report.patients} patients"
    if found.low > 0:
        return f"All views together are better than {best} alone: {said}. That is what fusion is for."
    if found.high < 0:
        return f"All views together are worse than {best} alone: {said}. `ecgprism ablate` finds out which view costs."
    return (
        f"Whether all views together are better than {best} alone cannot be told here: {said}.\n"
        "   So few patients show only large differences; `ecgprism ablate --folds 5` tests on all of them."
    )


def _config(corpus: Path, views: Mapping[str, object], epochs: int) -> Config:
    train = {"epochs": epochs, "batch_size": 32, "lr": 3e-3, "ema": 0.97}
    return parse_config({"corpus": str(corpus), "task": "superdiagnostic", "views": views, "train": train})


def _write_file(out: Path) -> Path:
    """Write one recording as a WFDB file, as a device would give it."""
    write_wfdb(simulate(0, seed=UNSEEN_SEED, rate_hz=500.0, conditions=UNSEEN), out, "unseen")
    return out / "unseen.hea"
