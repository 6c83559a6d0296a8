"""Helpers to build figures for early warnings of a single share with one value per month."""

import datetime as dt

import polars as pl

from dagster_project.early_warning.evaluate import FIGURES
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import load_policy

POLICY = load_policy(PROJECT_ROOT / "policy/default.yaml").early_warning


def month(n: int) -> dt.date:
    """Return a month-end: January 2020 for n = 0, February 2020 for n = 1, and so on."""
    first = dt.date(2020 + (n + 1) // 12, (n + 1) % 12 + 1, 1)
    return first - dt.timedelta(days=1)


def series(hits, of=10_000, indicator="share_30_plus", segment=("product", "loan"), source="lender", begins=0):
    """Return the monthly figures of one share.

    `hits` contains the number of accounts that count towards the share in each month, or None for a month without
    figures. `of` is the number of all accounts, and `begins` is the number of the first month.
    """
    rows = [
        {
            "source": source,
            "indicator": indicator,
            "segment_kind": segment[0],
            "segment": segment[1],
            "month_on": month(begins + n),
            "accounts": of,
            "total": float(hit),
            "squares": float(hit),
            "expected": None,
            "amount": None,
            "amount_of": None,
        }
        for n, hit in enumerate(hits)
        if hit is not None
    ]
    return pl.DataFrame(rows, schema=FIGURES)


def states(history, **of):
    return history.filter(**of).sort("month_on")["state"].to_list()
