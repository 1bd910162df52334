"""Configuration: what is refused, with the key and the nearest valid choice, and what overrides do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ecgprism.config import parse_config, read_config
from ecgprism.errors import ConfigError
from ecgprism.registry import check_options

VIEWS = {"wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 8}}}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"corpus": "c", "views": VIEWS, "train": {"lr": "2e-3"}}))
    return path


def test_defaults_and_the_short_form_of_a_component(path: Path) -> None:
    config = read_config(path)
    assert config.train.lr == 2e-3
    assert config.fusion.name == "concat"
    assert config.views["wave"].view.name == "waveform"
    assert config.views["wave"].encoder.options == {"width": 8}


def test_the_resolved_configuration_reads_back_as_the_same(path: Path, tmp_path: Path) -> None:
    config = read_config(path, ["augment.noise_db=[6, 24]"])
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(config.plain()))
    assert read_config(tmp_path / "again.yaml") == config


def test_overrides_reach_every_level(path: Path) -> None:
    overrides = ["train.epochs=3", "views.wave.encoder.cnn_bilstm.width=16", "task=rhythm", "views.freq.view=spectrum"]
    config = read_config(path, [*overrides, "views.freq.encoder=mlp", "views.freq.encoder.mlp.hidden=4"])
    assert (config.train.epochs, config.task) == (3, "rhythm")
    assert config.views["wave"].encoder.options == {"width": 16}
    assert config.views["freq"].encoder.options == {"hidden": 4}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusoin=concat", "fusoin: unknown key; did you mean 'fusion'"),
        ("train.epoch=3", "train.epoch: unknown key; did you mean 'epochs'"),
        ("augment.noise=3", "augment.noise: unknown key; did you mean 'noise_db'"),
        ("views.wave.encodr=mlp", "views.wave.encodr: unknown key; did you mean 'encoder'"),
        ("train.epochs=0", "train.epochs = 0: input should be greater than 0"),
        ("train.lr=fast", "train.lr = 'fast': input should be a valid number"),
        ("train.monitor=auc", "train.monitor = 'auc': input should be 'macro_auroc'"),
        ("augment.noise_db=[24, 6]", "expected [lowest, highest] in dB"),
        ("window_s=-1", "window_s = -1"),
        ("views={}", "views = {}"),
        ("views.wave.view={a: 1, b: 2}", "one name with its options"),
        ("nonsense", "expected key=value"),
        ("train={", "not valid YAML"),
        ("task.x.y=3", "is no section"),
    ],
)
def test_every_mistake_is_named(override: str, said: str, path: Path) -> None:
    overrides = ["task=[1]", override] if override.startswith("task.") else [override]
    with pytest.raises(ConfigError) as caught:
        read_config(path, overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\0"])
def test_a_file_that_is_no_configuration(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_config(tmp_path / "bad.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="corpus: is missing"):
        parse_config({"views": VIEWS})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widht": 3}, "no option 'widht'; did you mean 'width'"),
        ({"width": 0}, "width = 0: input should be greater than 0"),
        ({"width": "wide"}, "width = 'wide': input should be a valid integer"),
        ({"dropout": 1.0}, "dropout = 1.0: input should be less than 1"),
        ({"dim": 3}, "no option 'dim'"),
    ],
)
def test_options_are_checked_against_the_constructor(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options("encoders", "cnn_bilstm", options, 2, "views.wave")
    assert str(caught.value).startswith("views.wave: ")
    assert said in str(caught.value)


def test_options_are_converted_and_defaults_left_to_the_constructor() -> None:
    assert check_options("encoders", "cnn_bilstm", {"width": "16"}, 2) == {"width": 16}
