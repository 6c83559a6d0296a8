"""Helpers that read the delivered files of a simulated book as tables."""

import polars as pl


def table(folder, name):
    """Return the rows of all files of one table of a simulated book. All columns are text."""
    files = sorted((folder / "landing/simulated").glob(f"{name}-*.csv"))
    return pl.concat([pl.read_csv(f, infer_schema=False) for f in files])


def cents(name):
    return (pl.col(name).cast(pl.Float64) * 100).round().cast(pl.Int64)
