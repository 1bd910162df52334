"""Metrics against scikit-learn (1e-9), closed forms, and what a bootstrap must do."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ecgprism.errors import EcgprismError
from ecgprism.interface.answers import Answers, decide
from ecgprism.metrics import calibration, intervals
from ecgprism.metrics import scores as metrics
from ecgprism.metrics.contrasts import essentials, minus, primary, tabulate

TOLERANCE = {"rtol": 0, "atol": 1e-9}


def make(seed=0, n=120, k=4, resamples=3, ties=True, kind="multilabel"):
    """Target, score (float32, heavily tied on request), integer weights with zeros among them."""
    rng = np.random.default_rng(seed)
    if kind == "multiclass":
        target = np.eye(k, dtype=bool)[rng.integers(k, size=n)]
        score = rng.dirichlet(np.ones(k), size=n)
    else:
        target = rng.random((n, k)) < 0.3
        score = (rng.random((n, k)) + target / 3) * 3 / 4
    if ties:
        score = score.round(1)
    return target, score.astype(np.float32), rng.integers(0, 4, size=(resamples, n)).astype(np.float32)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(metrics.auroc, sk.roc_auc_score), (metrics.auprc, sk.average_precision_score)]
)
def test_ranking_metrics_equal_scikit_learn(ours, theirs, kind, ties):
    target, score, weights = make(kind=kind, ties=ties)
    plain, weighted = ours(target, score), ours(target, score, weights)
    assert plain.shape == (4,)
    assert weighted.shape == (3, 4)
    for k in range(4):
        np.testing.assert_allclose(plain[k], theirs(target[:, k], score[:, k]), **TOLERANCE)
        for r, row in enumerate(weights):
            expected = theirs(target[:, k], score[:, k], sample_weight=row)
            np.testing.assert_allclose(weighted[r, k], expected, **TOLERANCE)


def test_rates_equal_scikit_learn():
    target, score, weights = make()
    decided = score > 0.4
    for weight, ours in [(None, metrics.rates(target, decided)), (weights, metrics.rates(target, decided, weights))]:
        for r, row in enumerate([None] if weight is None else weight):
            options = {"average": None, "sample_weight": row}
            for name, expected in {
                "f1": sk.f1_score(target, decided, **options),
                "sensitivity": sk.recall_score(target, decided, **options),
                "specificity": sk.recall_score(~target, ~decided, **options),
                "ppv": sk.precision_score(target, decided, **options),
            }.items():
                value = getattr(ours, name)
                np.testing.assert_allclose(value if weight is None else value[r], expected, **TOLERANCE)


def test_accuracy_equals_scikit_learn():
    target, score, weights = make(k=2)
    decided = score > 0.5
    np.testing.assert_allclose(metrics.accuracy(target, decided), sk.accuracy_score(target, decided), **TOLERANCE)
    for value, row in zip(metrics.accuracy(target, decided, weights), weights, strict=True):
        np.testing.assert_allclose(value, sk.accuracy_score(target, decided, sample_weight=row), **TOLERANCE)
    target, score, _ = make(kind="multiclass")
    expected = sk.accuracy_score(target.argmax(1), score.argmax(1))
    np.testing.assert_allclose(metrics.accuracy(target, decide(score, "multiclass")), expected, **TOLERANCE)


def test_confusion_matrix_equals_scikit_learn_and_wants_one_hot():
    target, score, _ = make(kind="multiclass")
    matrix = metrics.confusion_matrix(target, decide(score, "multiclass"))
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(target.argmax(1), score.argmax(1)))
    assert matrix.dtype == np.int64
    with pytest.raises(ValueError, match="decided is not one-hot: record 0 has 4 classes"):
        metrics.confusion_matrix(target, np.ones_like(target))


def test_brier_equals_scikit_learn_and_by_hand():
    target, score, weights = make()
    score = score.astype(float)  # scikit-learn would compute in float32
    for r, row in enumerate(weights):
        expected = np.mean([sk.brier_score_loss(target[:, k], score[:, k], sample_weight=row) for k in range(4)])
        value = metrics.brier(target, score, weights, kind="multilabel")[r]
        np.testing.assert_allclose(value, expected, **TOLERANCE)
    target, score = np.array([[1, 0, 0], [0, 1, 0]], bool), np.array([[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    first, second = 0.25 + 0.09 + 0.04, 0.36 + 0.36
    brier = partial(metrics.brier, target, score)
    assert brier(kind="multiclass") == pytest.approx((first + second) / 2)
    assert brier(kind="multilabel") == pytest.approx((first + second) / 6)
    assert brier(np.array([[3.0, 1.0]]), kind="multiclass") == pytest.approx([(3 * first + second) / 4])


def test_ece_by_hand():
    # bins (0, .5] and (.5, 1]; the edge .5 belongs to the lower one
    target = np.array([[1], [0], [1], [1]], bool)
    score = np.array([[0.5], [0.1], [0.8], [0.6]])
    ece = partial(metrics.ece, target, score, bins=2)
    assert ece(kind="multilabel") == pytest.approx((abs(1 - 0.6) + abs(2 - 1.4)) / 4)
    assert ece(np.array([[2.0, 0, 1, 0]]), kind="multilabel") == pytest.approx([(abs(2 - 1.0) + abs(1 - 0.8)) / 3])
    # each class on its own, then the mean
    both_target, both_score = np.hstack([target, ~target]), np.hstack([score, np.zeros((4, 1))])
    expected = ((0.4 + 0.6) / 4 + 1 / 4) / 2
    assert metrics.ece(both_target, both_score, kind="multilabel", bins=2) == pytest.approx(expected)
    # top label: confidences .7 (right), .9 (wrong), .4 (right)
    target = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    score = np.array([[0.7, 0.2, 0.1], [0.9, 0.1, 0.0], [0.3, 0.3, 0.4]])
    value = metrics.ece(target, score, kind="multiclass", bins=2)
    assert value == pytest.approx((abs(1 - 1.6) + abs(1 - 0.4)) / 3)


def test_fmax_by_hand():
    target = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], bool)
    score = np.array([[0.9, 0.4, 0.1], [0.8, 0.1, 0.3], [0.2, 0.1, 0.1]])
    # just above .3: decided {0, 1}, {0}, {}: precision (1 + 0) / 2, recall (1 + 0) / 2          -> F1 1/2
    # .3:            decided {0, 1}, {0, 2}, {}: precision (1 + 1/2) / 2, recall (1 + 1) / 2     -> F1 6/7
    # above .8:      decided {0}, {}, {}: precision 1, recall (1/2 + 0) / 2                      -> F1 2/5
    # .2:            decided {0, 1}, {0, 2}, {0}: precision (1 + 1/2 + 0) / 3, recall 1          -> F1 2/3
    assert metrics.fmax(target, score) == pytest.approx(6 / 7)
    # without the second record: above .2 precision and recall are 1; only it: at .3 precision 1/2, recall 1
    weights = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(metrics.fmax(target, score, weights), [1, 2 / 3, np.nan])
    # thresholds 0, 1/2, 1: all decided gives (2/3 + 1/3 + 0) / 3 and recall 1; 1/2 gives 1/2 and 1/4
    assert metrics.fmax(target, score, thresholds=3) == pytest.approx(1 / 2)
    # a score equal to the threshold is a decision
    assert metrics.fmax(np.array([[1], [0]], bool), np.array([[1.0], [0.5]]), thresholds=2) == 1


def test_fmax_never_right_is_zero():
    target = np.array([[1, 0], [1, 0]], bool)
    assert metrics.fmax(target[:, :1], np.full((2, 1), -1.0)).shape == ()
    assert np.isnan(metrics.fmax(target[:, :1], np.full((2, 1), -1.0)))  # no decision at any threshold
    assert metrics.fmax(target, np.array([[-1.0, 0.5], [-1.0, 0.5]])) == 0


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_integer_weights_equal_repetition(kind):
    target, score, weights = make(kind=kind, resamples=2)
    decided = decide(score, kind, 0.4)
    for r, row in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(len(row)), row)
        for metric, other in [
            (metrics.auroc, score),
            (metrics.auprc, score),
            (metrics.fmax, score),
            (metrics.accuracy, decided),
            (partial(metrics.brier, kind=kind), score),
            (partial(metrics.ece, kind=kind), score),
        ]:
            repeated = metric(target[again], other[again])
            np.testing.assert_allclose(metric(target, other, weights)[r], repeated, **TOLERANCE)


def test_undefined_is_nan_per_resample_and_class():
    target = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]], bool)
    score = np.array([[0.9, 0.8, 0.7], [0.2, 0.3, 0.4], [0.8, 0.1, 0.3]])
    only_positives = np.array([[1.0, 0, 1]])
    nan = np.nan
    np.testing.assert_array_equal(metrics.auroc(target, score), [1, nan, nan])
    np.testing.assert_array_equal(metrics.auroc(target, score, only_positives), [[nan, nan, nan]])
    np.testing.assert_array_equal(metrics.auprc(target, score), [1, 1, nan])
    np.testing.assert_array_equal(metrics.auprc(target, score, np.array([[0.0, 1, 0]])), [[nan, 1, nan]])
    rates = metrics.rates(target, np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0]], bool))
    np.testing.assert_array_equal(rates.f1, [1, 0, nan])
    np.testing.assert_array_equal(rates.sensitivity, [1, 0, nan])
    np.testing.assert_array_equal(rates.specificity, [1, nan, 1])
    np.testing.assert_array_equal(rates.ppv, [1, nan, nan])
    assert np.isnan(metrics.accuracy(target, target, np.zeros((2, 3)))).all()
    np.testing.assert_array_equal(metrics.macro(np.array([[0.5, 1.0], [nan, 1.0]])), [0.75, nan])


def test_no_records_are_undefined():
    target, score = np.zeros((0, 2), bool), np.zeros((0, 2))
    assert np.isnan(metrics.auroc(target, score)).all()
    assert np.isnan(metrics.auprc(target, score)).all()
    assert np.isnan(metrics.fmax(target, score))
    assert np.isnan(metrics.brier(target, score, kind="multilabel"))
    with pytest.raises(ValueError, match="no records"):
        next(intervals.cluster_weights(np.array([], int)))


def test_nan_score_makes_metrics_nan_and_is_refused_for_decisions():
    target, score, weights = make(kind="multiclass")
    whole = metrics.auroc(target, score)
    score[5, 1] = np.nan
    np.testing.assert_array_equal(metrics.auroc(target, score), np.where([0, 1, 0, 0], np.nan, whole))
    assert np.isnan(metrics.auprc(target, score, weights)[:, 1]).all()
    assert np.isnan(metrics.fmax(target, score))
    for kind in ("multilabel", "multiclass"):
        assert np.isnan(metrics.brier(target, score, kind=kind))
        assert np.isnan(metrics.ece(target, score, kind=kind))
        with pytest.raises(EcgprismError, match="1 of 120 records"):
            decide(score, kind)
    with pytest.raises(EcgprismError, match="1 of 120 records"):
        calibration.best_thresholds(target, score)


def test_wrong_arguments_are_refused():
    target, score, weights = make()
    with pytest.raises(ValueError, match="one shape"):
        metrics.auroc(target[:, 0], score[:, 0])
    with pytest.raises(ValueError, match="one shape"):
        metrics.auroc(target[:, :1], score)
    with pytest.raises(ValueError, match=r"weights of shape \(R, 120\)"):
        metrics.auroc(target, score, weights.T)
    with pytest.raises(ValueError, match="kind 'multi-class'; expected one of multilabel, multiclass"):
        metrics.brier(target, score, kind="multi-class")


def test_cinc2017_f1_is_the_mean_of_normal_af_and_other():
    f1 = np.array([[0.9, 0.6, 0.1, 0.3], [0.9, np.nan, 0.1, 0.3]])
    np.testing.assert_allclose(metrics.cinc2017_f1(f1, ("A", "N", "~", "O")), [0.6, np.nan])
    with pytest.raises(ValueError, match="O is not in N, A, ~"):
        metrics.cinc2017_f1(f1[:, :3], ("N", "A", "~"))


def test_best_thresholds_by_hand():
    target = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], bool)
    score = np.array([[0.9, 0.4, 0.9, 0.6], [0.8, 0.4, 0.2, 0.5], [0.2, 0.4, 0.1, 0.5], [0.1, 0.4, 0.0, 0.1]])
    # a clear gap; one tie only, down to 0; no positives; F1 4/5 at .5 beats 2/3 at .6, though .5 admits a negative
    np.testing.assert_allclose(calibration.best_thresholds(target, score, 1), [0.5, 0.2, 0.5, 0.3])
    # neighbouring floats have no middle
    upper = np.nextafter(0.5, 1)
    assert calibration.best_thresholds(np.array([[1], [0]], bool), np.array([[upper], [0.5]]), 1) == [upper]


def test_best_thresholds_beat_every_other_threshold():
    target, score, _ = make(seed=3, n=60)
    best = metrics.rates(target, decide(score, "multilabel", calibration.best_thresholds(target, score))).f1
    for threshold in np.linspace(0, 1.1, 56):
        assert (metrics.rates(target, score >= threshold).f1 <= best + 1e-12).all()


def test_decide():
    score = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    np.testing.assert_array_equal(decide(score, "multiclass"), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(decide(score, "multilabel"), [[0, 1, 0], [0, 0, 0]])
    thresholds = np.array([0.3, 0.5, 0.2])
    np.testing.assert_array_equal(decide(score, "multilabel", thresholds), [[0, 1, 1], [1, 0, 1]])


def test_cluster_weights_draw_clusters_with_replacement():
    clusters = np.array([0, 0, 1, 2, 2, 2, 3])
    weights = np.concatenate(list(intervals.cluster_weights(clusters, 4000)))
    assert weights.shape == (4000, 7)
    firsts = weights[:, [0, 2, 3, 6]]
    np.testing.assert_array_equal(weights, firsts[:, clusters])  # a cluster's records come and go together
    np.testing.assert_array_equal(firsts.sum(1), 4)
    np.testing.assert_allclose(firsts.mean(0), 1, atol=0.06)  # standard error .014
    np.testing.assert_allclose(firsts.var(0), 3 / 4, atol=0.1)  # multinomial: C × 1/C × (1 - 1/C)
    # unused codes are no clusters
    np.testing.assert_array_equal(np.concatenate(list(intervals.cluster_weights(clusters * 5, 4000))), weights)


def test_cluster_weights_depend_on_the_seed_alone():
    clusters = np.arange(30) // 2
    whole = next(intervals.cluster_weights(clusters, 20, seed=1))
    blocks = list(intervals.cluster_weights(clusters, 20, seed=1, rows=6))
    assert [len(block) for block in blocks] == [6, 6, 6, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert not np.array_equal(next(intervals.cluster_weights(clusters, 20, seed=2)), whole)


def test_a_large_bootstrap_stays_small():
    target, score, _ = make(n=100_000, k=1)
    tracemalloc.start()
    try:
        intervals.bootstrap(lambda w: {"auroc": metrics.auroc(target, score, w)}, np.arange(len(target)), resamples=90)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_bootstrap_is_deterministic_and_shaped_like_the_statistic():
    target, score, _ = make()

    def statistic(weights):
        per_class = metrics.auroc(target, score, weights)
        return {"auroc": per_class, "macro": metrics.macro(per_class)}

    run = partial(intervals.bootstrap, statistic, np.arange(120), 200)
    first, second, other = run(seed=4), run(seed=4), run(seed=5)
    assert [a.estimate() for a in first["auroc"]] == [b.estimate() for b in second["auroc"]]
    assert (first["auroc"].low != other["auroc"].low).any()
    np.testing.assert_array_equal(first["auroc"].value, metrics.auroc(target, score))
    assert first["auroc"].low.shape == (4,)
    assert [float(one.low) for one in first["auroc"]] == first["auroc"].low.tolist()
    assert isinstance(first["macro"].estimate().value, float)
    assert first["macro"].estimate().defined == 200
    assert first["macro"].low < first["macro"].value < first["macro"].high
    narrow = run(seed=4, level=0.5)["macro"]
    assert first["macro"].low < narrow.low < narrow.high < first["macro"].high


def test_bootstrap_takes_percentiles_of_the_defined_resamples_only():
    draws = np.array([np.nan, 3.0, 1.0, np.nan, 5.0, 2.0, 4.0, np.nan, np.nan, np.nan])
    assert len(draws) == 10

    def statistic(weights):
        if weights is None:
            return {"some": 7.0, "none": np.nan}
        return {"some": draws[: len(weights)], "none": np.full(len(weights), np.nan)}

    found = intervals.bootstrap(statistic, np.arange(3), resamples=10, level=0.5)
    some, none = found["some"], found["none"]
    assert (some.value, some.low, some.high, some.defined, some.resamples) == (7, 2, 4, 5, 10)
    assert math.isnan(none.low)
    assert math.isnan(none.high)
    assert none.defined == 0


def test_shaky_is_more_than_a_twentieth_undefined():
    def interval(defined):
        value = np.full(len(defined), 0.5)
        return intervals.Interval(value, value - 0.1, value + 0.1, np.array(defined), 1000, np.ones(len(defined)))

    np.testing.assert_array_equal(interval([1000, 950, 949, 0]).shaky, [False, False, True, True])
    assert interval([949, 1000])[0].shaky


def test_p_of_an_interval_is_twice_the_smaller_tail_and_never_zero():
    drawn = np.array([-1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert intervals.interval(np.float64(3.0), drawn).p == pytest.approx(2 * (1 + 1) / 10)
    assert intervals.interval(np.float64(3.0), np.abs(drawn)).p == pytest.approx(2 / 10)
    assert intervals.interval(np.float64(0.0), np.zeros(9)).p == 1.0
    columns = intervals.interval(np.array([1.0, np.nan]), np.column_stack([drawn, np.full(9, np.nan)]))
    np.testing.assert_allclose(columns.p, [0.4, np.nan])
    assert math.isnan(intervals.interval(np.float64(np.nan), drawn).p)
    assert columns[1].difference().model_dump_json() == (
        '{"value":null,"low":null,"high":null,"defined":0,"shaky":true,"p":null,"p_holm":null}'
    )
    read = intervals.Difference.model_validate_json(columns[1].difference().model_dump_json())
    assert math.isnan(read.p)
    assert (read.sign, read.known) == (0, False)


def answers_of(target, score, classes, kind="multiclass", thresholds=None):
    items = tuple((str(i), 0) for i in range(len(target)))
    return Answers(kind, classes, items, score, decide(score, kind, thresholds), target=target)


def test_essentials_are_the_metrics_by_their_names():
    rng = np.random.default_rng(0)
    target, score = np.eye(3, dtype=bool)[rng.integers(0, 3, 50)], rng.random((50, 3))
    answers = answers_of(target, score, ("N", "A", "O"))
    found = essentials(answers, "cinc2017_f1")
    f1 = metrics.rates(target, answers.decided).f1
    np.testing.assert_array_equal(found["f1"], f1)
    np.testing.assert_array_equal(found["auroc"], metrics.auroc(target, score))
    assert found["macro_auroc"] == metrics.auroc(target, score).mean()
    assert found["cinc2017_f1"] == f1.mean() == found["macro_f1"]
    assert "cinc2017_f1" not in essentials(answers, "macro_auroc")


@pytest.mark.parametrize(
    ("task", "classes", "expected"),
    [
        ("rhythm", ("A", "O", "N", "~"), "cinc2017_f1"), ("rhythm", ("N", "A", "O"), "cinc2017_f1"),
        ("rhythm", ("N", "A"), "macro_auroc"), ("rhythm", ("N", "A", "O", "SVT"), "macro_auroc"),
        ("beat", ("N", "A", "O"), "macro_auroc"), ("labels", ("A", "O", "N", "~"), "macro_auroc"),
    ],
)  # fmt: skip
def test_the_challenge_score_is_of_its_own_task_and_classes(task, classes, expected):
    """Atrial beats and other leads' names are letters too."""
    assert primary(task, classes) == expected


def test_paired_scores_are_those_of_each_model_and_their_difference():
    rng = np.random.default_rng(1)
    target = np.eye(3, dtype=bool)[rng.integers(0, 3, 90)]
    models = {name: answers_of(target, rng.random((90, 3)) + noise * target, ("x", "y", "z")) for name, noise in
              (("a", 0.4), ("b", 0.2), ("c", 0.0))}  # fmt: skip
    contrasts = {("a", "b"): minus("a", "b"), ("mean", "c"): {"a": 0.5, "b": 0.5, "c": -1.0}}
    found = tabulate(models, contrasts, "macro_auroc", resamples=100, seed=3)
    for key in ("macro_auroc", "macro_f1", "accuracy"):
        a, b, c = (found.models[name].metrics[key].value for name in "abc")
        assert found.contrasts["a", "b"].metrics[key].value == pytest.approx(a - b, abs=1e-12)
        assert found.contrasts["mean", "c"].metrics[key].value == pytest.approx((a + b) / 2 - c, abs=1e-12)
    expected = metrics.auroc(target, models["a"].probabilities)
    for k, label in enumerate("xyz"):
        assert found.models["a"].per_class[label]["auroc"].value == expected[k]

    def by_hand(weights):
        return {
            "x": np.subtract(*(metrics.auroc(target, models[name].probabilities, weights)[..., 1] for name in "ab"))
        }

    alone = intervals.bootstrap(by_hand, np.arange(90), 100, seed=3)["x"].difference()
    assert found.contrasts["a", "b"].per_class["y"]["auroc"] == alone


