"""Tests that the movement of expected loss adds up in each currency."""

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.portfolio.expected_loss import COMPONENTS, expected_losses_of, movement_of, staged
from support.portfolio import POLICY, exposures


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_table_of_the_movement_adds_up_by_currency(seed, ids_before, ids_now):
    """In each currency, opening + new + derecognised + steps = closing, to the cent.

    The closing is the sum of the loans' expected losses. No loan's expected loss is above its exposure.
    """
    random = np.random.default_rng(seed)
    losses = pl.DataFrame(
        {"currency": ["EUR", "USD"], "as_of_on": dt.date(2020, 3, 31), "loss_given_default": [0.4, 0.6]}
    )
    currency = {n: str(random.choice(["EUR", "USD"])) for n in range(31)}  # a loan's currency does not change
    before, now = (
        staged(
            exposures(random, sorted(ids)).with_columns(
                pl.Series("currency", [currency[n] for n in sorted(ids)], dtype=pl.String)
            ),
            losses,
            POLICY.ifrs9,
            0.08,
        )
        for ids in (ids_before, ids_now)
    )
    moved = movement_of(before, now, POLICY.ifrs9)
    lost = expected_losses_of(before, now, POLICY.ifrs9)
    for (name,), rows in moved.sort("position").group_by("currency"):
        assert rows["component"].to_list() == list(COMPONENTS)
        amounts = rows["amount"].to_list()
        assert sum(amounts[:-1]) == amounts[-1]
        assert amounts[-1] == (lost.filter(pl.col("currency") == name)["expected_loss"].sum() or Decimal(0))
    assert (lost["expected_loss"] <= lost["exposure_at_default"] + Decimal("0.01")).all()
