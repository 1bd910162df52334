"""Little records and data sets for the tests: WFDB files, folders laid out as PTB-XL and CinC 2017, made sources."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import wfdb
from numpy.typing import NDArray

from ecgprism import registry
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.interface.card import Task
from ecgprism.sources.contract import Entry

#: integers per mV of what is written unless a test says otherwise
GAIN = 200.0


def digital(n_leads: int = 1, samples: int = 200, seed: int = 0) -> NDArray[np.int64]:
    """(T, C) integers between -1000 and 1000 that are no flat line."""
    return np.random.default_rng(seed).integers(-1000, 1001, size=(samples, n_leads))


def write_wfdb(
    folder: Path,
    name: str,
    values: NDArray[np.int64],
    leads: Sequence[str] = ("I",),
    *,
    rate_hz: float = 100,
    units: Sequence[str] | str = "mV",
    gains: Sequence[float] | float = GAIN,
    baselines: Sequence[int] | int = 0,
    fmt: Sequence[str] | str = "16",
    comments: Sequence[str] = (),
) -> Path:
    """Write integers (T, C) with the wfdb package; returns the path without suffix."""
    n = len(leads)
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        fs=rate_hz,
        units=[units] * n if isinstance(units, str) else list(units),
        sig_name=list(leads),
        d_signal=np.asarray(values, dtype=np.int64),
        fmt=[fmt] * n if isinstance(fmt, str) else list(fmt),
        adc_gain=[gains] * n if isinstance(gains, int | float) else list(gains),
        baseline=[baselines] * n if isinstance(baselines, int) else list(baselines),
        comments=list(comments),
        write_dir=str(folder),
    )
    return folder / name


def write_raw(folder: Path, header: str | bytes, data: bytes | None = None, name: str = "a") -> Path:
    """Write a header as it stands, and `a.dat` if given; returns the path of the header."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.hea"
    path.write_bytes(header.encode() if isinstance(header, str) else header)
    if data is not None:
        (folder / f"{name}.dat").write_bytes(data)
    return path


