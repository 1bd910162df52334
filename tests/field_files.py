"""Made files of the kinds that people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings

from ecgprism.ecg.recording import Recording

RATE_HZ = 200


quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def beats(samples: int, height: float = 1.0, rate_hz: float = RATE_HZ) -> np.ndarray:
    """A spike of so many mV each second."""
    at = np.arange(samples) / rate_hz % 1.0
    return height * np.exp(-(((at - 0.5) / 0.02) ** 2))


def edf(
    signals: list[tuple[str, np.ndarray]],
    *,
    unit: bytes = b"uV",
    per_record: int = RATE_HZ,
    duration: str = "1",
    onsets: list[float] | None = None,
    texts: dict[int, bytes] | None = None,
    kind: bytes = b"",
    records: int | None = None,
    physical: dict[str, tuple[str, str]] | None = None,
    per_signal: dict[str, int] | None = None,
    patient: bytes = b"X X X X",
    bdf: bool = False,
) -> bytes:
    """Write an EDF (or BDF) file byte by byte: values in mV, steps of 0.1 uV."""
    width = 3 if bdf else 2
    counts = {name: (per_signal or {}).get(name, per_record) for name, _ in signals}
    n = len(signals[0][1]) // counts[signals[0][0]]
    names = [name.encode("latin-1") for name, _ in signals] + ([b"EDF Annotations"] if onsets is not None else [])
    steps = 2**23 if bdf else 2**15

    def fields(values: list[bytes], size: int) -> bytes:
        return b"".join(value.ljust(size)[:size] for value in values)

    usual = ("-800000", "800000") if bdf else ("-3276.8", "3276.7")
    step = (float(usual[1]) - float(usual[0])) / (2 * steps - 1)
    ranges = [(physical or {}).get(name, usual) for name, _ in signals]
    ranges += [("-1", "1")] * (len(names) - len(signals))
    sizes = [counts[name] for name, _ in signals] + [40] * (len(names) - len(signals))
    head = (b"\xffBIOSEMI" if bdf else b"0".ljust(8)) + patient.ljust(80) + b"Startdate X X X X".ljust(80)
    head += b"01.01.0100.00.00" + str(256 * (len(names) + 1)).encode().ljust(8) + kind.ljust(44)
    head += str(n if records is None else records).encode().ljust(8) + duration.encode().ljust(8)
    head += str(len(names)).encode().ljust(4) + fields(names, 16) + fields([b""] * len(names), 80)
    head += fields([unit] * len(names), 8) + fields([low.encode() for low, _ in ranges], 8)
    head += fields([high.encode() for _, high in ranges], 8) + fields([str(-steps).encode()] * len(names), 8)
    head += fields([str(steps - 1).encode()] * len(names), 8) + fields([b""] * len(names), 80)
    head += fields([str(size).encode() for size in sizes], 8) + fields([b""] * len(names), 32)
    body = b""
    for record in range(n):
        for name, values in signals:
            part = values[record * counts[name] : (record + 1) * counts[name]] * 1e3 - float(usual[0])
            part = np.round(part / step - steps).astype("<i4")
            body += part.astype("<i2").tobytes() if not bdf else part.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        if onsets is not None:
            said = f"+{onsets[record]:.9g}".encode() + b"\x14\x14\x00" + (texts or {}).get(record, b"")
            body += said.ljust(40 * width, b"\x00")
    return head + body


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def peak(recording: Recording, lead: str) -> float:
    return float(np.nanmax(recording.signal[recording.leads.index(lead)]))


def lines(rows: np.ndarray, delimiter: str = ",", decimal: str = ".") -> list[str]:
    return [delimiter.join(f"{value:.4f}".replace(".", decimal) for value in row) for row in rows]
