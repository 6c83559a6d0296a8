"""The policy file as frozen values: each field has its bounds and its meaning, and the order rules are beside it.

The sections that formulas read are defined with those formulas (`ml`, `portfolio`, `early_warning`); this module has
the others and puts all of them together. A rule between two fields is a validator of the later one, so that its error
has a place in the file; a rule within a mapping names the place as `at`.
"""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dagster_project.early_warning.rules import EarlyWarningPolicy
from dagster_project.portfolio.policy import PortfolioPolicy
from ml.promote import BootstrapGate
from ml.reasons import ReasonPolicy
from ml.scale import Scale, ScoreAnchor
from ml.section import Section
from ml.splits import SplitPolicy
from ml.train import TrainingParams

Owner = Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$", title="`team:<name>` or an e-mail address")]
Basis = Literal["status", "imputed", "ledger"]


class OwnersPolicy(Section):
    """Who looks after what, as the screens show it."""

    data: Owner = Field(description="Who looks after the data.")
    models: Owner = Field(description="Who looks after the models.")
    risk: Owner = Field(description="Who looks after scores, portfolio and what is published.")


class FreshnessPolicy(Section):
    """How old the published snapshot may be."""

    warn_hours: int = Field(ge=1, description="The screen warns after so many hours without a new snapshot.")
    fail_hours: int = Field(
        ge=1, description="After so many hours it calls the snapshot stale. It is above `warn_hours`."
    )

    @field_validator("fail_hours")
    @classmethod
    def _after_the_warning(cls, value: int, info: ValidationInfo) -> int:
        warned = info.data.get("warn_hours")
        if warned is not None and value <= warned:
            raise ValueError(f"fail_hours ({value}) must be above warn_hours ({warned})")
        return value


class IngestionPolicy(Section):
    """How deliveries are taken in."""

    quiet_seconds: int = Field(
        ge=0, le=86_400, description="A drop of files is taken in once no more has arrived for so long."
    )
    max_bad_row_share: float = Field(
        ge=0, le=1, description="A delivery with a larger share of bad rows is quarantined whole."
    )
    suspense_days: int = Field(
        ge=0, description="A payment whose loan is not known for longer than this is reported as a warning."
    )
    overpaid_min: float = Field(
        gt=0,
        description="A loan that has paid so much more than was ever due is reported as a warning, in the loan's "
        "currency.",
    )


class PersonalDataPolicy(Section):
    """How long a person's data is kept."""

    retention_years: int = Field(
        ge=0,
        le=10,
        description="Nobody can be erased for so many years after the last event of any of their loans, as the law "
        "against money laundering asks. Longer holds are set one by one.",
    )


