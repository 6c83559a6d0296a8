"""The policy file as frozen values, and as dbt's variables."""

import datetime as dt
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dagster_project.early_warning.rules import EarlyWarningPolicy
from dagster_project.portfolio.arrears import ARREARS_STATES, DPD_MAX, ENDED_STATES
from dagster_project.portfolio.policy import PortfolioPolicy
from ml.promote import BootstrapGate
from ml.reasons import ReasonPolicy
from ml.scale import Scale, ScoreAnchor
from ml.splits import SplitPolicy
from ml.train import TrainingParams


class PolicyError(ValueError):
    """The policy file cannot be used; the message names the file and the field."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IngestionPolicy(_Frozen):
    """How deliveries are taken in.

    `max_bad_row_share`: above it a whole delivery is quarantined. `quiet_seconds`: a drop of files is taken in once
    nothing more has arrived for this long. `suspense_days`: a payment whose loan is not known for longer is told of, as
    is a loan that has paid `overpaid_min` or more beyond all that was due of it.
    """

    max_bad_row_share: float
    quiet_seconds: int
    suspense_days: int
    overpaid_min: float = Field(gt=0)


class PersonalDataPolicy(_Frozen):
    """How long what identifies a person is kept against their wish.

    `retention_years`: for so long after the last event of any of their loans nobody can be erased, as the law against
    money laundering asks; longer holds are set one by one.
    """

    retention_years: Annotated[int, Field(ge=0)]


Owner = Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")]


class OwnersPolicy(_Frozen):
    """Who looks after the data, the models and what is published: `team:<name>`, or an address."""

    data: Owner
    models: Owner
    risk: Owner


class FreshnessPolicy(_Frozen):
    """After how many hours without a new snapshot the screen warns, and calls it stale."""

    warn_hours: int
    fail_hours: int


class TrainingDataPolicy(_Frozen):
    """What a training set must look like before a model is fitted on it.

    With fewer than `min_rows` usable observations, or `min_defaults` defaults among them, the source is left unscored.
    """

    min_rows: int
    min_defaults: int
    min_default_rate: float
    max_default_rate: float


class MaterialityPolicy(_Frozen):
    """What matters enough to be a default.

    `materiality_amount` (in the loan's currency) and `materiality_share` of what is owed: arrears count from both on.
    `value_lost_max`: a change of terms is a default that takes away a larger share of the present value of what is
    still to be paid.
    """

    materiality_amount: float = Field(ge=0)
    materiality_share: float = Field(ge=0, le=1)
    value_lost_max: float = Field(ge=0, le=1)


class CurePolicy(_Frozen):
    """How many months without a trigger, and at most `dpd_max` days past due, end a default.

    `months_forborne`: no sooner than so long after the terms were last changed.
    """

    months: int = Field(ge=1)
    months_forborne: int = Field(ge=1)
    dpd_max: int = Field(ge=0)


class DefaultsPolicy(_Frozen):
    """What a default is by the day: thresholds by type of portfolio, and what cures it."""

    thresholds: dict[str, MaterialityPolicy] = Field(min_length=1)
    cure: CurePolicy


class SourcePolicy(_Frozen):
    """What differs from source to source: where arrears come from, lag, default trigger, score anchor.

    `status` sources are in default from `default_status_min` on; `ledger` ones from `default_dpd_min` days past due and
    `default_arrears_min` (0 if not given) in arrears on, at a month-end: the plain flag that labels are made of. By the
    day, for the portfolio, they are after more than `default_dpd_min` days at or above the thresholds of their
    `portfolio_type`, and when a change of terms loses more than its `value_lost_max`. `imputed` ones are when more than
    `write_off_min` is written off; a run of months without payments that begins between `deferral_from` and
    `deferral_to` is a suspected deferral. Where outcomes are seen in later months, `label_horizon_months` is how far
    they are followed, and observations begin with a loan's month `observe_from_month`; a model learns from
    `observations_per_year` of them for each borrower. `tier1_capital`: the lender's, in the source's currency, that
    the limit on a partner is measured by.
    """

    arrears_basis: Literal["status", "imputed", "ledger"]
    feature_lag_days: int
    label_horizon_months: int | None = None
    observe_from_month: int | None = None
    observations_per_year: int = Field(default=1, ge=1, le=12)
    default_status_min: int | None = None
    default_dpd_min: int | None = Field(default=None, ge=1)
    default_arrears_min: float | None = Field(default=None, ge=0)
    portfolio_type: str = "retail"
    write_off_min: float | None = None
    tier1_capital: float | None = Field(default=None, gt=0)
    deferral_from: dt.date | None = None
    deferral_to: dt.date | None = None
    score_anchor: ScoreAnchor

    @model_validator(mode="after")
    def _ledger_has_a_default(self) -> Self:
        if self.arrears_basis == "ledger" and self.default_dpd_min is None:
            raise ValueError("default_dpd_min is needed with arrears_basis ledger (90 is customary)")
        return self


class Policy(_Frozen):
    """One jurisdiction's policy."""

    version: int
    jurisdiction: str
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
    early_warning: EarlyWarningPolicy
    defaults: DefaultsPolicy
    sources: dict[str, SourcePolicy]

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.sources:
            raise ValueError("sources: at least one source is needed")
        return self

    @model_validator(mode="after")
    def _every_source_has_thresholds(self) -> Self:
        for name, source in self.sources.items():
            if source.portfolio_type not in self.defaults.thresholds:
                raise ValueError(f"defaults.thresholds: none for portfolio_type {source.portfolio_type} of {name}")
        return self


# Keys of policy files of earlier versions, as paths (`*` is any name), and what they are called now.
RENAMED_KEYS = {
    "defaults.thresholds.*.amount": "materiality_amount",
    "defaults.thresholds.*.share": "materiality_share",
    "defaults.thresholds.*.value_lost": "value_lost_max",
    "sources.*.snapshots_a_year": "observations_per_year",
}


def _renamed_key(error: ValidationError) -> str | None:
    """What to write instead of the first unknown key that has another name now; None if there is none."""
    for found in error.errors():
        where = ".".join(str(part) for part in found["loc"])
        for old, new in RENAMED_KEYS.items():
            if found["type"] == "extra_forbidden" and fnmatchcase(where, old):
                return f"{where}: this key is now called {new}"
    return None


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: not readable, not YAML, or a field is missing, unknown or out of range.
    """
    try:
        values = yaml.safe_load(path.read_text())
        if not isinstance(values, dict):
            raise PolicyError(f"policy {path}: it is empty, or no mapping of names to values")
        return Policy(**values)
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise PolicyError(f"policy {path}: {error}") from error
    except ValidationError as error:
        if renamed := _renamed_key(error):
            raise PolicyError(f"policy {path}: {renamed}") from None
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PolicyError(f"policy {path}: {where}: {first['msg']}") from None


# What the portfolio's marts are made with; the rest of its policy stands on scores and is no matter of dbt.
_PORTFOLIO_IN_SQL = (
    *("matrix_months", "dpd_bad", "forborne_months", "risk_classes", "provision_rates"),
    *("exposure", "loss", "limits"),
)


def dbt_vars(policy: Policy) -> dict[str, Any]:
    """The policy values that dbt's models need. The same policy gives the same text, so dbt parses once."""
    names = (
        *("arrears_basis", "feature_lag_days", "label_horizon_months", "observe_from_month"),
        *("default_dpd_min", "default_arrears_min"),
        *("default_status_min", "write_off_min", "deferral_from", "deferral_to", "tier1_capital"),
    )
    sources = {name: s.model_dump(mode="json", include=set(names)) for name, s in policy.sources.items()}
    by_source = {name: {source: values[name] for source, values in sources.items()} for name in names}
    thresholds = {name: policy.defaults.thresholds[s.portfolio_type] for name, s in policy.sources.items()}
    return by_source | {
        "materiality_amount": {name: least.materiality_amount for name, least in thresholds.items()},
        "materiality_share": {name: least.materiality_share for name, least in thresholds.items()},
        "value_lost_max": {name: least.value_lost_max for name, least in thresholds.items()},
        "defaults": policy.defaults.model_dump(mode="json", include={"cure"}),
        "portfolio": policy.portfolio.model_dump(mode="json", include=set(_PORTFOLIO_IN_SQL)),
        "arrears_states": ARREARS_STATES,
        "arrears_dpd_max": DPD_MAX,
        "ended_states": ENDED_STATES,
        "suspense_days": policy.ingestion.suspense_days,
        "overpaid_min": policy.ingestion.overpaid_min,
    }
