"""Patient-safe splits: who belongs together, where each cluster goes, and the proof that nothing leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgprism.errors import EcgprismError

SPLITS = ("train", "val", "test")
NO_SPLIT = ""
FRACTIONS: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Assignment:
    """The split of every record and one sentence that says how it came about."""

    split: list[str]
    rule: str


def clusters(patient_ids: Sequence[str | None], hashes: Sequence[str]) -> NDArray[np.int64]:
    """Return a cluster number per record: one patient, or one identical waveform, is one cluster.

    A record of unknown patient is its own cluster, unless its waveform stands twice.
    """
    parent = list(range(len(hashes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, (patient, digest) in enumerate(zip(patient_ids, hashes, strict=True)):
        keys = [("waveform", digest)] + ([("patient", patient)] if patient else [])
        for key in keys:
            j = first.setdefault(key, i)
            parent[root(i)] = root(j)
    return np.unique([root(i) for i in range(len(hashes))], return_inverse=True)[1].astype(np.int64)


def stratified(
    cluster: NDArray[np.int64], target: NDArray[np.bool_], fractions: Mapping[str, float], seed: int = 0
) -> list[str]:
    """Return a split per record: whole clusters, every class shared out in proportion as far as that allows.

    `cluster` (N,), `target` (N, K). Iterative stratification (Sechidis et al. 2011) over clusters: those with the
    rarest class go first, each to the split that still lacks most of that class.
    """
    names = list(fractions)
    share = np.array([fractions[name] for name in names]) / sum(fractions.values())
    n_clusters = int(cluster.max()) + 1
    # the last column counts records, so that clusters without any class are shared out as well
    counts = np.zeros((n_clusters, target.shape[1] + 1))
    np.add.at(counts, cluster, np.column_stack([target, np.ones(len(target))]))
    totals = counts.sum(axis=0)
    wanted = share[:, None] * totals
    rarest_first = np.argsort(totals, kind="stable")
    rank = np.array([next(k for k in rarest_first if row[k] > 0) for row in counts])
    shuffled = np.random.default_rng(seed).permutation(n_clusters)
    place = {int(k): position for position, k in enumerate(rarest_first)}
    order = sorted(shuffled, key=lambda c: (place[int(rank[c])], -counts[c, -1]))
    chosen = np.empty(n_clusters, dtype=np.int64)
    for c in order:
        lack = wanted[:, rank[c]] / np.maximum(share, 1e-12)
        most = lack.max()
        ties = np.flatnonzero(lack >= most - 1e-8 - 1e-5 * abs(most))
        best = ties[np.argmax(wanted[ties, -1] / share[ties])]
        chosen[c] = best
        wanted[best] -= counts[c]
    return [names[i] for i in chosen[cluster]]


def assign(
    official: Sequence[str | None], cluster: NDArray[np.int64], target: NDArray[np.bool_], seed: int = 0
) -> Assignment:
    """Return the split of every record: the official one where the source has it, else 80/10/10 by patient.

    Where an official split has no test part, its held-out part becomes test and a patient-wise tenth of train becomes
    validation: no reported record may have chosen a checkpoint, a threshold or a calibration. One that holds nothing
    out (half of a data set at hand) is none. `target` (N, K).
    """
    given = {split for split in official if split}
    if given <= {"train"}:
        why = "the source has no official split" if not given else "the source's official split is all train"
        rule = f"80/10/10 by patient, stratified by label ({why})"
        return Assignment(stratified(cluster, target, FRACTIONS, seed), rule)
    split = [name or "train" for name in official]
    rule = "official split of the source"
    if "test" not in given and "val" in given:
        split = ["test" if name == "val" else name for name in split]
        rule += ", which has no test part: its validation part is test"
        given = {"train", "test"}
    if "val" not in given and "train" in split:
        train = np.flatnonzero([name == "train" for name in split])
        local = np.unique(cluster[train], return_inverse=True)[1]
        tenth = stratified(local, target[train], {"train": 0.9, "val": 0.1}, seed)
        for i, name in zip(train, tenth, strict=True):
            split[i] = name
        rule += ", and a patient-wise tenth of train is validation"
    return Assignment(split, rule)


def fold(cluster: NDArray[np.int64], target: NDArray[np.bool_], k: int, of: int, seed: int = 0) -> list[str]:
    """Return the split of every record in part `k` (from 1) of a cross-validation by patient.

    Part k is test; a patient-wise tenth of the others is validation. Every class is shared out over the parts.
    """
    part = np.array(stratified(cluster, target, {str(i): 1.0 for i in range(1, of + 1)}, seed))
    split = np.where(part == str(k), "test", "train").astype(object)
    rest = np.flatnonzero(split == "train")
    local = np.unique(cluster[rest], return_inverse=True)[1]
    split[rest] = stratified(local, target[rest], {"train": 0.9, "val": 0.1}, seed + k)
    return split.tolist()


def fold_of_items(
    record: NDArray[np.int64], cluster: NDArray[np.int64], target: NDArray[np.bool_], k: int, of: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the records of items and the split of each in part `k` of a cross-validation, whole records together."""
    records, first = np.unique(record, return_index=True)
    held = np.zeros((len(records), target.shape[1]), dtype=bool)
    np.logical_or.at(held, np.searchsorted(records, record), target)
    return records, fold(np.unique(cluster[first], return_inverse=True)[1], held, k, of)


def refuse_leaks(
    split: Sequence[str], record_ids: Sequence[str], patient_ids: Sequence[str | None], hashes: Sequence[str]
) -> None:
    """Raise EcgprismError, with the ids, if one patient or one identical waveform stands in two splits."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for name, record, patient, digest in zip(split, record_ids, patient_ids, hashes, strict=True):
        for kind, key in (("patient", patient), ("waveform", digest)):
            if not key:
                continue
            other_split, other = seen.setdefault((kind, key), (name, record))
            if other_split != name:
                who = f"patient {key}" if kind == "patient" else f"the identical waveform (patient {patient})"
                raise EcgprismError(
                    f"{who} stands in two splits: {other} in {other_split}, {record} in {name}; "
                    f"correct the source's split, or ingest again with --exclude {record} (exclude=[...])"
                )
