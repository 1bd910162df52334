"""read(path) -> Recording, whatever the file format; it is recognised by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecgprism import archives
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ReadError, one_line
from ecgprism.formats import alivecor, apple, edf, fhir, ishne, table, vendor, wfdb
from ecgprism.formats.contract import SOURCES_OF_LIMB_LEADS, Declaration, check_regular, connected, with_limb_leads
from ecgprism.formats.declaration import FOLDER, completed
from ecgprism.processes import RECORD_MEMORY_MB, RECORD_TIMEOUT_S, Limits, limited

#: suffixes of files that `find` takes for recordings without opening them; a WFDB record is its header
SUFFIXES = (
    *(".hea", ".edf", ".bdf", ".dcm", ".xml", ".scp", ".ecg", ".mwf", ".mfer", ".atc", ".csv", ".npy", ".json"),
    *(".zip", ".gz", ".tgz", ".tar"),
)
#: what people have besides recordings, and what to say of it
_FOREIGN = {
    b"\x89HDF": "HDF5: write its signal as NPY or CSV, or as WFDB", b"MATLAB 5": "MATLAB, no WFDB header beside it",
    b"%PDF": "PDF: a picture, no signal", b"\x89PNG": "PNG: a picture, no signal", b"\xff\xd8\xff": "JPEG: a picture",
    b"PAR1": "Parquet", b"\x80\x04": "a Python pickle, which could run anything", b"SQLite": "an SQLite database",
    b"BZh": "bzip2: unpack it", b"\xfd7zXZ": "xz: unpack it", b"7z\xbc\xaf": "7z: unpack it", b"Rar!": "RAR: unpack it",
    b"\x28\xb5\x2f\xfd": "zstd: unpack it", b"\xd0\xcf\x11\xe0": "an old Office file: save it as CSV",
}  # fmt: skip


def read(
    path: str | Path,
    lead_aliases: Mapping[str, str] | None = None,
    *,
    rate_hz: float | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
    zero: float | None = None,
    accept_damaged: bool = False,
) -> Recording:
    """Read one recording; a WFDB record is named with or without `.hea`, one in an archive as `archive.zip::name`.

    `lead_aliases` declares further lead spellings (`{"ECG": "I", "ECG#2": "II"}`), `leads` names channels by position
    or chooses among the file's leads. `rate_hz`, `unit` and `zero` (what 0 mV is in a table) hold where the file does
    not say them; all of them may stand in a JSON file beside it. With `accept_damaged` a file whose sums or counts do
    not fit is read, and `details["damaged"]` says what is wrong. Raises ReadError naming file, format and reason.
    """
    declared = Declaration(lead_aliases or {}, rate_hz, unit, tuple(leads) if leads else None, zero, accept_damaged)
    return read_declared(path, declared)


def read_declared(path: str | Path, declared: Declaration) -> Recording:
    """Read one recording with what is declared of it in one piece; see `read`."""
    path = Path(path)
    with _refusals(path):
        return _read(path, declared)


@dataclass(frozen=True, eq=False)
class OpenRecording:
    """A recording that is open: what it has, and windows of it. WFDB, EDF and ISHNE files are not loaded whole."""

    path: Path
    leads: tuple[str, ...]
    rate_hz: float
    duration_s: float
    _read: Callable[[float, float], Recording]

    def read(self, start_s: float = 0.0, stop_s: float | None = None) -> Recording:
        """Return the part between two times (s); its annotations count from its begin.

        Raises ReadError when nothing of the recording lies between them.
        """
        stop_s = self.duration_s if stop_s is None else min(stop_s, self.duration_s)
        if not 0 <= start_s < stop_s:
            raise ReadError(f"{self.path}: nothing between {start_s:g} and {stop_s:g} s of {self.duration_s:g} s")
        with _refusals(self.path):
            part = self._read(start_s, stop_s)
        return replace(part, annotations=tuple(_within(part.annotations, start_s, stop_s)))


def _within(annotations: Sequence[Annotation], start_s: float, stop_s: float) -> Iterator[Annotation]:
    for each in annotations:
        if each.at_s < stop_s and (each.at_s >= start_s or (each.stop_s or 0.0) > start_s):
            ends_s = None if each.stop_s is None else each.stop_s - start_s
            yield replace(each, at_s=each.at_s - start_s, stop_s=ends_s)


def open_recording(
    path: str | Path,
    lead_aliases: Mapping[str, str] | None = None,
    *,
    rate_hz: float | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
    zero: float | None = None,
    accept_damaged: bool = False,
) -> OpenRecording:
    """Open one recording to read windows of it. Arguments and errors as of `read`."""
    declared = Declaration(lead_aliases or {}, rate_hz, unit, tuple(leads) if leads else None, zero, accept_damaged)
    path = Path(path)
    with _refusals(path):
        kind = "archive" if archives.split(path)[1] is not None else _kind(path)
        if kind in _WINDOWED:
            given = _given(path, kind, declared)
            duration_s = _WINDOWED[kind](path, given)
            if duration_s:
                return _windowed(path, given, kind, duration_s)
        whole = _read(path, declared)

    def part(start_s: float, stop_s: float) -> Recording:
        samples = slice(round(start_s * whole.rate_hz), round(stop_s * whole.rate_hz))
        return replace(whole, signal=whole.signal[:, samples])

    return OpenRecording(path, whole.leads, whole.rate_hz, whole.duration_s, part)


#: formats whose windows are read without the rest -> the duration of a file, None where only reading it tells
_WINDOWED: Mapping[str, Callable[[Path, Declaration], float | None]] = {
    "wfdb": wfdb.extent,
    "edf": edf.extent,
    "ishne": ishne.extent,
}


def _windowed(path: Path, declared: Declaration, kind: str, duration_s: float) -> OpenRecording:
    """Return a recording of which windows are read, after a look at which limb leads are connected at all."""
    sources: frozenset[str] = frozenset()
    first, start_s, step_s = None, 0.0, 10.0
    while start_s < duration_s:
        recording = _READERS[kind](path, declared, start_s, min(start_s + step_s, duration_s))
        first = first or recording
        sources |= connected(recording)
        if sources >= set(recording.leads) & set(SOURCES_OF_LIMB_LEADS):
            break
        start_s, step_s = start_s + step_s, min(2 * step_s, 600.0)
    if first is None:
        raise ReadError(f"{path}: the recording holds no samples")

    def part(start_s: float, stop_s: float) -> Recording:
        return with_limb_leads(_READERS[kind](path, declared, start_s, stop_s), sources)

    return OpenRecording(path, with_limb_leads(first, sources).leads, first.rate_hz, duration_s, part)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn whatever a reader stumbles over into one line about the file."""
    try:
        with np.errstate(all="ignore"):
            yield
    except ReadError as error:
        line = "".join(sign if sign.isprintable() else " " for sign in str(error))
        if line == str(error):
            raise
        raise ReadError(line) from None
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from None
    except MemoryError:
        raise ReadError(f"{path}: announces more samples than memory holds") from None
    # a file can be damaged in more ways than a reader foresees, and one file must not end a batch of thousands
    except Exception as error:
        raise ReadError(f"{path}: not readable ({type(error).__name__}: {one_line(error)})") from None


