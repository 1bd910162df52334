"""What a notebook shows: short lines, HTML in which everything is escaped, pictures that need no pyplot."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecgprism as ep
from ecgprism.corpus.ingestion import IngestReport
from ecgprism.corpus.store import Corpus
from ecgprism.evidence.ledger import Ledger
from ecgprism.evidence.reports import Report
from ecgprism.markup import MOST_ROWS, Grid, page
from ecgprism.metrics.intervals import Difference, Estimate
from ecgprism.simulator.simulation import simulate
from ecgprism.training.run import TrainingResult

EVIL = "<script>alert('x')</script>&\nno"


class Reader(HTMLParser):
    """Checks that tags close in order, and collects words, tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.words, self.tags, self.sources = [], [], set(), []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown(thing: Any, *words: str) -> Reader:
    """Return the HTML of a thing, after checks that hold for everything."""
    line = repr(thing)
    assert len(line.splitlines()) == 1
    assert len(line) < 450
    assert line.startswith(type(thing).__name__)
    read = Reader(thing._repr_html_())
    assert "script" not in read.tags
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    for word in words:
        assert word in read.words, (word, read.words)
    return read


@pytest.fixture(scope="module")
def scorecard() -> Any:
    rng = np.random.default_rng(0)
    truth = rng.random((200, 25)) < np.geomspace(0.5, 0.1, 25)
    names = [EVIL, *(f"C{k}" for k in range(1, 25))]
    return ep.report(truth.astype(int), rng.random((200, 25)), classes=names, resamples=10)


