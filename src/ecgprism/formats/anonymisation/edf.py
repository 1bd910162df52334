"""EDF and EDF+ written anew: a header of known words, the ECG channels, the times of the data records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.formats.anonymisation import secrets
from ecgprism.formats.anonymisation.content import (
    MICROVOLTS,
    SIXTEEN_BITS,
    Copy,
    Source,
    bounded,
    check_counts,
    check_rate,
    check_scale,
    label_is_known,
    number_text,
)
from ecgprism.formats.conversion import LIMIT, STEPS_UV

#: the fields of a signal and their widths, in the order of the header; each stands for all signals, then the next
FIELDS = {
    "label": 16, "transducer": 80, "dimension": 8, "physical_min": 8, "physical_max": 8, "digital_min": 8,
    "digital_max": 8, "prefilter": 80, "samples": 8, "reserved": 32,
}  # fmt: skip
ANNOTATIONS = "EDF Annotations"
_FIXED_BYTES = 256  # of the header's first part, and of the fields of one signal together
_DIMENSIONS = {"uv": "uV", "µv": "uV", "mv": "mV", "nv": "nV", "v": "V"}
_WORD = r"(ag|agcl|agagcl|silver|chloride|gold|cup|disc|gel|wet|dry|active|passive|adhesive|ecg|electrodes?)"
_TRANSDUCER = rf"{_WORD}([-/ ]+{_WORD})*"
_FILTERS = r"((hp|lp|n|bp|notch)[: ]*(dc|\d{1,3}(\.\d{1,3})?) ?(hz)?[ ,;]*)*"
_LONGEST_GAP_S = 7 * 24 * 3600
_OFF_CENTRE = 0.01  # of the range


@dataclass(frozen=True)
class Signal:
    """A signal of the header, its fields as texts, and where its samples lie in a data record."""

    fields: dict[str, str]
    samples: int
    start: int

    @property
    def label(self) -> str:
        """The name of the signal."""
        return self.fields["label"]


def copied(source: Source) -> Copy:
    """Return the ECG channels of an EDF, and the times of its data records."""
    data = source.data
    count, announced, duration_s = int(data[252:256]), int(data[236:244]), float(data[244:252])
    signals = _signals(data, count)
    width = sum(signal.samples for signal in signals)
    held = np.frombuffer(data[_FIXED_BYTES * (count + 1) :], "<i2", (len(data) - _FIXED_BYTES * (count + 1)) // 2)
    records = held[: len(held) // width * width].reshape(-1, width)
    if len(records) < max(announced, 1):
        raise source.refusal("it holds fewer data records than its header says")
    records = records[: announced if announced >= 0 else None]
    leads = [signal for signal in signals if label_is_known(signal.label)]
    if not leads:
        raise source.refusal("it has no channel that is labelled as ECG")
    clock = [signal for signal in signals if signal.label == ANNOTATIONS][:1] if data[192:196] == b"EDF+" else []
    is_continuous = data[192:197] != b"EDF+D"
    columns = [_fields(source, signal, duration_s) for signal in leads]
    blocks = []
    for signal in leads:
        block = records[:, signal.start : signal.start + signal.samples]
        check_counts(source, signal.label, block.ravel().astype(np.float64))
        blocks.append(block)
    for signal in clock:
        times = _times(records[:, signal.start : signal.start + signal.samples], duration_s, is_continuous)
        blocks.append(times.view("<i2"))
        ends = {"physical_min": "-1", "physical_max": "1", "digital_min": "-32768", "digital_max": "32767"}
        columns.append({"label": ANNOTATIONS, "samples": str(signal.samples), **ends})
    header = _header(columns, (b"EDF+C" if is_continuous else b"EDF+D") if clock else b"", len(records), duration_s)
    gone = len(signals) - len(leads) - len(clock)
    left_out = f"patient, recording, start and texts of annotations; {gone} signals that are no ECG"
    texts = secrets.words(data[8:168].decode("latin-1"))
    return Copy(header + np.hstack(blocks).tobytes(), header, texts, left_out)


def _signals(data: bytes, count: int) -> list[Signal]:
    columns: dict[str, list[str]] = {}
    at = _FIXED_BYTES
    for name, width in FIELDS.items():
        raw = [data[at + i * width : at + (i + 1) * width] for i in range(count)]
        columns[name] = [value.decode("latin-1").strip(" \0") for value in raw]
        at += count * width
    samples = [int(text) for text in columns["samples"]]
    starts = np.cumsum([0, *samples])
    return [
        Signal({name: texts[i] for name, texts in columns.items()}, samples[i], int(starts[i])) for i in range(count)
    ]


def _fields(source: Source, signal: Signal, duration_s: float) -> dict[str, str]:
    """Return the fields to write of a lead. Raises AnonymisationError where its numbers are none of an ECG."""
    label, found = signal.label, signal.fields
    dimension = _DIMENSIONS.get(found["dimension"].replace("μ", "µ").lower())
    names = ("physical_min", "physical_max", "digital_min", "digital_max")
    low, high, low_digital, high_digital = (float(found[name]) for name in names)
    if dimension is None:
        raise source.refusal(f"the unit of {label} is none of an ECG")
    if not (-SIXTEEN_BITS <= low_digital < high_digital < SIXTEEN_BITS) or low == high:
        raise source.refusal(f"the range of {label} is none of 16 bits")
    scale = MICROVOLTS[dimension]
    step_uv = (high - low) / (high_digital - low_digital) * scale
    check_scale(source, label, abs(step_uv), 0.0)
    if not _is_ordinary(low * scale, high * scale, low_digital, high_digital):
        raise source.refusal(f"the range of {label} is not one that a device or a program writes")
    if bounded(duration_s, 1e-3, 600) is None:
        raise source.refusal("its data records are not as long as those of an ECG")
    check_rate(source, label, signal.samples / duration_s)
    limits = {name: number_text(float(found[name])) for name in names}
    return {
        "label": label,
        "transducer": _kept(found["transducer"], _TRANSDUCER),
        "dimension": dimension,
        "prefilter": _kept(found["prefilter"], _FILTERS),
        "samples": str(signal.samples),
        **limits,
    }


def _is_ordinary(low_uv: float, high_uv: float, low_digital: float, high_digital: float) -> bool:
    """Return whether the ranges fit each other: 0 at the integer 0 or in the middle of n bits, or as `convert` does."""
    extent = abs(high_uv - low_uv)
    step_uv = (high_uv - low_uv) / (high_digital - low_digital)
    at_zero_uv = low_uv - step_uv * low_digital
    is_unsigned = low_digital == 0 and (high_digital + 1).is_integer() and (int(high_digital) + 1).bit_count() == 1
    is_centred = is_unsigned and abs(low_uv + high_uv) / 2 <= _OFF_CENTRE * extent
    ours = (low_digital, high_digital) == (-LIMIT, LIMIT) and round(step_uv, 6) in STEPS_UV
    return ours or is_centred or abs(at_zero_uv) <= _OFF_CENTRE * extent


def _kept(text: str, pattern: str) -> str:
    return text if re.fullmatch(pattern, text, re.IGNORECASE) else ""


def _times(block: NDArray[np.int16], duration_s: float, is_continuous: bool) -> NDArray[Any]:
    """Return annotations (N, samples) with nothing but the time of each data record.

    Raises ValueError where they go backwards, or leave a gap that no recording has.
    """
    found = [re.match(rb"[-+]\d+(\.\d*)?", row.tobytes()) for row in block]
    stated = [float(match[0]) if match else 0.0 for match in found]
    first = stated[0] % 1.0  # a fraction of a second after the start that the header tells
    onsets = first + (np.arange(len(stated)) * duration_s if is_continuous else np.array(stated) - stated[0])
    gaps = np.diff(stated) - duration_s
    if (gaps < -1e-3).any() or (gaps > (1e-3 if is_continuous else _LONGEST_GAP_S)).any():
        raise ValueError("the times of its data records are none of a recording")
    width = 2 * block.shape[1]
    times = [f"+{number_text(round(float(onset), 6))}".encode() + b"\x14\x14" for onset in onsets]
    if max(map(len, times)) > width:
        raise ValueError("the times of its data records have no room")
    return np.frombuffer(b"".join(time.ljust(width, b"\0") for time in times), np.uint8).reshape(-1, width)


def _header(columns: list[dict[str, str]], kind: bytes, records: int, duration_s: float) -> bytes:
    length = _FIXED_BYTES * (len(columns) + 1)
    parts = (
        ("0", 8), ("X X X X", 80), ("Startdate X X X X", 80), ("01.01.8500.00.00", 16), (str(length), 8),
        (kind.decode(), 44), (str(records), 8), (number_text(duration_s), 8), (str(len(columns)), 4),
        *((column.get(name, ""), width) for name, width in FIELDS.items() for column in columns),
    )  # fmt: skip
    for text, width in parts:
        if len(text) > width:
            raise ValueError(f"{text!r} does not fit into {width} characters of the header")
    return b"".join(text.encode("ascii").ljust(width) for text, width in parts)
