"""The training set, which joins features to labels and counts the observations that are left out.

All rows of a borrower are in the same block, with one exception: rows of the newest months may be in the out-of-time
block, even if the borrower's other rows are in another block.
"""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import duckdb
import polars as pl

from ml.features import FEATURE_NAMES
from ml.splits import SplitPolicy, assign
from ml.train import TARGET

KEYS = ("source", "loan_id", "month_on")
THINNED = "thinned"
_EXCLUSIONS = "exclusions"

# Two observations of one borrower a month apart are nearly the same row, so keeping both adds rows but hardly any
# information. So `$snapshots` months per borrower and calendar year are kept (normally one); the others are `thinned`.
# A hash draws the months from all months that the source observes in that year, whether or not the borrower has an
# observation there. If only the borrower's own months took part, loans that default early would be sampled too often,
# because they have few months. PDs would then be too high.
_KEPT = """
    select distinct f.borrower_id, l.month_on
    from {labels} l join {features} f using (source, loan_id, month_on)
    join ({months}) m on m.month_on = l.month_on
    where l.source = $source and l.exclusion_reason is null
      and (m.place + cast('0x' || left(sha256(concat_ws('|', $salt, f.borrower_id, year(l.month_on))), 12) as bigint))
          % m.months_in_year % greatest(m.months_in_year // $snapshots, 1) = 0
"""
_MONTHS = """
    select
        month_on,
        row_number() over in_year - 1 as place,
        count(*) over (partition by year(month_on)) as months_in_year
    from (select distinct month_on from {labels} where source = $source) as observed
    window in_year as (partition by year(month_on) order by month_on)
"""
# The rows to train and measure on. Accounts already in default are among them only if the source reports their outcome.
_OBSERVED = """
    with kept as ({kept})
    select l.source, l.loan_id, l.month_on, l.{target}, l.exclusion_reason, f.borrower_id, f.in_default, {features_of}
    from {labels} l join {features} f using (source, loan_id, month_on)
    left join kept on l.exclusion_reason is null and kept.borrower_id = f.borrower_id and kept.month_on = l.month_on
    where l.source = $source
      and (kept.month_on is not null or (l.exclusion_reason = 'in_default' and l.{target} is not null))
"""
_COUNTED = """
    select coalesce(l.exclusion_reason, ''), count(*)
    from {labels} l join {features} f using (source, loan_id, month_on) where l.source = $source group by all
"""


@dataclass(frozen=True)
class TrainingSet:
    """The observations of one source, and the number of observations that were excluded.

    Attributes:
        frame: the observations, sorted by source, loan and month-end, with `label`, `in_default`, `bucket`, `block` and
            the features. Models are fitted and validated on the rows whose `exclusion_reason` is null. The only other
            rows are accounts already in default whose outcome the source reports.
        excluded: the number of excluded observations by reason. It includes the accounts already in default that are in
            `frame`.
    """

    frame: pl.DataFrame
    excluded: dict[str, int]

    @property
    def usable(self) -> pl.DataFrame:
        """Return the rows of all blocks whose `exclusion_reason` is null."""
        return self.frame.filter(pl.col("exclusion_reason").is_null())

    @property
    def labelled(self) -> pl.DataFrame:
        """Return all rows: the usable ones, and the accounts already in default whose outcome the source reports."""
        return self.frame

    def block(self, name: str) -> pl.DataFrame:
        """Return the usable rows of one block. The frame is empty if the block has no such rows."""
        return self.usable.filter(pl.col("block") == name)

    def blocks(self) -> list[tuple[str, int, int]]:
        """Return the size of each block that has usable rows, as (block, rows, defaults), sorted by name.

        Only usable rows are counted.
        """
        counted = self.usable.group_by("block").agg(pl.len(), pl.col(TARGET).sum()).sort("block")
        return [(str(name), int(rows), int(defaults)) for name, rows, defaults in counted.iter_rows()]

    @property
    def months(self) -> tuple[dt.date, dt.date]:
        """Return the first and the last month-end among the observations."""
        return cast("tuple[dt.date, dt.date]", self.frame.select(pl.min("month_on"), last=pl.max("month_on")).row(0))

    def metadata(self) -> dict[str, str]:
        """Return the metadata for the training set's Parquet file.

        It contains the number of excluded observations by reason, as JSON.
        """
        return {_EXCLUSIONS: json.dumps(self.excluded)}


def read(path: Path) -> TrainingSet:
    """Read a training set from its Parquet file, with the counts of excluded observations in the file's metadata."""
    return TrainingSet(pl.read_parquet(path), json.loads(pl.read_parquet_metadata(path)[_EXCLUSIONS]))


def too_short(path: Path, min_rows: int, min_defaults: int) -> str | None:
    """Return a message if the training set in this file is too small for a model, or None if it is large enough.

    Only usable rows count. There must be at least `min_rows` of them, and at least `min_defaults` defaults among them.
    """
    usable = pl.scan_parquet(path).filter(pl.col("exclusion_reason").is_null())
    rows, defaults = usable.select(pl.len(), pl.col(TARGET).sum().alias("defaults")).collect().row(0)
    if rows >= min_rows and defaults >= min_defaults:
        return None
    return (
        f"not enough history: {rows:,} usable observations with {defaults:,} defaults; "
        f"a model needs {min_rows:,} with {min_defaults:,}"
    )


def build(
    db: duckdb.DuckDBPyConnection, labels: str, features: str, source: str, policy: SplitPolicy, snapshots: int = 1
) -> TrainingSet:
    """Build the training set of one source from its features and labels.

    Args:
        db: a connection to the database that contains the two tables.
        labels: the name of the table `label_loan_months`. Its `label` is 0 or 1, but may be null in excluded rows.
        features: the name of the table `feat_loan_months`.
        source: the name of the source.
        policy: the buckets of each block, and the salt of the hashes.
        snapshots: the number of months to draw per borrower and calendar year. A hash of the borrower and the year
            determines which of the source's observed months are drawn. If this number does not divide the number of
            observed months, more months may be drawn. Use more than one only for a book with too few defaults.
    """
    names = {"labels": labels, "features": features, "target": TARGET}
    kept = _KEPT.format(months=_MONTHS.format(**names), **names)
    observed = _OBSERVED.format(kept=kept, features_of=_listed(), **names)
    given = {"source": source, "salt": policy.salt, "snapshots": snapshots}
    frame = assign(db.sql(observed, params=given).pl().sort(KEYS), policy)
    counted = dict(db.sql(_COUNTED.format(**names), params={"source": source}).fetchall())
    usable = frame["exclusion_reason"].null_count()
    excluded = {reason: count for reason, count in counted.items() if reason}
    if thinned := counted.get("", 0) - usable:
        excluded[THINNED] = thinned
    columns = (*KEYS, "borrower_id", "bucket", "block", TARGET, "exclusion_reason", "in_default", *FEATURE_NAMES)
    return TrainingSet(frame.select(columns), dict(sorted(excluded.items())))


def _listed() -> str:
    return ", ".join(f"f.{name}" for name in FEATURE_NAMES)
