"""The training set: features joined to matured labels, exclusions counted, each borrower in one block."""

import datetime as dt
from dataclasses import dataclass
from typing import cast

import polars as pl

from ml.features import FEATURE_NAMES
from ml.splits import SplitPolicy, assign, stable_hash
from ml.train import TARGET

KEYS = ("source", "loan_id", "month_on")
THINNED = "thinned"


@dataclass(frozen=True)
class TrainingSet:
    """`frame`: every labelled observation, sorted by its keys, with `label`, `in_default`, `bucket`, `block`.

    `exclusion_reason` is null on the rows that a model may be fitted and validated on.
    """

    frame: pl.DataFrame

    @property
    def usable(self) -> pl.DataFrame:
        """The rows that are not excluded, of all blocks."""
        return self.frame.filter(pl.col("exclusion_reason").is_null())

    @property
    def labelled(self) -> pl.DataFrame:
        """The usable rows, and those already in default whose outcome the source tells."""
        told = (pl.col("exclusion_reason") == "in_default") & pl.col(TARGET).is_not_null()
        return self.frame.filter(pl.col("exclusion_reason").is_null() | told)

    def block(self, name: str) -> pl.DataFrame:
        """The rows of one block that are not excluded."""
        return self.usable.filter(pl.col("block") == name)

    def blocks(self) -> list[tuple[str, int, int]]:
        """Usable observations and defaults of each block."""
        counted = self.usable.group_by("block").agg(pl.len(), pl.col(TARGET).sum()).sort("block")
        return [(str(name), int(rows), int(defaults)) for name, rows, defaults in counted.iter_rows()]

    def too_short(self, min_rows: int, min_defaults: int) -> str | None:
        """Why a model cannot learn from this yet, in numbers; None if it can."""
        rows, defaults = self.usable.height, int(self.usable[TARGET].sum())
        if rows >= min_rows and defaults >= min_defaults:
            return None
        return (
            f"not enough history: {rows:,} usable observations with {defaults:,} defaults; "
            f"a model needs {min_rows:,} with {min_defaults:,}"
        )

    @property
    def months(self) -> tuple[dt.date, dt.date]:
        """The first and the last month-end that is observed."""
        return cast("tuple[dt.date, dt.date]", self.frame.select(pl.min("month_on"), last=pl.max("month_on")).row(0))

    def exclusions(self) -> dict[str, int]:
        """How many labelled observations each exclusion reason took out."""
        counted = self.frame.drop_nulls("exclusion_reason").group_by("exclusion_reason").len().sort("exclusion_reason")
        return dict(counted.iter_rows())


def build(features: pl.DataFrame, labels: pl.DataFrame, policy: SplitPolicy) -> TrainingSet:
    """Join one source's features and labels.

    Args:
        features: rows of `feat_loan_months`.
        labels: rows of `label_loan_months` whose outcome is known; `label` is 0 or 1, or null with an exclusion.
        policy: buckets and salt.
    """
    frame = labels.select(*KEYS, TARGET, "exclusion_reason").join(features, on=KEYS, how="inner").sort(KEYS)
    return TrainingSet(
        assign(_thinned(frame, policy.salt), policy).select(
            *KEYS, "borrower_id", "bucket", "block", TARGET, "exclusion_reason", "in_default", *FEATURE_NAMES
        )
    )


def _thinned(frame: pl.DataFrame, salt: str) -> pl.DataFrame:
    """Keep one usable observation a borrower and calendar year, chosen by hash; the others are excluded as thinned.

    Snapshots of one borrower a month apart are nearly the same row: counted as many, they feign information.
    """
    usable = frame.filter(pl.col("exclusion_reason").is_null())
    year = pl.col("month_on").dt.year().alias("year")
    repeated = usable.select("borrower_id", "month_on", year).filter(pl.struct("borrower_id", "year").is_duplicated())
    if repeated.is_empty():
        return frame
    ticket = [stable_hash(salt, *row) for row in repeated.select("borrower_id", "month_on").iter_rows()]
    drawn = repeated.with_columns(pl.Series("ticket", ticket, dtype=pl.UInt64))
    lost = drawn.filter(pl.col("ticket") != pl.col("ticket").min().over("borrower_id", "year"))
    marked = lost.select("borrower_id", "month_on").unique().with_columns(thinned=pl.lit(THINNED))
    joined = frame.join(marked, on=["borrower_id", "month_on"], how="left", maintain_order="left")
    return joined.with_columns(exclusion_reason=pl.coalesce("exclusion_reason", "thinned")).drop("thinned")
