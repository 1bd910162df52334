"""Inputs from a corpus: windows of its examples, mapped from disk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgprism.corpus.store import Corpus, Examples
from ecgprism.interface.card import InputSpec
from ecgprism.interface.inputs import Arrays


class CorpusAssembler:
    """Makes batches of a corpus's examples for a model's input specification."""

    def __init__(
        self, corpus: Corpus, examples: Examples, spec: InputSpec, target: NDArray[np.float32] | None = None
    ) -> None:
        """Encode targets and metadata once; signals stay on disk. `target` (N, K) takes the place of the labels."""
        self.corpus, self.examples, self.spec = corpus, examples, spec
        self.lengths = examples.length
        self.target = examples.target.astype(np.float32) if target is None else target
        self.metadata = spec.metadata.encode(corpus.metadata_of(examples), len(examples))

    def batch(self, items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Arrays:
        """Return windows of items; `starts` and `lengths` in samples, counted from the item's own start."""
        at = self.examples.start[items] + starts
        signal, lead_mask = self.corpus.windows(self.examples.record[items], at, lengths, self.spec.leads)
        full = bool((lengths == signal.shape[2]).all())
        return Arrays(
            signal=signal,
            length=None if full else lengths,
            lead_mask=lead_mask,
            metadata=self.metadata[items],
            target=self.target[items],
            index=items,
        )
