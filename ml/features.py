"""The list of all model features, with the direction of risk, the reason code and the ablation block of each.

The columns of the dbt model `feat_loan_months` are its keys and flags, followed by exactly these features. A test
compares the two. Training takes the monotone constraints from this list, and the reasons take their codes from it. If a
source does not provide a feature, the feature is null in `feat_loan_months` and is left out of that source's model.

The following are never features: age, sex, marital status, education, nationality, ethnicity.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Sign = Literal[-1, 0, 1]


class Block(StrEnum):
    """A group of features. The ablation measures how much each group adds to the behavioural features."""

    BEHAVIOURAL = "behavioural"
    TERMS = "terms"
    LIMIT = "limit"
    STATUS = "status"
    AMOUNT = "amount"


@dataclass(frozen=True)
class Feature:
    """One model feature.

    Attributes:
        name: the name of the feature, which is also its column in the feature mart.
        sign: the direction of risk. With +1 the PD may only rise as the value rises, with -1 it may only fall, and with
            0 there is no constraint.
        family: the reason code that the feature's contribution counts towards.
        block: the group of the feature in the ablation.
    """

    name: str
    sign: Sign
    family: str
    block: Block = Block.BEHAVIOURAL


FEATURES: tuple[Feature, ...] = (
    # arrears
    Feature("dpd_now", +1, "RC01"),
    Feature("max_dpd_3m", +1, "RC02"),
    Feature("max_dpd_6m", +1, "RC02"),
    Feature("max_dpd_12m", +1, "RC02"),
    Feature("cnt_dpd1_6m", +1, "RC02"),
    Feature("cnt_dpd30_6m", +1, "RC02"),
    Feature("cnt_dpd60_6m", +1, "RC02"),
    Feature("cnt_dpd30_12m", +1, "RC02"),
    Feature("months_since_dpd1", -1, "RC02"),
    Feature("months_since_dpd30", -1, "RC02"),
    Feature("roll_up_6m", +1, "RC02"),
    # repayment
    Feature("pay_ratio_3m", -1, "RC13"),
    Feature("pay_ratio_6m", -1, "RC13"),
    Feature("pay_ratio_12m", -1, "RC13"),
    Feature("min_pay_ratio_6m", -1, "RC13"),
    Feature("full_pay_streak", -1, "RC13"),
    # use of the limit
    Feature("util_now", +1, "RC04"),
    Feature("util_mean_3m", +1, "RC04"),
    Feature("util_mean_6m", +1, "RC04"),
    Feature("util_mean_12m", +1, "RC04"),
    Feature("util_trend_6m", +1, "RC05"),
    Feature("util_3m_over_6m", +1, "RC05"),
    # the contract's terms
    Feature("mob", -1, "RC07", Block.TERMS),
    Feature("bal_to_orig", +1, "RC15", Block.TERMS),
    Feature("annual_rate", +1, "RC16", Block.TERMS),
    # limit, raw statuses and amounts
    Feature("limit_amount", -1, "RC14", Block.LIMIT),
    Feature("pay_status_0", 0, "RC01", Block.STATUS),
    Feature("pay_status_1", 0, "RC02", Block.STATUS),
    Feature("pay_status_2", 0, "RC02", Block.STATUS),
    Feature("pay_status_3", 0, "RC02", Block.STATUS),
    Feature("pay_status_4", 0, "RC02", Block.STATUS),
    Feature("pay_status_5", 0, "RC02", Block.STATUS),
    Feature("bill_amount", 0, "RC04", Block.AMOUNT),
    Feature("pay_amount_last", -1, "RC13", Block.AMOUNT),
    Feature("pay_amount_mean_3m", -1, "RC13", Block.AMOUNT),
    Feature("pay_amount_mean_6m", -1, "RC13", Block.AMOUNT),
)

FEATURE_NAMES: tuple[str, ...] = tuple(f.name for f in FEATURES)


def by_name(names: list[str] | tuple[str, ...]) -> tuple[Feature, ...]:
    """Return the features with these names, in the order of `FEATURES`.

    Raises:
        KeyError: a name is not the name of a feature.
    """
    unknown = set(names) - set(FEATURE_NAMES)
    if unknown:
        raise KeyError(f"not in the feature list: {sorted(unknown)}")
    return tuple(f for f in FEATURES if f.name in set(names))
