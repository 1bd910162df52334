"""Figures: to scale, in every kind of file, of many classes too, and without a hand on matplotlib's global state."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import ecgprism as ep
from ecgprism.errors import EcgprismError
from ecgprism.presentation.curves import plot_answers, plot_confusion, plot_precision_recall, plot_reliability, plot_roc
from ecgprism.presentation.paper import MM_PER_MV, MM_PER_S
from ecgprism.presentation.style import save
from ecgprism.simulator.simulation import simulate

RECORDING = simulate(0, rate_hz=250, duration_s=12).recording


def millimetres(figure, x_s: float, y_mv: float) -> np.ndarray:
    """Return where a point of the only axes lies on the page."""
    (axes,) = figure.axes
    return axes.transData.transform((x_s, y_mv)) / figure.dpi * 25.4


@pytest.mark.parametrize("shown_s", [10.0, 2.5])
def test_paper_is_to_scale(shown_s: float) -> None:
    figure = ep.plot(RECORDING, shown_s=shown_s)
    figure.draw_without_rendering()
    second = millimetres(figure, 1, 0) - millimetres(figure, 0, 0)
    millivolt = millimetres(figure, 0, 1) - millimetres(figure, 0, 0)
    np.testing.assert_allclose(second, (MM_PER_S, 0), atol=1e-6)
    np.testing.assert_allclose(millivolt, (0, MM_PER_MV), atol=1e-6)


def test_a_pdf_and_an_svg_have_the_size_of_the_paper(tmp_path: Path) -> None:
    figure = ep.plot(RECORDING)
    width_mm = figure.get_figwidth() * 25.4
    assert width_mm == pytest.approx((10 + 1.2) * 25)
    save(figure, tmp_path / "a.svg")
    said = re.search(r'<svg [^>]*width="([\d.]+)pt"', (tmp_path / "a.svg").read_text())
    assert said is not None
    assert float(said[1]) == pytest.approx(width_mm / 25.4 * 72, abs=1e-3)
    save(figure, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_trace_that_leaves_its_row_is_cut_and_marked() -> None:
    signal = np.array(RECORDING.signal)
    signal[1] *= 8
    lines = ep.plot(ep.Recording(signal, 250.0, RECORDING.leads)).axes[0].get_lines()
    marks = [line for line in lines if line.get_marker() not in ("None", "")]
    assert marks
    for line in lines:
        y = np.asarray(line.get_ydata(), dtype=float)
        assert np.nanmax(y) - np.nanmin(y) <= 3.0 + 1e-6


@pytest.mark.parametrize("start_s", [-1.0, 12.0, 100.0])
def test_a_time_that_is_not_there_is_refused(start_s: float) -> None:
    with pytest.raises(EcgprismError, match=r"start_s = .*: the recording has 12 s"):
        ep.plot(RECORDING, start_s=start_s)


def test_every_view_of_a_model_has_a_panel(run_path: Path) -> None:
    figure = ep.plot_views(run_path, RECORDING)
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert [title.split(":")[0] for title in titles] == ["wave", "stft", "meta"]
    figure.savefig(io.BytesIO())
    every = ep.PrismModel.of(["waveform", "spectrum", "spectrogram", "scalogram", "rhythm"], ["a", "b"])
    ep.plot_views(every, RECORDING).savefig(io.BytesIO())


def test_figures_of_a_run(run_path: Path, tmp_path: Path) -> None:
    ep.evaluate(run_path, out=tmp_path / "e", resamples=10)
    figures = plot_answers(tmp_path / "e")
    assert list(figures) == ["roc", "precision_recall", "reliability"]
    assert "training" in [text.get_text() for text in ep.plot_training(run_path).axes[0].get_legend().get_texts()]
    with pytest.raises(EcgprismError, match=r"no history.csv in it: not the folder of a training"):
        ep.plot_training(tmp_path)


def test_areas_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    target = rng.random((300, 2)) < 0.3
    p = np.round(np.clip(target * 0.3 + rng.random((300, 2)) * 0.7, 0, 1), 2)  # with ties
    for plot, score in ((plot_roc, roc_auc_score), (plot_precision_recall, average_precision_score)):
        labels = [text.get_text() for text in plot(target, p, ["a", "b"]).axes[0].get_legend().get_texts()]
        for k, label in enumerate(labels):
            assert float(label.split(": ")[1].split(",")[0]) == pytest.approx(score(target[:, k], p[:, k]), abs=6e-4)


@pytest.mark.parametrize("classes", [2, 20, 71, 110])
def test_many_classes_stay_readable(classes: int) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, classes, 3000)
    p = rng.dirichlet(np.ones(classes), 3000)
    names = [f"a long name of class {k}" for k in range(classes)]
    for plot in (plot_roc, plot_precision_recall, plot_reliability):
        axes = plot(label, p, names).axes[0]
        assert len(axes.get_legend().get_texts()) <= 7
        assert (f"of {classes} classes" in axes.get_title()) == (classes > 7)
    figure = plot_confusion(label, p, names)
    assert len(figure.axes[0].get_xticks()) == min(classes, 40)
    assert max(figure.get_size_inches()) < 22


def test_the_backend_and_open_figures_stay_as_they_are() -> None:
    code = (
        "import matplotlib; matplotlib.use('svg'); import ecgprism as ep, sys\n"
        "ep.plot(ep.simulate(0, rate_hz=100, duration_s=5).recording)\n"
        "assert matplotlib.get_backend() == 'svg', matplotlib.get_backend()\n"
        "pyplot = sys.modules.get('matplotlib.pyplot')\n"
        "assert pyplot is None or not pyplot.get_fignums()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mpl.get_backend()


def test_a_picture_of_another_kind_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    words = ["info", "nothing.hea", "--plot", "a.gif"]
    done = subprocess.run([sys.executable, "-m", "ecgprism", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: a.gif: a picture ends in .png, .svg or .pdf")
    with pytest.raises(EcgprismError, match=r"a picture ends in .png, .svg or .pdf"):
        save(ep.plot(RECORDING), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_evaluate_draws_into_a_folder(run_path: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        str(run_path),
        "--out",
        str(tmp_path / "e"),
        "--resamples",
        "10",
        "--plots",
        str(tmp_path / "p"),
    ]
    subprocess.run([sys.executable, "-m", "ecgprism", *words], check=True, capture_output=True)
    names = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert names == ["precision_recall.png", "reliability.png", "roc.png", "training.png"]
