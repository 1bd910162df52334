"""Engines: prediction needs no PyTorch; whatever computes the logits, all else is the same lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from ecgprism.formats import reading
from ecgprism.interface.card import Card, InputSpec
from ecgprism.interface.inputs import Arrays, SignalAssembler
from ecgprism.interface.scoring import Logits
from ecgprism.interface.storage import read_card
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.prediction import files as prediction_files
from ecgprism.prediction.files import embed, predict

from .test_evaluation import write

WITHOUT_TORCH = """
    import json, sys

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("torch", "lightning", "matplotlib") or name.startswith("ecgprism.corpus"):
                raise ImportError(f"{name} must not be imported")

    sys.meta_path.insert(0, Refuse())
    import numpy as np
    from ecgprism.interface.card import Card, InputSpec
    from ecgprism.interface.scoring import Logits
    from ecgprism.prediction.files import embed, predict

    class Peak:
        '''An engine of three lines: the logit of each class is the highest value of a lead.'''
        card = Card(
            kind="multilabel", classes=("I", "II"), leads=("I", "II"), rate_hz=100.0, window=400, views=("wave",)
        )

        def run(self, arrays):
            peaks = arrays.signal.max(axis=2)
            return Logits({"fused": peaks}, arrays.lead_mask.any(axis=1)[:, None], {"fused": peaks})

    table = predict(Peak(), sys.argv[1:])
    vectors = embed(Peak(), sys.argv[1:])
    print(json.dumps([table["p_I"].tolist(), np.stack(vectors["fused"]).max(axis=0).tolist()]))
"""


def test_prediction_runs_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    files = [str(write(tmp_path, name, seed, seconds=9)) for name, seed in (("a", 1), ("b", 2))]
    code = textwrap.dedent(WITHOUT_TORCH)
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    p, highest = json.loads(done.stdout)
    assert len(p) == 2
    assert all(0.5 < value < 1 for value in p)
    assert all(value > 0 for value in highest)


class Recorded:
    """An engine that notes what it is given, and answers with PyTorch."""

    def __init__(self, model: PrismModel) -> None:
        self.engine, self.seen = TorchEngine(model, embeddings=True), 0
        self.card: Card = self.engine.card

    def run(self, arrays: Arrays) -> Logits:
        assert arrays.signal.dtype == np.float32
        self.seen += len(arrays.signal)
        return self.engine.run(arrays)


def test_a_model_its_file_its_folder_and_its_engine_say_the_same(run_path: Path, tmp_path: Path) -> None:
    files = [write(tmp_path, "a", 1), write(tmp_path, "b", 2, seconds=25)]
    model = PrismModel.load(run_path)
    engine = Recorded(model)
    tables = [predict(each, files) for each in (run_path, run_path / "model.safetensors", model, engine)]
    assert engine.seen > len(files), "the long recording has several windows"
    for table in tables[1:]:
        assert table.equals(tables[0])
    assert embed(engine, files)["fused"].map(tuple).equals(embed(run_path, files)["fused"].map(tuple))


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_temperature_and_aggregation_are_those_of_the_card(kind: str, tmp_path: Path) -> None:
    class Two:
        """Says 2 for the first class in the first window of a recording, 0 else."""

        card = Card(
            kind=kind, classes=("a", "b"), leads=("I",), rate_hz=100.0, window=300, temperature=2.0, aggregate="max"
        )

        def run(self, arrays: Arrays) -> Logits:
            first = np.zeros((len(arrays.signal), 2), dtype=np.float32)
            first[0, 0] = 2
            return Logits({"fused": first}, np.ones((len(first), 0), dtype=bool))

    table = predict(Two(), [write(tmp_path, "a", 1, seconds=9)])
    raised = 1 / (1 + np.exp(-1.0))  # 2 at temperature 2, in both kinds: two classes are a sigmoid of the difference
    wanted = (raised, 0.5) if kind == "multilabel" else (raised / (raised + 0.5), 0.5 / (raised + 0.5))
    np.testing.assert_allclose(table.loc[0, ["p_a", "p_b"]].to_numpy(float), wanted)


def test_the_card_is_read_without_the_weights(run_path: Path) -> None:
    assert read_card(run_path) == PrismModel.load(run_path).card


def test_a_gap_counts_in_no_mean_and_is_no_step() -> None:
    """A lead at 1.5 mV with a third of it missing: 0 mV there would be a step of 1.5 mV and move the mean."""
    rng = np.random.default_rng(0)
    signal = (1.5 + 0.1 * rng.standard_normal((2, 900))).astype(np.float32)
    signal[0, 300:600] = np.nan
    spec = InputSpec(("I", "II", "V1"), 100.0, 900)
    assembler = SignalAssembler([signal], [("I", "II")], [{}], spec)
    found = assembler.batch(np.array([0]), np.array([0]), np.array([900]))
    assert found.lead_mask.tolist() == [[True, True, False]]
    recorded = np.delete(signal[0], slice(300, 600))
    np.testing.assert_allclose(found.signal[0, 0].mean(), recorded.mean(), rtol=1e-6)
    assert np.abs(np.diff(found.signal[0, 0])).max() < 1
    assert (found.signal[0, 2] == 0).all()
    within = assembler.batch(np.array([0]), np.array([300]), np.array([300]))
    assert within.lead_mask.tolist() == [[False, True, False]], "a window inside the gap has nothing of the lead"


def test_a_file_that_takes_too_long_or_too_much_is_a_row_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that never ends, or that asks for all memory, costs its own file alone."""
    files = [write(tmp_path, name, 1) for name in ("a", "slow", "big", "z")]
    read = reading.read_declared

    def odd(path: Path, declared: object) -> object:
        if path.stem == "slow":
            while True:
                time.sleep(0.01)
        if path.stem == "big":
            np.ones(2**32)  # 32 GiB
        return read(path, declared)

    monkeypatch.setattr(reading, "read_declared", odd)
    monkeypatch.setattr(prediction_files, "RECORD_TIMEOUT_S", 0.5)
    handler = signal.getsignal(signal.SIGALRM)
    table = predict(AtRest(), files, note=lambda said: None)
    assert table["p_a"].isna().tolist() == [False, True, True, False]
    assert "not read within 0.5 s" in table["problem"][1]
    assert "emory" in table["problem"][2]
    assert signal.getsignal(signal.SIGALRM) is handler


class AtRest:
    """An engine that says nothing of anything."""

    card = Card(kind="multilabel", classes=("a",), leads=("I",), rate_hz=100.0, window=300)

    def run(self, arrays: Arrays) -> Logits:
        return Logits({"fused": np.zeros((len(arrays.signal), 1), np.float32)}, np.ones((len(arrays.signal), 0), bool))
