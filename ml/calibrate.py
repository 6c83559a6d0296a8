"""Platt calibration, which is a logistic regression of the outcome on the model's margin (Platt 1999)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_CONVERGED = 1e-10


class NoLineError(ValueError):
    """Raised if no calibration line can be fitted.

    This happens if all outcomes are of one class, or if the margins separate defaults from non-defaults perfectly.
    """


@dataclass(frozen=True)
class Platt:
    """A calibration line that converts margins to PDs.

    PD = sigmoid(intercept + slope * margin), where `margin` is the booster's raw output in logits.
    """

    intercept: float
    slope: float

    def pd(self, margin: Floats) -> Floats:
        """Return the calibrated PD for each margin.

        Each PD is rounded to 9 decimal places, so that results can be compared. It is at least 1e-9 and at most 1 minus
        1e-9.
        """
        pd = 1.0 / (1.0 + np.exp(-(self.intercept + self.slope * margin)))
        return np.clip(np.round(pd, 9), 1e-9, 1 - 1e-9)


def logistic_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the maximum-likelihood (a, b) of `logit P(y = 1) = a + b x`, found by Newton's method.

    With two parameters and exact second derivatives, a few steps reach machine precision. There is no penalty term. A
    step that lowers the likelihood is halved. This is needed if defaults are rare and x is far from 0: a full step from
    the base rate can overshoot so far that all probabilities become 0 or 1.

    Raises:
        NoLineError: only one class is present, x separates the classes so that no maximum exists, or the method does
            not converge.
    """
    if not 0 < y.sum() < len(y):
        raise NoLineError("a logistic line needs both defaults and non-defaults")
    good, bad = x[y == 0], x[y == 1]
    if good.max() <= bad.min() or bad.max() <= good.min():
        raise NoLineError("the classes are separated by x: no logistic line exists")
    design = np.column_stack([np.ones_like(x), x])
    beta = np.array([np.log(y.mean() / (1 - y.mean())), 0.0])
    likelihood = _log_likelihood(design @ beta, y)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-(design @ beta)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(information, design.T @ (y - p))
        while (after := _log_likelihood(design @ (beta + step), y)) < likelihood and np.abs(step).max() >= _CONVERGED:
            step = step / 2
        beta, likelihood = beta + step, max(after, likelihood)
        if np.abs(step).max() < _CONVERGED:
            return float(beta[0]), float(beta[1])
    raise NoLineError("the logistic line did not converge: the classes may be separated by x")


def _log_likelihood(margin: Floats, y: Floats) -> float:
    return float((y * margin - np.logaddexp(0.0, margin)).sum())


def fit_platt(margin: Floats, outcome: Floats) -> Platt:
    """Fit the calibration line of `outcome` (0 or 1) on `margin` (in logits).

    Both parameters are rounded to 9 decimal places. The rounding error is far smaller than their standard errors.

    Raises:
        NoLineError: no line can be fitted; `logistic_line` describes when.
    """
    intercept, slope = logistic_line(margin, outcome)
    return Platt(round(intercept, 9), round(slope, 9))
