"""Which borrower belongs to which block of the data: training, early stopping, calibration, out of sample."""

import hashlib
from dataclasses import dataclass

import polars as pl

BLOCKS = ("train", "val", "cal", "oos")
OUT_OF_TIME = "oot"


@dataclass(frozen=True)
class SplitPolicy:
    """Inclusive bucket ranges (0-99) of each block, and the salt of the hash.

    Where there are at least `oot_min_cohorts` months of observations, the last `oot_months` are set apart, out of time.
    """

    salt: str
    train: tuple[int, int]
    val: tuple[int, int]
    cal: tuple[int, int]
    oos: tuple[int, int]
    oot_months: int = 6
    oot_min_cohorts: int = 12

    def __post_init__(self) -> None:
        """Refuse ranges that overlap or leave a bucket out.

        Raises:
            ValueError: the four ranges are not a partition of 0-99.
        """
        buckets = [b for name in BLOCKS for b in range(getattr(self, name)[0], getattr(self, name)[1] + 1)]
        if sorted(buckets) != list(range(100)):
            raise ValueError("split: the ranges of train, val, cal and oos must cover the buckets 0-99 exactly once")


def stable_hash(*parts: object) -> int:
    """The same 64 bits on every machine: sha256 of the parts joined by `|`."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:8], "big")


def bucket(borrower_id: str, salt: str) -> int:
    """Stable bucket 0-99 of a borrower: the same on every machine, for every row of the borrower.

    >>> bucket("b0", "creditloom-split-1")
    14
    """
    return stable_hash(salt, borrower_id) % 100


def assign(frame: pl.DataFrame, policy: SplitPolicy) -> pl.DataFrame:
    """Add `bucket` (0-99) and `block` (one of `BLOCKS`, or `oot`) to a frame with `borrower_id` and `month_on`."""
    ids = frame["borrower_id"].unique(maintain_order=True)
    table = pl.DataFrame(
        {"borrower_id": ids, "bucket": [bucket(i, policy.salt) for i in ids]},
        schema={"borrower_id": pl.String, "bucket": pl.Int64},
    )
    block = pl.coalesce(
        pl.when(pl.col("bucket").is_between(*getattr(policy, name))).then(pl.lit(name)) for name in BLOCKS
    )
    placed = frame.join(table, on="borrower_id", how="left", maintain_order="left").with_columns(block=block)
    cohorts = frame["month_on"].unique().sort()
    if len(cohorts) < policy.oot_min_cohorts:
        return placed
    late = pl.col("month_on") >= cohorts[-policy.oot_months]
    return placed.with_columns(block=pl.when(late).then(pl.lit(OUT_OF_TIME)).otherwise("block"))
