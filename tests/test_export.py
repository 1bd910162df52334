"""Every view, encoder and fusion computes in ONNX what it computes in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ecgprism.model.batch import Batch
from tests.contract_parts import BRANCHES, FUSIONS, PARTS, VIEWS, fusion_of, plain, prism

from .examples import (
    DIM,
    TWELVE_LEADS,
    ecgs,
    encoder_of,
    unsettled,
    view_of,
)

EXPORT_WINDOW = 100  # samples; the exporter unrolls recurrences, so branches are exported short and shallow


EXPORT_BATCHES = {
    "padded": ecgs((1000, 640, 70, 30)),
    "full": ecgs((1000, 1000, 1000, 1000), seed=1),
    "one": ecgs((1000,), seed=2),
    "many": ecgs((1000, 900, 30, 500, 1000, 70, 640), seed=3),
}


class Part(nn.Module):
    """Something computed from a batch, as a module of plain tensors."""

    def __init__(self, module: nn.Module, compute: Callable[[Batch], Tensor], samples: int) -> None:
        super().__init__()
        self.module, self.compute, self.samples = module, compute, samples

    def forward(self, signal: Tensor, length: Tensor, lead_mask: Tensor, metadata: Tensor) -> Tensor:
        length = length.clamp(max=self.samples)
        return self.compute(Batch(signal[:, :, : self.samples], length, lead_mask, metadata))


class Together(nn.Module):
    def __init__(self, parts: dict[str, Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts.values())

    def forward(self, signal: Tensor, length: Tensor, lead_mask: Tensor, metadata: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(signal, length, lead_mask, metadata) for part in self.parts)


def view_part(name: str) -> Part:
    view = view_of(name)
    return Part(view, lambda batch: view(batch).x, TWELVE_LEADS.window)


def branch_part(view_name: str, encoder_name: str) -> Part:
    view = view_of(view_name, replace(TWELVE_LEADS, window=EXPORT_WINDOW))
    encoder = unsettled(encoder_of(encoder_name, view.shape, shallow=True))
    return Part(nn.ModuleList([view, encoder]), lambda batch: encoder(view(batch)), EXPORT_WINDOW)


def fusion_part(name: str) -> Part:
    """The tokens are pieces of the first leads; a part is missing where its lead is."""
    fusion = fusion_of(name)

    def compute(batch: Batch) -> Tensor:
        tokens = {part: batch.signal[:, k, : 3 * DIM].reshape(-1, 3, DIM) for k, part in enumerate(PARTS)}
        return fusion(tokens, batch.lead_mask[:, : len(PARTS)])

    return Part(fusion, compute, EXPORT_WINDOW)


def model_part() -> Part:
    cheap = [names for names in BRANCHES if names[1] == "mlp"]
    model = prism({f"own_{names[0]}": names for names in cheap}, replace(TWELVE_LEADS, window=EXPORT_WINDOW))
    return Part(model, lambda batch: model(batch).fused, EXPORT_WINDOW)


EXPORTED: dict[str, Callable[[], Part]] = {
    **{f"view {name}": lambda name=name: view_part(name) for name in VIEWS},
    **{" -> ".join(names): lambda names=names: branch_part(*names) for names in BRANCHES},
    **{f"fusion {name}": lambda name=name: fusion_part(name) for name in FUSIONS},
    "model": model_part,
}


def export(parts: dict[str, Part]) -> dict[str, dict[str, np.ndarray]]:
    """Export to one ONNX graph and return its outputs by batch and part."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module = Together(parts).eval()
    example = tuple(plain(EXPORT_BATCHES["padded"]).values())
    records = torch.export.Dim("records", min=1, max=64)
    shapes = ({0: records},) * len(example)
    program = torch.onnx.export(module, example, dynamo=True, optimize=False, verbose=False, dynamic_shapes=shapes)
    assert program is not None
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), options)
    wanted = [node.name for node in session.get_inputs()]
    outputs = {}
    for kind, batch in EXPORT_BATCHES.items():
        inputs = {key: value.numpy() for key, value in plain(batch).items() if key in wanted}
        outputs[kind] = dict(zip(parts, session.run(None, inputs), strict=True))
    return outputs


@pytest.fixture(scope="module")
def exported_together() -> dict[str, dict[str, np.ndarray]] | None:
    try:
        return export({name: make() for name, make in EXPORTED.items()})
    except Exception:
        return None


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.filterwarnings("ignore")
def test_onnx_computes_what_torch_computes(
    name: str, exported_together: dict[str, dict[str, np.ndarray]] | None
) -> None:
    part = EXPORTED[name]().eval()
    outputs = exported_together or export({name: part})
    for kind, batch in EXPORT_BATCHES.items():
        with torch.no_grad():
            expected = part(**plain(batch)).numpy()
        assert outputs[kind][name].shape == expected.shape
        assert np.abs(outputs[kind][name] - expected).max() <= 1e-4, f"{kind} batch"
