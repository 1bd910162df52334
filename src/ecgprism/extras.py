"""Packages that not everybody has: which extra of this one installs each, and what to say where it is missing."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ecgprism.errors import EcgprismError

#: the extra that installs a package, by the name that is imported
EXTRAS = {
    "h5py": "arrays",
    "openpyxl": "excel",
    "defusedxml": "formats",
    "ecgdatakit": "formats",
    "edfio": "formats",
    "pydicom": "formats",
    "sklearn": "sklearn",
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "mlflow": "mlflow",
    "wandb": "wandb",
}


def library(module: str, purpose: str, error: type[EcgprismError] = EcgprismError) -> Any:
    """Import a module of an extra. Raises `error` with the command that installs it; `purpose` begins the sentence."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise error(needs(purpose, missing.name or module)) from None


def needs(purpose: str, module: str) -> str:
    """Return what to say where a module is missing, also one that a package of an extra needs itself."""
    package = module.split(".", maxsplit=1)[0]
    # what ecgdatakit imports in turn comes with the extra too
    return f"{purpose} needs {package}: pip install 'ecgprism[{EXTRAS.get(package, 'formats')}]'"


def is_there(module: str) -> bool:
    """Whether a package is installed, without importing it."""
    return importlib.util.find_spec(module) is not None
