"""The section `portfolio` of the policy: frozen models of its values, with bounds and descriptions."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from dagster_project.portfolio.arrears import OPEN_STATES, OpenState

Share = Annotated[float, Field(ge=0, le=1)]
Discounting = Literal["mid_period", "end_of_period"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Triggers(_Section):
    @field_validator("red", check_fields=False)
    @classmethod
    def _above_amber(cls, value: float, info: ValidationInfo) -> float:
        amber = info.data.get("amber")
        if amber is not None and value <= amber:
            raise ValueError(f"red ({value:g}) must be above amber ({amber:g})")
        return value


class RiskClasses(_Section):
    """Days past due from which each risk class begins. A loan below the first class has the class `normal`."""

    special_mention: int = Field(ge=1, description="Days past due from which a loan is `special_mention`.")
    substandard: int = Field(
        ge=2, description="Days past due from which a loan is `substandard`. Must be above `special_mention`."
    )
    doubtful: int = Field(
        ge=3, description="Days past due from which a loan is `doubtful`. Must be above `substandard`."
    )
    loss: int = Field(ge=4, description="Days past due from which a loan is `loss`. Must be above `doubtful`.")

    @field_validator("substandard", "doubtful", "loss")
    @classmethod
    def _above_the_one_before(cls, value: int, info: ValidationInfo) -> int:
        name, days = list(info.data.items())[-1] if info.data else ("", 0)
        if value <= days:
            raise ValueError(f"{info.field_name} ({value}) must be above {name} ({days})")
        return value


class ExposurePolicy(_Section):
    """Exposure at default and remaining life of revolving credit."""

    credit_conversion: Share = Field(description="Share of the undrawn limit that a borrower draws before a default.")
    revolving_months: int = Field(
        ge=1, description="Number of months assumed as the remaining life of a card, which has no last instalment."
    )


class PoolPolicy(_Triggers):
    """Triggers of static pools, and rules for comparing a cohort with the other cohorts."""

    amber: Share = Field(description="Cumulative default rate at which a cohort hits the amber trigger.")
    red: Share = Field(
        description="Cumulative default rate at which a cohort hits the red trigger. Must be above `amber`."
    )
    prior_defaults: float = Field(
        gt=0,
        description="Number of expected defaults at which a cohort's own defaults weigh as much in the forecast as "
        "those of the other cohorts.",
    )
    significance: float = Field(
        gt=0,
        lt=1,
        description="A cohort is worse than expected if the probability of so many defaults by chance is below this "
        "value.",
    )


class LossPolicy(_Section):
    """Rules for measuring the loss given default from workouts, and the value to use if there are too few workouts."""

    discount_rate: float = Field(ge=0, le=1, description="Annual discount rate for loans whose own rate is unknown.")
    workout_months: int = Field(
        ge=1, description="Number of months after a default in which recoveries count. Later recoveries are left out."
    )
    min_months: int = Field(
        ge=1,
        description="Number of months for which the oldest workouts must have been followed. After less time, "
        "`given_default` is used. Must not be above `workout_months`.",
    )
    min_workouts: int = Field(
        ge=1,
        description="Number of workouts that are needed to measure the loss given default. With fewer, "
        "`given_default` is used.",
    )
    given_default: Share = Field(description="Loss given default of a source with too few workouts of its own.")

    @field_validator("min_months")
    @classmethod
    def _within_a_workout(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("workout_months")
        if most is not None and value > most:
            raise ValueError(f"min_months ({value}) must not be above workout_months ({most})")
        return value


class Scenario(_Section):
    """An economic scenario for the expected loss."""

    weight: Share = Field(description="Weight of the scenario's losses. The weights of all scenarios add up to 1.")
    factor: float | None = Field(
        default=None,
        ge=-5,
        le=5,
        description="Value of the economic factor in standard deviations: 0 is a median year, and higher is better. "
        "If left out, the PD is used unchanged.",
    )


class ImpairmentPolicy(_Section):
    """Rules of IFRS 9: horizon, discounting, significant increase in credit risk, and scenarios."""

    horizon_months: int = Field(
        ge=1,
        description="Number of months whose losses stage 1 counts. A source whose PD covers fewer months has no "
        "expected loss.",
    )
    discounting: Discounting = Field(description="Point of a month from which the month's losses are discounted.")
    dpd: int = Field(ge=0, description="A loan is in stage 2 if it is more days past due than this.")
    pd_ratio: float = Field(
        gt=1,
        description="A loan is in stage 2 if its lifetime PD is at least this multiple of the one at its first "
        "score, and has also risen by `pd_increase`.",
    )
    pd_increase: Share = Field(
        description="Smallest rise of the lifetime PD since the first score that puts a loan in stage 2 together "
        "with `pd_ratio`."
    )
    pd_ratio_alone: float = Field(
        gt=1,
        description="A loan is in stage 2 if its lifetime PD is at least this multiple of the one at its first "
        "score, without a further condition. Must not be below `pd_ratio`.",
    )
    correlation: float = Field(
        gt=0,
        lt=1,
        description="Correlation parameter (rho) of the one-factor model that applies the economic factor to a PD.",
    )
    scenarios: dict[str, Scenario] = Field(min_length=1, description="The scenarios, by name.")
    stress_factor: float = Field(
        ge=-5,
        lt=0,
        description="Value of the economic factor for the stressed loss, which is shown beside the scenarios.",
    )

    @field_validator("pd_ratio_alone")
    @classmethod
    def _not_below_the_other(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("pd_ratio")
        if least is not None and value < least:
            raise ValueError(f"pd_ratio_alone ({value:g}) must not be below pd_ratio ({least:g})")
        return value

    @field_validator("scenarios")
    @classmethod
    def _weights_add_up(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        total = sum(s.weight for s in scenarios.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the weights add up to {total:g}; they must add up to 1")
        return scenarios


class Limit(_Triggers):
    """A limit with an amber and a red threshold."""

    amber: Share = Field(description="The figure is amber from this value on.")
    red: Share = Field(description="The figure is red from this value on. Must be above `amber`.")


class LimitPolicy(_Section):
    """Limits for concentration, joint lending and price."""

    segment_share: Limit = Field(description="Share of the portfolio in the largest segment.")
    top_20_share: Limit = Field(description="Share of the portfolio lent to the 20 largest borrowers.")
    grade_hhi: Limit = Field(description="Herfindahl index of concentration over the grades.")
    partner_share_min: Share = Field(description="Smallest share of a joint loan that its partners together must fund.")
    partner_to_tier1: Share = Field(
        description="Most that one partner may fund, as a share of the source's `tier1_capital`."
    )
    joint_share: Share = Field(description="Largest share of joint loans in all loans.")
    annual_rate_max: float = Field(gt=0, description="Highest annual rate that may be agreed, as a fraction.")


class PricePolicy(_Section):
    """Yearly costs of a loan for the lender, apart from its expected loss, as fractions."""

    funding_cost: float = Field(ge=0, le=1, description="Cost of borrowed money.")
    operating_cost: float = Field(ge=0, le=1, description="Cost of running the loan.")
    return_on_equity: float = Field(ge=0, le=1, description="Required return on equity, after tax.")
    tax_rate: float = Field(ge=0, lt=1, description="Tax rate on the return on equity.")
    capital_ratio: Share = Field(description="Required capital, as a share of the risk-weighted exposure.")


class PortfolioPolicy(_Section):
    """Thresholds for the portfolio figures."""

    matrix_months: int = Field(
        ge=1, description="Number of the newest months whose moves between states make up the transition matrices."
    )
    dpd_bad: int = Field(
        ge=1, description="A vintage counts the loans that were ever at least this many days past due."
    )
    forborne_months: int = Field(ge=0, description="Number of months for which a restructured loan counts as forborne.")
    risk_classes: RiskClasses
    provision_rates: dict[OpenState, Share] = Field(
        description="Simplified approach: share of the balance to provide for, by days past due. Every state needs a "
        "rate, and no rate may be below the one of the state before it."
    )
    exposure: ExposurePolicy
    static_pools: PoolPolicy
    loss: LossPolicy
    ifrs9: ImpairmentPolicy
    limits: LimitPolicy
    price: PricePolicy

    @field_validator("provision_rates")
    @classmethod
    def _no_state_is_cheaper(cls, rates: dict[OpenState, float]) -> dict[OpenState, float]:
        absent = [state for state in OPEN_STATES if state not in rates]
        if absent:
            raise ValueError(f"there is no rate for {', '.join(absent)}; every state from current to 90+ needs one")
        for before, state in pairwise(OPEN_STATES):
            if rates[state] < rates[before]:
                what = f"{state} ({rates[state]:g}) must not be below {before} ({rates[before]:g})"
                raise PydanticCustomError("order", "{what}", {"what": what, "at": (state,)})
        return rates
