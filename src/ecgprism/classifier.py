"""PrismClassifier: a fused model behind scikit-learn's interface.

Axis legend: N recordings, L leads, T samples, K classes.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.config import Config
from ecgprism.corpus.arrays import ingest_arrays
from ecgprism.corpus.splits import stratified
from ecgprism.corpus.store import Corpus
from ecgprism.errors import ConfigError
from ecgprism.model.prism import PrismModel
from ecgprism.prediction.files import PROBLEM, predict
from ecgprism.training.run import fit as train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import check_is_fitted
except ImportError:  # an extra
    raise ConfigError("PrismClassifier needs scikit-learn: pip install 'ecgprism[sklearn]'") from None

LONGEST_WINDOW_S = 30.0


class PrismClassifier(ClassifierMixin, BaseEstimator):
    """Classifies signals (N, L, T) seen through several views.

    `views` are names (`["waveform", "spectrogram"]`), or as a configuration has them. `rate_hz`, `unit` and `leads` of
    the signals must be given: arrays do not tell them. The model works at `model_rate_hz`. A share of the patients
    chooses the checkpoint and calibrates (`validation`); `train` holds further options of `train:` in a configuration.
    """

    def __init__(
        self,
        views: Sequence[str] | Mapping[str, Any] = ("waveform", "spectrogram"),
        *,
        rate_hz: float | None = None,
        unit: str | None = None,
        leads: Sequence[str] | None = None,
        epochs: int = 10,
        fusion: str = "concat",
        dim: int = 64,
        window_s: float | None = None,
        model_rate_hz: float = 100.0,
        batch_size: int = 32,
        lr: float = 2e-3,
        validation: float = 0.15,
        train: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Keep the parameters as they are, as scikit-learn wants it; `fit` checks them."""
        self.views, self.rate_hz, self.unit, self.leads = views, rate_hz, unit, leads
        self.epochs, self.fusion, self.dim, self.window_s = epochs, fusion, dim, window_s
        self.model_rate_hz, self.batch_size, self.lr = model_rate_hz, batch_size, lr
        self.validation, self.train, self.seed = validation, train, seed

    def fit(self, X: Any, y: Any, groups: Any = None) -> PrismClassifier:  # noqa: N803
        """Train on signals X (N, L, T) and labels y: (N,) of any kind, or (N, K) of 0 and 1.

        `groups` are the patients (N,): nobody stands in training and validation. Raises ConfigError.
        """
        signals = _signals(X)
        numbers, self.classes_, exclusive = self._labels(y)
        names = [f"class {k}" for k in range(len(self.classes_))]  # any label may be one, and is not always a word
        with tempfile.TemporaryDirectory(prefix="ecgprism-") as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="every row has one label")
            corpus = Corpus(
                ingest_arrays(
                    signals, numbers, Path(folder, "corpus"), classes=names, patients=groups, workers=1,
                    kind="multiclass" if exclusive else "multilabel", rate_hz=self.rate_hz, unit=self.unit,
                    leads=self.leads, corpus_rate_hz=self.model_rate_hz,
                ).path
            )  # fmt: skip
            self.model_ = train(self._config(corpus), Path(folder, "run"), corpus=self._split(corpus)).model
        self.n_features_in_ = int(np.prod(signals.shape[1:])) if isinstance(signals, np.ndarray) else len(signals[0])
        return self

    def _labels(self, y: Any) -> tuple[Any, NDArray[Any], bool]:
        kind = type_of_target(y)
        if kind.startswith("multilabel"):
            held = np.asarray(y)
            return held, np.arange(held.shape[1]), False
        if kind not in ("binary", "multiclass"):
            raise ConfigError(f"Unknown label type: {kind}: expected classes; regression is not there")
        classes, numbers = np.unique(np.asarray(y), return_inverse=True)
        if len(classes) < 2:
            raise ConfigError(f"y has one class alone ({classes[0]!r}): nothing to tell apart")
        return numbers, classes, True

    def _split(self, corpus: Corpus) -> Corpus:
        """Return the corpus with everything in training but the share of patients that validates."""
        examples = corpus.select("labels")
        cluster = np.unique(examples.cluster, return_inverse=True)[1]
        shares = {"train": 1 - self.validation, "val": self.validation}
        return corpus.with_splits(stratified(cluster, examples.target, shares, self.seed))

    def _config(self, corpus: Corpus) -> Config:
        longest_s = float(corpus.select("labels").length.max()) / corpus.rate_hz
        options = {"epochs": self.epochs, "batch_size": self.batch_size, "lr": self.lr, "seed": self.seed}
        views = dict(self.views) if isinstance(self.views, Mapping) else list(self.views)
        return Config(
            corpus=corpus.path,
            window_s=self.window_s or min(longest_s, LONGEST_WINDOW_S),
            views=views,
            fusion=self.fusion,
            dim=self.dim,
            train={**options, **(self.train or {})},
        )

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return probabilities (N, K) in the order of `classes_`. Raises ConfigError for a signal without any lead."""
        check_is_fitted(self, "model_")
        table = predict(
            self.model_, _signals(X), rate_hz=self.rate_hz, unit=self.unit, leads=self.leads, note=lambda said: None
        )
        found = table.filter(regex="^p_").to_numpy(float)
        if np.isnan(found).any():
            row = int(np.isnan(found).any(axis=1).argmax())
            raise ConfigError(f"X[{row}]: {table[PROBLEM][row]}")
        return found

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the classes (N,), or for several labels 0 and 1 (N, K) by thresholds from validation."""
        probabilities = self.predict_proba(X)
        if self.model_.card.kind == "multiclass":
            return np.asarray(self.classes_[probabilities.argmax(axis=1)])
        return (probabilities >= np.asarray(self.model_.card.thresholds)).astype(int)

    @property
    def model(self) -> PrismModel:
        """The trained model."""
        check_is_fitted(self, "model_")
        return self.model_


def _signals(X: Any) -> Any:  # noqa: N803
    """Return signals as (N, L, T); (N, T) is of one lead."""
    if isinstance(X, list | tuple) and len({np.shape(each) for each in X}) > 1:
        return list(X)
    held = np.asarray(X)
    return held[:, None, :] if held.ndim == 2 else held
