"""Simulated 12-lead ECGs with known labels: the data set that needs no files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.simulator.acquisition import Acquisition
from ecgprism.simulator.conditions import RHYTHMS, SUPERDIAGNOSTIC, check_combination
from ecgprism.simulator.simulation import SimulatedRecord, draw, simulate
from ecgprism.sources.contract import Entry


@register("sources", "simulated")
class SimulatedSource:
    """`n` simulated records, two of each patient, with rhythm and superdiagnostic labels. Same seed, same records."""

    lead_aliases: Mapping[str, str] = {}

    def __init__(
        self,
        n: Annotated[int, Field(gt=0)] = 1500,
        seed: Annotated[int, Field(ge=0)] = 0,
        rate_hz: Annotated[float, Field(ge=20, le=5000)] = 100.0,  # no ECG device takes more samples
        duration_s: Annotated[float, Field(ge=1, le=86_400)] = 10.0,
        snr_db: float | None = None,
        task: Literal["superdiagnostic", "rhythm"] | None = "superdiagnostic",
        conditions: dict[str, float] | None = None,
    ) -> None:
        """Keep the options; nothing is simulated until it is asked for.

        `snr_db` is drawn per record by default; `task` is what they are labelled with (null: both tasks); `conditions`
        (name: severity 0 to 1) replaces what nature would give.
        """
        tasks = {"superdiagnostic": Task("multilabel", SUPERDIAGNOSTIC), "rhythm": Task("multilabel", RHYTHMS)}
        self.tasks: Mapping[str, Task] = tasks if task is None else {task: tasks[task]}
        self.conditions = conditions
        check_combination(conditions or ())
        self.n, self.seed, self.rate_hz, self.duration_s = n, seed, rate_hz, duration_s
        self.acquisition = Acquisition(snr_db=snr_db)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries; labels and metadata are drawn without simulating the signal."""
        for index in range(self.n):
            traits = draw(index, seed=self.seed, conditions=self.conditions)
            yield Entry(
                record_id=f"sim_{index:06d}",
                path="",
                # as in PTB-XL, a record without a statement of the task says nothing about it
                labels={task: held for task, held in traits.labels.items() if held and task in self.tasks},
                patient_id=traits.patient_id,
                metadata=traits.patient.metadata,
            )

    def read(self, entry: Entry) -> Recording:
        """Simulate the recording of one entry. Raises ReadError for an entry of another source."""
        match = re.fullmatch(r"sim_(\d{6,})", entry.record_id)
        if match is None or int(match[1]) >= self.n:
            raise ReadError(f"record {entry.record_id!r} is not simulated; expected sim_000000 to sim_{self.n - 1:06d}")
        return self.simulated(int(match[1])).recording

    def simulated(self, index: int) -> SimulatedRecord:
        """Simulate record `index` with everything that is true of it."""
        return simulate(
            index,
            seed=self.seed,
            rate_hz=self.rate_hz,
            duration_s=self.duration_s,
            conditions=self.conditions,
            acquisition=self.acquisition,
        )
