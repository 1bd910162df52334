"""The open data sets that `fetch` knows: where they lie, what is in them, under which licence, how they are read."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ecgprism.errors import EcgprismError, nearest

PUBLISHED_LICENCE = "LICENSE.txt"  # where PhysioNet puts the whole text
MB, GB = 10**6, 10**9

CC_BY = "Creative Commons Attribution 4.0 International (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/"
ODC_BY = "Open Data Commons Attribution License 1.0 (ODC-By 1.0), https://opendatacommons.org/licenses/by/1-0/"
PHYSIONET_PAPER = (
    "Goldberger A, Amaral L, Glass L, Hausdorff J, Ivanov PC, Mark R, et al. PhysioBank, PhysioToolkit, and "
    "PhysioNet: components of a new research resource for complex physiologic signals. Circulation 101(23), "
    "e215-e220 (2000)."
)
CHALLENGE_2021 = (
    "Reyna MA, Sadr N, Perez Alday EA, Gu A, Shah AJ, Robichaux C, et al. Will Two Do? Varying Dimensions in "
    "Electrocardiography: The PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology 48, 1-4 "
    "(2021). doi:10.23919/CinC53138.2021.9662687; data: doi:10.13026/34va-7q14."
)
SNOMED = "diagnoses and rhythms as SNOMED CT codes in each header (multilabel)"


@dataclass(frozen=True)
class Dataset:
    """One open data set on PhysioNet. Sizes are approximate; `rate_hz` and `leads` as published.

    `parts` are the folders and files of the PhysioNet project that belong to it (empty: all), `tables` come along
    whatever part the user asks for, `archives` are unpacked where they lie. `source` is the `ecgprism ingest` source
    that reads it (None: none does).
    """

    title: str
    slug: str
    version: str
    size_bytes: int
    records: int
    leads: int
    rate_hz: tuple[int, ...]
    labels: str
    licence: str
    citation: str
    source: str | None
    parts: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    unpacked_bytes: int = 0
    note: str = ""

    def ingest_command(self, name: str, folder: object) -> str | None:
        """Return the command that reads the fetched folder into a corpus; None where no source does."""
        if self.source is None:
            return None
        return f"ecgprism ingest {self.source} {folder} --out corpora/{name}"

    def notice(self, name: str) -> str:
        """Return what the user is told before the data come."""
        return f"{name}: {self.title}, {self.version}\nLicence: {self.licence}\nPlease cite: {self.citation}"

    def licence_text(self, listed: Collection[str]) -> str:
        """Return what stands in LICENSE beside the data."""
        see = f"The whole text is in {PUBLISHED_LICENCE}.\n" if PUBLISHED_LICENCE in listed else ""
        return f"{self.title}, version {self.version}\n\n{self.licence}\n{see}"

    def citation_text(self) -> str:
        """Return what stands in CITATION beside the data."""
        return f"{self.citation}\n\n{PHYSIONET_PAPER}\n"

    def choose(self, listed: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
        """Return the files to fetch: those of the data set that match a pattern, its tables and the licence."""
        offered = [name for name in listed if not self.parts or any(_matches(name, part) for part in self.parts)]
        if not offered:
            raise EcgprismError(f"the list of {self.slug} {self.version} has nothing under {', '.join(self.parts)}")
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in offered):
                folders = {f"{folder}/" for name in offered for folder in PurePosixPath(name).parents} - {"./"}
                highest = sorted(folders, key=lambda folder: (folder.count("/"), folder))[:12]
                raise EcgprismError(f"include {pattern!r}: no file of the data set matches{nearest(pattern, highest)}")
        if patterns:
            offered = [name for name in offered if any(_matches(name, pattern) for pattern in patterns)]
        along = sorted({*self.tables, PUBLISHED_LICENCE} & listed.keys())
        return {name: listed[name] for name in (*along, *offered)}


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern.rstrip('/')}/") or fnmatch.fnmatchcase(name, pattern)


def _challenge_part(title: str, records: int, size_bytes: int, folder: str, origin: str, note: str = "") -> Dataset:
    """Return one of the data sets that make up the training set of the 2021 challenge."""
    return Dataset(
        title, "challenge-2021", "1.0.3", size_bytes, records, 12, (500,), SNOMED, CC_BY, f"{origin} {CHALLENGE_2021}",
        "challenge2021", parts=(f"training/{folder}/",), note=note,
    )  # fmt: skip


DATASETS: dict[str, Dataset] = {
    "ptbxl": Dataset(
        "PTB-XL, a large publicly available electrocardiography dataset", "ptb-xl", "1.0.3", 3 * GB, 21_799, 12,
        (100, 500), "71 SCP-ECG statements: diagnosis, form, rhythm (multilabel); official folds", CC_BY,
        "Wagner P, Strodthoff N, Bousseljot R-D, Kreiseler D, Lunze FI, Samek W, Schaeffter T. PTB-XL, a large "
        "publicly available electrocardiography dataset. Scientific Data 7, 154 (2020). doi:10.1038/s41597-020-0495-6; "
        "data: doi:10.13026/kfzx-aw45.",
        "ptbxl", tables=("ptbxl_database.csv", "scp_statements.csv"),
        note="--include records100/ fetches the 100 Hz version only, about 0.6 GB",
    ),
    "cinc2017": Dataset(
        "AF Classification from a Short Single Lead ECG Recording: the PhysioNet/CinC Challenge 2017", "challenge-2017",
        "1.0.0", 95 * MB, 8_528, 1, (300,), "rhythm: normal, AF, other, noisy (multiclass)", ODC_BY,
        "Clifford GD, Liu C, Moody B, Lehman LH, Silva I, Li Q, Johnson AE, Mark RG. AF classification from a short "
        "single lead ECG recording: the PhysioNet/Computing in Cardiology Challenge 2017. Computing in Cardiology 44 "
        "(2017). doi:10.22489/CinC.2017.065-469.",
        "cinc2017", parts=("training2017.zip", "REFERENCE-v3.csv"), archives=("training2017.zip",),
        unpacked_bytes=210 * MB, note="REFERENCE-v3.csv holds the organisers' last labels",
    ),
    "mitbih": Dataset(
        "MIT-BIH Arrhythmia Database", "mitdb", "1.0.0", 105 * MB, 48, 2, (360,),
        "about 110,000 annotated beats, rhythm changes", ODC_BY,
        "Moody GB, Mark RG. The impact of the MIT-BIH Arrhythmia Database. IEEE Engineering in Medicine and Biology "
        "20(3), 45-50 (2001). doi:10.1109/51.932724; data: doi:10.13026/C2F305.",
        "mitbih", note="beats, not recordings, are labelled",
    ),
    "nstdb": Dataset(
        "MIT-BIH Noise Stress Test Database", "nstdb", "1.0.0", 50 * MB, 15, 2, (360,),
        "3 records of noise (baseline wander, muscle, electrode motion), 12 of noisy ECG with annotated beats", ODC_BY,
        "Moody GB, Muldrow WE, Mark RG. A noise stress test for arrhythmia detectors. Computers in Cardiology 11, "
        "381-384 (1984). data: doi:10.13026/C2HS3T.",
        None, note="noise to add to other recordings, not a labelled data set",
    ),
    "ludb": Dataset(
        "Lobachevsky University Electrocardiography Database", "ludb", "1.0.1", 30 * MB, 200, 12, (500,),
        "onset, peak and end of P, QRS and T in every lead; rhythm and diagnoses", ODC_BY,
        "Kalyakulina AI, Yusipov II, Moskalenko VA, Nikolskiy AV, Kosonogov KA, Osipov GV, Zolotykh NY, Ivanchenko MV. "
        "LUDB: a new open-access validation tool for electrocardiogram delineation algorithms. IEEE Access 8, "
        "186181-186190 (2020). doi:10.1109/ACCESS.2020.3029211; data: doi:10.13026/eegm-h675.",
        "ludb",
    ),
    "challenge2021": Dataset(
        "Will Two Do? Varying Dimensions in Electrocardiography: the PhysioNet/CinC Challenge 2021", "challenge-2021",
        "1.0.3", 11 * GB, 88_253, 12, (257, 500, 1000), SNOMED, CC_BY, CHALLENGE_2021, "challenge2021",
        parts=("training/",), note="the training sets of seven sources, PTB-XL among them",
    ),
    "chapman": _challenge_part(
        "Chapman University and Shaoxing People's Hospital, as in the 2021 challenge", 10_247, 1_250 * MB,
        "chapman_shaoxing",
        "Zheng J, Zhang J, Danioko S, Yao H, Guo H, Rakovski C. A 12-lead electrocardiogram database for arrhythmia "
        "research covering more than 10,000 patients. Scientific Data 7, 48 (2020). doi:10.1038/s41597-020-0386-x.",
        "the original, with Ningbo, is ecg-arrhythmia 1.0.0 on PhysioNet (45,152 records)",
    ),
    "georgia": _challenge_part(
        "Georgia 12-lead ECG Challenge Database (Emory University)", 10_344, 1_250 * MB, "georgia",
        "Perez Alday EA, Gu A, Shah AJ, Robichaux C, Wong AI, Liu C, et al. Classification of 12-lead ECGs: the "
        "PhysioNet/Computing in Cardiology Challenge 2020. Physiological Measurement 41, 124003 (2020). "
        "doi:10.1088/1361-6579/abc960.",
    ),
    "cpsc2018": _challenge_part(
        "China Physiological Signal Challenge 2018, its public part", 6_877, 1_350 * MB, "cpsc_2018",
        "Liu F, Liu C, Zhao L, Zhang X, Wu X, Xu X, et al. An open access database for evaluating the algorithms of "
        "electrocardiogram rhythm and morphology abnormality detection. Journal of Medical Imaging and Health "
        "Informatics 8(7), 1368-1373 (2018). doi:10.1166/jmihi.2018.2442.",
    ),
}  # fmt: skip


def datasets_table() -> list[dict[str, str]]:
    """Return one row of text a data set, in the order of DATASETS."""
    return [
        {
            "name": name,
            "records": f"{dataset.records:,}",
            "leads": str(dataset.leads),
            "rate (Hz)": ", ".join(map(str, dataset.rate_hz)),
            "size (about)": size_text(dataset.size_bytes),
            "labels": dataset.labels,
            "licence": dataset.licence.split(" (", 1)[1].split(")", 1)[0],
            "what it is": f"{dataset.title}, {dataset.version}",
            "to read it": dataset.ingest_command(name, f"data/{name}") or "no source reads it",
            "note": dataset.note,
        }
        for name, dataset in DATASETS.items()
    ]


def size_text(size: float) -> str:
    """Return a number of bytes for people: decimal units, as disks are sold."""
    if size < 1000:
        return f"{size:.0f} bytes"
    unit, divisor = ("kB", 1e3) if size < MB else ("MB", MB) if size < GB else ("GB", GB)
    return f"{size / divisor:.{0 if size >= 100 * divisor else 1}f} {unit}"
