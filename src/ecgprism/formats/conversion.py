"""Recordings written as WFDB, EDF or DICOM waveform, whole or not at all.

Formats: https://wfdb.io/spec, https://www.edfplus.info/specs, DICOM PS3.3 A.34 and PS3.16 CID 3001.
"""

from __future__ import annotations

import importlib
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Annotation, Recording
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.files import atomic
from ecgprism.formats import reading
from ecgprism.formats.contract import Declared
from ecgprism.formats.wfdb import NOT_RECORDED, header_path

Note = Callable[[str], None]

#: what one integer may mean; every one divides 1 mV, so that a whole number of mV is a whole number of steps
STEPS_UV = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
LIMIT = 32_000  # integers used on either side of zero: physical ranges become short decimal numbers
MAX_MILLIVOLTS = 5000.0

#: PS3.16 CID 3001: the number in the coding scheme MDC (as `2:number`) and the meaning that belongs to it
MDC_LEADS = {
    "I": (1, "Lead I"), "II": (2, "Lead II"), "III": (61, "Lead III"), "aVR": (62, "aVR, augmented voltage, right"),
    "aVL": (63, "aVL, augmented voltage, left"), "aVF": (64, "aVF, augmented voltage, foot"),
    **{f"V{n}": (n + 2, f"Lead V{n}") for n in range(1, 8)}, "V8": (66, "Lead V8"), "V9": (67, "Lead V9"),
    **{f"V{n}R": (n + 8, f"Lead V{n}R") for n in range(3, 7)},
    "VX": (16, "Lead X"), "VY": (17, "Lead Y"), "VZ": (18, "Lead Z"),
}  # fmt: skip


class ConversionError(EcgprismError):
    """A recording that the wanted format cannot hold, with the reason and what can hold it."""


@dataclass(frozen=True)
class Digitised:
    """Integers (L, T) between -LIMIT and LIMIT, NOT_RECORDED for NaN; microvolts are offset + step * integer."""

    integers: NDArray[np.int16]
    steps_uv: tuple[float, ...]
    offsets_uv: tuple[int, ...]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    declared: Declared | None = None,
    lead_aliases: Mapping[str, str] | None = None,
    fill: bool = False,
    overwrite: bool = False,
    note: Note | None = None,
) -> Path:
    """Read a recording of any format and write it as the suffix of `target` says: .hea, .edf or .dcm.

    Every value comes back within half a step of the integers: 0.1 uV where the range of the lead allows it, at most
    1 uV unless the range demands more; nothing is clipped. What cannot go along (channels that are no leads; to EDF and
    DICOM, annotations) is said through `note`. With `fill`, EDF and DICOM get 0 mV where nothing was recorded, and EDF
    at the end where its records do not come out even; without, both are refused. Raises ConfigError for a target that
    cannot be, ReadError for the source, ConversionError for what the format cannot hold.
    """
    source, target = Path(source), Path(target)
    _writer(target)
    check_target(source, target, _files(target), overwrite)
    recording = reading.read_declared(source, (declared or Declared()).with_aliases(lead_aliases or {}))
    return write(recording, target, fill=fill, overwrite=overwrite, note=note)


def write(
    recording: Recording,
    target: str | Path,
    *,
    fill: bool = False,
    overwrite: bool = False,
    note: Note | None = None,
) -> Path:
    """Write a recording as the suffix of `target` says; see `convert`. Name and identity are never written."""
    target = Path(target)
    said: Note = note or (lambda _: None)
    writer = _writer(target)
    check_target(None, target, _files(target), overwrite)
    if recording.skipped:
        said(f"{target}: channels left out: {', '.join(recording.skipped)}")
    if recording.annotations and writer is not _write_wfdb:
        said(f"{target}: {len(recording.annotations)} annotations left out; only WFDB (.hea) takes them along")
    writer(recording, target, fill, said)
    return target


def check_target(source: Path | None, target: Path, files: Sequence[Path], overwrite: bool) -> None:
    """Raise ConfigError unless `files`, which make up the target, can be written without harm to anything."""
    sources = (source, header_path(source)) if source and target.exists() else ()
    if any(path.exists() and path.samefile(target) for path in sources):
        raise ConfigError(f"{target}: source and target are the same file")
    taken = [path for path in files if path.exists()]
    if taken and not overwrite:
        raise ConfigError(f"{taken[0]} exists already; choose another name, or overwrite it (--overwrite)")
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.parent} does not exist")


