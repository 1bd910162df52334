"""Warm start: what fits is taken and said, what is frozen stays, parts have rates of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ecgprism.config import Config, parse_config
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.model.prism import PrismModel
from ecgprism.training.preparation import prepare
from ecgprism.training.run import fit
from ecgprism.training.state import TrainingState
from ecgprism.training.warm_start import parameter_groups
from ecgprism.training.watch import Watch

from .conftest import small_tree


def config_of(corpus_path: Path, **changes: object) -> Config:
    tree = small_tree(corpus_path, **dict(changes.pop("train", {"epochs": 1})))
    return parse_config(tree | changes)


class Notes(Watch):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_the_same_model_is_taken_whole_and_said(run_path: Path, corpus_path: Path) -> None:
    prepared = prepare(config_of(corpus_path, init=str(run_path)))
    assert [part.part for part in prepared.loaded] == [
        "encoders.wave", "encoders.stft", "encoders.meta", "fusion", "head", "view_heads.wave", "view_heads.stft",
        "view_heads.meta",
    ]  # fmt: skip
    assert not any(part.problem for part in prepared.loaded)
    trained = PrismModel.load(run_path).state_dict()
    for name, value in prepared.model.state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_other_classes_get_new_rows_and_shared_ones_keep_theirs(run_path: Path, corpus_path: Path) -> None:
    classes = ["HYP", "NORM"]
    prepared = prepare(config_of(corpus_path, init=str(run_path), classes=classes))
    trained, own = PrismModel.load(run_path), prepared.model
    weight, before = own.head.state_dict()["layer.weight"], trained.head.state_dict()["layer.weight"]
    for k, name in enumerate(classes):
        assert torch.equal(weight[k], before[trained.task.classes.index(name)])
    late = config_of(corpus_path, fusion="late", init=str(run_path))
    said = {part.part: part.problem for part in prepare(late).loaded}
    assert said["fusion"] == "other views, sizes or way of fusion"
    assert said["head"] == "another size"
    assert said["encoders.wave"] == ""


def test_another_view_or_encoder_is_said_and_not_taken(run_path: Path, corpus_path: Path) -> None:
    views = {
        "wave": {"view": "waveform", "encoder": "resnet1d"},
        "stft": {"view": "spectrogram", "encoder": {"crnn2d": {"width": 6}}},
        "more": {"view": "spectrum", "encoder": "mlp"},
    }
    loaded = {
        part.part: part.problem for part in prepare(config_of(corpus_path, views=views, init=str(run_path))).loaded
    }
    assert loaded["encoders.wave"] == "there it is waveform read by cnn_bilstm"
    assert "has other shapes" in loaded["encoders.stft"]
    assert loaded["encoders.more"].startswith("not in the trained model")


def test_a_frozen_part_stays_to_the_bit_until_it_thaws(run_path: Path, corpus_path: Path, tmp_path: Path) -> None:
    watch = Notes()
    frozen = {"epochs": 2, "freeze": ["encoders", "fusion"]}
    fitted = fit(config_of(corpus_path, train=frozen), tmp_path / "frozen", init=run_path, watch=watch)
    before, after = PrismModel.load(run_path).state_dict(), fitted.model.state_dict()
    for name, value in after.items():
        assert torch.equal(value, before[name]) is not name.startswith(("head", "view_heads")), name
    assert f"--init {run_path}: encoders.wave: loaded" in watch.notes
    fit(config_of(corpus_path, train=frozen | {"thaw_epoch": 2}), tmp_path / "thawed", init=run_path)
    weights = TrainingState.load(tmp_path / "thawed").weights["model"]
    moved = [name for name in before if name.startswith("encoders") and not torch.equal(weights[name], before[name])]
    assert moved


def test_parts_have_rates_of_their_own(corpus_path: Path) -> None:
    options = {"epochs": 1, "lr_scale": {"encoders": 0.1, "encoders.meta": 0.5}}
    prepared = prepare(config_of(corpus_path, train=options))
    groups = parameter_groups(prepared.model, prepared.config.train)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rate) == len(list(prepared.model.parameters()))
    lr = prepared.config.train.lr
    for name, parameter in prepared.model.named_parameters():
        scale = 0.5 if name.startswith("encoders.meta") else 0.1 if name.startswith("encoders") else 1.0
        assert rate[id(parameter)] == pytest.approx(scale * lr), name
    assert np.isclose(sorted({float(group["lr"]) for group in groups})[0], 0.1 * lr)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"freeze": ["encoder"]}, "train.freeze: there is no part 'encoder'; did you mean 'encoders'"),
        ({"lr_scale": {"encoders.wav": 0.1}}, "train.lr_scale: there is no part 'encoders.wav'"),
        ({"freeze": ["heads"]}, "the heads must learn"),
    ],
)
def test_a_part_that_is_not_there_is_named(options: dict[str, object], said: str, corpus_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        prepare(config_of(corpus_path, train={"epochs": 1, **options}))


def test_more_epochs_than_the_schedule_has_want_a_warm_start(run_path: Path, corpus_path: Path) -> None:
    with pytest.raises(EcgprismError, match=r"schedule ends after 2 epochs; to train on, begin a run with --init"):
        fit(config_of(corpus_path, train={"epochs": 5}), run_path, resume=True)
