"""Figures of a model's training and of its answers: losses, confusion, ROC, precision and recall, reliability."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgprism.errors import EcgprismError
from ecgprism.evidence.comparison import answers_of
from ecgprism.presentation.style import COLOURS, GRID, INK, UNCLEAR, figure_of
from ecgprism.training.folder import HISTORY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES, MOST_CLASSES, BINS = 7, 40, 10
History = Sequence[Mapping[str, float]]


def plot_training(histories: str | Path | Mapping[str, History]) -> Figure:
    """Return training and validation loss by epoch, the best one marked: of a run's folder, or of histories by name."""
    if isinstance(histories, str | Path):
        histories = {Path(histories).name: history_of(Path(histories))}
    figure = figure_of(3.4 * len(histories), 3)
    panels = np.atleast_1d(figure.subplots(1, len(histories), sharey=True))
    for panel, (name, rows) in zip(panels, histories.items(), strict=True):
        epochs, validation = [row["epoch"] for row in rows], [row["val_loss"] for row in rows]
        panel.plot(epochs, [row["train_loss"] for row in rows], label="training", color=COLOURS[0])
        panel.plot(epochs, validation, label="validation", color=COLOURS[1])
        best = int(np.argmin(validation))
        panel.plot([epochs[best]], [validation[best]], marker="o", color=COLOURS[1], linestyle="none")
        panel.annotate(f"epoch {epochs[best]:g}", (epochs[best], validation[best]), xytext=(-4, 8),
                       textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        panel.set(title=name, xlabel="epoch")
        panel.grid(color=GRID, linewidth=0.4)
    panels[0].set_ylabel("loss")
    panels[0].legend()
    return figure


def history_of(run: Path) -> list[dict[str, float]]:
    """Return the history of a run's folder, a row per epoch. Raises EcgprismError where there is none."""
    try:
        with (run / HISTORY).open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise EcgprismError(f"{run}: no {HISTORY} in it: not the folder of a training") from None


def plot_answers(run: str | Path) -> dict[str, Figure]:
    """Return ROC, precision-recall, reliability and confusion of an evaluated run's answers, by name.

    Several labels an item have no confusion matrix.
    """
    figures = {
        "roc": plot_roc(run),
        "precision_recall": plot_precision_recall(run),
        "reliability": plot_reliability(run),
    }
    if (answers_of(run).truth.sum(axis=1) == 1).all():
        figures["confusion"] = plot_confusion(run)
    return figures


def plot_intervals(rows: Mapping[str, tuple[float, float, float]], metric: str) -> Figure:
    """Return value and interval (value, low, high) of each named row, the first on top."""
    figure = figure_of(8, 0.55 * len(rows) + 1.1)
    axes = figure.subplots()
    for place, (name, (value, low, high)) in enumerate(rows.items()):
        axes.plot([low, high], [-place, -place], color=INK, linewidth=2, solid_capstyle="butt")
        axes.plot([value], [-place], marker="o", color=INK)
        axes.annotate(f"{value:.3f}", (value, -place), xytext=(0, 7), textcoords="offset points", ha="center")
        axes.annotate(name, (0, -place), xycoords=("axes fraction", "data"), xytext=(-8, 0),
                      textcoords="offset points", ha="right", va="center")  # fmt: skip
    axes.set(yticks=[], xlabel=f"{metric}, 95% interval", ylim=(-len(rows) + 0.4, 0.6))
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    return figure


def plot_confusion(run: Any, probabilities: ArrayLike | None = None, classes: Sequence[str] | None = None) -> Figure:
    """Return the confusion matrix of an evaluated run's folder, or of targets and probabilities.

    For classes that exclude each other. Shades are shares of a true class, numbers are items. Of more than 40 classes
    the most frequent are shown.
    """
    target, p, names = _held(run, probabilities, classes)
    if not (target.sum(axis=1) == 1).all():
        raise EcgprismError("a confusion matrix needs exactly one class an item; these have several, or none")
    shown = _most_frequent(target, MOST_CLASSES)
    true, said = target.argmax(axis=1), p.argmax(axis=1)
    counts = np.array([[((true == i) & (said == j)).sum() for j in shown] for i in shown])
    size = max(0.45 * len(shown), 3.2)
    figure = figure_of(size + 1.4, size + 0.8)
    axes = figure.subplots()
    shares = counts / np.maximum(np.array([[(true == i).sum()] for i in shown]), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(shown) <= 20:
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else INK
            axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color=colour)
    labels = [names[k] for k in shown]
    axes.set_xticks(range(len(shown)), labels, rotation=90 if max(map(len, labels)) > 4 else 0, fontsize=8)
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=_of_many(len(shown), len(names)))
    return figure


def plot_roc(run: Any, probabilities: ArrayLike | None = None, classes: Sequence[str] | None = None) -> Figure:
    """Return ROC curves by class of an evaluated run's folder, or of targets and probabilities."""
    figure, panel, held = _curves(run, probabilities, classes)
    for colour, name, yes, p in held:
        order = np.argsort(-p, kind="stable")
        last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # ties are one step
        sensitivity = np.append(0, np.cumsum(yes[order])[last] / max(yes.sum(), 1))
        false_alarms = np.append(0, np.cumsum(~yes[order])[last] / max((~yes).sum(), 1))
        area = float(np.trapezoid(sensitivity, false_alarms))
        panel.plot(false_alarms, sensitivity, color=colour, label=f"{name}: {area:.3f}, n = {int(yes.sum())}")
    panel.plot([0, 1], [0, 1], color=UNCLEAR, linewidth=0.6, linestyle="--")
    panel.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    panel.legend(title="area under the curve", fontsize=8, title_fontsize=8)
    return figure


def plot_precision_recall(
    run: Any, probabilities: ArrayLike | None = None, classes: Sequence[str] | None = None
) -> Figure:
    """Return precision-recall curves by class of an evaluated run's folder, or of targets and probabilities."""
    figure, panel, held = _curves(run, probabilities, classes)
    for colour, name, yes, p in held:
        order = np.argsort(-p, kind="stable")
        last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
        hits = np.cumsum(yes[order])[last]
        recall, precision = hits / max(yes.sum(), 1), hits / (last + 1)
        area = float((np.diff(np.append(0, recall)) * precision).sum())
        panel.step(recall, precision, where="pre", color=colour, label=f"{name}: {area:.3f}, share {yes.mean():.2f}")
    panel.set(xlabel="recall (sensitivity)", ylabel="precision (positive predictive value)")
    panel.set(xlim=(0, 1.02), ylim=(0, 1.02))
    panel.legend(title="average precision", fontsize=8, title_fontsize=8)
    return figure


def plot_reliability(run: Any, probabilities: ArrayLike | None = None, classes: Sequence[str] | None = None) -> Figure:
    """Return how often a class is there where it is said to be so probable, in ten bins of equal count, by class."""
    figure, panel, held = _curves(run, probabilities, classes)
    for colour, name, yes, p in held:
        parts = np.array_split(np.argsort(p, kind="stable"), min(BINS, max(len(p) // 10, 1)))
        said, there = [p[part].mean() for part in parts], [yes[part].mean() for part in parts]
        panel.plot(said, there, marker="o", markersize=4, linewidth=1, color=colour, label=name)
    panel.plot([0, 1], [0, 1], color=UNCLEAR, linewidth=0.6, linestyle="--")
    panel.set(xlabel="probability said", ylabel="share that has the class", aspect="equal", xlim=(0, 1), ylim=(0, 1))
    panel.legend(fontsize=8)
    return figure


def _curves(
    run: Any, probabilities: ArrayLike | None, classes: Sequence[str] | None
) -> tuple[Figure, Any, list[tuple[str, str, NDArray[np.bool_], NDArray[np.float64]]]]:
    """Return a figure, its axes, and colour, name, target (N,) and probability (N,) of each class to draw."""
    target, p, names = _held(run, probabilities, classes)
    known = [k for k in range(len(names)) if 0 < target[:, k].sum() < len(target)]
    shown = [k for k in _most_frequent(target, len(names)) if k in known][:MOST_CURVES]
    if not shown:
        raise EcgprismError("no class has both items that have it and items that have not: there is no curve")
    figure = figure_of(4.8, 4.8)
    panel = figure.subplots()
    panel.set_title(_of_many(len(shown), len(names)), fontsize=9)
    panel.grid(color=GRID, linewidth=0.4)
    held = [(COLOURS[n], names[k], target[:, k], p[:, k]) for n, k in enumerate(shown)]
    return figure, panel, held


def _held(
    run: Any, probabilities: ArrayLike | None, classes: Sequence[str] | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64], tuple[str, ...]]:
    """Return targets (N, K), probabilities (N, K) and class names."""
    if probabilities is None:
        answers = answers_of(run)
        return answers.truth, answers.probabilities, answers.classes
    p, target = np.asarray(probabilities, dtype=np.float64), np.asarray(run)
    if p.ndim == 2 and target.ndim == 1 and len(target) == len(p):
        target = np.arange(p.shape[1]) == target.astype(np.int64)[:, None]
    if p.ndim != 2 or target.shape != p.shape:
        raise EcgprismError(f"targets of shape {target.shape}, probabilities of shape {p.shape}: expected (N, K) each")
    names = tuple(map(str, classes)) if classes is not None else tuple(f"class {k}" for k in range(p.shape[1]))
    if len(names) != p.shape[1]:
        raise EcgprismError(f"classes: {len(names)} names for {p.shape[1]} columns of probabilities")
    return target.astype(bool), p, names


def _most_frequent(target: NDArray[np.bool_], most: int) -> list[int]:
    """Return the classes with the most items, in their own order where all are shown."""
    if target.shape[1] <= most:
        return list(range(target.shape[1]))
    return np.argsort(-target.sum(axis=0), kind="stable")[:most].tolist()


def _of_many(shown: int, there: int) -> str:
    return "" if shown == there else f"the {shown} most frequent of {there} classes"
