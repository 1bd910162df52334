"""A source by name, its options checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgprism.errors import EcgprismError
from ecgprism.registry import check_options, find
from ecgprism.registry import options as signature
from ecgprism.sources.contract import Source


def open_source(name: str, root: str | Path | None, options: Mapping[str, Any] | None = None) -> Source:
    """Return a source by name, its options checked. Raises EcgprismError for a root that is missing or not wanted."""
    cls = find("sources", name)
    needs_root = "root" in signature(cls)
    if needs_root and root is None:
        raise EcgprismError(f"{name}: which folder (or file) is it in? ecgprism ingest {name} ROOT --out CORPUS")
    if not needs_root and root is not None:
        raise EcgprismError(f"{name}: needs no root; {str(root)!r} is not used")
    if root is not None and not Path(root).exists():
        raise EcgprismError(f"{root}: no such file or folder")
    given = (Path(root),) if root is not None else ()
    return cls(*given, **check_options("sources", name, options or {}, len(given)))
