"""Simulated 12-lead ECGs with known labels: the data set that needs no files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from ecgprism.errors import ReadError
from ecgprism.recording import Recording
from ecgprism.registry import register
from ecgprism.simulator import CLASSES, draw, simulate
from ecgprism.sources.contract import Entry, Task


@register("sources", "simulated")
class SimulatedSource:
    """`n` simulated records, two of each patient. The same seed gives the same records."""

    tasks: Mapping[str, Task] = {"simulated": Task("multilabel", CLASSES)}
    lead_aliases: Mapping[str, str] = {}

    def __init__(
        self,
        n: Annotated[int, Field(gt=0)] = 1500,
        seed: Annotated[int, Field(ge=0)] = 0,
        rate_hz: Annotated[float, Field(gt=0)] = 100.0,
        duration_s: Annotated[float, Field(gt=0)] = 10.0,
    ) -> None:
        """Keep the options; nothing is simulated until it is asked for."""
        self.n, self.seed, self.rate_hz, self.duration_s = n, seed, rate_hz, duration_s

    def entries(self) -> Iterator[Entry]:
        """Yield the entries; labels and metadata are drawn without simulating the signal."""
        for index in range(self.n):
            traits = draw(index, seed=self.seed)
            yield Entry(
                record_id=f"sim_{index:06d}",
                path="",
                labels={"simulated": traits.labels},
                patient_id=traits.patient_id,
                metadata=traits.patient.metadata,
            )

    def read(self, entry: Entry) -> Recording:
        """Simulate the recording of one entry. Raises ReadError for an entry of another source."""
        match = re.fullmatch(r"sim_(\d{6,})", entry.record_id)
        if match is None or int(match[1]) >= self.n:
            raise ReadError(f"record {entry.record_id!r} is not simulated; expected sim_000000 to sim_{self.n - 1:06d}")
        return simulate(int(match[1]), seed=self.seed, rate_hz=self.rate_hz, duration_s=self.duration_s).recording
