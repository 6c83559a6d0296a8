"""The figures of the book by grade: concentration, migration between two month-ends, capital and price."""

import numpy as np
import polars as pl

from dagster_project.portfolio.migration import bandwidth, cell_z, herfindahl
from dagster_project.portfolio.policy import Limit, PricePolicy
from dagster_project.portfolio.price import risk_based_price, risk_weight


def by_grade(loans: pl.DataFrame, loss: float, price: PricePolicy, *, priced: bool) -> pl.DataFrame:
    """Return one row per grade, sorted by grade.

    The columns are grade, loans, share (of all loans), balance, mean_pd, risk_weight, price and agreed_rate.
    agreed_rate is the mean annual rate, weighted by balance; it is null if no rate is known. risk_weight and price are
    null if the mean PD is 0 or 1.

    Args:
        loans: one row per loan with the columns grade, pd, balance and annual_rate (null if not known).
        loss: the loss given default, as a share of the exposure.
        price: the costs and returns in the policy.
        priced: whether the PDs cover one year. If not, risk_weight and price are null for all grades.
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
    """Return one row per pair of grades that loans had at two month-ends, with the number of these loans.

    The columns are from_grade, to_grade, loans, share and z. `share` is the number of loans divided by the number of
    all loans in from_grade. `z` is the z statistic of the cell, see `cell_z`. It is null if the two grades are the
    same.

    Args:
        before: loan_id and grade at the earlier month-end.
        after: loan_id and grade at the later month-end. Loans that are in only one of the two frames are left out.
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
    """Return one row about the concentration of the book in grades, and about the distances that loans moved.

    The columns are hhi, largest_share, status, moved_loans, bandwidth_up and bandwidth_down. hhi is the Herfindahl
    index of the grades' shares in the number of loans. status is `green`, `amber` or `red`, by comparison of hhi with
    `limit`. moved_loans counts all loans in `moved`, including loans that kept their grade. For bandwidth_up and
    bandwidth_down, see `bandwidth`.

    Args:
        grades: the result of `by_grade`.
        moved: the result of `moves`.
        order: all grades, from best to worst.
        limit: the amber and red thresholds of hhi.
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