def library(name: str, purpose: str) -> Any:
    """Import a package that not everybody has, or say how to get it."""
    try:
        module: ModuleType = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConversionError(f"{purpose} needs the package {error.name}: pip install 'ecgprism[formats]'") from None
    return module


def digitise(recording: Recording) -> Digitised:
    """Choose for every lead the finest step that holds its range, and round."""
    integers = np.empty(recording.signal.shape, dtype=np.int16)
    steps, offsets = [], []
    for row, lead in enumerate(recording.leads):
        microvolts = recording.signal[row].astype(np.float64) * 1e3
        recorded = ~np.isnan(microvolts)
        low, high = (microvolts[recorded].min(), microvolts[recorded].max()) if recorded.any() else (0.0, 0.0)
        if max(-low, high) > MAX_MILLIVOLTS * 1e3:
            raise ConversionError(
                f"lead {lead} reaches {max(-low, high) / 1e3:g} mV; at most {MAX_MILLIVOLTS:g} mV can be written"
            )
        # An offset only where it spares digits: most readers are tested without one.
        offset = 0 if max(-low, high) <= LIMIT else round((low + high) / 2000) * 1000
        step = next(step for step in STEPS_UV if max(offset - low, high - offset) <= LIMIT * step)
        integers[row] = np.where(recorded, np.rint((np.nan_to_num(microvolts) - offset) / step), NOT_RECORDED)
        steps.append(step)
        offsets.append(offset)
    return Digitised(integers, tuple(steps), tuple(offsets))


def _writer(target: Path) -> Callable[[Recording, Path, bool, Note], None]:
    known = {".hea": _write_wfdb, ".edf": _write_edf, ".dcm": _write_dicom}
    if target.suffix.lower() not in known:
        raise ConfigError(
            f"{target}: the suffix {target.suffix!r} names no format to write; "
            "there are: .hea (WFDB), .edf (EDF), .dcm (DICOM waveform)"
        )
    if target.suffix.lower() == ".hea" and not re.fullmatch(r"[-\w]+", target.stem, re.ASCII):
        raise ConfigError(f"{target}: a WFDB record is named with letters, digits, - and _; not {target.stem!r}")
    return known[target.suffix.lower()]


def _files(target: Path) -> list[Path]:
    """Return every file that belongs to a target; that of the samples first, that which makes it one last."""
    return [target.with_suffix(s) for s in (".dat", ".atr")] + [target] if target.suffix == ".hea" else [target]


def _years(recording: Recording) -> float | None:
    age = recording.metadata.get("age")
    return float(age) if isinstance(age, int | float) and 0 <= age < 200 else None


def _sex(recording: Recording, letters: Mapping[str, str]) -> str:
    return letters.get(str(recording.metadata.get("sex", "")), "")


# WFDB


def _write_wfdb(recording: Recording, target: Path, fill: bool, note: Note) -> None:
    wfdb = library("wfdb", "writing WFDB")
    digitised, years = digitise(recording), _years(recording)
    sex = _sex(recording, {"male": "Male", "female": "Female"})
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
            comments=([] if years is None else [f"Age: {years:.10g}"]) + ([f"Sex: {sex}"] if sex else []),
            write_dir=str(made),
        )
        _write_annotations(wfdb, recording, made / target.stem, note)
        if target.suffix != ".hea":  # .HEA
            made.joinpath(f"{target.stem}.hea").rename(made / target.name)
        _publish(made, before, _files(target))


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


def _filled(recording: Recording, digitised: Digitised, target: Path, fill: bool, note: Note) -> NDArray[np.int16]:
    """Return integers (L, T) with 0 mV, or the nearest that the lead holds, where nothing was recorded.

    Raises ConversionError where there are gaps and `fill` does not allow it.
    """
    gaps = digitised.integers == NOT_RECORDED
    if not gaps.any():
        return digitised.integers
    lead = recording.leads[int(gaps.any(axis=1).argmax())]
    what = f"{int(gaps.sum())} samples were not recorded (the first ones in lead {lead})"
    if not fill:
        raise ConversionError(f"{target}: {what} and {target.suffix} cannot say so; write WFDB, or 0 mV with --fill")
    note(f"{target}: {what}; written as 0 mV")
    return np.where(gaps, _zeros(digitised), digitised.integers).astype(np.int16)


