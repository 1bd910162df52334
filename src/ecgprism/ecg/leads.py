"""Leads: their canonical names and order, and how files spell them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

#: the twelve standard leads in their standard order, then the further leads that this package knows
STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
FURTHER_LEADS = ("V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R", "VX", "VY", "VZ")
LEADS = STANDARD_LEADS + FURTHER_LEADS
LONGEST_NAME = 100
_BY_SPELLING = {
    **{lead.lower(): lead for lead in LEADS},
    **{f"{prefix}{lead.lower()}": lead for prefix in ("ml", "d") for lead in LEADS[:3]},  # modified; Spanish, French
    **{f"d{number}": lead for number, lead in enumerate(LEADS[:3], start=1)},
    **{f"m{lead.lower()}": lead for lead in STANDARD_LEADS[6:]},  # modified: MV2
}
#: a bare X is many things (an accelerometer's axis); behind a word that says ECG it is Frank's lead
_FRANK = {"x": "VX", "y": "VY", "z": "VZ"}
_PREFIX = re.compile(r"^(?:mdc_ecg_(?:lead|elec_potl)_|e[ck]g[ _-]?|lead[ _-]?)+")


def canonical_lead(name: str, aliases: Mapping[str, str] | None = None) -> str | None:
    """Return the canonical name of a lead as a file spells it (`avr`, `ECG II`, `MLII`), or None if it is no lead.

    `aliases` maps further spellings to canonical names, as a data set declares them (`{"ECG": "I"}`).
    """
    if len(name) > LONGEST_NAME:
        return None
    spelling = name.strip(" \t\r\n\x00\xa0")
    if aliases and spelling in aliases:
        return aliases[spelling]
    return _known(spelling)


@lru_cache(maxsize=1024)
def _known(spelling: str) -> str | None:
    lowered = spelling.lower()
    rest = _PREFIX.sub("", lowered)
    for reference in ("-ref", "_ref", " ref"):
        rest = rest.removesuffix(reference)
    return _BY_SPELLING.get(rest) or (_FRANK.get(rest) if rest != lowered else None)


def lead_order(leads: set[str]) -> tuple[str, ...]:
    """Return leads in the canonical order."""
    return tuple(lead for lead in LEADS if lead in leads)
