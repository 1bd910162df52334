"""The surest mistakes on the CinC 2017 training set, out-of-fold, as pictures by what is seen in them.

    python bench/five_folds.py corpora/cinc2017 OUT            # trains and answers: OUT/fused-1-test ... fused-5-test
    python bench/errors.py corpora/cinc2017 OUT docs/errors [--most 50]

Prints the mistakes, the surest first (probability of the answer less that of the label). What was seen in the first 50
stands in bench/errors_cinc2017.csv (record, group); each group becomes a picture docs/errors/GROUP.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import ecgprism as ep

CLASSES = ("N", "A", "O", "~")
SHOWN_S, ROW_INCHES = 30.0, 0.62


def mistakes(folder: Path) -> pd.DataFrame:
    """Return the wrong answers of the five test parts, the surest first."""
    found = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("fused-?-test/predictions.parquet"))])
    p = found[[f"p_{name}" for name in CLASSES]].to_numpy()
    label, said = found[[f"target_{name}" for name in CLASSES]].to_numpy().argmax(axis=1), p.argmax(axis=1)
    row = np.arange(len(p))
    table = pd.DataFrame(
        {
            "record": found["record_id"].to_numpy(),
            "label": np.array(CLASSES)[label],
            "said": np.array(CLASSES)[said],
            "p_said": p[row, said],
            "p_label": p[row, label],
        }
    )
    wrong = table[label != said]
    return wrong.assign(sure=wrong["p_said"] - wrong["p_label"]).sort_values("sure", ascending=False)


def draw(corpus: ep.Corpus, rows: pd.DataFrame, file: Path) -> None:
    """Draw the first 30 s of recordings below each other."""
    number = {name: n for n, name in enumerate(corpus.records["record_id"])}
    figure = Figure(figsize=(15, ROW_INCHES * len(rows) + 0.3), layout="constrained")
    for axes, (_, row) in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows.iterrows(), strict=True):
        trace = corpus.signal(number[row["record"]])[0, : round(SHOWN_S * corpus.rate_hz)]
        trace = trace - np.nanmedian(trace)
        low, high = np.nanpercentile(trace, [0.5, 99.5])
        axes.plot(np.arange(len(trace)) / corpus.rate_hz, trace, color="black", linewidth=0.7)
        axes.set(xlim=(0, SHOWN_S), ylim=(low - 0.1, high + 0.1), yticks=[], xticks=np.arange(0, 31, 5), xticklabels=[])
        axes.grid(axis="x", alpha=0.4)
        axes.set_ylabel(
            f"{row['record']}\n{row['label']}, said {row['said']} {row['p_said']:.2f}",
            rotation=0,
            ha="right",
            fontsize=8,
        )
    figure.savefig(file, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("answers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=50)
    given = parser.parse_args()
    table = mistakes(given.answers)
    print(f"{len(table)} mistakes")
    print(pd.crosstab(table["label"], table["said"]))
    print(table.head(given.most).to_string(index=False))
    groups = pd.read_csv(Path(__file__).with_name("errors_cinc2017.csv"))
    seen = table.head(given.most).merge(groups, on="record")
    corpus = ep.Corpus(given.corpus)
    for name, rows in seen.groupby("group"):
        draw(corpus, rows, given.out / f"{name}.png")
        print(f"{name}: {len(rows)}")


if __name__ == "__main__":
    main()
