"""Devices: how many threads a training takes, and how many trainings a machine."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from ecgprism.config import Train
from ecgprism.errors import ConfigError


class TrainerOptions(NamedTuple):
    """What Lightning's trainer takes."""

    accelerator: str
    devices: int | list[int]
    precision: Any  # one of its names


def set_threads(threads: int) -> None:
    """Let this process compute with so many threads: sums, and so bits, depend on their number."""
    torch.set_num_threads(threads)


def trainings_at_a_time(device: str, threads: int) -> int:
    """Return how many trainings of `threads` threads each fit the machine: one on an accelerator, else one per core."""
    if accelerator(device) != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // threads, 1)


def check_device(options: Train) -> None:
    """Raise ConfigError for a device, its number or a precision that this machine lacks."""
    wanted = options.device
    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[wanted]:
        held = ", ".join(name for name, is_there in there.items() if is_there)
        raise ConfigError(f"train.device = {wanted!r}: this machine has none; there are: {held}")
    kind = accelerator(wanted)
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if isinstance(options.devices, list) and options.devices[0] >= count:
        numbers = "[0]" if count == 1 else f"[0] to [{count - 1}]"
        raise ConfigError(f"train.devices = {options.devices}: of {kind} this machine has {count}: {numbers}")
    if options.precision.startswith("16") and kind != "cuda":
        raise ConfigError(f"train.precision = {options.precision!r}: {kind} does not train in it; there are: 32, bf16")
    if options.precision.startswith("bf16") and kind == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError(f"train.precision = {options.precision!r}: this GPU lacks it; there are: 32, 16")


def accelerator(wanted: str) -> str:
    """Return cuda, mps or cpu: what a device of a configuration means on this machine."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def trainer_options(options: Train) -> TrainerOptions:
    """Return accelerator, devices and precision as Lightning's trainer takes them."""
    kind = accelerator(options.device)
    if options.precision == "auto":
        precision = "bf16-mixed" if kind == "cuda" and torch.cuda.is_bf16_supported() else "32-true"
    else:
        precision = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}.get(options.precision, options.precision)
    # Lightning's processor has a number of processes instead of numbers of devices
    devices = 1 if kind == "cpu" else options.devices
    return TrainerOptions("gpu" if kind == "cuda" else kind, devices, precision)
