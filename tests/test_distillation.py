"""Distillation: who may teach whom, what the targets become, and that a resumed student has the same teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ecgprism.config import Config, parse_config
from ecgprism.corpus.inputs import CorpusAssembler
from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.interface.scoring import score
from ecgprism.model.engine import TorchEngine
from ecgprism.model.prism import PrismModel
from ecgprism.training import losses
from ecgprism.training.preparation import Preparation, prepare
from ecgprism.training.run import distill, fit
from ecgprism.training.watch import Watch

from .conftest import small_tree

VIEWS = {"wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 4}}}}


def small(corpus_path: Path, **changes: object) -> Config:
    return parse_config({**small_tree(corpus_path, epochs=1), "views": VIEWS, "dim": 8, **changes})


@pytest.fixture(scope="module")
def teachers(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that share out what the corpus's own test split leaves."""
    folder = tmp_path_factory.mktemp("teachers")
    return [fit(small(corpus_path, fold=f"{k}/2 of train"), folder / str(k)).path for k in (1, 2)]


def prepared(corpus_path: Path, teachers: list[Path], soft: float = 0.7, **changes: object) -> Preparation:
    wanted = {"teachers": [str(path) for path in teachers], "soft": soft}
    return prepare(small(corpus_path, distill=wanted, **changes))


def said_by(teacher: Path, of: Preparation) -> np.ndarray:
    model = PrismModel.load(teacher)
    return score(TorchEngine(model), CorpusAssembler(of.corpus, of.examples["train"], model.spec)).probabilities


def test_an_item_is_judged_by_the_teacher_that_was_not_trained_on_it(corpus_path: Path, teachers: list[Path]) -> None:
    student = prepared(corpus_path, teachers, soft=1.0)
    train, names = student.examples["train"], Corpus(corpus_path).records["record_id"].to_numpy()
    expected = np.full(train.target.shape, np.nan)
    for k, teacher in enumerate(teachers, start=1):
        folded = Corpus(corpus_path).folded(student.task_name, f"{k}/2 of train").records
        unseen = np.isin(names[train.record], folded["record_id"][folded["split"] == "test"])
        expected[unseen] = said_by(teacher, student)[unseen]
    np.testing.assert_allclose(student.target, expected, atol=1e-6)
    assert student.notes[-1] == f"{len(train)} training items judged by 1 teacher that had not seen them"


def test_a_target_is_labels_and_teachers_mixed(corpus_path: Path, teachers: list[Path]) -> None:
    soft = prepared(corpus_path, teachers, soft=1.0).target
    mixed = prepared(corpus_path, teachers, soft=0.25)
    np.testing.assert_allclose(mixed.target, 0.25 * soft + 0.75 * mixed.examples["train"].target, atol=1e-6)


def test_what_all_teachers_have_seen_is_judged_by_all_and_said(corpus_path: Path, tmp_path: Path) -> None:
    own = [fit(small(corpus_path, train={"epochs": 1, "seed": seed}), tmp_path / str(seed)).path for seed in (0, 1)]
    student = prepared(corpus_path, own, soft=1.0)
    mean = (said_by(own[0], student) + said_by(own[1], student)) / 2
    np.testing.assert_allclose(student.target, mean, atol=1e-6)
    assert "judged by 2 teachers that had been trained on them: little more than their labels" in student.notes[-1]


def test_a_teacher_of_the_students_test_recordings_is_refused(corpus_path: Path, teachers: list[Path]) -> None:
    with pytest.raises(
        EcgprismError, match=r"was trained on \d+ of the \d+ recordings that the student is to be tested"
    ):
        prepared(corpus_path, teachers[:1], fold="2/2 of train")


def test_teachers_of_other_classes_and_folders_without_a_run_are_refused(
    corpus_path: Path, teachers: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(EcgprismError, match="teaches multilabel NORM, MI, STTC, CD, HYP, the student learns"):
        prepared(corpus_path, teachers, classes=["NORM", "MI"])
    with pytest.raises(EcgprismError, match="is no run's folder"):
        prepared(corpus_path, [tmp_path])
    with pytest.raises(ConfigError, match="did you mean 'teachers'"):
        small(corpus_path, distill={"teacher": ["a"]})
    with pytest.raises(ConfigError, match="soft"):
        small(corpus_path, distill={"teachers": ["a"], "soft": 1.5})


def test_a_student_is_resumed_with_its_own_teachers_alone(
    corpus_path: Path, teachers: list[Path], tmp_path: Path
) -> None:
    class Stop(Watch):
        def epoch(self, row: object, improved: bool) -> None:
            raise KeyboardInterrupt

    config = small(corpus_path, train={"epochs": 2, "batch_size": 32})
    whole = distill(teachers, config, tmp_path / "whole", watch=Watch())
    with pytest.raises(KeyboardInterrupt):
        distill(teachers, config, tmp_path / "killed", watch=Stop())
    for others, soft in ((teachers[:1], None), (teachers, 0.5)):
        with pytest.raises(EcgprismError, match="was begun with other teachers, or another soft share"):
            distill(others, config, tmp_path / "killed", soft=soft, resume=True, watch=Watch())
    resumed = distill(teachers, config, tmp_path / "killed", resume=True, watch=Watch())
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_parts_of_what_a_split_leaves_hold_the_rest_out(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    for fold, held_out in (("1/3 of train", corpus), ("1/3 of 2/4", corpus.folded("superdiagnostic", "2/4"))):
        inner = corpus.folded("superdiagnostic", fold).records["split"]
        outside = held_out.records["split"] == "test"
        assert (inner[outside] == "").all()
        assert set(inner[~outside]) >= {"train", "val", "test"}
    for fold in ("1/3 of test", "4/3 of train", "1/3 of 5/4", "1/3 of"):
        with pytest.raises(ConfigError):
            small(corpus_path, fold=fold)


def test_the_loss_of_a_soft_target_is_the_mixture_of_losses() -> None:
    logits, hard = torch.randn(8, 4), F.one_hot(torch.arange(8) % 4, 4).float()
    soft, weight = torch.rand(8, 4).softmax(dim=1), torch.ones(4)
    for kind in ("multiclass", "multilabel"):
        mixed = losses.of_records(logits, 0.3 * hard + 0.7 * soft, kind, weight)
        apart = [losses.of_records(logits, each, kind, weight) for each in (hard, soft)]
        torch.testing.assert_close(mixed, 0.3 * apart[0] + 0.7 * apart[1])
    torch.testing.assert_close(
        losses.of_records(logits, hard, "multiclass", weight), F.cross_entropy(logits, hard.argmax(1), reduction="none")
    )
