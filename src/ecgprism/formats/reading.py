"""read(path) -> Recording, whatever the file format; it is recognised by its content."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecgprism import archives
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import alivecor, edf, fhir, ishne, table, vendor, wfdb
from ecgprism.formats.contract import Declared, with_limb_leads

#: suffixes of files that `find` takes for recordings without opening them; a WFDB record is its header
SUFFIXES = (
    *(".hea", ".edf", ".bdf", ".dcm", ".xml", ".scp", ".ecg", ".mwf", ".mfer", ".atc", ".csv", ".npy", ".json"),
    *(".zip", ".gz", ".tgz", ".tar"),
)
_HEADER = re.compile(rb"^(\s*#[^\n]*\n|\s*\n)*[\w./-]+ \d+( \d[\d.eE+/()-]*)?( \d+)?[^\n]*(\r?\n|$)")
_NO_RECORDING = re.compile(r"\.csv\.json$|\.npy\.json$", re.IGNORECASE)


def read(
    path: str | Path,
    lead_aliases: Mapping[str, str] | None = None,
    *,
    rate_hz: float | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
) -> Recording:
    """Read one recording; a WFDB record is named with or without `.hea`, one in an archive as `archive.zip::name`.

    `lead_aliases` declares further lead spellings (`{"ECG": "I"}`). Tables that do not say them need `rate_hz`, `unit`
    and `leads` declared, here or in a JSON file beside them. Raises ReadError naming the file, format and reason.
    """
    declared = Declared(lead_aliases or {}, rate_hz, unit, tuple(leads) if leads else None)
    return _read(Path(path), declared)


@dataclass(frozen=True, eq=False)
class Opened:
    """A recording that is open: what it has, and windows of it. WFDB, EDF and ISHNE files are not loaded whole."""

    path: Path
    leads: tuple[str, ...]
    rate_hz: float
    duration_s: float
    _declared: Declared
    _kind: str
    _loaded: Recording | None = None

    def read(self, start_s: float = 0.0, stop_s: float | None = None) -> Recording:
        """Return the part between two times (s). Raises ReadError when nothing of the recording lies between them."""
        stop_s = self.duration_s if stop_s is None else min(stop_s, self.duration_s)
        if not 0 <= start_s < stop_s:
            raise ReadError(f"{self.path}: nothing between {start_s:g} and {stop_s:g} s of {self.duration_s:g} s")
        if self._kind == "wfdb":
            return with_limb_leads(wfdb.read(self.path, self._declared.lead_aliases, start_s, stop_s))
        if self._kind == "edf":
            return edf.read(self.path, self._declared, start_s, stop_s)
        if self._kind == "ishne":
            return ishne.read(self.path, self._declared, start_s, stop_s)
        assert self._loaded is not None
        part = slice(round(start_s * self.rate_hz), round(stop_s * self.rate_hz))
        return replace(self._loaded, signal=self._loaded.signal[:, part])


def open_recording(
    path: str | Path,
    lead_aliases: Mapping[str, str] | None = None,
    *,
    rate_hz: float | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
) -> Opened:
    """Open one recording to read windows of it. Arguments and errors as of `read`."""
    path = Path(path)
    declared = Declared(lead_aliases or {}, rate_hz, unit, tuple(leads) if leads else None)
    kind = "archive" if archives.split(path)[1] is not None else _kind(path)
    if kind == "wfdb":
        header = wfdb.read_header(wfdb.header_path(path))
        if not header.segments and header.channels and header.samples:
            first = with_limb_leads(wfdb.read(path, declared.lead_aliases, 0.0, 1.0 / header.rate_hz))
            return Opened(path, first.leads, header.rate_hz, header.samples / header.rate_hz, declared, kind)
    elif kind == "edf":
        duration_s = float(edf.opened(path).duration)
        first = edf.read(path, declared, 0.0, min(1.0, duration_s))
        return Opened(path, first.leads, first.rate_hz, duration_s, declared, kind)
    elif kind == "ishne":
        rate, duration_s = ishne.extent(path)
        first = ishne.read(path, declared, 0.0, 1.0 / rate)
        return Opened(path, first.leads, rate, duration_s, declared, kind)
    whole = _read(path, declared)
    return Opened(path, whole.leads, whole.rate_hz, whole.duration_s, declared, "loaded", whole)


def _read(path: Path, declared: Declared) -> Recording:
    archived, member = archives.split(path)
    try:
        if member is not None:
            return _read_archived(archived, member, path, declared)
        kind = _kind(path)
        if kind == "archive":
            return _read_archived(path, None, path, declared)
        if kind == "wfdb":
            return with_limb_leads(wfdb.read(path, declared.lead_aliases))
        readers = {
            "edf": edf.read, "atc": alivecor.read, "fhir": fhir.read, "npy": table.read_npy, "csv": table.read_csv,
            "ishne": ishne.read,
        }  # fmt: skip
        return readers[kind](path, declared) if kind in readers else vendor.read(path, kind, declared)
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from None
    except MemoryError:
        raise ReadError(f"{path}: announces more samples than memory holds") from None


def _read_archived(path: Path, member: str | None, named: Path, declared: Declared) -> Recording:
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    with archives.unpacked(path) as folder:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        inside = archives.chosen(path, files if len(files) == 1 else list(_below(folder)), member, folder)
        name = f"{path}{archives.SEPARATOR}{inside.relative_to(folder)}"
        if archives.recognised(_head(inside)):
            raise ReadError(f"{name}: an archive inside an archive is not opened")
        try:
            return replace(_read(inside, declared), path=named)
        except ReadError as error:
            raise ReadError(str(error).replace(str(inside), name)) from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(vendor.HEAD)


def _kind(path: Path) -> str:
    """Return the format of a file by its first bytes. Raises ReadError for a file that is not there."""
    if path.suffix == ".hea" or not path.is_file():
        return "wfdb"
    head = _head(path)
    if not head:
        raise ReadError(f"{path}: an empty file")
    root = vendor.xml_root(head)
    tests = (
        ("archive", archives.recognised(head)), ("edf", edf.recognised(head)), ("ishne", ishne.recognised(head)),
        ("atc", head.startswith(alivecor.MAGIC)), ("npy", head.startswith(table.NPY_MAGIC)),
        (vendor.recognised(head, root), True),
        ("fhir", root == "Observation" or (head.lstrip()[:1] == b"{" and b'"resourceType"' in head)),
        ("wfdb", wfdb.header_path(path).is_file() and path.suffix in (".dat", ".mat")),
        ("wfdb", b"," not in head[:200] and bool(_HEADER.match(head))),
    )  # fmt: skip
    return next((kind for kind, holds in tests if kind and holds), "csv")


def find(path: str | Path) -> Iterator[Path]:
    """Yield what `read` takes below a folder, in order of name, or the path itself if it is no folder.

    Of an archive with several recordings each is yielded as `archive.zip::name`.
    """
    path = Path(path)
    if path.is_dir():
        recordings = list(_below(path))
        if not recordings:
            raise ReadError(f"{path}: no recording below this folder (looked for {', '.join(SUFFIXES)})")
        for recording in recordings:
            yield from _archived(recording)
        return
    yield from _archived(path)


def _archived(path: Path) -> Iterator[Path]:
    if path.is_file() and archives.recognised(_head(path)):
        with archives.unpacked(path) as folder:
            names = [recording.relative_to(folder) for recording in _below(folder)]
        yield from (Path(f"{path}{archives.SEPARATOR}{name}") for name in names)
        return
    yield path


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _NO_RECORDING.search(path.name):
            yield path
