"""Tests of loss given default, which comes from workouts or from the policy."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.portfolio.loss_given_default import loss_given_default
from support.portfolio import POLICY


def curve(*rows: tuple[int, int, float, float, float]) -> pl.DataFrame:
    names = ("months_since_default", "open_loans", "open_exposure", "ended_exposure", "recovered")
    return pl.DataFrame(rows, schema=names, orient="row")


def test_loss_given_default():
    """The loss given default of a single workout equals the golden number.

    Of 10,000, the lender recovers 2,800 after 6 months, 2,500 after 12 and 1,400 after 24, discounted at 8 % a year. In
    months without a row, the workout is open and nothing is recovered.
    """
    paid = {6: 2800 * 1.08**-0.5, 12: 2500 / 1.08, 24: 1400 / 1.08**2}
    rows = curve((0, 1, 10_000.0, 0.0, 0.0), *((age, 1, 10_000.0, 0.0, amount) for age, amount in paid.items()))
    found = loss_given_default(rows, POLICY.loss.model_copy(update={"min_workouts": 1}))
    assert found.given_default == found.own == pytest.approx(0.379061, abs=5e-7)
    assert (found.extrapolated, found.workouts, found.why_policy) == (0, 1, None)


@given(st.integers(0, 10_000))
def test_open_workouts_are_carried_on_and_not_dropped(seed):
    """The final loss is estimated correctly although many workouts are still open.

    Each workout is observed up to a random month. The estimate extrapolates what open workouts will still recover.
    Without these recoveries, the loss would be too high by more than 0.1.
    """
    random = np.random.default_rng(seed)
    count, months = 4_000, 24
    end = random.integers(1, 60, count)  # many outlast the window
    payment, cured = 0.01, random.random(count) < 0.5
    followed = random.integers(0, months + 1, count)
    paid = np.minimum(end, months) * payment + 0.5 * (cured & (end <= months))
    rows, lost = [], 1 - np.minimum(paid, 1.0).mean()
    ended_at = np.where(cured & (end <= months), end, months + 1)
    age = np.minimum(followed, ended_at)
    for k in range(months + 1):
        still = age >= k
        ends = still & (age == k) & (ended_at == k) & (k > 0)
        came = still & (k > 0) & (k <= end)
        recovered = payment * came.sum() + 0.5 * ends.sum()
        rows.append((k, int(still.sum()), float(still.sum()), float(ends.sum()), recovered))
    found = loss_given_default(curve(*rows), POLICY.loss)
    assert found.own == pytest.approx(lost, abs=0.03)
    assert found.extrapolated > 0.1
    assert found.own + found.extrapolated > lost + 0.1, "what is known so far is too high a loss"


def test_policy_value_is_used_where_workouts_are_too_few_or_too_short():
    few = loss_given_default(curve((0, 3, 30.0, 0.0, 0.0), (20, 3, 30.0, 0.0, 10.0)), POLICY.loss)
    assert (few.given_default, few.own) == (0.45, pytest.approx(2 / 3))
    assert few.why_policy == "3 workouts, 30 are needed"
    short = loss_given_default(curve((0, 99, 30.0, 0.0, 0.0), (5, 3, 30.0, 0.0, 10.0)), POLICY.loss)
    assert short.why_policy == "workouts were followed for 5 months, 12 are needed"
    assert loss_given_default(curve(), POLICY.loss).why_policy == "0 workouts, 30 are needed"
