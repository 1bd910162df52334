"""HTML that a notebook shows of an object: one piece that needs nothing from outside, every word escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

MOST_ROWS = 20
PICTURE_DPI = 72


@dataclass(frozen=True)
class Grid:
    """A table: the titles of its columns, and rows of which the first MOST_ROWS are shown; `title` stands above."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


def page(
    title: str, facts: Mapping[str, object], grids: Sequence[Grid] = (), notes: Sequence[str] = (), figure: Any = None
) -> str:
    """Return a title, facts by name (the empty ones left out), tables, notes, and a matplotlib figure as PNG."""
    rows = [[name, value] for name, value in facts.items() if value not in ("", None)]
    parts = [f"<b>{escape(title)}</b>", _table((), rows) if rows else ""]
    parts += [_grid(grid) for grid in grids if grid.rows]
    if notes:
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    parts.append(_picture(figure) if figure is not None else "")
    return f"<div>{''.join(parts)}</div>"


def _grid(grid: Grid) -> str:
    left = len(grid.rows) - MOST_ROWS
    title = f"<div>{escape(grid.title)}</div>" if grid.title else ""
    more = f"<div>and {left} more</div>" if left > 0 else ""
    return title + _table(grid.columns, grid.rows[:MOST_ROWS]) + more


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'''<td style='text-align:left'>{escape(str(cell))}</td>''' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _picture(figure: Any) -> str:
    held = BytesIO()
    figure.savefig(held, format="png", dpi=PICTURE_DPI)
    return f"<img src='data:image/png;base64,{b64encode(held.getvalue()).decode()}' alt=''>"


def few(names: Sequence[str], most: int = 6) -> str:
    """Return names in a line, of many the first ones and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
