"""A corpus as a PyTorch data set: any network, any loop.

Axis legend: L leads, T samples, K classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError
from ecgprism.interface.card import is_multiclass
from ecgprism.model.prism import common_leads

Sample = dict[str, Tensor] | tuple[Tensor, Tensor]


class CorpusDataset(Dataset[Sample]):
    """Map-style: signal float32 (L, T) in mV of one window, and its target.

    The target is the class's number (multi-class) or float32 (K,) of 0 and 1 (multi-label). A record longer than the
    window gives its middle (`crop="middle"`) or a random part, another one each time (`crop="random"`, from PyTorch's
    generator, so workers differ); a shorter one is padded with 0. As dictionaries, samples have `length` (valid
    samples), `lead_mask` (L,) and `item`, the row in `examples`, too.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        *,
        task: str | None = None,
        window_s: float = 10.0,
        leads: list[str] | None = None,
        classes: list[str] | None = None,
        crop: Literal["middle", "random"] = "middle",
        as_dict: bool = False,
    ) -> None:
        """Select the examples; signals stay on disk. Raises EcgprismError for what the corpus does not have."""
        if crop not in ("middle", "random"):
            raise ConfigError(f"crop = {crop!r}: expected 'middle' or 'random'")
        if not isinstance(window_s, int | float) or not 0.5 <= window_s <= 86_400:
            raise ConfigError(f"window_s = {window_s!r}: expected seconds, 0.5 to 86400")
        name, known = corpus.task(task)
        self.corpus, self.examples = corpus, corpus.select(name, split, classes)
        self.classes = known.classes if classes is None else tuple(classes)
        self.leads = common_leads(leads, corpus.leads, str(corpus.path))
        self.rate_hz, self.window = corpus.rate_hz, round(window_s * corpus.rate_hz)
        self.random, self.as_dict, self.exclusive = crop == "random", as_dict, is_multiclass(known.kind)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.examples)

    def __getitem__(self, item: int) -> Sample:
        """Return one item. Raises IndexError beyond the end."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        item %= len(self)
        whole = int(self.examples.length[item])
        length = min(whole, self.window)
        spare = whole - length
        start = int(torch.randint(spare + 1, ())) if self.random else spare // 2
        at = np.array([int(self.examples.start[item]) + start])
        held, mask = self.corpus.windows(self.examples.record[[item]], at, np.array([length]), self.leads)
        signal = np.zeros((len(self.leads), self.window), dtype=np.float32)
        signal[:, :length] = held[0]
        row = self.examples.target[item]
        target = torch.tensor(int(row.argmax())) if self.exclusive else torch.from_numpy(row.astype(np.float32))
        if not self.as_dict:
            return torch.from_numpy(signal), target
        return {
            "signal": torch.from_numpy(signal), "target": target, "length": torch.tensor(length),
            "lead_mask": torch.from_numpy(mask[0]), "item": torch.tensor(item),
        }  # fmt: skip

    @property
    def targets(self) -> np.ndarray:
        """All targets, bool (N, K)."""
        return self.examples.target

    @property
    def patients(self) -> np.ndarray:
        """The patient's number of every item (N,)."""
        return self.examples.cluster
