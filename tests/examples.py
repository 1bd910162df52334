"""Small inputs that several tests share: an input specification, batches, and components built with their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.interface.card import Column, InputSpec, MetadataSchema
from ecgprism.model.batch import Batch
from ecgprism.model.encoders.contract import Encoder
from ecgprism.model.views.contract import Shape, View, valid_steps
from ecgprism.registry import check_options, find, options

METADATA = MetadataSchema((Column("age", mean=60.0, std=15.0), Column("sex", categories=("female", "male"))))
TWELVE_LEADS = InputSpec(STANDARD_LEADS, 100.0, 1000, METADATA)
ONE_LEAD = InputSpec(("I",), 300.0, 9000, METADATA)
DIM = 16
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def ecgs(lengths: Sequence[int], spec: InputSpec = TWELVE_LEADS, seed: int = 0) -> Batch:
    """Return one record per length: noise about an offset in every lead, padded by zeros to the longest.

    Of three records in turn, the first has all metadata, the second one column, the third none.
    """
    generator = torch.Generator().manual_seed(seed)
    n, leads, longest = len(lengths), len(spec.leads), max(lengths)
    signal = 0.3 * torch.randn(n, leads, longest, generator=generator)
    signal = signal + torch.rand(n, leads, 1, generator=generator) - 0.5
    length = torch.tensor(lengths)
    metadata = torch.stack([40 + 30 * torch.rand(n, generator=generator), torch.arange(n) % 2], dim=1)
    metadata[1::3, 0] = torch.nan
    metadata[2::3] = torch.nan
    return Batch(
        signal=signal * valid_steps(length, longest)[:, None, :],
        length=None if min(lengths) == longest else length,
        lead_mask=torch.ones(n, leads, dtype=torch.bool),
        metadata=metadata,
    )


def padded(batch: Batch, samples: int) -> Batch:
    """Return the batch with zeros behind every record; the records' lengths stay."""
    rows, _, width = batch.signal.shape
    length = torch.full((rows,), width) if batch.length is None else batch.length
    return replace(batch, signal=F.pad(batch.signal, (0, samples)), length=length)


def alone(batch: Batch, row: int) -> Batch:
    """Return one record as a batch of its own, without padding."""
    part = {key: value[row : row + 1] for key, value in vars(batch).items() if value is not None}
    if batch.length is not None:
        part |= {"signal": part["signal"][..., : int(batch.length[row])], "length": None}
    return replace(batch, **part)


def without_leads(batch: Batch, row: int, leads: Sequence[int]) -> Batch:
    """Return the batch with some leads of one record missing."""
    mask = batch.lead_mask.clone()
    mask[row, list(leads)] = False
    return replace(batch, lead_mask=mask, signal=batch.signal * mask[:, :, None])


def view_of(name: str, spec: InputSpec = TWELVE_LEADS) -> View:
    """Return a view with its defaults."""
    check_options("views", name, {}, 1)
    torch.manual_seed(0)
    return find("views", name)(spec).eval()


def encoder_of(name: str, shape: Shape, dim: int = DIM, shallow: bool = False) -> Encoder:
    """Return an encoder with its defaults, in evaluation mode; `shallow`: one stage, if it is an encoder of stages."""
    cls = find("encoders", name)
    given = {"stages": 1} if shallow and "stages" in options(cls, 2) else {}
    torch.manual_seed(0)
    return cls(shape, dim, **check_options("encoders", name, given, 2)).eval()


def unsettled(module: nn.Module) -> nn.Module:
    """Move biases, norms and running statistics off their zeros and ones, where many a mistake does not show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim <= 1:
                tensor.add_(0.2 * torch.rand_like(tensor))
    return module


def without_dropout(module: nn.Module) -> nn.Module:
    """Return the module in training mode without the randomness of training."""
    for part in module.modules():
        if isinstance(part, DROPOUTS):
            part.p = 0.0
    return module.train()


def unreached(module: nn.Module, loss: Tensor) -> list[str]:
    """Return the names of the parameters that the loss does not depend on (beyond rounding), after a backward pass."""
    loss.backward()
    sizes = {name: 0.0 if p.grad is None else float(p.grad.abs().max()) for name, p in module.named_parameters()}
    return [name for name, size in sizes.items() if not size > 1e-6 * max(sizes.values())]
