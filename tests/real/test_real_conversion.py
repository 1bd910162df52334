"""Real files of other formats, where they are at hand: converted to all three, and anonymised.

The formats stand in ECGPRISM_DATA/formats (dicom/, muse/, sierra/, aecg/, scp/, contec/, edf/).
"""

from __future__ import annotations

import os
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgprism.formats import reading
from ecgprism.formats.anonymisation.content import AnonymisationError
from ecgprism.formats.anonymisation.copies import anonymize
from ecgprism.formats.conversion import convert, digitise
from tests import plants
from tests.test_planting import surviving

DATA = os.environ.get("ECGPRISM_DATA", "")
READABLE = (
    "aecg/subject1_0.xml", "aecg/minimum_aecg.xml", "contec/0000050.ECG.edf", "dicom/anonymous_ecg.dcm",
    "edf/test_generator_2.edf", "muse/MUSE_20200923_093504_79000_example.xml", "muse/example1.xml",
    "muse/example2.xml", "scp/Example.dcm", "scp/Example.scp", "scp/Example.xml", "sierra/129DYPRG.XML",
    "sierra/3191723_ZZDEMOPTONLY_1-04_orig.xml", "wfdb/100.hea", "wfdb/s0010_re.hea", "wfdb/a103l.hea",
)  # fmt: skip
#: what identifies somebody in these files, as a reader of them finds it
NAMED = {
    "muse/MUSE_20200923_093504_79000_example.xml": "TESTONE 201700237 06-10-1980 CEDARS 09-22-2020 2020-09-22 "
    "SAPERSTEIN PATEL JIGNESH FITZGERALD CHRISTOPHER GARG RUCHIRA 272924610 29154347249 MILLER SCD11041674PA MAC55",
    "muse/example1.xml": "SKJ18310123PA 11122018",
    "muse/example2.xml": "SKJ18230189PA 12082022",
    "sierra/129DYPRG.XML": "1112010721168bdc 2011-12-01 HeartstartMRx GEILM 03d494f2",
    "sierra/3191723_ZZDEMOPTONLY_1-04_orig.xml": "ZZDEMOPTONLY ADULT 1950-01-01 120190145 EKG1715 2010-01-19 7eacbc80",
    "aecg/subject1_0.xml": "Clark subject1 19530508 20021122 JMK SC-342 INV-087 TECH-221 PUK-123 River Smith ELI250",
    "aecg/minimum_aecg.xml": "SBJ-123 PUK-123 20021122 61d1a24f",
    "scp/Example.xml": "Clark SBJ-123 19530508 20021122 JMK SC-342 INV-087 PUK-123 River Smith Brown 61d1a24f",
    "scp/Example.scp": "Clark SBJ-123 ELI250 unknown",
    "scp/Example.dcm": "Clark SBJ-123 19530508 20021122 1.2.826.0.1.34471",
    "dicom/anonymous_ecg.dcm": "642341 19710123 Galliera 2721 13002689 03028041970546 20130125 1.3.6.1.4.1.20029 DW_AM",
    "edf/test_generator_2.edf": "test_generator 10-DEC-2009 10.12.09 12.44.02",
    "contec/0000050.ECG.edf": "0000050 16-NOV-2020 16.11.20",
}  # fmt: skip


def real(name: str) -> Path:
    if not DATA:
        pytest.skip("ECGPRISM_DATA does not name a folder of real recordings")
    path = Path(DATA).absolute() / "formats" / name
    if not path.is_file():
        pytest.skip(f"no formats/{name} in {DATA}")
    return path


def parsed(path: Path) -> Any:
    parser = pytest.importorskip("ecgdatakit.parsing").FileParser
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parser.parse(path)


