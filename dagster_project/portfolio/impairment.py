"""IFRS 9: the stage of a loan with its trigger, and its expected credit loss under weighted scenarios.

The one-year PD of a loan is spread over its remaining life as the same hazard in every month. The exposure of an
instalment loan falls as an annuity at the loan's rate; the exposure of a card stays the same.
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
# A loan gets the first trigger that applies. A loan in probation has left default and is not cured yet.
TRIGGERS = ("default", "probation", "days_past_due", "forborne", "pd_ratio", "pd_increase", "none")


@dataclass(frozen=True)
class Loans:
    """Columns with one entry per loan. Rates and PDs are fractions per year.

    `pd`: 1 for a loan in default. `loss`: loss given default, as a share of `exposure`. `exposure`: exposure at
    default, in the loan's currency.
    """

    pd: Floats
    loss: Floats
    exposure: Floats
    annual_rate: Floats
    remaining_months: NDArray[np.int64]
    is_revolving: NDArray[np.bool_]
    stage: NDArray[np.int64]


def lifetime_pd(pd: Floats, months: NDArray[np.int64]) -> Floats:
    """The probability of default within `months`, from the one-year PD at a constant hazard."""
    return 1 - (1 - pd) ** (months / MONTHS)


def stages(loans: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Add the columns `stage` (1, 2, 3) and `trigger`. Imputed days past due are estimates, so they trigger no stage.

    Args:
        loans: with the columns is_default, is_probation, dpd_end, arrears_basis, is_forborne, pd_lifetime and
            pd_lifetime_first. The last two are PDs over the remaining life, from the current score and the first score.
        policy: thresholds of a significant increase in risk.
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
    """Return two sums of `S_(t-1) h_t LGD_t EAD_t d_t`: over the first `horizon` periods t, and over all periods.

    S is the survival, h the hazard and d the discount factor: `d_t = (1 + EIR)^(-(t - 1/2)/p)` with p periods per year,
    or `(1 + EIR)^(-t/p)` if losses are discounted from the end of a period.

    Args:
        terms: (hazard, LGD, EAD) of each period in order; each is an array with one entry per loan.
        annual_rate: effective yearly interest rate (EIR) of each loan.
        discounting: whether losses are discounted from the middle or from the end of a period.
        periods_a_year: 12 for months, 1 for years.
        horizon: number of periods that count for stage 1.
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
    """Yield the exposures at the beginning of each month, until the longest remaining life ends.

    The exposure of a loan is 0 after its own remaining life.
    """
    growth = (1 + loans.annual_rate) ** (1 / MONTHS)
    left = loans.remaining_months
    whole = growth**left
    for month in range(int(left.max(initial=0))):
        even = 1 - month / left
        annuity = np.divide(whole - growth**month, whole - 1, out=even, where=whole > 1 + 1e-9)
        yield np.where(month < left, loans.exposure * np.where(loans.is_revolving, 1.0, annuity), 0.0)


def credit_loss(loans: Loans, policy: ImpairmentPolicy, factor: float | None = None) -> Floats:
    """The expected credit loss of each loan in one scenario, in the loan's currency.

    Stage 1 counts the losses of `horizon_months`, stage 2 those of the remaining life. The loss in stage 3 is loss
    given default times exposure. `factor`: see `stressed_pd`; None leaves the PDs unchanged.
    """
    pd = np.minimum(loans.pd if factor is None else stressed_pd(loans.pd, factor, policy.correlation), 1.0)
    hazard = 1 - (1 - pd) ** (1 / MONTHS)
    terms = ((hazard, loans.loss, exposure) for exposure in run_off(loans))
    near, whole = expected_losses(terms, loans.annual_rate, policy.discounting, MONTHS, policy.horizon_months)
    defaulted = loans.loss * loans.exposure
    return cast(Floats, np.where(loans.stage == 3, defaulted, np.where(loans.stage == 2, whole, near)))


def weighted_loss(loans: Loans, policy: ImpairmentPolicy) -> NDArray[np.int64]:
    """The expected credit loss of each loan, in cents: the weighted sum of the losses in all scenarios.

    The weights apply to the losses and not to the PDs.
    """
    losses = (s.weight * credit_loss(loans, policy, s.factor) for s in policy.scenarios.values())
    return np.rint(100 * sum(losses, np.zeros_like(loans.pd))).astype(np.int64)


# The steps of a movement, in this order: each changes the listed inputs from their old to their new values.
STEPS: dict[str, tuple[str, ...]] = {
    "stage_moves": ("stage",),
    "pd": ("pd",),
    "lgd": ("loss",),
    "ead": ("exposure", "remaining_months", "is_revolving"),
    "fx_other": ("annual_rate",),
}


def movement(before: Loans, after: Loans, policy: ImpairmentPolicy) -> dict[str, NDArray[np.int64]]:
    """The change in the loss of each loan by step of `STEPS`, in cents. `before` and `after` have the same loans.

    Each step is the difference of two losses in whole cents, so the steps add up to the whole change.
    """
    found, loans, was = {}, before, weighted_loss(before, policy)
    for step, names in STEPS.items():
        loans = replace(loans, **{name: getattr(after, name) for name in names})
        now = weighted_loss(loans, policy)
        found[step] = now - was
        was = now
    return found
