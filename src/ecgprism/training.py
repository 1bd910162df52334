"""fit(): train a model on a corpus with Lightning; watched, reproducible to the bit on CPU, resumable after any kill.

Every random choice of a step (order, crop, augmentation, dropout) is drawn from (seed, epoch, step), so no generator
has a state to save: a killed run starts again at its last whole epoch and takes the same steps.
"""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import torch
import yaml
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from ecgprism import balance
from ecgprism.augmentation import augment
from ecgprism.batch import Batch, CorpusAssembler, TrainingBatches
from ecgprism.config import Config, parse_config
from ecgprism.corpus import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.files import whole
from ecgprism.inference import Scores, combine, score
from ecgprism.metrics import accuracy, auroc, best_thresholds, decide, rates
from ecgprism.model import PrismModel, parameters, versions
from ecgprism.preparation import Prepared, one_batch, prepare

CONFIG, LAST, HISTORY, RUN = "config.yaml", "last.ckpt", "history.csv", "run.json"
OVERFIT_EPOCHS = 3  # this many epochs of rising validation loss under falling training loss are overfitting


@dataclass(frozen=True)
class Fitted:
    """A finished training: the best epoch's model (also in the run folder) and the history, one row per epoch."""

    path: Path
    model: PrismModel
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float


class Watch:
    """What a training tells while it runs; the command line draws it, the API is silent."""

    def start(self, prepared: Prepared, seconds_per_epoch: float, first_epoch: int) -> None:
        """Called before the first step with the expected duration of an epoch."""

    def step(self, epoch: int, step: int, steps: int, records: int, loss: float) -> None:
        """Called after every step."""

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Called after every epoch with its line of the history."""

    def note(self, message: str) -> None:
        """Called with what the user should know (overfitting, early stop, classes missing in validation)."""


def fit(
    config: Config,
    out: str | Path,
    *,
    corpus: Corpus | None = None,
    resume: bool = False,
    overwrite: bool = False,
    fast_dev_run: bool = False,
    watch: Watch | None = None,
) -> Fitted:
    """Train the configured model into the run folder `out` and return the best epoch's model.

    The best checkpoint, early stopping, thresholds and calibration all come from the validation split. `resume` goes on
    from the last whole epoch of an interrupted run of the same configuration and data. `fast_dev_run` takes one batch
    through every stage.
    """
    out = Path(out)
    if resume and not (out / CONFIG).is_file():
        raise EcgprismError(f"{out}: no interrupted run here to resume ({CONFIG} is missing)")
    if out.exists() and any(out.iterdir()) and not (resume or overwrite):
        raise EcgprismError(f"{out}: exists already; choose another --out, --resume it, or --overwrite it")
    prepared = prepare(config, corpus)
    if fast_dev_run:
        prepared = one_batch(prepared)
        config = prepared.config
    run: dict[str, Any] = {"fingerprint": prepared.corpus.fingerprint, "versions": versions()}
    if resume:
        _same_run(out, config, run)
    else:
        if overwrite and out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        with whole(out / CONFIG) as path:
            path.write_text(yaml.safe_dump(config.plain(), sort_keys=False))
        with whole(out / RUN) as path:
            path.write_text(json.dumps(run, indent=2) + "\n")
    fitting = Fitting(prepared, out, watch or Watch())
    if resume and (out / LAST).is_file():
        fitting.restore()
    if fitting.first_epoch < config.train.epochs and not fitting.stopped:
        _train(fitting, out)
    if fitting.interrupted:
        raise KeyboardInterrupt
    run |= {
        "best_epoch": fitting.best_epoch,
        "epochs": len(fitting.history),
        "parameters": parameters(prepared.model),
        "training_seconds": round(fitting.elapsed, 1),
        "device": str(fitting.trained_on),
        "threads": torch.get_num_threads(),
    }
    with whole(out / RUN) as path:
        path.write_text(json.dumps(run, indent=2) + "\n")
    return Fitted(out, PrismModel.load(out), fitting.history, fitting.best_epoch, run["training_seconds"])


def _train(fitting: Fitting, out: Path) -> None:
    """Run Lightning's loop over the epochs that are left."""
    options = fitting.prepared.config.train
    # Lightning's own lines (devices found, tips) are for its users, not for ours.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        trainer = pl.Trainer(
            max_epochs=options.epochs - fitting.first_epoch,
            accelerator={"auto": "auto", "cuda": "gpu"}.get(options.device, options.device),
            devices=1,
            precision=_precision(options.precision, options.device),
            gradient_clip_val=options.clip,
            logger=TensorBoardLogger(out, name="", version="tensorboard"),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            reload_dataloaders_every_n_epochs=1,
        )
        try:
            trainer.fit(fitting)
        except SystemExit:  # Lightning's answer to Ctrl-C
            fitting.interrupted = True
        fitting.interrupted |= trainer.interrupted


