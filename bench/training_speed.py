"""Records/s of training steps of a configuration on its corpus, and where their time goes.

    python bench/training_speed.py configs/cinc2017.yaml corpus=CORPUS [key=value ...] [--steps 60] [--threads 1]

A step is what a training does: batch, augmentation, views, encoders, fusion, losses, gradients, AdamW, moving average.
Seconds are those of the processor, so that what else the machine does counts little. To compare two versions, run the
same line in both, one after the other.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from ecgprism.config import read_config
from ecgprism.model.batch import Batch
from ecgprism.training.module import TrainingModule
from ecgprism.training.preparation import prepare
from ecgprism.training.watch import Watch

SHARES = {
    "convolution": ("conv",),
    "recurrence": ("rnn", "lstm"),
    "normalisation": ("batch_norm", "layer_norm"),
    "matrix products": ("mm", "matmul", "linear"),
    "optimiser": ("adamw", "_foreach", "lerp", "linalg_vector_norm"),
    "copies": ("copy_", "cat", "contiguous", "clone", "empty", "fill_", "zero_", "flip", "gather"),
}


def step(module: TrainingModule, optimizer: torch.optim.Optimizer, batch: Batch, number: int) -> None:
    """Do one training step without Lightning around it."""
    optimizer.zero_grad(set_to_none=True)
    module.training_step(batch, number).backward()
    torch.nn.utils.clip_grad_norm_(module.model.parameters(), module.options.clip)
    optimizer.step()
    module.averaged.follow(module.model)


def shares(module: TrainingModule, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> dict[str, float]:
    """Return the share of each kind of work in some steps; the rest is elementwise."""
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for number, batch in enumerate(batches):
            step(module, optimizer, batch, number)
    found: Counter[str] = Counter()
    for event in measured.key_averages():
        kind = next((kind for kind, words in SHARES.items() if any(word in event.key.lower() for word in words)), None)
        found[kind or "elementwise and rest"] += event.self_cpu_time_total
    total = sum(found.values())
    return {kind: value / total for kind, value in found.most_common()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    module = TrainingModule(prepare(read_config(options.config, options.overrides)), Path("-"), Watch())
    optimizer = torch.optim.AdamW(module.model.parameters(), lr=module.options.lr, fused=True)
    began = time.process_time()
    batches = [batch for batch, _ in zip(module.batches, range(options.steps), strict=False)]
    data_s = (time.process_time() - began) / sum(len(batch.signal) for batch in batches)
    for number, batch in enumerate(batches[:5]):  # kernels are made ready
        step(module, optimizer, batch, number)
    seconds = []
    for number, batch in enumerate(batches):
        began = time.process_time()
        step(module, optimizer, batch, number)
        seconds.append((time.process_time() - began) / len(batch.signal) + data_s)
    low, middle, high = 1 / np.quantile(seconds, [0.75, 0.5, 0.25])
    padded = sum(batch.length is not None for batch in batches)
    print(f"{sum(p.numel() for p in module.model.parameters()):,} parameters, {options.threads} threads")
    print(f"{middle:.0f} records/s (quartiles {low:.0f} and {high:.0f}); {padded} of {len(batches)} batches padded")
    print(f"data: {data_s / np.median(seconds):.1%} of a step; of the rest:")
    for kind, share in shares(module, optimizer, batches[:10]).items():
        print(f"  {kind}: {share:.1%}")


if __name__ == "__main__":
    main()
