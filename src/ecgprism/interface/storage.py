"""A model as one file: weights with the card and the network's description in the header, bound together by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ecgprism.errors import EcgprismError, nearest, one_line
from ecgprism.files import atomic
from ecgprism.interface.card import FORMAT_VERSION, Card

#: the model in a run's folder, and the copy of its card for people, which nothing reads
MODEL, SIDECAR = "model.safetensors", "model.json"
PLUGINS = "plugins"  # copies of the files that define components of its own, in the run's folder
ENTRY = "ecgprism"  # of the header
WEIGHTS, ABOUT = Path(__file__).parents[1] / "weights", "about.md"  # trained models that come with the package

State = Mapping[str, NDArray[Any]]
Network = Mapping[str, Any]  # what the registry's components are built from, as the configuration has it


def write_model(file: Path, state: State, card: Card, network: Network) -> None:
    """Write one model file, whole or not at all: no kill mixes the weights of one training with another's card."""
    described = {"card": card.model_dump(mode="json"), "network": network}
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    # one entry: the library writes several in an order of its own, and equal trainings shall give equal files
    header = json.dumps({**described, "sha256": _digest(described, arrays)})
    with atomic(file) as path:
        path.write_bytes(save(arrays, metadata={ENTRY: header}))
    with atomic(file.with_name(SIDECAR)) as path:
        path.write_text(json.dumps({**described["card"], **network}, indent=2) + "\n")


def read_model(model: str | Path) -> tuple[Card, Network, State]:
    """Return card, network and weights of a model file or of a run's folder, without executing anything in it.

    Raises EcgprismError when it is not there, damaged, or not in one piece.
    """
    file = model_file(model)
    with _opened(file) as opened:
        header = _header(opened, file)
        try:
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no mapping)
        except (SafetensorError, ValueError, TypeError, AttributeError) as error:
            raise EcgprismError(f"{file}: damaged ({one_line(error)})") from None
    described = {name: header.get(name) for name in ("card", "network")}
    if header.get("sha256") != _digest(described, state):
        raise EcgprismError(f"{file}: damaged: weights and card are not those that were written together")
    return Card.parsed(json.dumps(described["card"]), file), described["network"] or {}, state


def read_card(model: str | Path) -> Card:
    """Return the card alone of a model file or of a run's folder. Raises EcgprismError."""
    file = model_file(model)
    with _opened(file) as opened:
        return Card.parsed(json.dumps(_header(opened, file).get("card")), file)


def model_digest(model: str | Path) -> str:
    """Return the hash that binds weights and card of a model file or of a run's folder. Raises EcgprismError."""
    file = model_file(model)
    with _opened(file) as opened:
        return str(_header(opened, file).get("sha256"))


def model_file(model: str | Path) -> Path:
    """Return the file of a model, given itself, its run's folder or the name of weights that come with the package.

    Raises EcgprismError when there is none.
    """
    path = Path(model)
    file = path if path.is_file() else path / MODEL
    if file.is_file():
        return file
    named = weights().get(str(model))
    if named is not None and not path.exists():
        return named
    hint = ""
    if path.parent == Path() and not path.exists():
        hint = f", nor the name of weights that come with ecgprism{nearest(str(model), weights())}"
    raise EcgprismError(f"{path}: no model here ({MODEL} is missing): not a finished training run{hint}")


def weights() -> dict[str, Path]:
    """Return the model files that come with the package, by name."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"), key=lambda path: path.stem)}


def pull(name: str, to: str | Path | None = None) -> Path:
    """Copy weights that come with the package, and what is known of them, into a folder that a run's could be.

    The folder (by default `name`) is then a model for `predict`, `train --init` and all others. Raises EcgprismError
    for an unknown name, and for a folder that exists.
    """
    if name not in weights():
        raise EcgprismError(f"{name}: no weights of that name come with ecgprism{nearest(name, weights())}")
    folder = Path(name if to is None else to)
    if folder.exists():
        raise EcgprismError(f"{folder}: exists already; choose another folder")
    folder.mkdir(parents=True)
    with atomic(folder / MODEL) as path:
        path.write_bytes(weights()[name].read_bytes())
    with atomic(folder / ABOUT) as path:
        path.write_text(about(name), encoding="utf-8")
    return folder


def about(name: str) -> str:
    """Return what is known of weights that come with the package: data, results, limits (Markdown)."""
    return weights()[name].with_suffix(".md").read_text(encoding="utf-8")


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="np")
    except (SafetensorError, OSError, ValueError) as error:
        raise EcgprismError(f"{file}: damaged ({one_line(error)})") from None


def _header(opened: Any, file: Path) -> dict[str, Any]:
    text = (opened.metadata() or {}).get(ENTRY)
    if text is None:
        raise EcgprismError(f"{file}: no card in its header: of another program, or before format {FORMAT_VERSION}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EcgprismError(f"{file}: damaged header ({one_line(error)})") from None
    if not isinstance(header, dict):
        raise EcgprismError(f"{file}: damaged header")
    return header


def _digest(described: Mapping[str, Any], state: State) -> str:
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, array in sorted(state.items()):
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
