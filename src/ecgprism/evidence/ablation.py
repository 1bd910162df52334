"""The trainings behind a ledger: every subset of views that it needs, in parallel processes, resumable after any kill.

A training is one folder under `runs/`: an ordinary run, with its predictions on validation and test beside the model.
Folder names are `<views>/fold<k>-seed<s>`; with the corpus's own split, `<views>/seed<s>`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgprism.config import Config, parse_config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.evidence.ensembles import Ensemble, ensemble
from ecgprism.evidence.run import answers_on, as_table
from ecgprism.files import atomic
from ecgprism.interface.scoring import score
from ecgprism.metrics.contrasts import CINC2017, essentials, primary
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel, parameters
from ecgprism.processes import start_worker
from ecgprism.registry import find, load_plugin, options
from ecgprism.training.devices import set_threads
from ecgprism.training.folder import COALITIONS, CONFIG, HISTORY, TEST, VALIDATION
from ecgprism.training.preparation import Preparation, prepare
from ecgprism.training.run import fit
from ecgprism.training.watch import Watch

RUNS = "runs"
POLL_S = 1.0


@dataclass(frozen=True)
class Training:
    """One training: some of the views, in the configuration's order, on one fold (0: the corpus's own split)."""

    views: tuple[str, ...]
    fold: int
    seed: int

    @property
    def folder(self) -> Path:
        """Where it goes, below the ablation's folder."""
        part = f"fold{self.fold}-seed{self.seed}" if self.fold else f"seed{self.seed}"
        return Path(RUNS, "+".join(self.views), part)


@dataclass(frozen=True)
class Ablation:
    """What an ablation trains. `folds` is 0 for the corpus's own split; `metric` is what models are judged by."""

    config: Config
    out: Path
    seeds: int
    folds: int
    size: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    metric: str = ""

    @property
    def full(self) -> tuple[str, ...]:
        """All views."""
        return tuple(self.config.views)

    @property
    def solos(self) -> list[tuple[str, ...]]:
        """Each view alone."""
        return [(view,) for view in self.full]

    @property
    def without(self) -> dict[str, tuple[str, ...]]:
        """By view, all the others."""
        return {view: tuple(other for other in self.full if other != view) for view in self.full}

    @property
    def parts(self) -> list[int]:
        """The folds' numbers."""
        return list(range(1, self.folds + 1)) if self.folds else [0]

    def config_of(self, training: Training) -> Config:
        """Return the configuration of a training: its views, fold and seed, all else as given."""
        tree = self.config.plain()
        tree["views"] = {name: tree["views"][name] for name in training.views}
        if self._leaves_fusion(training.views):
            tree["fusion"] = "concat"
        tree["fold"] = f"{training.fold}/{self.folds}" if training.fold else None
        tree["train"]["seed"] = self.config.train.seed + training.seed
        return parse_config(tree)

    def _leaves_fusion(self, views: tuple[str, ...]) -> bool:
        """Whether the fusion cannot be had of these views: nothing to fuse, or not the view that modulates (film)."""
        fusion = self.config.fusion
        modulates = "by" in options(find("fusions", fusion.name))
        by = fusion.options.get("by") or self.full[-1]  # the last one where the configuration names none
        return len(views) == 1 or (modulates and by not in views)

    def trainings(self, views: Sequence[tuple[str, ...]]) -> list[Training]:
        """Return the trainings of some subsets of views: every fold, every seed."""
        return [Training(subset, fold, seed) for subset in views for fold in self.parts for seed in range(self.seeds)]

    def ensemble(self, views: tuple[str, ...], fold: int, seeds: int | None = None) -> Ensemble:
        """Return the ensemble of a subset of views on one fold: all its seeds, or as many as asked for."""
        return ensemble([self.out / Training(views, fold, seed).folder for seed in range(seeds or self.seeds)])

    def control_seeds(self, best: str) -> int:
        """Return how many seeds of a single view have at least the parameters of the full side."""
        return max(self.seeds, math.ceil(self.seeds * self.size[self.full] / self.size[(best,)]))


@dataclass
class AblationProgress:
    """How far an ablation is: trainings and epochs done and planned, and what runs now."""

    done: int = 0
    planned: int = 0
    epochs: float = 0.0
    epochs_planned: int = 0
    running: list[str] = field(default_factory=list)


def plan(config: Config, out: Path, seeds: int, folds: int) -> Ablation:
    """Check everything that can be checked before the first training; return what is to be trained.

    Raises ConfigError or EcgprismError: fewer than two views, a subset that cannot be built, a fold without a class.
    """
    if len(config.views) < 2:
        raise ConfigError(f"views: an ablation compares at least two views; there is only {', '.join(config.views)}")
    if config.fold is not None:
        raise ConfigError(
            f"fold = {config.fold!r}: an ablation makes its own folds; leave it out and give --folds (folds=)"
        )
    for plugin in config.plugins:
        load_plugin(plugin)
    ablation = Ablation(config, out, seeds, folds)
    subsets = dict.fromkeys([*ablation.solos, *ablation.without.values(), ablation.full])
    size, metric = {}, ""
    for fold in ablation.parts:
        for subset in subsets if fold in (0, 1) else [ablation.full]:
            prepared = prepare(ablation.config_of(Training(subset, fold, 0)))
            metric = primary(prepared.task_name, prepared.task.classes)
            if fold in (0, 1):
                size[subset] = parameters(prepared.model)
            if not len(prepared.examples["test"]):
                raise EcgprismError(
                    f"{config.corpus}: its split has no test part; give --folds (folds=) to make parts of it"
                )
    return replace(ablation, size=size, metric=metric)


