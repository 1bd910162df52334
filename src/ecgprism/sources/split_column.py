"""The column `split` of a table: which rows are for training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ecgprism.ecg.metadata import is_missing
from ecgprism.errors import ConfigError, nearest
from ecgprism.sources.contract import Split

_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


def read_splits(
    cells: Sequence[object], patients: Sequence[object] | None, row_name: Callable[[int], str], where: str = ""
) -> list[Split] | None:
    """Return the split of every row, or None where no row has one; `row_name` calls a row `line 2`, of file `where`.

    Raises ConfigError for another word, a column that is filled in part, and a patient in two splits.
    """
    texts = ["" if is_missing(cell) else str(cell).strip() for cell in cells]
    if not any(texts):
        return None
    found: list[Split] = []
    first: dict[str, tuple[Split, int]] = {}
    for row, text in enumerate(texts):
        at = f"{where}, {row_name(row)}" if where else row_name(row)
        if not text:
            raise ConfigError(f"{at}: split is empty; give it for every row or for none")
        if text.lower() not in _NAMES:
            raise ConfigError(f"{at}: split {text!r}{nearest(text, ('train', 'val', 'test'))}")
        split = _NAMES[text.lower()]
        found.append(split)
        patient = patients[row] if patients is not None else None
        if is_missing(patient) or patient == "":
            continue
        before, other = first.setdefault(str(patient), (split, row))
        if before != split:
            raise ConfigError(
                f"{at}: patient {patient} is in split {split} here and in {before} in {row_name(other)}: one patient "
                "belongs to one split"
            )
    return found
