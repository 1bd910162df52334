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
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.extras import needs
from ecgprism.model.prism import PrismModel
from ecgprism.prediction.files import PROBLEM, predict
from ecgprism.training.run import fit as train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import Tags
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d
except ImportError:
    raise ConfigError(needs("PrismClassifier", "sklearn")) from None

LONGEST_WINDOW_S = 30.0


class InputError(ConfigError, ValueError):
    """What cannot be fitted or predicted on; scikit-learn expects a ValueError."""


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

        `groups` are the patients (N,): nobody stands in training and validation. Raises InputError.
        """
        signals = self._signals(X)
        if y is None:
            raise InputError("PrismClassifier requires y to be passed, but the target y is None")
        try:
            check_consistent_length(signals, y)
            numbers, self.classes_, exclusive = self._labels(y)
        except ValueError as error:
            raise InputError(str(error)) from None
        names = [f"class {k}" for k in range(len(self.classes_))]  # any label may be one, and is not always a word
        try:
            self.model_ = self._trained(signals, numbers, names, groups, exclusive)
        except EcgprismError as error:
            raise InputError(str(error)) from error
        # samples of (N, T), leads of (N, L, T), as scikit-learn counts
        self.n_features_in_ = len(signals[0]) if isinstance(signals, list) else int(np.asarray(X).shape[1])
        return self

    def _trained(self, signals: Any, labels: Any, names: list[str], groups: Any, exclusive: bool) -> PrismModel:
        with tempfile.TemporaryDirectory(prefix="ecgprism-") as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="every row has one label")
            corpus = Corpus(
                ingest_arrays(
                    signals, labels, Path(folder, "corpus"), classes=names, patients=groups, workers=1,
                    kind="multiclass" if exclusive else "multilabel", rate_hz=self.rate_hz, unit=self.unit,
                    leads=self.leads, corpus_rate_hz=self.model_rate_hz,
                ).path
            )  # fmt: skip
            return train(self._config(corpus), Path(folder, "run"), corpus=self._split(corpus)).model

    def _labels(self, y: Any) -> tuple[Any, NDArray[Any], bool]:
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            held = np.asarray(y)
            return held, np.arange(held.shape[1]), False
        classes, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"y has one class alone ({classes[0]!r}): nothing to tell apart")
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
        """Return probabilities (N, K) in the order of `classes_`. Raises InputError for a signal without any lead."""
        check_is_fitted(self, "model_")
        table = predict(
            self.model_,
            self._signals(X),
            rate_hz=self.rate_hz,
            unit=self.unit,
            leads=self.leads,
            note=lambda said: None,
        )
        found = table.filter(regex="^p_").to_numpy(float)
        if np.isnan(found).any():
            row = int(np.isnan(found).any(axis=1).argmax())
            raise InputError(f"X[{row}]: {table[PROBLEM][row]}")
        return found

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the classes (N,), or for several labels 0 and 1 (N, K) by thresholds from validation."""
        probabilities = self.predict_proba(X)
        if self.model_.card.kind == "multiclass":
            return np.asarray(self.classes_[probabilities.argmax(axis=1)])
        return (probabilities >= np.asarray(self.model_.card.thresholds)).astype(int)

    def _signals(self, X: Any) -> Any:  # noqa: N803
        """Return signals as (N, L, T); (N, T) is of one lead; a list of (L, T) stays one."""
        if isinstance(X, list | tuple) and len({np.shape(each) for each in X}) > 1:
            return list(X)
        held = check_array(X, allow_nd=True, ensure_all_finite="allow-nan", ensure_min_samples=1)
        return held[:, None, :] if held.ndim == 2 else held

    def __sklearn_tags__(self) -> Tags:
        """Say what goes in: signals, gaps (NaN) in them too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def model(self) -> PrismModel:
        """The trained model."""
        check_is_fitted(self, "model_")
        return self.model_
