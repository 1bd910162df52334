"""A first configuration for a corpus: what fits it, with the reasons beside it."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from ecgprism.config import Config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError, EcgprismError, listed
from ecgprism.interface.card import Task, is_multiclass
from ecgprism.interface.inputs import Windows
from ecgprism.model.views.fourier import BandPower
from ecgprism.training.batches import TrainingBatches
from ecgprism.training.losses import class_weights, of_records
from ecgprism.training.preparation import Preparation, prepare

EPOCHS, LEAST_STEPS = 20, 10  # an epoch of fewer steps learns little
SHORTEST_WINDOW_S, LONGEST_WINDOW_S, CROP = 0.5, 30.0, 0.8
RARE = 10  # positives: below, a class is neither learnt nor judged
NAMED = 25  # classes or columns in a comment
MOST_MISSING, MOST_CATEGORIES = 0.3, 20  # of a metadata column; what is missing may tell the hospital, not the patient
LEAST_BATCH = 8
LARGEST_BATCH = {"cpu": 64, "cuda": 256}
PROBED = 4  # records of the batch that is measured
SHARE_OF_MEMORY = 0.25
FRAME_S, HOP_S, BAND_HZ, LEAST_FRAMES = 0.64, 0.16, 40.0, 8  # of the spectrogram, as it is by itself


@dataclass(frozen=True)
class Starter:
    """A configuration that can be trained at once, as YAML with its reasons, and how long an epoch will take."""

    text: str
    seconds_per_epoch: float


@dataclass(frozen=True)
class Classes:
    """What can be learnt: all with their items; those left out for being rare, those that training has none of."""

    counts: Mapping[str, int]
    rare: Sequence[str]
    unseen: Sequence[str]

    @property
    def kept(self) -> list[str]:
        """The classes that are left."""
        return [name for name in self.counts if name not in self.rare and name not in self.unseen]


def first_configuration(corpus: Corpus, task: str | None = None) -> Starter:
    """Return a first configuration for a corpus, and time a step of it on this machine.

    Raises EcgprismError for a task that there is not, and with the reason for a corpus that cannot be trained on.
    """
    name, known = corpus.task(task if task or len(corpus.tasks) == 1 else next(iter(corpus.tasks)))
    examples = corpus.select(name)
    classes = _learnable(corpus, name, known)
    lengths_s = examples.length / corpus.rate_hz
    window_s = max(round(min(float(np.quantile(lengths_s, 0.9)), LONGEST_WINDOW_S), 2), SHORTEST_WINDOW_S)
    columns, unused = _columns(corpus, name, classes.kept)
    views, why_views = _views(corpus.rate_hz, window_s, columns)
    tree: dict[str, Any] = {
        "corpus": str(corpus.path), "task": name,
        **({"classes": classes.kept} if classes.unseen else {}),
        **({"min_positives": RARE} if classes.rare and not classes.unseen else {}),
        "window_s": window_s, "views": views, "fusion": "concat",
        "augment": {
            "scale": 0.1, "crop": CROP, "noise_db": [10, 40],
            **({"lead_dropout": 0.05} if len(corpus.leads) > 1 else {}),
        },
        "train": {"epochs": EPOCHS, "batch_size": PROBED, "lr": 2e-3},
    }  # fmt: skip
    prepared = prepare(Config(**tree), corpus)
    if not _can_monitor(prepared):
        tree["train"]["monitor"] = "loss"
    tree["train"]["batch_size"] = _batch_size(prepared)
    seconds = _seconds_per_epoch(prepared, tree["train"]["batch_size"])
    rarest_last = sorted(classes.rare, key=lambda each: -classes.counts[each])
    why = {
        "corpus": f"{len(corpus)} records at {corpus.rate_hz:g} Hz, leads {', '.join(corpus.leads)}",
        "task": _why_task(corpus, name, known, classes),
        "classes": f"without {listed(list(classes.unseen), NAMED)}, of which training has none",
        "min_positives": f"too few to learn from: {listed(_with_counts(classes.counts, rarest_last), NAMED)}",
        "window_s": f"the longest has {lengths_s.max():g} s; what is longer is read in overlapping windows",
        "views": f"{why_views}; remove a line and the model has one view fewer; `ecgprism list views` shows all"
        + _why_columns(columns, unused),
        "fusion": "`ecgprism list fusions` shows all",
        "augment": "each is off without its line",
        "train": _why_training(tree, seconds),
    }
    return Starter(_text(tree, why), seconds)


def _learnable(corpus: Corpus, task: str, known: Task) -> Classes:
    """Return which classes can be learnt. Raises EcgprismError, with the reason, where nothing can."""
    target = corpus.select(task).target
    counts = dict(zip(known.classes, target.sum(axis=0).tolist(), strict=True))
    train = dict(zip(known.classes, corpus.select(task, "train").target.sum(axis=0).tolist(), strict=True))
    rare = [name for name, n in counts.items() if n < RARE]
    classes = Classes(counts, rare, [name for name in counts if name not in rare and not train[name]])
    one = len(classes.kept) == 1 and (is_multiclass(known.kind) or counts[classes.kept[0]] == len(target))
    if classes.kept and not one:
        return classes
    told = listed(_with_counts(counts, counts), NAMED)
    if one and len(counts) == 1:
        what = f"every record has the one class {classes.kept[0]!r}: there is nothing to tell it from"
    elif one:
        what = f"one class alone has {RARE} records, so there is nothing to tell it from ({told})"
    else:
        what = f"too few records to learn from: a class needs {RARE} of them, some in training ({told})"
    raise EcgprismError(f"{corpus.path}: task {task}: {what}")


def _columns(corpus: Corpus, task: str, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the metadata columns that a model can use, and the others with the reason."""
    table = corpus.metadata_of(corpus.select(task, "train", classes))
    reasons = {name: _no_use(table[name]) for name in corpus.meta.metadata}
    return [name for name, why in reasons.items() if not why], [
        f"{name} ({why})" for name, why in reasons.items() if why
    ]


