"""Why an account got its score: a few reason codes per account (at most `max_reasons`), each proven by three tests.

A reason is stated only if
(1) its features together raise the account's margin above the population's, by more than a threshold and by a minimum
    share of all that raises it,
(2) its sentence is true of the account, and
(3) the margin falls when its features get the values of a typical good account (the direction check).

If no reason passes, the account gets `none` and a person reviews it. There is no generic text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import Field

from ml.features import by_name
from ml.model import CreditModel
from ml.section import Section

NO_REASON = "none"


class ReasonPolicy(Section):
    """When a reason for a score may be stated."""

    min_contribution_logit: float = Field(
        ge=0, description="A reason must raise the margin above the population's by more than this, in logits."
    )
    min_share_of_adverse: float = Field(
        ge=0, le=1, description="A reason must be at least this share of all that raises the margin."
    )
    min_margin_fall: float = Field(
        ge=0,
        description="The direction check: with the features of a typical good account the margin must fall by at "
        "least this, in logits.",
    )
    max_reasons: int = Field(ge=1, le=9, description="How many reasons an account gets at most.")
    high_utilisation: float = Field(gt=0, description="A balance is called high from this share of the limit on.")
    small_pay_ratio: float = Field(
        gt=0, le=1, description="Repayments are called small below this share of the balance."
    )


@dataclass(frozen=True)
class Family:
    """A reason code: the sentence that people read, and a test of whether the sentence is true of an account.

    `fact`: takes the feature values of a typical good account and the policy; returns a boolean Polars expression over
    the account's features.
    """

    code: str
    text: str
    fact: Callable[[Mapping[str, float | None], ReasonPolicy], pl.Expr]


# If a feature is null, so is the comparison. `explain` turns null into false, so the reason is not stated.
FAMILIES: tuple[Family, ...] = (
    Family("RC01", "Payments are now past due", lambda typical, policy: pl.col("dpd_now") > 0),
    Family("RC02", "Recent late payments", lambda typical, policy: pl.max_horizontal("max_dpd_6m", "max_dpd_12m") > 0),
    Family(
        "RC04",
        "The balance is high against the limit",
        lambda typical, policy: pl.col("util_now") >= policy.high_utilisation,
    ),
    Family(
        "RC05",
        "The balance has been rising",
        lambda typical, policy: (pl.col("util_trend_6m") > 0) & (pl.col("util_now") > pl.col("util_mean_6m")),
    ),
    Family(
        "RC07",
        "The account was opened not long ago",
        lambda typical, policy: pl.col("mob") < (typical["mob"] or 0),
    ),
    Family(
        "RC13",
        "Repayments are small against the balance",
        lambda typical, policy: (
            (pl.max_horizontal("pay_ratio_3m", "pay_ratio_6m") < policy.small_pay_ratio) & (pl.col("bill_amount") > 0)
        ),
    ),
    Family(
        "RC14",
        "The credit limit granted so far is low",
        lambda typical, policy: pl.col("limit_amount") < (typical["limit_amount"] or 0),
    ),
    Family(
        "RC15",
        "Much of the loan is still to be repaid",
        lambda typical, policy: pl.col("bal_to_orig") > (typical["bal_to_orig"] or 0),
    ),
    Family(
        "RC16",
        "The agreed interest rate is high",
        lambda typical, policy: pl.col("annual_rate") > (typical["annual_rate"] or 0),
    ),
)


@dataclass(frozen=True)
class Reasons:
    """The reasons of a set of accounts, and figures about their proof.

    `codes`: one row per account with `reason_1`, `reason_2`, ... (`reason_1` is `none` if no reason was proven).
    `candidates`: number of reasons that passed the first two tests. `direction_failures`: how many of these failed the
    direction check. `additivity_error`: the largest |sum of contributions - margin|, in logits.
    """

    codes: pl.DataFrame
    candidates: int
    direction_failures: int
    additivity_error: float


def explain(model: CreditModel, frame: pl.DataFrame, margin: np.ndarray, policy: ReasonPolicy) -> Reasons:
    """Find the reasons for each row of `frame`, which has all features. `margin`: the model's margin of each row."""
    contributions = model.fit.contributions(frame)
    additivity_error = float(np.abs(contributions.sum(axis=1) - margin).max()) if len(frame) else 0.0
    features = by_name(model.fit.features)
    mean = np.array([model.mean_contribution[f.name] for f in features])
    above_mean = contributions[:, :-1] - mean

    families = [f for f in FAMILIES if any(feature.family == f.code for feature in features)]
    members = [[i for i, feature in enumerate(features) if feature.family == f.code] for f in families]
    adverse = np.column_stack([above_mean[:, columns].sum(axis=1) for columns in members])
    total = adverse.clip(min=0).sum(axis=1, keepdims=True)
    facts = frame.select(
        f.fact(model.reference, policy).fill_null(value=False).alias(f.code) for f in families
    ).to_numpy()
    candidate = facts & (adverse > policy.min_contribution_logit) & (adverse >= policy.min_share_of_adverse * total)

    proven = candidate.copy()
    for k, columns in enumerate(members):
        rows = np.flatnonzero(candidate[:, k])
        if len(rows):
            names = [features[i].name for i in columns]
            typical = frame[rows].with_columns(pl.lit(model.reference[n], dtype=pl.Float64).alias(n) for n in names)
            proven[rows, k] = margin[rows] - model.fit.margin(typical) >= policy.min_margin_fall

    return Reasons(
        codes=_strongest(np.where(proven, adverse, -np.inf), [f.code for f in families], policy.max_reasons),
        candidates=int(candidate.sum()),
        direction_failures=int((candidate & ~proven).sum()),
        additivity_error=additivity_error,
    )


def _strongest(strength: np.ndarray, codes: list[str], count: int) -> pl.DataFrame:
    """For each row, the codes of the `count` largest finite strengths, strongest first; the other columns are null.

    `reason_1` is `none` in rows without a finite strength.
    """
    order = np.argsort(-strength, axis=1, kind="stable")
    named = np.array(codes, dtype=object)
    columns: dict[str, pl.Series] = {}
    for place in range(count):
        name = f"reason_{place + 1}"
        if place >= len(codes):
            columns[name] = pl.Series(name, [None] * len(strength), dtype=pl.String)
            continue
        pick = order[:, place]
        stated = np.isfinite(np.take_along_axis(strength, pick[:, None], axis=1)[:, 0])
        chosen = np.where(stated, named[pick], np.array(NO_REASON if place == 0 else None, dtype=object))
        columns[name] = pl.Series(name, chosen.tolist(), dtype=pl.String)
    return pl.DataFrame(columns)
