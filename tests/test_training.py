"""Training: reproducible, resumable to the bit, watched, and refusing what cannot be trained honestly."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from pyarrow import parquet

from ecgprism.config import parse_config
from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.meta import read_meta, write_meta
from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.evidence.evaluation import evaluate
from ecgprism.files import file_digest
from ecgprism.interface.card import Task
from ecgprism.model.batch import Batch
from ecgprism.model.prism import PrismModel
from ecgprism.sources.contract import Entry
from ecgprism.sources.simulated import SimulatedSource
from ecgprism.training.module import TrainingModule
from ecgprism.training.preparation import prepare
from ecgprism.training.run import fit
from ecgprism.training.state import TrainingState
from ecgprism.training.watch import Watch, overfitting

from .conftest import small_tree
from .records import known

EPOCHS = 3
KILLING_RUN = """
    import os, signal, sys, json
    from pathlib import Path
    from ecgprism.config import parse_config
    from ecgprism.files import atomic
    from ecgprism.training.watch import Watch
    from ecgprism.training.run import fit

    tree, out, where, resume = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "resume"

    class Kill(Watch):
        def step(self, epoch, step, steps, records, loss):
            if where == f"{epoch}.{step}":
                os.kill(os.getpid(), signal.SIGKILL)

    if where == "between":  # the best model is written, the state of the epoch is not
        enter = atomic.__enter__
        def killing(self):
            if self.path.name == "last.ckpt" and (Path(out) / "last.ckpt").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return enter(self)
        atomic.__enter__ = killing
    fit(parse_config(tree), out, resume=resume, watch=Kill())
