"""The ledger: what every view of a model is worth, with intervals, against controls of the same size.

Axis legend: N items (pooled over folds), K classes, R resamples, C coalitions, V views. All intervals of one ledger
come from the same resamples of patients, so every difference is paired. The models are taken as they were trained: what
another training of the same configuration would give shows in seeds and folds, not in the interval.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ecgprism.config import Config
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError
from ecgprism.evidence.ablation import COALITIONS, Ablation, AblationProgress, Ensemble, Job, average, planned, run_all
from ecgprism.files import atomic
from ecgprism.interface.answers import Answers
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.scores import Floats

LEDGER, PLAN = "ledger.json", "ablation.yaml"
FUSED, BEST, CONTROL, AVERAGE = "fused", "best single", "control", "average of singles"
ALONE, WITHOUT, HIDDEN = "{} alone", "without {}", "{} hidden"
EMPTY = "nothing"

RULES = {
    "costs": "members, parameters and training seconds of a side, inference milliseconds an item; means over folds",
    "fused": "the configured model, an ensemble of its seeds (probabilities averaged)",
    "best single": "the view whose ensemble of as many seeds is best on validation (of each fold)",
    "control": "that view with seeds added until the ensemble has at least the parameters of the fused side",
    "average of singles": "plain average of the probabilities of all views trained alone",
    "without": "trained without the view",
    "hidden": "the fused model with the view masked, not trained again",
    "shapley": "exact over all coalitions of views of the fused model under presence masks; the empty coalition, and a "
    "record that has none of a coalition's views, answers with the frequencies of the classes in training",
    "interval": "95% percentile bootstrap over patients, paired: the same resamples for every model; `p` two-sided",
    "decision": "multi-class: highest probability; multi-label: thresholds of each side from validation (of each fold)",
}


@dataclass(frozen=True)
class Ledger:
    """What ledger.json holds, and the folder that it lies in."""

    report: dict[str, Any]
    path: Path

    @property
    def verdict(self) -> str:
        """One sentence: whether fusion pays."""
        return str(self.report["verdict"])


def ablate(
    config: Config,
    out: str | Path,
    *,
    seeds: int = 3,
    folds: int = 0,
    workers: int = 1,
    threads: int = 1,
    resamples: int = 1000,
    overwrite: bool = False,
    show: Callable[[AblationProgress], None] = lambda progress: None,
) -> Ledger:
    """Train every view alone, the model without each, the whole and the controls; write ledger.json into `out`.

    `folds` (0: the corpus's own split) cross-validates by patient and judges the pooled out-of-fold predictions. The
    same call goes on after any kill; `workers` trainings run at a time, and their number changes no bit of the result.
    Raises EcgprismError when `out` holds another ablation.
    """
    out = Path(out)
    ablation = planned(config, out, seeds, folds)
    _claim(ablation, overwrite, threads)
    best = run_all(ablation, workers, threads, show)
    report = account(ablation, best, resamples)
    report |= {"threads": threads}
    with atomic(out / LEDGER) as path:
        path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    return Ledger(report, out)


def _claim(ablation: Ablation, overwrite: bool, threads: int) -> None:
    """Write down what the folder is for. Raises EcgprismError when it is for something else."""
    out = ablation.out
    plan = {
        "seeds": ablation.seeds,
        "folds": ablation.folds,
        "threads": threads,
        "fingerprint": Corpus(ablation.config.corpus).fingerprint,
        "config": ablation.config.plain(),
    }
    if out.exists() and any(out.iterdir()):
        if not (out / PLAN).is_file():
            raise EcgprismError(f"{out}: is not empty and no ablation; choose another --out")
        before = yaml.safe_load((out / PLAN).read_text())
        changed = [key for key in plan if before.get(key) != plan[key]]
        if not changed:
            return
        if not overwrite:
            key = changed[0]
            shown = f"{before.get(key)}, now {plan[key]}" if isinstance(plan[key], int) else "other content"
            raise EcgprismError(f"{out}: was begun with {key}: {shown}; choose another --out, or --overwrite it")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / PLAN) as path:
        path.write_text(yaml.safe_dump(plan, sort_keys=False))


def account(ablation: Ablation, best: Mapping[int, str], resamples: int = 1000) -> dict[str, Any]:
    """Return the ledger of finished trainings as plain data."""
    answers, costs = _pooled(ablation, best)
    coalitions = _coalitions(ablation)
    for v, view in enumerate(ablation.full):
        others = tuple(w for w in range(len(ablation.full)) if w != v)
        answers[HIDDEN.format(view)] = coalitions[others]
    fused = answers[FUSED]
    target, cluster, kind, classes = fused.truth, fused.patients, fused.kind, fused.classes
    pairs = _pairs(ablation)
    named = list(coalitions.items())
    weights_of = shapley_weights(len(ablation.full))

    def statistic(weights: Floats | None) -> dict[str, Floats]:
        found = {
            name: metrics.essentials(target, model.probabilities, model.decided, classes, weights)
            for name, model in answers.items()
        }
        out = {f"{name}|{key}": value for name, values in found.items() for key, value in values.items()}
        for a, b in pairs:
            out |= {f"{a} - {b}|{key}": found[a][key] - found[b][key] for key in found[a]}
        worth = [metrics.essentials(target, model.probabilities, model.decided, classes, weights) for _, model in named]
        for key in worth[0]:
            values = np.stack([each[key] for each in worth], axis=-1)
            out[f"coalitions|{key}"] = values
            for v, view in enumerate(ablation.full):
                out[f"shapley {view}|{key}"] = values @ np.array([weights_of[subset][v] for subset, _ in named])
        return out

    drawn = intervals.bootstrap(statistic, cluster, resamples)

    def entries(prefix: str) -> dict[str, Any]:
        keys = {name.partition("|")[2]: name for name in drawn if name.startswith(f"{prefix}|")}
        overall = {key: intervals.plain(drawn[name]) for key, name in keys.items() if key not in ("auroc", "f1")}
        by_class = {
            label: {key: intervals.plain(drawn[keys[key]][k]) for key in ("auroc", "f1")}
            for k, label in enumerate(classes)
        }
        return {"metrics": overall, "per_class": by_class}

    primary = metrics.primary(classes)
    report: dict[str, Any] = {
        "corpus": str(ablation.config.corpus),
        "fingerprint": Corpus(ablation.config.corpus).fingerprint,
        "kind": kind,
        "classes": list(classes),
        "metric": primary,
        "views": list(ablation.full),
        "fusion": ablation.config.fusion.plain(),
        "seeds": ablation.seeds,
        "folds": ablation.folds,
        "items": len(target),
        "patients": len(np.unique(cluster)),
        "positives": dict(zip(classes, target.sum(axis=0).tolist(), strict=True)),
        "resamples": resamples,
        "best_single": {str(fold): view for fold, view in best.items()},
        "rules": RULES,
        "notes": _notes(ablation.config),
        "models": {name: {**entries(name), **costs.get(name, {})} for name in answers},
        "differences": {f"{a} - {b}": entries(f"{a} - {b}") for a, b in pairs},
        "shapley": {view: entries(f"shapley {view}")["metrics"] for view in ablation.full},
        "coalitions": {
            _named(ablation, subset): {
                key: intervals.plain(drawn[f"coalitions|{key}"][c]) for key in (primary, "macro_auroc")
            }
            for c, (subset, _) in enumerate(named)
        },
    }
    report["worth"] = {view: worth_of(report, view) for view in ablation.full}
    report["verdict"] = verdict(report)
    return report


def _notes(config: Config) -> list[str]:
    """Return what the reader of the values under masks should know."""
    if config.train.coalitions or config.train.view_dropout not in (0, (0, 0)):
        return []
    return ["training hid no view (view_dropout and coalitions are 0): values under masks are of an untrained case"]


def _pairs(ablation: Ablation) -> list[tuple[str, str]]:
    """Return the differences that the ledger judges."""
    pairs = [(FUSED, BEST), (FUSED, CONTROL), (FUSED, AVERAGE)]
    for view in ablation.full:
        pairs += [(FUSED, WITHOUT.format(view)), (HIDDEN.format(view), WITHOUT.format(view))]
    return pairs


def _pooled(ablation: Ablation, best: Mapping[int, str]) -> tuple[dict[str, Answers], dict[str, dict[str, float]]]:
    """Return every model's answers, and what it costs, pooled over the folds."""
    ensembles: dict[str, list[Ensemble]] = {}
    for fold in ablation.parts:
        alone = {view: ablation.side((view,), fold) for view in ablation.full}
        of_fold = {FUSED: ablation.side(ablation.full, fold)}
        of_fold |= {ALONE.format(view): each for view, each in alone.items()}
        of_fold |= {WITHOUT.format(view): ablation.side(rest, fold) for view, rest in ablation.without.items()}
        of_fold[BEST] = alone[best[fold]]
        of_fold[CONTROL] = ablation.side((best[fold],), fold, ablation.control_seeds(best[fold]))
        of_fold[AVERAGE] = average(list(alone.values()))
        for name, each in of_fold.items():
            assert each.test.item == of_fold[FUSED].test.item
            ensembles.setdefault(name, []).append(each)
    answers = {name: Answers.pooled([each.test for each in parts]) for name, parts in ensembles.items()}
    costs = {
        name: {
            "members": round(float(np.mean([each.members for each in parts])), 1),
            "parameters": round(float(np.mean([each.parameters for each in parts]))),
            "training_seconds": round(float(np.mean([each.training_seconds for each in parts])), 1),
            "inference_ms": round(float(np.mean([each.inference_ms for each in parts])), 3),
        }
        for name, parts in ensembles.items()
    }
    return answers, costs


def _coalitions(ablation: Ablation) -> dict[tuple[int, ...], Answers]:
    """Return the fused model's answers of every coalition of views, the empty one first, pooled over the folds."""
    parts: dict[tuple[int, ...], list[Answers]] = {}
    for fold in ablation.parts:
        fused = ablation.side(ablation.full, fold)
        files = [np.load(ablation.out / Job(ablation.full, fold, s).folder / COALITIONS) for s in range(ablation.seeds)]
        probabilities = np.mean([file["probabilities"] for file in files], axis=0)
        present, prevalence = files[0]["present"], files[0]["prevalence"]
        found: dict[tuple[int, ...], NDArray[np.float64]] = {(): np.tile(prevalence, (len(present), 1))}
        for row, subset in zip(probabilities, files[0]["subsets"], strict=True):
            none = ~(present & subset).any(axis=1)
            found[tuple(np.flatnonzero(subset).tolist())] = np.where(none[:, None], prevalence, row)
        for subset, p in found.items():
            parts.setdefault(subset, []).append(fused.decide(p))
    return {subset: Answers.pooled(each) for subset, each in parts.items()}


def _named(ablation: Ablation, subset: Sequence[int]) -> str:
    return "+".join(ablation.full[v] for v in subset) or EMPTY


def shapley_weights(players: int) -> dict[tuple[int, ...], NDArray[np.float64]]:
    """Return by coalition the weight of its worth in each player's Shapley value (Shapley 1953).

    A player's value is the mean of what it adds over all orders of joining: |S|! (n - |S| - 1)! / n! for each S
    without it, which the worth of S + player enters with plus and that of S with minus.
    """
    total = math.factorial(players)
    weights = {}
    for code in range(2**players):
        subset = tuple(v for v in range(players) if code >> v & 1)
        size = len(subset)
        joined = math.factorial(max(size - 1, 0)) * math.factorial(players - size) / total
        stayed_out = math.factorial(size) * math.factorial(max(players - size - 1, 0)) / total
        weights[subset] = np.array([joined if v in subset else -stayed_out for v in range(players)])
    return weights


def worth_of(report: Mapping[str, Any], view: str) -> dict[str, Any]:
    """Return what one view is worth: alone, to the whole (trained without it), its Shapley value; in a sentence too."""
    metric = report["metric"]
    lost = report["differences"][f"{FUSED} - {WITHOUT.format(view)}"]["metrics"][metric]
    share = report["shapley"][view][metric]
    if sign(lost) > 0:
        said = f"{view} carries what no other view has: trained without it, {metric} is lower by {in_words(lost)}"
    elif sign(lost) < 0:
        said = f"{view} harms: trained without it, {metric} is higher ({in_words(lost)} with it)"
    else:
        said = f"{view} is not needed as far as this data can show: with it, {metric} differs by {in_words(lost)}"
    return {
        "alone": report["models"][ALONE.format(view)]["metrics"][metric],
        "fused_minus_without": lost,
        "shapley": share,
        "sentence": said,
    }


def verdict(report: Mapping[str, Any]) -> str:
    """Return one sentence: fusion pays only if it beats the best single view and the control beyond their intervals."""
    metric = report["metric"]
    fused = report["models"][FUSED]["metrics"][metric]["value"]
    against = {name: report["differences"][f"{FUSED} - {name}"]["metrics"][metric] for name in (BEST, CONTROL)}
    shown = (
        f"{metric} {_number(fused)}, {in_words(against[BEST])} against the best single view, "
        f"{in_words(against[CONTROL])} against an ensemble of it of at least the same size"
    )
    signs = [sign(difference) for difference in against.values()]
    if all(s > 0 for s in signs):
        return f"Yes, fusion pays: {shown}."
    if all(s < 0 for s in signs):
        return f"No, fusion loses: {shown}."
    if signs[0] > 0:
        return f"No gain beyond size: {shown}; more seeds of one view do as well."
    if any(s < 0 for s in signs):
        return f"No gain, and less than the control: {shown}."
    return f"No gain can be shown: {shown}; an interval contains zero."


def sign(difference: Mapping[str, Any]) -> int:
    """Return 1 or -1 when the interval lies above or below zero, 0 when it contains zero or is undefined."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)


def in_words(difference: Mapping[str, Any]) -> str:
    """Return a difference with its interval in words."""
    if difference["low"] is None:
        return "an undefined amount"
    return f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
