"""Exported models: one ONNX file with the views inside answers as the run does, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ecgprism as ep
from ecgprism.cli.entry import main
from ecgprism.errors import EcgprismError
from ecgprism.interface.scoring import Logits
from ecgprism.model import exporting
from ecgprism.runtime import OnnxEngine, load

from .test_evaluation import write

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> exporting.Export:
    return ep.export(run_path, tmp_path_factory.mktemp("exported") / "model.onnx")


def test_the_export_is_checked_in_batches_of_any_size(exported: exporting.Export) -> None:
    assert [each.batch for each in exported.parity] == [1, 2, 5, 64]
    assert exported.largest <= exporting.TOLERANCE
    assert exported.size == exported.file.stat().st_size


def test_an_exported_model_answers_as_the_run_on_files_and_arrays(
    exported: exporting.Export, run_path: Path, tmp_path: Path
) -> None:
    files = [write(tmp_path, "a", 1), write(tmp_path, "b", 2)]
    said = {"note": lambda text: None}
    of_run, of_file = (ep.predict(model, files, **said) for model in (run_path, exported.file))
    probabilities = [column for column in of_run if column.startswith("p_")]
    np.testing.assert_allclose(of_file[probabilities], of_run[probabilities], atol=1e-5)
    pd.testing.assert_frame_equal(of_file.drop(columns=probabilities), of_run.drop(columns=probabilities))
    long = np.random.default_rng(0).normal(0, 0.3, (2, 12, 3700)).astype(np.float32)
    declared = {"rate_hz": 100, "unit": "mV", "leads": ep.read(files[0]).leads, **said}
    whole, short = ep.predict(run_path, long, **declared), ep.predict(exported.file, long, **declared)
    np.testing.assert_allclose(short[probabilities], whole[probabilities], atol=1e-5)
    vectors = ep.embed(exported.file, files, **said)["fused"]
    np.testing.assert_allclose(np.stack(vectors), np.stack(ep.embed(run_path, files, **said)["fused"]), atol=1e-4)


def test_an_exported_model_needs_no_pytorch(exported: exporting.Export, tmp_path: Path) -> None:
    file = write(tmp_path, "a", 1)
    script = """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "lightning", "tensorboard", "matplotlib"):
                    raise ImportError(f"{name} must not be imported")

        sys.meta_path.insert(0, Refuse())
        import ecgprism as ep
        from ecgprism.runtime import load
        print(ep.predict(load(sys.argv[1]), [sys.argv[2]], note=lambda said: None)["labels"][0])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(exported.file), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_card_is_in_the_file(exported: exporting.Export, run_path: Path) -> None:
    assert load(exported.file).card == ep.PrismModel.load(run_path).card


def test_an_output_that_is_off_keeps_no_file(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: exporting.Export
) -> None:
    true_run = OnnxEngine.run

    def off(self: OnnxEngine, arrays: object) -> Logits:
        found = true_run(self, arrays)
        return Logits({name: each + 2e-4 for name, each in found.heads.items()}, found.present, found.embeddings)

    monkeypatch.setattr(OnnxEngine, "run", off)
    proto = onnx.load(exported.file)
    monkeypatch.setattr(exporting, "_proto", lambda model: proto)
    del proto.metadata_props[:]
    with pytest.raises(EcgprismError, match=r"not kept: in a batch of \d+ an output is 0.0002 from PyTorch's"):
        ep.export(run_path, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_presence_that_differs_is_infinitely_far() -> None:
    heads = {"fused": np.zeros((2, 3), dtype=np.float32)}
    fused = {"fused": np.zeros((2, 4), dtype=np.float32)}
    there, gone = np.ones((2, 1), dtype=bool), np.zeros((2, 1), dtype=bool)
    assert exporting._difference(Logits(heads, there, fused), Logits(heads, gone, fused)) == float("inf")
    assert exporting._difference(Logits(heads, there, fused), Logits(heads, there, fused)) == 0


def test_other_files_are_refused_in_one_line(exported: exporting.Export, tmp_path: Path, run_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    whole = exported.file.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    stranger = onnx.load(exported.file)
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    for value in ("{}", "[]", "no JSON", json.dumps({"card": {"kind": "multilabel"}})):
        stranger.metadata_props.add(key="ecgprism", value=value)
        onnx.save(stranger, tmp_path / f"card{len(value)}.onnx")
        del stranger.metadata_props[:]
    for file in [*sorted(tmp_path.glob("*.onnx")), tmp_path / "none.onnx"]:
        with pytest.raises(EcgprismError) as error:
            load(file)
        assert str(file) in str(error.value)
        assert "\n" not in str(error.value)
    for to, said in (("m.txt", r"ends with \.onnx"), ("no/m.onnx", "there is no folder")):
        with pytest.raises(EcgprismError, match=said):
            ep.export(run_path, tmp_path / to)


def test_the_command_writes_and_tells(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: exporting.Export,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    proto = onnx.load(exported.file)
    del proto.metadata_props[:]
    monkeypatch.setattr(exporting, "_proto", lambda model: proto)
    monkeypatch.setattr(sys, "argv", ["ecgprism", "export", str(run_path), "--to", str(tmp_path / "m.onnx"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == (tmp_path / "m.onnx").stat().st_size
    assert set(told["largest_difference_by_batch"]) == {"1", "2", "5", "64"}
