"""Figures of evidence: a ledger of what each view is worth, a stress test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgprism.evidence.reports import ConditionReport, LedgerReport, StressReport
from ecgprism.metrics.intervals import Difference, Estimate
from ecgprism.presentation.style import GRID, INK, UNCLEAR, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_ledger(report: LedgerReport) -> Figure:
    """Return the figure of a ledger: models with their intervals, paired differences, Shapley values of views."""
    metric = report.metric
    panels: list[tuple[str, Mapping[str, Estimate]]] = [
        (metric, {name: model.metrics[metric] for name, model in report.models.items()}),
        (f"difference of {metric}", {name: each.metrics[metric] for name, each in report.differences.items()}),
        (f"Shapley value, {metric}", {view: each[metric] for view, each in report.shapley.items()}),
    ]
    heights = [len(rows) + 1.5 for _, rows in panels]
    figure = figure_of(9, 0.32 * sum(heights) + 0.8)
    figure.suptitle("\n".join(wrap(report.verdict, 105)), fontsize=9)
    for axes, (label, rows) in zip(figure.subplots(3, 1, height_ratios=heights), panels, strict=True):
        _draw_rows(axes, rows, 8)
        axes.set_xlabel(f"{label}, 95% interval", fontsize=8)
        axes.tick_params(labelsize=8)
    return figure


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


def plot_stress(report: StressReport) -> Figure:
    """Return the figure of a stress test: a curve per model over the ratio of each noise, and all others."""
    noisy: dict[str, list[ConditionReport]] = {}
    for row in report.conditions:
        if row.family == "noise":
            noisy.setdefault(row.name, []).append(row)
    first = next(iter(report.models))
    others = {row.title: row.models[first] for row in report.conditions if row.family != "noise"}
    heights = [3.6 if noisy else 0.4, 0.22 * len(others) + 1.0]
    figure = figure_of(max(3.4 * len(noisy), 8), sum(heights))
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
    return figure


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
