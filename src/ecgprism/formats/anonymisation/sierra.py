"""Philips Sierra XML written anew: the samples uncompressed, so that nothing hides behind their end."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from ecgprism.formats.anonymisation import xml
from ecgprism.formats.anonymisation.content import (
    Channel,
    Copy,
    Filters,
    Source,
    channels_of,
    filters_of,
    number_text,
    years,
)
from ecgprism.formats.anonymisation.xml import leaf, node

_VERSIONS = ("1.03", "1.04", "1.04.01", "1.04.02")
_SEXES = {"M": "Male", "F": "Female", "U": "Unknown"}


def copied(source: Source) -> Copy:
    """Return age, sex, filters and leads of a Sierra file, rhythm and representative beats."""
    record = source.record
    rhythm, beats = channels_of(source, record.leads), channels_of(source, record.median_beats or [])
    version, kind = record.file_format.version, record.raw_metadata.get("document_type")
    root = node(
        "restingecgdata",
        node(
            "documentinfo",
            leaf("documenttype", kind if kind in ("SierraECG", "PhilipsECG") else "SierraECG"),
            leaf("documentversion", version if version in _VERSIONS else _VERSIONS[0]),
        ),
        node("dataacquisition", _signal(rhythm, filters_of(record))),
        node(
            "patient",
            node(
                "generalpatientdata", node("age", leaf("years", years(record))),
                leaf("sex", _SEXES.get(record.patient.sex)),
            ),
        ),
        node("waveforms", _rhythm(rhythm), _beats(beats) if beats else None),
        xmlns="http://www3.medical.philips.com",
    )  # fmt: skip
    return xml.copy(source, root)


def _signal(channels: list[Channel], filters: Filters) -> Element:
    texts = {
        name: None if hz is None else number_text(hz)
        for name, hz in (
            ("hipass", filters.highpass_hz), ("lowpass", filters.lowpass_hz), ("notchfilterfreqs", filters.notch_hz)
        )
    }  # fmt: skip
    return node(
        "signalcharacteristics",
        leaf("samplingrate", number_text(channels[0].rate_hz)),
        leaf("resolution", _step(channels)),
        *(leaf(name, text) for name, text in texts.items()),
        leaf("notchfiltered", filters.notch_hz is not None),
        leaf("bitspersample", 16),
        leaf("signaloffset", _zero(channels)),
        leaf("signalsigned", True),
        leaf("numberchannelsallocated", len(channels)),
    )


def _rhythm(channels: list[Channel]) -> Element:
    first = channels[0]
    return node(
        "parsedwaveforms",
        text=xml.integers_text(np.concatenate([channel.counts for channel in channels])),
        dataencoding="Base64", compression="Uncompressed", nbitspersample="16",
        numberofleads=str(len(channels)), leadlabels=" ".join(channel.label for channel in channels),
        durationperchannel=number_text(1000 * len(first.counts) / first.rate_hz),
        samplespersecond=number_text(first.rate_hz), resolution=_step(channels), signaloffset=_zero(channels),
    )  # fmt: skip


def _beats(channels: list[Channel]) -> Element:
    rate_hz = channels[0].rate_hz
    beats = [
        node(
            "repbeat",
            node(
                "waveform", text=xml.integers_text(channel.counts),
                duration=number_text(1000 * len(channel.counts) / rate_hz),
            ),
            leadname=channel.label,
        )
        for channel in channels
    ]  # fmt: skip
    return node(
        "repbeats", *beats, dataencoding="Base64", samplespersec=number_text(rate_hz), resolution=_step(channels)
    )


def _step(channels: list[Channel]) -> str | None:
    """Return the resolution in uV; None where the file states none."""
    return number_text(channels[0].step) if channels[0].unit else None


def _zero(channels: list[Channel]) -> str:
    """Return the integer that stands for 0 mV."""
    return str(round(-channels[0].offset / channels[0].step))
