"""The portfolio section of the default policy, and helpers that build arrays and exposures."""

import datetime as dt

import numpy as np
import polars as pl

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import load_policy

POLICY_FILE = PROJECT_ROOT / "policy/default.yaml"
POLICY = load_policy(POLICY_FILE).portfolio


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def exposures(random: np.random.Generator, ids: list[int]) -> pl.DataFrame:
    """Return random rows with the columns of `port_exposures` and with PDs. `ids` are the numbers of the loans."""
    count = len(ids)
    is_default = random.random(count) < 0.1
    pd = np.where(is_default, 1.0, random.uniform(0.0005, 0.6, count))
    return pl.DataFrame(
        {
            "loan_id": [f"L{n:03}" for n in ids],
            "month_on": dt.date(2020, 3, 31),
            "product": "loan",
            "currency": random.choice(["EUR", "USD"], count) if count else pl.Series([], dtype=pl.String),
            "is_default": is_default,
            "is_probation": random.random(count) < 0.1,
            "is_forborne": random.random(count) < 0.1,
            "dpd_end": random.integers(0, 60, count),
            "pd": pd,
            "pd_first": random.uniform(0.0005, 0.6, count),
            "pd_basis": "score",
            "arrears_basis": "ledger",
            "exposure_at_default": pl.Series(random.integers(0, 10**8, count), dtype=pl.Int64).cast(pl.Decimal(18, 2)),
            "annual_rate": pl.Series(random.choice([0.05, 0.2], count)).cast(pl.Float64),
            "remaining_months": pl.Series(random.integers(1, 40, count)).cast(pl.Int32),
            "is_revolving": random.random(count) < 0.5,
        },
        schema_overrides={
            "month_on": pl.Date(),
            **dict.fromkeys(("loan_id", "product", "currency", "pd_basis", "arrears_basis"), pl.String()),
            **dict.fromkeys(("is_default", "is_probation", "is_forborne", "is_revolving"), pl.Boolean()),
            **dict.fromkeys(("pd", "pd_first"), pl.Float64()),
            "dpd_end": pl.Int32(),
            "exposure_at_default": pl.Decimal(18, 2),
        },
    )