def physical(path: Path) -> NDArray[np.float32]:
    """What wfdb reads, (L, T) float32 in the units of the file."""
    return wfdb.rdrecord(str(path)).p_signal.T.astype(np.float32)


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write rows with the keys of the first one as header."""
    table = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def write_manifest(folder: Path, n: int = 6, *, samples: int = 200, **columns: Sequence[object]) -> Path:
    """Write `n` one-lead records r0, r1, ... with distinct waveforms, and a manifest; labels A and B take turns."""
    for i in range(n):
        write_wfdb(folder, f"r{i}", digital(1, samples, seed=i))
    given = {"path": [f"r{i}" for i in range(n)], "labels": ["AB"[i % 2] for i in range(n)], **columns}
    return write_csv(folder / "manifest.csv", [{key: of[i] for key, of in given.items()} for i in range(n)])


def write_cinc(folder: Path, labels: Sequence[str] = "NAO~", *, samples: int = 300) -> Path:
    """Write a folder as the CinC 2017 training set is laid out: one channel called ECG, at 300 Hz, 1000 per mV."""
    for i in range(len(labels)):
        write_wfdb(folder, f"A{i + 1:05d}", digital(1, samples, seed=i), ["ECG"], rate_hz=300, gains=1000.0)
    lines = [f"A{i + 1:05d},{label}\n" for i, label in enumerate(labels)]
    (folder / "REFERENCE.csv").write_text("".join(lines))
    return folder


#: code, diagnostic, form, rhythm, class, subclass: one of every kind that scp_statements.csv knows
STATEMENTS = (
    ("NORM", 1, "", "", "NORM", "NORM"),
    ("IMI", 1, "", "", "MI", "IMI"),
    ("ASMI", 1, "", "", "MI", "AMI"),
    ("NDT", 1, 1, "", "STTC", "STTC"),
    ("ABQRS", "", 1, "", "", ""),
    ("SR", "", "", 1, "", ""),
    ("AFIB", "", "", 1, "", ""),
)


def ptbxl_row(ecg_id: int, codes: Mapping[str, float], **given: object) -> dict[str, object]:
    """One row of ptbxl_database.csv."""
    name = f"00000/{ecg_id:05d}"
    row: dict[str, object] = {
        "ecg_id": ecg_id, "patient_id": f"{100 + ecg_id}.0", "age": "60.0", "sex": 0, "height": "", "weight": "",
        "scp_codes": str(dict(codes)), "strat_fold": 1,
        "filename_lr": f"records100/{name}_lr", "filename_hr": f"records500/{name}_hr",
    }  # fmt: skip
    return row | given


def write_ptbxl(root: Path, rows: Sequence[Mapping[str, object]], *, signals: bool = False) -> Path:
    """Write the tables of PTB-XL, and where wanted 2 s of two leads for every row at 100 and 500 Hz."""
    statements = [
        dict(zip(("", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"), row, strict=True))
        for row in STATEMENTS
    ]
    write_csv(root / "scp_statements.csv", statements)
    write_csv(root / "ptbxl_database.csv", rows)
    for row in rows if signals else ():
        for rate_hz, column in ((100, "filename_lr"), (500, "filename_hr")):
            path = root / str(row[column])
            values = digital(2, 2 * rate_hz, seed=int(str(row["ecg_id"])))
            write_wfdb(path.parent, path.name, values, ["I", "AVR"], rate_hz=rate_hz, gains=1000.0)
    return root


#: environment variable: how long `Made.read` waits from record 4 on, so that a test can kill an ingest in its middle
MADE_WAIT_S = "ECGPRISM_TEST_MADE_WAIT_S"


class Made:
    """A source without files: records of differing rate, length and leads, with gaps, flat leads and bad records."""

    tasks: Mapping[str, Task] = {
        "rhythm": Task("multiclass", ("N", "A", "O")),
        "form": Task("multilabel", ("X", "Y", "Z")),
    }
    lead_aliases: Mapping[str, str] = {"ECG": "I"}

    def __init__(self, n: int = 12) -> None:
        """Make `n` records."""
        self.n = n

    def entries(self) -> Iterator[Entry]:
        """Two records a patient, every fifth of unknown patient; every third without a label of `form`."""
        for i in range(self.n):
            labels = {"rhythm": ("NAO"[i % 3],)} | ({"form": tuple("XYZ"[: i % 4])} if i % 3 else {})
            metadata: dict[str, float | str] = {"site": "ab"[i % 2]} | ({"age": 40.0 + i} if i % 4 else {})
            yield Entry(f"m{i}", f"made/{i}", labels, None if i % 5 == 4 else f"p{i // 2}", None, metadata)

    def read(self, entry: Entry) -> Recording:
        """Make a recording; m3, m13, ... cannot be read."""
        i = int(entry.record_id[1:])
        if i >= 4:
            time.sleep(float(os.environ.get(MADE_WAIT_S, "0")))
        if i % 10 == 3:
            raise ReadError(f'{entry.path}: made to be bad, with a comma and "quotes"')
        leads = (("I",), ("II", "V1"), ("V1", "I", "aVR"))[i % 3]
        rate_hz = (100.0, 250.0, 360.0)[i % 3]
        rng = np.random.default_rng(i)
        signal = np.cumsum(rng.normal(0, 0.05, (len(leads), int(rate_hz * (1 + i % 4)) + i)), axis=1)
        if i % 3 == 1:
            signal[0, 20:50] = np.nan
        if i % 3 == 2:
            signal[2] = 0.001
        return Recording(signal.astype(np.float32), rate_hz, leads, skipped=("RESP",) if i % 3 == 2 else ())


class Listed:
    """A source of given recordings (or errors to raise) r0, r1, ...; every one labelled A, each its own patient."""

    tasks: Mapping[str, Task] = {"labels": Task("multilabel", ("A", "B"))}
    lead_aliases: Mapping[str, str] = {}
    recordings: ClassVar[Sequence[Recording | Exception]] = ()
    changes: ClassVar[Mapping[int, Mapping[str, Any]]] = {}

    def entries(self) -> Iterator[Entry]:
        """One entry a recording; `changes` by position."""
        for i in range(len(self.recordings)):
            given = {"record_id": f"r{i}", "path": "", "labels": {"labels": ("A",)}, "patient_id": f"p{i}"}
            yield Entry(**given | dict(self.changes.get(i, {})))

    def read(self, entry: Entry) -> Recording:
        """Return the recording by its position."""
        found = self.recordings[[e.record_id for e in self.entries()].index(entry.record_id)]
        if isinstance(found, Exception):
            raise found
        return found


@contextmanager
def listed(
    recordings: Sequence[Recording | Exception], changes: Mapping[int, Mapping[str, Any]] | None = None
) -> Iterator[None]:
    """Make the source `listed` known, for as long as the block lasts."""
    cls = type("Listed", (Listed,), {"recordings": recordings, "changes": changes or {}})
    with known("listed", cls):
        yield


@contextmanager
def known(name: str, cls: type) -> Iterator[None]:
    """Make a source known by a name, for as long as the block lasts."""
    registry.components("sources")
    registry._components["sources"][name] = cls
    try:
        yield
    finally:
        del registry._components["sources"][name]
