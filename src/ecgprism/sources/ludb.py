"""The Lobachevsky University Database (Kalyakulina et al. 2020): 200 subjects, 12 leads, 10 s, with wave borders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.contract import Entry
from ecgprism.sources.physionet import comments, demographics, read_annotations, without_impossible

RHYTHMS = (
    "Sinus rhythm", "Sinus bradycardia", "Sinus tachycardia", "Sinus arrhythmia", "Irregular sinus rhythm",
    "Atrial fibrillation", "Atrial flutter, typical",
)  # fmt: skip
MARK = "Rhythm:"


@register("sources", "ludb")
class Ludb:
    """LUDB 1.0.1: data/ with `.hea`, `.dat` and an annotation file per lead; task `rhythm`, as the headers state it.

    Every record is a subject of its own; there is no official split. Age and sex come from the header. A record without
    one known rhythm is not part of the task; other statements are counted. `Recording.annotations` are the borders and
    peaks of the waves in one `lead`: `(`, then `p`, `N` (QRS) or `t`, then `)`.
    """

    tasks = {"rhythm": Task("multiclass", RHYTHMS)}  # noqa: RUF012
    lead_aliases: dict[str, str] = {}  # noqa: RUF012

    def __init__(
        self,
        root: Path,
        lead: Literal["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"] = "II",
    ) -> None:
        """`root` is the folder that holds data/, or data/ itself."""
        self.root, self.lead = root / "data" if (root / "data").is_dir() else root, lead
        if not any(self.root.glob("*.hea")):
            raise EcgprismError(f"{self.root}: no WFDB headers (*.hea) here: not the folder of LUDB")

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a header, in order of number."""
        for path in sorted(self.root.glob("*.hea"), key=lambda path: (len(path.stem), path.stem)):
            lines = comments(path)
            first = lines.index("<diagnoses>:") + 1 if "<diagnoses>:" in lines else len(lines)
            stated = [line.rstrip(".") for line in lines[first:] if line]
            rhythms = tuple(line.removeprefix(MARK).strip() for line in stated if line.startswith(MARK))
            known = rhythms if len(rhythms) == 1 and rhythms[0] in RHYTHMS else ()
            yield Entry(
                record_id=f"ludb_{path.stem}",
                path=str(path),
                labels={"rhythm": known} if known else {},
                patient_id=path.stem,
                metadata=demographics(lines),
                unused=tuple(line for line in stated if line.removeprefix(MARK).strip() not in known),
            )

    def read(self, entry: Entry) -> Recording:
        """Read one record with the waves of the chosen lead, where they are annotated."""
        recording = without_impossible(reading.read(entry.path))
        waves = Path(entry.path).with_suffix(f".{self.lead.lower()}")
        marks = read_annotations(waves, recording.rate_hz) if waves.is_file() else ()
        return replace(recording, annotations=marks)