class TrainingDataPolicy(Section):
    """What a training set must look like before a model is fitted on it."""

    min_rows: int = Field(ge=1, description="With fewer usable observations the source is not scored.")
    min_defaults: int = Field(
        ge=1, description="With fewer defaults among them the source is not scored. It is not above `min_rows`."
    )
    min_default_rate: float = Field(ge=0, le=1, description="A lower default rate stops the night.")
    max_default_rate: float = Field(
        ge=0, le=1, description="A higher default rate stops the night. It is above `min_default_rate`."
    )

    @field_validator("min_defaults")
    @classmethod
    def _not_above_rows(cls, value: int, info: ValidationInfo) -> int:
        rows = info.data.get("min_rows")
        if rows is not None and value > rows:
            raise ValueError(f"min_defaults ({value}) must not be above min_rows ({rows})")
        return value

    @field_validator("max_default_rate")
    @classmethod
    def _above_minimum(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("min_default_rate")
        if least is not None and value <= least:
            raise ValueError(f"max_default_rate ({value:g}) must be above min_default_rate ({least:g})")
        return value


class MaterialityPolicy(Section):
    """What is large enough to be a default. Arrears count from both `materiality_amount` and `materiality_share` on."""

    materiality_amount: float = Field(ge=0, description="Smallest arrears that count, in the loan's currency.")
    materiality_share: float = Field(ge=0, le=1, description="Smallest arrears that count, as a share of what is owed.")
    value_lost_max: float = Field(
        ge=0,
        le=1,
        description="A change of terms is a default if it takes away a larger share of the present value of what is "
        "still to be paid.",
    )


class CurePolicy(Section):
    """What ends a default."""

    months: int = Field(ge=1, description="Months without a trigger of default.")
    dpd_max: int = Field(ge=0, description="Days past due at most throughout those months.")
    months_forborne: int = Field(
        ge=1, description="No sooner than so many months after the terms were last changed. It is not below `months`."
    )

    @field_validator("months_forborne")
    @classmethod
    def _not_below_months(cls, value: int, info: ValidationInfo) -> int:
        months = info.data.get("months")
        if months is not None and value < months:
            raise ValueError(f"months_forborne ({value}) must not be below months ({months})")
        return value


class DefaultsPolicy(Section):
    """What a default is by the day, and what cures it."""

    thresholds: dict[str, MaterialityPolicy] = Field(
        min_length=1, description="Thresholds by type of portfolio, which a source names as its `portfolio_type`."
    )
    cure: CurePolicy


# The keys that act with one arrears basis alone; the first of each must be given there.
BASIS_KEYS: dict[Basis, tuple[str, ...]] = {
    "status": ("default_status_min",),
    "imputed": ("write_off_min", "deferral_from", "deferral_to"),
    "ledger": ("default_dpd_min", "default_arrears_min", "portfolio_type"),
}


class SourcePolicy(Section):
    """What differs from source to source."""

    arrears_basis: Basis = Field(
        description="Where arrears come from: the lender's `status`, `imputed` from balances and payments, or counted "
        "from the `ledger` of instalments and payments."
    )
    feature_lag_days: int = Field(
        ge=0, le=366, description="A month's figures are known so many days after its month-end."
    )
    label_horizon_months: int | None = Field(
        default=None,
        ge=1,
        description="For so long outcomes are followed in later months. Without it the source reports them itself.",
    )
    observe_from_month: int | None = Field(
        default=None, ge=1, description="A loan is observed from this month of its life on."
    )
    observations_per_year: int = Field(
        default=1, ge=1, le=12, description="A model learns from so many observations of a borrower and year."
    )
    default_status_min: int | None = Field(
        default=None, ge=1, description="With basis `status`: the repayment status from which an account is in default."
    )
    default_dpd_min: int | None = Field(
        default=None,
        ge=1,
        description="With basis `ledger`: days past due of a default. The plain flag at a month-end begins there; by "
        "the day a default begins after more days than that, above the thresholds of the `portfolio_type`.",
    )
    default_arrears_min: float | None = Field(
        default=None,
        ge=0,
        description="With basis `ledger`: smallest arrears of the plain flag, in the loan's currency.",
    )
    portfolio_type: str = Field(
        default="retail", description="With basis `ledger`: which of `defaults.thresholds` the source uses."
    )
    write_off_min: float | None = Field(
        default=None,
        ge=0,
        description="With basis `imputed`: a loan is in default if more than this is written off. A smaller rest is a "
        "correction.",
    )
    tier1_capital: float | None = Field(
        default=None,
        gt=0,
        description="The lender's tier 1 capital in the source's currency, which `portfolio.limits.partner_to_tier1` "
        "is measured by.",
    )
    deferral_from: dt.date | None = Field(
        default=None,
        description="With basis `imputed`: a run of months without payments that begins from this day to "
        "`deferral_to` is a suspected deferral. Both are given, or neither.",
    )
    deferral_to: dt.date | None = Field(
        default=None, description="Last day of the above. It is not before `deferral_from`.", validate_default=True
    )
    score_anchor: ScoreAnchor

    @field_validator("deferral_to")
    @classmethod
    def _not_before_its_beginning(cls, value: dt.date | None, info: ValidationInfo) -> dt.date | None:
        if "deferral_from" not in info.data:
            return value
        begins = info.data["deferral_from"]
        if (begins is None) != (value is None):
            raise ValueError("deferral_from and deferral_to go together: give both, or neither")
        if begins and value and value < begins:
            raise ValueError(f"deferral_to ({value}) must not be before deferral_from ({begins})")
        return value

    @model_validator(mode="after")
    def _keys_of_its_basis(self) -> "SourcePolicy":
        needed = BASIS_KEYS[self.arrears_basis][0]
        if getattr(self, needed) is None:
            raise ValueError(f"{needed} is needed with arrears_basis {self.arrears_basis}")
        for basis, names in BASIS_KEYS.items():
            for name in names if basis != self.arrears_basis else ():
                if name in self.model_fields_set and getattr(self, name) is not None:
                    what = f"{name} acts with arrears_basis {basis} alone; this source has {self.arrears_basis}"
                    raise PydanticCustomError("basis", "{what}", {"what": what, "at": (name,)})
        return self


class Policy(Section):
    """One jurisdiction's policy."""

    version: int = Field(ge=1, description="Number of the policy; raise it with every change. It is published.")
    jurisdiction: str = Field(min_length=1, description="Where the policy applies. It is published.")
    owners: OwnersPolicy
    freshness: FreshnessPolicy
    ingestion: IngestionPolicy
    personal_data: PersonalDataPolicy
    split: SplitPolicy
    training_data: TrainingDataPolicy
    training: TrainingParams
    scale: Scale
    reasons: ReasonPolicy
    bootstrap_gate: BootstrapGate
    portfolio: PortfolioPolicy
    defaults: DefaultsPolicy
    early_warning: EarlyWarningPolicy
    sources: dict[str, SourcePolicy] = Field(
        min_length=1, description="The sources by name; each has a contract of the same name."
    )

    @field_validator("sources")
    @classmethod
    def _has_thresholds(cls, sources: dict[str, SourcePolicy], info: ValidationInfo) -> dict[str, SourcePolicy]:
        defaults: DefaultsPolicy | None = info.data.get("defaults")
        portfolio_types = list(defaults.thresholds) if defaults else []
        for name, source in sources.items():
            if portfolio_types and source.portfolio_type not in portfolio_types:
                what = f"defaults.thresholds has no {source.portfolio_type}; it has {', '.join(portfolio_types)}"
                raise PydanticCustomError("thresholds", "{what}", {"what": what, "at": (name, "portfolio_type")})
        return sources
