"""PrismClassifier where scikit-learn's users have their estimators: cross-validation by patient, pipelines, clones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ecgprism.classifier import PrismClassifier
from ecgprism.errors import ConfigError

RNG = np.random.default_rng(0)
N = 90
#: class "fast" beats at 3 Hz, "slow" at 1 Hz: any view tells them apart
Y = np.array(["fast", "slow", "slow"] * (N // 3))
T_S = np.arange(400) / 100
X = np.stack([
    np.stack([np.sin(2 * np.pi * (3 if label == "fast" else 1) * T_S + phase) ** 21 for phase in RNG.uniform(0, 6, 2)])
    for label in Y
]) + 0.05 * RNG.standard_normal((N, 2, 400))  # fmt: skip
PATIENTS = np.arange(N) // 2
VIEWS = {"wave": {"view": "waveform", "encoder": {"cnn_bilstm": {"width": 4}}}, "freq": "spectrum"}


def classifier(**changes: object) -> PrismClassifier:
    given = {
        "views": VIEWS,
        "rate_hz": 100,
        "unit": "mV",
        "leads": ["I", "II"],
        "epochs": 8,
        "dim": 8,
        "lr": 0.01,
        "batch_size": 8,
    }
    return PrismClassifier(**(given | changes))  # type: ignore[arg-type]


def test_it_learns_is_cloned_pickled_and_keeps_its_parameters() -> None:
    model = classifier()
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(seed=1).get_params()["seed"] == 1
    fitted = model.fit(X[:60], Y[:60], groups=PATIENTS[:60])
    assert fitted is model
    assert model.classes_.tolist() == ["fast", "slow"]
    p = model.predict_proba(X[60:])
    assert p.shape == (30, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert model.score(X[60:], Y[60:]) > 0.8
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X[:5]), model.predict_proba(X[:5]))
    np.testing.assert_array_equal(clone(model).fit(X[:60], Y[:60], groups=PATIENTS[:60]).predict_proba(X[60:]), p)


def test_cross_validation_by_patient_and_a_pipeline() -> None:
    scores = cross_val_score(
        make_pipeline(FunctionTransformer(lambda signals: signals - signals.mean(axis=2, keepdims=True)), classifier()),
        X, Y, groups=PATIENTS, cv=GroupKFold(2),
    )  # fmt: skip
    assert scores.shape == (2,)
    assert scores.mean() > 0.7


def test_several_labels_at_once() -> None:
    several = np.column_stack([Y == "fast", Y == "slow", np.arange(N) % 2 == 0]).astype(int)
    model = classifier(epochs=1).fit(X, several)
    assert model.predict_proba(X[:4]).shape == (4, 3)
    decided = model.predict(X[:4])
    assert decided.shape == (4, 3)
    assert set(np.unique(decided)) <= {0, 1}


@pytest.mark.parametrize(
    ("changes", "y", "said"),
    [
        ({"rate_hz": None}, Y, "rate_hz is missing"),
        ({"unit": None}, Y, "unit is missing"),
        ({"leads": None}, Y, "leads are missing"),
        ({"epochs": 0}, Y, "epochs = 0"),
        ({"views": ["wavelet"]}, Y, "there is no 'wavelet'"),
        ({}, np.linspace(0, 1, N), "Unknown label type: continuous"),
        ({}, np.zeros(N, dtype=int), "one class alone"),
        ({}, Y[:5], "y: 5 rows for 90 recordings"),
    ],
)
def test_what_cannot_be_is_named(changes: dict[str, object], y: np.ndarray, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        classifier(**changes).fit(X, y)


def test_unfitted_is_scikit_learns_own_error() -> None:
    with pytest.raises(NotFittedError):
        classifier().predict(X)
