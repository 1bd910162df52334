"""The engine that runs a model: whatever library it takes is loaded here, when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from ecgprism.errors import EcgprismError
from ecgprism.interface.scoring import Engine
from ecgprism.runtime import OnnxEngine

if TYPE_CHECKING:
    from ecgprism.model.prism import PrismModel


def engine_for(model: Engine | PrismModel | str | Path, *, embeddings: bool = False) -> Engine:
    """Return the engine of a model: the given one, onnxruntime for an exported file, else PyTorch.

    `embeddings` asks an engine that is made here for them. Raises EcgprismError for a model that cannot be read.
    """
    if not isinstance(model, str | Path) and hasattr(model, "run"):
        return cast(Engine, model)
    if isinstance(model, str | Path) and Path(model).suffix.lower() == ".onnx":
        return OnnxEngine(model)
    from ecgprism.model.engine import TorchEngine  # noqa: PLC0415  (other engines do without torch)
    from ecgprism.model.prism import PrismModel  # noqa: PLC0415

    loaded = PrismModel.load(model) if isinstance(model, str | Path) else model
    if not isinstance(loaded, PrismModel):
        raise EcgprismError(f"model: a {type(model).__name__} given; expected a run, a file, a name or a PrismModel")
    return TorchEngine(loaded, embeddings=embeddings)
