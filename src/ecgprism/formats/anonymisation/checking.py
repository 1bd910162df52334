"""A file parsed for anonymisation, and the check of a copy: the same ECG, and nobody in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ecgprism.ecg.leads import canonical_lead
from ecgprism.errors import ReadError, one_line
from ecgprism.extras import library, needs
from ecgprism.formats import reading
from ecgprism.formats.anonymisation import secrets
from ecgprism.formats.anonymisation.content import AnonymisationError, Copy, Source, label_is_known, years

KNOWN = "DICOM, GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG and EDF"


def parsed(path: Path) -> Any:
    """Return ecgdatakit's record of a file, its samples as the integers that are stored."""
    parsing = library("ecgdatakit.parsing", "anonymising", AnonymisationError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parsing.FileParser.parse(path, auto_scale=False)
    except ImportError as error:
        raise AnonymisationError(needs(f"{path}: anonymising", error.name or "ecgdatakit")) from None
    except Exception as error:  # the library wraps what its parsers stumble over, in kinds of its own
        raise AnonymisationError(f"{path}: not readable ({one_line(error)}); {KNOWN} can be anonymised") from None


def check(source: Source, path: Path, copy: Copy) -> None:
    """Raise AnonymisationError unless the file at `path` has the ECG of the source and nothing of the patient."""
    before, after = source.record, parsed(path)
    patient, is_edf = after.patient, before.file_format.parser == "EDFParser"
    if not _same_leads(before, after) or not _reads_alike(source.path, path):
        raise source.refusal("the copy has other samples")
    if not is_edf and (patient.age, patient.sex) != (years(before), before.patient.sex):
        raise source.refusal("the copy has another age or sex")
    if patient.patient_id not in ("", "X X X X") or patient.first_name or patient.last_name or patient.birth_date:
        raise source.refusal("the copy still names the patient")
    if found := secrets.count_found(copy.searched, copy.secrets | secrets.of_record(before)):
        raise source.refusal(f"{found} names, numbers or dates of the patient or the place still stand in the copy")


def _same_leads(before: Any, after: Any) -> bool:
    """Return whether the leads of two records are the same: names, rates, units, scales and every sample."""
    # channels of an EDF that are no leads are left out
    theirs, ours = (
        [lead for lead in (*record.leads, *(record.median_beats or ())) if label_is_known(lead.label)]
        for record in (before, after)
    )
    return len(ours) == len(theirs) and all(
        _name(a.label) == _name(b.label)
        and (a.sampling_rate, a.resolution, a.offset, a.resolution_unit)
        == (b.sampling_rate, b.resolution, b.offset, b.resolution_unit)
        and np.array_equal(a.samples, b.samples, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def _name(label: str) -> str:
    return canonical_lead(label) or label.casefold()


def _reads_alike(source: Path, copy: Path) -> bool:
    """Return whether this package reads the same ECG from both; True where it cannot read the source."""
    try:
        before = reading.read(source)
    except ReadError:
        return True
    after = reading.read(copy)
    # some readers take what stands behind an EDF's last data record for one; the lengths were compared before
    signal = before.signal[:, : after.signal.shape[1]]
    alike = (before.leads, before.rate_hz) == (after.leads, after.rate_hz)
    return alike and np.array_equal(signal, after.signal, equal_nan=True)
