"""Which borrower belongs to which block of the data: training, early stopping, calibration, out of sample."""

import hashlib
from dataclasses import dataclass

import polars as pl

BLOCKS = ("train", "val", "cal", "oos")


@dataclass(frozen=True)
class SplitPolicy:
    """Inclusive bucket ranges (0-99) of each block, and the salt of the hash."""

    salt: str
    train: tuple[int, int]
    val: tuple[int, int]
    cal: tuple[int, int]
    oos: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse ranges that overlap or leave a bucket out.

        Raises:
            ValueError: the four ranges are not a partition of 0-99.
        """
        buckets = [b for name in BLOCKS for b in range(getattr(self, name)[0], getattr(self, name)[1] + 1)]
        if sorted(buckets) != list(range(100)):
            raise ValueError("split: the ranges of train, val, cal and oos must cover the buckets 0-99 exactly once")


def bucket(borrower_id: str, salt: str) -> int:
    """Stable bucket 0-99 of a borrower: the same on every machine, for every row of the borrower.

    >>> bucket("b-1", "salt") == bucket("b-1", "salt")
    True
    """
    digest = hashlib.sha256(f"{salt}|{borrower_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100


def assign(frame: pl.DataFrame, policy: SplitPolicy) -> pl.DataFrame:
    """Add `bucket` (0-99) and `block` (one of `BLOCKS`) to a frame that has `borrower_id`."""
    ids = frame["borrower_id"].unique(maintain_order=True)
    table = pl.DataFrame(
        {"borrower_id": ids, "bucket": [bucket(i, policy.salt) for i in ids]},
        schema={"borrower_id": pl.String, "bucket": pl.Int64},
    )
    block = pl.coalesce(
        pl.when(pl.col("bucket").is_between(*getattr(policy, name))).then(pl.lit(name)) for name in BLOCKS
    )
    return frame.join(table, on="borrower_id", how="left", maintain_order="left").with_columns(block=block)
