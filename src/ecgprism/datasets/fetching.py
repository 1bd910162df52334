"""Fetch an open data set from PhysioNet: resumable, parallel, every file verified against the published SHA-256.

A file grows under `<name>.partial` and gets its name only when its checksum is right. Whatever stops a fetch (a lost
connection, a full disk, Ctrl-C, a power cut), the same call goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from ecgprism.datasets.catalogue import DATASETS, Dataset, size_text
from ecgprism.datasets.disk import check_room, room
from ecgprism.datasets.listing import SUMS, parsed_sums
from ecgprism.datasets.record import FolderRecord, earlier_record, write_whole
from ecgprism.datasets.server import PHYSIONET, Mirror, Patience, checked_base
from ecgprism.datasets.transfer import Report, Transfer
from ecgprism.datasets.unpacking import unpack
from ecgprism.errors import EcgprismError, nearest
from ecgprism.files import PARTIAL, locked

LONGEST_SUMS_BYTES = 64 << 20  # PTB-XL's list has 87,000 lines and 8 MB
MARGIN = 1.5  # the catalogue's sizes are approximate
MARGIN_BYTES = 1_000_000


def fetch(
    name: str,
    to: str | Path,
    *,
    base_url: str | None = None,
    include: str | Sequence[str] | None = None,
    workers: int = 4,
    progress: Report | None = None,
    announce: Callable[[str], object] | None = print,
    timeout_s: float = 30.0,
    least_rate: float = 1000.0,
    window_s: float = 60.0,
    attempts: int = 5,
    sleep: Callable[[float], object] | None = None,
) -> Path:
    """Fetch a data set of DATASETS into the folder `to`, verify it, unpack its archives, and return the folder.

    `include` (folders `records100/`, files or patterns `*.hea`) asks for a part; tables and licence come along.
    `base_url` is a mirror laid out as physionet.org/files. A file already there with the right checksum is not fetched
    again, one that differs is replaced, or put aside as `.before` where fetch did not write it. `progress` is called
    from the working threads, one call at a time. `announce` is given licence and citation, which also go into the
    folder (LICENSE, CITATION) with `dataset.json`.
    A file is given up after `attempts` failures in a row: the server was silent for `timeout_s`, took longer than that
    for connection and headers, or brought less than `least_rate` bytes per second over `window_s`. More than the data
    set has, with a margin, is refused. Raises EcgprismError also where another process fetches into the folder.
    """
    if name not in DATASETS:
        raise EcgprismError(f"unknown data set {name!r}{nearest(name, DATASETS)}")
    if workers < 1 or attempts < 1:
        raise EcgprismError(f"workers and attempts: expected 1 or more and got {workers} and {attempts}")
    dataset, folder = DATASETS[name], Path(to)
    url = f"{checked_base(base_url or PHYSIONET)}/{dataset.slug}/{dataset.version}/"
    earlier_record(folder, name, dataset)  # before the server is asked
    if announce is not None:
        announce(dataset.notice(name))
    mirror = Mirror(url, Patience(timeout_s, least_rate, window_s), attempts, sleep)
    listing = mirror.read(SUMS, LONGEST_SUMS_BYTES)
    listed = parsed_sums(listing, url + SUMS)
    patterns = (include,) if isinstance(include, str) else tuple(include or ())
    chosen = dataset.choose(listed, patterns)
    with room(folder, f"{dataset.title} takes about {size_text(dataset.size_bytes)}"):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, "fetch"):
            earlier = earlier_record(folder, name, dataset)
            if not patterns:
                _check_space(folder, dataset, chosen)
            _write_notices(folder, dataset, listed, is_ours=earlier is not None)
            if earlier is None:  # from here on, nothing else is fetched into this folder
                FolderRecord().write(folder, name, dataset, url)
            transfer = Transfer(
                mirror, folder, chosen, report=progress, is_ours=earlier is not None,
                longest_bytes=_with_margin(dataset.size_bytes), bytes_total=None if patterns else dataset.size_bytes,
            )  # fmt: skip
            fetched = transfer.run(workers)
            now = _unpacked(folder, dataset, listed, chosen, earlier or FolderRecord())
            write_whole(folder / SUMS, listing)
            if fetched or earlier is None or now.files != earlier.files:
                now.write(folder, name, dataset, url)
    return folder


def _write_notices(folder: Path, dataset: Dataset, listed: Collection[str], *, is_ours: bool) -> None:
    """Write licence and citation, unless the data set has files of these names; nobody else's are overwritten."""
    for file, text in (("LICENSE", dataset.licence_text(listed)), ("CITATION", dataset.citation_text())):
        path = folder / file
        if file in listed:
            continue
        if not is_ours and path.exists() and path.read_bytes() != text.encode():
            raise EcgprismError(f"{path}: is there already, and not of this data set; choose another folder")
        write_whole(path, text.encode())


def _unpacked(
    folder: Path, dataset: Dataset, listed: Iterable[str], chosen: Iterable[str], before: FolderRecord
) -> FolderRecord:
    """Unpack the fetched archives; return what is there now."""
    longest = _with_margin(dataset.unpacked_bytes)
    unpacked = {file: unpack(folder / file, listed, longest) for file in dataset.archives if file in chosen}
    there = {file for file in before.files if file in listed and (folder / file).is_file()}
    return FolderRecord(tuple(sorted({*chosen, *there})), unpacked or before.unpacked)


def _with_margin(size: int) -> int:
    return round(MARGIN * size) + MARGIN_BYTES


def _check_space(folder: Path, dataset: Dataset, chosen: Iterable[str]) -> None:
    """Refuse to begin what cannot end, as far as the approximate size tells."""
    needed = dataset.size_bytes + dataset.unpacked_bytes
    for name in chosen:
        paths = (folder / name, folder / (name + PARTIAL))
        needed -= sum(path.stat().st_size for path in paths if path.is_file())
        if name in dataset.archives and paths[0].is_file():  # unpacking looks for itself
            needed -= dataset.unpacked_bytes
    check_room(folder, needed, f"about {size_text(needed)} are needed")
