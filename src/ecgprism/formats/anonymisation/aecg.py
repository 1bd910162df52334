"""HL7 aECG written anew: new identifiers, and times counted from a day that says nothing."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element

from ecgprism.formats.anonymisation import xml
from ecgprism.formats.anonymisation.content import (
    DUMMY,
    Channel,
    Copy,
    Filters,
    Source,
    channels_of,
    filters_of,
    is_round,
    number_text,
    years,
)
from ecgprism.formats.anonymisation.xml import node

_MDC, _ACT, _CPT, _LOINC = (f"2.16.840.1.113883.{n}" for n in ("6.24", "5.4", "6.12", "6.1"))
_GENDER = "2.16.840.1.113883.5.1"
_INCREMENT_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_LONGEST = timedelta(days=1)  # a time later than that is not one of this recording


def copied(source: Source) -> Copy:
    """Return age, gender, filters, order of times and leads of an aECG, rhythm and representative beat."""
    record = source.record
    rhythm, beats = channels_of(source, record.leads), channels_of(source, record.median_beats or [])
    times = _times(xml.original(source), rhythm)
    identifiers = _Identifiers(source)
    series = [identifiers.new(), _code("RHYTHM", _ACT), _interval(times, rhythm), *_controls(filters_of(record))]
    series.append(_sequences("TIME_ABSOLUTE", times["head"], source, "rhythm_time", rhythm))
    if beats:
        derived = [identifiers.new(), _code("REPRESENTATIVE_BEAT", _ACT)]
        derived.append(_sequences("TIME_RELATIVE", "0", source, "median_time", beats))
        series.append(node("derivation", node("derivedSeries", *derived)))
    root = node(
        "AnnotatedECG",
        identifiers.new(),
        _code("93000", _CPT),
        node("effectiveTime", node("center", value=times["center"])),
        _subject(record),
        _age(record),
        node("component", node("series", *series)),
        xmlns="urn:hl7-org:v3", xmlns_xsi="http://www.w3.org/2001/XMLSchema-instance", type="Observation",
    )  # fmt: skip
    return xml.copy(source, root)


class _Identifiers:
    """New identifiers of a document, in their order."""

    def __init__(self, source: Source) -> None:
        self.source, self.count = source, 0

    def new(self) -> Element:
        original = f"{self.source.record.raw_metadata['document_id']} {self.count}"
        self.count += 1
        return node("id", root=str(uuid.UUID(bytes=self.source.replacement(original))))


def _code(code: str, system: str) -> Element:
    return node("code", code=code, codeSystem=system)


def _quantity(value: str, unit: str) -> Element:
    return node("value", value=value, unit=unit, xsi_type="PQ")


def _subject(record: Any) -> Element:
    """Return the subject, without identity, of a trial without identity."""
    sex = record.patient.sex
    gender = node("administrativeGenderCode", code="UN" if sex == "U" else sex, codeSystem=_GENDER) if sex else None
    person = node("subjectDemographicPerson", gender)
    subject = node("subject", node("trialSubject", node("id", nullFlavor="MSK"), person))
    trial = node("componentOf", node("clinicalTrial", node("id", nullFlavor="MSK")))
    assignment = node("subjectAssignment", subject, trial)
    return node("componentOf", node("timepointEvent", node("componentOf", assignment)))


def _age(record: Any) -> Element | None:
    age = years(record)
    if age is None:
        return None
    return node("controlVariable", node("relatedObservation", _code("21612-7", _LOINC), _quantity(str(age), "a")))


def _times(root: Element, channels: list[Channel]) -> dict[str, str]:
    """Return center, low, high and head, counted from DUMMY: the first of them; what lies days apart is DUMMY too."""
    places = {"center": "effectiveTime/center", "low": ".//series/effectiveTime/low", "head": ".//series//head"}
    found = {name: root.find(path) for name, path in places.items()}
    stamps = {name: _timestamp("" if e is None else e.get("value", "")) for name, e in found.items()}
    first = min((stamp for stamp in stamps.values() if stamp), default=DUMMY)
    after = {
        name: stamp - first if stamp and stamp - first < _LONGEST else timedelta() for name, stamp in stamps.items()
    }
    after["high"] = after["low"] + timedelta(seconds=len(channels[0].counts) / channels[0].rate_hz)
    return {name: f"{DUMMY + distance:%Y%m%d%H%M%S.%f}" for name, distance in after.items()}


def _timestamp(text: str) -> datetime | None:
    match = re.fullmatch(r"(\d{8,14})(\.\d+)?([-+]\d{4})?", text)
    return datetime.strptime(match[1].ljust(14, "0") + (match[2] or ".0")[:7], "%Y%m%d%H%M%S.%f") if match else None


def _interval(times: dict[str, str], channels: list[Channel]) -> Element:
    return node("effectiveTime", node("low", value=times["low"], inclusive="true"), node("high", value=times["high"]))


def _controls(filters: Filters) -> list[Element]:
    kinds = (
        ("LOW_PASS", "CUTOFF_FREQ", filters.lowpass_hz), ("HIGH_PASS", "CUTOFF_FREQ", filters.highpass_hz),
        ("NOTCH", "NOTCH_FREQ", filters.notch_hz),
    )  # fmt: skip
    controls = []
    for kind, quantity, hz in kinds:
        if hz is not None:
            limit = _code(f"MDC_ECG_CTL_VBL_ATTR_FILTER_{quantity}", _MDC)
            control = node("controlVariable", limit, _quantity(number_text(hz), "Hz"))
            kind_code = _code(f"MDC_ECG_CTL_VBL_ATTR_FILTER_{kind}", _MDC)
            inner = node("controlVariable", kind_code, node("component", control))
            controls.append(node("controlVariable", inner))
    return controls


def _sequences(code: str, head: str, source: Source, kind: str, channels: list[Channel]) -> Element:
    """Return a set of sequences: the time, then one a lead."""
    time = source.record.raw_metadata[kind]
    unit = time["increment_unit"].replace("µ", "u")
    increment = float(time["increment"])
    rate_hz = 1 / (increment * _INCREMENT_UNITS_S[unit])
    if round(rate_hz) != channels[0].rate_hz or not (abs(rate_hz - round(rate_hz)) < 1e-3 or is_round(increment)):
        raise source.refusal("its time increment is none of an ECG")
    relative = {"unit": "s"} if code == "TIME_RELATIVE" else {}
    clock = node(
        "value",
        node("head", value=head, **relative),
        node("increment", value=number_text(increment), unit=unit),
        xsi_type="GLIST_PQ" if relative else "GLIST_TS",
    )
    times = node("component", node("sequence", _code(code, _ACT), clock))
    return node("component", node("sequenceSet", times, *map(_sequence, channels)))


def _sequence(channel: Channel) -> Element:
    label = channel.label.upper().replace("-AVR", "AVRNEG")
    unit = channel.unit or None
    value = node(
        "value",
        node("origin", value=number_text(channel.offset), unit=unit),
        node("scale", value=number_text(channel.step), unit=unit),
        node("digits", text=" ".join(map(number_text, channel.counts))),
        xsi_type="SLIST_PQ",
    )
    return node("component", node("sequence", _code(f"MDC_ECG_LEAD_{label}", _MDC), value))
