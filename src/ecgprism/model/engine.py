"""The engine for PyTorch: a PrismModel behind `interface.scoring.Engine`."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from numpy.typing import NDArray

from ecgprism.interface.inputs import Arrays
from ecgprism.interface.scoring import FUSED, Logits
from ecgprism.model.batch import Batch
from ecgprism.model.prism import PrismModel


class TorchEngine:
    """Runs a model where its weights are, without gradients."""

    def __init__(
        self,
        model: PrismModel,
        *,
        embeddings: bool = False,
        hidden: Collection[str] = (),
        coalitions: NDArray[np.bool_] | None = None,
    ) -> None:
        """The fusion does not see the views named in `hidden`; for each row of `coalitions`, bool (C, V), it decides
        once more from these views alone (a record that has none of them gets what the model says of a record without
        any view). `embeddings` asks for them.
        """
        self.model, self.card, self.embeddings, self.coalitions = model, model.card, embeddings, coalitions
        self.device = next(model.parameters()).device
        self.seen = torch.tensor([name not in hidden for name in model.branches], device=self.device)

    def run(self, arrays: Arrays) -> Logits:
        """Return logits by head and embeddings of a batch."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                return self._run(Batch.of(arrays).to(self.device))
        finally:
            self.model.train(was_training)

    def _run(self, batch: Batch) -> Logits:
        tokens, there = self.model.encode(batch), self.model.present(batch)
        output = self.model.fuse(tokens, there, self.seen.expand_as(there))
        decided = None
        if self.coalitions is not None:
            kept = (torch.from_numpy(subset).to(self.device).expand_as(there) for subset in self.coalitions)
            decided = np.stack([self.model.fuse(tokens, there, each).fused.cpu().numpy() for each in kept])
        return Logits(
            heads={name: each.cpu().numpy() for name, each in {FUSED: output.fused, **output.views}.items()},
            present=there.cpu().numpy(),
            embeddings={name: each.float().cpu().numpy() for name, each in output.embeddings.items()}
            if self.embeddings
            else {},
            coalitions=decided,
        )
