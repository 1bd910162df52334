"""One visual language for all figures, and how they become files. No figure here touches matplotlib's global state."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ecgprism.errors import EcgprismError, nearest
from ecgprism.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER, GRID, INK, UNCLEAR = "#fff8f6", "#f0b8b0", "#202020", "#8a8a8a"
#: told apart by all kinds of colour vision (Okabe and Ito 2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PICTURES = (".png", ".svg", ".pdf")
DPI, SCREEN_DPI = 110, 72


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches that belongs to no window and to no backend."""
    return _figure_class()(figsize=(width, height), layout="constrained")


@cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure  # noqa: PLC0415  (most commands draw nothing)

    class ShownFigure(Figure):
        """A figure that a notebook shows where it stands, whatever backend there is."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png", dpi=SCREEN_DPI)
            return picture.getvalue()

    return ShownFigure


def check_picture(path: str | Path) -> Path:
    """Return the path of a picture. Raises EcgprismError, before anything is computed, for a kind that none can be."""
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise EcgprismError(f"{path}: a picture ends in .png, .svg or .pdf{nearest(path.suffix.lower(), PICTURES)}")
    return path


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by its suffix, whole or not at all."""
    path = check_picture(path)
    with atomic(path) as partial:
        figure.savefig(partial, dpi=DPI, format=path.suffix[1:].lower())
