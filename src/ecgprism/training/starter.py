"""A first configuration for a corpus: what fits it, with the reasons beside it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from ecgprism.config import Config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.interface.card import Task, is_multiclass
from ecgprism.training.batches import TrainingBatches
from ecgprism.training.losses import class_weights, of_records
from ecgprism.training.preparation import prepare

EPOCHS, BATCH_SIZE, LONGEST_WINDOW_S = 20, 32, 30.0
RARE = 10  # positives: below, a class is neither learnt nor judged


@dataclass(frozen=True)
class Starter:
    """A configuration that can be trained at once, as YAML with its reasons, and how long an epoch will take."""

    text: str
    seconds_per_epoch: float


def first_configuration(corpus: Corpus, task: str | None = None) -> Starter:
    """Return a first configuration for a corpus, and time one step of it on this machine.

    Raises EcgprismError for a task that there is not, and for a corpus that cannot be trained on.
    """
    name, known = corpus.task(task if task or len(corpus.tasks) == 1 else next(iter(corpus.tasks)))
    examples = corpus.select(name)
    longest_s, window_s = _lengths_s(corpus, examples)
    columns = [column for column in ("age", "sex") if column in corpus.meta.metadata]
    views = {
        "wave": {"view": "waveform", "encoder": "cnn_bilstm"},
        "stft": {"view": "spectrogram", "encoder": "crnn2d"},
        **({"meta": {"view": {"metadata": {"columns": columns}}, "encoder": "mlp"}} if columns else {}),
    }
    rare = [label for label, n in _counts(known, examples).items() if n < RARE]
    tree = {
        "corpus": str(corpus.path), "task": name, "window_s": window_s, "views": views, "fusion": "concat",
        **({"min_positives": RARE} if rare else {}),
        "augment": {
            "scale": 0.1, "crop": 0.8, "noise_db": [10, 40],
            **({"lead_dropout": 0.05} if len(corpus.leads) > 1 else {}),
        },
        "train": {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "lr": 2e-3},
    }  # fmt: skip
    seconds = _seconds_per_epoch(Config(**tree))
    return Starter(_text(corpus, known, examples, tree, rare, longest_s, seconds), seconds)


def _lengths_s(corpus: Corpus, examples: Examples) -> tuple[float, float]:
    """Return the longest item and a window that holds most of them whole, in seconds."""
    lengths_s = examples.length / corpus.rate_hz
    usual = float(np.quantile(lengths_s, 0.9))
    return float(lengths_s.max()), float(round(min(usual, LONGEST_WINDOW_S), 2))


def _counts(task: Task, examples: Examples) -> dict[str, int]:
    return dict(zip(task.classes, examples.target.sum(axis=0).tolist(), strict=True))


def _seconds_per_epoch(config: Config) -> float:
    """Time one training step, the second of two, times the steps of an epoch."""
    prepared = prepare(config)
    inputs = CorpusAssembler(prepared.corpus, prepared.examples["train"], prepared.model.spec)
    batches = TrainingBatches(inputs, prepared.model.spec.window, config.train.batch_size, 0)
    batch = next(iter(batches))
    assert batch.target is not None
    weight = class_weights(prepared.examples["train"].target, prepared.task.kind, "none")
    for _ in range(2):
        began = time.monotonic()
        of_records(prepared.model(batch).fused, batch.target, prepared.task.kind, weight).mean().backward()
        took_s = time.monotonic() - began
    return took_s * len(batches)


def _text(
    corpus: Corpus, task: Task, examples: Examples, tree: dict[str, object], rare: list[str], longest_s: float,
    seconds: float,
) -> str:  # fmt: skip
    counts = ", ".join(f"{label} {n}" for label, n in _counts(task, examples).items())
    kind = "exactly one class a record" if is_multiclass(task.kind) else "any number of classes a record"
    others = [name for name in corpus.tasks if name != tree["task"]]
    machine = "a GPU" if torch.cuda.is_available() else f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    why = {
        "corpus": f"{len(corpus)} records at {corpus.rate_hz:g} Hz, leads {', '.join(corpus.leads)}",
        "task": f"{task.kind}: {kind}; {counts}" + (f"; other tasks: {', '.join(others)}" if others else ""),
        "window_s": f"the longest record has {longest_s:g} s; longer ones are read in overlapping windows",
        "views": "remove a line and the model has one view fewer; `ecgprism list views` shows all",
        "fusion": "`ecgprism list fusions` shows all",
        "min_positives": f"leaves out {', '.join(rare)}",
        "augment": "each is off without its line",
        "train": f"about {seconds:.0f} s an epoch here ({machine})",
    }
    lines = ["# A first configuration, made by `ecgprism init`. Train it with: ecgprism train THIS.yaml --out RUN"]
    for key, value in tree.items():
        style = None if isinstance(value, dict) else False  # a line for each thing, as people write it
        lines += [f"# {why[key]}", yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=style).rstrip()]
    return "\n".join(lines) + "\n"


def write_starter(corpus: str | Path, out: str | Path, task: str | None = None) -> Starter:
    """Write a first configuration for a corpus. Raises EcgprismError; an existing file is not replaced."""
    made = first_configuration(Corpus(corpus), task)
    with Path(out).open("x", encoding="utf-8") as file:
        file.write(made.text)
    return made
