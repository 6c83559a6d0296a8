"""Tests of AUC, KS and calibration against scikit-learn and SciPy, and of intervals for borrowers with several rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.validate import auc, auc_interval, auc_standard_error, clustered_standard_error, ks, measure


def test_interval_is_taken_over_borrowers():
    """If each borrower's row is repeated twelve times, the interval of the AUC keeps its width.

    The copies contain no new information. DeLong's interval treats rows as independent and would become 3.5 times
    narrower.
    """
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.2).astype(float)
    risk = y + rng.normal(size=400)
    once = auc_interval(y, risk)
    twelve = auc_interval(np.repeat(y, 12), np.repeat(risk, 12), np.repeat(np.arange(400), 12))
    assert twelve == pytest.approx(once, abs=0.012)
    assert twelve[0] < auc(y, risk) < twelve[1]


def test_closed_form_for_borrowers_is_what_the_bootstrap_says():
    rng = np.random.default_rng(5)
    owner = np.repeat(np.arange(3_000), 4)
    risk = np.repeat(rng.normal(size=3_000), 4) + 0.5 * rng.normal(size=12_000)
    y = (rng.random(12_000) < 1 / (1 + np.exp(2 - np.repeat(rng.normal(size=3_000), 4) - risk))).astype(float)
    low, high = auc_interval(y, risk, owner)
    error = clustered_standard_error(y, risk, owner)
    assert error == pytest.approx((high - low) / 2 / 1.959964, rel=0.05)
    assert error > 1.1 * auc_standard_error(y, risk), "rows of one borrower go together here"
    assert clustered_standard_error(y, risk, np.arange(12_000)) == pytest.approx(auc_standard_error(y, risk), rel=1e-3)


def sample(seed, n=400, levels=None):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(float)
    risk = y * 0.8 + rng.normal(size=n)
    return y, np.round(risk, levels) if levels is not None else risk


@given(st.integers(0, 10_000), st.sampled_from([None, 0, 1]))
def test_auc_and_ks_agree_with_scikit_learn_and_scipy(seed, levels):
    from scipy.stats import ks_2samp
    from sklearn.metrics import roc_auc_score

    y, risk = sample(seed, levels=levels)
    assert auc(y, risk) == pytest.approx(roc_auc_score(y, risk), abs=1e-12)
    assert ks(y, risk) == pytest.approx(ks_2samp(risk[y == 1], risk[y == 0]).statistic, abs=1e-12)


def test_standard_error_is_what_the_auc_does_over_samples():
    areas, errors = [], []
    for seed in range(400):
        y, risk = sample(seed)
        areas.append(auc(y, risk))
        errors.append(auc_standard_error(y, risk))
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.1)


def test_perfectly_calibrated_pd_has_slope_one():
    rng = np.random.default_rng(3)
    margin = rng.normal(-1, 1, 100_000)
    pd = 1 / (1 + np.exp(-margin))
    y = (rng.random(100_000) < pd).astype(float)
    figures = measure(y, pd, margin)
    assert figures.slope == pytest.approx(1, abs=0.03)
    assert figures.intercept == pytest.approx(0, abs=0.03)
    assert figures.gini == pytest.approx(2 * figures.auc - 1, abs=1e-6)
    assert figures.auc_low < figures.auc < figures.auc_high
    assert measure(y, 1 / (1 + np.exp(-2 * margin)), margin).slope == pytest.approx(0.5, abs=0.02)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="defaults and non-defaults"):
        auc(np.zeros(3), np.arange(3.0))
