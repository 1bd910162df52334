"""ecgprism: see one ECG through several views at once, fuse them, and measure what each view is worth.

The public names below are loaded on first use: importing the package loads neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgprism.config import Config, read_config
    from ecgprism.corpus.arrays import ingest_arrays
    from ecgprism.corpus.ingestion import ingest
    from ecgprism.corpus.store import Corpus
    from ecgprism.datasets.catalogue import datasets_table
    from ecgprism.datasets.fetching import fetch
    from ecgprism.ecg.recording import Recording
    from ecgprism.errors import ConfigError, EcgprismError, ReadError
    from ecgprism.evidence.comparison import compare
    from ecgprism.evidence.evaluation import evaluate
    from ecgprism.evidence.ledger import ablate
    from ecgprism.evidence.robustness import stress
    from ecgprism.evidence.scorecard import report
    from ecgprism.evidence.suspects import audit
    from ecgprism.formats.anonymisation.copies import anonymize
    from ecgprism.formats.conversion import convert
    from ecgprism.formats.description import info
    from ecgprism.formats.reading import open_recording, read
    from ecgprism.interface.storage import pull
    from ecgprism.model.exporting import export
    from ecgprism.model.prism import PrismModel
    from ecgprism.prediction.files import embed, predict
    from ecgprism.prediction.views import views_of
    from ecgprism.presentation.curves import (
        plot_confusion,
        plot_precision_recall,
        plot_reliability,
        plot_roc,
        plot_training,
    )
    from ecgprism.presentation.ledgers import plot_ledger, plot_stress
    from ecgprism.presentation.paper import plot, plot_sheet
    from ecgprism.presentation.seen import plot_views
    from ecgprism.registry import components, load_plugin, register
    from ecgprism.simulator.simulation import simulate
    from ecgprism.training.run import distill, fit
    from ecgprism.training.starter import init

_HOME = {
    "Config": "config",
    "ConfigError": "errors",
    "Corpus": "corpus.store",
    "EcgprismError": "errors",
    "PrismModel": "model.prism",
    "ReadError": "errors",
    "Recording": "ecg.recording",
    "ablate": "evidence.ledger",
    "anonymize": "formats.anonymisation.copies",
    "audit": "evidence.suspects",
    "compare": "evidence.comparison",
    "components": "registry",
    "convert": "formats.conversion",
    "datasets_table": "datasets.catalogue",
    "distill": "training.run",
    "embed": "prediction.files",
    "evaluate": "evidence.evaluation",
    "export": "model.exporting",
    "fetch": "datasets.fetching",
    "fit": "training.run",
    "info": "formats.description",
    "ingest": "corpus.ingestion",
    "ingest_arrays": "corpus.arrays",
    "init": "training.starter",
    "load_plugin": "registry",
    "open_recording": "formats.reading",
    "plot": "presentation.paper",
    "plot_confusion": "presentation.curves",
    "plot_ledger": "presentation.ledgers",
    "plot_precision_recall": "presentation.curves",
    "plot_reliability": "presentation.curves",
    "plot_roc": "presentation.curves",
    "plot_sheet": "presentation.paper",
    "plot_stress": "presentation.ledgers",
    "plot_training": "presentation.curves",
    "plot_views": "presentation.seen",
    "predict": "prediction.files",
    "pull": "interface.storage",
    "read": "formats.reading",
    "read_config": "config",
    "register": "registry",
    "report": "evidence.scorecard",
    "simulate": "simulator.simulation",
    "stress": "evidence.robustness",
    "views_of": "prediction.views",
}

__all__ = [
    "Config",
    "ConfigError",
    "Corpus",
    "EcgprismError",
    "PrismModel",
    "ReadError",
    "Recording",
    "ablate",
    "anonymize",
    "audit",
    "compare",
    "components",
    "convert",
    "datasets_table",
    "distill",
    "embed",
    "evaluate",
    "export",
    "fetch",
    "fit",
    "info",
    "ingest",
    "ingest_arrays",
    "init",
    "load_plugin",
    "open_recording",
    "plot",
    "plot_confusion",
    "plot_ledger",
    "plot_precision_recall",
    "plot_reliability",
    "plot_roc",
    "plot_sheet",
    "plot_stress",
    "plot_training",
    "plot_views",
    "predict",
    "pull",
    "read",
    "read_config",
    "register",
    "report",
    "simulate",
    "stress",
    "views_of",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  (half of the time that importing the package takes)

        return version("ecgprism")
    if name not in _HOME:
        raise AttributeError(f"module 'ecgprism' has no attribute {name!r}")
    return getattr(import_module(f"ecgprism.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
