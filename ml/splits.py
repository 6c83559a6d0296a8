"""The split of the data into blocks for training, early stopping, calibration and validation.

All rows of a borrower are in the same block, with one exception: the newest months may be set apart as an out-of-time
block, which contains rows of any borrower.
"""

import hashlib
from typing import Annotated, Self

import polars as pl
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ml.section import Section

BLOCKS = ("train", "val", "cal", "oos")
OUT_OF_TIME = "oot"


# YAML gives a list, so pydantic may convert a list to a tuple. It must not convert the numbers in it.
Bucket = Annotated[int, Field(ge=0, le=99)]
Buckets = Annotated[tuple[Bucket, Bucket], Field(strict=False, title="[first, last], whole numbers from 0 to 99")]


class SplitPolicy(Section):
    """First and last bucket (0 to 99) of each block. A hash of the borrower's ID determines a borrower's bucket."""

    salt: str = Field(
        min_length=1, description="Salt of the hash. Do not change it later: borrowers would move to other blocks."
    )
    train: Buckets = Field(description="Buckets that the model is trained on.")
    val: Buckets = Field(description="Buckets that decide when training stops early.")
    cal: Buckets = Field(description="Buckets that the PD is calibrated on.")
    oos: Buckets = Field(description="Out of sample: buckets that are used only for validation.")
    oot_months: int = Field(
        default=6, ge=1, description="Out of time: number of the newest months of observations that are set apart."
    )
    oot_min_cohorts: int = Field(
        default=12,
        ge=2,
        description="Number of months of observations that are needed to set months apart. With fewer, none is set "
        "apart. Must be above `oot_months`.",
    )

    @field_validator(*BLOCKS)
    @classmethod
    def _ascending(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[1] < value[0]:
            raise ValueError(f"{list(value)}: the last bucket must not be below the first")
        return value

    @field_validator("oot_min_cohorts")
    @classmethod
    def _more_than_set_apart(cls, value: int, info: ValidationInfo) -> int:
        apart = info.data.get("oot_months")
        if apart is not None and value <= apart:
            raise ValueError(f"oot_min_cohorts ({value}) must be above oot_months ({apart})")
        return value

    @model_validator(mode="after")
    def _each_bucket_once(self) -> Self:
        buckets = [b for name in BLOCKS for b in range(getattr(self, name)[0], getattr(self, name)[1] + 1)]
        twice = sorted({b for b in buckets if buckets.count(b) > 1})
        absent = sorted(set(range(100)) - set(buckets))
        if twice or absent:
            found = f"bucket {twice[0]} is in two of them" if twice else f"bucket {absent[0]} is in none"
            raise ValueError(f"train, val, cal and oos must cover the buckets 0 to 99 exactly once; {found}")
        return self


def stable_hash(*parts: object) -> int:
    """Return the first 64 bits of the sha256 of the parts, joined by `|`.

    The result is the same on every machine, unlike that of Python's `hash`.
    """
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:8], "big")


def bucket(borrower_id: str, salt: str) -> int:
    """Return the bucket of a borrower, from 0 to 99.

    It is the same on every machine and for every row of the borrower.

    >>> bucket("b0", "creditloom-split-1")
    14
    """
    return stable_hash(salt, borrower_id) % 100


def assign(frame: pl.DataFrame, policy: SplitPolicy) -> pl.DataFrame:
    """Add the columns `bucket` and `block` to a frame that has `borrower_id` and `month_on`.

    `bucket` is a number from 0 to 99. `block` is one of `BLOCKS`, or `oot` for the newest `oot_months` months. No rows
    are set apart as `oot` if the frame has fewer than `oot_min_cohorts` months.
    """
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
