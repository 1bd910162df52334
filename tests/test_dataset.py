"""A corpus as a PyTorch data set, and anybody's predictions judged with our intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader

from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.evidence.scorecard import report
from ecgprism.training.dataset import CorpusDataset


@pytest.fixture(scope="module")
def corpus(corpus_path: Path) -> Corpus:
    return Corpus(corpus_path)


def test_a_sample_is_the_middle_of_its_record_and_its_labels(corpus: Corpus) -> None:
    held = CorpusDataset(corpus, "val", window_s=4.0)
    examples = corpus.select("superdiagnostic", "val")
    assert len(held) == len(examples)
    signal, target = held[3]
    whole = corpus.signal(int(examples.record[3]))
    assert signal.shape == (12, 400)
    np.testing.assert_allclose(signal.numpy(), np.nan_to_num(whole[:, 300:700]), atol=1e-6)
    assert target.tolist() == examples.target[3].astype(float).tolist()
    assert held[-1][1].tolist() == held[len(held) - 1][1].tolist()
    with pytest.raises(IndexError):
        held[len(held)]
    np.testing.assert_array_equal(held.patients, examples.cluster)


def test_leads_classes_and_padding(corpus: Corpus) -> None:
    held = CorpusDataset(corpus, "train", window_s=12.0, leads=["V1", "II"], classes=["MI", "NORM"], as_dict=True)
    sample = held[0]
    assert isinstance(sample, dict)
    assert sample["signal"].shape == (2, 1200)
    assert (sample["signal"][:, 1000:] == 0).all()
    assert int(sample["length"]) == 1000
    assert sample["lead_mask"].tolist() == [True, True]
    own = corpus.signal(int(held.examples.record[0]))
    np.testing.assert_allclose(sample["signal"][0, :1000], own[corpus.leads.index("V1")], atol=1e-6)
    assert held.classes == ("MI", "NORM")


def test_random_crops_differ_and_are_pytorchs_own(corpus: Corpus) -> None:
    held = CorpusDataset(corpus, "train", window_s=2.0, crop="random")
    torch.manual_seed(1)
    first = [held[0][0] for _ in range(4)]
    torch.manual_seed(1)
    again = [held[0][0] for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])


def test_workers_give_what_one_process_gives_and_a_plain_network_trains(corpus: Corpus) -> None:
    held = CorpusDataset(corpus, "train", window_s=10.0)
    alone, shared = (torch.cat([x for x, _ in DataLoader(held, 16, num_workers=n)]) for n in (0, 2))
    assert torch.equal(alone, shared)
    network = nn.Sequential(
        nn.Conv1d(12, 8, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        for signal, target in DataLoader(held, 32, shuffle=True):
            loss = nn.functional.binary_cross_entropy_with_logits(network(signal), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    test = CorpusDataset(corpus, "test", window_s=10.0)
    with torch.no_grad():
        p = torch.cat([network(signal).sigmoid() for signal, _ in DataLoader(test, 32)]).numpy()
    card = report(test.targets, p, test.patients, classes=test.classes, resamples=50)
    assert card.kind == "multilabel"
    assert card.patients == len(np.unique(test.patients))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "tset"}, "no split 'tset'"),
        ({"task": "rythm"}, "no task 'rythm'"),
        ({"classes": ["NROM"]}, "no class 'NROM'; did you mean 'NORM'"),
        ({"leads": ["X1"]}, "'X1' is not in"),
        ({"crop": "left"}, "crop = 'left'"),
        ({"window_s": 0}, "window_s = 0"),
    ],
)
def test_what_the_corpus_does_not_have_is_named(corpus: Corpus, options: dict[str, object], said: str) -> None:
    given = {"split": "train"} | options
    with pytest.raises(EcgprismError, match=said):
        CorpusDataset(corpus, **given)


# Anybody's predictions


def test_a_scorecard_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 3, 300)
    p = rng.dirichlet(np.ones(3), 300)
    p[np.arange(300), numbers] += 0.5
    p /= p.sum(axis=1, keepdims=True)
    card = report(numbers, p, rng.integers(0, 90, 300), classes=["a", "b", "c"], resamples=200)
    assert (card.kind, card.items) == ("multiclass", 300)
    value, low, high = card.value("macro_auroc")
    assert value == pytest.approx(roc_auc_score(numbers, p, multi_class="ovr"))
    assert low < value < high
    assert card.value("macro_f1")[0] == pytest.approx(f1_score(numbers, p.argmax(axis=1), average="macro"))
    assert "macro_auroc" in str(card)
    assert type(card).model_validate_json(card.to_json()) == card


def test_two_classes_may_come_as_one_column_and_targets_in_every_form() -> None:
    truth = np.array([0, 1, 1, 0, 1])
    p = np.array([0.1, 0.8, 0.6, 0.7, 0.9])
    both = np.column_stack([1 - p, p])
    forms = [(truth, p), (truth.tolist(), both), (np.eye(2)[truth], both), (np.eye(2, dtype=bool)[truth], p.tolist())]
    cards = [report(t, q, resamples=20) for t, q in forms]
    assert all(card.metrics == cards[0].metrics for card in cards)
    assert cards[0].patients == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0, 1], [[0.5, 2.0], [0.1, 0.2]]), "no numbers from 0 to 1"),
        (([0, 3], [[0.5, 0.5], [0.1, 0.9]]), "class numbers 0 to 3; expected 0 to 1"),
        (([0.5, 1], [[0.5, 0.5], [0.1, 0.9]]), "expected class numbers"),
        (([0, 1], [[0.5, 0.5]]), "targets: "),
        (([0], [[0.5, 0.5]], ["p", "q"]), "patients: 2 rows"),
        (([], np.zeros((0, 2))), r"expected \(N, K\)"),
    ],
)
def test_what_is_no_prediction_is_refused(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        report(*arguments)
