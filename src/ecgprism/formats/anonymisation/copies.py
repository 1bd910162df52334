"""Copies of ECG files without the patient: written anew from what may stay, then read again and checked.

DICOM PS3.15 annex E (Basic Profile with Retain Patient Characteristics), GE MUSE and Philips Sierra XML, HL7 aECG,
SCP-ECG (EN 1064), EDF and EDF+. Sex and age stay (not in EDF), the age as 90 above 89.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecgprism.errors import EcgprismError, one_line, warn
from ecgprism.files import atomic
from ecgprism.formats.anonymisation import aecg, dicom, edf, muse, scp, sierra
from ecgprism.formats.anonymisation.checking import KNOWN, check, parsed
from ecgprism.formats.anonymisation.content import AnonymisationError, Copy, Source
from ecgprism.formats.conversion import Note, check_target

#: by ecgdatakit's parser
WRITERS: dict[str, Callable[[Source], Copy]] = {
    "DICOMWaveformParser": dicom.copied,
    "GEMuseXMLParser": muse.copied,
    "SierraXMLParser": sierra.copied,
    "HL7aECGParser": aecg.copied,
    "SCPECGParser": scp.copied,
    "EDFParser": edf.copied,
}
NOT_COVERED = (
    "the heartbeat itself can identify a person to who has another ECG of the same; a rare diagnosis, age and sex "
    "together may; a number that could be a measurement is not told from one of a person. A person must review the copy"
)


def anonymize(
    source: str | Path, target: str | Path, *, key: str = "", overwrite: bool = False, note: Note | None = warn
) -> Path:
    """Write a copy of an ECG file without what identifies the patient or the people and places of the recording.

    The format stays; the copy holds samples, leads, filters, sex and age (not in EDF), of DICOM also measurements of
    known codes, and nothing else: dates are replaced by 1900-01-01 (EDF: 1985), texts and devices go. Identifiers of
    DICOM and aECG become others, the same for the same original and `key`, so that the files of a study stay together;
    without a secret `key`, who has the originals can find them out. The copy is read again: it must have the samples,
    age and sex of the source, and none of its names, numbers and dates. Raises AnonymisationError where that is not
    so, for a value that is none of an ECG, or for another format, and leaves nothing behind; ConfigError for a target
    that cannot be. `target` is the caller's: its name must not tell the patient either. `note` is told what was left
    out and what no program can promise (NOT_COVERED): a warning, unless it is another one.
    """
    source, target = Path(source), Path(target)
    check_target(source, target, [target], overwrite)
    record = parsed(source)
    name, write = record.file_format.name, WRITERS.get(record.file_format.parser)
    if write is None:
        raise AnonymisationError(
            f"{source}: {name} cannot be anonymised; {KNOWN} can. `ecgprism convert` it to .edf, which leaves names, "
            "numbers, dates and notes out (.hea takes notes along), and anonymize that"
        )
    file = Source(source, source.read_bytes(), record, key.encode())
    try:
        copy = write(file)
    except EcgprismError:
        raise
    except Exception as error:  # pydicom has kinds of its own for values that are none, and bytes go into many hands
        raise AnonymisationError(f"{source}: damaged {name} ({one_line(error)})") from None
    with atomic(target) as path:
        path.write_bytes(copy.data)
        check(file, path, copy)
    if note:
        note(f"{target}: left out: {copy.left_out}")
        note(f"{target}: not covered: {NOT_COVERED}")
    return target
