"""The model of the policy file: frozen values with their bounds and meanings, and validators that compare values.

Sections that are read by formulas are defined in the same module as the formulas (`ml`, `portfolio`, `early_warning`).
This module defines the other sections and combines all of them.

A rule about two fields is a validator of the second field, so that its error can be reported with a line of the file. A
rule about an entry of a mapping passes the path of the faulty entry to the error as `at`.
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
    """The owners of assets, which are shown in Dagster's UI."""

    data: Owner = Field(description="Owner of the data.")
    models: Owner = Field(description="Owner of the models.")
    risk: Owner = Field(description="Owner of the scores, the portfolio figures and the published snapshot.")


class FreshnessPolicy(Section):
    """Limits on the age of the published snapshot."""

    warn_hours: int = Field(
        ge=1,
        description="Dagster's UI warns after this many hours without a new snapshot; `creditloom status` reports "
        "`late`.",
    )
    fail_hours: int = Field(
        ge=1,
        description="Dagster's UI reports a failure after this many hours without a new snapshot; `creditloom "
        "status` reports `stale`. Must be above `warn_hours`.",
    )

    @field_validator("fail_hours")
    @classmethod
    def _after_the_warning(cls, value: int, info: ValidationInfo) -> int:
        warned = info.data.get("warn_hours")
        if warned is not None and value <= warned:
            raise ValueError(f"fail_hours ({value}) must be above warn_hours ({warned})")
        return value


class IngestionPolicy(Section):
    """Limits and waiting times for deliveries and payments."""

    quiet_seconds: int = Field(
        ge=0,
        le=86_400,
        description="The landing sensor starts a night once no further file has arrived for this many seconds.",
    )
    max_bad_row_share: float = Field(
        ge=0, le=1, description="A delivery with a larger share of bad rows is quarantined as a whole."
    )
    suspense_days: int = Field(
        ge=0, description="A payment whose loan is still unknown after this many days is reported as a warning."
    )
    overpaid_min: float = Field(
        gt=0,
        description="A loan whose payments exceed everything that was ever due by at least this amount is reported "
        "as a warning. In the loan's currency.",
    )


class PersonalDataPolicy(Section):
    """The period for which personal data must be kept."""

    retention_years: int = Field(
        ge=0,
        le=10,
        description="A person cannot be erased for this many years after the last event of any of their loans, "
        "because the law against money laundering requires the data. Longer holds are set per person.",
    )


class TrainingDataPolicy(Section):
    """Requirements that a training set must meet before a model is trained on it."""

    min_rows: int = Field(ge=1, description="A source with fewer usable observations is not scored.")
    min_defaults: int = Field(
        ge=1,
        description="A source with fewer defaults among its usable observations is not scored. Must not be above "
        "`min_rows`.",
    )
    min_default_rate: float = Field(ge=0, le=1, description="A lower default rate stops the night.")
    max_default_rate: float = Field(
        ge=0, le=1, description="A higher default rate stops the night. Must be above `min_default_rate`."
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
    """Thresholds for what is large enough to count towards a default.

    Arrears must reach both `materiality_amount` and `materiality_share`.
    """

    materiality_amount: float = Field(
        ge=0, description="Smallest arrears that count towards a default, in the loan's currency."
    )
    materiality_share: float = Field(
        ge=0, le=1, description="Smallest arrears that count towards a default, as a share of the amount owed."
    )
    value_lost_max: float = Field(
        ge=0,
        le=1,
        description="A change of terms is a default if it reduces the present value of the remaining payments by "
        "more than this share.",
    )


class CurePolicy(Section):
    """Conditions under which a default ends."""

    months: int = Field(ge=1, description="Number of months without a trigger of default before the default ends.")
    dpd_max: int = Field(ge=0, description="Most days past due that are allowed during those months.")
    months_forborne: int = Field(
        ge=1,
        description="Fewest months between the last change of terms and the end of the default. Must not be below "
        "`months`.",
    )

    @field_validator("months_forborne")
    @classmethod
    def _not_below_months(cls, value: int, info: ValidationInfo) -> int:
        months = info.data.get("months")
        if months is not None and value < months:
            raise ValueError(f"months_forborne ({value}) must not be below months ({months})")
        return value


class DefaultsPolicy(Section):
    """Rules for the dates on which a default begins and ends."""

    thresholds: dict[str, MaterialityPolicy] = Field(
        min_length=1, description="Thresholds per type of portfolio. A source names its type as `portfolio_type`."
    )
    cure: CurePolicy


# The keys that apply only to one arrears basis. With that basis, its first key is required.
BASIS_KEYS: dict[Basis, tuple[str, ...]] = {
    "status": ("default_status_min",),
    "imputed": ("write_off_min", "deferral_from", "deferral_to"),
    "ledger": ("default_dpd_min", "default_arrears_min", "portfolio_type"),
}


class SourcePolicy(Section):
    """The settings of one source."""

    arrears_basis: Basis = Field(
        description="Where arrears come from: `status` is the lender's own status, `imputed` is computed from "
        "balances and payments, and `ledger` is counted from instalments and payments."
    )
    feature_lag_days: int = Field(
        ge=0, le=366, description="Number of days after a month-end until the month's figures are known."
    )
    label_horizon_months: int | None = Field(
        default=None,
        ge=1,
        description="Number of months for which outcomes are followed. If left out, the source reports the outcomes "
        "itself.",
    )
    observe_from_month: int | None = Field(
        default=None, ge=1, description="First month of a loan's life in which the loan is observed."
    )
    observations_per_year: int = Field(
        default=1, ge=1, le=12, description="Number of observations per borrower and year that a model learns from."
    )
    default_status_min: int | None = Field(
        default=None, ge=1, description="With basis `status`: lowest repayment status that counts as a default."
    )
    default_dpd_min: int | None = Field(
        default=None,
        ge=1,
        description="With basis `ledger`: days past due that make a default. The flag at a month-end is set from "
        "this number of days on. A default dated by the day begins after more days than this, if the arrears reach "
        "the thresholds of the `portfolio_type`.",
    )
    default_arrears_min: float | None = Field(
        default=None,
        ge=0,
        description="With basis `ledger`: smallest arrears that set the flag at a month-end, in the loan's currency.",
    )
    portfolio_type: str = Field(
        default="retail", description="With basis `ledger`: which entry of `defaults.thresholds` the source uses."
    )
    write_off_min: float | None = Field(
        default=None,
        ge=0,
        description="With basis `imputed`: a loan is in default if more than this amount is written off. A smaller "
        "write-off counts as a correction.",
    )
    tier1_capital: float | None = Field(
        default=None,
        gt=0,
        description="The lender's tier 1 capital in the source's currency. `portfolio.limits.partner_to_tier1` is a "
        "share of this amount.",
    )
    deferral_from: dt.date | None = Field(
        default=None,
        description="With basis `imputed`: first day of a period of suspected deferrals. A run of months without "
        "payments that begins in this period is a suspected deferral. Give both `deferral_from` and `deferral_to`, "
        "or neither.",
    )
    deferral_to: dt.date | None = Field(
        default=None,
        description="Last day of the period of suspected deferrals. Must not be before `deferral_from`.",
        validate_default=True,
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
    """The content of the policy file, which applies to one jurisdiction."""

    version: int = Field(ge=1, description="Version number of the policy. Raise it with every change. It is published.")
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
        min_length=1, description="The sources, by name. Each has a contract of the same name."
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
