"""Tables of a simulated book, as it is delivered."""

import polars as pl


def table(folder, name):
    """All files of one table of a book, as text."""
    files = sorted((folder / "landing/simulated").glob(f"{name}-*.csv"))
    return pl.concat([pl.read_csv(f, infer_schema=False) for f in files])


def cents(name):
    return (pl.col(name).cast(pl.Float64) * 100).round().cast(pl.Int64)
