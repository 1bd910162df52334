"""Devices: how many threads a training takes, and how many trainings a machine."""

from __future__ import annotations

import os

import torch

from ecgprism.errors import ConfigError


def set_threads(threads: int) -> None:
    """Let this process compute with so many threads: sums, and so bits, depend on their number."""
    torch.set_num_threads(threads)


def trainings_at_a_time(device: str, threads: int) -> int:
    """Return how many trainings of `threads` threads each fit the machine: one on an accelerator, else one per core."""
    if device in ("cuda", "mps") or (device == "auto" and torch.accelerator.is_available()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // threads, 1)


def check_device(wanted: str) -> None:
    """Raise ConfigError for a device that this machine lacks."""
    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[wanted]:
        held = ", ".join(name for name, is_there in there.items() if is_there)
        raise ConfigError(f"train.device = {wanted!r}: this machine has none; there are: {held}")
