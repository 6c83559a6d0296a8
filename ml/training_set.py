"""The training set: features joined to labels whose horizon has passed, with a count of the excluded observations.

All rows of a borrower are in one block; only the out-of-time block may share borrowers with the others.
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
    """The observations of one source, and how many were excluded.

    `frame`: observations sorted by their keys, with `label`, `in_default`, `bucket`, `block` and the features. Models
    are fitted and validated on the rows whose `exclusion_reason` is null. The only other rows are accounts already in
    default whose outcome the source reports (see `labelled`). `excluded`: number of excluded observations by reason.
    """

    frame: pl.DataFrame
    excluded: dict[str, int]

    @property
    def usable(self) -> pl.DataFrame:
        """The rows of all blocks that are not excluded."""
        return self.frame.filter(pl.col("exclusion_reason").is_null())

    @property
    def labelled(self) -> pl.DataFrame:
        """The usable rows, and the accounts already in default whose outcome the source reports."""
        return self.frame

    def block(self, name: str) -> pl.DataFrame:
        """The rows of one block that are not excluded."""
        return self.usable.filter(pl.col("block") == name)

    def blocks(self) -> list[tuple[str, int, int]]:
        """(block, number of usable rows, number of defaults) of each block, sorted by name."""
        counted = self.usable.group_by("block").agg(pl.len(), pl.col(TARGET).sum()).sort("block")
        return [(str(name), int(rows), int(defaults)) for name, rows, defaults in counted.iter_rows()]

    @property
    def months(self) -> tuple[dt.date, dt.date]:
        """The first and the last observed month-end."""
        return cast("tuple[dt.date, dt.date]", self.frame.select(pl.min("month_on"), last=pl.max("month_on")).row(0))

    def metadata(self) -> dict[str, str]:
        """The metadata to write into the Parquet file of the training set."""
        return {_EXCLUSIONS: json.dumps(self.excluded)}


def read(path: Path) -> TrainingSet:
    """Read a training set from its Parquet file."""
    return TrainingSet(pl.read_parquet(path), json.loads(pl.read_parquet_metadata(path)[_EXCLUSIONS]))


def too_short(path: Path, min_rows: int, min_defaults: int) -> str | None:
    """Why the training set in this file is too small for a model, as a text; None if it is large enough."""
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
        labels: the name of the table `label_loan_months`. Its `label` is 0 or 1; it may be null in excluded rows.
        features: the name of the table `feat_loan_months`.
        source: the source.
        policy: the blocks, and the salt of the hashes.
        snapshots: how many months of a year are kept per borrower, evenly spaced from the drawn month. More than one is
            for a book with too few defaults.
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
