"""Balanced training: hidden views, braked gradients, blended losses, and what of them the log shows."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from ecgprism.config import parse_config
from ecgprism.errors import ConfigError
from ecgprism.model.prism import Output
from ecgprism.training.balance import blend, brakes, dropout_at, gradient_norms, kept_views, modulate
from ecgprism.training.preparation import prepare
from ecgprism.training.run import fit

from .conftest import SMALL_VIEWS, small_tree


def test_view_dropout_is_constant_or_goes_from_the_first_epoch_to_the_last() -> None:
    assert [dropout_at(0.2, epoch, 5) for epoch in range(5)] == [0.2] * 5
    assert [dropout_at((0.0, 0.4), epoch, 5) for epoch in range(5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert dropout_at((0.1, 0.4), 0, 1) == 0.1


def test_hidden_views_cover_every_subset_and_leave_a_view_that_is_there() -> None:
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    seen = [kept_views(present, 0.5) & present for _ in range(400)]
    of_first = {tuple(each[0].tolist()) for each in seen}
    assert len(of_first) == 7
    assert {tuple(each[1].tolist()) for each in seen} == {
        (True, False, False),
        (False, False, True),
        (True, False, True),
    }
    hidden = torch.stack([~kept_views(torch.ones(1000, 3, dtype=torch.bool), 0.3) for _ in range(20)]).float().mean()
    # a row that lost all three gets one back
    assert hidden == pytest.approx(0.3 - 0.3**3 / 3, abs=0.01)


def output_of(own: dict[str, torch.Tensor], present: torch.Tensor) -> Output:
    return Output(next(iter(own.values())), own, present, {})


def test_the_view_that_leads_is_braked_as_the_paper_has_it() -> None:
    """Peng et al. (2022), two views: lead = mean probability of the truth over the other's; 1 - tanh(alpha * lead)."""
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    sure, even = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.zeros(2, 2)
    present = torch.ones(2, 2, dtype=torch.bool)
    factors = brakes(output_of({"fast": sure, "slow": even}, present), target, "multiclass", 0.3)
    lead = (1 / (1 + math.exp(-4))) / 0.5
    assert float(factors["fast"]) == pytest.approx(1 - math.tanh(0.3 * lead))
    assert float(factors["slow"]) == 1.0
    multilabel = brakes(output_of({"fast": sure, "slow": even}, present), target, "multilabel", 0.3)
    right = (1 / (1 + math.exp(-4)) + 0.5) / 2
    assert float(multilabel["fast"]) == pytest.approx(1 - math.tanh(0.3 * right / 0.5))


def test_a_missing_view_does_not_count_in_its_lead() -> None:
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    own = {"a": torch.tensor([[3.0, 0.0], [-9.0, 0.0]]), "b": torch.zeros(2, 2)}
    absent = torch.tensor([[True, True], [False, True]])
    there = torch.ones(2, 2, dtype=torch.bool)
    assert brakes(output_of(own, absent), target, "multiclass", 0.3)["a"] < 1.0
    assert brakes(output_of(own, there), target, "multiclass", 0.3)["a"] == 1.0


def test_braking_scales_the_gradient_and_adds_noise_of_its_size(corpus_path: Path) -> None:
    model = prepare(parse_config(small_tree(corpus_path))).model
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = {name: [p.grad.clone() for p in encoder.parameters()] for name, encoder in model.encoders.items()}
    norms = gradient_norms(model)
    expected = math.sqrt(sum(float((g**2).sum()) for g in before["wave"]))
    assert float(norms["wave"]) == pytest.approx(expected, rel=1e-5)
    modulate(model, {"wave": torch.tensor(0.0)})
    assert all(torch.equal(a, p.grad) for a, p in zip(before["stft"], model.encoders["stft"].parameters(), strict=True))
    noise = torch.cat([p.grad.flatten() for p in model.encoders["wave"].parameters() if p.numel() > 1])
    assert float(noise.std()) == pytest.approx(1.0, abs=0.05)
    assert not any(
        torch.equal(a, p.grad) for a, p in zip(before["wave"], model.encoders["wave"].parameters(), strict=True)
    )


def test_blending_weighs_what_generalises_against_what_overfits() -> None:
    """Wang et al. (2020): generalisation over squared overfitting, here 0.2 / 0.1^2 and 0.2 / 0.2^2."""
    heads = ["train_loss", "train_loss_wave"]
    history = [
        {"train_loss": 1.0, "val_loss": 1.0, "train_loss_wave": 1.0, "val_loss_wave": 1.0},
        {"train_loss": 0.7, "val_loss": 0.8, "train_loss_wave": 0.6, "val_loss_wave": 0.8},
    ]
    assert blend(history[:1], heads) == {"train_loss": 0.5, "train_loss_wave": 0.5}
    assert blend(history, heads) == pytest.approx({"train_loss": 0.8, "train_loss_wave": 0.2})
    worse = [history[0], dict.fromkeys(history[0], 1.5)]
    assert blend(worse, heads) == {"train_loss": 0.5, "train_loss_wave": 0.5}


@pytest.mark.parametrize("balance", ["none", "ogm_ge", "blend"])
def test_the_log_shows_every_views_loss_and_gradient(balance: str, corpus_path: Path, tmp_path: Path) -> None:
    tree = small_tree(corpus_path, balance=balance, view_dropout=[0.0, 0.5], epochs=3)
    fit(parse_config(tree), tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    for view in SMALL_VIEWS:
        for column in (f"train_loss_{view}", f"val_loss_{view}", f"grad_norm_{view}"):
            assert (history[column] > 0).all(), column
    assert len(history) == 3


def test_each_option_trains_other_weights(corpus_path: Path, tmp_path: Path) -> None:
    weights = set()
    options = [
        {},
        {"balance": "ogm_ge"},
        {"balance": "blend"},
        {"coalitions": 0.0},
        {"view_dropout": 0.6},
        {"auxiliary": 0.3},
    ]
    for number, option in enumerate(options):
        fit(parse_config(small_tree(corpus_path, epochs=3, **option)), tmp_path / str(number))
        weights.add((tmp_path / str(number) / "history.csv").read_text().splitlines()[-1])
    assert len(weights) == len(options)


def test_wrong_options_are_named(corpus_path: Path) -> None:
    for options, said in (
        ({"view_dropout": [0.1, 1.0]}, "view_dropout"),
        ({"balance": "ogm"}, "train.balance = 'ogm'"),
        ({"modulation": 0}, "train.modulation = 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_config(small_tree(corpus_path, **options))
