"""Corpora of a few made recordings, for tests of ingest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgprism.corpus.ingestion import IngestReport, ingest
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording

from .records import Made, known, listed

Floats = NDArray[np.float32]


def recording(signal: Any, leads: Sequence[str] = STANDARD_LEADS, rate_hz: float = 100.0, **given: Any) -> Recording:
    rows = np.atleast_2d(np.asarray(signal, dtype=np.float32))
    return Recording(rows, rate_hz, tuple(leads[: len(rows)]), **given)


def wave(seed: int = 0, n_leads: int = 1, samples: int = 300) -> Floats:
    return np.random.default_rng(seed).normal(0, 1, (n_leads, samples)).astype(np.float32)


def ingest_these(
    recordings: Sequence[Recording | Exception], out: Path, changes: Any = None, **given: Any
) -> IngestReport:
    with listed(recordings, changes):
        return ingest("listed", None, out, workers=1, **given)


def ingest_made(out: Path, n: int = 12, **given: Any) -> IngestReport:
    with known("made", Made):
        return ingest("made", None, out, **{"options": {"n": n}, "workers": 1, **given})


def contents(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.iterdir()}


def partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def one_line(error: BaseException) -> str:
    assert len(str(error).splitlines()) == 1
    return str(error)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ingest") / "undisturbed"
    ingest_made(out)
    return out


def _rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage
