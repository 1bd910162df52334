"""DeLong, Obuchowski, McNemar and Holm against published worked values and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from ecgprism.metrics.intervals import interval
from ecgprism.metrics.significance import delong, delong_difference, holm, mcnemar

# 113 patients with a subarachnoid haemorrhage (Turck et al. 2010, doi:10.1007/s00134-009-1641-y): poor outcome, WFNS
# grade, S100-beta. The values expected below are those that the R package pROC documents in its own tests (1.19.0.1).
POOR = (
    "00001101001011001011101000000000100110110000000001100010001010011101101111000110100000010000000000001111110001000"
)

WFNS = (
    "11113254125255125225211112121134214541425511241125521251222151125214524414121421232421451154221113125225552445111"
)

S100B = [
    0.13, 0.14, 0.1, 0.04, 0.13, 0.1, 0.47, 0.16, 0.18, 0.1, 0.12, 0.1, 0.44, 0.71, 0.04, 0.08, 0.49, 0.04, 0.07, 0.33,
    0.09, 0.09, 0.07, 0.11, 0.07, 0.17, 0.07, 0.11, 0.13, 0.19, 0.05, 0.16, 0.41, 0.14, 0.34, 0.35, 0.48, 0.09, 0.96,
    0.25, 0.5, 0.46, 0.16, 0.07, 0.43, 0.45, 0.11, 0.08, 0.09, 0.86, 0.52, 0.08, 0.06, 0.13, 2.07, 0.1, 0.14, 0.15,
    0.07, 0.06, 0.77, 0.05, 0.09, 0.3, 0.03, 0.09, 0.04, 0.23, 0.7, 0.09, 0.27, 0.71, 0.08, 0.26, 0.08, 0.16, 0.09,
    0.13, 0.1, 0.08, 0.11, 0.33, 0.11, 0.28, 0.07, 0.1, 0.32, 0.22, 0.07, 0.05, 0.24, 0.38, 0.1, 0.15, 0.08, 0.14, 0.1,
    0.07, 0.04, 0.19, 0.56, 0.14, 0.58, 0.32, 0.82, 0.74, 0.15, 0.47, 0.17, 0.44, 0.15, 0.5, 0.48,
]  # fmt: skip

# 65 arteries of 36 patients, two readers of MR angiograms: patient, disease, reader 1, reader 2 (Obuchowski 1997,
# Biometrics 53:567, table 3). Expected values: "ROC analysis of clustered data with R" of the Cleveland Clinic.
MRA = [
    (1, 1, 87, 87), (1, 1, 79, 83), (2, 1, 88, 94), (2, 1, 95, 93), (3, 1, 100, 100), (3, 1, 68, 79), (4, 1, 65, 61),
    (4, 1, 89, 91), (5, 1, 97, 97), (5, 1, 100, 100), (6, 1, 100, 99), (6, 1, 89, 88), (7, 1, 77, 77), (8, 1, 94, 89),
    (8, 0, 45, 44), (9, 1, 89, 92), (9, 0, -11, -17), (10, 1, 95, 91), (10, 0, 30, 14), (11, 1, 95, 95),
    (11, 0, 10, -122), (12, 1, 100, 100), (12, 0, 19, -3), (13, 1, 75, 75), (14, 0, 70, 73), (14, 1, 70, 81),
    (15, 0, 26, 27), (15, 1, 86, 93), (16, 0, 0, 8), (16, 1, 65, 70), (17, 0, 6, 23), (17, 1, 100, 100),
    (18, 0, 76, 79),
    (18, 1, 96, 95), (19, 0, 44, 55), (19, 1, 100, 100), (20, 0, 73, 67), (20, 1, 97, 94), (21, 1, 85, 86),
    (22, 0, 58, 60), (22, 1, 100, 99), (23, 0, -2, -2), (23, 1, 100, 100), (24, 0, -3, -14), (24, 0, 0, -11),
    (25, 0, 47, -3), (25, 0, -94, -90), (26, 0, -16, 17), (26, 0, 75, 85), (27, 0, 5, -22), (27, 0, -1, -14),
    (28, 0, -6, -52), (29, 0, 37, 38), (29, 0, 47, 35), (30, 0, 42, 40), (30, 0, 4, 6), (31, 0, 55, 23),
    (31, 0, 55, 45),
    (32, 0, 4, -87), (32, 0, -13, -65), (33, 0, 49, 24), (33, 0, 35, 9), (34, 0, 53, 66), (35, 0, 2, -15),
    (36, 0, -48, -78),
]  # fmt: skip


def test_delong_gives_the_documented_values_of_proc() -> None:
    poor = np.array([digit == "1" for digit in POOR])
    wfns, s100b = np.array([float(digit) for digit in WFNS]), np.array(S100B)
    assert (len(poor), poor.sum(), len(wfns), len(s100b)) == (113, 41, 113, 113)
    area, covariance = delong(poor, np.stack([wfns, s100b]))
    np.testing.assert_allclose(area, [0.823678861788618, 0.731368563685637], rtol=1e-13)
    expected = [[0.00146991470882363, 0.00119615567376754], [0.00119615567376754, 0.00266868245717244]]
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)
    difference = delong_difference(poor, wfns, s100b)
    assert difference.p == pytest.approx(0.0271757822291882, rel=1e-12)
    assert [difference.low, difference.high] == pytest.approx([0.0104061769564846, 0.174214419249478], rel=1e-12)


def test_clusters_give_the_published_values_of_obuchowski() -> None:
    patient, disease, first, second = np.array(MRA).T
    area, covariance = delong(disease == 1, np.stack([first, second]).astype(float), patient)
    np.testing.assert_allclose(area, [0.9837, 0.9852], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.0108, 0.0097], atol=5e-5)
    difference = delong_difference(disease == 1, second, first, patient)
    assert difference.value == pytest.approx(0.0014, abs=5e-5)
    assert [difference.low, difference.high] == pytest.approx([-0.0115, 0.0143], abs=5e-5)
    assert difference.p == pytest.approx(0.8271, abs=5e-5)


def test_without_clusters_these_patients_give_other_values() -> None:
    patient, disease, first, second = np.array(MRA).T
    alone = delong_difference(disease == 1, second, first)
    assert alone.p != pytest.approx(delong_difference(disease == 1, second, first, patient).p, abs=0.01)
    each = delong(disease == 1, np.stack([first, second]), np.arange(len(patient)))
    for found, expected in zip(each, delong(disease == 1, np.stack([first, second])), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_area_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    target, score = rng.random(200) < 0.3, rng.integers(0, 6, (3, 200))
    area, _ = delong(target, score)
    np.testing.assert_allclose(area, [roc_auc_score(target, row) for row in score], rtol=1e-12)


def test_equal_curves_do_not_differ_and_one_class_is_undefined() -> None:
    target, score = np.arange(20) % 3 == 0, np.random.default_rng(1).random(20)
    same = delong_difference(target, score, 2 * score + 1)
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    undefined = delong_difference(np.ones(20, dtype=bool), score, score)
    assert all(map(np.isnan, (undefined.value, undefined.low, undefined.high, undefined.p)))
    one_patient = delong_difference(target, score, score[::-1], np.zeros(20))
    assert np.isnan(one_patient.p)


def test_an_undefined_difference_has_no_p_and_counts_for_nothing_in_holm() -> None:
    """Its p value was 1.0 and took part: four tests of which one is undefined are three."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(1, 0.5, 999)
    known = [interval(np.float64(1.0), drawn + shift).difference() for shift in (0.0, 0.3, 1.0)]
    undefined = interval(np.float64(np.nan), np.full(999, np.nan)).difference()
    p = np.array([each.p for each in [*known, undefined]])
    assert np.isnan(p[3])
    np.testing.assert_allclose(holm(p)[:3], holm(p[:3]))
    assert np.isnan(holm(p)[3])
    # the least two-sided p value of B resamples is 2 / (B + 1)
    assert interval(np.float64(9.0), drawn + 8).p == pytest.approx(2 / 1000)


def test_delong_refuses_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"got \(3,\) and \(1, 4\)"):
        delong(np.ones(3, dtype=bool), np.ones(4))


def test_mcnemar_is_the_exact_test_of_a_fair_coin() -> None:
    a = np.array([True] * 10 + [False] * 2 + [True] * 30 + [False] * 5)
    b = np.array([False] * 10 + [True] * 2 + [True] * 30 + [False] * 5)
    only_a, only_b, p = mcnemar(a, b)
    assert (only_a, only_b) == (10, 2)
    assert p == pytest.approx(2 * binom.cdf(2, 12, 0.5))
    assert mcnemar(a, a) == (0, 0, 1.0)


def test_holm_by_hand() -> None:
    """Holm (1979): the smallest p times n, the next times n - 1, ..., never falling, never above 1."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.5])), [1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.02, np.nan, 0.01])), [0.02, np.nan, 0.02])
    assert holm(np.array([0.3])) == [0.3]
