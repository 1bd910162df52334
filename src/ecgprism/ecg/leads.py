"""Leads: their canonical names and order, and how files spell them."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: the twelve standard leads in their standard order, then the further leads that this package knows
STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
FURTHER_LEADS = ("V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R", "VX", "VY", "VZ")
LEADS = STANDARD_LEADS + FURTHER_LEADS
_BY_SPELLING = {lead.lower(): lead for lead in LEADS} | {f"ml{lead.lower()}": lead for lead in LEADS[:3]}


def canonical_lead(name: str, aliases: Mapping[str, str] | None = None) -> str | None:
    """Return the canonical name of a lead as a file spells it (`avr`, `ECG II`, `MLII`), or None if it is no lead.

    `aliases` maps further spellings to canonical names, as a data set declares them (`{"ECG": "I"}`).
    """
    spelling = name.strip()
    if aliases and spelling in aliases:
        return aliases[spelling]
    return _BY_SPELLING.get(re.sub(r"^(mdc_ecg_lead_|ecg[ _-]?|lead[ _-]?)", "", spelling.lower()))


def lead_order(leads: set[str]) -> tuple[str, ...]:
    """Return leads in the canonical order."""
    return tuple(lead for lead in LEADS if lead in leads)
