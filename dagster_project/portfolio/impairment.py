"""IFRS 9: the stage of a loan and its trigger, and the expected credit loss as a weighted mean of scenarios.

The one-year PD of a loan is spread over its remaining life: the hazard is the same in every month. The exposure of an
instalment loan falls as in an annuity with the loan's rate. The exposure of a card stays the same.
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
    """The inputs of expected losses, as arrays with one entry per loan. Rates and PDs are fractions per year.

    Attributes:
        pd: the PD, which is 1 for a loan in default.
        loss: loss given default, as a share of `exposure`.
        exposure: exposure at default, in the currency of the loan.
        annual_rate: effective interest rate.
        remaining_months: remaining life.
        is_revolving: whether the exposure stays the same until the end, as for a card.
        stage: 1, 2 or 3.
    """

    pd: Floats
    loss: Floats
    exposure: Floats
    annual_rate: Floats
    remaining_months: NDArray[np.int64]
    is_revolving: NDArray[np.bool_]
    stage: NDArray[np.int64]


def lifetime_pd(pd: Floats, months: NDArray[np.int64]) -> Floats:
    """Return the probability of default within `months` months.

    `pd` is the one-year PD. The hazard is assumed to be constant.
    """
    return 1 - (1 - pd) ** (months / MONTHS)


def stages(loans: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Return the loans with the additional columns `stage` (1, 2 or 3) and `trigger`.

    The trigger is the first entry of `TRIGGERS` that applies. Days past due that are imputed never trigger a stage,
    because they are only estimates.

    Args:
        loans: a frame with the columns is_default, is_probation, dpd_end, arrears_basis, is_forborne, pd_lifetime and
            pd_lifetime_first. The last two are PDs over the remaining life, from the current score and from the first
            score.
        policy: the thresholds of a significant increase in risk.
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
    """Return the expected losses over the first `horizon` periods, and over all periods, per loan.

    Each of the two is a sum over periods t of `S_(t-1) h_t LGD_t EAD_t d_t`. S is the survival, h is the hazard and d
    is the discount factor. With p periods per year, `d_t = (1 + EIR)^(-(t - 1/2)/p)` if losses are discounted from the
    middle of a period, and `d_t = (1 + EIR)^(-t/p)` if they are discounted from its end.

    Args:
        terms: (hazard, LGD, EAD) of each period, in order. Each of the three is an array with one entry per loan.
        annual_rate: the effective yearly interest rate (EIR) of each loan.
        discounting: whether losses are discounted from the middle or from the end of a period.
        periods_a_year: 12 for months, 1 for years.
        horizon: number of periods in the first sum, which is the loss in stage 1.
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
    """Yield the exposures of all loans at the beginning of each month, until the longest remaining life ends.

    The exposure of a loan is 0 after the end of its own remaining life.
    """
    growth = (1 + loans.annual_rate) ** (1 / MONTHS)
    left = loans.remaining_months
    whole = growth**left
    for month in range(int(left.max(initial=0))):
        even = 1 - month / left
        annuity = np.divide(whole - growth**month, whole - 1, out=even, where=whole > 1 + 1e-9)
        yield np.where(month < left, loans.exposure * np.where(loans.is_revolving, 1.0, annuity), 0.0)


def credit_loss(loans: Loans, policy: ImpairmentPolicy, factor: float | None = None) -> Floats:
    """Return the expected credit loss of each loan in one scenario, in the loan's currency.

    In stage 1, the losses of the first `horizon_months` months count. In stage 2, the losses of the whole remaining
    life count. In stage 3, the loss is the loss given default times the exposure.

    `factor` is the economic factor of the scenario, see `stressed_pd`. If it is None, the PDs are used unchanged.
    """
    pd = np.minimum(loans.pd if factor is None else stressed_pd(loans.pd, factor, policy.correlation), 1.0)
    hazard = 1 - (1 - pd) ** (1 / MONTHS)
    terms = ((hazard, loans.loss, exposure) for exposure in run_off(loans))
    near, whole = expected_losses(terms, loans.annual_rate, policy.discounting, MONTHS, policy.horizon_months)
    defaulted = loans.loss * loans.exposure
    return cast(Floats, np.where(loans.stage == 3, defaulted, np.where(loans.stage == 2, whole, near)))


def weighted_loss(loans: Loans, policy: ImpairmentPolicy) -> NDArray[np.int64]:
    """Return the expected credit loss of each loan, in cents.

    This is the sum of the losses in all scenarios, each multiplied by the weight of the scenario. The weights are
    applied to the losses, not to the PDs.
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
    """Return how much each step of `STEPS` changes the loss of each loan, in cents.

    Each step replaces some inputs of the loans by their new values. A step's amount is the difference of two losses in
    whole cents, so the steps add up exactly to the whole change. `before` and `after` must contain the same loans in
    the same order.
    """
    found, loans, was = {}, before, weighted_loss(before, policy)
    for step, names in STEPS.items():
        loans = replace(loans, **{name: getattr(after, name) for name in names})
        now = weighted_loss(loans, policy)
        found[step] = now - was
        was = now
    return found
