"""The names of everything that a plan may plant in a book, and functions for the list of planted items.

The list is written to `truth/planted.parquet`. It has one row per planted item, with the kind of item and the loan,
customer, day and payment that it concerns. Fields that do not apply to the item are null.
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
    """Raised for a plan that cannot be simulated. The message gives the reason."""


def switches(names: Iterable[str]) -> frozenset[str]:
    """Return the names of all items to plant. The name of a group stands for all members of the group.

    Raises:
        PlanError: If a name is unknown, or if a group has been renamed. The message lists the valid names, or gives the
            group's new name.
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

    Each keyword argument is a column of the list: `loan_id`, `customer_no` or `payment_id` with numbers, or `day` with
    days counted from 1970-01-01. Columns that are not passed are null.
    """
    columns: dict[str, Any] = {}
    for name, values in about.items():
        series = pl.Series(values.astype(np.int32 if name == "day" else np.int64))
        columns[name] = series.cast(pl.Date if name == "day" else pl.String)
    rows = pl.DataFrame(columns).with_columns(pl.lit(kind).alias("kind"))
    absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in _SCHEMA.items() if name not in rows.columns]
    return rows.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())


def all_noted(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the complete list of planted items, sorted. Without any parts, it has no rows."""
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *parts]).sort(*_SCHEMA)
