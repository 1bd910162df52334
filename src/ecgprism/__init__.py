"""ecgprism: see one ECG through several views at once, fuse them, and measure what each view is worth.

The public names below are loaded on first use: importing the package loads neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgprism.comparison import compare
    from ecgprism.config import Config, read_config
    from ecgprism.corpus import Corpus
    from ecgprism.errors import ConfigError, EcgprismError, ReadError
    from ecgprism.evaluation import evaluate
    from ecgprism.formats import open, read
    from ecgprism.ingestion import ingest
    from ecgprism.ledger import ablate
    from ecgprism.model import PrismModel
    from ecgprism.prediction import embed, predict
    from ecgprism.recording import Recording
    from ecgprism.registry import components, register
    from ecgprism.robustness import stress
    from ecgprism.training import fit

_HOME = {
    "Config": "config", "ConfigError": "errors", "Corpus": "corpus", "EcgprismError": "errors",
    "PrismModel": "model", "ReadError": "errors", "Recording": "recording", "ablate": "ledger",
    "compare": "comparison", "components": "registry", "embed": "prediction", "evaluate": "evaluation",
    "fit": "training", "ingest": "ingestion", "open": "formats", "predict": "prediction", "read": "formats",
    "read_config": "config", "register": "registry", "stress": "robustness",
}  # fmt: skip

__all__ = [
    "Config",
    "ConfigError",
    "Corpus",
    "EcgprismError",
    "PrismModel",
    "ReadError",
    "Recording",
    "ablate",
    "compare",
    "components",
    "embed",
    "evaluate",
    "fit",
    "ingest",
    "open",
    "predict",
    "read",
    "read_config",
    "register",
    "stress",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _HOME:
        raise AttributeError(f"module 'ecgprism' has no attribute {name!r}")
    return getattr(import_module(f"ecgprism.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
