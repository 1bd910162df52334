"""Tables on a terminal: classes as rows, nothing cut off, the rarest or least sure of many folded, and that said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ecgprism.evidence.reports import EvaluationReport
from ecgprism.interface.answers import HIGHEST, PROBABILITY, RULE, RULES, THRESHOLD

CLASSES, RECORDINGS = 25, 20  # on a terminal
CLASSES_OF_ONE = 5  # of a recording among others


def table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table; cells that are too wide go on in the next line; `numbers` are the columns at the right."""
    made = Table(box=None, pad_edge=False)
    for title in columns:
        made.add_column(escape(title), justify="right" if title in numbers else "left", overflow="fold")
    return made


def most(rank: Mapping[str, float], shown: int = CLASSES) -> list[str]:
    """Return the names of the highest ranks, in the order in which they are given; NaN ranks last."""
    by_rank = sorted(rank, key=lambda name: -math.inf if math.isnan(rank[name]) else rank[name], reverse=True)
    kept = set(by_rank[:shown])
    return [name for name in rank if name in kept]


def tell_rest(
    console: Console, rank: Mapping[str, float], where: str, what: str = "rarer", shown: int = CLASSES
) -> None:
    """Print how many classes `most` left out, and where they stand."""
    left = len(rank) - shown
    _say(console, f"and {left} {what} {'classes' if left > 1 else 'class'} {where}" if left > 0 else None)


def show_class_counts(
    console: Console, counts: Mapping[str, Mapping[str, int]], splits: Sequence[str], where: str
) -> None:
    """Print the items of every class by split."""
    total = {name: float(sum(by_split.values())) for name, by_split in counts.items()}
    made = table("class", *splits, numbers=splits)
    for name in most(total):
        made.add_row(escape(name), *(str(counts[name].get(split, 0)) for split in splits))
    console.print(made)
    tell_rest(console, total, where)


def show_confusion(console: Console, report: EvaluationReport, where: str) -> None:
    """Print the confusion matrix; where it is wider than the terminal, the most frequent mistakes."""
    assert report.confusion is not None
    width = max(map(len, (*report.classes, "true \\ predicted"))) + sum(
        max(len(name), 5) + 2 for name in report.classes
    )
    if width <= console.width:
        made = table("true \\ predicted", *report.classes, numbers=report.classes)
        for label, row in zip(report.classes, report.confusion, strict=True):
            made.add_row(escape(label), *map(str, row))
        console.print(made)
        return
    wrong = [
        (items, true, said)
        for true, row in zip(report.classes, report.confusion, strict=True)
        for said, items in zip(report.classes, row, strict=True)
        if items and said != true
    ]
    made = table("true", "predicted", "items", numbers=["items"])
    for items, true, said in sorted(wrong, key=lambda each: -each[0])[:CLASSES]:
        made.add_row(escape(true), escape(said), str(items))
    console.print("most frequent mistakes:")
    console.print(made)
    _say(console, f"and {len(wrong) - CLASSES} rarer ones {where}" if len(wrong) > CLASSES else None)


def show_predictions(console: Console, predictions: pd.DataFrame) -> None:
    """Print what `predict` returns: by recording the labels and the surest of the other classes, and the rule."""
    shown = predictions.head(RECORDINGS)
    classes = [name.removeprefix(PROBABILITY) for name in map(str, predictions) if name.startswith(PROBABILITY)]
    limits = {name: float(predictions[THRESHOLD + name].iloc[0]) for name in classes if THRESHOLD + name in predictions}
    rule = str(predictions[RULE].iloc[0])
    several = len(predictions) > 1
    made = table(*["recording"] * several, "class", "probability", *["threshold"] * bool(limits), "label")
    folded = 0
    for _, row in shown.iterrows():
        if math.isnan(row[PROBABILITY + classes[0]]):
            made.add_row(*[escape(row["record_id"])] * several, "no answer")
            continue
        p = {name: float(row[PROBABILITY + name]) for name in classes}
        holds = decided(p, limits, rule)
        # a label always stands here; then what came nearest to being one
        margin = {name: (name in holds, p[name] - limits.get(name, 0.0)) for name in classes}
        names = sorted(classes, key=lambda name: margin[name], reverse=True)
        kept = names[: max(CLASSES_OF_ONE if several else CLASSES, len(holds))]
        folded = max(folded, len(names) - len(kept))
        for n, name in enumerate(kept):
            limit = [f"{limits[name]:.3f}"] if limits else []
            cells = (escape(name), f"{p[name]:.3f}", *limit, "yes" if name in holds else "")
            made.add_row(*[escape(str(row["record_id"])) if n == 0 else ""] * several, *cells)
    console.print(made)
    _say(console, f"and up to {folded} less sure classes of each recording: --out FILE.csv has all" if folded else None)
    left = len(predictions) - len(shown)
    _say(console, f"and {left} more recordings: --out FILE.csv has all" if left else None)
    console.print(f"label: {RULES[rule]}", highlight=False)


def decided(p: Mapping[str, float], limits: Mapping[str, float], rule: str) -> set[str]:
    """Return the labels that a row of predictions has, by the rule that the table shows."""
    if rule == HIGHEST:
        return {max(p, key=lambda name: p[name])}
    return {name for name in p if p[name] >= limits[name]}


def _say(console: Console, line: str | None) -> None:
    if line is not None:
        console.print(escape(line), highlight=False)
