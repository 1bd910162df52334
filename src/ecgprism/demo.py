"""The demo: simulated ECGs, a fused model against each view alone, a prediction on a file. No download, no data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import wfdb
from rich.console import Console
from rich.table import Table

from ecgprism import formats
from ecgprism.config import Config, parse_config
from ecgprism.console import duration
from ecgprism.errors import EcgprismError
from ecgprism.evaluation import evaluate
from ecgprism.ingestion import ingest
from ecgprism.plots import draw_ecg, draw_history
from ecgprism.prediction import predict
from ecgprism.simulator import simulate
from ecgprism.training import Watch, fit

MARK = ".ecgprism-demo"  # what this command made, it may replace
UNSEEN_SEED = 1  # the predicted file is of a patient whom no training has seen
VIEWS = {
    "wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 24}}},
    "stft": {"view": "spectrogram", "encoder": {"crnn2d": {"width": 16}}},
    "freq": {"view": "spectrum", "encoder": "mlp"},
    "meta": {"view": "metadata", "encoder": "mlp"},
}


class _Line(Watch):
    """One line that is written over: model, epoch, validation AUROC."""

    def __init__(self, console: Console, name: str, epochs: int) -> None:
        self.console, self.name, self.epochs = console, name, epochs

    def epoch(self, row: dict[str, float], improved: bool) -> None:  # type: ignore[override]
        """Tell the epoch."""
        self.console.print(
            f"  {self.name}: epoch {int(row['epoch'])}/{self.epochs}, validation AUROC {row['val_macro_auroc']:.3f}",
            end="\r" if self.console.is_terminal else "\n",
        )


def run_demo(out: Path, records: int, epochs: int, console: Console) -> None:
    """Run the whole product once on `records` simulated recordings and leave everything in the folder `out`.

    Raises EcgprismError when `out` holds something that an earlier demo did not make.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).is_file():
            raise EcgprismError(f"{out}: is not empty and not of an earlier demo; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    console.print(f"1. Simulating {records} twelve-lead ECGs of {records // 2} patients, and storing them as a corpus")
    corpus = ingest("simulated", None, out / "corpus", options={"n": records})
    console.print(f"   {corpus.records} recordings in {corpus.path}; {corpus.split_rule}")
    console.print("2. Training one model on all views together, and one on each view alone, with the same budget")
    table = Table("view", "macro AUROC on test", "95% interval", "training", title="What each view is worth alone")
    histories = {}
    for name in ("fused", *VIEWS):
        views = VIEWS if name == "fused" else {name: VIEWS[name]}
        config = _config(corpus.path, views, epochs)
        fitted = fit(config, out / "runs" / name, watch=_Line(console, name, epochs))
        value, low, high = evaluate(fitted.path).value("macro_auroc")
        histories[name] = fitted.history
        table.add_row(name, f"{value:.3f}", f"{low:.3f}-{high:.3f}", duration(fitted.seconds))
    console.print(table)
    console.print(
        "   fused: all views together; wave: the signal; stft: its spectrogram; freq: its spectrum; meta: age, sex, ..."
    )
    console.print("3. Predicting on a file of a patient whom the models have not seen")
    file = _write_file(out)
    answer = predict(out / "runs" / "fused", [file]).iloc[0]
    shown = ", ".join(f"{key.removeprefix('p_')} {answer[key]:.2f}" for key in answer.index if key.startswith("p_"))
    truth = simulate(0, seed=UNSEEN_SEED).labels
    console.print(f"   {file}: {shown}\n   labels: {answer['labels'] or 'none'} (true: {', '.join(truth)})")
    draw_ecg(formats.read(file), out / "ecg.png", f"{file.name}: {answer['labels'] or 'no label'}")
    draw_history(histories, out / "training.png")
    console.print(f"   pictures: {out / 'ecg.png'}, {out / 'training.png'}")
    console.print(
        "\nNext, on your own data: one CSV with the columns path, record_id, patient_id, labels (and age, sex, ...):\n"
        "  ecgprism ingest manifest mine.csv --out corpora/mine\n"
        f"  ecgprism train {out / 'runs' / 'fused' / 'config.yaml'} corpus=corpora/mine task=labels --out runs/mine\n"
        "  ecgprism evaluate runs/mine"
    )


def _config(corpus: Path, views: Mapping[str, object], epochs: int) -> Config:
    train = {"epochs": epochs, "batch_size": 64, "lr": 3e-3, "ema": 0.95}
    return parse_config({"corpus": str(corpus), "task": "simulated", "views": views, "train": train})


def _write_file(out: Path) -> Path:
    """Write one recording as a WFDB file, as a device would give it."""
    recording = simulate(0, seed=UNSEEN_SEED).recording
    wfdb.wrsamp(
        "unseen",
        fs=recording.rate_hz,
        units=["mV"] * len(recording.leads),
        sig_name=list(recording.leads),
        p_signal=recording.signal.T.astype("float64"),
        fmt=["16"] * len(recording.leads),
        adc_gain=[1000.0] * len(recording.leads),
        baseline=[0] * len(recording.leads),
        comments=[f"{key}: {value}" for key, value in recording.metadata.items() if key in ("age", "sex")],
        write_dir=str(out),
    )
    return out / "unseen.hea"
