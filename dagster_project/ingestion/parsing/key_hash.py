"""The hash of a row's key. Equal keys have equal hashes, but different keys may also have the same hash."""

import polars as pl

# Stored with each index on disk. If the Polars version or the hashing changes, the index is useless and is built again.
HASHING = f"polars {pl.__version__}, 3"


def key_hash(key: list[str]) -> pl.Expr:
    """Return a Polars expression that computes the 64-bit hash of each row's key.

    `key` contains the names of the columns that form the key.
    """
    return (pl.col(key[0]) if len(key) == 1 else pl.struct(key)).hash(seed=1)  # a struct takes five times as long
