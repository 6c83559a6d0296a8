"""Tests of calibration, compared with scikit-learn and with simulated outcomes whose true PDs are given.

Calibration is specified in section 3 of the modelling specification.
"""

import numpy as np
import pytest

from ml.calibrate import NoLineError, fit_platt, logistic_line


def test_logistic_line_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = (rng.random(4000) < 1 / (1 + np.exp(-(0.3 + 1.2 * x)))).astype(float)
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y)
    assert logistic_line(x, y) == pytest.approx((model.intercept_[0], model.coef_[0, 0]), abs=1e-5)


def test_rare_defaults_far_from_zero_have_a_line():
    """`logistic_line` finds the line if defaults are rare and the margins are far from 0.

    Newton's first full step is too long here: it leads to a point where every probability is 0 or 1.
    """
    rng = np.random.default_rng(3)
    margin = rng.normal(-4.5, 1.2, 50_000) - 3.0 * (rng.random(50_000) < 0.5)
    outcome = (rng.random(50_000) < 1 / (1 + np.exp(-margin))).astype(float)
    intercept, slope = logistic_line(margin, outcome)
    assert slope == pytest.approx(1, abs=0.1)
    assert intercept == pytest.approx(0, abs=0.4)


def test_calibration_of_true_margins_is_the_identity():
    rng = np.random.default_rng(1)
    margin = rng.normal(-2, 1, 200_000)
    outcome = (rng.random(200_000) < 1 / (1 + np.exp(-margin))).astype(float)
    platt = fit_platt(margin, outcome)
    assert (platt.intercept, platt.slope) == pytest.approx((0, 1), abs=0.03)
    assert platt.pd(np.array([0.0])) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("x", "y"), [([1.0, 2, 3], [0.0, 0, 0]), ([1.0, 2, 3, 4], [0.0, 0, 1, 1])])
def test_no_line_without_two_mixed_classes(x, y):
    with pytest.raises(NoLineError, match=r"defaults|separated|converge"):
        logistic_line(np.array(x), np.array(y))
