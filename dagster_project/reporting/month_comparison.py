"""Comparison of a month as first reported with the same month as known now.

The comparison consists of the figures in both versions, the changed loans, and the rows that explain these changes.
Every figure is a sum over loans, or a ratio of two such sums. Therefore the loans whose month changed account for every
difference between the figures. Each changed loan is explained by raw rows that were not known when the month was first
reported.

All functions in this module are pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from dagster_project.portfolio.arrears import ARREARS_STATES, ENDED_STATES, OPEN_STATES, open_states_over

Amount = int | float | Decimal
# The columns of a loan month that figures are computed from.
MONTH = ("state", "dpd_end", "is_default", "balance", "due", "paid")
_OPEN = pl.col("state").is_in(ENDED_STATES).not_()
_OVER_30 = pl.col("state").is_in(open_states_over(30))
_OVER_90 = pl.col("state").is_in(open_states_over(90))
_BALANCE = pl.col("balance")
_PLACES = 9
LINE_NO = "line_no"
_IS_CORRECTION = pl.lit(value=True).alias("is_correction")
# The columns of the raw rows that explain a difference, one row per raw row.
ROW: dict[str, pl.DataType] = {
    "table": pl.String(),
    "file": pl.String(),
    "line": pl.Int64(),
    "event_on": pl.Date(),
    "known_at": pl.Date(),
    "ingested_at": pl.Datetime("us"),
    "loan_id": pl.String(),
    "is_correction": pl.Boolean(),
    "changed": pl.List(pl.Struct({"column": pl.String(), "before": pl.String(), "after": pl.String()})),
}

# The figures that are sums: name -> what each loan month adds.
SUMS: dict[str, pl.Expr] = {
    "loans": pl.col("state").is_not_null(),
    "balance": _BALANCE,
    "due": pl.col("due"),
    "paid": pl.col("paid"),
    "defaults": pl.col("is_default"),
    **{f"loans.{state}": pl.col("state") == state for state in ARREARS_STATES},
    "loans.open": _OPEN,
    "loans.30+": _OVER_30,
    "loans.90+": _OVER_90,
    "balance.open": pl.when(_OPEN).then(_BALANCE),
    "balance.30+": pl.when(_OVER_30).then(_BALANCE),
    "balance.90+": pl.when(_OVER_90).then(_BALANCE),
}
_AMOUNTS = {"balance", "due", "paid", "balance.open", "balance.30+", "balance.90+"}
# The figures that are ratios: name -> (numerator, denominator) in `SUMS`. An open loan is not closed or written off.
RATIOS: dict[str, tuple[str, str]] = {
    **{f"share.{state}": (f"loans.{state}", "loans.open") for state in OPEN_STATES},
    "share.30+": ("loans.30+", "loans.open"),
    "balance_share.30+": ("balance.30+", "balance.open"),
    "balance_share.90+": ("balance.90+", "balance.open"),
}


@dataclass(frozen=True)
class Figure:
    """One figure as first reported (`reported`) and as known now (`restated`).

    Amounts are in the source's currency. A share is None if its denominator is 0. `loans` is the number of loans that
    changed the figure.
    """

    name: str
    reported: Amount | None
    restated: Amount | None
    loans: int

    @property
    def difference(self) -> Amount | None:
        """Return the figure as known now minus the figure as first reported. Return None if either of them is None."""
        if self.reported is None or self.restated is None:
            return None
        difference = self.restated - self.reported  # type: ignore[operator]
        return round(difference, _PLACES) if isinstance(difference, float) else difference


@dataclass(frozen=True)
class Reported:
    """The time at which a source first reported a month, and the rows that this report is based on.

    If the month was the source's newest month at that time, the reported version of the month is made from all rows
    that were taken in until `taken_in_by`. Otherwise the month arrived together with later months, as in a history that
    is loaded all at once. In that case, the reported version is made from only those rows that the lender could also
    know on `observed_on`.

    Attributes:
        taken_in_by: time at which the first rows that report the month were taken in.
        observed_on: the month-end plus the source's feature lag.
        as_newest: whether the month was the source's newest month at that time.
    """

    taken_in_by: datetime
    observed_on: date
    as_newest: bool


@dataclass(frozen=True)
class MonthComparison:
    """The result of `compare_month` for one month of a source.

    `loans`: one row per loan whose month changed. `rows`: the raw rows that explain the changes, with the columns of
    `ROW`. `unexplained`: the ids of changed loans that no row explains. It should be empty.
    """

    source: str
    month_on: date
    reported: Reported
    figures: tuple[Figure, ...]
    loans: pl.DataFrame
    rows: pl.DataFrame
    unexplained: tuple[str, ...]

    def as_values(self) -> dict[str, object]:
        """Return the comparison as dictionaries, lists and plain values, for `creditloom restate --json`."""
        figures = {
            f.name: {"reported": f.reported, "restated": f.restated, "difference": f.difference, "loans": f.loans}
            for f in self.figures
        }
        return {
            "source": self.source,
            "month_on": self.month_on,
            "reported": asdict(self.reported),
            "figures": figures,
            "loans": self.loans.to_dicts(),
            "rows": self.rows.to_dicts(),
            "unexplained": list(self.unexplained),
        }


def compare_month(
    source: str, month_on: date, reported: Reported, then: pl.DataFrame, now: pl.DataFrame, rows: pl.DataFrame
) -> MonthComparison:
    """Compare a month as first reported with the month as known now, and find the rows that explain each changed loan.

    Args:
        source: the name of the source.
        month_on: the month-end.
        reported: when and from which rows the month was first reported.
        then: the month as first reported, one row per loan, with the columns loan_id and `MONTH`.
        now: the month as known now, in the same form as `then`.
        rows: the raw rows that became known after the month was reported; the result of `changes`. Rows of loans that
            did not change are left out of the comparison.
    """
    loans = changed_loans(then, now)
    explaining = rows.join(loans.select("loan_id", "moved"), on="loan_id").sort(
        "loan_id", "table", "known_at", "file", "line"
    )
    unexplained = loans.join(rows, on="loan_id", how="anti")["loan_id"].to_list()
    compared = figures(then, now, loans)
    return MonthComparison(source, month_on, reported, compared, loans, explaining, tuple(unexplained))


def changed_loans(then: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Return one row per loan whose month changed, sorted by loan_id.

    There are three kinds of columns: loan_id; for each column of `MONTH`, the value as reported (`<column>`) and as
    known now (`<column>_now`); and `moved`, the names of the figures that the loan changed. If a loan has no row in one
    of the two versions, its columns for that version are null.

    Args:
        then: the month as first reported, one row per loan.
        now: the month as known now, one row per loan.
    """
    both = then.select("loan_id", *MONTH).join(
        now.select("loan_id", *MONTH), on="loan_id", how="full", coalesce=True, suffix="_now"
    )
    changed = both.filter(pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_now")) for c in MONTH)).sort("loan_id")
    before = changed.select(pl.col(c) for c in MONTH).select(_filled(name) for name in SUMS)
    after = changed.select(pl.col(f"{c}_now").alias(c) for c in MONTH).select(_filled(name) for name in SUMS)
    moves = {name: before[name] != after[name] for name in SUMS}
    moves |= {name: moves[part] | moves[whole] for name, (part, whole) in RATIOS.items()}
    names = (pl.when(moved).then(pl.lit(name)) for name, moved in moves.items())
    return changed.with_columns(pl.concat_list(names).list.drop_nulls().alias("moved"))


def figures(then: pl.DataFrame, now: pl.DataFrame, loans: pl.DataFrame) -> tuple[Figure, ...]:
    """Return all figures of a month, as first reported and as known now.

    Args:
        then: the month as first reported, one row per loan.
        now: the month as known now, one row per loan.
        loans: the result of `changed_loans` for `then` and `now`.
    """
    before, after = (side.select(_filled(name).sum() for name in SUMS).row(0, named=True) for side in (then, now))
    moved = dict(loans["moved"].explode().drop_nulls().value_counts().iter_rows())
    values = [(name, before[name], after[name]) for name in SUMS]
    values += [(name, _ratio(before, *parts), _ratio(after, *parts)) for name, parts in RATIOS.items()]
    return tuple(Figure(name, one, other, moved.get(name, 0)) for name, one, other in values)


def changes(table: str, rows: pl.DataFrame, key: Sequence[str], shown: Sequence[str]) -> pl.DataFrame:
    """Return the raw rows of a table that became known after the month was reported, with the values that they change.

    Args:
        table: the name of the table.
        rows: raw rows of the table with the lineage columns, `file` (the file name of the delivery) and `known_then`
            (whether the row was known when the month was reported).
        key: the primary key of the table. A late row is a correction if a row with the same key was known when the
            month was reported. If the late row has an earlier `known_at` than this row, it is left out, because it is
            an older version that arrived late.
        shown: the columns that may be shown. None of them is personal.

    Returns:
        Rows with the columns of `ROW`. For a correction, `changed` contains the columns that differ. For any other row,
        it contains the columns that are not null, with null as the value before. A correction that moves a row to
        another loan gives one row for each of the two loans.
    """
    order = ("known_at", "ingested_at", LINE_NO)
    earlier = _suffixed((*shown, "loan_id", "known_at"))
    first = rows.filter("known_then").sort(order).unique(key, keep="last").select(*key, *earlier, _IS_CORRECTION)
    late = rows.filter(~pl.col("known_then")).join(first, on=key, how="left", nulls_equal=True)
    late = late.filter((pl.col("known_at") >= pl.col("known_at_before")).fill_null(value=True))
    # If a row has several late versions, only the newest one counts.
    late = late.sort(order).unique(key, keep="last", maintain_order=True)
    is_moved = (pl.col("loan_id") != pl.col("loan_id_before")).fill_null(value=False)
    parts = [pl.when(is_moved).then(_difference("loan_id"))]
    for column in shown:
        before, after = pl.col(f"{column}_before"), pl.col(column)
        parts.append(pl.when(before.ne_missing(after)).then(_difference(column)))
    changed_columns = pl.concat_list(parts).list.drop_nulls()
    late = late.with_columns(changed_columns.alias("changed"))
    left = late.filter(is_moved).with_columns(loan_id="loan_id_before")
    return (
        pl.concat([late, left])
        .select(
            pl.lit(table).alias("table"),
            "file",
            pl.col(LINE_NO).alias("line"),
            "event_on",
            "known_at",
            "ingested_at",
            "loan_id",
            pl.col("is_correction").fill_null(value=False),
            "changed",
        )
        .match_to_schema(ROW)
    )


def _difference(column: str) -> pl.Expr:
    before, after = (pl.col(c).cast(pl.String) for c in (f"{column}_before", column))
    return pl.struct(pl.lit(column).alias("column"), before.alias("before"), after.alias("after"))


def _suffixed(shown: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(c).alias(f"{c}_before") for c in shown]


def _filled(name: str) -> pl.Expr:
    """Return what a loan month adds to the figure `name`, which is 0 if the loan has no row for the month."""
    return SUMS[name].cast(pl.Decimal(38, 2) if name in _AMOUNTS else pl.Int64).fill_null(0).alias(name)


def _ratio(sums: Mapping[str, Amount], part: str, whole: str) -> float | None:
    return round(float(sums[part]) / float(sums[whole]), _PLACES) if sums[whole] else None
