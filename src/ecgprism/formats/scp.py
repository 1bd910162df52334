"""SCP-ECG whose section 3 announces more samples than section 6 can hold (Contec devices write such files).

EN 1064:2020, section 6: 6 bytes of calibration (AVM in nV, sample interval in us, encoding, bimodal flag), one 16-bit
byte length per lead, then the samples: at most 32,767 of a lead. What is there is read, and what is missing is said.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ecgprism.errors import ReadError
from ecgprism.formats.contract import Channel, Found

_LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
_LONGEST = 65_534  # bytes of a lead, the largest even length that fits


def truncated(path: Path) -> Found:
    """Return the leads of an uncompressed SCP file that ran over. Raises ReadError when it is no such file."""
    data = path.read_bytes()
    try:
        sections = _sections(data)
        leads_at, rhythm_at = sections[3], sections[6]
        n_leads, flags = data[leads_at[0] + 16], data[leads_at[0] + 17]
        names, spans = [], []
        for k in range(n_leads):
            first, last, code = struct.unpack_from("<IIB", data, leads_at[0] + 18 + 9 * k)
            names.append(_LEADS.get(code, f"SCP lead {code}"))
            spans.append(last - first + 1)
        body = rhythm_at[0] + 16
        avm_nv, interval_us, encoding, bimodal = struct.unpack_from("<HHBB", data, body)
        lengths = struct.unpack_from(f"<{n_leads}H", data, body + 6)
    except (struct.error, IndexError, KeyError) as error:
        raise ReadError(f"{path}: no valid SCP-ECG ({error})") from None
    if encoding or bimodal or flags & 1 or not n_leads or not avm_nv or not interval_us:
        raise ReadError(f"{path}: no valid SCP-ECG (it announces more samples than it holds)")
    samples, start = _LONGEST // 2, body + 6 + 2 * n_leads
    if set(lengths) != {_LONGEST} or len(set(spans)) != 1 or start + n_leads * _LONGEST > rhythm_at[0] + rhythm_at[1]:
        raise ReadError(f"{path}: no valid SCP-ECG (section 6 does not hold the {spans[0]} samples of section 3)")
    values = np.frombuffer(data, "<i2", samples * n_leads, start).reshape(n_leads, samples)
    channels = [
        Channel(name, row * (avm_nv / 1e3), "uV", 1e6 / interval_us) for name, row in zip(names, values, strict=True)
    ]
    return Found(channels, details={"truncated": f"{samples} of {spans[0]} samples: the format holds no more"})


def _sections(data: bytes) -> dict[int, tuple[int, int]]:
    """Return offset and length of every section from the pointers of section 0."""
    n_bytes = struct.unpack_from("<I", data, 6 + 4)[0]
    out = {}
    for at in range(6 + 16, 6 + n_bytes - 9, 10):
        number, length, index = struct.unpack_from("<HII", data, at)
        if length and 0 < index <= len(data) and index - 1 + length <= len(data):
            out[number] = (index - 1, length)
    return out
