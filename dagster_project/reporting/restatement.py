"""A month as it was reported and as it is known now: its figures, the loans that moved them, the raw rows behind. Pure.

Every figure is a sum over loans, or a ratio of two such sums, so that a difference is exactly that of the loans whose
month is another one now; and behind each of those stand the rows that were not known when the month was reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from dagster_project.portfolio.arrears import ARREARS_STATES, ENDED_STATES, OPEN_STATES, open_states_over

Amount = int | float | Decimal
# Columns of a loan month that figures are made of.
MONTH = ("state", "dpd_end", "is_default", "balance", "due", "paid")
_OPEN = pl.col("state").is_in(ENDED_STATES).not_()
_OVER_30 = pl.col("state").is_in(open_states_over(30))
_OVER_90 = pl.col("state").is_in(open_states_over(90))
_BALANCE = pl.col("balance")
_PLACES = 9
LINE_NO = "line_no"
_HAD = pl.lit(value=True).alias("had")
# A raw row behind a difference.
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

# What each loan month adds to a sum.
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
# Shares are of open loans: those that are neither closed nor written off.
RATIOS: dict[str, tuple[str, str]] = {
    **{f"share.{state}": (f"loans.{state}", "loans.open") for state in OPEN_STATES},
    "share.30+": ("loans.30+", "loans.open"),
    "balance_share.30+": ("balance.30+", "balance.open"),
    "balance_share.90+": ("balance.90+", "balance.open"),
}


@dataclass(frozen=True)
class Figure:
    """One figure, before and now. `loans`: how many loans moved it; amounts are in the source's currency.

    A share of nothing is None.
    """

    name: str
    reported: Amount | None
    restated: Amount | None
    loans: int

    @property
    def difference(self) -> Amount | None:
        """Now less before."""
        if self.reported is None or self.restated is None:
            return None
        difference = self.restated - self.reported  # type: ignore[operator]
        return round(difference, _PLACES) if isinstance(difference, float) else difference


@dataclass(frozen=True)
class Reported:
    """When a source first reported a month, which decides what counts as reported.

    `as_newest`: it was the newest month then, so that what had been taken in by `taken_in_by` is what was published. A
    month that came with later ones, as in a history that is loaded at once, never was; then, of what had been taken in,
    what the lender could know on `observed_on` stands in for it: the month-end and the source's feature lag.
    """

    taken_in_by: datetime
    observed_on: date
    as_newest: bool


@dataclass(frozen=True)
class Restatement:
    """A source's month. `loans`: one row a loan whose month changed; `rows`: one row a raw row behind; see `restate`.

    `unexplained`: loans whose month changed and behind which no row stands; there should be none.
    """

    source: str
    month_on: date
    reported: Reported
    figures: tuple[Figure, ...]
    loans: pl.DataFrame
    rows: pl.DataFrame
    unexplained: tuple[str, ...]

    def as_values(self) -> dict[str, object]:
        """The whole as plain values, under the names that `creditloom restate --json` prints."""
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


def restate(
    source: str, month_on: date, reported: Reported, then: pl.DataFrame, now: pl.DataFrame, rows: pl.DataFrame
) -> Restatement:
    """Compare a month with itself, and lay the rows that became known since beside the loans that changed.

    Args:
        source: its name.
        month_on: the month-end.
        reported: when the month was first reported.
        then: the month as it was known then, one row a loan: loan_id and `MONTH`.
        now: the same as it is known now.
        rows: raw rows that became known since, see `changes`, of any loans; those of loans that did not change moved
            nothing and are left out.
    """
    loans = changed_loans(then, now)
    behind = rows.join(loans.select("loan_id", "moved"), on="loan_id").sort(
        "loan_id", "table", "known_at", "file", "line"
    )
    bare = loans.join(rows, on="loan_id", how="anti")["loan_id"].to_list()
    return Restatement(source, month_on, reported, figures(then, now, loans), loans, behind, tuple(bare))


def changed_loans(then: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Loans whose month is another one now, in order: loan_id, `<column>` before and `<column>_now`, and `moved`.

    Where there was no month, or is none any more, all columns of that side are null. `moved`: names of the figures.
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
    """Every figure before and now. `loans`: see `changed_loans`."""
    before, after = (side.select(_filled(name).sum() for name in SUMS).row(0, named=True) for side in (then, now))
    moved = dict(loans["moved"].explode().drop_nulls().value_counts().iter_rows())
    values = [(name, before[name], after[name]) for name in SUMS]
    values += [(name, _ratio(before, *parts), _ratio(after, *parts)) for name, parts in RATIOS.items()]
    return tuple(Figure(name, one, other, moved.get(name, 0)) for name, one, other in values)


def changes(table: str, rows: pl.DataFrame, key: Sequence[str], shown: Sequence[str]) -> pl.DataFrame:
    """The raw rows of a table that became known since, and what each says.

    Args:
        table: its name.
        rows: raw rows of the table with the lineage, `file` (the delivery's name), and `known_then`.
        key: the table's primary key; a row whose key was known then is a correction of that row, unless it was known
            before it: then it is an older version that came late, and moves nothing.
        shown: columns that may be shown: nothing personal.

    Returns:
        `ROW`; in `changed` a correction has the columns that differ, another row those that it fills, without `before`.
        A correction that takes a row to another loan is told of both.
    """
    order = ("known_at", "ingested_at", LINE_NO)
    beside = _beside((*shown, "loan_id", "known_at"))
    first = rows.filter("known_then").sort(order).unique(key, keep="last").select(*key, *beside, _HAD)
    late = rows.filter(~pl.col("known_then")).join(first, on=key, how="left", nulls_equal=True)
    late = late.filter((pl.col("known_at") >= pl.col("known_at_before")).fill_null(value=True))
    # A version that came since, and was corrected since, moves nothing.
    late = late.sort(order).unique(key, keep="last", maintain_order=True)
    is_moved = (pl.col("loan_id") != pl.col("loan_id_before")).fill_null(value=False)
    parts = [pl.when(is_moved).then(_difference("loan_id"))]
    for column in shown:
        before, after = pl.col(f"{column}_before"), pl.col(column)
        parts.append(pl.when(before.ne_missing(after)).then(_difference(column)))
    told = pl.concat_list(parts).list.drop_nulls()
    late = late.with_columns(told.alias("changed"))
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
            pl.col("had").fill_null(value=False).alias("is_correction"),
            "changed",
        )
        .match_to_schema(ROW)
    )


def _difference(column: str) -> pl.Expr:
    before, after = (pl.col(c).cast(pl.String) for c in (f"{column}_before", column))
    return pl.struct(pl.lit(column).alias("column"), before.alias("before"), after.alias("after"))


def _beside(shown: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(c).alias(f"{c}_before") for c in shown]


def _filled(name: str) -> pl.Expr:
    """What a loan month adds; nothing where there is no month."""
    return SUMS[name].cast(pl.Decimal(38, 2) if name in _AMOUNTS else pl.Int64).fill_null(0).alias(name)


def _ratio(sums: Mapping[str, Amount], part: str, whole: str) -> float | None:
    return round(float(sums[part]) / float(sums[whole]), _PLACES) if sums[whole] else None
