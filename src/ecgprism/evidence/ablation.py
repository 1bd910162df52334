"""The trainings behind a ledger: every subset of views that it needs, in parallel processes, resumable after any kill.

A training is one folder under `runs/`: an ordinary run, with its predictions on validation and test beside the model.
Folder names are `<views>/fold<k>-seed<s>`; with the corpus's own split, `<views>/seed<s>`.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ecgprism.config import Config, parse_config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.evidence.evaluation import answers_on, as_table
from ecgprism.files import atomic
from ecgprism.interface.answers import Answers
from ecgprism.interface.scoring import score
from ecgprism.interface.storage import read_card
from ecgprism.metrics import calibration
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.scores import Floats
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import parameters
from ecgprism.training.folder import CONFIG, HISTORY, PREDICTIONS, RUN, VALIDATION
from ecgprism.training.preparation import prepare
from ecgprism.training.run import fit

RUNS, TEST, COALITIONS = "runs", PREDICTIONS, "coalitions.npz"
POLL_S = 1.0


@dataclass(frozen=True)
class Job:
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
    """What an ablation trains. `folds` is 0 for the corpus's own split."""

    config: Config
    out: Path
    seeds: int
    folds: int
    size: Mapping[tuple[str, ...], int] = field(default_factory=dict)

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

    def config_of(self, job: Job) -> Config:
        """Return the configuration of a training: its views, fold and seed, all else as given."""
        tree = self.config.plain()
        tree["views"] = {name: tree["views"][name] for name in job.views}
        fusion = self.config.fusion
        if len(job.views) == 1 or fusion.options.get("by") not in (None, *job.views):
            tree["fusion"] = "concat"  # nothing to fuse, or not the view that film is told to modulate by
        tree["fold"] = f"{job.fold}/{self.folds}" if job.fold else None
        tree["train"]["seed"] = self.config.train.seed + job.seed
        return parse_config(tree)

    def jobs(self, views: Sequence[tuple[str, ...]]) -> list[Job]:
        """Return the trainings of some subsets of views: every fold, every seed."""
        return [Job(subset, fold, seed) for subset in views for fold in self.parts for seed in range(self.seeds)]

    def side(self, views: tuple[str, ...], fold: int, seeds: int | None = None) -> Ensemble:
        """Return the ensemble of a subset of views on one fold: all its seeds, or as many as asked for."""
        return ensemble([self.out / Job(views, fold, seed).folder for seed in range(seeds or self.seeds)])

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


def planned(config: Config, out: Path, seeds: int, folds: int) -> Ablation:
    """Check everything that can be checked before the first training; return what is to be trained.

    Raises ConfigError or EcgprismError: fewer than two views, a subset that cannot be built, a fold without a class.
    """
    if len(config.views) < 2:
        raise ConfigError(f"views: an ablation compares at least two views; there is only {', '.join(config.views)}")
    if config.fold is not None:
        raise ConfigError(f"fold = {config.fold!r}: an ablation makes its own folds; leave it out and give --folds")
    ablation = Ablation(config, out, seeds, folds)
    subsets = dict.fromkeys([*ablation.solos, *ablation.without.values(), ablation.full])
    size = {}
    for fold in ablation.parts:
        for subset in subsets if fold in (0, 1) else [ablation.full]:
            prepared = prepare(ablation.config_of(Job(subset, fold, 0)))
            if fold in (0, 1):
                size[subset] = parameters(prepared.model)
            if not len(prepared.examples["test"]):
                raise EcgprismError(f"{config.corpus}: its split has no test part; give --folds to make parts of it")
    return Ablation(config, out, seeds, folds, size)


