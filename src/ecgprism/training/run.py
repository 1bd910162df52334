"""fit(): train a model on a corpus; watched, reproducible to the bit on CPU, resumable after any kill."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as pl
import torch
import yaml

from ecgprism.config import Config, parse_config, read_config
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.files import LOCK, atomic, locked
from ecgprism.interface.storage import PLUGINS, model_digest
from ecgprism.markup import Grid, few, page
from ecgprism.model.prism import PrismModel, parameters, versions
from ecgprism.training.devices import trainer_options
from ecgprism.training.folder import (
    CONFIG,
    HISTORY,
    LAST,
    OWN,
    Facts,
    clear,
    drop_replaced,
    held,
    put_back,
    read_facts,
    set_aside,
    write_facts,
)
from ecgprism.training.loggers import made_loggers
from ecgprism.training.module import TrainingModule
from ecgprism.training.preparation import Preparation, one_batch, prepare
from ecgprism.training.state import TrainingState
from ecgprism.training.watch import Watch, usual_watch

MAY_MOVE = ("corpus", "plugins", "init", "distill")  # paths; of those that count the content is compared


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """A finished training: the best epoch's model (also in the run folder) and the history, one row per epoch."""

    path: Path
    model: PrismModel
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float

    def __repr__(self) -> str:
        """Return how it went, in one line."""
        auroc = next((row["val_macro_auroc"] for row in self.history if row["epoch"] == self.best_epoch), math.nan)
        return (
            f"TrainingResult({self.path}: best epoch {self.best_epoch} of {len(self.history)}, "
            f"macro AUROC {auroc:.3f} on validation, {self.seconds:.0f} s)"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the model, every epoch, and the picture that `plot_training` draws."""
        card = self.model.card
        facts = {
            "views": ", ".join(self.model.branches),
            "fusion": self.model.fusion_component.name,
            "parameters": f"{parameters(self.model):,}",
            "task": f"{card.task_name} ({card.kind}): {few(card.classes)}",
            "input": f"{few(card.leads, 12)} at {card.rate_hz:g} Hz",
            "best epoch": f"{self.best_epoch} of {len(self.history)}",
            "time": f"{self.seconds:.0f} s",
        }
        shown = ("epoch", "train_loss", "val_loss", "val_macro_auroc", "val_macro_f1")
        rows = [[f"{row[name]:.4g}" for name in shown] for row in self.history[::-1]]
        # by name: a training does without matplotlib, and stands above what draws it
        figure = import_module("ecgprism").plot_training(self.path) if (self.path / HISTORY).is_file() else None
        return page(f"Run {self.path}", facts, [Grid(shown, rows, "epochs, the last one first")], figure=figure)


def fit(
    config: Config,
    out: str | Path,
    *,
    corpus: Corpus | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    fast_dev_run: bool = False,
    watch: Watch | None = None,
) -> TrainingResult:
    """Train the configured model into the run folder `out` and return the best epoch's model.

    The best checkpoint, early stopping, thresholds and calibration all come from the validation split. `resume` goes on
    from the last whole epoch of an interrupted run of the same configuration and data. `fast_dev_run` takes one batch
    through every stage. `init` is a trained run to begin with, as `init` in the configuration. `watch` is told how it
    goes (without one: a line per epoch in a notebook, and warnings). Raises EcgprismError when another training writes
    into `out`.
    """
    out = Path(out)
    if resume and overwrite:
        raise EcgprismError("resume and overwrite: a run is gone on with or replaced, choose one of the two")
    if init is not None and not isinstance(init, str | Path):
        raise EcgprismError(f"init = {init!r}: expected the folder of a trained run")
    if init is not None or resume:  # what is resumed has its weights already
        config = config.model_copy(update={"init": None if resume or init is None else Path(init)})
    there = held(out)
    if resume and CONFIG not in there:
        raise EcgprismError(f"{out}: no interrupted run here to resume ({CONFIG} is missing)")
    if there and not (resume or overwrite):
        raise EcgprismError(
            f"{out}: exists already; choose another folder, resume it (--resume, resume=True), or overwrite it "
            "(--overwrite, overwrite=True)"
        )
    if there and overwrite and not set(there) & set(OWN):
        raise EcgprismError(f"{out}: holds {there[0]} and no run, so it is not overwritten; choose another folder")
    watch = watch or usual_watch()
    prepared = prepare(config, corpus, watch.teacher)
    if fast_dev_run:
        prepared = one_batch(prepared)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out, "training"):
            return _fit(prepared, out, resume, watch)
    except Exception:  # whatever it was, it goes on; an interrupt is none, and leaves what can be resumed
        if not resume:
            _leave_nothing(out)
        raise


def distill(
    teachers: Sequence[str | Path], config: Config, out: str | Path, *, soft: float | None = None, **options: Any
) -> TrainingResult:
    """Train the configured model with the probabilities of trained runs in its targets (knowledge distillation).

    `soft` is their share (0.7 by default). A recording is judged by the teachers that were not trained on it, where
    there are any: runs of all folds of a cross-validation judge every one. `options` are those of `fit`. Raises
    EcgprismError for a teacher that was trained on what the student is to be tested on.
    """
    wanted = {"teachers": [Path(teacher) for teacher in teachers]} | ({} if soft is None else {"soft": soft})
    return fit(parse_config(config.plain() | {"distill": wanted}), out, **options)


def _fit(prepared: Preparation, out: Path, resume: bool, watch: Watch) -> TrainingResult:
    facts: Facts = {"fingerprint": prepared.corpus.fingerprint, "versions": versions()}
    if distill := prepared.config.distill:
        facts["teachers"] = [model_digest(teacher) for teacher in distill.teachers]
    if resume:
        _same_run(out, prepared.config, facts)
    else:
        _begin(out, prepared.config, facts)
    state = TrainingState.load(out) if resume and (out / LAST).is_file() else TrainingState()
    if not state.epoch:
        for note in prepared.notes:
            watch.note(note)
        for part in prepared.loaded if prepared.config.init is not None else ():
            watch.note(f"--init {prepared.config.init}: {part}")
    module = TrainingModule(prepared, out, watch, state)
    if state.epoch < prepared.config.train.epochs and not state.stopped:
        _train(module, out)
    if module.interrupted:
        raise KeyboardInterrupt
    facts |= {
        "best_epoch": state.best_epoch,
        "epochs": len(state.history),
        "parameters": parameters(prepared.model),
        "training_seconds": round(state.seconds, 1),
        "device": str(module.trained_on),
        "threads": torch.get_num_threads(),
    }
    write_facts(out, facts)
    drop_replaced(out)
    return TrainingResult(out, PrismModel.load(out), state.history, state.best_epoch, facts["training_seconds"])


def _leave_nothing(out: Path) -> None:
    """Take back a start that failed before its first epoch was over: there is nothing in it to resume.

    A run that it was to replace is there again.
    """
    with contextlib.suppress(EcgprismError, OSError), locked(out, "training"):
        if not (out / LAST).is_file() and not put_back(out):
            clear(out)
            (out / LOCK).unlink()  # whoever opened it meanwhile sees that it is gone
            out.rmdir()  # fails, and that is right, where there is something else


def _begin(out: Path, config: Config, facts: Facts) -> None:
    """Put another run in the folder, which the caller holds, aside and write down what is trained in it."""
    set_aside(out)
    for plugin in config.plugins:
        (out / PLUGINS).mkdir(exist_ok=True)
        shutil.copyfile(plugin, out / PLUGINS / plugin.name)
    write_facts(out, facts)
    # as seen from anywhere: a run is used from other folders too
    plain = config.plain()
    plain |= {"corpus": str(config.corpus.absolute()), "plugins": [str(path.absolute()) for path in config.plugins]}
    if config.distill is not None:
        plain["distill"]["teachers"] = [str(path.absolute()) for path in config.distill.teachers]
    with atomic(out / CONFIG) as path:
        path.write_text(yaml.safe_dump(plain, sort_keys=False))


def _same_run(out: Path, config: Config, facts: Facts) -> None:
    """Raise EcgprismError unless the folder holds a run of this configuration and this data."""
    before = read_config(out / CONFIG).plain()
    for key, value in config.plain().items():
        if key not in MAY_MOVE and before[key] != value:
            if key == "train" and before[key] == {**value, "epochs": before[key]["epochs"]}:
                raise EcgprismError(
                    f"{out}: its schedule ends after {before[key]['epochs']} epochs; to train on, begin a run with "
                    f"--init {out} (init=)"
                )
            raise EcgprismError(
                f"{out}: was begun with {_difference(key, before[key], value)}: resume with the same one"
            )
    for plugin in config.plugins:
        kept = out / PLUGINS / plugin.name
        if not kept.is_file() or kept.read_bytes() != plugin.read_bytes():
            raise EcgprismError(f"{out}: was begun with another {plugin.name}: resume with {kept}, or begin a new run")
    held = read_facts(out)
    if held["fingerprint"] != facts["fingerprint"]:
        raise EcgprismError(f"{out}: the corpus {config.corpus} is not the one that this run was begun with")
    shares = [(plain["distill"] or {}).get("soft") for plain in (before, config.plain())]
    if held.get("teachers") != facts.get("teachers") or shares[0] != shares[1]:
        raise EcgprismError(f"{out}: was begun with other teachers, or another soft share: resume with the same ones")


def _difference(key: str, before: Any, now: Any) -> str:
    """Return which key of the configuration has another value than before."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                return _difference(f"{key}.{name}", before.get(name), now.get(name))
    return f"{key}={before!r}, now {now!r}"


def _train(module: TrainingModule, out: Path) -> None:
    """Run Lightning's loop over the epochs that are left."""
    options = module.options
    on = trainer_options(options)
    # Lightning's own lines (devices found, tips) are for its users, not for ours.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        trainer = pl.Trainer(
            max_epochs=options.epochs - module.first_epoch,
            accelerator=on.accelerator,
            devices=on.devices,
            precision=on.precision,
            gradient_clip_val=options.clip,
            logger=made_loggers(options.loggers, out),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            reload_dataloaders_every_n_epochs=1,
        )
        try:
            trainer.fit(module)
        except SystemExit:  # Lightning's answer to Ctrl-C
            module.interrupted = True
        module.interrupted |= trainer.interrupted
