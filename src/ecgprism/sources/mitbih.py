"""The MIT-BIH Arrhythmia Database, and other WFDB records with annotated beats: every beat is an item."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ecgprism.ecg.metadata import settle
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.contract import Entry, Item, Split, spellings
from ecgprism.sources.physionet import comments, read_annotations, without_impossible

#: the classes of AAMI EC57 and the symbols of their beats: not ectopic, supraventricular, ventricular, fusion, unknown
AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
CLASS_OF = {symbol: name for name, symbols in AAMI.items() for symbol in symbols}
#: what ends an RR interval: those, and the QRS complexes without a class (ventricular flutter waves, as WFDB counts)
QRS = frozenset(CLASS_OF) | set("Bnr?!")
#: de Chazal et al. 2004: no patient in both halves, save for 201 and 202
DS1 = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
DS2 = (
    *("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210"),
    *("212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234"),
)
PACED = ("102", "104", "107", "217")
SPLIT_OF: dict[str, Split] = {**dict.fromkeys(DS1, "train"), **dict.fromkeys(DS2, "test")}
LOCAL = 10  # intervals that the local mean is taken of

#: `69 M 1085 1629 x1` in MIT-BIH, `<age>: 65 <sex>: F <diagnoses> ...` in INCART
_PERSON = re.compile(r"^(?:<age>:\s*)?(\d{1,3})\s+(?:<sex>:\s*)?([MF])\b")
_PATIENT = re.compile(r"^patient\s+(\d+)$", re.IGNORECASE)


@register("sources", "mitbih")
class MitBih:
    """A folder of WFDB records and their `.atr` files; task `beat`: AAMI classes N, S, V, F, Q, inter-patient split.

    An item is `window_s` seconds around an R peak. By default one second: from before the P wave to the end of T, and
    the neighbours stay outside below 120 beats a minute, as views without a sense of place need it. What the window
    does not show of the rhythm is metadata of the item, in seconds: `rr_pre_s` and `rr_post_s` (to the beats before and
    after), `rr_local_s` (mean of the last ten intervals up to this beat, fewer at the beginning), and `rr_ratio`, the
    first over the mean of the whole recording. At the ends of a recording they are missing. Intervals count between
    all QRS complexes; annotations without an AAMI class (`!`, `x`, rhythm, noise) are no items, and counted.

    Records of DS1 are train, of DS2 test (de Chazal et al. 2004), the four paced ones are left out. 201 and 202 are one
    patient, in both halves: `protocol=clean` leaves 202 out of DS2; `published` keeps it, to compare with published
    numbers, and then calls the two different patients, which they are not. Other sets (INCART; SVDB with
    `leads=ECG1=II|ECG2=V1`) have no official split; a patient is known where the header says `patient 7`.
    """

    tasks = {"beat": Task("multiclass", tuple(AAMI))}  # noqa: RUF012

    def __init__(
        self,
        root: Path,
        window_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0,
        protocol: Literal["clean", "published"] = "clean",
        annotator: str = "atr",
        leads: str | None = None,
    ) -> None:
        """`annotator` is the suffix of the annotation files; `leads` declares lead spellings (`ECG1=II|ECG2=V1`)."""
        self.root, self.window_s, self.protocol, self.annotator = root, window_s, protocol, annotator.lstrip(".")
        self.lead_aliases: Mapping[str, str] = spellings(leads)
        if not any(root.glob("*.hea")):
            raise EcgprismError(f"{root}: no WFDB headers (*.hea) here: not the folder of an annotated data set")

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a header, in order of name; labels come with the items."""
        for path in sorted(self.root.glob("*.hea")):
            name = path.stem
            if name in PACED or (name == "202" and self.protocol == "clean"):
                continue
            said = [match[1] for line in comments(path) if (match := _PATIENT.match(line))]
            patient = name if name in SPLIT_OF else f"patient {said[0]}" if said else None
            yield Entry(name, str(path), {}, patient_id=patient, split=SPLIT_OF.get(name))

    def read(self, entry: Entry) -> Recording:
        """Read one record with its annotations."""
        path = Path(entry.path)
        recording = without_impossible(reading.read(path, self.lead_aliases))
        marks = read_annotations(path.with_suffix(f".{self.annotator}"), recording.rate_hz)
        person = next((match for line in comments(path) if (match := _PERSON.match(line))), None)
        known, _ = settle({"age": person[1], "sex": person[2]}, entry.path) if person else ({}, [])
        return replace(recording, annotations=marks, metadata={**known, **recording.metadata})

    def items(self, entry: Entry, recording: Recording) -> tuple[Sequence[Item], Sequence[str]]:
        """Return the beats of a recording that have a class, and the symbols of the other annotations."""
        beats = sorted((mark for mark in recording.annotations if mark.symbol in QRS), key=lambda mark: mark.at_s)
        intervals = rr_intervals(np.array([beat.at_s for beat in beats]))
        half_s = self.window_s / 2
        items = [
            Item(beat.at_s - half_s, beat.at_s + half_s, {"beat": (CLASS_OF[beat.symbol],)}, rr)
            for beat, rr in zip(beats, intervals, strict=True)
            if beat.symbol in CLASS_OF
        ]
        return items, [mark.symbol for mark in recording.annotations if mark.symbol not in CLASS_OF]


def rr_intervals(at_s: NDArray[np.float64]) -> list[dict[str, float]]:
    """Return the RR columns of every beat (seconds) from the times of all of them (N,), in order; unknown ones absent.

    A mean of successive intervals is the distance of its ends over their number.
    """
    n = len(at_s)
    found: list[dict[str, float]] = [{} for _ in at_s]
    mean_s = (at_s[-1] - at_s[0]) / (n - 1) if n > 1 else 0.0
    for i in range(n):
        if i > 0:
            taken = min(i, LOCAL)
            found[i]["rr_pre_s"] = float(at_s[i] - at_s[i - 1])
            found[i]["rr_local_s"] = float((at_s[i] - at_s[i - taken]) / taken)
            if mean_s > 0:
                found[i]["rr_ratio"] = float((at_s[i] - at_s[i - 1]) / mean_s)
        if i < n - 1:
            found[i]["rr_post_s"] = float(at_s[i + 1] - at_s[i])
    return found