def _zeros(digitised: Digitised) -> NDArray[np.int64]:
    """Return the integers (L, 1) of 0 mV, or of what is nearest to it in the range of a lead far from zero."""
    zeros = [round(-o / step) for o, step in zip(digitised.offsets_uv, digitised.steps_uv, strict=True)]
    return np.clip(zeros, -LIMIT, LIMIT)[:, None]


# EDF


def _write_edf(recording: Recording, target: Path, fill: bool, note: Note) -> None:
    edfio = library("edfio", "writing EDF")
    digitised = digitise(recording)
    integers = _filled(recording, digitised, target, fill, note)
    samples, seconds = _edf_records(recording, target, fill)
    excess = -integers.shape[1] % samples
    if excess:
        note(f"{target}: {excess} samples of 0 mV added at the end, for EDF holds whole records only")
        integers = np.hstack([integers, np.repeat(_zeros(digitised), excess, axis=1)]).astype(np.int16)
    signals = [
        edfio.EdfSignal.from_digital(
            np.ascontiguousarray(integers[row]),
            float(samples / seconds),
            label=f"ECG {lead}",
            physical_dimension="uV",
            physical_range=(offset - LIMIT * step, offset + LIMIT * step),
            digital_range=(-LIMIT, LIMIT),
        )
        for row, (lead, step, offset) in enumerate(
            zip(recording.leads, digitised.steps_uv, digitised.offsets_uv, strict=True)
        )
    ]
    years = _years(recording)
    # EDF+ keeps sex, and of the age only the date of birth; its further subfields are free
    patient = edfio.Patient(
        sex=_sex(recording, {"male": "M", "female": "F"}) or "X",
        additional=() if years is None else (f"Age={years:.10g}",),
    )
    edf = edfio.Edf(signals, patient=patient, data_record_duration=float(seconds))
    with atomic(target) as path:
        edf.write(path)


