"""IFRS 9: which stage a loan is in and why, and its expected credit loss under weighted scenarios.

A loan's PD of one year becomes the same hazard in every month of its remaining life. The exposure of an instalment loan
runs off as an annuity at its own rate; the exposure of a card stays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.portfolio.policy import Discounting, ImpairmentPolicy
from dagster_project.portfolio.stress import stressed_pd

Floats = NDArray[np.float64]
MONTHS = 12
# The first one that holds is stored. A loan in probation has left default and is not cured yet.
TRIGGERS = ("default", "probation", "days_past_due", "forborne", "pd_ratio", "pd_increase", "none")


@dataclass(frozen=True)
class Loans:
    """One entry per loan. Rates and PDs are yearly fractions; `exposure` is in the loan's currency.

    `pd` is 1 for a loan in default. `loss`: loss given default.
    """

    pd: Floats
    loss: Floats
    exposure: Floats
    annual_rate: Floats
    remaining_months: NDArray[np.int64]
    is_revolving: NDArray[np.bool_]
    stage: NDArray[np.int64]


def lifetime_pd(pd: Floats, months: NDArray[np.int64]) -> Floats:
    """Probability of a default within this many months, from the PD of one year at a constant hazard."""
    return 1 - (1 - pd) ** (months / MONTHS)


def stages(loans: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Add the columns `stage` (1, 2, 3) and `trigger`. Imputed days past due are a guess and never a trigger.

    Args:
        loans: is_default, is_probation, dpd_end, arrears_basis, is_forborne; pd_lifetime and pd_lifetime_first: the PD
            over the remaining life by the PD of now and by that of the first score.
        policy: thresholds of a significant increase.
    """
    ratio = pl.col("pd_lifetime") / pl.col("pd_lifetime_first")
    risen = pl.col("pd_lifetime") - pl.col("pd_lifetime_first")
    holds = {
        "default": pl.col("is_default"),
        "probation": pl.col("is_probation"),
        "days_past_due": (pl.col("dpd_end") > policy.dpd) & (pl.col("arrears_basis") != "imputed"),
        "forborne": pl.col("is_forborne"),
        "pd_ratio": ratio >= policy.pd_ratio_alone,
        "pd_increase": (ratio >= policy.pd_ratio) & (risen >= policy.pd_increase),
    }
    trigger: pl.Expr = pl.lit(TRIGGERS[-1])
    for name in reversed(TRIGGERS[:-1]):
        trigger = pl.when(holds[name]).then(pl.lit(name)).otherwise(trigger)
    stage = pl.when(pl.col("trigger") == "default").then(3).when(pl.col("trigger") == "none").then(1).otherwise(2)
    return loans.with_columns(trigger=trigger).with_columns(stage=stage.cast(pl.Int32))


def expected_losses(
    terms: Iterable[tuple[Floats, Floats, Floats]],
    annual_rate: Floats,
    discounting: Discounting,
    periods_a_year: int,
    horizon: int,
) -> tuple[Floats, Floats]:
    """`sum over t of S_(t-1) h_t LGD_t EAD_t d_t`, over the first `horizon` periods and over all of them.

    `d_t = (1 + EIR)^-(t - 1/2)/p` with p periods per year, or `^-t/p` where losses are discounted from a period's end.

    Args:
        terms: (hazard, LGD, EAD) of each period in turn, each an array over loans.
        annual_rate: effective yearly interest rate.
        discounting: from the middle or the end of a period.
        periods_a_year: 12 for months, 1 for years.
        horizon: number of periods that stage 1 counts.
    """
    survival = np.ones_like(annual_rate)
    within, total = np.zeros_like(annual_rate), np.zeros_like(annual_rate)
    shift = 0.5 if discounting == "mid_period" else 0.0
    for period, (hazard, loss, exposure) in enumerate(terms, start=1):
        discount = (1 + annual_rate) ** (-(period - shift) / periods_a_year)
        total = total + survival * hazard * loss * exposure * discount
        survival = survival * (1 - hazard)
        if period <= horizon:
            within = total
    return within, total


def run_off(loans: Loans) -> Iterator[Floats]:
    """Exposure at the beginning of each month of the longest remaining life; 0 after a loan's own."""
    growth = (1 + loans.annual_rate) ** (1 / MONTHS)
    left = loans.remaining_months
    whole = growth**left
    for month in range(int(left.max(initial=0))):
        even = 1 - month / left
        annuity = np.divide(whole - growth**month, whole - 1, out=even, where=whole > 1 + 1e-9)
        yield np.where(month < left, loans.exposure * np.where(loans.is_revolving, 1.0, annuity), 0.0)


def credit_loss(loans: Loans, policy: ImpairmentPolicy, factor: float | None = None) -> Floats:
    """Expected credit loss by stage in one scenario, in the loans' currency: 12 months, lifetime, or the loss itself.

    `factor`: see `stressed_pd`; None leaves the PDs unchanged. A loan in default loses its loss given default times its
    exposure.
    """
    pd = np.minimum(loans.pd if factor is None else stressed_pd(loans.pd, factor, policy.correlation), 1.0)
    hazard = 1 - (1 - pd) ** (1 / MONTHS)
    terms = ((hazard, loans.loss, exposure) for exposure in run_off(loans))
    near, whole = expected_losses(terms, loans.annual_rate, policy.discounting, MONTHS, policy.horizon_months)
    defaulted = loans.loss * loans.exposure
    return cast(Floats, np.where(loans.stage == 3, defaulted, np.where(loans.stage == 2, whole, near)))


def weighted_loss(loans: Loans, policy: ImpairmentPolicy) -> NDArray[np.int64]:
    """Expected credit loss in cents: the weighted sum of the scenarios' losses. Losses are weighted, not paths."""
    losses = (s.weight * credit_loss(loans, policy, s.factor) for s in policy.scenarios.values())
    return np.rint(100 * sum(losses, np.zeros_like(loans.pd))).astype(np.int64)


# In this order, one input after another changes from its old to its new value.
STEPS: dict[str, tuple[str, ...]] = {
    "stage_moves": ("stage",),
    "pd": ("pd",),
    "lgd": ("loss",),
    "ead": ("exposure", "remaining_months", "is_revolving"),
    "fx_other": ("annual_rate",),
}


def movement(before: Loans, after: Loans, policy: ImpairmentPolicy) -> dict[str, NDArray[np.int64]]:
    """The change of loss of each loan that is owed at both dates, by cause, in cents.

    Each step is the difference of two losses in whole cents, so the steps add up to the whole movement to the cent.
    """
    found, loans, was = {}, before, weighted_loss(before, policy)
    for step, names in STEPS.items():
        loans = replace(loans, **{name: getattr(after, name) for name in names})
        now = weighted_loss(loans, policy)
        found[step] = now - was
        was = now
    return found
