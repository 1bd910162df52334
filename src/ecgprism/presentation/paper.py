"""ECGs on their paper, to scale: 25 mm a second, 10 mm a millivolt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.presentation.style import GRID, INK, PAPER, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MM_PER_S, MM_PER_MV, INCH_MM = 25.0, 10.0, 25.4
ROW_MV = 3.0  # distance between two leads: 30 mm; what leaves its row is cut
PULSE_S, MARGIN_S = 0.2, 0.6  # calibration: 1 mV for 0.2 s, left of the traces
SHOWN_S = 10.0
TOP_MM, BOTTOM_MM = 12.0, 8.0


def plot(recording: Recording, title: str = "", start_s: float = 0.0, shown_s: float = SHOWN_S) -> Figure:
    """Return the figure of a recording on ECG paper, every lead in a row of its own: 25 mm/s and 10 mm/mV exactly.

    Seconds `start_s` to `start_s + shown_s`; each lead about its median. A trace that leaves its row is cut, and a mark
    says where. Raises EcgprismError for a time that the recording does not have.
    """
    first = round(start_s * recording.rate_hz)
    last = min(round((start_s + shown_s) * recording.rate_hz), recording.signal.shape[1])
    if not 0 <= first < last:
        raise EcgprismError(f"start_s = {start_s:g}: the recording has {recording.duration_s:g} s")
    seconds = (last - first) / recording.rate_hz
    rows = len(recording.leads)
    shown = f"{start_s:g} to {start_s + seconds:g} of {recording.duration_s:.4g} s"
    figure, axes = _paper(seconds, rows, title, f"25 mm/s, 10 mm/mV · {shown} · {recording.rate_hz:g} Hz")
    at = np.arange(last - first) / recording.rate_hz
    for row, (lead, values) in enumerate(zip(recording.leads, recording.signal[:, first:last], strict=True)):
        _trace(axes, row, lead, at, values)
    return figure


def _paper(seconds: float, rows: int, title: str, scale: str) -> tuple[Figure, Axes]:
    """Return a figure and its axes, in seconds and millivolts of paper of the right size, lines every 1 and 5 mm."""
    from matplotlib.ticker import MultipleLocator  # noqa: PLC0415

    width_mm, height_mm = (seconds + 2 * MARGIN_S) * MM_PER_S, rows * ROW_MV * MM_PER_MV
    figure = figure_of(width_mm / INCH_MM, (height_mm + TOP_MM + BOTTOM_MM) / INCH_MM)
    figure.set_layout_engine("none")
    whole_mm = height_mm + TOP_MM + BOTTOM_MM
    axes = figure.add_axes((0, BOTTOM_MM / whole_mm, 1, height_mm / whole_mm))
    axes.set(xlim=(-MARGIN_S - 0.3, seconds + MARGIN_S - 0.3), ylim=(-ROW_MV * (rows - 0.5), ROW_MV / 2))
    axes.set_facecolor(PAPER)
    for axis, minor in ((axes.xaxis, 1 / MM_PER_S), (axes.yaxis, 1 / MM_PER_MV)):
        axis.set_major_locator(MultipleLocator(5 * minor))
        axis.set_minor_locator(MultipleLocator(minor))
    axes.grid(which="major", color=GRID, linewidth=0.5)
    axes.grid(which="minor", color=GRID, linewidth=0.15)
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.set_axisbelow(True)
    figure.text(0.01, 1 - 0.6 * TOP_MM / whole_mm, title, fontsize=10, va="center")
    figure.text(0.01, 0.45 * BOTTOM_MM / whole_mm, scale, fontsize=8, va="center")
    return figure, axes


def _trace(axes: Axes, row: int, lead: str, at_s: np.ndarray, values: np.ndarray) -> None:
    """Draw a lead about the middle of its row, its calibration pulse and its name before it."""
    middle = -ROW_MV * row
    there = values[~np.isnan(values)]
    level = values - (np.median(there) if len(there) else 0.0)
    reach = ROW_MV / 2
    kept = np.clip(level, -reach, reach)
    axes.plot(at_s, kept + middle, color=INK, linewidth=0.8)
    for sign in (1, -1):
        cut = at_s[np.nan_to_num(sign * level) > reach]
        if len(cut):
            axes.plot(cut, np.full(len(cut), middle + sign * reach), linestyle="none", marker=(2, 0, 45), markersize=4,
                      color="#D55E00")  # fmt: skip
    pulse_s = np.array([-0.5, -0.4, -0.4, -0.4 + PULSE_S, -0.4 + PULSE_S, -0.1])
    axes.plot(pulse_s, middle + np.array([0, 0, 1, 1, 0, 0]), color=INK, linewidth=0.8)
    axes.text(-MARGIN_S - 0.25, middle + 0.15, lead, fontsize=9, fontweight="bold", va="bottom")


def plot_sheet(recording: Recording, title: str = "") -> Figure:
    """Return the figure of twelve leads as on a printed sheet: four columns of 2.5 s and a rhythm strip of lead II."""
    rate_hz, part_s = recording.rate_hz, SHOWN_S / 4
    figure, axes = _paper(SHOWN_S, 4, title, "25 mm/s, 10 mm/mV")
    pieces = [(lead, n % 3, n // 3) for n, lead in enumerate(STANDARD_LEADS)]
    for lead, row, column in [*pieces, ("II", 3, 0)]:
        values = recording.signal[recording.leads.index(lead)]
        first, last = round(column * part_s * rate_hz), round((column + 1) * part_s * rate_hz)
        shown = values[first:last] if row < 3 else values[: round(SHOWN_S * rate_hz)]
        level = np.clip(shown - np.nanmedian(values), -ROW_MV / 2, ROW_MV / 2)
        axes.plot((first + np.arange(len(shown))) / rate_hz, level - ROW_MV * row, color=INK, linewidth=0.7)
        axes.text(column * part_s + 0.05, -ROW_MV * row + 1.0, lead, fontsize=8, fontweight="bold")
    return figure
