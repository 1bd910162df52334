"""What a training tells on a terminal: a summary before it, live progress during it, one line per epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ecgprism.model.prism import parameters
from ecgprism.presentation.tables import show_class_counts, table
from ecgprism.training.preparation import Preparation
from ecgprism.training.watch import Watch, duration


class ConsoleWatch(Watch):
    """Draws a training; a context manager, so that the terminal is restored whatever happens."""

    def __init__(self, console: Console) -> None:
        """Nothing is drawn before `start`."""
        self.console = console
        self.bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[text]}"),
            console=console,
            transient=True,
        )
        self.teachers: TaskID | None = None
        self.epochs = self.epochs_left = 0
        self.began = self.epoch_began = 0.0

    def __enter__(self) -> ConsoleWatch:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self.bar.stop()

    def teacher(self, done: int, total: int) -> None:
        """Move the bar of the teachers."""
        if self.teachers is None:
            self.teachers = self.bar.add_task("", total=total, what="asking teachers", text="")
            self.bar.start()
        self.bar.update(self.teachers, completed=done)
        if done == total:
            self.bar.remove_task(self.teachers)

    def start(self, prepared: Preparation, seconds_per_epoch: float, first_epoch: int) -> None:
        """Print the summary: data, classes per split, views, size, expected time."""
        config, corpus = prepared.config, prepared.corpus
        counts = table("split", "items", "patients", "left out", numbers=["items", "patients", "left out"])
        by_class: dict[str, dict[str, int]] = {name: {} for name in prepared.task.classes}
        for split, examples in prepared.examples.items():
            counts.add_row(split, *map(str, (len(examples), len(set(examples.cluster)), examples.left_out)))
            for name, n in zip(prepared.task.classes, examples.target.sum(axis=0).tolist(), strict=True):
                by_class[name][split] = n
        self.console.print(
            f"[bold]{escape(str(corpus.path))}[/]: task {escape(prepared.task_name)} ({prepared.task.kind}), "
            f"{len(corpus.records)} recordings at {corpus.rate_hz:g} Hz, leads {', '.join(prepared.model.spec.leads)}"
        )
        self.console.print(counts)
        show_class_counts(self.console, by_class, list(prepared.examples), "that are learnt all the same")
        views = table("view", "shape", "encoder", "parameters", numbers=["parameters"])
        for name, (shape, size) in prepared.model.shapes().items():
            branch = config.views[name]
            views.add_row(escape(name), f"{branch.view.name} {shape}", branch.read_by, f"{size:,}")
        self.console.print(views)
        self.epochs, self.epochs_left = config.train.epochs, config.train.epochs - first_epoch
        expected = seconds_per_epoch * self.epochs_left
        epochs = f"{self.epochs_left} epoch{'s' if self.epochs_left > 1 else ''}"
        self.console.print(
            f"{parameters(prepared.model):,} parameters; {epochs}, about {duration(expected)}"
            + (f" (resumed after epoch {first_epoch})" if first_epoch else "")
        )
        self.began = self.epoch_began = time.monotonic()
        self.task = self.bar.add_task("", total=None, what="", text="")
        self.bar.start()

    def step(self, epoch: int, step: int, steps: int, records: int, loss: float) -> None:
        """Move the bar."""
        now = time.monotonic()
        if step == 0:
            self.epoch_began = now
        rate = records / max(now - self.epoch_began, 1e-9) if step else 0.0
        done = (self.epochs_left - self.epochs + epoch) + (step + 1) / steps
        left = (now - self.began) / done * (self.epochs_left - done)
        text = f"steps  {rate:.0f} records/s  loss {loss:.3f}  {duration(left)} left"
        self.bar.update(self.task, completed=step + 1, total=steps, what=f"epoch {epoch + 1}/{self.epochs}", text=text)

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Print the epoch's line."""
        own = [
            f"{k.removeprefix('train_loss_')} {v:.3f}, gradient {row[k.replace('train_loss', 'grad_norm')]:.2f}"
            for k, v in row.items()
            if k.startswith("train_loss_")
        ]
        self.console.print(
            f"epoch {int(row['epoch']):>3}  loss {row['train_loss']:.3f}"
            + (f" ({'; '.join(own)})" if own else "")
            + f"  val loss {row['val_loss']:.3f}  AUROC {row['val_macro_auroc']:.4f}  F1 {row['val_macro_f1']:.3f}"
            + ("  [bold]best[/]" if improved else ""),
            highlight=False,
        )

    def note(self, message: str) -> None:
        """Print a note."""
        self.console.print(f"[yellow]note:[/] {escape(message)}")
