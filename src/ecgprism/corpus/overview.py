"""What a corpus is at a glance: in one line, and as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ecgprism.corpus.meta import CorpusMeta
from ecgprism.corpus.splits import SPLITS
from ecgprism.markup import Grid, few, page

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]  # items by task, class and split


def line_of(path: Path, meta: CorpusMeta) -> str:
    """Return path, size and classes."""
    tasks = "; ".join(f"{name}: {few(task.classes)}" for name, task in meta.tasks.items())
    return f"{path}: {meta.records} recordings, {len(meta.leads)} leads, {meta.rate_hz:g} Hz; {tasks}"


def page_of(path: Path, meta: CorpusMeta, counts: Counts) -> str:
    """Return what its ingest found, and by task the items of every class and split, the most frequent first."""
    facts = {
        "recordings": meta.records,
        "rejected": meta.rejected or "",
        "items": meta.items if meta.items != meta.records else "",
        "leads": ", ".join(meta.leads),
        "rate": f"{meta.rate_hz:g} Hz",
        "source": meta.source,
        "split": meta.split_rule,
        "of unknown patient": meta.unknown_patients or "",
        "flat leads, masked": meta.flat_leads or "",
        "copies": meta.duplicates or "",
    }
    grids: list[Grid] = []
    for name, task in meta.tasks.items():
        order = sorted(task.classes, key=lambda label: -sum(counts[name][label].values()))
        rows = [[label, *(counts[name][label].get(split, 0) for split in SPLITS)] for label in order]
        grids.append(Grid(("class", *SPLITS), rows, f"task {name} ({task.kind}), items by class"))
    columns = [[name, kind, f"{meta.missing.get(name, 0):.0%}"] for name, kind in meta.metadata.items()]
    return page(f"Corpus {path}", facts, [*grids, Grid(("metadata", "kind", "missing"), columns)], meta.notes)
