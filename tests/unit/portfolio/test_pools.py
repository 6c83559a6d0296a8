"""Tests of static pools: early flags for cohorts that will reach a trigger level, and expected defaults by age."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.portfolio.pools import binomial_p, jeffreys_p, static_pools
from dagster_project.portfolio.tables import empty
from support.portfolio import POLICY, array


def test_jeffreys_and_binomial():
    pd, loans, defaults = array(0.10342906086898278, 0.09952395992070007), array(406, 480), array(55, 41)
    assert jeffreys_p(pd, loans, defaults) == pytest.approx([0.01995857, 0.84955196], abs=5e-9)
    assert binomial_p(pd, loans, defaults) == pytest.approx([0.02389227, 0.86744061], abs=5e-9)


def vintages(rates: dict[int, list[int]], loans: int = 1000) -> pl.DataFrame:
    """Return a vintage table with `loans` loans in each cohort.

    `rates` contains the cumulative number of defaults of each cohort, by month on book. A cohort is given by its
    opening month, as the number of months since January 2018.
    """
    month = pl.date_range(dt.date(2018, 1, 1), dt.date(2030, 1, 1), "1mo", eager=True).dt.month_end()
    rows = [
        ("lender", "loan", "EUR", month[c], mob, month[c + mob], loans, defaults)
        for c, row in rates.items()
        for mob, defaults in enumerate(row)
    ]
    names = ["source", "product", "currency", "cohort_on", "mob", "month_on", "loans", "default_loans"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("mob", "loans").cast(pl.Int32))


def test_overshoot_is_flagged_before_the_trigger_is_hit():
    """A cohort that will reach a trigger level is flagged before it reaches the level.

    Three cohorts reach 3 % after 30 months. The fourth defaults twice as fast and is forecast to end at 6 %. It reaches
    the amber level of 5 % in month 25, and is flagged by month 15.
    """
    usual = {c: list(range(31)) for c in (0, 1, 2)}
    pools = static_pools(vintages(usual | {24: [2 * m for m in range(31)]}), POLICY.static_pools)
    bad = pools.filter(pl.col("cohort_on") == dt.date(2020, 1, 31))
    flagged = bad.filter(pl.col("status").str.starts_with("forecast") & pl.col("is_worse"))
    hit = bad.filter(pl.col("status").str.starts_with("hit"))
    assert (hit["mob"].min(), hit["default_rate"].min()) == (25, 0.05)
    assert flagged["mob"].min() <= 15
    assert bad["distance_to_amber"][10] == pytest.approx(0.03)
    assert bad["forecast_rate"][29] == pytest.approx(0.06, abs=0.001)
    good = pools.filter(pl.col("cohort_on") == dt.date(2018, 3, 31))
    assert (good["forecast_to_mob"][15], good["forecast_rate"][15]) == (17, pytest.approx(0.017))
    assert set(good["status"]) == {"clear"} and not good["is_worse"].any()


def test_each_month_is_judged_by_what_was_known_in_it():
    """Each month of a cohort is judged only with data that was known in that month.

    Data of later months changes no earlier row. If there is no other cohort to compare with, a cohort has no forecast.
    """
    whole = vintages({c: [c * m // 4 for m in range(20 - c)] for c in range(0, 12, 3)})
    until = whole.filter(pl.col("month_on") <= dt.date(2018, 12, 31))
    pools, then = (static_pools(rows, POLICY.static_pools) for rows in (whole, until))
    assert pools.filter(pl.col("month_on") <= dt.date(2018, 12, 31)).equals(then)
    single = static_pools(whole.filter(pl.col("cohort_on") == dt.date(2018, 1, 31)), POLICY.static_pools)
    assert set(single["status"]) == {"no_forecast"}
    assert single["expected_rate"].null_count() == single.height


@given(st.integers(0, 1_000))
def test_expected_defaults_are_those_of_the_others_at_the_same_age(seed):
    random = np.random.default_rng(seed)
    rates = {int(c): np.cumsum(random.integers(0, 9, 12 - c)).tolist() for c in random.choice(10, 4, replace=False)}
    pools = static_pools(vintages(rates), POLICY.static_pools)
    first = min(rates)
    for row in pools.filter(pl.col("expected_rate").is_not_null()).iter_rows(named=True):
        own = (row["cohort_on"].year - 2018) * 12 + row["cohort_on"].month - 1
        now, expected = own + row["mob"], 0.0
        for mob in range(row["mob"] + 1):
            others = [c for c in rates if c != own and c + mob <= now]
            new = sum(rates[c][mob] - (rates[c][mob - 1] if mob else 0) for c in others)
            expected += new / (1000 * len(others))
        assert row["expected_rate"] == pytest.approx(expected, abs=1e-8)
    assert first in rates


def test_no_vintage_makes_an_empty_table():
    found = static_pools(vintages({0: [0]}).clear(), POLICY.static_pools)
    assert set(found.columns) == set(empty("port_static_pools").columns)
