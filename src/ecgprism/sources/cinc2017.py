"""The PhysioNet/CinC Challenge 2017 training set: single-lead AliveCor ECGs, rhythm N, A, O or ~ (Clifford 2017)."""

from __future__ import annotations

import csv
import re
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

    def __init__(self, root: Path, reference: str | None = None) -> None:
        """`root` holds the records, or the folder training2017 with them.

        The organisers corrected labels several times: the newest REFERENCE-v*.csv that is there is taken, else
        REFERENCE.csv (version 2); `reference` names another one, by its file name.
        """
        self.root = root / "training2017" if (root / "training2017").is_dir() else root
        # as fetched, corrected labels lie beside the folder of the records
        folders = {self.root.parent, self.root} if self.root.name == "training2017" else {self.root}
        there = {path.name: path for folder in folders for path in folder.glob("REFERENCE*.csv")}
        if not there:
            raise EcgprismError(f"{root}: no REFERENCE.csv here: not the folder of the CinC 2017 training set")
        if reference is not None and reference not in there:
            raise EcgprismError(f"{root}: reference = {reference!r} is not here{nearest(reference, there)}")
        self.reference = there[reference or max(there, key=_version)]
        self.notes = (f"labels of {self.reference.name}",)

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a line of the reference; the data set names no patients."""
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


def _version(name: str) -> int:
    """Return the version of a reference; REFERENCE.csv, the second, stands behind numbered ones of its own version."""
    number = re.fullmatch(r"REFERENCE-v(\d{1,3})\.csv", name)
    return 2 * int(number[1]) if number else 3 if name == "REFERENCE.csv" else -1
