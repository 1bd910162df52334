"""Write the notebooks of docs/tutorials anew and keep their outputs: python bench/tutorials.py [NAME ...]

Each is a list of cells here, so that its text is reviewed as text; running them takes about a minute each.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
QUIET = {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}

NOTEBOOKS: dict[str, list[str]] = {
    "arrays_to_fused_model": [
        "# From a folder of arrays to a fused model\n\nYou have ECGs as NumPy arrays and a table of labels. This notebook "
        "turns them into a corpus, trains a network that sees the waveform, the spectrogram and the rhythm at once, and "
        "says what it is worth, with intervals by patient. The ECGs here are simulated, so that it runs anywhere.",
        "## Arrays\n\nA file per recording, `(leads, samples)` in millivolts, and a table: what many people have.",
        "from pathlib import Path\n\nimport numpy as np\nimport pandas as pd\n\nimport ecgprism as ep\n\n"
        "folder = Path('arrays')\nfolder.mkdir(exist_ok=True)\nrows = []\nfor i in range(160):\n"
        "    made = ep.simulate(i, rate_hz=250, duration_s=10)\n    np.save(folder / f'ecg{i:03d}.npy', made.recording.signal)\n"
        "    labels = '|'.join(made.traits.labels['superdiagnostic'])\n"
        "    rows.append({'file': f'ecg{i:03d}.npy', 'patient': made.traits.patient_id, 'labels': labels}\n"
        "                | dict(made.recording.metadata))\nleads = made.recording.leads\ntable = pd.DataFrame(rows)\ntable.head()",
        "Load them. Rate, unit and leads are said, never guessed; metadata goes in as a table.",
        "X = np.stack([np.load(folder / name) for name in table['file']])\n"
        "y = [tuple(text.split('|')) if text else () for text in table['labels']]\n"
        "report = ep.ingest_arrays(\n    X, y, rate_hz=250, unit='mV', leads=leads, patients=table['patient'],\n"
        "    metadata=table[['age', 'sex']], out='corpus',\n)\ncorpus = ep.Corpus('corpus')\ncorpus",
        "## What the model will see",
        "model = ep.PrismModel.of(['waveform', 'spectrogram', 'rhythm'], corpus.tasks['labels'].classes, leads=leads)\n"
        "ep.plot_views(model, ep.simulate(3, rate_hz=250, duration_s=10).recording)",
        "## Train\n\nThree epochs of small networks are enough to see it work; a real training takes twenty and more.",
        "views = {\n    'wave': {'view': 'waveform', 'encoder': {'cnn_bilstm': {'width': 12, 'stages': 3}}},\n"
        "    'stft': {'view': 'spectrogram', 'encoder': {'crnn2d': {'width': 8}}},\n    'rhythm': 'rhythm',\n"
        "    'meta': 'metadata',\n}\nconfig = ep.Config(corpus='corpus', views=views, dim=32, train={'epochs': 4, "
        "'batch_size': 16, 'ema': 0.9})\nrun = ep.fit(config, 'runs/fused')\nep.plot_training('runs/fused')",
        "## What is it worth?\n\nOn patients that no training saw. With sixteen of them the intervals are wide, and say so.",
        "result = ep.evaluate('runs/fused', resamples=200)\nvalue, low, high = result.value('macro_auroc')\n"
        "print(f'macro AUROC {value:.3f} ({low:.3f} to {high:.3f})')\nep.plot_roc('runs/fused')",
        "## An answer for one ECG",
        "ep.predict(run.model, X[:3], rate_hz=250, unit='mV', leads=leads, metadata=table[['age', 'sex']][:3]).round(3)",
    ],
    "does_the_spectrogram_help": [
        "# Does the spectrogram help?\n\nA fused model that beats its waveform alone may only be a bigger model. The ledger asks "
        "fairly: every view alone, the model without each view, the whole, and a control of the same size (the best view, "
        "trained several times and averaged), all judged on the same patients.",
        "import ecgprism as ep\n\nep.ingest('simulated', None, 'corpus', options={'n': 160})\n"
        "views = {\n    'wave': {'view': 'waveform', 'encoder': {'cnn_bilstm': {'width': 8, 'stages': 3, 'hidden': 16}}},\n"
        "    'stft': {'view': 'spectrogram', 'encoder': {'crnn2d': {'width': 4, 'hidden': 16}}},\n}\n"
        "config = ep.Config(corpus='corpus', views=views, dim=16, train={'epochs': 2, 'batch_size': 16, 'ema': 0.9})",
        "On the command line this is `ecgprism ablate config.yaml --out ablation --folds 5`; it goes on after a kill.",
        "ledger = ep.ablate(config, 'ablation', seeds=1, workers=1, resamples=200)\nep.plot_ledger(ledger.report)",
        "The verdict is one sentence, and it says so when the data cannot tell, as sixteen patients cannot:",
        "print(ledger.verdict)",
        "What each view brings, shared out over all coalitions of views (Shapley values), with intervals:",
        "for view, values in ledger.report.shapley.items():\n    each = values[ledger.report.metric]\n"
        "    print(f'{view:6} {each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})')",
    ],
    "fine_tune_predict_embed": [
        "# Fine-tune, predict, embed\n\nA trained model comes with the package: rhythm of a single lead. Here it predicts, its "
        "embeddings feed a classifier of your own, and its encoders begin a training on other classes.",
        "## Predict by name",
        "import numpy as np\nimport pandas as pd\n\nimport ecgprism as ep\n\n\n"
        'def ecg(i, condition):\n    """Return a simulated recording with a condition, or without one."""\n    conditions = {condition: 0.8} if condition else {}\n'
        "    return ep.simulate(i, seed=3, rate_hz=300, duration_s=20, conditions=conditions).recording\n\n"
        "kinds = [None, 'atrial_fibrillation'] * 20\nrecordings = [ecg(i, kind) for i, kind in enumerate(kinds)]\n"
        "X = np.stack([each.signal[:1] for each in recordings])  # lead I\nlabels = ['AF' if kind else 'sinus' for kind in kinds]\n"
        "table = ep.predict('rhythm-1lead', X, rate_hz=300, unit='mV', leads=['I'])\n"
        "pd.crosstab(pd.Series(labels, name='simulated'), table['labels'])",
        "`ecgprism pull rhythm-1lead` shows what it was trained on, what it reaches, and what it is not for.",
        "## Embed\n\nOne vector per recording and view, fused too: features for anything.",
        "from sklearn.linear_model import LogisticRegression\n\n"
        "vectors = ep.embed('rhythm-1lead', X, rate_hz=300, unit='mV', leads=['I'])\nE = np.stack(vectors['fused'])\n"
        "model = LogisticRegression(max_iter=1000).fit(E[:30], labels[:30])\n"
        "print(f'{E.shape[1]} features; right on ten others: {model.score(E[30:], labels[30:]):.0%}')",
        "## Fine-tune\n\nThe encoders are taken by the names of their views, the head is new; first only the head learns, then all.",
        "ep.ingest_arrays(X, labels, rate_hz=300, unit='mV', leads=['I'], out='corpus')\n"
        "views = {\n    'wave': {'view': {'waveform': {'scale': 'record'}}, 'encoder': 'cnn_bilstm'},\n"
        "    'stft': 'spectrogram',\n    'rhythm': 'rhythm',\n}\n"
        "options = {'epochs': 2, 'batch_size': 8, 'monitor': 'loss', 'freeze': ['encoders'], 'thaw_epoch': 2,\n"
        "           'lr_scale': {'encoders': 0.1}}\n"
        "config = ep.Config(corpus='corpus', views=views, window_s=20, train=options)\n"
        "ep.pull('rhythm-1lead', 'pretrained')\nrun = ep.fit(config, 'runs/tuned', init='pretrained')\n"
        "ep.plot_training('runs/tuned')",
    ],
}


def notebook(cells: list[str]) -> Any:
    """Return a notebook of cells: text where one begins like text, else code."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number, source in enumerate(cells):
        cell = nbformat.v4.new_code_cell(source) if _is_code(source) else nbformat.v4.new_markdown_cell(source)
        cell["id"] = f"cell-{number}"  # not drawn by chance: a rewritten notebook differs where it says something else
        made.cells.append(cell)
    return made


def _is_code(source: str) -> bool:
    if source.startswith("#"):
        return False
    try:
        compile(source, "cell", "exec")
    except SyntaxError:
        return False
    return True


def executed(made: Any) -> Any:
    """Run a notebook in a fresh kernel and an empty folder; what a run says of itself (times, execution) is left out."""
    with tempfile.TemporaryDirectory() as folder:
        before = {name: os.environ.get(name) for name in QUIET}
        os.environ |= QUIET
        try:
            NotebookClient(
                made,
                timeout=300,
                coalesce_streams=True,
                kernel_name="python3",
                resources={"metadata": {"path": folder}},
            ).execute()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return made


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or NOTEBOOKS:
        nbformat.write(executed(notebook(NOTEBOOKS[name])), FOLDER / f"{name}.ipynb")
        print(f"{name}: written, {(FOLDER / f'{name}.ipynb').stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
