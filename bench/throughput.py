"""Training and inference records/s of the fused default model against torch_ecg's ECG_CRNN and deepecgkit's CRNN.

    pip install . torch_ecg deepecgkit && python bench/throughput.py [--batches 8] [--threads 2]

Inputs are random (12 leads x 1000 samples, batch 64); a training step is forward, loss, backward and an AdamW step in
float32. The models take turns, batch by batch, so that a machine whose speed drifts treats them alike; medians and the
ratios pair by pair are printed, with the GFLOP/s reached over those of a matrix product in the same run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

LEADS, SAMPLES, CLASSES = 12, 1000, 5
VIEWS = {
    "wave": {"view": "waveform", "encoder": "cnn_bilstm"},
    "stft": {"view": "spectrogram", "encoder": "crnn2d"},
    "freq": {"view": "spectrum", "encoder": "mlp"},
    "meta": {"view": "metadata", "encoder": "mlp"},
}


class Ours(nn.Module):
    """The fused default model behind a plain (B, L, T) -> logits interface; metadata is random too."""

    def __init__(self) -> None:
        super().__init__()
        from ecgprism.config import parse_config
        from ecgprism.ecg.leads import STANDARD_LEADS
        from ecgprism.interface.card import Column, InputSpec, MetadataSchema, Task
        from ecgprism.model.prism import PrismModel

        schema = MetadataSchema((Column("age", mean=60, std=15), Column("sex", ("female", "male"))))
        spec = InputSpec(STANDARD_LEADS, 100.0, SAMPLES, schema)
        config = parse_config({"corpus": "-", "views": VIEWS})
        self.model = PrismModel.from_config(config, spec, Task("multilabel", tuple("abcde")))

    def forward(self, signal: Tensor) -> Tensor:
        from ecgprism.model.batch import Batch

        n = signal.shape[0]
        metadata = torch.ones(n, 2)
        output = self.model(Batch(signal, None, torch.ones(n, LEADS, dtype=torch.bool), metadata))
        if not self.training:
            return output.fused
        return output.fused + 0.3 * torch.stack(list(output.views.values())).mean(dim=0)  # all heads get gradients


def torch_ecg_crnn() -> nn.Module:
    from torch_ecg.model_configs import ECG_CRNN_CONFIG
    from torch_ecg.models import ECG_CRNN

    config = deepcopy(ECG_CRNN_CONFIG)
    config.rnn.name = "lstm"
    return ECG_CRNN(classes=list("abcde"), n_leads=LEADS, config=config)


def deepecgkit_crnn() -> nn.Module:
    from deepecgkit.models import CRNN

    return CRNN(input_channels=LEADS, output_size=CLASSES)


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    model.train()
    optimizer.zero_grad(set_to_none=True)
    nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
    optimizer.step()


def inference_step(model: nn.Module, x: Tensor) -> None:
    model.eval()
    with torch.inference_mode():
        model(x)


def timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    builders = {"ecgprism fused": Ours, "torch_ecg ECG_CRNN lstm": torch_ecg_crnn, "deepecgkit CRNN": deepecgkit_crnn}
    models: dict[str, nn.Module] = {}
    for name, build in builders.items():
        try:
            models[name] = build()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    for package in ("ecgprism", "torch", "torch_ecg", "deepecgkit"):
        try:
            print(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            print(package, "not installed")
    print(f"input ({options.batch_size}, {LEADS}, {SAMPLES}) float32, {options.threads} threads, {VIEWS=}")
    x = torch.randn(options.batch_size, LEADS, SAMPLES)
    y = (torch.rand(options.batch_size, CLASSES) < 0.3).float()
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-4) for name, model in models.items()}
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    seconds: dict[str, dict[str, list[float]]] = {"train": {}, "infer": {}}
    product: list[float] = []
    for turn in range(options.batches + 2):
        for name, model in models.items():
            trained = timed(lambda m=model, o=optimizers[name]: training_step(m, o, x, y))
            inferred = timed(lambda m=model: inference_step(m, x))
            if turn >= 2:  # the first two warm up
                seconds["train"].setdefault(name, []).append(trained)
                seconds["infer"].setdefault(name, []).append(inferred)
        product.append(timed(lambda: torch.mm(a, b)))
    peak = 2 * 1024**3 / statistics.median(product) / 1e9
    print(f"matrix product: {peak:.0f} GFLOP/s")
    ours = "ecgprism fused"
    for kind, of in seconds.items():
        for name, times in of.items():
            median = statistics.median(times)
            with FlopCounterMode(display=False) as counter:
                if kind == "train":
                    training_step(models[name], optimizers[name], x, y)
                else:
                    inference_step(models[name], x)
            flops = counter.get_total_flops() / median / 1e9
            ratio = statistics.median(t / o for t, o in zip(times, of[ours], strict=True))
            size = sum(p.numel() for p in models[name].parameters())
            print(
                f"{kind} {name}: {size / 1e6:.2f} M parameters, {options.batch_size / median:.0f} records/s, "
                f"{flops:.1f} GFLOP/s counted ({flops / peak:.0%} of the product); ecgprism/it {ratio:.2f}"
            )
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of this process (all models): {peak_gib:.2f} GiB")
    print("(the counter sees convolutions and products, not the fused LSTM kernels)")


if __name__ == "__main__":
    main()
