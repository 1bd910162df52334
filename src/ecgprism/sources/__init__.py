"""Labelled data sets; importing this package registers the built-in ones."""

from ecgprism.sources import challenge2021, cinc2017, ludb, manifest, mitbih, ptbxl, simulated
from ecgprism.sources.contract import Entry, Item, ItemSource, Source, Task

__all__ = [
    "Entry",
    "Item",
    "ItemSource",
    "Source",
    "Task",
    "challenge2021",
    "cinc2017",
    "ludb",
    "manifest",
    "mitbih",
    "ptbxl",
    "simulated",
]
