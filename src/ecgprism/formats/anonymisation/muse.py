"""GE MUSE XML written anew."""

from __future__ import annotations

import base64
import zlib
from xml.etree.ElementTree import Element

from ecgprism.formats.anonymisation import xml
from ecgprism.formats.anonymisation.content import (
    Channel,
    Copy,
    Filters,
    Source,
    channels_of,
    check_sums,
    filters_of,
    number_text,
    years,
)
from ecgprism.formats.anonymisation.xml import leaf, node

_UNITS = {"nV": "NANOVOLTS", "uV": "MICROVOLTS", "mV": "MILLIVOLTS", "V": "VOLTS"}
_GENDERS = {"M": "MALE", "F": "FEMALE", "U": "UNKNOWN"}


def copied(source: Source) -> Copy:
    """Return age, gender, filters and leads of a MUSE file, rhythm and median beat. A damaged one is refused."""
    record, age = source.record, years(source.record)
    check_sums(source)
    demographics = node(
        "PatientDemographics",
        leaf("PatientAge", age), leaf("AgeUnits", None if age is None else "YEARS"),
        leaf("Gender", _GENDERS.get(record.patient.sex)),
    )  # fmt: skip
    filters = filters_of(record)
    waveforms = [
        _waveform(kind, channels, filters)
        for kind, leads in (("Rhythm", record.leads), ("Median", record.median_beats))
        if (channels := channels_of(source, leads or []))
    ]
    return xml.copy(source, node("RestingECG", demographics, *waveforms))


def _waveform(kind: str, channels: list[Channel], filters: Filters) -> Element:
    highpass, lowpass, notch = filters.highpass_hz, filters.lowpass_hz, filters.notch_hz
    return node(
        "Waveform",
        leaf("WaveformType", kind),
        leaf("SampleType", "CONTINUOUS_SAMPLES"),
        leaf("SampleBase", number_text(channels[0].rate_hz)),
        leaf("SampleExponent", 0),
        leaf("HighPassFilter", None if highpass is None else round(100 * highpass)),  # in 0.01 Hz
        leaf("LowPassFilter", None if lowpass is None else number_text(lowpass)),
        leaf("ACFilter", "NONE" if notch is None else number_text(notch)),
        leaf("NumberofLeads", len(channels)),
        *map(_lead, channels),
    )


def _lead(channel: Channel) -> Element:
    text = xml.integers_text(channel.counts)
    data = base64.b64decode(text)
    return node(
        "LeadData",
        leaf("LeadByteCountTotal", len(data)),
        leaf("LeadSampleCountTotal", len(channel.counts)),
        leaf("LeadAmplitudeUnitsPerBit", number_text(channel.step)),
        leaf("LeadAmplitudeUnits", _UNITS.get(channel.unit)),
        leaf("LeadID", channel.label),
        leaf("LeadSampleSize", 2),
        leaf("LeadOff", "TRUE" if channel.is_off else "FALSE"),
        leaf("LeadDataCRC32", zlib.crc32(data)),
        leaf("WaveFormData", text),
    )
