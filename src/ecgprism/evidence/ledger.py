"""The ledger: what every view of a model is worth, with intervals, against controls of the same size.

Axis legend: N items (pooled over folds), K classes, C coalitions, V views. All intervals of one ledger come from the
same resamples of patients, so every difference is paired. The models are taken as they were trained: what another
training of the same configuration would give shows in seeds and folds, not in the interval.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from ecgprism.config import Config
from ecgprism.corpus.store import Corpus
from ecgprism.errors import EcgprismError, one_line
from ecgprism.evidence import verdicts
from ecgprism.evidence.ablation import RUNS, Ablation, AblationProgress, plan, train_all
from ecgprism.evidence.ensembles import Ensemble, average
from ecgprism.evidence.reports import Costs, LedgerReport, ModelReport, Support, Worth
from ecgprism.evidence.verdicts import RULE
from ecgprism.files import atomic, locked
from ecgprism.interface.answers import Answers
from ecgprism.metrics.contrasts import AUROC, Contrast, Pair, ScoreTable, minus, tabulate
from ecgprism.training.folder import COALITIONS, held

LEDGER, PLAN = "ledger.json", "ablation.yaml"
FUSED, BEST, CONTROL, AVERAGE = "fused", "best single", "control", "average of singles"
ALONE, WITHOUT, HIDDEN, SHAPLEY = "{} alone", "without {}", "{} hidden", "shapley"
EMPTY, COALITION = "nothing", "views {}"

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
    "verdict": RULE,
    "decision": "multi-class: highest probability; multi-label: thresholds of each side from validation (of each "
    "fold), 0.5 for a class of fewer than 10 positives there",
}


@dataclass(frozen=True, repr=False)
class Ledger:
    """What ledger.json holds, and the folder that it lies in."""

    report: LedgerReport
    path: Path

    def __repr__(self) -> str:
        """Return the verdict, in one line."""
        return f"Ledger({self.path}: {one_line(self.verdict, 300)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.report._repr_html_()

    @property
    def verdict(self) -> str:
        """One sentence: whether fusion pays."""
        return self.report.verdict


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
    Raises EcgprismError when `out` holds another ablation, or when another process is at work in it.
    """
    out = Path(out)
    ablation = plan(config, out, seeds, folds)
    there = held(out)
    if there and PLAN not in there:
        raise EcgprismError(f"{out}: is not empty and no ablation; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "ablation"):
        _claim(ablation, overwrite, threads)
        best = train_all(ablation, workers, threads, show)
        report = account(ablation, best, resamples, threads)
        report.write(out / LEDGER)
    return Ledger(report, out)


def _claim(ablation: Ablation, overwrite: bool, threads: int) -> None:
    """Write down what the folder, which the caller holds, is for. Raises EcgprismError for another ablation."""
    out = ablation.out
    now = {
        "seeds": ablation.seeds,
        "folds": ablation.folds,
        "threads": threads,
        "fingerprint": Corpus(ablation.config.corpus).fingerprint,
        "config": ablation.config.plain(),
    }
    if (out / PLAN).is_file():
        before = yaml.safe_load((out / PLAN).read_text())
        changed = [key for key in now if before.get(key) != now[key]]
        if not changed:
            return
        if not overwrite:
            key = changed[0]
            shown = f"{before.get(key)}, now {now[key]}" if isinstance(now[key], int) else "other content"
            raise EcgprismError(
                f"{out}: was begun with {key}: {shown}; choose another folder, or overwrite it "
                "(--overwrite, overwrite=True)"
            )
        (out / LEDGER).unlink(missing_ok=True)
        shutil.rmtree(out / RUNS, ignore_errors=True)
    with atomic(out / PLAN) as path:
        path.write_text(yaml.safe_dump(now, sort_keys=False))


def account(ablation: Ablation, best: Mapping[int, str], resamples: int = 1000, threads: int = 1) -> LedgerReport:
    """Return the ledger of finished trainings."""
    answers, costs = _pooled(ablation, best)
    coalitions = _coalitions(ablation)
    for v, view in enumerate(ablation.full):
        answers[HIDDEN.format(view)] = coalitions[tuple(w for w in range(len(ablation.full)) if w != v)]
    subsets = {COALITION.format(_named(ablation, subset)): subset for subset in coalitions}
    together = answers | {name: coalitions[subset] for name, subset in subsets.items()}
    found = tabulate(together, _contrasts(ablation, subsets), ablation.metric, resamples)
    fused, config = answers[FUSED], ablation.config
    support = Support.count(fused)
    shapley = {view: found.contrasts[SHAPLEY, view].metrics for view in ablation.full}
    return LedgerReport(
        corpus=str(config.corpus), fingerprint=Corpus(config.corpus).fingerprint, kind=fused.kind,
        classes=fused.classes, metric=ablation.metric, views=ablation.full, fusion=config.fusion.plain(),
        seeds=ablation.seeds, folds=ablation.folds, threads=threads, items=len(fused), patients=support.patients,
        positives=dict(zip(fused.classes, fused.truth.sum(axis=0).tolist(), strict=True)), support=support,
        resamples=resamples, best_single={str(fold): view for fold, view in best.items()}, rules=RULES,
        notes=_notes(config),
        models={
            name: ModelReport(**dict(found.models[name]), **dict(costs.get(name, Costs()))) for name in answers
        },
        differences={" - ".join(pair): found.contrasts[pair] for pair in _pairs(ablation)},
        shapley=shapley,
        coalitions={
            name.removeprefix(COALITION.format("")): {
                key: found.models[name].metrics[key] for key in (ablation.metric, AUROC)
            }
            for name in subsets
        },
        worth={view: _worth(ablation.metric, view, found, support) for view in ablation.full},
        verdict=verdicts.of_fusion(
            ablation.metric, found.models[FUSED].metrics[ablation.metric],
            found.contrasts[FUSED, BEST].metrics[ablation.metric],
            found.contrasts[FUSED, CONTROL].metrics[ablation.metric], support,
        ),
    )  # fmt: skip


def _worth(metric: str, view: str, found: ScoreTable, support: Support) -> Worth:
    """Return what one view is worth."""
    lost = found.contrasts[FUSED, WITHOUT.format(view)].metrics[metric]
    return Worth(
        alone=found.models[ALONE.format(view)].metrics[metric],
        fused_minus_without=lost,
        shapley=found.contrasts[SHAPLEY, view].metrics[metric],
        sentence=verdicts.of_view(view, metric, lost, support),
    )


def _contrasts(ablation: Ablation, subsets: Mapping[str, tuple[int, ...]]) -> dict[Pair, Contrast]:
    """Return the paired differences and the Shapley values; `subsets` are coalitions by the name of their answers."""
    weights = shapley_weights(len(ablation.full))
    return {pair: minus(*pair) for pair in _pairs(ablation)} | {
        (SHAPLEY, view): {name: float(weights[subset][v]) for name, subset in subsets.items()}
        for v, view in enumerate(ablation.full)
    }


def _notes(config: Config) -> list[str]:
    """Return what the reader of the values under masks should know."""
    if config.train.coalitions or config.train.view_dropout not in (0, (0, 0)):
        return []
    return ["training hid no view (view_dropout and coalitions are 0): values under masks are of an untrained case"]


def _pairs(ablation: Ablation) -> list[Pair]:
    """Return the differences that the ledger judges."""
    pairs = [(FUSED, BEST), (FUSED, CONTROL), (FUSED, AVERAGE)]
    for view in ablation.full:
        pairs += [(FUSED, WITHOUT.format(view)), (HIDDEN.format(view), WITHOUT.format(view))]
    return pairs


def _pooled(ablation: Ablation, best: Mapping[int, str]) -> tuple[dict[str, Answers], dict[str, Costs]]:
    """Return every model's answers, and what it costs, pooled over the folds."""
    ensembles: dict[str, list[Ensemble]] = {}
    for fold in ablation.parts:
        alone = {view: ablation.ensemble((view,), fold) for view in ablation.full}
        of_fold = {FUSED: ablation.ensemble(ablation.full, fold)}
        of_fold |= {ALONE.format(view): each for view, each in alone.items()}
        of_fold |= {WITHOUT.format(view): ablation.ensemble(rest, fold) for view, rest in ablation.without.items()}
        of_fold[BEST] = alone[best[fold]]
        of_fold[CONTROL] = ablation.ensemble((best[fold],), fold, ablation.control_seeds(best[fold]))
        of_fold[AVERAGE] = average(list(alone.values()))
        for name, each in of_fold.items():
            assert each.test.item == of_fold[FUSED].test.item
            ensembles.setdefault(name, []).append(each)
    answers = {name: Answers.pooled([each.test for each in parts]) for name, parts in ensembles.items()}
    return answers, {name: _costs(parts) for name, parts in ensembles.items()}


def _costs(parts: Sequence[Ensemble]) -> Costs:
    """Return what a side costs, the mean over folds."""
    return Costs(
        members=round(float(np.mean([each.members for each in parts])), 1),
        parameters=round(float(np.mean([each.parameters for each in parts]))),
        training_seconds=round(float(np.mean([each.training_seconds for each in parts])), 1),
        inference_ms=round(float(np.mean([each.inference_ms for each in parts])), 3),
    )


def _coalitions(ablation: Ablation) -> dict[tuple[int, ...], Answers]:
    """Return the fused model's answers of every coalition of views, the empty one first, pooled over the folds."""
    parts: dict[tuple[int, ...], list[Answers]] = {}
    for fold in ablation.parts:
        fused = ablation.ensemble(ablation.full, fold)
        runs = [ablation.out / each.folder for each in ablation.trainings([ablation.full]) if each.fold == fold]
        files = [np.load(run / COALITIONS) for run in runs]
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