def _edf_records(recording: Recording, target: Path, fill: bool) -> tuple[int, Fraction]:
    """Return samples and seconds of a data record: an exact rate, a duration of at most 8 characters, no remainder.

    Whole seconds where they come out even, as the specification recommends; else what is nearest to one second.
    """
    rate, held = Fraction(recording.rate_hz).limit_denominator(10_000), recording.signal.shape[1]
    if not math.isclose(rate, recording.rate_hz, rel_tol=1e-9):
        raise ConversionError(
            f"{target}: EDF cannot hold a rate of {recording.rate_hz!r} Hz exactly; write WFDB, or resample first"
        )
    # a duration is a decimal number: of the rate's numerator, all but the factors 2 and 5 must divide the samples
    odd = rate.numerator
    for prime in (2, 5):
        while odd % prime == 0:
            odd //= prime
    most = max(61_440 // (2 * len(recording.leads)), odd)  # the specification's limit of a record, in samples
    # filling up takes less than a second, or the recording would be another one
    lengths = range(-(-held // odd) * odd, held + math.ceil(rate), odd) if fill else [held]
    for length in lengths:
        fitting = [n for n in _divisors(length) if n % odd == 0 and _short(n / rate)]
        small = [n for n in fitting if n <= most] or fitting
        if small:
            samples = min(small, key=lambda n: ((n / rate).denominator != 1, abs(math.log(n / rate))))
            return samples, samples / rate
    raise ConversionError(
        f"{target}: {held} samples at {recording.rate_hz:g} Hz are no whole number of EDF records; "
        + ("write WFDB or DICOM" if fill else "write WFDB or DICOM, or 0 mV at the end with --fill")
    )


def _short(seconds: Fraction) -> bool:
    text = str(seconds.numerator) if seconds.denominator == 1 else str(float(seconds))
    return len(text) <= 8 and "e" not in text


def _divisors(n: int) -> list[int]:
    low = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return [*low, *(n // d for d in low)]


# DICOM


def _write_dicom(recording: Recording, target: Path, fill: bool, note: Note) -> None:
    pydicom = library("pydicom", "writing DICOM")
    sop_class, digitised, now = _sop_class(recording, target), digitise(recording), datetime.now()
    # Waveform Padding Value could mark gaps, but readers differ in what they take for padding
    integers = _filled(recording, digitised, target, fill, note)
    years = _years(recording)
    file = _dataset(
        pydicom,
        SOPClassUID=sop_class,
        SOPInstanceUID=pydicom.uid.generate_uid(prefix=None),
        StudyInstanceUID=pydicom.uid.generate_uid(prefix=None),
        SeriesInstanceUID=pydicom.uid.generate_uid(prefix=None),
        StudyDate="", StudyTime="", AccessionNumber="", ReferringPhysicianName="", StudyID="", SeriesNumber="1",
        InstanceNumber="1", Modality="ECG", Manufacturer="", SoftwareVersions="ecgprism",
        ContentDate=now.strftime("%Y%m%d"), ContentTime=now.strftime("%H%M%S"),
        # the standard wants a value; a recording need not tell when it was acquired
        AcquisitionDateTime=_dicom_time(recording.details.get("acquired", "")) or "19000101000000",
        AcquisitionContextSequence=[], PatientName="", PatientID="", PatientBirthDate="",
        PatientSex=_sex(recording, {"male": "M", "female": "F"}),
    )  # fmt: skip
    if years is not None:  # three digits and a unit
        file.PatientAge = f"{round(years):03d}Y" if years >= 2 else f"{round(years * 12):03d}M"
    for key, name, factor in (("height", "PatientSize", 0.01), ("weight", "PatientWeight", 1.0)):
        value = recording.metadata.get(key)
        if isinstance(value, int | float):
            setattr(file, name, f"{value * factor:.6g}")
    wave = _dataset(
        pydicom,
        MultiplexGroupTimeOffset="0", WaveformOriginality="ORIGINAL", MultiplexGroupLabel="RHYTHM",
        NumberOfWaveformChannels=len(recording.leads), NumberOfWaveformSamples=recording.signal.shape[1],
        SamplingFrequency=f"{recording.rate_hz:.14g}", WaveformBitsAllocated=16, WaveformSampleInterpretation="SS",
    )  # fmt: skip
    wave.ChannelDefinitionSequence = [
        _channel(pydicom, lead, step, offset)
        for lead, step, offset in zip(recording.leads, digitised.steps_uv, digitised.offsets_uv, strict=True)
    ]
    wave.add_new("WaveformData", "OW", integers.T.astype("<i2").tobytes())
    file.WaveformSequence = [wave]
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    with atomic(target) as path:
        file.save_as(path, enforce_file_format=True)


def _sop_class(recording: Recording, target: Path) -> str:
    """Return the storage class whose limits the recording keeps (PS3.3 A.34.3.4, A.34.4.4, A.34.5.4)."""
    rate_hz, samples, leads = recording.rate_hz, recording.signal.shape[1], recording.leads
    if 200 <= rate_hz <= 1000 and samples <= 16_384 and set(leads) == set(STANDARD_LEADS):
        return "1.2.840.10008.5.1.4.1.1.9.1.1"  # 12-lead ECG
    if 200 <= rate_hz <= 1000 and len(leads) <= 24:
        return "1.2.840.10008.5.1.4.1.1.9.1.2"  # general ECG
    if 50 <= rate_hz <= 1000 and len(leads) <= 12:
        return "1.2.840.10008.5.1.4.1.1.9.1.3"  # ambulatory ECG
    raise ConversionError(
        f"{target}: no DICOM ECG holds {len(leads)} leads at {rate_hz:g} Hz; up to 24 leads at 200 to 1000 Hz, or 12 "
        "leads at 50 to 1000 Hz; write WFDB or EDF, or resample first"
    )


def _channel(pydicom: Any, lead: str, step_uv: float, offset_uv: int) -> Any:
    number, meaning = MDC_LEADS[lead]
    return _dataset(
        pydicom,
        ChannelLabel=lead,
        ChannelSourceSequence=[coded(pydicom, f"2:{number}", "MDC", meaning)],
        ChannelSensitivity=f"{step_uv:g}",
        ChannelSensitivityUnitsSequence=[coded(pydicom, "uV", "UCUM", "microvolt")],
        ChannelSensitivityCorrectionFactor="1",
        ChannelBaseline=str(offset_uv),
        ChannelSampleSkew="0",
        WaveformBitsStored=16,
    )


def coded(pydicom: Any, value: str, scheme: str, meaning: str) -> Any:
    """Return an item of a code sequence."""
    return _dataset(pydicom, CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _dataset(pydicom: Any, **elements: object) -> Any:
    dataset = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _dicom_time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y%m%d%H%M%S")
    except ValueError:
        return ""