def _precision(wanted: str, device: str) -> Any:
    """Return Lightning's name of the precision: bfloat16 where the device computes in it, float32 elsewhere."""
    if wanted != "auto":
        return "bf16-mixed" if wanted == "bf16" else "32-true"
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_cuda and torch.cuda.is_bf16_supported() else "32-true"


def _same_run(out: Path, config: Config, run: Mapping[str, Any]) -> None:
    """Raise EcgprismError unless the folder holds a run of this configuration and this data."""
    before = parse_config(yaml.safe_load((out / CONFIG).read_text()), str(out / CONFIG)).plain()
    for key, value in config.plain().items():
        if before[key] != value:
            raise EcgprismError(
                f"{out}: was begun with {key}={before[key]!r}, now {value!r}: resume with the same configuration"
            )
    stored = json.loads((out / RUN).read_text())["fingerprint"] if (out / RUN).is_file() else run["fingerprint"]
    if stored != run["fingerprint"]:
        raise EcgprismError(f"{out}: the corpus {config.corpus} is not the one that this run was begun with")


class Fitting(pl.LightningModule):
    """The training of one model: loss, optimiser, moving average, validation, checkpoints."""

    def __init__(self, prepared: Prepared, out: Path, watch: Watch) -> None:
        """Nothing is written before the first epoch ends."""
        super().__init__()
        self.prepared, self.out, self.watch = prepared, out, watch
        self.options, self.model = prepared.config.train, prepared.model
        self.averaged = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        self.batches = TrainingBatches(
            CorpusAssembler(prepared.corpus, prepared.examples["train"], self.model.spec),
            self.model.spec.window,
            self.options.batch_size,
            self.options.seed,
            prepared.config.augment.crop,
        )
        self.validation = CorpusAssembler(prepared.corpus, prepared.examples["val"], self.model.spec)
        self.history: list[dict[str, float]] = []
        self.first_epoch, self.best, self.best_epoch = 0, -math.inf, -1
        self.stopped = self.interrupted = False
        self.trained_on = torch.device("cpu")
        self.restored: dict[str, Any] | None = None
        self.sums: dict[str, Tensor] = {}
        self.seen = self.last_rows = 0
        self.brakes: dict[str, Tensor] = {}
        self.noise = [torch.from_numpy(each) for each in prepared.noise]
        self.seconds, self.began = 0.0, time.monotonic()
        self.register_buffer("class_weight", self._class_weight(), persistent=False)

    def _class_weight(self) -> Tensor:
        """Return (K,): of positives against negatives (multi-label) or of each class (multi-class); 1 unweighted."""
        target = self.prepared.examples["train"].target
        if self.options.class_weights == "none":
            return torch.ones(target.shape[1])
        positive = target.sum(axis=0)
        if self.prepared.task.kind == "multilabel":
            return torch.tensor((len(target) - positive) / positive, dtype=torch.float32)
        return torch.tensor(len(target) / (len(positive) * positive), dtype=torch.float32)

    def _average(self, averaged: Any, current: Any, count: Any) -> None:
        """Exponential moving average, slower as training goes on, up to the configured decay."""
        decay = min(self.options.ema, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

    @property
    def elapsed(self) -> float:
        """Seconds of training, over all resumptions."""
        return self.seconds + time.monotonic() - self.began

    @property
    def epoch(self) -> int:
        """The epoch, counted over all resumptions."""
        return self.first_epoch + self.current_epoch

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch (Lightning cannot copy a frozen dataclass)."""
        return batch.to(device)

    def train_dataloader(self) -> TrainingBatches:
        """Return the batches of this epoch."""
        self.batches.epoch = self.epoch
        return self.batches

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay on norms and biases (Loshchilov and Hutter 2019), one-cycle rate (Smith 2018)."""
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.options.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.options.lr)
        steps = self.options.epochs * len(self.batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.options.lr, total_steps=max(steps, 2))
        if self.restored:
            optimizer.load_state_dict(self.restored["optimizer"])
            schedule.load_state_dict(self.restored["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Say how long it will take."""
        self.trained_on = self.device
        self.watch.start(self.prepared, self._seconds_per_epoch(), self.first_epoch)

    def on_train_epoch_start(self) -> None:
        """Begin the sums of this epoch."""
        self.sums, self.seen = {}, 0

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """Return the loss of a batch: the fused head's, and the views' own heads' at a smaller weight."""
        seed = int(np.random.SeedSequence([self.options.seed, self.epoch, step]).generate_state(1)[0])
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        options = self.prepared.config.augment
        batch = augment(batch, options, self.model.spec.rate_hz, generator, self.recorded_noise(batch.signal.device))
        assert batch.target is not None
        tokens, present = self.model.encode(batch), self.model.present(batch)
        output = self.model.decide(tokens, present, self._kept_views(present))
        fused = self._loss(output.fused, batch.target).mean()
        losses = {"train_loss": fused}
        for v, (name, logits) in enumerate(output.views.items()):
            there = output.present[:, v]
            each = self._loss(logits, batch.target) * there
            losses[f"train_loss_{name}"] = each.sum() / there.sum().clamp(min=1)
        total = self._total(losses)
        if self.options.coalitions and len(self.model.branches) > 1:
            part = self.model.decide(tokens, present, balance.kept_views(present, 0.5)).fused
            total = total + self.options.coalitions * self._loss(part, batch.target).mean()
        if self.options.balance == "ogm_ge":
            self.brakes = balance.brakes(output, batch.target, self.prepared.task.kind, self.options.modulation)
        if not torch.isfinite(total):
            raise EcgprismError(f"the loss became {total.item()} in epoch {self.epoch + 1}; try a smaller train.lr")
        rows = batch.signal.shape[0]
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=loss.device)) + loss.detach() * rows
        self.seen += rows
        self.last_rows = rows
        self.watch.step(self.epoch, step, len(self.batches), self.seen, float(fused.detach()))
        return total

    def recorded_noise(self, device: torch.device) -> list[Tensor]:
        """Return the noise records (C, T) on a device, where they stay."""
        self.noise = [each.to(device) for each in self.noise]
        return self.noise

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the loss to descend: the fused head's, and the views' own at a smaller or at a blended weight."""
        fused, *own = losses.values()
        if not own:
            return fused
        if self.options.balance == "blend":
            blend = balance.blend(self.history, list(losses))
            return torch.stack([weight * losses[name] for name, weight in blend.items()]).sum()
        return fused + self.options.auxiliary * torch.stack(own).mean()

    def _kept_views(self, present: Tensor) -> Tensor | None:
        """Return bool (B, V): views that training lets the fusion see."""
        p = balance.dropout_at(self.options.view_dropout, self.epoch, self.options.epochs)
        if p == 0 or len(self.model.branches) < 2:
            return None
        return balance.kept_views(present, p)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure each view's gradient, then brake the views that lead (OGM-GE)."""
        if len(self.model.branches) < 2:
            return
        rows = self.last_rows
        for name, norm in balance.gradient_norms(self.model).items():
            key = f"grad_norm_{name}"
            self.sums[key] = self.sums.get(key, torch.zeros_like(norm)) + norm * rows
        if self.options.balance == "ogm_ge":
            balance.modulate(self.model, self.brakes)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each record (B,): cross-entropy, or binary cross-entropy averaged over classes."""
        weight = self.class_weight
        assert isinstance(weight, Tensor)
        if self.prepared.task.kind == "multiclass":
            return F.cross_entropy(logits, target.argmax(dim=1), weight, reduction="none")
        each = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
        return each.mean(dim=1)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the moving average follow."""
        self.averaged.update_parameters(self.model)

    def on_train_epoch_end(self) -> None:
        """Validate the averaged weights; keep the best and the last checkpoint; write the history."""
        model = self.averaged.module
        assert isinstance(model, PrismModel)
        scores = score(model, self.validation)
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LRScheduler)
        row: dict[str, float] = {"epoch": self.epoch + 1, "lr": float(schedule.get_last_lr()[0])}
        row |= {name: float(total) / self.seen for name, total in self.sums.items()}
        row |= self._validated(scores)
        self.history.append(row)
        monitor = self.options.monitor
        value = -row["val_loss"] if monitor == "loss" else row[f"val_{monitor}"]
        if math.isnan(value):
            raise EcgprismError(
                f"val_{monitor} is undefined: validation has no positive, or only positives, of every class; "
                "try train.monitor=loss"
            )
        improved = value > self.best
        if improved:
            self.best, self.best_epoch = value, self.epoch + 1
            self._calibrate(model, scores)
            model.save(self.out)
        self.stopped = self.epoch + 1 - self.best_epoch >= self.options.patience
        self._save_last()
        assert isinstance(self.logger, TensorBoardLogger)
        for name, number in row.items():
            self.logger.experiment.add_scalar(name, number, self.epoch + 1)
        self.watch.epoch(row, improved)
        self._say_what_matters(row)
        if self.stopped:
            self.trainer.should_stop = True

    def _validated(self, scores: Scores) -> dict[str, float]:
        """Return the validation metrics; macro means are over the classes that validation has."""
        target, kind = self.validation.examples.target, self.prepared.task.kind
        window_target = torch.from_numpy(target[scores.window_item].astype(np.float32)).to(self.device)

        def loss_of(logits: NDArray[np.float32]) -> Tensor:
            return self._loss(torch.from_numpy(logits).to(self.device), window_target)

        own: dict[str, float] = {}
        for v, (name, logits) in enumerate(scores.window_logits_of_views.items()):
            there = torch.from_numpy(scores.present[scores.window_item, v]).to(self.device)
            own[f"val_loss_{name}"] = float((loss_of(logits) * there).sum() / there.sum().clamp(min=1))
        decided = decide(scores.probabilities, kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no class is defined: NaN is the answer
            return {
                "val_loss": float(loss_of(scores.window_logits).mean()),
                **own,
                "val_macro_auroc": float(np.nanmean(auroc(target, scores.probabilities))),
                "val_macro_f1": float(np.nanmean(rates(target, decided).f1)),
                "val_accuracy": float(accuracy(target, decided)),
            }

    def _calibrate(self, model: PrismModel, scores: Scores) -> None:
        """Set temperature (Guo et al. 2017) and thresholds from validation."""
        target = self.validation.examples.target
        model.card.temperature = 1.0
        logits = torch.from_numpy(scores.window_logits).double()
        truth = torch.from_numpy(target[scores.window_item].astype(np.float64))
        model.card.temperature = temperature(logits, truth, self.prepared.task.kind)
        if self.prepared.task.kind == "multilabel":
            calibrated = combine(model, scores.window_logits, scores.window_item, len(target), model.card.aggregate)
            model.card.thresholds = best_thresholds(target, calibrated).tolist()

    def _say_what_matters(self, row: Mapping[str, float]) -> None:
        if len(self.history) == 1:
            positives = self.validation.examples.target.sum(axis=0)
            absent = [name for name, n in zip(self.prepared.task.classes, positives, strict=True) if n == 0]
            if absent:
                self.watch.note(f"validation has no {', '.join(absent)}: its macro metrics leave them out")
        recent = self.history[-OVERFIT_EPOCHS - 1 :]
        rising = all(b["val_loss"] > a["val_loss"] for a, b in pairwise(recent))
        falling = recent[-1]["train_loss"] < recent[0]["train_loss"]
        if len(recent) > OVERFIT_EPOCHS and rising and falling:
            self.watch.note(
                f"overfitting: validation loss rose for {OVERFIT_EPOCHS} epochs ({recent[0]['val_loss']:.3f} -> "
                f"{row['val_loss']:.3f}) while training loss fell ({recent[0]['train_loss']:.3f} -> "
                f"{row['train_loss']:.3f}); the checkpoint of epoch {self.best_epoch} is kept"
            )
        if self.stopped:
            self.watch.note(f"stopped early: no better {self.options.monitor} since epoch {self.best_epoch}")

    def _save_last(self) -> None:
        """Write the whole state of the training, then the history; what a resumed run reads is written in one piece."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(schedule, LRScheduler)
        state = {
            "epoch": self.epoch + 1,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "seconds": self.elapsed,
        }
        with whole(self.out / LAST) as path:
            torch.save(state, path)
        with whole(self.out / HISTORY) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.history[0]))
            writer.writeheader()
            writer.writerows(self.history)

    def restore(self) -> None:
        """Take up the state of the last whole epoch."""
        try:
            state = torch.load(self.out / LAST, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever the damaged archive leads to
            problem = str(error).splitlines()[0]
            raise EcgprismError(f"{self.out / LAST}: damaged ({problem}); train again with --overwrite") from None
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.first_epoch, self.history = state["epoch"], state["history"]
        self.best, self.best_epoch, self.stopped = state["best"], state["best_epoch"], state["stopped"]
        self.seconds = state["seconds"]
        self.restored = {"optimizer": state["optimizer"], "schedule": state["schedule"]}

    def _seconds_per_epoch(self) -> float:
        """Time one training step on a copy of the model, the second of two."""
        model = copy.deepcopy(self.model)
        batch = next(iter(self.batches)).to(self.device)
        assert batch.target is not None
        for _ in range(2):
            began = time.monotonic()
            self._loss(model(batch).fused, batch.target).mean().backward()
        return (time.monotonic() - began) * len(self.batches)


def temperature(logits: Tensor, target: Tensor, kind: str) -> float:
    """Return the temperature (0.1 to 10) that minimises the log loss of logits (N, K) (Guo et al. 2017)."""

    def log_loss(log_t: float) -> float:
        scaled = logits / math.exp(log_t)
        if kind == "multiclass":
            return float(F.cross_entropy(scaled, target))
        return float(F.binary_cross_entropy_with_logits(scaled, target))

    low, high, golden = math.log(0.1), math.log(10.0), (math.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if log_loss(a) < log_loss(b) else (a, high)
    return math.exp((low + high) / 2)
