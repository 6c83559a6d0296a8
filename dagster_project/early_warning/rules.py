"""The indicators: what each of them measures, and which thresholds the policy sets."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Test = Literal["share", "mean", "expected"]
Rule = Literal["multiple", "deviations", "points"]
Severity = Literal["WARN", "ERROR"]


class State(StrEnum):
    """The state of an indicator for one segment at a month-end."""

    NOT_ENOUGH_HISTORY = "not_enough_history"
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class Measure:
    """The definition of an indicator: what it measures, and how a change is tested for significance.

    Attributes:
        title: short name of the indicator, for messages.
        what: the figure, and the accounts that it covers.
        test: `share` for a share of accounts (Fisher's exact test), `mean` for a mean over accounts (Welch's test), or
            `expected` for the number of defaults compared with the number that the model expects (Jeffreys' test).
    """

    title: str
    what: str
    test: Test


MEASURES: dict[str, Measure] = {
    "share_30_plus": Measure(
        "share 30+ days past due", "accounts more than 30 days past due, of those open and not in default", "share"
    ),
    "roll_0_to_30": Measure(
        "roll rate 0 to 1-30", "accounts 1 to 30 days past due, of those current a month before", "share"
    ),
    "first_payment_default": Measure(
        "first-payment default",
        "loans more than 30 days past due at the second month-end after the one of their opening",
        "share",
    ),
    "mob3_30_plus": Measure(
        "30+ at three months on book",
        "loans more than 30 days past due at the third month-end after the one of their opening",
        "share",
    ),
    "utilisation": Measure("utilisation", "mean of balance over limit, of open accounts not in default", "mean"),
    "stage_2_share": Measure(
        "share in stage 2", "accounts in stage 2, of those in stage 1 or 2, by the PDs of tonight's champion", "share"
    ),
    "new_business_pd": Measure(
        "mean PD of new business", "mean PD of the accounts that are observed for the first time", "mean"
    ),
    "default_rate_to_pd": Measure(
        "default rate to PD", "defaults within the horizon that ended, against the PDs at its beginning", "expected"
    ),
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ByState(_Section):
    """Actions that the owner of an indicator takes when a warning is amber, and when it is red."""

    amber: str = Field(min_length=1, description="What the owner does when a warning is amber.")
    red: str = Field(min_length=1, description="What the owner does when a warning is red.")


class SeverityByState(_Section):
    """Severity of the failed check in Dagster's UI. A failed check for a warning never stops a night."""

    amber: Severity = Field(default="WARN", description="Severity of the failed check when a warning is amber.")
    red: Severity = Field(default="ERROR", description="Severity of the failed check when a warning is red.")


class Significance(_Section):
    """Significance levels of a move, after Holm's correction for all tests of a source in the same month."""

    amber: float = Field(
        gt=0, lt=0.5, description="A move can be amber if the probability of such a move by chance is below this value."
    )
    red: float = Field(
        gt=0,
        lt=0.5,
        description="A move can be red if the probability of such a move by chance is below this value. Must be "
        "below `amber`.",
    )

    @field_validator("red")
    @classmethod
    def _below_amber(cls, value: float, info: ValidationInfo) -> float:
        amber = info.data.get("amber")
        if amber is not None and value >= amber:
            raise ValueError(f"red ({value:g}) must be below amber ({amber:g})")
        return value


class IndicatorPolicy(_Section):
    """The thresholds of one indicator, and its owner. A move crosses a threshold only if it is also significant."""

    rule: Rule = Field(
        description="How a month is compared with its base. `multiple`: as a multiple of the base's pooled value. "
        "`points`: as the difference from the pooled value, as a fraction. `deviations`: as the distance from the "
        "mean of the base months' values, in standard deviations."
    )
    base_months: int = Field(
        ge=0,
        le=60,
        description="Number of months in the base: 3 or more with `rule` deviations, 0 if the base is the model's PD.",
    )
    base_lag_months: int = Field(
        default=1,
        ge=1,
        le=24,
        description="Number of months from the newest month of the base to the month that is compared with it: 3 is "
        "a quarter.",
    )
    young_months: int = Field(
        default=0,
        ge=0,
        description="Number of initial months of a segment that are not used as a base, because arrears of a young "
        "book rise as its loans age.",
    )
    amber: float = Field(gt=0, description="Threshold of amber. Must be above 1 with `rule` multiple.")
    red: float = Field(gt=0, description="Threshold of red. Must be above `amber`.")
    owner: str = Field(
        pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$",
        title="`team:<name>` or an e-mail address",
        description="Owner of the indicator.",
    )
    escalation: ByState
    severity: SeverityByState = SeverityByState()

    @field_validator("base_months")
    @classmethod
    def _enough_for_a_deviation(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("rule") == "deviations" and value < 3:
            raise ValueError(f"base_months ({value}) must be 3 or more with rule deviations")
        return value

    @field_validator("amber")
    @classmethod
    def _above_the_base(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("rule") == "multiple" and value <= 1:
            raise ValueError(f"amber ({value:g}) must be above 1 with rule multiple: 1 is the base itself")
        return value

    @field_validator("red")
    @classmethod
    def _above_amber(cls, value: float, info: ValidationInfo) -> float:
        amber = info.data.get("amber")
        if amber is not None and value <= amber:
            raise ValueError(f"red ({value:g}) must be above amber ({amber:g})")
        return value


def _known(name: str) -> str:
    if name not in MEASURES:
        raise ValueError(f"no indicator is called {name}; there are {', '.join(MEASURES)}")
    return name


class EarlyWarningPolicy(_Section):
    """Rules that decide when an indicator is amber or red for a segment."""

    significance: Significance
    false_alarm_rate: float = Field(
        gt=0,
        lt=1,
        description="Largest share of months in which a book without changes may open a warning. A test checks it.",
    )
    min_accounts: int = Field(
        ge=1, description="A month in which a segment has fewer accounts is not judged, and is not used as a base."
    )
    calm_months: int = Field(
        ge=1, description="Number of months in a row below a threshold after which a warning goes down by one state."
    )
    hold_base_months: int = Field(
        ge=1, description="Number of months for which an open warning is compared with the months before it opened."
    )
    channels: tuple[Literal["log", "webhook"], ...] = Field(
        strict=False,
        title="a list of log, webhook",
        description="Channels that report changes of state. `webhook` is used only if CREDITLOOM_WARNINGS_WEBHOOK is "
        "set.",
    )
    webhook_timeout_seconds: float = Field(
        gt=0, le=60, description="Number of seconds to wait for the webhook's answer to a message."
    )
    indicators: dict[Annotated[str, AfterValidator(_known)], IndicatorPolicy] = Field(
        description="The indicators to judge, by name."
    )

    def oldest_base(self, indicator: str) -> int:
        """Return how far back the base of an indicator may reach, in months before the month that is judged."""
        own = self.indicators[indicator]
        return own.base_months + own.base_lag_months - 1 + self.hold_base_months

    @field_validator("channels")
    @classmethod
    def _each_once(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError(f"{list(channels)} names a channel twice; name each once")
        return channels

    @field_validator("indicators")
    @classmethod
    def _has_its_base(cls, indicators: dict[str, IndicatorPolicy]) -> dict[str, IndicatorPolicy]:
        for name, own in indicators.items():
            is_expected = MEASURES[name].test == "expected"
            if is_expected and own.rule != "multiple":
                what = "rule must be multiple: the indicator is compared with the model's PD"
                raise PydanticCustomError("base", "{what}", {"what": what, "at": (name, "rule")})
            if is_expected != (own.base_months == 0):
                least = "0: the indicator is compared with the model's PD" if is_expected else "1 or more"
                what = f"base_months ({own.base_months}) must be {least}"
                raise PydanticCustomError("base", "{what}", {"what": what, "at": (name, "base_months")})
        return indicators
