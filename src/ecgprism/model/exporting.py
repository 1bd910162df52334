"""export(): a trained model as one ONNX file, views included, checked against PyTorch before it is kept.

Axis legend: B batch, L leads, T samples, M metadata columns, K classes, V views.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgprism.errors import EcgprismError
from ecgprism.extras import library
from ecgprism.files import atomic
from ecgprism.interface.card import InputSpec
from ecgprism.interface.inputs import Arrays
from ecgprism.interface.scoring import FUSED, Logits
from ecgprism.interface.storage import model_digest
from ecgprism.model.batch import Batch
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.runtime import EMBEDDING, ENTRY, LEAD_MASK, LENGTH, LOGITS, METADATA, PRESENT, SIGNAL, OnnxEngine
from ecgprism.simulator.simulation import simulate

TOLERANCE = 1e-4
BATCHES = (1, 2, 5, 64)
LARGEST_BATCH = 4096


@dataclass(frozen=True)
class Parity:
    """How far the exported model is from PyTorch: the largest difference of any output, by batch size."""

    batch: int
    difference: float


@dataclass(frozen=True)
class Export:
    """An exported file, its size in bytes and how far it is from PyTorch."""

    file: Path
    size: int
    parity: tuple[Parity, ...]

    @property
    def largest(self) -> float:
        """The largest difference of any output in any batch."""
        return max(each.difference for each in self.parity)


class Graph(nn.Module):
    """A model of plain tensors: what stands in the exported file."""

    def __init__(self, model: PrismModel) -> None:
        """`model` in evaluation mode."""
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor, length: Tensor, lead_mask: Tensor, metadata: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every head (B, K), presence bool (B, V) and the fused embedding (B, D)."""
        output = self.model(Batch(signal, length, lead_mask, metadata))
        return output.fused, *output.views.values(), output.present, output.embeddings[FUSED].float()


def export(
    model: str | Path, to: str | Path | None = None, *, progress: Callable[[str], None] = lambda step: None
) -> Export:
    """Write a run, or weights by their name, as one ONNX file (default: the run's name, .onnx) and check it.

    In: raw millivolts `signal` (B, L, T) of one window, `length` (B,) of valid samples, `lead_mask` (B, L), `metadata`
    (B, M), NaN for missing. Out: `logits_fused` and those of every view, `present` (B, V), `embedding`. The card is in
    the file's metadata. Raises EcgprismError, keeping no file, where an output is further than 1e-4 from PyTorch's.
    """
    loaded = PrismModel.load(model).eval()
    file = Path(to) if to is not None else Path(f"{Path(model).name}.onnx")
    if file.suffix.lower() != ".onnx":
        raise EcgprismError(f"{file}: the name of an exported model ends with .onnx")
    if not file.parent.is_dir():
        raise EcgprismError(f"{file}: there is no folder {file.parent}")
    library("onnxscript", "exporting")
    progress("writing the graph")
    proto = _proto(loaded)
    described = {"card": loaded.card.model_dump(mode="json"), "weights_sha256": model_digest(model)}
    entry = proto.metadata_props.add()
    entry.key, entry.value = ENTRY, json.dumps(described)
    proto.producer_name, proto.doc_string = "ecgprism", "a model and its views: raw millivolts in, logits out"
    with atomic(file) as partial:
        partial.write_bytes(proto.SerializeToString())
        progress("comparing with PyTorch")
        parity = tuple(compared(loaded, OnnxEngine(partial)))
        worst = max(parity, key=lambda each: each.difference)
        if not worst.difference <= TOLERANCE:
            raise EcgprismError(
                f"{file}: not kept: in a batch of {worst.batch} an output is {worst.difference:.2g} from PyTorch's, "
                f"more than {TOLERANCE:g}"
            )
    return Export(file, file.stat().st_size, parity)


def _proto(model: PrismModel) -> Any:
    """Return the model as ONNX: a fixed window, any number of records."""
    spec = model.spec
    example = _tensors(_inputs(spec, 3, np.random.default_rng(0)))
    records = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    names = [f"{LOGITS}{name}" for name in (FUSED, *model.view_heads)]
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's remarks on its own code
        program = torch.onnx.export(
            Graph(model),
            example,
            input_names=[SIGNAL, LENGTH, LEAD_MASK, METADATA],
            output_names=[*names, PRESENT, EMBEDDING],
            dynamic_shapes=[{0: records}] * len(example),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise EcgprismError("PyTorch's exporter gave nothing")
    return program.model_proto


def compared(model: PrismModel, engine: OnnxEngine) -> list[Parity]:
    """Return how far the outputs are apart in batches with short records, missing leads, metadata and views."""
    rng, reference = np.random.default_rng(1), TorchEngine(model, embeddings=True)
    found = []
    for size in BATCHES:
        arrays = _inputs(model.spec, size, rng)
        found.append(Parity(size, _difference(reference.run(arrays), engine.run(arrays))))
    return found


def _inputs(spec: InputSpec, records: int, rng: np.random.Generator) -> Arrays:
    """Return simulated ECGs of any length, some leads and metadata missing, all metadata of some records."""
    leads, window = len(spec.leads), spec.window
    signal = np.zeros((records, leads, window), dtype=np.float32)
    for row in range(records):
        made = simulate(int(rng.integers(10_000)), rate_hz=spec.rate_hz, duration_s=window / spec.rate_hz).recording
        held = made.signal[np.resize(rng.permutation(len(made.signal)), leads), :window]
        signal[row, :, : held.shape[1]] = held
    length = rng.integers(window // 3, window + 1, records)
    length[0] = window
    lead_mask = rng.random((records, leads)) > 0.2
    lead_mask[np.arange(records), rng.integers(0, leads, records)] = True
    signal *= lead_mask[:, :, None] & (np.arange(window) < length[:, None, None])
    columns = spec.metadata.columns
    metadata = np.full((records, len(columns)), np.nan, dtype=np.float32)
    for m, column in enumerate(columns):
        kinds = len(column.categories or ())
        metadata[:, m] = rng.integers(0, kinds, records) if kinds else rng.normal(column.mean, column.std, records)
    metadata[rng.random(metadata.shape) < 0.3] = np.nan
    metadata[rng.random(records) < 0.2] = np.nan
    return Arrays(signal, length.astype(np.int64), lead_mask, metadata)


def _tensors(arrays: Arrays) -> tuple[Tensor, ...]:
    batch = Batch.of(arrays)
    assert batch.length is not None
    return batch.signal, batch.length, batch.lead_mask, batch.metadata


def _difference(expected: Logits, found: Logits) -> float:
    """Return the largest difference of logits and the fused embedding; infinite where presence differs."""
    if set(expected.heads) != set(found.heads) or not np.array_equal(expected.present, found.present):
        return float("inf")
    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = [
        (each, found.heads[name]) for name, each in expected.heads.items()
    ]
    pairs.append((expected.embeddings[FUSED], found.embeddings[FUSED]))
    return max(float(np.abs(a - b).max()) for a, b in pairs)
