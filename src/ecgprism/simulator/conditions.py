"""What a heart can have: every condition with the quantity that its severity moves, its source, its statements.

A severity from 0 (just fulfilled) to 1 (marked) is mapped onto `quantity` from `low` to `high`. `superdiagnostic` and
`rhythm` are the PTB-XL statements that hold (Wagner et al. 2020, doi:10.1038/s41597-020-0495-6). Criteria are those of
the AHA/ACCF/HRS recommendations for the standardization and interpretation of the electrocardiogram (2009; part III
intraventricular conduction, IV repolarisation, V hypertrophy, VI infarction) unless a source is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ecgprism.errors import ConfigError, nearest

SUPERDIAGNOSTIC = ("NORM", "MI", "STTC", "CD", "HYP")
RHYTHMS = ("SR", "SBRAD", "STACH", "SARRH", "AFIB", "AFLT", "VT", "PACE", "BIGU", "SVARR", "AVB")


@dataclass(frozen=True)
class Condition:
    """One condition: what its severity moves, what it is called, what it cannot stand beside.

    `aspect` is what it changes; two conditions of one exclusive aspect cannot hold together.
    """

    name: str
    title: str
    aspect: str
    quantity: str
    low: float
    high: float
    source: str
    superdiagnostic: str | None = None
    rhythm: str | None = None

    def at(self, severity: float) -> float:
        """Return the quantity at a severity."""
        return self.low + (self.high - self.low) * severity


def _table() -> dict[str, Condition]:
    rhythm, ectopy, av, ventricular = "rhythm", "ectopy", "AV conduction", "ventricular conduction"
    chamber, infarct, repolarisation = "chamber", "infarct", "repolarisation"
    rows: tuple[tuple[Any, ...], ...] = (
        ("sinus_rhythm", "normal sinus rhythm", rhythm, "heart rate, /min", 60, 100, "Surawicz 2009", None, "SR"),
        ("sinus_bradycardia", "sinus bradycardia", rhythm, "heart rate, /min", 58, 38, "below 60", None, "SBRAD"),
        ("sinus_tachycardia", "sinus tachycardia", rhythm, "heart rate, /min", 102, 165, "above 100", None, "STACH"),
        ("sinus_arrhythmia", "sinus arrhythmia", rhythm, "respiratory depth of RR", 0.12, 0.3,
         "PP varies by more than 120 ms (Surawicz 2009)", None, "SARRH"),
        ("atrial_fibrillation", "atrial fibrillation", rhythm, "ventricular rate, /min", 62, 160,
         "no P, 4-9 Hz f-waves (Stridh and Sornmo 2001), irregular RR", None, "AFIB"),
        ("atrial_flutter", "atrial flutter, fixed block", rhythm, "atrial cycles a conducted beat", 2, 4,
         "240-340/min sawtooth (Saoudi et al. 2001)", None, "AFLT"),
        ("atrial_flutter_variable", "atrial flutter, variable block", rhythm, "share of changed block", 0.4, 0.9,
         "Saoudi et al. 2001", None, "AFLT"),
        ("ventricular_tachycardia", "ventricular tachycardia", rhythm, "ventricular rate, /min", 130, 210,
         "wide QRS, dissociated P (Brugada et al. 1991)", None, "VT"),
        ("paced", "ventricular paced rhythm", rhythm, "paced rate, /min", 60, 80, "Kenny 2014", None, "PACE"),
        ("premature_atrial", "premature atrial beats", ectopy, "share of beats", 0.07, 0.25,
         "early P, incomplete compensatory pause (Surawicz 2009)", None, "SVARR"),
        ("premature_ventricular", "premature ventricular beats", ectopy, "share of beats", 0.07, 0.2,
         "early wide QRS, full compensatory pause (Surawicz 2009)"),
        ("bigeminy", "ventricular bigeminy", ectopy, "prematurity, share of RR", 0.7, 0.5,
         "Surawicz 2009", None, "BIGU"),
        ("av_block_1", "first-degree AV block", av, "PR interval, s", 0.215, 0.36, "PR over 200 ms", "CD"),
        ("av_block_2_wenckebach", "second-degree AV block, Wenckebach", av, "first PR increment, s", 0.06, 0.14,
         "PR grows until a P is not conducted", "CD", "AVB"),
        ("av_block_2_mobitz", "second-degree AV block, Mobitz II", av, "dropped share of P", 0.2, 0.5,
         "constant PR, single P not conducted", "CD", "AVB"),
        ("av_block_3", "third-degree AV block", av, "escape rate, /min", 50, 30, "P and QRS independent", "CD", "AVB"),
        ("lbbb", "left bundle branch block", ventricular, "QRS duration, ms", 128, 175, "AHA part III", "CD"),
        ("rbbb", "right bundle branch block", ventricular, "QRS duration, ms", 124, 165, "AHA part III", "CD"),
        ("lafb", "left anterior fascicular block", "fascicular conduction", "frontal axis, degrees", -48, -75,
         "axis -45 to -90 degrees, qR in aVL (AHA part III)", "CD"),
        ("wpw", "Wolff-Parkinson-White pattern", ventricular, "PR interval, s", 0.115, 0.08,
         "PR under 120 ms, delta wave, QRS over 110 ms", "CD"),
        ("lvh", "left ventricular hypertrophy", chamber, "voltage over the usual", 1.5, 2.3,
         "Sokolow and Lyon 1949, Casale et al. 1985; strain", "HYP"),
        ("rvh", "right ventricular hypertrophy", chamber, "rightward anterior dipole, mV", 0.9, 1.9,
         "right axis, R over S in V1 (AHA part V)", "HYP"),
        *(
            (f"mi_{wall}_{age}", f"{wall} infarction, {age}", infarct, quantity, low, high, source, "MI")
            for wall in ("anterior", "inferior", "lateral")
            for age, quantity, low, high, source in (
                ("acute", "ST dipole, mV", 0.2, 0.55, "ST elevation with reciprocal depression (AHA part VI)"),
                ("old", "lost and reversed share of the wall", 0.45, 1.0, "Q waves (Thygesen et al. 2018)"),
            )
        ),
        ("st_depression", "ST depression", repolarisation, "ST dipole, mV", 0.13, 0.3,
         "subendocardial ischaemia (AHA part IV)", "STTC"),
        ("t_inversion", "T wave inversion", repolarisation, "T over the usual", -0.25, -1.0, "AHA part IV", "STTC"),
        ("hyperkalaemia", "hyperkalaemia", repolarisation, "T over the usual", 2.0, 3.4,
         "tall narrow T, flat P, wide QRS (Surawicz 1967)", "STTC"),
        ("long_qt", "long QT", repolarisation, "added to QT, ms", 75, 170, "QTc over 460-480 ms (AHA part IV)", "STTC"),
    )  # fmt: skip
    return {row[0]: Condition(*row) for row in rows}


#: every condition by name
CONDITIONS: Mapping[str, Condition] = _table()

#: only one condition of these aspects holds at a time
_EXCLUSIVE = {"rhythm", "AV conduction", "ventricular conduction"}
_SINUS = {"sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"}
_NOT_SINUS = {name for name, c in CONDITIONS.items() if c.aspect == "rhythm"} - _SINUS
_AV = {name for name, c in CONDITIONS.items() if c.aspect == "AV conduction"}
_OTHER_ACTIVATION = {"ventricular_tachycardia", "paced"}
_HIDDEN_BY_ACTIVATION = {
    name
    for name, c in CONDITIONS.items()
    if c.aspect in ("ventricular conduction", "fascicular conduction", "chamber", "infarct", "repolarisation")
}
#: pairs that nature does not combine, or where one hides the other
_IMPOSSIBLE = {
    *((a, b) for a in _NOT_SINUS for b in _AV),
    *((a, b) for a in _NOT_SINUS for b in ("premature_atrial",)),
    *((a, b) for a in _NOT_SINUS - {"atrial_fibrillation"} for b in ("premature_ventricular", "bigeminy")),
    *((a, "wpw") for a in _NOT_SINUS | _AV),
    *((a, b) for a in _OTHER_ACTIVATION for b in _HIDDEN_BY_ACTIVATION),
    *((a, b) for a in _AV - {"av_block_1"} for b in ("premature_atrial", "premature_ventricular", "bigeminy")),
    ("premature_atrial", "bigeminy"), ("premature_ventricular", "bigeminy"),
    *((f"sinus_{a}", b) for a in ("tachycardia", "arrhythmia") for b in _AV - {"av_block_1"}),
    ("lbbb", "lafb"), ("wpw", "lafb"), ("lvh", "rvh"), ("lbbb", "rvh"), ("lafb", "rvh"),
    *(("wpw", name) for name, c in CONDITIONS.items() if c.aspect in ("infarct", "chamber")),
    *(("lbbb", name) for name, c in CONDITIONS.items() if c.aspect == "infarct"),
    *((a, b) for a, b in combinations(sorted(n for n in CONDITIONS if n.startswith("mi_")), 2)
      if a.split("_")[1] == b.split("_")[1]),
    ("st_depression", "hyperkalaemia"), ("t_inversion", "hyperkalaemia"), ("lvh", "hyperkalaemia"),
    *((name, "st_depression") for name in CONDITIONS if name.startswith("mi_") and name.endswith("acute")),
    *((name, b) for name in CONDITIONS if name.startswith("mi_") and name.endswith("acute")
      for b in ("t_inversion", "hyperkalaemia")),
}  # fmt: skip


def check_combination(names: Iterable[str]) -> None:
    """Raise ConfigError for an unknown condition (with the nearest name) or for two that cannot hold together."""
    names = list(names)
    for name in names:
        if name not in CONDITIONS:
            raise ConfigError(f"no condition {name!r}{nearest(name, CONDITIONS)}")
    for a, b in combinations(names, 2):
        if not compatible(a, b):
            raise ConfigError(f"conditions {a} and {b} cannot hold together")


def compatible(a: str, b: str) -> bool:
    """Return whether two conditions can hold together."""
    same = CONDITIONS[a].aspect == CONDITIONS[b].aspect and CONDITIONS[a].aspect in _EXCLUSIVE
    return not same and (a, b) not in _IMPOSSIBLE and (b, a) not in _IMPOSSIBLE


def statements(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the classes that hold, by task: `superdiagnostic` and `rhythm`.

    A record without a diagnostic condition is NORM when its rhythm is of the sinus node and without ectopic beats;
    otherwise, as in PTB-XL, it has no superdiagnostic statement.
    """
    held = set(names)
    diagnoses = {CONDITIONS[name].superdiagnostic for name in held} - {None}
    rhythms = {CONDITIONS[name].rhythm for name in held} - {None}
    if not diagnoses and held <= _SINUS:
        diagnoses = {"NORM"}
    if "AVB" in rhythms:  # the sinus node goes on, but not every beat is conducted
        rhythms -= {"SR"}
    return {
        "superdiagnostic": tuple(c for c in SUPERDIAGNOSTIC if c in diagnoses),
        "rhythm": tuple(c for c in RHYTHMS if c in rhythms),
    }
