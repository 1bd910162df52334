"""The signals of a corpus: int16 on disk, mapped into memory; a record is checked by its hash on first use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecgprism.corpus.quantisation import NOT_RECORDED
from ecgprism.corpus.tables import lengths, numbers
from ecgprism.ecg.conditioning import filled
from ecgprism.errors import EcgprismError


def waveform_hash(values: NDArray[np.int16]) -> str:
    """Return the hash of a record's integers; the range of each lead is normalised, so many copies share it."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<i2").data).hexdigest()[:32]


class Signals:
    """The integers of all records (mV = value * scale + zero, -32768 where nothing was recorded)."""

    def __init__(self, path: Path, records: pa.Table) -> None:
        """Map the file. Raises EcgprismError when it is shorter or longer than the record table says."""
        self.path = path
        self.offset, self.samples = numbers(records, "offset"), numbers(records, "samples")
        self.first = np.concatenate([[0], np.cumsum(lengths(records, "leads"))])  # of the record's scales
        self.calibration = np.stack([numbers(records, "scale"), numbers(records, "zero")])
        joined = pc.dictionary_encode(pc.binary_join(records["leads"].combine_chunks(), "|"))
        self.lead_set = joined.indices.to_numpy()
        self.lead_sets = [tuple(text.split("|")) for text in joined.dictionary.to_pylist()]
        self.waveform, self.record_id = records["waveform"], records["record_id"]
        self.checked = np.zeros(len(records), dtype=bool)
        size, needed = path.stat().st_size, int((np.diff(self.first) * self.samples).sum()) * 2
        if size != needed:
            raise EcgprismError(f"{path}: holds {size} bytes, the record table needs {needed}")
        self.values = np.memmap(path, dtype="<i2", mode="r")

    def __getstate__(self) -> dict[str, object]:
        """Leave the signals in their file: a process of a data loader maps it for itself."""
        return {**vars(self), "values": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Map the file again."""
        vars(self).update(state)
        self.values = np.memmap(self.path, dtype="<i2", mode="r")

    def leads(self, record: int) -> tuple[str, ...]:
        """Return the leads of a record."""
        return self.lead_sets[self.lead_set[record]]

    def scales(self, record: int) -> NDArray[np.float32]:
        """Return scale and zero of the leads of a record (2, L)."""
        return self.calibration[:, self.first[record] : self.first[record + 1]]

    def digital(self, record: int) -> NDArray[np.int16]:
        """Return the integers of a record (L, T), without copying. Raises EcgprismError when they are damaged."""
        start, n_leads = self.offset[record], self.first[record + 1] - self.first[record]
        values = self.values[start : start + n_leads * self.samples[record]].reshape(n_leads, -1)
        if not self.checked[record]:
            if waveform_hash(values) != self.waveform[int(record)].as_py():
                name = self.record_id[int(record)].as_py()
                raise EcgprismError(f"{self.path}: damaged: the samples of record {name} have changed; ingest it again")
            self.checked[record] = True
        return values

    def signal(self, record: int) -> NDArray[np.float32]:
        """Return a record's signal (L, T) in mV, NaN where not recorded."""
        values, (scale, zero) = self.digital(record), self.scales(record)
        signal = values * scale[:, None] + zero[:, None]
        signal[values == NOT_RECORDED] = np.nan
        return signal

    def windows(
        self, records: NDArray[np.int64], starts: NDArray[np.int64], spans: NDArray[np.int64], leads: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return windows (B, L, T) in mV with T the longest of the `spans`, and the lead mask (B, L).

        A gap in a lead is the mean of what the window has of that lead; other leads and padding are 0.
        """
        n, width = len(records), int(spans.max())
        values = np.full((n, len(leads), width), NOT_RECORDED, dtype=np.int16)
        scale = np.zeros((2, n, len(leads), 1), dtype=np.float32)
        rows = {}
        for number in np.unique(self.lead_set[records]):
            held = self.lead_sets[number]
            at = [(i, held.index(lead)) for i, lead in enumerate(leads) if lead in held]
            rows[number] = ([i for i, _ in at], [j for _, j in at])
        for b, (record, start, span) in enumerate(zip(records, starts, spans, strict=True)):
            to, of = rows[self.lead_set[record]]
            values[b, to, :span] = self.digital(record)[:, start : start + span][of]
            scale[:, b, to, 0] = self.scales(record)[:, of]
        recorded = values != NOT_RECORDED
        signal = values * scale[0] + scale[1]
        signal *= recorded
        there = np.count_nonzero(recorded, axis=2)
        for b, row in np.argwhere((there > 0) & (there < spans[:, None])):
            part = signal[b, row, : spans[b]]
            part[~recorded[b, row, : spans[b]]] = np.nan
            signal[b, row, : spans[b]] = filled(part)
        return signal, there > 0
