"""The PhysioNet/CinC Challenge 2017 training set: single-lead AliveCor ECGs, rhythm N, A, O or ~ (Clifford 2017)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, nearest
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.contract import Entry

CLASSES = ("N", "A", "O", "~")


@register("sources", "cinc2017")
class Cinc2017:
    """CinC 2017: folder with REFERENCE.csv, `.hea` and `.mat`; task `rhythm`: normal, AF, other, noisy."""

    tasks = {"rhythm": Task("multiclass", CLASSES)}  # noqa: RUF012
    #: the data set's only lead; an AliveCor device records between the hands, which is lead I
    lead_aliases = {"ECG": "I"}  # noqa: RUF012

    def __init__(self, root: Path) -> None:
        """`root` is the folder that holds REFERENCE.csv, or the one above it."""
        self.root = root if (root / "REFERENCE.csv").is_file() else root / "training2017"
        self.reference = self.root / "REFERENCE.csv"
        if not self.reference.is_file():
            raise EcgprismError(f"{root}: no REFERENCE.csv here: not the folder of the CinC 2017 training set")

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a line of REFERENCE.csv; the data set names no patients."""
        lines = self.reference.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, row in enumerate(csv.reader(lines), start=1):
            if len(row) != 2:
                raise EcgprismError(f"{self.reference}, line {number}: expected record,label and got {row}")
            record_id, label = row[0].strip(), row[1].strip()
            if label not in CLASSES:
                raise EcgprismError(
                    f"{self.reference}, line {number}: unknown label {label!r}{nearest(label, CLASSES)}"
                )
            yield Entry(record_id, str(self.root / record_id), {"rhythm": (label,)})

    def read(self, entry: Entry) -> Recording:
        """Read one record."""
        return reading.read(entry.path, self.lead_aliases)