def test_p_of_the_bootstrap_is_uniform_where_nothing_differs():
    """Two equally good scores on 80 patients, 600 data sets: p < 0.05 in about 5% (binomial s.d. 0.9 points)."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(600):
        target = rng.random(80) < 0.5
        scores = [(target + 0.8 * rng.normal(size=80))[:, None] for _ in range(2)]
        statistic = partial(
            lambda truth, a, b, w: {"x": (metrics.auroc(truth, a, w) - metrics.auroc(truth, b, w))[..., 0]},
            target[:, None], *scores,
        )  # fmt: skip
        p.append(intervals.bootstrap(statistic, np.arange(80), 199, seed=int(rng.integers(2**31)))["x"].p)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08
    assert 0.42 <= np.mean(np.array(p) < 0.5) <= 0.58
    assert min(p) >= 2 / 200


def test_a_threshold_is_not_chosen_from_a_few_positives():
    """At a threshold of 0.044 chosen from one positive, a model labelled all of 859 records (`field/silent.md`, 3)."""
    target, score = np.zeros((200, 3), bool), np.full((200, 3), 0.01)
    for k, positives in enumerate((9, 10, 1)):
        target[:positives, k] = True
        score[:positives, k] = 0.05
    np.testing.assert_allclose(calibration.best_thresholds(target, score), [0.5, 0.03, 0.5])
    assert calibration.enough_positives(target).tolist() == [False, True, False]


@pytest.mark.parametrize("quantity", ["auroc", "paired"])
def test_the_bootstrap_of_scores_covers_the_truth_as_often_as_it_says(quantity):
    """Nominal 95% on simulated scores, patients of one to three records: 93-97% of 1,500 data sets of 150 patients."""
    rng = np.random.default_rng(7)
    trials, covered = 1500, 0
    for _ in range(trials):
        cluster = np.repeat(np.arange(150), rng.integers(1, 4, 150))
        target = (rng.random(150) < 0.5)[cluster][:, None]
        patient = rng.normal(size=150)[cluster]
        first = target[:, 0] + 0.6 * patient + 0.8 * rng.normal(size=len(cluster))
        second = target[:, 0] + 0.6 * patient + 0.8 * rng.normal(size=len(cluster))

        def statistic(weights, target=target, first=first, second=second):
            a, b = (metrics.auroc(target, score[:, None], weights)[..., 0] for score in (first, second))
            return {"x": a if quantity == "auroc" else a - b}

        interval = intervals.bootstrap(statistic, cluster, 400, seed=int(rng.integers(2**31)))["x"]
        truth = norm.cdf(1 / math.sqrt(2)) if quantity == "auroc" else 0.0
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / trials <= 0.97


def test_a_single_patient_has_values_and_no_interval():
    """MIT-BIH record 208 alone: AUROC .321 was given as .321 to .321, for every resample is the same patient."""
    target, score, _ = make()

    def statistic(w):
        return {"auroc": metrics.auroc(target, score, w), "ece": metrics.ece(target, score, w, kind="multilabel")}

    one = intervals.bootstrap(statistic, np.full(120, 7), 50)
    np.testing.assert_array_equal(one["auroc"].value, metrics.auroc(target, score))
    assert np.isnan(one["auroc"].low).all()
    assert np.isnan(one["auroc"].p).all()
    assert one["auroc"].shaky.all()
    assert math.isnan(one["ece"].high)
    two = intervals.bootstrap(statistic, np.arange(120) % 2, 50)
    assert (two["auroc"].low < two["auroc"].high).all()


def test_macro_interval_uses_only_resamples_with_every_class():
    target, score, _ = make()
    target[:, 1] = False
    target[0, 1] = True  # one positive: about 1/e of the resamples lose it

    def statistic(weights):
        per_class = metrics.auroc(target, score, weights)
        return {"auroc": per_class, "macro": metrics.macro(per_class)}

    found = intervals.bootstrap(statistic, np.arange(120), 500)
    assert found["macro"].defined == found["auroc"][1].defined
    assert abs(found["macro"].defined / 500 - (1 - math.exp(-1))) < 0.08
    np.testing.assert_array_equal(found["auroc"].shaky, [False, True, False, False])
    assert found["macro"].shaky


def test_repeating_records_within_their_cluster_changes_no_interval():
    target, score, _ = make(n=80, ties=False)
    twice, patients = np.repeat(np.arange(80), 2), np.arange(80)

    def auroc_of(rows, clusters):
        statistic = lambda w: {"auroc": metrics.auroc(target[rows], score[rows], w)}  # noqa: E731
        return intervals.bootstrap(statistic, clusters, 300)["auroc"]

    once, clustered, naive = auroc_of(patients, patients), auroc_of(twice, twice), auroc_of(twice, np.arange(160))
    np.testing.assert_allclose(clustered.low, once.low, **TOLERANCE)
    np.testing.assert_allclose(clustered.high, once.high, **TOLERANCE)
    # what clustering protects from: taken as independent, the copies narrow the interval by about sqrt(2)
    assert ((naive.high - naive.low) < 0.9 * (once.high - once.low)).all()


def test_interval_covers_the_truth_about_as_often_as_it_says():
    # share of a fair coin: its 90% interval should cover .5 in about 90% of data sets (binomial s.d. 2.1 points)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        target = rng.random((100, 1)) < 0.5
        statistic = partial(lambda target, w: {"share": metrics.accuracy(target, np.ones_like(target), w)}, target)
        share = intervals.bootstrap(statistic, np.arange(100), 200, level=0.9)["share"]
        covered += bool(share.low <= 0.5 <= share.high)
    assert 0.82 <= covered / 200 <= 0.97


columns = st.lists(
    st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 3)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(columns)
def test_auroc_depends_on_order_only_and_mirrors(column):
    target = np.array([[label] for label, _, _ in column])
    score = np.array([[level / 12] for _, level, _ in column])
    weights = np.array([[weight for _, _, weight in column]])
    auroc = metrics.auroc(target, score, weights)
    np.testing.assert_allclose(metrics.auroc(target, np.exp(5 * score) - 3, weights), auroc, **TOLERANCE)
    np.testing.assert_allclose(metrics.auroc(target, -score, weights), 1 - auroc, **TOLERANCE)
    np.testing.assert_allclose(metrics.auroc(~target, score, weights), 1 - auroc, **TOLERANCE)
    labels = target[weights[0] > 0]
    assert np.isnan(auroc[0, 0]) == (labels.all() or not labels.any())


@settings(max_examples=100, deadline=None)
@given(columns, st.integers(0, 2**32 - 1))
def test_order_of_records_is_irrelevant(column, seed):
    target, score, weights = (np.array(values) for values in zip(*column, strict=True))
    target, score, weights = target[:, None], score[:, None] / 12, weights[None]
    shuffled = np.random.default_rng(seed).permutation(len(target))
    ece, brier = (partial(metric, kind="multilabel") for metric in (metrics.ece, metrics.brier))
    for metric in (metrics.auroc, metrics.auprc, metrics.fmax, ece, brier):
        moved = metric(target[shuffled], score[shuffled], weights[:, shuffled])
        np.testing.assert_allclose(moved, metric(target, score, weights), **TOLERANCE)
