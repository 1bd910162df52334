"""Tables on a terminal with few and with many classes: nothing cut off, what is folded said, every label explained."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

import ecgprism as ep
from ecgprism.cli.entry import app
from ecgprism.cli.evidence import _interval
from ecgprism.config import parse_config
from ecgprism.evidence.reports import EvaluationReport
from ecgprism.interface.answers import threshold_columns
from ecgprism.metrics.intervals import Difference
from ecgprism.model.prism import PrismModel
from ecgprism.presentation import tables
from ecgprism.presentation.console import ConsoleWatch
from ecgprism.training.preparation import prepare

WIDTHS = pytest.mark.parametrize("width", [80, 160])
MANY = {f"class number {k:03d}": {"train": 200 - k, "val": k % 7} for k in range(110)}


def console(width: int) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=width), text


def whole(text: str, width: int) -> list[str]:
    """Return the lines of what was printed, none of which is cut off or too wide."""
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    return [" ".join(line.split()) for line in text.splitlines()]


@WIDTHS
def test_of_many_classes_the_most_frequent_are_rows_and_the_others_are_told(width: int) -> None:
    at, text = console(width)
    tables.show_class_counts(at, MANY, ("train", "val", "test"), "in corpus.json")
    lines = whole(text.getvalue(), width)
    assert lines[1] == "class number 000 200 0 0"
    assert lines[-1] == "and 85 rarer classes in corpus.json"
    assert len(lines) == 1 + tables.CLASSES + 1
    few, text = console(width)
    tables.show_class_counts(few, dict(list(MANY.items())[:20]), ("train",), "in corpus.json")
    assert len(whole(text.getvalue(), width)) == 21


def test_a_name_that_is_wider_than_the_terminal_goes_on_in_the_next_line() -> None:
    at, text = console(80)
    name = "x".join(map(str, range(60)))
    tables.show_class_counts(at, {name: {"train": 3}}, ("train", "val", "test"), "")
    whole(text.getvalue(), 80)
    assert name in "".join(line.split(" ")[0] for line in text.getvalue().splitlines())


def test_what_is_undefined_ranks_last() -> None:
    assert tables.most({"a": 1.0, "b": float("nan"), "c": 3.0, "d": 2.0}, 2) == ["c", "d"]


@WIDTHS
def test_a_training_on_many_classes_begins_with_a_table_that_can_be_read(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(0)
    labels = [[f"a rather long name {k:02d}" for k in range(40) if rng.random() < 0.5] for _ in range(40)]
    done = ep.ingest_arrays(
        rng.normal(0, 0.2, (40, 1, 300)).astype(np.float32), labels, rate_hz=100, unit="mV", leads=["II"],
        out=tmp_path / "c", workers=1,
    )  # fmt: skip
    at, text = console(width)
    watch = ConsoleWatch(at)
    with watch:
        watch.start(
            prepare(parse_config({"corpus": str(done.path), "views": ["waveform"], "window_s": 3, "dim": 8})), 1.0, 0
        )
    lines = whole(text.getvalue(), width)
    assert "and 15 rarer classes that are learnt all the same" in lines
    assert any(line.startswith("a rather long name") for line in lines)


def report(classes: int) -> EvaluationReport:
    names = tuple(f"rhythm {k:02d}" for k in range(classes))
    confusion = [[10 if i == j else (i + j) % 3 for j in range(classes)] for i in range(classes)]
    return EvaluationReport.model_construct(classes=names, confusion=confusion)


def test_a_confusion_matrix_that_is_too_wide_becomes_the_most_frequent_mistakes() -> None:
    at, text = console(80)
    tables.show_confusion(at, report(4), "in metrics.json")
    assert whole(text.getvalue(), 80)[1] == "rhythm 00 10 1 2 0"
    at, text = console(80)
    tables.show_confusion(at, report(30), "in metrics.json")
    lines = whole(text.getvalue(), 80)
    assert lines[:2] == ["most frequent mistakes:", "true predicted items"]
    assert lines[2].endswith(" 2")
    assert lines[-1].startswith("and ") and lines[-1].endswith(" rarer ones in metrics.json")


def labels_by_the_table(table: pd.DataFrame) -> list[str]:
    """Return what the columns of a table of predictions say that its labels are."""
    classes = [name.removeprefix("p_") for name in table if name.startswith("p_")]
    found = []
    for _, row in table.iterrows():
        if row["rule"] == "highest p":
            found.append(max(classes, key=lambda name: row[f"p_{name}"]))
        else:
            assert row["rule"] == "p >= t"
            found.append("|".join(name for name in classes if row[f"p_{name}"] >= row[f"t_{name}"]))
    return found


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
@pytest.mark.parametrize("thresholds", [None, (0.45, 0.5, 0.55)])
@WIDTHS
def test_every_label_is_filled_by_a_rule_that_the_table_shows(
    kind: str, thresholds: tuple[float, ...] | None, width: int
) -> None:
    model = PrismModel.of(["waveform"], ["AF", "NORM", "MI"], kind=kind, leads=["I"])
    model.card.thresholds = thresholds if kind == "multilabel" else None
    signals = np.random.default_rng(0).normal(0, 0.3, (8, 1, 1000)).astype(np.float32)
    table = ep.predict(model, signals, rate_hz=100, unit="mV", leads=["I"], note=lambda text: None)
    read = pd.read_csv(io.StringIO(table.to_csv(index=False)), keep_default_na=False)
    assert read["labels"].tolist() == labels_by_the_table(read) == table["labels"].tolist()
    assert [name for name in table if name.startswith("t_")] == (
        ["t_AF", "t_NORM", "t_MI"] if kind == "multilabel" else []
    )
    at, text = console(width)
    tables.show_predictions(at, table)
    lines = whole(text.getvalue(), width)
    assert sum(line.endswith(" yes") for line in lines) == sum(len(each.split("|")) for each in table["labels"] if each)
    assert lines[-1] == f"label: {tables.RULES[table['rule'][0]]}"


def test_of_many_predictions_the_surest_are_shown_and_the_rest_is_told() -> None:
    names = [f"c{k}" for k in range(40)]
    rows = {f"p_{name}": np.linspace(0.9, 0.1, 40)[k] for k, name in enumerate(names)}
    one = pd.DataFrame([{"record_id": "r", "labels": "c0", "rule": "p >= t", **rows}])
    one = one.assign(**threshold_columns("multilabel", names, None))
    at, text = console(80)
    tables.show_predictions(at, one)
    lines = whole(text.getvalue(), 80)
    assert lines[1] == "c0 0.900 0.500 yes"
    assert "and up to 15 less sure classes of each recording: --out FILE.csv has all" in lines
    at, text = console(80)
    many = pd.concat([one] * 30, ignore_index=True)
    many.loc[2, [name for name in many if name.startswith("p_")]] = np.nan
    tables.show_predictions(at, many)
    lines = whole(text.getvalue(), 80)
    assert "and 10 more recordings: --out FILE.csv has all" in lines
    assert "r no answer" in lines


def test_a_difference_that_few_resamples_know_has_no_star() -> None:
    sure = Difference(value=0.1, low=0.05, high=0.2, defined=1000, p=0.01)
    assert _interval(sure).endswith(")*")
    assert _interval(sure.model_copy(update={"shaky": True})).endswith(")?")


def test_ingest_tells_kinds_and_categories(tmp_path: Path) -> None:
    n = 24
    np.save(tmp_path / "X.npy", np.random.default_rng(0).normal(0, 0.2, (n, 1, 200)).astype(np.float32))
    rows = [f"{'AF' if i % 2 else 'N'},{40 + i},{('Bern', 'Oslo')[i % 3 == 0]},v{i},dev{i % 10},," for i in range(n)]
    (tmp_path / "y.csv").write_text("\n".join(["labels,age,site,visit,device,empty,", *rows]))
    options = ["rate_hz=100", "unit=mV", "leads=II", "--labels", str(tmp_path / "y.csv"), "--workers", "1"]
    done = CliRunner().invoke(
        app, ["ingest", "arrays", str(tmp_path / "X.npy"), *options, "--out", str(tmp_path / "c")]
    )
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "metadata age: numbers, 40 to 63, 0% missing" in told
    assert "metadata site: categories, 0% missing: Bern 16, Oslo 8" in told
    assert "dev3 3, dev4 2, dev5 2, dev6 2, dev7 2 and 2 more" in told
    assert "and 16 more; nearly all differ: is it a name or a date?" in told
    assert "note: column empty is empty" in told
    assert "task labels (multiclass)" in told  # as of a manifest: one label in every row
    meta = ep.Corpus(tmp_path / "c").meta
    assert meta.ranges == {"age": (40.0, 63.0)}
    assert meta.categories["site"] == {"Bern": 16, "Oslo": 8}
