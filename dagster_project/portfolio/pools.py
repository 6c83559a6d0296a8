"""Static pools: the expected defaults of a cohort, estimated from the defaults of other cohorts at the same age.

The figures of each month use only data that was known in that month. In month T, a cohort is compared with the defaults
that other cohorts had up to month T. So the table shows in which month it first became visible that a cohort has more
defaults than expected.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.portfolio.policy import PoolPolicy

Floats = NDArray[np.float64]
SEGMENT = ("source", "product", "currency")
_KEYS = (*SEGMENT, "cohort_on", "mob", "month_on", "loans", "default_loans")


def binomial_p(pd: Floats, loans: Floats, defaults: Floats) -> Floats:
    """Return the probability of at least `defaults` defaults among `loans` loans.

    Each loan defaults with probability `pd`, independently of the others.
    """
    from scipy.stats import binom

    return np.asarray(binom.sf(defaults - 1, loans, pd), dtype=np.float64)


def jeffreys_p(pd: Floats, loans: Floats, defaults: Floats) -> Floats:
    """Return the posterior probability that the true PD is at most `pd`: `BetaCDF(pd; D + 1/2, N - D + 1/2)`.

    N is the number of loans, and D is the number of defaults.
    """
    from scipy.stats import beta

    return np.asarray(beta.cdf(pd, defaults + 0.5, loans - defaults + 0.5), dtype=np.float64)


def static_pools(vintages: pl.DataFrame, policy: PoolPolicy) -> pl.DataFrame:
    """Return one row per cohort and month, with cumulative default rates and their distances to the triggers.

    These columns need an explanation:

    - `expected_rate`: the default rate of the other cohorts up to the same age; null if no other cohort has reached it.
    - `forecast_to_mob`: the age, in months on book, up to which the forecast reaches.
    - `forecast_rate`: the actual rate plus the defaults that are still expected until that age. This is the rate at
      which other cohorts default after the cohort's present age, scaled by `(D + k) / (E + k)`. D is the number of
      actual defaults of the cohort, E is the number of expected defaults, and k is the policy's `prior_defaults`.
    - `status`: the trigger that the actual rate or the forecast reaches.
    - `is_worse`: whether the cohort has more defaults than chance explains (exact binomial test).

    Args:
        vintages: rows of `port_vintages`.
        policy: the triggers, `prior_defaults` and the significance level.
    """
    parts = [_segment(rows, policy) for _, rows in vintages.sort(*_KEYS[:5]).group_by(SEGMENT, maintain_order=True)]
    empty = vintages.select(_KEYS).clear().with_columns(**{name: pl.lit(0.0) for name in _RATES})
    made = pl.concat([empty.with_columns(forecast_to_mob=pl.lit(0, pl.Int32)), *parts])
    rate, forecast = pl.col("default_rate"), pl.col("forecast_rate")
    status = (
        pl.when(rate >= policy.red)
        .then(pl.lit("hit_red"))
        .when(rate >= policy.amber)
        .then(pl.lit("hit_amber"))
        .when(forecast >= policy.red)
        .then(pl.lit("forecast_red"))
        .when(forecast >= policy.amber)
        .then(pl.lit("forecast_amber"))
        .when(forecast.is_null())
        .then(pl.lit("no_forecast"))
        .otherwise(pl.lit("clear"))
    )
    return made.with_columns(
        distance_to_amber=(policy.amber - rate).round(9),
        distance_to_red=(policy.red - rate).round(9),
        status=status,
        is_worse=pl.col("p_worse") < policy.significance,
    ).sort(*SEGMENT, "cohort_on", "mob")


_RATES = ("default_rate", "expected_rate", "forecast_rate", "p_worse", "p_jeffreys")


def _segment(rows: pl.DataFrame, policy: PoolPolicy) -> pl.DataFrame:
    """Return the rows of one segment: their keys, their rates and `forecast_to_mob`.

    All matrices in this function have one row per cohort, oldest first, and one column per age in months.
    """
    cohorts = rows["cohort_on"].unique().sort()
    at = np.searchsorted(cohorts.to_numpy(), rows["cohort_on"].to_numpy())
    mob, month = rows["mob"].to_numpy(), _months(rows["month_on"])
    ages = int(mob.max()) + 1
    total, seen = np.zeros((len(cohorts), ages)), np.zeros((len(cohorts), ages), dtype=bool)
    loans = np.zeros(len(cohorts))
    total[at, mob], seen[at, mob] = rows["default_loans"].to_numpy(), True
    loans[at] = rows["loans"].to_numpy()
    before = np.where(np.roll(seen, 1, axis=1), np.roll(total, 1, axis=1), 0.0)
    before[:, 0] = 0.0
    new = np.where(seen, total - before, 0.0)
    opened = _months(cohorts)
    found = {name: np.full(rows.height, np.nan) for name in (*_RATES, "to")}
    for now in np.unique(month):
        observed = seen & (opened[:, None] + np.arange(ages) <= now)
        defaults, base = np.where(observed, new, 0.0), np.where(observed, loans[:, None], 0.0)
        for place in np.flatnonzero(month == now):
            own, age = at[place], mob[place]
            exposed = base.sum(axis=0) - base[own]
            hazard = np.divide(
                defaults.sum(axis=0) - defaults[own], exposed, out=np.full(ages, np.nan), where=exposed > 0
            )
            _judge(found, int(place), loans[own], total[own, age], hazard, seen[own], age, policy.prior_defaults)
    rates = {name: pl.Series(name, found[name]).fill_nan(None).round(9) for name in _RATES}
    return rows.select(_KEYS).with_columns(
        *rates.values(), pl.Series("forecast_to_mob", found["to"]).fill_nan(None).cast(pl.Int32)
    )


def _judge(
    found: dict[str, Floats],
    place: int,
    loans: float,
    defaults: float,
    hazard: Floats,
    followed: NDArray[np.bool_],
    age: int,
    prior: float,
) -> None:
    """Compute the figures of one cohort in one month and write them into the arrays of `found` at index `place`.

    If an age of the cohort was not reached by another cohort, only `default_rate` is written.

    Args:
        found: an array for each figure.
        place: the index of the row.
        loans: number of loans in the cohort.
        defaults: number of loans that have defaulted so far.
        hazard: the share of the other cohorts' loans that default at each age; nan if no other cohort has reached the
            age.
        followed: whether the cohort was observed at each age.
        age: age of the cohort in months.
        prior: the policy's `prior_defaults`.
    """
    found["default_rate"][place] = defaults / loans
    reached = hazard[: age + 1][followed[: age + 1]]
    if np.isnan(reached).any():
        return
    expected = float(reached.sum())
    found["expected_rate"][place] = expected
    size, count = np.array([loans]), np.array([defaults])
    found["p_worse"][place] = binomial_p(np.array([min(expected, 1.0)]), size, count)[0]
    found["p_jeffreys"][place] = jeffreys_p(np.array([min(expected, 1.0)]), size, count)[0]
    later = hazard[age + 1 :]
    observed = int(np.argmax(np.isnan(later))) if np.isnan(later).any() else len(later)
    level = (defaults + prior) / (expected * loans + prior)
    found["forecast_rate"][place] = min(defaults / loans + level * float(later[:observed].sum()), 1.0)
    found["to"][place] = age + observed


def _months(days: pl.Series) -> NDArray[np.int64]:
    return (days.dt.year().cast(pl.Int64) * 12 + days.dt.month().cast(pl.Int64)).to_numpy()
