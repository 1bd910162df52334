"""Pictures: an ECG on its paper grid, a training, models beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.evidence.reports import ConditionReport, LedgerReport, StressReport
from ecgprism.metrics.intervals import Difference, Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

mpl.use("Agg", force=False)

PAPER, GRID, INK, UNCLEAR = "#fff8f6", "#f0b8b0", "#202020", "#8a8a8a"
ROW_MV = 3.0  # distance between two leads: 30 mm at 10 mm/mV
SHOWN_S = 10.0


def draw_ecg(recording: Recording, path: str | Path, title: str = "") -> None:
    """Draw every lead (25 mm/s, 10 mm/mV; the first ten seconds) over the spectrogram of one lead, into a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MultipleLocator  # noqa: PLC0415
    from scipy.signal import spectrogram  # noqa: PLC0415

    rate_hz, n_leads = recording.rate_hz, len(recording.leads)
    signal = recording.signal[:, : round(SHOWN_S * rate_hz)]
    seconds = np.arange(signal.shape[1]) / rate_hz
    figure = Figure(figsize=(11, 1.1 * n_leads + 2.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.1 * n_leads, 2])
    top.set_facecolor(PAPER)
    for row, (lead, values) in enumerate(zip(recording.leads, signal, strict=True)):
        centre = -ROW_MV * row
        top.plot(seconds, values - np.nanmedian(values) + centre, color=INK, linewidth=0.8)
        top.text(0.02, centre + 0.5, lead, fontsize=9, fontweight="bold")
    top.xaxis.set_major_locator(MultipleLocator(1.0))
    top.xaxis.set_minor_locator(MultipleLocator(0.2))
    top.yaxis.set_minor_locator(MultipleLocator(0.5))
    top.grid(which="both", color=GRID, linewidth=0.5)
    top.set(ylim=(-ROW_MV * (n_leads - 1) - 2, 2), yticks=[], title=title, xlim=(0, seconds[-1]))
    shown = recording.leads.index("II") if "II" in recording.leads else 0
    width = min(round(0.64 * rate_hz), signal.shape[1])
    values = np.nan_to_num(signal[shown])
    frequency, time, power = spectrogram(values, rate_hz, nperseg=width, noverlap=round(width * 0.8))
    band = frequency <= 40
    bottom.pcolormesh(time, frequency[band], 10 * np.log10(power[band] + 1e-7), cmap="magma", shading="gouraud")
    bottom.set(xlabel="s", ylabel=f"Hz (lead {recording.leads[shown]})")
    figure.savefig(path, dpi=110)


def draw_history(histories: dict[str, list[dict[str, float]]], path: str | Path) -> None:
    """Draw training and validation loss by epoch, one panel per model, into a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(3.2 * len(histories), 3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(histories), sharey=True))
    for panel, (name, rows) in zip(panels, histories.items(), strict=True):
        epochs = [row["epoch"] for row in rows]
        panel.plot(epochs, [row["train_loss"] for row in rows], label="training")
        panel.plot(epochs, [row["val_loss"] for row in rows], label="validation")
        panel.set(title=name, xlabel="epoch")
    panels[0].set_ylabel("loss")
    panels[0].legend()
    figure.savefig(path, dpi=110)


def draw_comparison(rows: Mapping[str, tuple[float, float, float]], metric: str, path: str | Path) -> None:
    """Draw value and interval (value, low, high) of each named row, the first on top, into a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 0.55 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, (name, (value, low, high)) in enumerate(rows.items()):
        axes.plot([low, high], [-place, -place], color=INK, linewidth=2, solid_capstyle="butt")
        axes.plot([value], [-place], marker="o", color=INK)
        axes.annotate(f"{value:.3f}", (value, -place), xytext=(0, 7), textcoords="offset points", ha="center")
        axes.annotate(name, (0, -place), xycoords=("axes fraction", "data"), xytext=(-8, 0),
                      textcoords="offset points", ha="right", va="center")  # fmt: skip
    axes.set(yticks=[], xlabel=f"{metric}, 95% interval", ylim=(-len(rows) + 0.4, 0.6))
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    figure.savefig(path, dpi=110)


