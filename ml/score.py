"""Scoring of live accounts, which gives each account its PD, score, grade, band and reasons."""

from dataclasses import dataclass

import polars as pl

from ml.model import CreditModel
from ml.reasons import ReasonPolicy, Reasons, explain
from ml.scale import DEFAULT_GRADE, Scale, ScoreAnchor, band, grade, score

KEYS = ("source", "loan_id", "as_of_on")


@dataclass(frozen=True)
class Scored:
    """The result of scoring the accounts of one source.

    Attributes:
        scores: one row per account, sorted by source and loan.
        reasons: the reason codes of the accounts, and figures about how the reasons were proven.
    """

    scores: pl.DataFrame
    reasons: Reasons


def no_scores(policy: ReasonPolicy) -> pl.DataFrame:
    """Return an empty table of scores, for a night in which no source has a model.

    The number of its reason columns is the policy's `max_reasons`.
    """
    reasons = {f"reason_{place}": pl.String() for place in range(1, policy.max_reasons + 1)}
    own = {"pd": pl.Float64(), "score": pl.Int32(), "grade": pl.String(), "band": pl.String()}
    flags = {"in_default": pl.Boolean(), "zero_balance": pl.Boolean(), "model_version": pl.String()}
    return pl.DataFrame(
        schema={"source": pl.String(), "loan_id": pl.String(), "as_of_on": pl.Date(), **own, **reasons, **flags}
    )


def score_accounts(
    model: CreditModel, live: pl.DataFrame, scale: Scale, anchor: ScoreAnchor, policy: ReasonPolicy, version: str
) -> Scored:
    """Score the live rows of the feature mart.

    An account in default has PD 1 and grade D by definition. Its reasons come from the model, as they do for other
    accounts.

    Args:
        model: the champion.
        live: the rows of `feat_loan_months` whose `is_live` is true, with `in_default`, `zero_balance` and all
            features.
        scale: the range and slope of the score, the PD floor, and the edges of grades and bands.
        anchor: the score with known odds for this source.
        policy: the thresholds that a reason must meet.
        version: the registered version of the champion, which is stored with each score.
    """
    live = live.sort("source", "loan_id")
    reasons = explain(model, live, model.fit.margin(live), policy, from_tables=True)
    scores = (
        live.select("source", "loan_id", pl.col("month_on").alias("as_of_on"), "in_default", "zero_balance")
        .with_columns(pl.Series("pd", model.pd(live, pd_floor=scale.pd_floor)))
        .with_columns(
            score=score(pl.col("pd"), scale, anchor),
            grade=pl.when("in_default").then(pl.lit(DEFAULT_GRADE)).otherwise(grade(pl.col("pd"), scale)),
        )
        .with_columns(band=band(pl.col("score"), scale), model_version=pl.lit(version))
        .hstack(reasons.codes)
    )
    order = [*KEYS, "pd", "score", "grade", "band", *reasons.codes.columns, "in_default", "zero_balance"]
    return Scored(scores.select(*order, "model_version"), reasons)
