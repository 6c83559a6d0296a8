"""The tables of expected credit losses: the loss of each loan, and the causes of the change between two month-ends."""

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
    """Return the loans with the inputs of their expected loss, their stage and its trigger, sorted by loan_id.

    Args:
        loans: rows of `port_exposures` for one source and month-end, with the columns pd and pd_first.
        losses: the loss given default, with the columns currency, as_of_on and loss_given_default.
        policy: passed on to `in_stages`.
        unknown_rate: the annual discount rate for loans whose own rate is unknown.
    """
    loss_rates = losses.select("currency", pl.col("as_of_on").alias("month_on"), "loss_given_default")
    filled = loans.join(loss_rates, on=["currency", "month_on"], how="left").sort("loan_id")
    return in_stages(filled.with_columns(pl.col("annual_rate").fill_null(unknown_rate)), policy)


def in_stages(loans: pl.DataFrame, policy: ImpairmentPolicy) -> pl.DataFrame:
    """Return the loans, in the same order, with their PDs over the remaining life, their stage and its trigger.

    Args:
        loans: rows of `port_month_exposures`, with the columns pd and pd_first. A PD that is null triggers no stage.
        policy: the thresholds of a significant increase in risk. Its `horizon_months` is used as the remaining life of
            loans that have none.
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
    """Return the rows of `port_expected_losses` for the newest month-end.

    These are the rows of `now` with the columns stage_before, expected_loss and stressed_loss. stage_before is null for
    a loan that `before` does not contain.

    Args:
        before: the result of `staged` for the previous month-end.
        now: the result of `staged` for the newest month-end.
        policy: the scenarios and the discounting.
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
    """Return the change from the opening to the closing expected loss by cause.

    There is one row per currency and component. The components are opening, new, derecognised, the steps of
    `impairment.STEPS`, and closing. All components before closing add up to closing, to the cent.

    The columns are currency, amount, loans (the number of loans whose amount is not 0), position (the order of the
    components) and component.

    Args:
        before: the result of `staged` for the previous month-end.
        now: the result of `staged` for the newest month-end.
        policy: the scenarios and the discounting.
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
