"""The engine for ONNX: an exported model behind `interface.scoring.Engine`, computed by onnxruntime.

Axis legend: B batch, L leads, T samples, M metadata columns, K classes, V views, D features.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.errors import EcgprismError, one_line
from ecgprism.extras import library
from ecgprism.interface.card import Card
from ecgprism.interface.inputs import Arrays
from ecgprism.interface.scoring import FUSED, Logits

#: names in an exported file: of the inputs, of the outputs that are no head's, and of the entry that holds the card
SIGNAL, LENGTH, LEAD_MASK, METADATA = "signal", "length", "lead_mask", "metadata"
PRESENT, EMBEDDING, LOGITS = "present", "embedding", "logits_"
ENTRY = "ecgprism"


class OnnxEngine:
    """Runs an exported model on a CPU, `threads` of it (0: all cores)."""

    def __init__(self, file: str | Path, threads: int = 0) -> None:
        """Open a file that `ecgprism export` wrote. Raises EcgprismError for any other."""
        self.file = Path(file)
        if not self.file.is_file():
            raise EcgprismError(f"{self.file}: no such file")
        runtime = library("onnxruntime", f"{self.file}: an exported model")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores, too
        try:
            self.session = runtime.InferenceSession(str(self.file), options, providers=["CPUExecutionProvider"])
            entry = self.session.get_modelmeta().custom_metadata_map.get(ENTRY)
        except Exception as error:  # onnxruntime's own classes have no common one
            raise EcgprismError(f"{self.file}: no ONNX model that can be run ({one_line(error)})") from None
        self.card = _card(entry, self.file)
        self.inputs = {each.name for each in self.session.get_inputs()}
        self.outputs = [each.name for each in self.session.get_outputs()]
        expected = {f"{LOGITS}{FUSED}", PRESENT, EMBEDDING}
        if not expected <= set(self.outputs) or not self.inputs <= {SIGNAL, LENGTH, LEAD_MASK, METADATA}:
            raise EcgprismError(f"{self.file}: has other inputs or outputs than `ecgprism export` writes")

    def run(self, arrays: Arrays) -> Logits:
        """Return logits by head of a batch; of embeddings the fused one."""
        found = dict(zip(self.outputs, self.session.run(self.outputs, self._fed(arrays)), strict=True))
        return Logits(
            heads={name.removeprefix(LOGITS): each for name, each in found.items() if name.startswith(LOGITS)},
            present=found[PRESENT],
            embeddings={FUSED: found[EMBEDDING]},
        )

    def _fed(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Return what the graph takes: a whole window each, how much of it is valid."""
        records, leads, samples = arrays.signal.shape
        signal = arrays.signal
        if samples < self.card.window:
            signal = np.zeros((records, leads, self.card.window), dtype=np.float32)
            signal[:, :, :samples] = arrays.signal
        length = np.full(records, samples) if arrays.length is None else arrays.length
        fed: dict[str, NDArray[Any]] = {
            SIGNAL: signal,
            LENGTH: length.astype(np.int64),
            LEAD_MASK: arrays.lead_mask,
            METADATA: arrays.metadata,
        }
        return {name: each for name, each in fed.items() if name in self.inputs}


def load(file: str | Path, threads: int = 0) -> OnnxEngine:
    """Open an exported model: a file of `ecgprism export`, computed on `threads` (0: all cores)."""
    return OnnxEngine(file, threads)


def _card(entry: str | None, file: Path) -> Card:
    if entry is None:
        raise EcgprismError(f"{file}: an ONNX model without a card: not of `ecgprism export`")
    try:
        return Card.parsed(json.dumps(json.loads(entry)["card"]), file)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, EcgprismError):
            raise
        raise EcgprismError(f"{file}: damaged card ({one_line(error)})") from None
