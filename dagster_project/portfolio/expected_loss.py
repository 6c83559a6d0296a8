"""Tables of expected credit losses: the loss of each loan, and the change between two month-ends by cause."""

import numpy as np
import polars as pl

from dagster_project.portfolio.impairment import (
    STEPS,
    Loans,
    credit_loss,
    lifetime_pd,
    movement,
    stages,
    weighted_loss,
)
from dagster_project.portfolio.policy import ImpairmentPolicy
from dagster_project.portfolio.tables import MONEY

COMPONENTS = ("opening", "new", "derecognised", *STEPS, "closing")


def staged(loans: pl.DataFrame, losses: pl.DataFrame, policy: ImpairmentPolicy, unknown_rate: float) -> pl.DataFrame:
    """Add to the loans the inputs of their expected loss, their stage and its trigger.

    Args:
        loans: rows of `port_exposures` for one source and month-end, with pd and pd_first.
        losses: the loss given default, with the columns currency, as_of_on, loss_given_default.
        policy: see `in_stages`.
        unknown_rate: discount rate for loans whose own rate is not known.
    """
    loss_rates = losses.select("currency", pl.col("as_of_on").alias("month_on"), "loss_given_default")
    filled = loans.join(loss_rates, on=["currency", "month_on"], how="left").sort("loan_id")
    return in_stages(filled.with_columns(pl.col("annual_rate").fill_null(unknown_rate)), policy)


def in_stages(loans: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Add to the loans their PDs over the remaining life, their stage and its trigger, in the same order.

    Args:
        loans: rows of `port_month_exposures` with pd and pd_first; a null PD never triggers a stage.
        policy: thresholds of a significant increase in risk, and `horizon_months`, which replaces a missing remaining
            life.
    """
    filled = loans.with_columns(pl.col("remaining_months").fill_null(policy.horizon_months))
    months = filled["remaining_months"].to_numpy().astype(np.int64)
    pds = {
        name: pl.Series(name, lifetime_pd(filled[of].to_numpy(), months)).fill_nan(None)
        for name, of in (("pd_lifetime", "pd"), ("pd_lifetime_first", "pd_first"))
    }
    return stages(filled.with_columns(*pds.values()), policy)


def _loans(frame: pl.DataFrame) -> Loans:
    return Loans(
        pd=frame["pd"].to_numpy(),
        loss=frame["loss_given_default"].to_numpy(),
        exposure=frame["exposure_at_default"].cast(pl.Float64).to_numpy(),
        annual_rate=frame["annual_rate"].to_numpy(),
        remaining_months=frame["remaining_months"].to_numpy().astype(np.int64),
        is_revolving=frame["is_revolving"].to_numpy(),
        stage=frame["stage"].to_numpy().astype(np.int64),
    )


def expected_losses_of(before: pl.DataFrame, now: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Compute `port_expected_losses`: the rows of `now` with stage_before, expected_loss and stressed_loss.

    `before`, `now`: results of `staged` for the month-end before and for the newest.
    """
    loans = _loans(now)
    stressed = np.rint(100 * credit_loss(loans, policy, policy.stress_factor)).astype(np.int64)
    rounded = ("pd", "pd_first", "pd_lifetime", "pd_lifetime_first")
    return (
        now.join(before.select("loan_id", stage_before="stage"), on="loan_id", how="left")
        .sort("loan_id")
        .with_columns(
            _money(pl.Series("expected_loss", weighted_loss(loans, policy))),
            _money(pl.Series("stressed_loss", stressed)),
            *(pl.col(name).round(9) for name in rounded),
        )
        .rename({"month_on": "as_of_on"})
    )


def movement_of(before: pl.DataFrame, now: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Explain the change from the opening to the closing loss: one row per currency and component.

    The columns are currency, amount, loans (how many have an amount in it), position and component. Opening, new,
    derecognised and the steps of `impairment.STEPS` add up to closing, to the cent. `before`, `now`: results of
    `staged` for the month-end before and for the newest.
    """
    rows = [f.with_columns(pl.Series("cents", weighted_loss(_loans(f), policy))) for f in (before, now)]
    gone, new = rows[0].join(rows[1], on="loan_id", how="anti"), rows[1].join(rows[0], on="loan_id", how="anti")
    stay = [a.join(b, on="loan_id", how="semi").sort("loan_id") for a, b in (rows, rows[::-1])]
    steps = movement(_loans(stay[0]), _loans(stay[1]), policy)
    moved = [stay[1].select("currency", pl.Series("cents", cents)) for cents in steps.values()]
    parts = [rows[0], new, gone.with_columns(-pl.col("cents")), *moved, rows[1]]
    currencies = pl.concat([f.select("currency") for f in rows]).unique()
    return pl.concat(
        currencies.join(
            part.filter(pl.col("cents") != 0).group_by("currency").agg(pl.col("cents").sum(), loans=pl.len()),
            on="currency",
            how="left",
        ).with_columns(
            pl.lit(position, pl.Int32()).alias("position"),
            pl.lit(name).alias("component"),
            _money(pl.col("cents").fill_null(0)),
            pl.col("loans").fill_null(0).cast(pl.Int32),
        )
        for position, (name, part) in enumerate(zip(COMPONENTS, parts, strict=True))
    )


def _money(cents: pl.Expr | pl.Series) -> pl.Expr:
    expression = pl.lit(cents) if isinstance(cents, pl.Series) else cents
    name = cents.name if isinstance(cents, pl.Series) else "amount"
    return (expression.cast(pl.Decimal(38, 2)) / 100).cast(MONEY).alias(name)
