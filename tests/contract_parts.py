"""Parts of small models, one of each registered component."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ecgprism.config import Branch, Component
from ecgprism.errors import ConfigError
from ecgprism.interface.card import InputSpec, Task
from ecgprism.model.batch import Batch
from ecgprism.model.fusions.contract import Fusion
from ecgprism.model.prism import PrismModel
from ecgprism.registry import check_options, components, find

from .examples import (
    DIM,
    TWELVE_LEADS,
    encoder_of,
    padded,
    unsettled,
    view_of,
    without_leads,
)

VIEWS, ENCODERS, FUSIONS, SOURCES = (list(components(kind)) for kind in ("views", "encoders", "fusions", "sources"))


TASK = Task("multilabel", ("one", "two", "three"))


def fits(view: str, encoder: str) -> bool:
    """Whether the encoder accepts the view; anything but its own refusal is left for the tests to show."""
    try:
        encoder_of(encoder, view_of(view).shape)
    except ConfigError:
        return False
    except Exception:  # a fault, not a refusal: the tests show it
        return True
    return True


BRANCHES = [(view, encoder) for view in VIEWS for encoder in ENCODERS if fits(view, encoder)]


views = pytest.mark.parametrize("name", VIEWS)


fusions = pytest.mark.parametrize("name", FUSIONS)


sources = pytest.mark.parametrize("name", SOURCES)


PARTS = ("wave", "freq", "who")


def fusion_of(name: str) -> Fusion:
    check_options("fusions", name, {}, 2)
    torch.manual_seed(0)
    return unsettled(find("fusions", name)(PARTS, DIM)).eval()


def prism(
    parts: dict[str, tuple[str, str]], spec: InputSpec = TWELVE_LEADS, fusion: str = "concat", task: Task = TASK
) -> PrismModel:
    torch.manual_seed(0)
    described = {
        key: Branch(view=Component(name=view), encoder=Component(name=encoder))
        for key, (view, encoder) in parts.items()
    }
    return unsettled(PrismModel(spec, task, described, Component(name=fusion), DIM)).eval()


def plain(batch: Batch) -> dict[str, Tensor]:
    batch = without_leads(padded(batch, 0), 0, (1, 4))
    assert batch.length is not None
    return {
        "signal": batch.signal, "length": batch.length, "lead_mask": batch.lead_mask, "metadata": batch.metadata,
    }  # fmt: skip