"""


def run_in_process(tree: dict[str, object], out: Path, where: str, resume: bool = False) -> int:
    command = [sys.executable, "-c", textwrap.dedent(KILLING_RUN), json.dumps(tree), str(out), where]
    return subprocess.run([*command, "resume" if resume else "new"], check=False, capture_output=True).returncode


@pytest.fixture(scope="module")
def undisturbed(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("resume") / "undisturbed"
    assert run_in_process(small_tree(corpus_path, epochs=EPOCHS), out, "never") == 0
    return out


def same_tensors(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_tensors(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_tensors, a, b))
    return a == b


@pytest.mark.parametrize("where", ["0.1", "1.0", "2.3", "between"])
def test_a_run_killed_anywhere_and_resumed_gives_the_same_bits(
    where: str, undisturbed: Path, corpus_path: Path, tmp_path: Path
) -> None:
    tree, out = small_tree(corpus_path, epochs=EPOCHS), tmp_path / "killed"
    assert run_in_process(tree, out, where) == -9
    assert run_in_process(tree, out, "never", resume=True) == 0
    for name in ("model.safetensors", "history.csv"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    states = [vars(TrainingState.load(path)) for path in (out, undisturbed)]
    assert all(state.pop("seconds") > 0 for state in states)
    assert same_tensors(*states)


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(
    undisturbed: Path, corpus_path: Path, tmp_path: Path
) -> None:
    fit(parse_config(small_tree(corpus_path, epochs=EPOCHS)), tmp_path / "same")
    assert (tmp_path / "same/model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    fit(parse_config(small_tree(corpus_path, epochs=1, seed=1)), tmp_path / "other")
    assert (tmp_path / "other/model.safetensors").read_bytes() != (undisturbed / "model.safetensors").read_bytes()


def test_resuming_with_another_configuration_or_corpus_is_refused(run_path: Path, corpus_path: Path) -> None:
    with pytest.raises(EcgprismError, match=r"train.*resume with the same one"):
        fit(parse_config(small_tree(corpus_path, lr=0.5)), run_path, resume=True)


def test_an_existing_run_is_not_overwritten_and_a_missing_one_not_resumed(
    run_path: Path, corpus_path: Path, tmp_path: Path
) -> None:
    config = parse_config(small_tree(corpus_path))
    with pytest.raises(EcgprismError, match="exists already"):
        fit(config, run_path)
    with pytest.raises(EcgprismError, match="no interrupted run"):
        fit(config, tmp_path / "nothing", resume=True)


def test_the_run_folder_holds_what_repeats_it(run_path: Path) -> None:
    held = {path.name for path in run_path.iterdir()}
    assert held >= {
        "config.yaml", "history.csv", "last.ckpt", "model.json", "model.safetensors", "run.json", "tensorboard",
    }  # fmt: skip
    run = json.loads((run_path / "run.json").read_text())
    assert run["fingerprint"] == json.loads((run_path / "model.json").read_text())["fingerprint"]
    assert {"torch", "ecgprism"} <= run["versions"].keys()
    rows = list(csv.DictReader((run_path / "history.csv").open()))
    assert len(rows) == 2
    assert {"train_loss", "train_loss_wave", "val_loss", "val_macro_auroc"} <= rows[0].keys()
    assert any((run_path / "tensorboard").iterdir())


def test_thresholds_and_temperature_come_with_the_model(run_path: Path) -> None:
    card = PrismModel.load(run_path).card
    assert card.thresholds is not None
    assert len(card.thresholds) == 5
    assert 0.1 <= card.temperature <= 10


def test_the_saved_model_is_the_average_of_the_best_epoch(corpus_path: Path, tmp_path: Path) -> None:
    fitted = fit(parse_config(small_tree(corpus_path, epochs=1)), tmp_path / "run")
    weights = TrainingState.load(tmp_path / "run").weights
    saved = fitted.model.state_dict()
    differs = False
    for name, value in saved.items():
        assert torch.equal(value, weights["averaged"]["model"][name]), name
        differs |= not torch.equal(value, weights["model"][name])
    assert differs
    means = [name for name in saved if name.endswith("running_mean")]
    assert means, "the buffers of batch normalisation are averaged too"


class Notes(Watch):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def history(train: list[float], val: list[float]) -> list[dict[str, float]]:
    return [{"train_loss": t, "val_loss": v} for t, v in zip(train, val, strict=True)]


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        ([1.0, 0.9, 0.8, 0.7], [0.5, 0.6, 0.7, 0.8], True),
        ([1.0, 0.9, 0.8, 0.7], [0.5, 0.6, 0.55, 0.8], False),
        ([1.0, 1.1, 1.2, 1.3], [0.5, 0.6, 0.7, 0.8], False),
        ([1.0, 0.9, 0.8], [0.5, 0.6, 0.7], False),
    ],
)
def test_overfitting_is_said_when_validation_rises_while_training_falls(
    train: list[float], val: list[float], said: bool
) -> None:
    assert ("overfitting" in (overfitting(history(train, val), 1) or "")) is said


def test_early_stopping_ends_the_run_and_says_so(corpus_path: Path, tmp_path: Path) -> None:
    watch = Notes()
    # a rate this small changes nothing, so the first epoch stays the best
    tree = small_tree(corpus_path, epochs=6, patience=2, lr=1e-12)
    fitted = fit(parse_config(tree), tmp_path / "run", watch=watch)
    assert len(fitted.history) < 6
    assert any("stopped early" in note for note in watch.notes)


def changed_copy(corpus_path: Path, out: Path, table: str = "records", **columns: list[object]) -> Path:
    """Copy a corpus with other columns in one of its tables, its check sums right."""
    out.mkdir()
    for file in corpus_path.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    path = out / f"{table}.parquet"
    held = parquet.read_table(path)
    for name, values in columns.items():
        field = held.schema.field(name)
        held = held.set_column(held.schema.get_field_index(name), field, pyarrow.array(values, field.type))
    parquet.write_table(held, path)
    meta = read_meta(out)
    write_meta(out, meta.model_copy(update={"sha256": meta.sha256 | {path.name: file_digest(path)}}))
    return out


def test_a_patient_in_two_splits_stops_the_training_before_anything_is_written(
    corpus_path: Path, tmp_path: Path
) -> None:
    records = Corpus(corpus_path).records
    split = records["split"].tolist()
    patient = records["patient_id"][split.index("train")]
    other = records.index[(records["patient_id"] == patient)][0]
    split[other] = "test"
    leaking = changed_copy(corpus_path, tmp_path / "leaking", split=split)
    with pytest.raises(EcgprismError, match=f"patient {patient} stands in two splits"):
        fit(parse_config(small_tree(leaking)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_identical_waveform_in_two_splits_stops_the_training(corpus_path: Path, tmp_path: Path) -> None:
    records = Corpus(corpus_path).records
    copy_of: list[object] = [None] * len(records)
    a, b = records.index[records["split"] == "train"][0], records.index[records["split"] == "test"][0]
    copy_of[b] = records["record_id"][a]
    leaking = changed_copy(corpus_path, tmp_path / "leaking", copy_of=copy_of)
    with pytest.raises(EcgprismError, match=r"identical waveform .* stands in two splits"):
        prepare(parse_config(small_tree(leaking)))


def test_a_class_without_a_positive_training_example_is_named_with_the_way_out(
    corpus_path: Path, tmp_path: Path
) -> None:
    name = "labels.superdiagnostic"
    items = pd.read_parquet(corpus_path / "items.parquet")
    without = [held if held is None else [k for k in held if k != 1] for held in items[name]]
    copy = changed_copy(corpus_path, tmp_path / "copy", "items", **{name: without})
    with pytest.raises(EcgprismError, match=r"'MI' .* no positive example in train; leave it out with classes="):
        prepare(parse_config(small_tree(copy)))
    assert prepare(parse_config(small_tree(copy) | {"classes": ["NORM", "HYP"]})).task.classes == ("NORM", "HYP")


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_class_weights_are_those_of_the_training_split(weights: str, corpus_path: Path, tmp_path: Path) -> None:
    prepared = prepare(parse_config(small_tree(corpus_path, class_weights=weights)))
    fitting = TrainingModule(prepared, tmp_path, Watch())
    target = prepared.examples["train"].target
    expected = (~target).sum(0) / target.sum(0) if weights == "balanced" else np.ones(5)
    np.testing.assert_allclose(fitting.class_weight.numpy(), expected, rtol=1e-6)


def test_view_dropout_always_leaves_a_view_that_the_record_has(corpus_path: Path, tmp_path: Path) -> None:
    prepared = prepare(parse_config(small_tree(corpus_path, view_dropout=0.9)))
    fitting = TrainingModule(prepared, tmp_path, Watch())
    batch = next(iter(fitting.batches))
    no_metadata = Batch(batch.signal, batch.length, batch.lead_mask, torch.full_like(batch.metadata, float("nan")))
    torch.manual_seed(0)
    keep = fitting.kept_views(fitting.model.present(no_metadata))
    assert keep is not None
    assert (keep & prepared.model.present(no_metadata)).any(dim=1).all()
    assert not keep.all()


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_loss_that_explodes_is_an_error_not_a_broken_model(
    task: str, corpus_path: Path, rhythms: Path, tmp_path: Path
) -> None:
    tree = small_tree(corpus_path) if task == "multilabel" else resumable_tree(rhythms, 0)
    config = parse_config(tree)
    wild = config.train.model_copy(update={"lr": 1e30, "clip": 1e30})  # the configuration itself refuses that
    with pytest.raises(EcgprismError, match=r"the loss (became|rose to) .*smaller train\.lr"):
        fit(config.model_copy(update={"train": wild}), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "a failed start leaves nothing behind"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"train": {"lr": 100}}, r"train\.lr = 100"), ({"window_s": 0.01}, "window_s = 0.01"), ({"dim": 0}, "dim = 0")],
)
def test_what_no_training_can_be_is_refused_by_name(change: dict[str, object], said: str, corpus_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(small_tree(corpus_path) | change)


def test_a_window_longer_than_every_record_is_refused(corpus_path: Path) -> None:
    with pytest.raises(EcgprismError, match="window_s = 1000: the longest training record has 10 s"):
        prepare(parse_config(small_tree(corpus_path) | {"window_s": 1000}))


def test_fast_dev_run_takes_one_batch_through_one_epoch(corpus_path: Path, tmp_path: Path) -> None:
    fitted = fit(parse_config(small_tree(corpus_path, epochs=50)), tmp_path / "run", fast_dev_run=True)
    assert len(fitted.history) == 1


# What resumes to the same bits: every kind of task, windows, fusions, moving averages, wherever the run was killed


class Rhythms(SimulatedSource):
    """One rhythm a record, 12 s long: a multi-class task whose items have several windows."""

    def __init__(self) -> None:
        super().__init__(n=150, duration_s=12.0, task="rhythm")
        self.tasks = {"rhythm": Task("multiclass", ("SR", "AFIB", "SBRAD"))}

    def entries(self) -> Iterator[Entry]:
        for entry in super().entries():
            held = [name for name in entry.labels.get("rhythm", ()) if name in self.tasks["rhythm"].classes]
            yield replace(entry, labels={"rhythm": tuple(held[:1])} if held else {})


@pytest.fixture(scope="session")
def rhythms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with known("rhythms_of_a_test", Rhythms):
        return ingest("rhythms_of_a_test", None, tmp_path_factory.mktemp("rhythms") / "c", workers=1).path


def resumable_tree(corpus: Path, seed: int) -> dict[str, object]:
    """A configuration drawn at random from what can be combined."""
    rng = np.random.default_rng(seed)

    def one_of(*choices: object) -> object:
        return choices[int(rng.integers(len(choices)))]

    views = {
        "wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 4}}},
        "freq": {"view": "spectrum", "encoder": {"mlp": {"hidden": 8}}},
    }
    return {
        "corpus": str(corpus), "task": "rhythm", "window_s": one_of(4.0, 12.0), "dim": 8, "views": views,
        "aggregate": one_of("mean", "max"), "fusion": one_of("concat", "late", "gated"),
        "augment": {"crop": one_of(0.5, 1.0), "scale": 0.1},
        "train": {
            "epochs": 4, "batch_size": 16, "lr": 5e-3, "ema": one_of(0.0, 0.9), "seed": seed, "patience": 2,
            "balance": one_of("none", "ogm_ge", "blend"), "coalitions": one_of(0.0, 1.0),
            "view_dropout": one_of(0.0, 0.3), "monitor": one_of("macro_auroc", "loss"),
        },
    }  # fmt: skip


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


class KilledAt(Watch):
    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def step(self, epoch: int, step: int, steps: int, records: int, loss: float) -> None:
        if (epoch, step) == self.at:
            raise KilledError


@pytest.mark.parametrize("seed", range(6))
def test_any_multiclass_run_with_windows_resumes_to_the_same_bits(rhythms: Path, tmp_path: Path, seed: int) -> None:
    config = parse_config(resumable_tree(rhythms, seed))
    whole = fit(config, tmp_path / "whole")
    rng = np.random.default_rng(100 + seed)
    for epoch in sorted(rng.choice(len(whole.history), 2, replace=False)):
        killed = KilledAt(int(epoch), int(rng.integers(3)))
        with pytest.raises(KilledError):
            fit(config, tmp_path / "parts", resume=(tmp_path / "parts").exists(), watch=killed)
    resumed = fit(config, tmp_path / "parts", resume=True)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("seed", range(24))
def test_no_flipped_bit_of_a_checkpoint_is_resumed(undisturbed: Path, tmp_path: Path, seed: int) -> None:
    held = bytearray((undisturbed / "last.ckpt").read_bytes())
    rng = np.random.default_rng(seed)
    held[int(rng.integers(len(held)))] ^= 1 << int(rng.integers(8))
    (tmp_path / "last.ckpt").write_bytes(held)
    with pytest.raises(EcgprismError, match=r"last\.ckpt: damaged .*--overwrite") as error:
        TrainingState.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"\0" * 1000, b"not a checkpoint"])
def test_a_checkpoint_that_is_none_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(EcgprismError, match="damaged"):
        TrainingState.load(tmp_path)


NORMED = """
import ecgprism as ep
from torch import nn
from ecgprism.model.encoders.contract import Encoder

