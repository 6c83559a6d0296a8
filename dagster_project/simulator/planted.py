"""Names of the items that a plan may plant in a book, and the list of planted items (`truth/planted.parquet`).

The list has one row per item: its kind, and the loan, customer, day and payment that it concerns. A field is empty if
the item concerns none.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from dagster_project.simulator.clock import Ints

FRAUD = (
    "A01_structuring",
    "A02_velocity",
    "A03_round_amounts",
    "A04_rapid_movement",
    "A05_dormant_then_active",
    "A06_fan_in",
    "A07_fan_out",
    "A09_early_payoff",
    "A10_many_payers",
    "A10_one_payer",
    "A11_overpaid_and_refunded",
    "A12_bust_out",
    "A13_first_payment_default",
    "A14_shared_identifiers",
)
RISK_SHIFTS = ("channel_drift", "unfair_proxy")
LEAKAGE_TRAPS = (
    "late_payments",
    "late_reversals",
    "current_status",
    "current_terms",
    "capitalised_balances",
    "collections",
    "missing_income",
    "cohort_month",
    "unmatured_cohorts",
)
GROUPS = {
    "fraud": FRAUD,
    "risk_shifts": RISK_SHIFTS,
    "leakage_traps": LEAKAGE_TRAPS,
    "all": (*FRAUD, *RISK_SHIFTS, *LEAKAGE_TRAPS),
}
_RENAMED = {"tilts": "risk_shifts", "leaks": "leakage_traps"}
_SCHEMA = {"kind": pl.String, "loan_id": pl.String, "customer_no": pl.String, "day": pl.Date, "payment_id": pl.String}


class PlanError(ValueError):
    """A plan cannot be simulated. The message says why."""


def switches(names: Iterable[str]) -> frozenset[str]:
    """Return the switches with these names. The name of a group gives all members of the group.

    Raises:
        PlanError: a name is unknown, or was renamed; the message gives the new name.
    """
    asked = list(names)
    renamed = [f"{name} is now called {_RENAMED[name]}" for name in asked if name in _RENAMED]
    if renamed:
        raise PlanError("; ".join(renamed))
    unknown = sorted(set(asked) - set(GROUPS) - set(GROUPS["all"]))
    if unknown:
        raise PlanError(f"unknown: {', '.join(unknown)}; choose from {', '.join([*GROUPS, *GROUPS['all']])}")
    return frozenset(member for name in asked for member in GROUPS.get(name, (name,)))


def noted(kind: str, **about: Ints) -> pl.DataFrame:
    """Return rows of one kind for the list of planted items.

    `about`: numbers of loans, customers and payments, and days counted from 1970-01-01, by column.
    """
    columns: dict[str, Any] = {}
    for name, values in about.items():
        series = pl.Series(values.astype(np.int32 if name == "day" else np.int64))
        columns[name] = series.cast(pl.Date if name == "day" else pl.String)
    rows = pl.DataFrame(columns).with_columns(pl.lit(kind).alias("kind"))
    absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in _SCHEMA.items() if name not in rows.columns]
    return rows.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())


def all_noted(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the whole list, sorted."""
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *parts]).sort(*_SCHEMA)
