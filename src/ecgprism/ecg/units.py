"""Units of voltage."""

from __future__ import annotations

import math
import re
from functools import lru_cache

# µ and μ are two characters, âµ and î¼ the same in UTF-8 that was read as Latin-1; mc is HealthKit's
_PREFIXES = {
    **{"": 1e3, "m": 1.0, "milli": 1.0, "n": 1e-6, "nano": 1e-6},
    **dict.fromkeys(("u", "µ", "μ", "âµ", "î¼", "micro", "mc"), 1e-3),
}
#: volts -> millivolts and so on: what a file may give as unit
MILLIVOLTS_PER_UNIT = {prefix + name: factor for prefix, factor in _PREFIXES.items() for name in ("v", "volt", "volts")}
LONGEST_UNIT = 100


def millivolts(unit: str) -> float | None:
    """Return how many millivolts one `unit` is (`mV`, `microvolt`; `5uV`: steps of so much), or None if it is none."""
    return _millivolts(unit) if len(unit) <= LONGEST_UNIT else None


@lru_cache(maxsize=256)
def _millivolts(unit: str) -> float | None:
    step = re.fullmatch(r"([\d.]*)\s*(\S*)", unit.strip(" \t\r\n\x00"))
    factor = MILLIVOLTS_PER_UNIT.get(step[2].lower()) if step else None
    if factor is None or not step or not step[1]:
        return factor
    try:
        factor *= float(step[1])
    except ValueError:
        return None
    return factor if factor > 0 and math.isfinite(factor) else None