def train_all(
    ablation: Ablation, workers: int, threads: int, show: Callable[[AblationProgress], None] = lambda progress: None
) -> dict[int, str]:
    """Train what is not yet trained; return by fold the single view that was best on validation.

    Every training has `threads` threads, however many run at a time: its bits do not depend on `workers`.
    """
    progress = AblationProgress()
    later = [subset for subset in dict.fromkeys([*ablation.without.values(), ablation.full]) if len(subset) > 1]
    first, second = ablation.trainings(ablation.solos), ablation.trainings(later)
    progress.planned = len(first) + len(second)
    progress.epochs_planned = progress.planned * ablation.config.train.epochs
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(os.getpid(), threads)) as pool:
        try:
            _run(pool, ablation, first, progress, show)
            best = {fold: best_single(ablation, fold) for fold in ablation.parts}
            control = [
                Training((best[fold],), fold, seed)
                for fold in ablation.parts
                for seed in range(ablation.seeds, ablation.control_seeds(best[fold]))
            ]
            progress.planned += len(control)
            progress.epochs_planned += len(control) * ablation.config.train.epochs
            _run(pool, ablation, [*second, *control], progress, show)
        except BaseException:
            # Ctrl-C or a failed training: the others would go on for minutes; they can be resumed
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise
    return best


def best_single(ablation: Ablation, fold: int) -> str:
    """Return the view whose ensemble of seeds is best on this fold's validation, by the primary metric."""

    def on_validation(view: str) -> float:
        found = essentials(ablation.ensemble((view,), fold).validation, ablation.metric)
        value = float(found[ablation.metric])
        # a class that validation lacks is left out, for all views alike
        per_class = found["f1" if ablation.metric == CINC2017 else "auroc"]
        return float(np.nanmean(per_class)) if math.isnan(value) else value

    return max(ablation.full, key=on_validation)


def _run(
    pool: ProcessPoolExecutor,
    ablation: Ablation,
    trainings: Sequence[Training],
    progress: AblationProgress,
    show: Callable[[AblationProgress], None],
) -> None:
    """Run the trainings that are not done, and tell how far they are by the histories that they write."""
    left: dict[Future[None], Training] = {}
    epochs = ablation.config.train.epochs
    for training in trainings:
        if (ablation.out / training.folder / TEST).is_file():
            progress.done += 1
            continue
        config, folder = ablation.config_of(training), ablation.out / training.folder
        left[pool.submit(train_one, config, folder, training.views == ablation.full)] = training
    finished = progress.done * epochs
    while left:
        done, _ = wait(left, timeout=POLL_S, return_when=FIRST_EXCEPTION)
        for future in done:
            training = left.pop(future)
            if problem := future.exception():
                raise EcgprismError(f"{ablation.out / training.folder}: {problem}") from None
            progress.done += 1
            finished += epochs
        behind = {training: _epochs(ablation.out / training.folder) for training in left.values()}
        progress.epochs = finished + sum(behind.values())
        running = [training for training in left.values() if (ablation.out / training.folder / CONFIG).is_file()]
        progress.running = [str(training.folder.relative_to(RUNS)) for training in running]
        show(progress)
    progress.running = []
    progress.epochs = finished
    show(progress)


def _epochs(run: Path) -> int:
    """Return the number of epochs in a run's history."""
    try:
        return max(len((run / HISTORY).read_text().splitlines()) - 1, 0)
    except FileNotFoundError:
        return 0


def _start_worker(parent_pid: int, threads: int) -> None:
    """Prepare a worker process: its threads, and its end with its parent's (two must not write one folder)."""
    start_worker(parent_pid, POLL_S)
    set_threads(threads)


def train_one(config: Config, out: Path, coalitions: bool) -> None:
    """Train one configuration, or go on with it, and write its predictions; the one of the test split comes last."""
    begun = (out / CONFIG).is_file()
    model = fit(config, out, resume=begun, overwrite=not begun, watch=Watch()).model
    prepared = prepare(config)
    if coalitions:
        _write_coalitions(model, prepared, out / COALITIONS)
    for split, name in (("val", VALIDATION), ("test", TEST)):
        examples = prepared.examples[split]
        began = time.monotonic()
        scores = score(TorchEngine(model), CorpusAssembler(prepared.corpus, examples, model.spec))
        answers = answers_on(prepared.corpus, examples, model.card, scores.probabilities)
        table = as_table(prepared.corpus, examples, answers, model.card.thresholds)
        table.attrs["inference_ms"] = 1000 * (time.monotonic() - began) / max(len(examples), 1)
        with atomic(out / name) as path:
            table.to_parquet(path, index=False)


def _write_coalitions(model: PrismModel, prepared: Preparation, file: Path) -> None:
    """Write what the fused model says on the test split from every subset of its views alone."""
    subsets = every_subset(len(model.branches))
    inputs = CorpusAssembler(prepared.corpus, prepared.examples["test"], model.spec)
    scores = score(TorchEngine(model, coalitions=subsets), inputs)
    with atomic(file) as path, path.open("wb") as opened:
        np.savez_compressed(
            opened, subsets=subsets, probabilities=scores.coalitions, present=scores.present,
            prevalence=prepared.examples["train"].target.mean(axis=0),
        )  # fmt: skip


def every_subset(views: int) -> NDArray[np.bool_]:
    """Return every non-empty subset of the views, bool (C, V), the smallest first and all views last."""
    rows = [subset for size in range(1, views + 1) for subset in combinations(range(views), size)]
    return np.array([[v in subset for v in range(views)] for subset in rows])