@pytest.mark.parametrize("suffix", [".hea", ".edf", ".dcm"])
@pytest.mark.parametrize("name", READABLE)
def test_a_real_recording_converts_within_half_a_step(name: str, suffix: str, tmp_path: Path) -> None:
    aliases = {"ECG": "I"} if name.startswith("edf/") else {}
    source = reading.read(real(name), aliases)
    path = convert(real(name), tmp_path / f"a{suffix}", lead_aliases=aliases, fill=True)
    read = reading.read(path)
    assert read.rate_hz == source.rate_hz
    assert set(source.leads) <= set(read.leads)
    held, samples = digitise(source), source.signal.shape[1]
    for row, lead in enumerate(source.leads):
        ours, theirs = read.signal[read.leads.index(lead)].astype(np.float64), source.signal[row].astype(np.float64)
        slack = held.steps_uv[row] / 2000 + 4 * np.spacing(np.float32(np.nanmax(np.abs(theirs), initial=0.1)))
        recorded = ~np.isnan(theirs)
        assert np.abs(ours[:samples] - theirs)[recorded].max(initial=0) <= slack
        assert not np.isnan(ours[:samples][recorded]).any()
        assert not ours[samples:].any()
    if suffix != ".edf":
        assert {k: read.metadata.get(k) for k in ("age", "sex")} == {k: source.metadata.get(k) for k in ("age", "sex")}


@pytest.mark.parametrize("name", NAMED)
def test_a_real_file_is_anonymised_with_the_same_samples(name: str, tmp_path: Path) -> None:
    source = real(name)
    path = anonymize(source, tmp_path / f"copy{source.suffix}")
    before, after = parsed(source), parsed(path)
    for kind in ("leads", "median_beats"):
        ours, theirs = getattr(after, kind) or [], getattr(before, kind) or []
        if name == "edf/test_generator_2.edf":  # its other signals are no ECG
            theirs = [lead for lead in theirs if lead.label == "ECG"]
        assert [lead.label for lead in ours] == [lead.label for lead in theirs]
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.samples, b.samples)
    data = path.read_bytes()
    for part in NAMED[name].split():
        for encoding in ("latin-1", "utf-16-le", "utf-16-be"):
            searched = data.lower() if len(part) > 4 else data  # short ones occur in samples in another case
            wanted = part.encode(encoding)
            assert (wanted.lower() if len(part) > 4 else wanted) not in searched, part
    if formats_can_read := name != "edf/test_generator_2.edf":
        original, copy = reading.read(source), reading.read(path)
        np.testing.assert_array_equal(copy.signal, original.signal)
    assert formats_can_read or source.suffix == ".edf"


REFUSED = (
    "aecg/empty.xml", "sierra/invalid-doc-type.xml", "sierra/invalid-doc-version.xml", "contec/0000050.ECG.csv",
    "contec/0000050.ECG.scp", "ishne/ECG_P28.01.ecg", "mfer/test-file.MWF", "wfdb/100.hea", "wfdb/100.dat",
)  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_real_file_that_cannot_be_anonymised_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(AnonymisationError, match=r"DICOM, GE MUSE XML, .* EDF can"):
        anonymize(real(name), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_real_file_without_ecg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnonymisationError, match="no channel that is labelled as ECG"):
        anonymize(real("edf/test_edfann.edf"), tmp_path / "copy.edf")


#: of the plants of a real file one in so many is tried; all of them take an hour
EVERY = int(os.environ.get("ECGPRISM_EVERY_REAL_PLANT", "151"))


@pytest.mark.parametrize("name", NAMED)
def test_no_plant_survives_in_a_real_file(name: str, tmp_path: Path) -> None:
    data = real(name).read_bytes()
    kind = {".dcm": "dicom", ".scp": "scp", ".edf": "edf"}.get(real(name).suffix, "xml")
    planted = islice(getattr(plants, kind)(data), 0, None, EVERY)
    made, refused, found, _ = surviving(planted, real(name).suffix, tmp_path)
    print(f"{name}: {made} plants, {refused} refused")
    assert found == []
    assert made > 0