#: format -> its reader
_READERS: Mapping[str, Callable[..., Recording]] = {
    "wfdb": wfdb.read, "edf": edf.read, "atc": alivecor.read, "fhir": fhir.read, "npy": table.read_npy,
    "csv": table.read_csv, "apple": apple.read, "ishne": ishne.read,
}  # fmt: skip
_TABLES = ("csv", "npy")


def _read(path: Path, declared: Declaration) -> Recording:
    archived, member = archives.split(path)
    if member is not None:
        return _read_archived(archived, member, path, declared)
    kind = _kind(path)
    if kind == "archive":
        return _read_archived(path, None, path, declared)
    given = _given(path, kind, declared)
    recording = _READERS[kind](path, given) if kind in _READERS else vendor.read(path, kind, given)
    return with_limb_leads(recording)


def _given(path: Path, kind: str, declared: Declaration) -> Declaration:
    """Return all that is declared of a file. Raises ReadError for what a file of its format cannot leave open."""
    given = completed(path, declared)
    if given.zero is not None and kind not in _TABLES:
        raise ReadError(f"{path}: zero = {given.zero:g} is declared, and only a table can leave it open")
    return given


def _read_archived(path: Path, member: str | None, named: Path, declared: Declaration) -> Recording:
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    with archives.unpacked(path, keep=member is not None) as folder:
        inside = archives.member_of(path, folder, member) if member is not None else None
        if inside is None:
            files = [file for file in _files(folder) if not archives.is_of_the_system(file)]
            inside = archives.chosen(path, files if len(files) == 1 else list(_below(folder)), member, folder)
        name = f"{path}{archives.SEPARATOR}{inside.relative_to(folder)}"
        if archives.recognised(_head(inside)):
            raise ReadError(f"{name}: an archive inside an archive is not opened")
        try:
            with _refusals(inside):
                return replace(_read(inside, declared), path=named)
        except ReadError as error:
            raise ReadError(str(error).replace(str(inside), name).replace(str(folder), str(path))) from None