def _no_use(column: pd.Series[Any]) -> str:
    """Return why a metadata column is of no use in training, empty where it is."""
    missing, different = float(column.isna().mean()), column.nunique()
    if missing > MOST_MISSING:
        return f"{missing:.0%} missing"
    if different < 2:
        return "all the same"
    if not pd.api.types.is_numeric_dtype(column) and different > MOST_CATEGORIES:
        return f"{different} different words"
    return ""


def _views(rate_hz: float, window_s: float, columns: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the views that fit, and why."""
    views: dict[str, Any] = {"wave": {"view": "waveform", "encoder": "cnn_bilstm"}}
    frame_s, hop_s, high_hz = FRAME_S, HOP_S, min(BAND_HZ, rate_hz / 2)
    shortest_s = window_s * CROP
    if shortest_s < frame_s + (LEAST_FRAMES - 1) * hop_s:
        frame_s = round(shortest_s / 4, 3)
        hop_s = round(frame_s / 4, 3)
    given = {"window_s": frame_s, "hop_s": hop_s, "high_hz": high_hz}
    usual = {"window_s": FRAME_S, "hop_s": HOP_S, "high_hz": BAND_HZ}
    options = {key: value for key, value in given.items() if value != usual[key]}
    why = "the views that fit"
    try:
        BandPower(rate_hz, frame_s, hop_s, 0.5, high_hz)
    except ConfigError:
        why = f"no spectrogram: {window_s:g} s at {rate_hz:g} Hz are too short for one"
    else:
        views["stft"] = {"view": {"spectrogram": options} if options else "spectrogram", "encoder": "crnn2d"}
    if columns:
        views["meta"] = {"view": {"metadata": {"columns": list(columns)}}, "encoder": "mlp"}
    return views, why


def _can_monitor(prepared: Preparation) -> bool:
    """Whether validation has a class with positives and negatives, so that an AUROC exists."""
    positives = prepared.examples["val"].target.sum(axis=0)
    return bool(((positives > 0) & (positives < len(prepared.examples["val"]))).any())


def _batches(prepared: Preparation, batch_size: int) -> TrainingBatches:
    inputs = CorpusAssembler(prepared.corpus, prepared.examples["train"], prepared.model.spec)
    return TrainingBatches(inputs, prepared.model.spec.window, batch_size, prepared.config.train.seed)


def _batch_size(prepared: Preparation) -> int:
    """Return a power of two: what the memory holds, and so small that an epoch has some steps."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    records = len(prepared.examples["train"])
    held = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal held
        held += tensor.nbytes
        return tensor

    batch = next(iter(_batches(prepared, PROBED)))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        prepared.model(batch)
    of_memory = _free_bytes(device) * SHARE_OF_MEMORY * len(batch.signal) / max(held, 1)
    most = min(LARGEST_BATCH[device], of_memory, max(records / LEAST_STEPS, LEAST_BATCH))
    return int(2 ** np.floor(np.log2(max(most, 1))))


def _free_bytes(device: str) -> float:
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # a system that does not say it
        return 2.0 * 2**30


def _seconds_per_epoch(prepared: Preparation, batch_size: int) -> float:
    """Time one training step, the second of two, times the steps of an epoch, and validation by its windows."""
    task, spec = prepared.task, prepared.model.spec
    batches = _batches(prepared, batch_size)
    batch = next(iter(batches))
    assert batch.target is not None
    weight = class_weights(prepared.examples["train"].target, task.kind, "none")
    for _ in range(2):
        began = time.monotonic()
        loss = of_records(prepared.model(batch).fused, batch.target, task.kind, weight).mean()
        ahead_s = time.monotonic() - began
        loss.backward()
        took_s = time.monotonic() - began
    windows = len(Windows.cover(prepared.examples["val"].length, spec.window).item)
    return took_s * len(batches) + ahead_s * windows / len(batch.signal)


def _why_task(corpus: Corpus, name: str, task: Task, classes: Classes) -> str:
    kind = "exactly one class" if is_multiclass(task.kind) else "any number of classes"
    most_first = sorted(classes.counts, key=lambda each: -classes.counts[each])
    others = [other for other in corpus.tasks if other != name]
    thing = "a record" if corpus.meta.items == corpus.meta.records else "an item"
    told = listed(_with_counts(classes.counts, most_first), NAMED)
    return f"{task.kind}: {kind} {thing}; {told}" + (f"; other tasks: {', '.join(others)}" if others else "")


def _with_counts(counts: Mapping[str, int], names: Sequence[str] | Mapping[str, int]) -> list[str]:
    return [f"{name} {counts[name]}" for name in names]


def _why_columns(columns: Sequence[str], unused: Sequence[str]) -> str:
    """Return a warning about metadata, and which columns are left out."""
    told = ". Of the metadata keep what a new patient comes with; what tells the place alone is no sign of disease"
    return (told if columns else "") + (f". Metadata left out: {listed(unused, NAMED)}" if unused else "")


def _why_training(tree: Mapping[str, Any], seconds: float) -> str:
    cores = os.cpu_count() or 1
    threads = torch.get_num_threads()
    on = "a GPU" if torch.cuda.is_available() else f"{threads} thread{'s' if threads > 1 else ''} of {cores} cores"
    epochs = tree["train"]["epochs"]
    why = (
        f"about {_duration(seconds * epochs)} for {epochs} epochs here (on {on}); the batch fits this machine's memory"
    )
    return why + ("; by loss, for validation has no class both ways" if "monitor" in tree["train"] else "")


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{max(round(seconds), 1)} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _text(tree: Mapping[str, Any], why: Mapping[str, str]) -> str:
    """Return the YAML, each key below its reason."""
    lines = ["# A first configuration, made by `ecgprism init`. Train it with: ecgprism train THIS.yaml --out RUN"]
    for key, value in tree.items():
        # whatever a class is called, it stays inside the comment
        reason = " ".join("".join(each if each.isprintable() else " " for each in why[key]).split())
        lines += textwrap.wrap(reason, 110, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
        style = None if isinstance(value, dict) else False  # a line for each thing, as people write it
        lines.append(yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=style, width=110).rstrip())
    return "\n".join(lines) + "\n"


def init(corpus: str | Path, out: str | Path, task: str | None = None) -> Starter:
    """Write a first configuration for a corpus. Raises EcgprismError; an existing file is not replaced."""
    if Path(out).exists():
        raise EcgprismError(f"{out}: exists already; choose another file")
    made = first_configuration(Corpus(corpus), task)
    with Path(out).open("x", encoding="utf-8") as file:
        file.write(made.text)
    return made
