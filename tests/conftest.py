"""Shared by the tests: one small simulated corpus, one small trained run."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL_VIEWS = {
    "wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 8, "hidden": 8}}},
    "stft": {"view": "spectrogram", "encoder": {"crnn2d": {"width": 4, "hidden": 8}}},
    "meta": {"view": "metadata", "encoder": {"mlp": {"hidden": 16}}},
}
AUGMENT = {
    "scale": 0.2, "crop": 0.8, "lead_dropout": 0.1, "noise_db": [6, 24], "time_mask": 0.1, "frequency_mask_hz": 5,
}  # fmt: skip


def small_tree(corpus: Path, **train: object) -> dict[str, object]:
    """Return a configuration that trains in seconds."""
    settings = {"epochs": 2, "batch_size": 32, "ema": 0.9, **train}
    return {"corpus": str(corpus), "views": SMALL_VIEWS, "dim": 16, "augment": AUGMENT, "train": settings}


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ecgprism.corpus.ingestion import ingest

    out = tmp_path_factory.mktemp("corpora") / "simulated"
    ingest("simulated", None, out, options={"n": 160}, workers=1)
    return out


@pytest.fixture(scope="session")
def run_path(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ecgprism.config import parse_config
    from ecgprism.training.run import fit

    out = tmp_path_factory.mktemp("runs") / "small"
    fit(parse_config(small_tree(corpus_path)), out)
    return out
