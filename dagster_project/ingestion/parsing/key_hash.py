"""The hash of a row's key: equal keys have equal hashes; two keys may share one."""

import polars as pl

# What an index on disk was made with; another library or another way to hash makes it worthless.
HASHING = f"polars {pl.__version__}, 3"


def key_hash(key: list[str]) -> pl.Expr:
    """The 64-bit hash of the columns of a key."""
    return (pl.col(key[0]) if len(key) == 1 else pl.struct(key)).hash(seed=1)  # a struct costs five times a column
