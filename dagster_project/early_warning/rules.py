"""The indicators and what each of them measures, and the thresholds that the policy sets for them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Test = Literal["share", "mean", "expected"]
Rule = Literal["multiple", "deviations", "points"]
Severity = Literal["WARN", "ERROR"]


class State(StrEnum):
    """The state of an indicator of a segment at a month-end."""

    NOT_ENOUGH_HISTORY = "not_enough_history"
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class Measure:
    """What an indicator measures, over which accounts (`what`), and how a change of it is tested.

    `share`: a count of accounts, by Fisher's exact test; `mean`: a mean over accounts, by Welch's test; `expected`: a
    count of defaults against what the model expected, by Jeffreys' test.
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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ByState(_Frozen):
    """What follows from amber and from red."""

    amber: str
    red: str


class SeverityByState(_Frozen):
    """How a check of the screen fails at amber and at red. It never stops a night."""

    amber: Severity = "WARN"
    red: Severity = "ERROR"


class Significance(_Frozen):
    """The levels that a move must reach to be amber, and to be red."""

    amber: float = Field(gt=0, lt=0.5)
    red: float = Field(gt=0, lt=0.5)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.red > self.amber:
            raise ValueError(f"red ({self.red}) must not be above amber ({self.amber})")
        return self


class IndicatorPolicy(_Frozen):
    """The thresholds of one indicator, and whom it concerns.

    `rule`: how a month's value is compared with the `base_months` before it: `multiple` of their pooled value,
    `points` above it (as a fraction), or standard `deviations` of the months' values above their mean. From `amber` and
    from `red` on the threshold is crossed, if the move is significant too. The newest of the base months lies
    `base_lag_months` before the month that is judged: 3 is a quarter ago. The first `young_months` of a segment are no
    base: what is late of a young book rises because its loans grow older.
    """

    rule: Rule
    base_months: int = Field(ge=0, le=60)
    base_lag_months: int = Field(default=1, ge=1, le=24)
    young_months: int = Field(default=0, ge=0)
    amber: float = Field(gt=0)
    red: float = Field(gt=0)
    owner: str = Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")
    escalation: ByState
    severity: SeverityByState = SeverityByState()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.red <= self.amber:
            raise ValueError(f"red ({self.red}) must be above amber ({self.amber})")
        if self.rule == "deviations" and self.base_months < 3:
            raise ValueError("rule deviations needs base_months of 3 or more")
        return self


class EarlyWarningPolicy(_Frozen):
    """When a segment's indicator is amber or red.

    `significance`: what a move must reach after Holm's correction over all indicators and segments of a source's month.
    `false_alarm_rate`: the share of months in which a book where nothing changes may open a warning; a test measures
    it. `min_accounts`: a month with fewer accounts is not judged, and no base. `calm_months`: months below a threshold
    after which a warning goes down by one state. `hold_base_months`: how long an open warning is compared with the
    months before it opened; after that what it has become is its base. `channels`: who is told of changes; `webhook`
    takes part once its address is set.
    """

    significance: Significance
    false_alarm_rate: float = Field(gt=0, lt=1)
    min_accounts: int = Field(ge=1)
    calm_months: int = Field(ge=1)
    hold_base_months: int = Field(ge=1)
    channels: tuple[Literal["log", "webhook"], ...]
    webhook_timeout_seconds: float = Field(gt=0, le=60)
    indicators: dict[str, IndicatorPolicy]

    def oldest_base(self, indicator: str) -> int:
        """So many months back lies the oldest month that a month of an indicator may be compared with."""
        own = self.indicators[indicator]
        return own.base_months + own.base_lag_months - 1 + self.hold_base_months

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted(self.indicators.keys() - MEASURES.keys())
        if unknown:
            raise ValueError(f"no indicator is called {', '.join(unknown)}; there are {', '.join(MEASURES)}")
        for name, indicator in self.indicators.items():
            is_expected = MEASURES[name].test == "expected"
            if is_expected and indicator.rule != "multiple":
                raise ValueError(f"indicators: {name}: it is compared with the model's PD: rule must be multiple")
            if not is_expected and indicator.base_months < 1:
                raise ValueError(f"indicators: {name}: base_months must be 1 or more")
        return self
