"""The policy's section `portfolio` as frozen values; the policy file says what each of them is for."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dagster_project.portfolio.arrears import OPEN_STATES

Share = Annotated[float, Field(ge=0, le=1)]
Discounting = Literal["mid_period", "end_of_period"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RiskClasses(_Frozen):
    """Days past due from which each of the five classes begins; before the first one a loan is `normal`."""

    special_mention: int
    substandard: int
    doubtful: int
    loss: int

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if not 0 < self.special_mention < self.substandard < self.doubtful < self.loss:
            raise ValueError("risk_classes must rise from one to the next")
        return self


class ExposurePolicy(_Frozen):
    """How exposure at default and remaining life are taken of revolving credit."""

    credit_conversion: Share
    revolving_months: int = Field(ge=1)


class PoolPolicy(_Frozen):
    """Triggers of static pools, as shares of a cohort's loans, and how a cohort is compared with others."""

    amber: Share
    red: Share
    prior_defaults: float = Field(gt=0)
    significance: float = Field(gt=0, lt=1)


class LossPolicy(_Frozen):
    """How workouts are discounted, how far they are followed, and what stands where there are too few."""

    discount_rate: float = Field(ge=0)
    workout_months: int = Field(ge=1)
    min_months: int = Field(ge=1)
    min_workouts: int = Field(ge=1)
    given_default: Share


class Scenario(_Frozen):
    """A weight, and the value of the one factor: 0 is the middle year, more is better; None leaves the PD as it is."""

    weight: Share
    factor: float | None = None


class ImpairmentPolicy(_Frozen):
    """IFRS 9: horizon and discounting, what makes a significant increase in credit risk, scenarios."""

    horizon_months: int = Field(ge=1)
    discounting: Discounting
    dpd: int = Field(ge=0)
    pd_ratio: float = Field(gt=1)
    pd_increase: Share
    pd_ratio_alone: float = Field(gt=1)
    correlation: float = Field(ge=0, lt=1)
    scenarios: dict[str, Scenario] = Field(min_length=1)
    stress_factor: float

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        if abs(sum(s.weight for s in self.scenarios.values()) - 1) > 1e-9:
            raise ValueError("scenarios: the weights must add up to 1")
        return self


class Limit(_Frozen):
    """A value from which a figure is amber, and one from which it is red."""

    amber: float
    red: float

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.red < self.amber:
            raise ValueError("red must not be below amber")
        return self


class LimitPolicy(_Frozen):
    """Limits of concentration and of joint lending."""

    segment_share: Limit
    top_20_share: Limit
    grade_hhi: Limit
    partner_share_min: Share
    partner_to_tier1: Share
    joint_share: Share
    annual_rate_max: float


class PricePolicy(_Frozen):
    """What a loan costs the lender a year beside its risk, as fractions."""

    funding_cost: float
    operating_cost: float
    return_on_equity: float
    tax_rate: float = Field(ge=0, lt=1)
    capital_ratio: Share


class PortfolioPolicy(_Frozen):
    """Everything that the portfolio's figures are made with."""

    matrix_months: int = Field(ge=1)
    dpd_bad: int = Field(ge=1)
    forborne_months: int = Field(ge=0)
    risk_classes: RiskClasses
    provision_rates: dict[str, Share]
    exposure: ExposurePolicy
    static_pools: PoolPolicy
    loss: LossPolicy
    ifrs9: ImpairmentPolicy
    limits: LimitPolicy
    price: PricePolicy

    @model_validator(mode="after")
    def _every_state_has_a_rate(self) -> Self:
        if self.provision_rates.keys() != set(OPEN_STATES):
            raise ValueError(f"provision_rates: one for each of {', '.join(OPEN_STATES)}, and no other")
        return self
