"""Labelled data sets; importing this package registers the built-in ones."""

from ecgprism.sources import cinc2017, manifest, ptbxl, simulated
from ecgprism.sources.contract import Entry, Source, Task

__all__ = ["Entry", "Source", "Task", "cinc2017", "manifest", "ptbxl", "simulated"]