def test_html_is_escaped_and_tables_say_what_they_leave_out() -> None:
    grid = Grid((EVIL,), [[EVIL]] * (MOST_ROWS + 3), EVIL)
    read = Reader(page(EVIL, {EVIL: EVIL, "empty": "", "none": None, "zero": 0}, [grid], [EVIL]))
    assert read.tags == {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert read.words.count(EVIL) == 1 + 2 + 1 + 1 + MOST_ROWS + 1
    assert "and 3 more" in read.words
    assert "zero" in read.words
    assert not {"empty", "none"} & set(read.words)


def test_a_recording_shows_its_picture() -> None:
    recording = simulate(0, rate_hz=100, duration_s=4).recording
    evil = replace(recording, metadata={"sex": EVIL}, details={EVIL: EVIL}, path=Path("a<b>.hea"), skipped=(EVIL,))
    read = shown(evil, "4 s, 400 samples at 100 Hz", EVIL, f"sex {EVIL}", "Recording a<b>.hea")
    assert len(read.sources) == 1
    assert len(read.sources[0]) < 400_000


def test_a_corpus_shows_its_classes_by_split(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    read = shown(corpus, "NORM", "age")
    counts = corpus.meta.classes["superdiagnostic"]["NORM"]
    at = read.words.index("NORM")
    assert read.words[at + 1 : at + 4] == [str(counts.get(split, 0)) for split in ("train", "val", "test")]
    assert "160 recordings, 12 leads, 100 Hz; superdiagnostic: " in repr(corpus)
    everything = corpus.with_splits(["test"] * len(corpus))
    words = shown(everything).words
    at = words.index("NORM")
    assert words[at + 1 : at + 4] == ["0", "0", str(sum(counts.values()))]
    report = IngestReport.of(corpus_path, corpus.meta, 0)
    shown(report, "NORM", "age")
    assert "2 rejected" in repr(replace(report, rejected=2))


def test_a_line_of_many_classes_stays_a_line(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    task = corpus.meta.tasks["superdiagnostic"]
    many = tuple(f"class {k}" for k in range(71))
    counts = {name: {"train": k} for k, name in enumerate(many)}
    corpus.meta = corpus.meta.model_copy(
        update={"tasks": {"all": replace(task, classes=many)}, "classes": {"all": counts}}
    )
    corpus.fingerprint = corpus.meta.fingerprint
    assert repr(corpus).endswith("class 5 and 65 more)")
    words = shown(corpus, "and 51 more").words
    assert words[words.index("test") + 1] == "class 70"


def test_a_run_shows_its_epochs_and_its_picture(run_path: Path) -> None:
    from ecgprism.model.prism import PrismModel
    from ecgprism.presentation.curves import history_of

    history = history_of(run_path)
    run = TrainingResult(run_path, PrismModel.load(run_path), history, 2, 12.3)
    read = shown(run, "wave, stft, meta", "2 of 2", f"{history[-1]['val_loss']:.4g}")
    assert len(read.sources) == 1
    assert f"best epoch 2 of 2, macro AUROC {history[1]['val_macro_auroc']:.3f} on validation, 12 s" in repr(run)
    assert not shown(replace(run, path=Path("gone"))).sources


def test_an_estimate_and_a_difference_are_words() -> None:
    assert str(Estimate(value=0.5, low=0.25, high=0.75)) == "0.500 (0.250-0.750)"
    assert str(Estimate(value=0.5, low=0.25, high=0.75, shaky=True)) == "0.500 (0.250-0.750)?"
    assert str(Estimate(value=0.5, low=math.nan, high=math.nan)) == "0.500"
    assert str(Estimate(value=math.nan, low=math.nan, high=math.nan)) == "undefined"
    assert str(Difference(value=0.1, low=0.05, high=0.2, p=0.01)) == "+0.100 (+0.050 to +0.200)*"
    assert str(Difference(value=0.1, low=-0.05, high=0.2, p=0.5)) == "+0.100 (-0.050 to +0.200)"


def test_reports_show_the_metric_that_counts(run_path: Path, tmp_path: Path, scorecard: Any) -> None:
    done = ep.evaluate(run_path, out=tmp_path, resamples=10)
    value = str(done.report.metrics["macro_auroc"])
    for each in (done, done.report):
        shown(each, "macro_auroc", value, "NORM")
        assert f"macro_auroc {value} on {done.report.items} items" in repr(each)
    assert str(done.report) == repr(done.report)
    read = shown(scorecard, "macro_auroc", EVIL, "and 5 more")
    assert str(scorecard.per_class["C1"]["auroc"]) in read.words
    assert len(str(scorecard).splitlines()) > 5


def test_a_ledger_a_comparison_and_a_stress_test_show_what_they_find() -> None:
    from ecgprism.evidence.reports import ComparisonReport, ConditionReport, LedgerReport, RunReport, StressReport

    good, worse = Estimate(value=0.9, low=0.8, high=0.95), Estimate(value=0.5, low=0.4, high=0.6)
    change = Difference(value=-0.4, low=-0.5, high=-0.3, p=0.001)
    terms = {"kind": "multilabel", "classes": ("a",), "metric": "macro_auroc"}
    clean, noisy = (
        ConditionReport(family=f, name=n, level=0.0, models={"fused": s}, change=change, kept=1.0, over={})
        for f, n, s in (("clean", "clean", good), ("noise", EVIL, worse))
    )
    stress = StressReport.model_construct(**terms, run="r", models={"fused": "r"}, clean=clean, conditions=[noisy])
    shown(stress, str(good), str(worse), str(change))
    assert f"macro_auroc {good} clean; worst: noise" in repr(stress)
    comparison = ComparisonReport.model_construct(
        **terms, items=3, patients=2, runs=[RunReport(run=EVIL, metrics={"macro_auroc": good})], pairs=[]
    )
    shown(comparison, EVIL, str(good))
    ledger = LedgerReport.model_construct(
        **terms, models={EVIL: _model(good)}, differences={}, worth={}, verdict="Yes: <it pays>.", notes=[EVIL]
    )
    for each in (ledger, Ledger(ledger, Path("abl"))):
        shown(each, EVIL, str(good), "Yes: <it pays>.")
        assert "Yes: <it pays>." in repr(each)
    assert repr(Report()) == "Report()"


def _model(score: Estimate) -> Any:
    from ecgprism.evidence.reports import ModelReport

    return ModelReport(metrics={"macro_auroc": score}, per_class={})


def test_what_is_shown_loads_matplotlib_only_when_it_is_shown() -> None:
    code = (
        "import sys, numpy as np, ecgprism as ep; from ecgprism.evidence.reports import Report\n"
        "r = ep.Recording(np.zeros((1, 300), np.float32), 100.0, ('I',)); repr(r); ep.Corpus\n"
        "before = 'matplotlib' in sys.modules; r._repr_html_()\n"
        "print(before, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
