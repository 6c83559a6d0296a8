"""Figures of the book by grade: concentration, migration from one month-end to the next, capital and price."""

import numpy as np
import polars as pl

from dagster_project.portfolio.migration import bandwidth, cell_z, herfindahl
from dagster_project.portfolio.policy import Limit, PricePolicy
from dagster_project.portfolio.price import risk_based_price, risk_weight


def by_grade(loans: pl.DataFrame, loss: float, price: PricePolicy, *, priced: bool) -> pl.DataFrame:
    """One row per grade: grade, loans, share, balance, mean_pd, risk_weight, price, agreed_rate.

    Args:
        loans: one row per loan with grade, pd, balance, annual_rate (null if not known).
        loss: loss given default.
        price: costs and returns of the policy.
        priced: whether the PDs cover one year. If not, risk_weight and price are null.
    """
    owed = pl.when(pl.col("annual_rate").is_not_null()).then(pl.col("balance").cast(pl.Float64))
    rows = (
        loans.group_by("grade")
        .agg(
            pl.len().cast(pl.Int32).alias("loans"),
            pl.col("balance").sum(),
            # sorted, because the order changes the last bits of a mean
            pl.col("pd").sort().mean().round(9).alias("mean_pd"),
            ((pl.col("annual_rate") * owed).sort().sum() / owed.sort().sum())
            .fill_nan(None)
            .round(9)
            .alias("agreed_rate"),
        )
        .sort("grade")
        .with_columns(share=(pl.col("loans") / pl.col("loans").sum()).round(9))
    )
    pd = rows["mean_pd"].to_numpy()
    is_usable = (pd > 0) & (pd < 1) & priced
    weight, rate = np.full(len(pd), np.nan), np.full(len(pd), np.nan)
    weight[is_usable] = risk_weight(pd[is_usable], loss, "other_retail")
    rate[is_usable] = risk_based_price(pd[is_usable], loss, price.capital_ratio * weight[is_usable], price)
    return rows.with_columns(
        pl.Series("risk_weight", weight).fill_nan(None).round(9), pl.Series("price", rate).fill_nan(None).round(9)
    ).select("grade", "loans", "share", "balance", "mean_pd", "risk_weight", "price", "agreed_rate")


def moves(before: pl.DataFrame, after: pl.DataFrame, order: list[str]) -> pl.DataFrame:
    """One row per pair of grades that a loan had at two month-ends: from_grade, to_grade, loans, share, z.

    `share`: of the loans in from_grade. `z`: the share of the neighbouring cell towards the diagonal minus the cell's
    own share, in standard errors. It is negative if the cell has more loans than that neighbour, and null on the
    diagonal.

    Args:
        before: loan_id and grade at the earlier month-end.
        after: the same at the later month-end. Loans that are in only one of the two are left out.
        order: all grades, from best to worst.
    """
    both = before.join(after, on="loan_id", suffix="_after")
    counts = np.zeros((len(order), len(order)))
    at = {grade: place for place, grade in enumerate(order)}
    for (was, now), rows in both.group_by("grade", "grade_after"):
        counts[at[str(was)], at[str(now)]] = rows.height
    cells = [
        (order[i], order[j], int(counts[i, j]), round(counts[i, j] / counts[i].sum(), 9), _z(counts, i, j))
        for i, j in zip(*np.nonzero(counts), strict=True)
    ]
    schema = {"from_grade": pl.String(), "to_grade": pl.String(), "loans": pl.Int32(), "share": pl.Float64()}
    return pl.DataFrame(cells, schema=schema | {"z": pl.Float64()}, orient="row")


def _z(counts: np.ndarray, row: int, cell: int) -> float | None:
    return None if row == cell else round(cell_z(counts, row, cell), 9)


def concentration(grades: pl.DataFrame, moved: pl.DataFrame, order: list[str], limit: Limit) -> pl.DataFrame:
    """One row: hhi, largest_share, status, moved_loans, bandwidth_up, bandwidth_down.

    hhi is the Herfindahl index of the grades' shares of loans, and status compares it with `limit`. moved_loans counts
    the loans in `moved`, including those that kept their grade.
    """
    counts = np.zeros((len(order), len(order)))
    at = {grade: place for place, grade in enumerate(order)}
    for was, now, loans in moved.select("from_grade", "to_grade", "loans").iter_rows():
        counts[at[was], at[now]] = loans
    up, down = bandwidth(counts)
    hhi = herfindahl(grades["share"].to_numpy())
    status = "red" if hhi >= limit.red else "amber" if hhi >= limit.amber else "green"
    return pl.DataFrame(
        {
            "hhi": [round(hhi, 9)],
            "largest_share": [float(grades["share"].to_numpy().max())],
            "status": [status],
            "moved_loans": [int(counts.sum())],
            "bandwidth_up": [round(up, 9)],
            "bandwidth_down": [round(down, 9)],
        },
        schema_overrides={"moved_loans": pl.Int32()},
    )
