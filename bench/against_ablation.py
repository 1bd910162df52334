"""Another fused model against the references of an ablation: its best single view, its control, its models without a
view (against the fused model with that view masked); pooled over folds, paired intervals.

python bench/against_ablation.py ABLATION RUN [RUN ...]

ABLATION is a folder of `ecgprism ablate --seeds 1 --folds N`. RUN are fused models of its folds in order, trained
otherwise, as `bench/fusions.py --fusions concat --override ...` does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ecgprism import PrismModel, read_config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.evidence.comparison import tested
from ecgprism.evidence.evaluation import trained_on
from ecgprism.interface.answers import decide
from ecgprism.interface.scoring import score
from ecgprism.metrics import intervals
from ecgprism.metrics import scores as metrics
from ecgprism.model.engine import TorchEngine


def fold_of(runs: Path, views: list[str], k: int) -> Path:
    return runs / "+".join(views) / f"fold{k}-seed0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    views = list(PrismModel.load(options.runs[0]).branches)
    best_of = json.loads((options.ablation / "ledger.json").read_text())["best_single"]
    sides: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    targets, clusters = [], []
    for k, run in enumerate(options.runs, 1):
        model, corpus = PrismModel.load(run), trained_on(read_config(run / "config.yaml"))
        kind, classes = model.task.kind, model.task.classes
        if kind != "multiclass":
            raise SystemExit("error: made for multi-class runs, whose decisions need no thresholds")
        examples = corpus.select(model.card.task_name, ("test",), classes)
        assembler = CorpusAssembler(corpus, examples, model.spec)
        targets.append(examples.target)
        clusters.append(examples.cluster)
        for hidden in ("nothing", *views):
            p = score(TorchEngine(model, hidden=[hidden] if hidden in views else []), assembler).probabilities
            sides.setdefault(f"{hidden} hidden", []).append((p, decide(p, kind)))
        keys = list(zip(corpus.records["record_id"].iloc[examples.record], examples.start, strict=True))
        runs = options.ablation / "runs"
        best = sorted((runs / best_of[str(k)]).glob(f"fold{k}-seed*"))
        references = {"best single": best[:1], "control": best, "the ablation's fused": [fold_of(runs, views, k)]}
        references |= {f"trained without {v}": [fold_of(runs, [w for w in views if w != v], k)] for v in views}
        for name, folders in references.items():
            members = [tested(folder, classes) for folder in folders]
            place = {key: i for i, key in enumerate(members[0].item)}
            p = np.mean([member.probabilities for member in members], axis=0)[[place[key] for key in keys]]
            sides.setdefault(name, []).append((p, decide(p, kind)))
    target, cluster = np.concatenate(targets), np.concatenate(clusters)
    pooled = {name: [np.concatenate(each) for each in zip(*parts, strict=True)] for name, parts in sides.items()}
    pairs = [("nothing hidden", name) for name in ("best single", "control", "the ablation's fused")]
    pairs += [(f"{v} hidden", f"trained without {v}") for v in views]

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        found = {name: metrics.essentials(target, p, d, classes, weights) for name, (p, d) in pooled.items()}
        out = {f"{name}|{key}": value for name, values in found.items() for key, value in values.items()}
        return out | {f"{a} - {b}|{key}": found[a][key] - found[b][key] for a, b in pairs for key in found[a]}

    found = intervals.bootstrap(statistic, cluster)
    for a, b in pairs:
        for key in dict.fromkeys((metrics.primary(classes), "macro_auroc")):
            one, other, difference = (found[f"{name}|{key}"] for name in (a, b, f"{a} - {b}"))
            print(f"{key}: {a} {one.value:.3f}, {b} {other.value:.3f}: "
                  f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
