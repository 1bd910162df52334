"""Whatever is planted in one field of a file is gone from its anonymised copy, or the file is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from ecgprism.formats.anonymisation.content import AnonymisationError
from ecgprism.formats.anonymisation.copies import anonymize
from tests import plants
from tests.patient_files import MAKERS

PLANTERS: dict[str, Callable[[bytes], Iterator[plants.Planted]]] = {
    "muse.xml": plants.xml, "sierra.xml": plants.xml, "aecg.xml": plants.xml, "a.dcm": plants.dicom,
    "a.scp": plants.scp, "a.edf": plants.edf,
}  # fmt: skip


#: of the plants of a made file one in so many is tried; all of them take minutes
EVERY = int(os.environ.get("ECGPRISM_EVERY_PLANT", "11"))


#: of all plants, so many copies at the least are written and searched; the other files are refused
LEAST = {"muse.xml": 700, "sierra.xml": 500, "aecg.xml": 1100, "a.dcm": 400, "a.scp": 220, "a.edf": 220}


def surviving(planted: Iterator[plants.Planted], suffix: str, folder: Path) -> tuple[int, int, list[str], list[str]]:
    """Return how many plants stood in a file, how many files were refused, where plants survived, where none stood."""
    made = refused = 0
    found, lost = [], []
    for where, plant, make in planted:
        data = make()
        if not plants.survives(plant, data):  # only another number could be written there
            lost.append(f"{plant} in {where}")
            continue
        made += 1
        source, target = folder / f"source{suffix}", folder / f"copy{suffix}"
        source.write_bytes(data)
        try:
            anonymize(source, target, overwrite=True)
        except AnonymisationError:
            refused += 1
            continue
        if plants.survives(plant, target.read_bytes()):
            found.append(f"{plant} in {where}")
    return made, refused, found, lost


@pytest.mark.parametrize("name", PLANTERS)
def test_no_plant_survives(name: str, tmp_path: Path) -> None:
    made, refused, found, lost = surviving(
        islice(PLANTERS[name](MAKERS[name]()), 0, None, EVERY), Path(name).suffix, tmp_path
    )
    print(f"{name}: {made} plants, {refused} refused, {len(lost)} not in it")
    assert found == []
    assert made - refused > LEAST[name] / EVERY  # that many copies were searched
    assert len(lost) < 0.15 * made