@ep.register("encoders", "plain_norm")
class Normed(Encoder):
    def __init__(self, in_shape, dim):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(in_shape.sizes[0], dim, 5), nn.BatchNorm1d(dim), nn.ReLU())

    def forward(self, features):
        return self.layers(features.x).mean(dim=2)[:, None]
"""


def test_an_encoder_with_plain_batch_normalisation_trains(corpus_path: Path, tmp_path: Path) -> None:
    (tmp_path / "normed.py").write_text(NORMED)
    tree = small_tree(corpus_path, epochs=1) | {"plugins": [str(tmp_path / "normed.py")]}
    tree["views"] = {"wave": {"view": "waveform", "encoder": "plain_norm"}}
    fitted = fit(parse_config(tree), tmp_path / "run")
    counters = [value for name, value in fitted.model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counters
    assert int(counters[0]) > 0, "what is no float is copied, not averaged"


LOCKING = (
    "import sys, pathlib, ecgprism.files as f\nwith f.locked(pathlib.Path(sys.argv[1]), 'training'): print('mine')"
)


def test_a_second_training_into_one_folder_is_one_line(corpus_path: Path, tmp_path: Path) -> None:
    tried: list[str] = []

    class Second(Watch):
        def start(self, prepared: object, seconds_per_epoch: float, first_epoch: int) -> None:
            command = [sys.executable, "-c", LOCKING, str(tmp_path / "run")]
            tried.append(subprocess.run(command, capture_output=True, text=True, check=False).stderr)

    fit(parse_config(small_tree(corpus_path, epochs=1)), tmp_path / "run", watch=Second())
    assert "another training is writing here" in tried[0]
    with pytest.raises(EcgprismError, match="exists already"):
        fit(parse_config(small_tree(corpus_path, epochs=1)), tmp_path / "run")
    again = subprocess.run(
        [sys.executable, "-c", LOCKING, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert again.stdout == "mine\n", "the lock ends with the training"


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "last.ckpt", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\x00\xfe", b"views: [" * 5000, None])
def test_a_damaged_run_folder_is_one_line_and_overwrite_leads_out(
    run_path: Path, corpus_path: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run_path, broken)
    if content is None:
        (broken / name).write_bytes((run_path / name).read_bytes()[:-20])
    else:
        (broken / name).write_bytes(content)
    with pytest.raises(EcgprismError) as error:
        fit(parse_config(small_tree(corpus_path)), broken, resume=True)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_overwriting_deletes_a_run_and_nothing_else(run_path: Path, corpus_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_path, out)
    (out / "config.yaml").unlink()  # killed while it was being overwritten
    (out / "thesis.txt").write_text("mine")
    fit(parse_config(small_tree(corpus_path, epochs=1)), out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "a.jpg").write_text("x")
    with pytest.raises(EcgprismError, match=r"holds a\.jpg and no run, so it is not overwritten"):
        fit(parse_config(small_tree(corpus_path)), foreign, overwrite=True)
    (tmp_path / "left").mkdir()
    (tmp_path / "left/config.yaml.partial").write_text("x")  # a kill before the first name was given
    fit(parse_config(small_tree(corpus_path, epochs=1)), tmp_path / "left")


def test_rare_classes_are_left_out_by_name(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    positives = corpus.select("superdiagnostic").target.sum(axis=0)
    counts = dict(zip(corpus.tasks["superdiagnostic"].classes, positives, strict=True))
    least = sorted(counts.values())[2]
    prepared = prepare(parse_config(small_tree(corpus_path) | {"min_positives": int(least)}))
    assert prepared.task.classes == tuple(name for name, n in counts.items() if n >= least)
    (note,) = prepared.notes
    assert all(f"{name} {n}" in note for name, n in counts.items() if n < least)
    with pytest.raises(EcgprismError, match="min_positives = 9999: leaves 0 of 5 classes"):
        prepare(parse_config(small_tree(corpus_path) | {"min_positives": 9999}))


def test_a_run_is_used_from_other_folders_and_its_corpus_may_move(
    run_path: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus_path.parent)
    fit(parse_config(small_tree(Path(corpus_path.name), epochs=1)), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    evaluate("run", resamples=10)
    moved = tmp_path / "elsewhere"
    shutil.copytree(corpus_path, moved)
    fit(parse_config(small_tree(moved, epochs=1)), tmp_path / "run", resume=True)
    text = (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/config.yaml").write_text(text.replace(str(corpus_path), "/nowhere/c"))
    with pytest.raises(EcgprismError, match="/nowhere/c: the corpus of run is not there; say where with --corpus"):
        evaluate("run", resamples=10)
    assert not evaluate("run", corpus=moved, resamples=10).report.external