def _head(path: Path) -> bytes:
    check_regular(path)
    with path.open("rb") as file:
        return file.read(vendor.HEAD)


def _kind(path: Path) -> str:
    """Return the format of a file by its first bytes. Raises ReadError for what is certainly no recording."""
    if path.suffix.lower() == ".hea":
        return "wfdb"
    if not path.exists():
        if path.suffix.lower() in SUFFIXES:
            raise ReadError(f"{path}: no such file")
        return "wfdb"
    if path.is_dir():
        if not wfdb.header_path(path).is_file():
            raise ReadError(f"{path}: a folder; name a recording in it")
        return "wfdb"
    head = _head(path)
    if not head:
        raise ReadError(f"{path}: an empty file")
    return next(kind for kind in _recognised(path, head) if kind)


def _recognised(path: Path, head: bytes) -> Iterator[str | None]:
    """Yield the format that each reader sees in the first bytes of a file; the next is asked where it sees none."""
    yield "archive" if archives.recognised(head) else None
    yield "edf" if edf.recognised(head) else None
    yield "ishne" if ishne.recognised(head) else None
    yield "atc" if head.startswith(alivecor.MAGIC) else None
    yield "npy" if head.startswith(table.NPY_MAGIC) else None
    root = vendor.xml_root(head)
    yield vendor.recognised(head, root)
    yield "fhir" if fhir.recognised(head, root) else None
    of_record = path.suffix.lower() in (".dat", ".mat") or wfdb.recognised(head)
    yield "wfdb" if of_record and wfdb.header_path(path).is_file() else None
    foreign = next((what for mark, what in _FOREIGN.items() if head.startswith(mark)), None)
    if foreign is None and path.suffix.lower() in (".dat", ".mat") and b"\x00" in head:
        foreign = f"samples without their header {path.with_suffix('.hea').name} beside them"
    if foreign:
        raise ReadError(f"{path}: of no known format ({foreign})")
    yield "apple" if apple.recognised(head) else None
    yield "csv"


def find(path: str | Path) -> Iterator[Path]:
    """Yield what `read` takes below a folder, in order of name, or the path itself if it is no folder.

    Of an archive with several recordings each is yielded as `archive.zip::name`. An archive that cannot be opened is
    yielded as it is: reading it says why.
    """
    path = Path(path)
    if path.is_dir():
        with _refusals(path):
            recordings = list(_below(path))
        if not recordings:
            raise ReadError(f"{path}: no recording below this folder (looked for {', '.join(SUFFIXES)})")
        for recording in recordings:
            yield from _archived(recording)
        return
    yield from _archived(path)


def _archived(path: Path) -> Sequence[Path]:
    try:
        with _refusals(path), limited(Limits(RECORD_TIMEOUT_S, RECORD_MEMORY_MB)):
            if not path.is_file() or not archives.recognised(_head(path)):
                return [path]
            with archives.unpacked(path, keep=True) as folder:
                names = [recording.relative_to(folder) for recording in _below(folder)]
    except ReadError:
        return [path]
    return [Path(f"{path}{archives.SEPARATOR}{name}") for name in names] or [path]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _below(folder: Path) -> Iterator[Path]:
    for path in _files(folder):
        if path.suffix.lower() in SUFFIXES and not archives.is_of_the_system(path) and not _is_declaration(path):
            yield path


def _is_declaration(path: Path) -> bool:
    """Return whether a file only tells about others: `x.csv.json`, and an `ecg.json` that is no FHIR resource."""
    if path.suffix.lower() != ".json":
        return False
    return path.with_suffix("").is_file() or (path.name == FOLDER and b'"resourceType"' not in _head(path))
