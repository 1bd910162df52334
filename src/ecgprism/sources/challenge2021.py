"""The training sets of the PhysioNet/CinC Challenge 2021: 12-lead records with SNOMED CT codes (Reyna et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.contract import Entry
from ecgprism.sources.physionet import comments, demographics, without_impossible

#: abbreviation -> SNOMED CT codes of the 26 diagnoses that the challenge scored; where there are two, it scored them as
#: one (dx_mapping_scored.csv of the challenge's evaluation code)
SCORED = {
    "AF": ("164889003",),  # atrial fibrillation
    "AFL": ("164890007",),  # atrial flutter
    "BBB": ("6374002",),  # bundle branch block
    "Brady": ("426627000",),  # bradycardia
    "IAVB": ("270492004",),  # first-degree AV block
    "IRBBB": ("713426002",),  # incomplete right bundle branch block
    "LAD": ("39732003",),  # left axis deviation
    "LAnFB": ("445118002",),  # left anterior fascicular block
    "LBBB": ("164909002", "733534002"),  # left bundle branch block, complete or not said
    "LPR": ("164947007",),  # prolonged PR interval
    "LQRSV": ("251146004",),  # low QRS voltages
    "LQT": ("111975006",),  # prolonged QT interval
    "NSIVCB": ("698252002",),  # nonspecific intraventricular conduction disorder
    "NSR": ("426783006",),  # sinus rhythm
    "PAC": ("284470004", "63593006"),  # premature atrial contraction, supraventricular premature beats
    "PR": ("10370003",),  # pacing rhythm
    "PRWP": ("365413008",),  # poor R wave progression
    "PVC": ("427172004", "17338001"),  # premature ventricular contractions, ventricular premature beats
    "QAb": ("164917005",),  # abnormal Q wave
    "RAD": ("47665007",),  # right axis deviation
    "RBBB": ("59118001", "713427006"),  # right bundle branch block, complete or not said
    "SA": ("427393009",),  # sinus arrhythmia
    "SB": ("426177001",),  # sinus bradycardia
    "STach": ("427084000",),  # sinus tachycardia
    "TAb": ("164934002",),  # abnormal T wave
    "TInv": ("59931005",),  # T wave inversion
}
CLASS_OF = {code: name for name, codes in SCORED.items() for code in codes}
_DX = re.compile(r"^dx:(.*)$", re.IGNORECASE)


@register("sources", "challenge2021")
class Challenge2021:
    """Challenge 2021: any folder with `.hea` and `.mat` below it; task `scored`: the 26 scored diagnoses.

    Codes that the challenge scored as one are one class. A record without a scored code is not part of the task; codes
    that are not scored are counted. Age and sex come from the header. The data sets name no patients and no split.
    """

    tasks = {"scored": Task("multilabel", tuple(SCORED))}  # noqa: RUF012
    lead_aliases: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, root: Path) -> None:
        """`root` is the folder of one of the sets, or of all of them."""
        self.root = root
        if next(root.rglob("*.hea"), None) is None:
            raise EcgprismError(f"{root}: no WFDB headers (*.hea) below here: not the folder of a challenge data set")

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a header, in order of path."""
        for path in sorted(self.root.rglob("*.hea")):
            lines = comments(path)
            said = [match[1] for line in lines if (match := _DX.match(line))]
            codes = [code.strip() for text in said for code in text.split(",") if code.strip()]
            held = {CLASS_OF[code] for code in codes if code in CLASS_OF}
            yield Entry(
                record_id=path.stem,
                path=str(path),
                labels={"scored": tuple(name for name in SCORED if name in held)} if held else {},
                metadata=demographics(lines),
                unused=tuple(code for code in codes if code not in CLASS_OF),
            )

    def read(self, entry: Entry) -> Recording:
        """Read one record."""
        return without_impossible(reading.read(entry.path))
