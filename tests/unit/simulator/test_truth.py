"""Tests that the true PD is correct, and that the delivered files do not contain it."""

import numpy as np
import polars as pl
from scipy.stats import beta

from dagster_project.simulator.behaviour import hazard_index, transitions
from dagster_project.simulator.deferral import MONTHS as HOLIDAY
from dagster_project.simulator.deferral import NEVER
from dagster_project.simulator.macro import macro_path
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.simulator.truth import HORIZON, true_pd, true_pd_with_holiday


def test_true_pd_is_the_chains_matrix_carried_back():
    """The true PD equals the PD that results from multiplying the transition matrices of the following 12 months."""
    hazard, opened, count = np.array([-1.0, 0.3, 2.0]), np.array([0, 2, 4]), np.array([9, 36, 60])
    stress, months = macro_path(5, 10 + HORIZON, shock_month=8), 10
    pd = true_pd(hazard, opened, count, stress, months)
    for i, month in ((0, 0), (0, 5), (1, 7), (2, 9)):
        # Ages at which b behind means that nothing is left are closed; their probability goes nowhere.
        chance = np.eye(6)[:4]
        for later in range(month + 1, month + HORIZON + 1):
            age = later - opened[i]
            chance = (
                chance @ transitions(hazard_index(hazard[i : i + 1], np.array([age]), stress[later]), stress[later])[0]
            )
            chance[:, :4] *= age - np.arange(4) < count[i]
        is_open = month - opened[i] - np.arange(4) < count[i]
        np.testing.assert_allclose(pd[:, month, i], chance[:, 4] * is_open, atol=1e-12)


def test_true_pd_with_a_holiday_is_the_chain_of_pairs():
    """With a payment holiday, the true PD equals the PD of a simple chain with pairs as states.

    A pair consists of the months behind and of whether the holiday has been granted. In the month before the holiday
    would begin, a loan that is 0 behind is granted the holiday. For a loan that never gets a holiday, the result equals
    that of `true_pd`.
    """
    hazard, opened, count, lots = 1.1, 0, 30, 7
    stress, months = macro_path(5, 12 + HORIZON), 12
    one = lambda value: np.array([value])
    before, after = true_pd_with_holiday(one(hazard), one(opened), one(count), stress, months, one(lots))
    for month in range(months):
        for begins_within in (False, True):
            if begins_within and month < lots - 1:
                continue  # nobody has a holiday before it is granted
            chance = np.zeros((4, 2, 6))  # by first state: outside, and with a holiday granted
            for b in range(4):
                chance[b, int(begins_within), b] = 1
            for m in range(month, month + HORIZON):
                if m == lots - 1:
                    chance[:, 1, 0] += chance[:, 0, 0]
                    chance[:, 0, 0] = 0
                for world, rested in ((0, 0), (1, min(max(m + 1 - lots + 1, 0), HOLIDAY))):
                    if world == 1 and lots <= m + 1 < lots + HOLIDAY:
                        continue
                    index = hazard_index(one(hazard), one(m + 1 - opened - rested), stress[m + 1])
                    chance[:, world] = chance[:, world] @ transitions(index, stress[m + 1])[0]
                    chance[:, world, :4] *= m + 1 - opened - rested - np.arange(4) < count
            is_open = np.array([month - opened - b < count for b in range(4)])
            expected = chance[:, :, 4].sum(axis=1) * is_open
            found = (after if begins_within else before)[:, month, 0]
            comparable = slice(0, 1) if begins_within and month < lots + HOLIDAY else slice(None)
            np.testing.assert_allclose(
                found[comparable], expected[comparable], atol=1e-12, err_msg=f"{month} {begins_within}"
            )
    without = true_pd(one(hazard), one(opened), one(count), stress, months)
    np.testing.assert_allclose(
        true_pd_with_holiday(one(hazard), one(opened), one(count), stress, months, one(NEVER))[0], without
    )
    assert np.abs(before - without)[0].max() > 1e-3, "a holiday within the window matters"


def test_defaults_come_as_often_as_the_true_pd_says(tmp_path):
    """In each decile of the true PD, defaults occur as often as the true PD predicts.

    Each loan contributes one row, in a random month. The simulation contains a shock, a drift of one segment, payment
    holidays and planted risk shifts.
    """
    names = frozenset({"channel_drift", "cohort_month"})
    plan = Plan(14_000, 36, seed=12, shock_month=20, drift_month=14, deferral_month=16, planted=names)
    simulate(plan, tmp_path)
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet").with_columns(
        n=(pl.col("month_on").dt.year() * 12 + pl.col("month_on").dt.month()).cast(pl.Int32)
    )
    # The month is drawn for each loan before anything is known of its end: of its own months one that is early would
    # be drawn too often where the loan soon defaults.
    loans = months.group_by("loan_id", maintain_order=True).agg(
        pl.col("n").min().alias("opened"), pl.col("n").filter(pl.col("state") == "default").min().alias("defaulted")
    )
    last = months["n"].max() - HORIZON
    draw = pl.Series(np.random.default_rng(3).random(loans.height))
    drawn = loans.with_columns(n=(pl.col("opened") + draw * (last + 1 - pl.col("opened"))).floor().cast(pl.Int32))
    asked = drawn.filter(pl.col("opened") <= last).join(months, on=["loan_id", "n"]).drop_nulls("pd_12m")
    at_risk = asked.filter(pl.col("defaulted").is_null() | (pl.col("defaulted") > pl.col("n")))  # never yet in default
    rows = at_risk.with_columns(
        hit=(pl.col("defaulted") - pl.col("n") <= HORIZON).fill_null(value=False),
        decile=(pl.col("pd_12m").rank("ordinal") - 1) * 10 // at_risk.height,
    )
    tens = rows.group_by("decile").agg(pl.len().alias("n"), pl.col("hit").sum(), pl.col("pd_12m").mean())
    assert tens.height == 10 and tens["hit"].sum() > 200
    for _, n, hit, pd in tens.iter_rows():
        low, high = beta.ppf([0.0025, 0.9975], hit + 0.5, n - hit + 0.5)
        assert low <= pd <= high, (n, hit, pd, low, high)


def test_truth_is_not_in_the_book(tmp_path):
    """No file in the landing folder contains the latent risk or the true PD."""
    simulate(Plan(200, 6, seed=4), tmp_path)
    assert pl.read_parquet(tmp_path / "truth/planted.parquet").is_empty()
    columns = {c for p in (tmp_path / "landing").rglob("*.csv") for c in pl.read_csv(p, n_rows=1).columns}
    assert not columns & {"risk", "hazard", "stress", "state", "pd_12m"}
