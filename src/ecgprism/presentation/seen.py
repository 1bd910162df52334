"""What a model sees of a recording: every view in a panel of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgprism.ecg.recording import Recording
from ecgprism.model.inspection import ViewArray
from ecgprism.prediction.views import views_of
from ecgprism.presentation.style import COLOURS, GRID, INK, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ecgprism.model.prism import PrismModel

MOST_LEADS = 3  # of a view over time and frequency


def plot_views(model: PrismModel | str | Path, recording: Recording | str | Path) -> Figure:
    """Return every view of a recording as the model gets it: over time, over frequency, over both, by column.

    Of views over time and frequency the first three leads are shown. Arguments and errors as of `views_of`.
    """
    found = views_of(model, recording)
    heights = [_rows(view) for view in found.values()]
    figure = figure_of(11, 0.9 * sum(heights) + 0.6 * len(found))
    parts: Any = figure.subfigures(len(found), 1, height_ratios=heights) if len(found) > 1 else figure
    for part, view in zip(np.atleast_1d(parts), found.values(), strict=True):
        part.suptitle(f"{view.name}: {view.shape}", fontsize=9, x=0.01, ha="left")
        _draw(part, view)
    return figure


def _rows(view: ViewArray) -> float:
    axes = "".join(view.axes)
    if axes == "LFT":
        return 2.0 * min(len(view.axes["L"]), MOST_LEADS)
    return max(0.25 * len(view.axes["L"]), 2.0) if axes == "LT" else 3.0 if axes == "DN" else 2.5


def _draw(part: Any, view: ViewArray) -> None:
    axes, values = "".join(view.axes), view.values
    along = list(view.axes.values())
    if axes == "LFT":
        shown = min(len(values), MOST_LEADS)
        for lead, panel in enumerate(np.atleast_1d(part.subplots(shown, 1, sharex=True))):
            panel.pcolormesh(along[2], along[1], values[lead], cmap="magma", shading="nearest")
            panel.set_ylabel(f"{along[0][lead]}, Hz", fontsize=8)
        panel.set_xlabel("s", fontsize=8)
        return
    panel = part.subplots()
    if axes == "LT":
        step = 4 * float(values.std()) or 1.0
        for row, lead in enumerate(values):
            panel.plot(along[1], lead - row * step, color=INK, linewidth=0.6)
        panel.set_yticks([-row * step for row in range(len(values))], along[0], fontsize=7)
        panel.set_xlabel("s", fontsize=8)
    elif axes == "LF":
        for row, (name, lead) in enumerate(zip(along[0], values, strict=True)):
            panel.plot(along[1], lead, linewidth=0.8, label=name, color=COLOURS[row % len(COLOURS)])
        panel.set_xlabel("Hz", fontsize=8)
        panel.legend(fontsize=6, ncols=6)
        panel.grid(color=GRID, linewidth=0.4)
    elif values.ndim == 2:
        panel.pcolormesh(
            np.arange(values.shape[1] + 1), np.arange(len(values) + 1), values, cmap="RdBu_r", vmin=-4, vmax=4
        )
        panel.set_yticks(np.arange(len(values)) + 0.5, along[0], fontsize=6)
        ticks = np.linspace(0, values.shape[1] - 1, 8).round().astype(int)
        panel.set_xticks(ticks + 0.5, [_number(along[1][tick]) for tick in ticks], fontsize=7)
        panel.invert_yaxis()
        panel.set_xlabel("s" if axes == "DN" else "", fontsize=8)
    else:
        panel.barh(range(values.size), values.ravel(), color=COLOURS[0])
        panel.set_yticks(range(values.size), [str(name) for name in along[-1]], fontsize=7)
        panel.invert_yaxis()


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
