"""prepare(): everything that is decided before the first training step, checked, with nothing written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgprism.config import Config
from ecgprism.corpus.store import Corpus, Examples
from ecgprism.ecg.recorded_noise import RecordedNoise
from ecgprism.errors import EcgprismError, listed
from ecgprism.interface.card import InputSpec, MetadataSchema, Task
from ecgprism.model.prism import PrismModel, common_leads
from ecgprism.registry import load_plugin
from ecgprism.training.devices import check_device
from ecgprism.training.loggers import check_loggers
from ecgprism.training.teachers import lesson
from ecgprism.training.warm_start import PartOutcome, check_parts, never_learnt, take_weights, untouched

NAMED = 30  # classes in a message


@dataclass(frozen=True)
class Preparation:
    """Everything that is decided before the first step: data, input specification, task and the untrained model.

    `target` (N, K) is what training learns: the labels, or what teachers made of them. `noise` holds the recorded noise
    (C, T) of the augmentation, at the corpus's rate; `loaded` tells which parts of the model began with the weights of
    another one, `notes` what the user should know.
    """

    config: Config
    corpus: Corpus
    task_name: str
    task: Task
    examples: Mapping[str, Examples]
    model: PrismModel
    target: NDArray[np.float32]
    noise: Sequence[NDArray[np.float32]] = ()
    loaded: Sequence[PartOutcome] = ()
    notes: Sequence[str] = ()


def prepare(
    config: Config, corpus: Corpus | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> Preparation:
    """Check the data against the configuration, ask the teachers and build the model, writing nothing.

    Raises EcgprismError or ConfigError: a leak between splits, a class without a positive training record, an empty
    split, a component or a shape that does not fit.
    """
    for plugin in config.plugins:
        load_plugin(plugin)
    check_loggers(config.train.loggers)
    check_device(config.train)
    corpus = corpus or Corpus(config.corpus)
    task_name, task = corpus.task(config.task)
    if config.fold is not None:
        corpus = corpus.folded(task_name, config.fold)
    corpus.refuse_leaks()
    task, notes = _chosen_classes(config, corpus, task_name, task)
    examples = {split: corpus.select(task_name, (split,), task.classes) for split in ("train", "val", "test")}
    for split in ("train", "val"):
        if not len(examples[split]):
            raise EcgprismError(f"{corpus.path}: no record of split {split} has a label of task {task_name}")
    _refuse_unseen(corpus.path, task_name, task, examples["train"])
    longest_s = float(examples["train"].length.max()) / corpus.rate_hz
    if config.window_s > 2 * longest_s:
        raise EcgprismError(f"window_s = {config.window_s:g}: the longest training record has {longest_s:g} s")
    leads = common_leads(config.leads, corpus.leads, str(corpus.path))
    schema = MetadataSchema.fit(corpus.metadata_of(examples["train"]), corpus.meta.metadata)
    spec = InputSpec(leads, corpus.rate_hz, round(config.window_s * corpus.rate_hz), schema)
    torch.manual_seed(config.train.seed)
    model = PrismModel.from_config(config, spec, task)
    model.card.task_name = task_name
    model.card.lead_aliases = dict(corpus.meta.lead_aliases)
    model.card.fingerprint = corpus.fingerprint
    noise = config.augment.noise_from
    recorded = RecordedNoise.read(noise, corpus.rate_hz, "first").kinds.values() if noise is not None else ()
    check_parts(model, config.train)
    loaded = take_weights(model, PrismModel.load(config.init)) if config.init is not None else untouched(model)
    notes += never_learnt(config.train, loaded)
    target = examples["train"].target.astype(np.float32)
    if config.distill is not None:
        learnt = lesson(config.distill, corpus, task, examples, progress)
        target, notes = learnt.target, [*notes, *learnt.notes]
    return Preparation(config, corpus, task_name, task, examples, model, target, tuple(recorded), loaded, notes)


def _chosen_classes(config: Config, corpus: Corpus, task_name: str, task: Task) -> tuple[Task, list[str]]:
    """Return the task with the classes that are wanted and have enough positives, and a note on the others.

    Positives are counted over the whole corpus: every fold of it has the same classes.
    """
    if config.classes is not None:
        task = replace(task, classes=tuple(config.classes))
    if not config.min_positives:
        return task, []
    counts = corpus.select(task_name, classes=task.classes).target.sum(axis=0).tolist()
    rare = {name: n for name, n in zip(task.classes, counts, strict=True) if n < config.min_positives}
    kept = tuple(name for name in task.classes if name not in rare)
    if len(kept) < (2 if task.kind == "multiclass" else 1):
        raise EcgprismError(
            f"min_positives = {config.min_positives}: leaves {len(kept)} of {len(task.classes)} classes of task "
            f"{task_name}; the most frequent has {max(counts)} positives"
        )
    most_first = sorted(rare, key=lambda name: -rare[name])
    told = listed([f"{name} {rare[name]}" for name in most_first], NAMED)
    notes = [f"classes with fewer than {config.min_positives} positives are left out: {told}"] if rare else []
    return replace(task, classes=kept), notes


def _refuse_unseen(where: Path, task_name: str, task: Task, train: Examples) -> None:
    """Raise EcgprismError for classes that training has no positive of, all of them at once."""
    positives = dict(zip(task.classes, train.target.sum(axis=0).tolist(), strict=True))
    unseen = [name for name in task.classes if not positives[name]]
    if not unseen:
        return
    others = [name for name in task.classes if positives[name]]
    chosen = f"classes=[{', '.join(others[:3])}{', ...' if len(others) > 3 else ''}]"
    which = f"class {unseen[0]!r}" if len(unseen) == 1 else f"{len(unseen)} classes ({listed(unseen, NAMED)})"
    raise EcgprismError(
        f"{where}: {which} of task {task_name} {'has' if len(unseen) == 1 else 'have'} no positive example in train; "
        f"leave {'it' if len(unseen) == 1 else 'them'} out with {chosen}, or the rare ones with min_positives=10"
    )


def one_batch(prepared: Preparation) -> Preparation:
    """Cut the data to one batch a split, and the training to one epoch."""
    size = prepared.config.train.batch_size
    options = prepared.config.train.model_copy(update={"epochs": 1, "monitor": "loss"})
    return replace(
        prepared,
        config=prepared.config.model_copy(update={"train": options}),
        examples={split: examples.first(size) for split, examples in prepared.examples.items()},
        target=prepared.target[:size],
    )
