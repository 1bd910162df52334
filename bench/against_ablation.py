"""Another fused model against the references of an ablation: its best single view, its control, its models without a
view (against the fused model with that view masked); pooled over folds, paired intervals.

python bench/against_ablation.py ABLATION RUN [RUN ...]

ABLATION is a folder of `ecgprism ablate --seeds 1 --folds N`. RUN are fused models of its folds in order, trained
otherwise, as `bench/fusions.py --fusions concat --override ...` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.evidence.comparison import answers_of
from ecgprism.evidence.ledger import LEDGER
from ecgprism.evidence.reports import LedgerReport
from ecgprism.evidence.run import Run, answers_on
from ecgprism.evidence.verdicts import in_words
from ecgprism.interface.answers import Answers
from ecgprism.interface.scoring import score
from ecgprism.metrics.contrasts import AUROC, minus, tabulate
from ecgprism.model.engine import TorchEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    ledger = LedgerReport.read(options.ablation / LEDGER)
    sides: dict[str, list[Answers]] = {}
    for k, folder in enumerate(options.runs, 1):
        run = Run.open(folder)
        if run.card.kind != "multiclass":
            raise SystemExit("error: made for multi-class runs, whose decisions need no thresholds")
        views, examples = run.card.views, run.examples("test")
        assembler = CorpusAssembler(run.corpus, examples, run.card.spec)
        for hidden in ("nothing", *views):
            engine = TorchEngine(run.model, hidden=[hidden] if hidden in views else [])
            answers = answers_on(run.corpus, examples, run.card, score(engine, assembler).probabilities)
            sides.setdefault(f"{hidden} hidden", []).append(answers.sorted())
        runs, own = options.ablation / "runs", f"fold{k}-seed0"
        best = sorted((runs / ledger.best_single[str(k)]).glob(f"fold{k}-seed*"))
        references = {"best single": best[:1], "control": best, "the ablation's fused": [runs / "+".join(views) / own]}
        references |= {
            f"trained without {view}": [runs / "+".join(other for other in views if other != view) / own]
            for view in views
        }
        for name, folders in references.items():
            members = [answers_of(each, run.card.classes) for each in folders]
            sides.setdefault(name, []).append(Answers.mean(members))
    models = {name: Answers.pooled(parts) for name, parts in sides.items()}
    if any(each.item != models["nothing hidden"].item for each in models.values()):
        raise SystemExit("error: the runs were not tested on the records of the ablation's folds")
    pairs = [("nothing hidden", name) for name in ("best single", "control", "the ablation's fused")]
    pairs += [(f"{view} hidden", f"trained without {view}") for view in ledger.views]
    found = tabulate(models, {pair: minus(*pair) for pair in pairs}, ledger.metric)
    for a, b in pairs:
        for key in dict.fromkeys((ledger.metric, AUROC)):
            one, other = (found.models[name].metrics[key].value for name in (a, b))
            print(f"{key}: {a} {one:.3f}, {b} {other:.3f}: {in_words(found.contrasts[a, b].metrics[key])}")


if __name__ == "__main__":
    main()
