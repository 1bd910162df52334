"""One step of training and the end of an epoch, as Lightning calls them.

Every random choice of a step (order, crop, augmentation, dropout) is drawn from (seed, epoch, step), so no generator
has a state to save: a killed run starts again at its last whole epoch and takes the same steps.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.errors import EcgprismError
from ecgprism.interface.scoring import score
from ecgprism.model.batch import Batch
from ecgprism.model.engine import TorchEngine
from ecgprism.training import balance, losses, watch
from ecgprism.training.augmentation import augment
from ecgprism.training.averaging import MovingAverage
from ecgprism.training.batches import TrainingBatches
from ecgprism.training.preparation import Preparation
from ecgprism.training.state import TrainingState
from ecgprism.training.validation import Validation
from ecgprism.training.warm_start import freeze, parameter_groups
from ecgprism.training.watch import Watch, absent_classes, overfitting

EXPLODED = 20.0  # times the loss of a guess: no training comes back from there


class TrainingModule(pl.LightningModule):
    """The training of one model: a step, and what is done after an epoch (validation, checkpoints)."""

    def __init__(self, prepared: Preparation, out: Path, watch: Watch, state: TrainingState | None = None) -> None:
        """Begin, or go on from a state; nothing is written before the first epoch ends."""
        super().__init__()
        self.prepared, self.out, self.watch, self.state = prepared, out, watch, state or TrainingState()
        self.options, self.model, self.kind = prepared.config.train, prepared.model, prepared.task.kind
        self.averaged = MovingAverage(self.model, self.options.ema)
        if self.state.weights:
            self.model.load_state_dict(self.state.weights["model"])
            self.averaged.load_state_dict(self.state.weights["averaged"])
        self.first_epoch, self.began = self.state.epoch, time.monotonic() - self.state.seconds
        self.batches = TrainingBatches(
            CorpusAssembler(prepared.corpus, prepared.examples["train"], self.model.spec, prepared.target),
            self.model.spec.window,
            self.options.batch_size,
            self.options.seed,
            prepared.config.augment.crop,
        )
        self.validation = Validation(CorpusAssembler(prepared.corpus, prepared.examples["val"], self.model.spec))
        self.interrupted = False
        self.trained_on = torch.device("cpu")
        self.sums: dict[str, Tensor] = {}
        self.seen = self.last_rows = 0
        self.brakes: dict[str, Tensor] = {}
        self.noise = [torch.from_numpy(each) for each in prepared.noise]
        weight = losses.class_weights(prepared.examples["train"].target, self.kind, self.options.class_weights)
        self.register_buffer("class_weight", weight, persistent=False)
        self.class_weight: Tensor
        self.chance = losses.of_a_guess(prepared.examples["train"].target, self.kind, weight)

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
        """AdamW (Loshchilov and Hutter 2019) with a one-cycle rate (Smith 2018)."""
        optimizer = torch.optim.AdamW(parameter_groups(self.model, self.options), lr=self.options.lr, fused=True)
        steps = max(self.options.epochs * len(self.batches), 2)
        highest = [group["lr"] for group in optimizer.param_groups]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=highest, total_steps=steps)
        if self.state.weights:
            optimizer.load_state_dict(self.state.weights["optimizer"])
            schedule.load_state_dict(self.state.weights["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Say how long it will take."""
        self.trained_on = self.device
        self.averaged.model.to(self.device)
        self.watch.start(self.prepared, self._seconds_per_epoch(), self.first_epoch)

    def on_train_epoch_start(self) -> None:
        """Begin the sums of this epoch; hold what is frozen in it."""
        self.sums, self.seen = {}, 0
        freeze(self.model, self.options, self.epoch)

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """Return the loss of a batch."""
        seed = int(np.random.SeedSequence([self.options.seed, self.epoch, step]).generate_state(1)[0])
        torch.manual_seed(seed)
        self.noise = [each.to(batch.signal.device) for each in self.noise]
        generator = torch.Generator().manual_seed(seed)
        batch = augment(batch, self.prepared.config.augment, self.model.spec.rate_hz, generator, self.noise)
        assert batch.target is not None
        tokens, present = self.model.encode(batch), self.model.present(batch)
        output = self.model.fuse(tokens, present, self.kept_views(present))
        by_head = losses.by_head(output, batch.target, self.kind, self.class_weight)
        total = losses.total(by_head, self.options, self.state.history)
        if self.options.coalitions and len(self.model.branches) > 1:
            part = self.model.fuse(tokens, present, balance.kept_views(present, 0.5)).fused
            each = losses.of_records(part, batch.target, self.kind, self.class_weight)
            total = total + self.options.coalitions * each.mean()
        if self.options.balance == "ogm_ge":
            self.brakes = balance.brakes(output, batch.target, self.kind, self.options.modulation)
        if not torch.isfinite(total):
            raise EcgprismError(f"the loss became {total.item()} in epoch {self.epoch + 1}; try a smaller train.lr")
        self.last_rows = batch.signal.shape[0]
        self._count({name: loss.detach() for name, loss in by_head.items()})
        self.seen += self.last_rows
        fused = next(iter(by_head.values()))
        self.watch.step(self.epoch, step, len(self.batches), self.seen, float(fused.detach()))
        return total

    def _count(self, values: dict[str, Tensor]) -> None:
        """Add values of this batch to the sums of the epoch, weighted by its rows."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value * self.last_rows

    def kept_views(self, present: Tensor) -> Tensor | None:
        """Return bool (B, V): views that training lets the fusion see."""
        p = balance.dropout_at(self.options.view_dropout, self.epoch, self.options.epochs)
        if p == 0 or len(self.model.branches) < 2:
            return None
        return balance.kept_views(present, p)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure each view's gradient, then brake the views that lead (OGM-GE)."""
        if len(self.model.branches) < 2:
            return
        self._count({f"grad_norm_{name}": norm for name, norm in balance.gradient_norms(self.model).items()})
        if self.options.balance == "ogm_ge":
            balance.modulate(self.model, self.brakes)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the moving average follow."""
        self.averaged.follow(self.model)

    def on_train_epoch_end(self) -> None:
        """Validate the averaged weights; keep the best and the last checkpoint; write the history."""
        state, monitor = self.state, self.options.monitor
        scores = score(TorchEngine(self.averaged.model), self.validation.inputs)
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LRScheduler)
        row: dict[str, float] = {"epoch": self.epoch + 1, "lr": float(schedule.get_last_lr()[0])}
        row |= {name: float(total) / self.seen for name, total in self.sums.items()}
        row |= self.validation.measured(scores, self.class_weight)
        state.history.append(row)
        value = -row["val_loss"] if monitor == "loss" else row[f"val_{monitor}"]
        if math.isnan(value):
            raise EcgprismError(
                f"val_{monitor} is undefined: validation has no positive, or only positives, of every class; "
                "try train.monitor=loss"
            )
        worst = max(row["train_loss"], row["val_loss"])
        if worst > EXPLODED * self.chance:
            raise EcgprismError(
                f"the loss rose to {worst:.3g} in epoch {self.epoch + 1}, {self.chance:.3g} is that of a guess; "
                "try a smaller train.lr"
            )
        improved = value > state.best
        if improved:
            state.best, state.best_epoch = value, self.epoch + 1
            self.averaged.model.save(self.out, self.validation.calibrated(scores))
        state.stopped = self.epoch + 1 - state.best_epoch >= self.options.patience
        self._save_state()
        for logger in self.loggers:
            logger.log_metrics(row, self.epoch + 1)
        self.watch.epoch(row, improved)
        self._say_what_matters()
        if state.stopped:
            self.trainer.should_stop = True

    def _say_what_matters(self) -> None:
        state = self.state
        notes = [overfitting(state.history, state.best_epoch)]
        if len(state.history) == 1:
            notes.insert(0, absent_classes(self.prepared.task.classes, self.validation.target))
        if state.stopped:
            notes.append(f"stopped early: no better {self.options.monitor} since epoch {state.best_epoch}")
        if len(state.history) == 1 and self.kind == "multilabel":
            notes.append(watch.few_positives(self.prepared.task.classes, self.prepared.examples["val"].target))
        for note in filter(None, notes):
            self.watch.note(note)

    def _save_state(self) -> None:
        """Write the state after this epoch."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(schedule, LRScheduler)
        holders: dict[str, Any] = {
            "model": self.model,
            "averaged": self.averaged,
            "optimizer": optimizer,
            "schedule": schedule,
        }
        self.state.epoch = self.epoch + 1
        self.state.seconds = time.monotonic() - self.began
        self.state.weights = {name: holder.state_dict() for name, holder in holders.items()}
        self.state.save(self.out)

    def _seconds_per_epoch(self) -> float:
        """Time one training step on a copy of the model, the second of two."""
        model = copy.deepcopy(self.model)
        batch = next(iter(self.batches)).to(self.device)
        assert batch.target is not None
        for _ in range(2):
            began = time.monotonic()
            losses.of_records(model(batch).fused, batch.target, self.kind, self.class_weight).mean().backward()
        return (time.monotonic() - began) * len(self.batches)
