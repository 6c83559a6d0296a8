"""Score accounts: PD, score, grade, band and reasons of every live account."""

from dataclasses import dataclass

import polars as pl

from ml.model import CreditModel
from ml.reasons import ReasonPolicy, Reasons, explain
from ml.scale import DEFAULT_GRADE, Scale, ScoreAnchor, band, grade, score

KEYS = ("source", "loan_id", "as_of_on")


@dataclass(frozen=True)
class Scored:
    """`scores`: one row per account, sorted by source and loan. `reasons`: reason codes and figures of their proof."""

    scores: pl.DataFrame
    reasons: Reasons


def no_scores(policy: ReasonPolicy) -> pl.DataFrame:
    """The table of scores without rows, for a night on which no source has a model."""
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

    An account in default has PD 1 and grade D by definition. Its reasons come from the model, as for other accounts.

    Args:
        model: the champion.
        live: rows of `feat_loan_months` with `is_live`, `in_default`, `zero_balance` and all features.
        scale: range, slope and grades.
        anchor: the score with known odds, for this source.
        policy: thresholds of the reasons.
        version: the champion's registered version; stored with each score.
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
