"""WFDB: header, signal file and annotations, all of them or none. Format: https://wfdb.io/spec."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.formats.writing.contract import ConversionError, Note, age_years, digitise, moment, spelled_sex

KEPT = ("acquired", "damaged", "truncated")  # details that go along


def write(recording: Recording, target: Path, fill: bool, note: Note) -> None:
    """Write header, signal file and, where there are any, annotations: gaps are kept, names are not written."""
    import wfdb  # noqa: PLC0415  (slow to load)

    digitised, acquired = digitise(recording), moment(recording) if _has_clock(recording) else None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.") as folder:
        made, before = Path(folder, "made"), Path(folder, "before")
        made.mkdir()
        before.mkdir()
        wfdb.wrsamp(
            target.stem,
            fs=recording.rate_hz,
            units=["mV"] * len(recording.leads),
            sig_name=list(recording.leads),
            d_signal=digitised.integers.T.astype(np.int64),
            fmt=["16"] * len(recording.leads),
            adc_gain=[1000 / step for step in digitised.steps_uv],
            baseline=[round(-o / step) for o, step in zip(digitised.offsets_uv, digitised.steps_uv, strict=True)],
            comments=_comments(recording),
            base_date=acquired.date() if acquired else None,
            base_time=acquired.time().replace(microsecond=0) if acquired else None,
            write_dir=str(made),
        )
        header = wfdb.rdheader(str(made / target.stem))
        if header.fs != recording.rate_hz:
            raise ConversionError(
                f"{target}: WFDB cannot hold a rate of {recording.rate_hz!r} Hz exactly; resample first"
            )
        _write_annotations(wfdb, recording, made / target.stem, note)
        if target.suffix != ".hea":  # .HEA
            made.joinpath(f"{target.stem}.hea").rename(made / target.name)
        _publish(made, before, files(target))


def _comments(recording: Recording) -> list[str]:
    """Return age and sex as readers of WFDB find them, the zone of the time, and that a recording is damaged."""
    years, sex = age_years(recording), spelled_sex(recording, {"male": "Male", "female": "Female"})
    acquired = moment(recording)
    said = {
        "Age": "" if years is None else f"{years:.10g}",
        "Sex": sex,
        "Time zone": f"{acquired:%z}" if acquired else "",
        "Acquired": f"{acquired:%Y-%m-%d}" if acquired and not _has_clock(recording) else "",  # no date without a time
        **{key.capitalize(): recording.details.get(key, "") for key in ("damaged", "truncated")},
    }
    return [
        " ".join(f"{key}: {text}".encode("ascii", "replace").decode().split()) for key, text in said.items() if text
    ]


def _has_clock(recording: Recording) -> bool:
    return len(recording.details.get("acquired", "")) > len("2020-01-01")


def _write_annotations(wfdb: Any, recording: Recording, record: Path, note: Note) -> None:
    held = sorted((a for a in recording.annotations if 0 <= a.at_s < recording.duration_s), key=lambda a: a.at_s)
    if len(held) < len(recording.annotations):
        note(f"{record.name}: {len(recording.annotations) - len(held)} annotations lie outside the signal, left out")
    if not held:
        return
    if any(a.stop_s is not None for a in held):
        note(f"{record.name}: WFDB annotations have no end; the ends of {sum(a.stop_s is not None for a in held)} lost")
    known = {label.symbol for label in wfdb.io.annotation.ann_labels}
    symbols, notes = zip(*(_annotation(a, known) for a in held), strict=True)
    samples = np.array([min(round(a.at_s * recording.rate_hz), recording.signal.shape[1] - 1) for a in held])
    wfdb.wrann(record.name, "atr", samples, list(symbols), aux_note=list(notes), write_dir=str(record.parent))


def _annotation(annotation: Annotation, known: set[str]) -> tuple[str, str]:
    """Return symbol and note as WFDB takes them: `+` with a rhythm in brackets, a quote with any other text."""
    text = annotation.note.encode("ascii", "replace").decode()[:250]
    if annotation.symbol in known:
        return annotation.symbol, text
    if text.startswith("(") and not annotation.symbol:
        return "+", text
    return '"', f"{annotation.symbol} {text}".strip().encode("ascii", "replace").decode()[:250]


def _publish(made: Path, before: Path, files: Sequence[Path]) -> None:
    """Move files into place, all of them or none; what is there already is put aside into `before` for that time."""
    touched = []
    try:
        for file in files:
            touched.append(file)
            if file.exists():
                file.replace(before / file.name)
            if (made / file.name).exists():
                (made / file.name).replace(file)
    except BaseException:
        for file in touched:
            if (before / file.name).exists():
                (before / file.name).replace(file)
            elif not (made / file.name).exists():
                file.unlink(missing_ok=True)
        raise


def files(target: Path) -> list[Path]:
    """Return every file that belongs to a target; that of the samples first, that which makes it one last."""
    return [target.with_suffix(s) for s in (".dat", ".atr")] + [target] if target.suffix == ".hea" else [target]
