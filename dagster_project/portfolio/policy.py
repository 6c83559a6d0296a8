"""The section `portfolio` of the policy: its values, their bounds and their descriptions."""

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
    """Days past due from which each class begins; before the first one a loan is `normal`."""

    special_mention: int = Field(ge=1, description="First day of `special_mention`.")
    substandard: int = Field(ge=2, description="First day of `substandard`. It is above the one before.")
    doubtful: int = Field(ge=3, description="First day of `doubtful`. It is above the one before.")
    loss: int = Field(ge=4, description="First day of `loss`. It is above the one before.")

    @field_validator("substandard", "doubtful", "loss")
    @classmethod
    def _above_the_one_before(cls, value: int, info: ValidationInfo) -> int:
        name, days = list(info.data.items())[-1] if info.data else ("", 0)
        if value <= days:
            raise ValueError(f"{info.field_name} ({value}) must be above {name} ({days})")
        return value


class ExposurePolicy(_Section):
    """Exposure at default and remaining life of revolving credit."""

    credit_conversion: Share = Field(description="Share of the undrawn limit that is drawn before a default.")
    revolving_months: int = Field(ge=1, description="Remaining life of a card, which has no last instalment.")


class PoolPolicy(_Triggers):
    """Triggers of static pools, and how a cohort is compared with the others."""

    amber: Share = Field(description="Cumulative default rate of a cohort at which its amber trigger is hit.")
    red: Share = Field(description="The rate at which its red trigger is hit. It is above `amber`.")
    prior_defaults: float = Field(
        gt=0, description="So many expected defaults weigh as much in the forecast as a cohort's own."
    )
    significance: float = Field(
        gt=0, lt=1, description="A cohort is worse than expected if chance alone is less likely than this."
    )


class LossPolicy(_Section):
    """How the loss given default is measured from workouts, and which value is used where there are too few."""

    discount_rate: float = Field(ge=0, le=1, description="Discount rate of a loan whose own rate is not known, a year.")
    workout_months: int = Field(ge=1, description="Recoveries that come later after a default are left out.")
    min_months: int = Field(
        ge=1,
        description="The oldest workouts must have been followed for so long. It is not above `workout_months`.",
    )
    min_workouts: int = Field(ge=1, description="With fewer workouts `given_default` is used.")
    given_default: Share = Field(description="Loss given default where a source has too few workouts of its own.")

    @field_validator("min_months")
    @classmethod
    def _within_a_workout(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("workout_months")
        if most is not None and value > most:
            raise ValueError(f"min_months ({value}) must not be above workout_months ({most})")
        return value


class Scenario(_Section):
    """One economic scenario of the expected loss."""

    weight: Share = Field(description="Weight of its losses. The weights of all scenarios add up to 1.")
    factor: float | None = Field(
        default=None,
        ge=-5,
        le=5,
        description="The one factor, in standard deviations: 0 is the middle year, more is better. Without it the PD "
        "is used as it is.",
    )


class ImpairmentPolicy(_Section):
    """IFRS 9: horizon and discounting, what is a significant increase in credit risk, scenarios."""

    horizon_months: int = Field(
        ge=1,
        description="Months of loss that stage 1 counts. A source whose PD looks less far ahead has no expected loss.",
    )
    discounting: Discounting = Field(description="From where in a month its losses are discounted.")
    dpd: int = Field(ge=0, description="Stage 2 if a loan is more days past due than this.")
    pd_ratio: float = Field(
        gt=1,
        description="Stage 2 if the lifetime PD is so many times that of the first score, and `pd_increase` holds.",
    )
    pd_increase: Share = Field(description="Stage 2 if the lifetime PD has risen by this, and `pd_ratio` holds.")
    pd_ratio_alone: float = Field(
        gt=1,
        description="Stage 2 if the lifetime PD is so many times that of the first score. It is not below `pd_ratio`.",
    )
    correlation: float = Field(gt=0, lt=1, description="Correlation of the loans with the one factor.")
    scenarios: dict[str, Scenario] = Field(min_length=1, description="The scenarios by name.")
    stress_factor: float = Field(
        ge=-5, lt=0, description="The factor of the stressed loss, which is shown beside the scenarios."
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
    """A limit with two steps."""

    amber: Share = Field(description="The figure is amber from this value on.")
    red: Share = Field(description="The figure is red from this value on. It is above `amber`.")


class LimitPolicy(_Section):
    """Limits of concentration, of joint lending and of the price."""

    segment_share: Limit = Field(description="Share of the largest segment.")
    top_20_share: Limit = Field(description="Share of the 20 largest borrowers.")
    grade_hhi: Limit = Field(description="Herfindahl index over the grades.")
    partner_share_min: Share = Field(description="Smallest share of a joint loan that its partners fund together.")
    partner_to_tier1: Share = Field(description="What one partner funds, to the `tier1_capital` of the source.")
    joint_share: Share = Field(description="Joint loans, of all loans.")
    annual_rate_max: float = Field(gt=0, description="Highest agreed rate a year, as a fraction.")


class PricePolicy(_Section):
    """What a loan costs the lender a year beside its risk, as fractions."""

    funding_cost: float = Field(ge=0, le=1, description="Cost of borrowed money.")
    operating_cost: float = Field(ge=0, le=1, description="Cost of running the loan.")
    return_on_equity: float = Field(ge=0, le=1, description="Return on equity that is asked for, after tax.")
    tax_rate: float = Field(ge=0, lt=1, description="Tax on that return.")
    capital_ratio: Share = Field(description="Capital, as a share of risk-weighted exposure.")


class PortfolioPolicy(_Section):
    """Thresholds of the portfolio's figures."""

    matrix_months: int = Field(ge=1, description="The transition matrices are made of the moves of so many months.")
    dpd_bad: int = Field(ge=1, description="A vintage counts the loans that were ever so many days past due.")
    forborne_months: int = Field(ge=0, description="A restructured loan counts as forborne for so long.")
    risk_classes: RiskClasses
    provision_rates: dict[OpenState, Share] = Field(
        description="Simplified approach: the share of the balance that is provided for, by days past due. Each state "
        "has one, and none is below the one before."
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