def run_all(
    ablation: Ablation, workers: int, threads: int, show: Callable[[AblationProgress], None] = lambda progress: None
) -> dict[int, str]:
    """Train what is not yet trained; return by fold the single view that was best on validation.

    Every training has `threads` threads, however many run at a time: its bits do not depend on `workers`.
    """
    progress = AblationProgress()
    later = [subset for subset in dict.fromkeys([*ablation.without.values(), ablation.full]) if len(subset) > 1]
    first, second = ablation.jobs(ablation.solos), ablation.jobs(later)
    progress.planned = len(first) + len(second)
    progress.epochs_planned = progress.planned * ablation.config.train.epochs
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(os.getpid(), threads)) as pool:
        try:
            _run(pool, ablation, first, progress, show)
            best = {fold: best_single(ablation, fold) for fold in ablation.parts}
            control = [
                Job((best[fold],), fold, seed)
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
        answers = ablation.side((view,), fold).validation
        found = metrics.essentials(answers.truth, answers.probabilities, answers.decided, answers.classes)
        primary = metrics.primary(answers.classes)
        per_class = found["f1"] if primary == "cinc2017_f1" else found["auroc"]
        # a class that validation lacks is left out, for all views alike
        value = found[primary]
        return float(value if not np.isnan(value) else np.nanmean(per_class))

    return max(ablation.full, key=on_validation)


def _run(
    pool: ProcessPoolExecutor,
    ablation: Ablation,
    jobs: Sequence[Job],
    progress: AblationProgress,
    show: Callable[[AblationProgress], None],
) -> None:
    """Run the jobs that are not done, and tell how far they are by the histories that they write."""
    left: dict[Future[None], Job] = {}
    epochs = ablation.config.train.epochs
    for job in jobs:
        if (ablation.out / job.folder / TEST).is_file():
            progress.done += 1
            continue
        tree = ablation.config_of(job).plain()
        left[pool.submit(train_one, tree, str(ablation.out / job.folder), job.views == ablation.full)] = job
    finished = progress.done * epochs
    while left:
        done, _ = wait(left, timeout=POLL_S, return_when=FIRST_EXCEPTION)
        for future in done:
            job = left.pop(future)
            if problem := future.exception():
                raise EcgprismError(f"{ablation.out / job.folder}: {problem}") from None
            progress.done += 1
            finished += epochs
        behind = {job: _epochs(ablation.out / job.folder) for job in left.values()}
        progress.epochs = finished + sum(behind.values())
        running = [job for job in left.values() if (ablation.out / job.folder / CONFIG).is_file()]
        progress.running = [str(job.folder.relative_to(RUNS)) for job in running]
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


def _start_worker(parent: int, threads: int) -> None:
    """Prepare a worker process: its threads, and its end with its parent's (two must not write one folder)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    torch.set_num_threads(threads)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def train_one(tree: Mapping[str, Any], folder: str, coalitions: bool) -> None:
    """Train one configuration, or go on with it, and write its predictions; the one of the test split comes last."""
    out = Path(folder)
    config = parse_config(tree)
    begun = (out / CONFIG).is_file()
    model = fit(config, out, resume=begun, overwrite=not begun).model
    prepared = prepare(config)
    for split, name in (("val", VALIDATION), ("test", TEST)):
        examples = prepared.examples[split]
        subsets = every_subset(len(model.branches)) if coalitions and split == "test" else None
        assembler = CorpusAssembler(prepared.corpus, examples, model.spec)
        if subsets is not None:
            scores = score(TorchEngine(model, coalitions=subsets), assembler)
            train = prepared.examples["train"].target
            with atomic(out / COALITIONS) as path, path.open("wb") as file:
                np.savez_compressed(
                    file, subsets=subsets, probabilities=scores.coalitions, present=scores.present,
                    prevalence=train.mean(axis=0),
                )  # fmt: skip
        began = time.monotonic()
        scores = score(TorchEngine(model), assembler)
        answers = answers_on(prepared.corpus, examples, model.card, scores.probabilities)
        table = as_table(prepared.corpus, examples, answers)
        table.attrs["inference_ms"] = 1000 * (time.monotonic() - began) / max(len(examples), 1)
        with atomic(out / name) as path:
            table.to_parquet(path, index=False)


def every_subset(views: int) -> NDArray[np.bool_]:
    """Return every non-empty subset of the views, bool (C, V), the smallest first and all views last."""
    rows = [subset for size in range(1, views + 1) for subset in combinations(range(views), size)]
    return np.array([[v in subset for v in range(views)] for subset in rows])


@dataclass(frozen=True)
class Ensemble:
    """Models that answer together: probabilities averaged, thresholds (multi-label) from their validation; costs."""

    members: int
    parameters: int
    training_seconds: float
    inference_ms: float
    validation: Answers
    test: Answers
    thresholds: Floats | None

    def decide(self, probabilities: NDArray[np.float64]) -> Answers:
        """Return other probabilities (N, K) on the test's items, decided by this ensemble's thresholds."""
        return self.test.saying(probabilities, self.thresholds)


def ensemble(runs: Sequence[Path]) -> Ensemble:
    """Return the models of finished trainings as one ensemble."""
    card = read_card(runs[0])
    facts = [json.loads((run / RUN).read_text()) for run in runs]
    tables = {name: [pd.read_parquet(run / name) for run in runs] for name in (VALIDATION, TEST)}
    answers = {name: [Answers.from_table(t, card.kind, card.classes) for t in each] for name, each in tables.items()}
    return together(
        parameters=sum(fact["parameters"] for fact in facts),
        training_seconds=sum(fact["training_seconds"] for fact in facts),
        inference_ms=sum(table.attrs["inference_ms"] for table in tables[TEST]),
        validation=answers[VALIDATION],
        test=answers[TEST],
    )


def average(ensembles: Sequence[Ensemble]) -> Ensemble:
    """Return the plain average of several ensembles' probabilities."""
    return together(
        parameters=sum(each.parameters for each in ensembles),
        training_seconds=sum(each.training_seconds for each in ensembles),
        inference_ms=sum(each.inference_ms for each in ensembles),
        validation=[each.validation for each in ensembles],
        test=[each.test for each in ensembles],
    )


def together(
    *, parameters: int, training_seconds: float, inference_ms: float, validation: Sequence[Answers],
    test: Sequence[Answers],
) -> Ensemble:  # fmt: skip
    """Return the ensemble of these answers, with thresholds from validation."""
    validated = Answers.mean(validation)
    multilabel = validated.kind == "multilabel"
    thresholds = calibration.best_thresholds(validated.truth, validated.probabilities) if multilabel else None
    tested = Answers.mean(test, thresholds)
    return Ensemble(
        len(test), parameters, training_seconds, inference_ms, validated.decide(thresholds), tested, thresholds
    )
