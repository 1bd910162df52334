"""Quality flags of a corpus: stored by record, and what may be left out for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.quality import FLAGS, assess
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.interface.card import Task
from ecgprism.sources.contract import Entry
from tests.data_sets import wave

from .records import known


def flawed() -> list[Recording]:
    """Recordings that are good, flat in V1, clipped in I and V1, noisy in I, and off in V1."""
    good, rng = wave(), np.random.default_rng(0)
    at = np.arange(len(good)) / 100
    pairs = [
        (good, good + 0.01),
        (good, np.zeros_like(good)),
        (np.clip(2 * np.sin(at), -1, 1), np.clip(3 * np.cos(at), -1, 1)),
        (rng.normal(0, 1, len(good)) * np.where(at % 0.02 < 0.01, 1, -1) + 20 * np.sin(2 * np.pi * 45 * at), good),
        (good, 8 * np.sin(2 * np.pi * 0.6 * at)),
    ]
    return [Recording(np.array(pair, dtype=np.float32), 100.0, ("I", "V1")) for pair in pairs]


class Flawed:
    """Those recordings as a source."""

    tasks: Mapping[str, Task] = {"labels": Task("multilabel", ("A",))}
    lead_aliases: Mapping[str, str] = {}

    def entries(self) -> Iterator[Entry]:
        """All labelled A."""
        yield from (Entry(f"r{i}", "", {"labels": ("A",)}, f"p{i}") for i in range(5))

    def read(self, entry: Entry) -> Recording:
        """Return one."""
        return flawed()[int(entry.record_id[1:])]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    with known("flawed", Flawed):
        done = ingest("flawed", None, tmp_path_factory.mktemp("quality") / "c", rate_hz=50, workers=1)
    return Corpus(done.path)


def test_quality_flags_are_stored_by_record(graded: Corpus) -> None:
    table = [[list(row[f"quality_{flag}"]) for flag in FLAGS] for row in graded.records.to_dict("records")]
    assert table == [
        [[], [], [], []], [["V1"], [], [], []], [[], ["I", "V1"], [], []], [[], [], ["I"], []], [[], [], [], ["V1"]],
    ]  # fmt: skip
    for recording, row in zip(flawed(), table, strict=True):
        assert row == [list(getattr(assess(recording), flag)) for flag in FLAGS]
    assert [list(leads) for leads in graded.records["flat_leads"]] == [[], ["V1"], [], [], []]


@pytest.mark.parametrize(
    ("without", "kept"), [((), [0, 1, 2, 3, 4]), (FLAGS, [0]), (("noisy",), [0, 1, 2, 4]), ({"flat", "off"}, [0, 2, 3])]
)
def test_records_with_a_flag_may_be_left_out(graded: Corpus, without: Sequence[str], kept: list[int]) -> None:
    chosen = graded.select("labels", without=without)
    assert chosen.record.tolist() == kept
    assert chosen.left_out == 5 - len(kept)


def test_a_flag_that_there_is_not_is_refused(graded: Corpus) -> None:
    with pytest.raises(EcgprismError, match=r"no quality flag 'nosiy'; did you mean 'noisy'\?"):
        graded.select("labels", without=["nosiy"])