def draw_sheet(recording: Recording, path: str | Path, title: str = "") -> None:
    """Draw twelve leads as on a printed sheet: four columns of 2.5 s and a rhythm strip of lead II, into a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MultipleLocator  # noqa: PLC0415

    rate_hz = recording.rate_hz
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(PAPER)
    part = round(SHOWN_S / 4 * rate_hz)
    columns = [STANDARD_LEADS[start : start + 3] for start in range(0, 12, 3)]
    pieces = [(lead, row, slice(c * part, (c + 1) * part)) for c, leads in enumerate(columns)
              for row, lead in enumerate(leads)]  # fmt: skip
    for lead, row, shown in [*pieces, ("II", 3, slice(0, 4 * part))]:
        values = recording.signal[recording.leads.index(lead)]
        centre, seconds = -ROW_MV * row - float(np.nanmedian(values)), np.arange(len(values))[shown] / rate_hz
        axes.plot(seconds, values[shown] + centre, color=INK, linewidth=0.7)
        axes.text(seconds[0] + 0.05, -ROW_MV * row + 1.0, lead, fontsize=8, fontweight="bold")
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.yaxis.set_major_locator(MultipleLocator(0.5))
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.grid(which="major", color=GRID, linewidth=0.4)
    axes.set(ylim=(-ROW_MV * 3 - 1.6, 2.2), xlim=(0, SHOWN_S), title=title)
    figure.savefig(path, dpi=70)


def draw_ledger(report: LedgerReport, path: str | Path) -> None:
    """Draw a ledger into a PNG: every model with its interval, the paired differences, each view's Shapley value."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    metric = report.metric
    panels: list[tuple[str, Mapping[str, Estimate]]] = [
        (metric, {name: model.metrics[metric] for name, model in report.models.items()}),
        (f"difference of {metric}", {name: each.metrics[metric] for name, each in report.differences.items()}),
        (f"Shapley value, {metric}", {view: each[metric] for view, each in report.shapley.items()}),
    ]
    heights = [len(rows) + 1.5 for _, rows in panels]
    figure = Figure(figsize=(9, 0.32 * sum(heights) + 0.8), layout="constrained")
    figure.suptitle("\n".join(wrap(report.verdict, 105)), fontsize=9)
    for axes, (label, rows) in zip(figure.subplots(3, 1, height_ratios=heights), panels, strict=True):
        _draw_rows(axes, rows, 8)
        axes.set_xlabel(f"{label}, 95% interval", fontsize=8)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)


def _draw_rows(axes: Axes, rows: Mapping[str, Estimate], fontsize: float) -> None:
    """Draw value and interval of each named row, the first on top; a difference is grey when it may be zero."""
    if any(isinstance(each, Difference) for each in rows.values()):
        axes.axvline(0, color=INK, linewidth=0.6)
    for place, each in enumerate(rows.values()):
        if each.known:
            colour = UNCLEAR if isinstance(each, Difference) and not each.sign else INK
            axes.plot([each.low, each.high], [-place, -place], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([each.value], [-place], marker="o", markersize=4, color=colour)
    axes.set_yticks([-place for place in range(len(rows))], list(rows), fontsize=fontsize)
    axes.set_ylim(0.6 - len(rows), 0.6)
    axes.grid(axis="x", color=GRID, linewidth=0.5)


def draw_stress(report: StressReport, path: str | Path) -> None:
    """Draw a stress test into a PNG: a curve per model over the ratio for each noise, and every other condition."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    noisy: dict[str, list[ConditionReport]] = {}
    for row in report.conditions:
        if row.family == "noise":
            noisy.setdefault(row.name, []).append(row)
    first = next(iter(report.models))
    others = {row.title: row.models[first] for row in report.conditions if row.family != "noise"}
    heights = [3.6 if noisy else 0.4, 0.22 * len(others) + 1.0]
    figure = Figure(figsize=(max(3.4 * len(noisy), 8), sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    panels = np.atleast_1d(above.subplots(1, len(noisy), sharey=True)) if noisy else np.array([])
    for panel, (kind, rows) in zip(panels, noisy.items(), strict=True):
        _draw_curves(panel, report, sorted(rows, key=lambda row: row.level or 0.0))
        panel.set_title(f"{kind} ({report.noise[kind]})")
    if noisy:
        panels[0].set_ylabel(report.metric)
        panels[0].legend(fontsize=7)
    if others:
        axes = below.subplots()
        _draw_rows(axes, others, 7)
        axes.axvline(report.clean.models[first].value, color=INK, linewidth=0.6)
        axes.set_xlabel(f"{report.metric} of {first}, 95% interval; the line: clean")
    figure.savefig(path, dpi=110)


def _draw_curves(panel: Axes, report: StressReport, rows: Sequence[ConditionReport]) -> None:
    """Draw every model over the levels of one noise, clean on the right, the first with its interval."""
    levels = [row.level or 0.0 for row in rows]
    for number, (name, clean) in enumerate(report.clean.models.items()):
        found = [row.models[name] for row in rows]
        line = panel.plot(
            [*levels, levels[-1] + 6], [*(each.value for each in found), clean.value], label=name,
            linewidth=1 if number else 2, linestyle="--" if name.endswith(" head") else "-", marker=".",
        )  # fmt: skip
        if not number:
            low, high = [each.low for each in found], [each.high for each in found]
            panel.fill_between(levels, low, high, alpha=0.15, color=line[0].get_color(), linewidth=0)
    panel.set_xlabel("signal-to-noise ratio, dB")
    panel.set_xticks([*levels, levels[-1] + 6], [*(f"{level:g}" for level in levels), "clean"])
    panel.grid(color=GRID, linewidth=0.5)
