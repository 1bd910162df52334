"""GE MUSE XML (restecg.dtd): leads of base64 integers, each with its counts, its step and a CRC-32 of its bytes."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgprism.ecg.recording import Recording
from ecgprism.errors import ReadError
from ecgprism.formats import datakit
from ecgprism.formats.contract import Declaration, assembled, damaged

TITLE = "GE MUSE XML"


def read(path: Path, declared: Declaration) -> Recording:
    """Read the rhythm of a file; the averaged beat is named as skipped. Raises ReadError with the reason."""
    root = datakit.xml(path, TITLE)
    parts = datakit.parsed(path, TITLE, "ge_muse_xml", "GEMuseXMLParser")
    details = damaged(path, declared, [f"{TITLE}: {fault}" for fault in (*parts.faults, *_sums(root))])
    rate_hz, channels, notes = _rate(path, root), [], list(parts.notes)
    skipped = [*datakit.medians(parts.record)]
    for lead in parts.record.leads:
        off = "LeadOff" in lead.annotations
        if off:
            notes.append(f"lead {lead.label} was off")
        if late := lead.annotations.get("LeadTimeOffset"):
            notes.append(f"lead {lead.label} has a LeadTimeOffset of {late[:20]}, of no known unit: left as it is")
        channel = datakit.stored(lead, rate_hz, connected=not off)
        if channel.unit:  # the step is part of what the file says of its unit
            channel = replace(channel, unit=f"{channel.gain:.12g}{channel.unit}", gain=1.0)
        channels.append(channel)
    for note in list(notes):
        if more := re.match(r"Additional (\w+) waveform", note):
            skipped.append(f"another {more[1]} waveform")
            notes.remove(note)
    parts = datakit.ParsedFile(parts.record)
    found = datakit.found(parts, channels, declared, skipped=skipped, notes=notes, details=details)
    return assembled(path, TITLE, found, declared)


def _sums(root: Any) -> list[str]:
    """Return the leads whose CRC is no number: the library verifies only those that are."""
    return [
        f"lead {datakit.text(lead, 'LeadID')} has the CRC {said[:20]!r}"
        for lead in root.iter("LeadData")
        if (said := datakit.text(lead, "LeadDataCRC32")) and not said.isdigit()
    ]


def _rate(path: Path, root: Any) -> float:
    """Return base times ten to the exponent of the first rhythm, as written."""
    for wave in root.findall("Waveform"):
        if datakit.text(wave, "WaveformType").lower() in ("", "rhythm"):
            base, exponent = (datakit.text(wave, name) for name in ("SampleBase", "SampleExponent"))
            try:
                rate_hz = float(f"{float(base.replace(',', '.'))!r}e{int(exponent or 0)}")
            except ValueError:
                rate_hz = math.nan
            if not (rate_hz > 0 and math.isfinite(rate_hz)):
                break
            return rate_hz
    raise ReadError(f"{path}: {TITLE} says no sampling rate of its rhythm")
