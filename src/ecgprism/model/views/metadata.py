"""The metadata view: who the patient is, as numbers with missing flags."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ecgprism.errors import ConfigError
from ecgprism.interface.card import InputSpec
from ecgprism.model.batch import Batch
from ecgprism.model.views.contract import Features, Shape, View
from ecgprism.registry import register


@register("views", "metadata")
class Metadata(View):
    """Patient metadata: (B, F): a numeric column standardised, a categorical one one-hot, each with a missing flag.

    `columns` names the columns (default: all of the corpus). Statistics and vocabularies come from the training split.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec, columns: list[str] | None = None) -> None:
        """Shape (F,). Raises ConfigError when the corpus has no metadata or not that column."""
        super().__init__()
        self.chosen = spec.metadata.subset(columns, "metadata view")
        if not self.chosen:
            raise ConfigError("metadata view: the corpus has no metadata columns")
        known = self.columns = [spec.metadata.columns[m] for m in self.chosen]
        #: how many features each column gives: one number, or one per category; then its missing flag
        self.categories = [len(column.categories) if column.categories is not None else 0 for column in known]
        self.numeric = [column.categories is None for column in known]
        self.register_buffer("mean", torch.tensor([column.mean for column in known]), persistent=False)
        self.register_buffer("std", torch.tensor([column.std for column in known]), persistent=False)
        size = sum((1 if numeric else n) + 1 for numeric, n in zip(self.numeric, self.categories, strict=True))
        self.shape = Shape((size,), "F")

    def axes(self, sizes: Sequence[int]) -> dict[str, list[float] | list[str]]:
        """Return the names of the features: columns, or columns and categories, and the flags of missing ones."""
        names: list[str] = []
        for column in self.columns:
            names += [column.name] if column.categories is None else [f"{column.name}={c}" for c in column.categories]
            names.append(f"{column.name} missing")
        return {"F": names}

    def forward(self, batch: Batch) -> Features:
        """Return (B, F); a missing value is 0 (the mean, or no category) with its flag 1."""
        values = batch.metadata[:, self.chosen].float()
        missing = values.isnan()
        filled = values.masked_fill(missing, 0.0)
        standard = ((filled - self.mean) / self.std).masked_fill(missing, 0.0)
        parts = []
        for m, (numeric, categories) in enumerate(zip(self.numeric, self.categories, strict=True)):
            if numeric:
                parts.append(standard[:, m : m + 1])
            else:
                each = torch.arange(categories, device=values.device)
                parts.append((filled[:, m : m + 1] == each) & ~missing[:, m : m + 1])
            parts.append(missing[:, m : m + 1])
        return Features(torch.cat([part.float() for part in parts], dim=1), None)

    def present(self, batch: Batch) -> Tensor:
        """Return bool (B,): whether any of the columns is given."""
        return (~batch.metadata[:, self.chosen].isnan()).any(dim=1)
