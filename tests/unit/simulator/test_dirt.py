"""Tests that redelivered rows are planted only if the plan asks for them."""

from dataclasses import replace

import polars as pl

from dagster_project.simulator.simulate import Plan, simulate
from support.simulated_tables import table


def test_what_comes_again_is_planted_only_where_asked_for(tmp_path):
    """Three faults are planted only if the plan has `redeliver`, and each fault is listed with its expected outcome.

    The faults are a row of another delivery that comes again unchanged, such a row with another amount, and a payment
    that is dated before its loan was opened.
    """
    plan = Plan(600, 4, seed=3, opened_within=1, dirt=True)
    clean = replace(plan, dirt=False)
    for name, asked in (("clean", clean), ("without", plan), ("with", replace(plan, redeliver=True))):
        simulate(asked, tmp_path / name)
    faults = pl.read_parquet(tmp_path / "with/truth/dirt.parquet")
    names = {"redelivered": "duplicate_row", "redelivered_otherwise": "conflict", "before_opening": "before_opening"}
    assert not set(pl.read_parquet(tmp_path / "without/truth/dirt.parquet")["fault"]) & set(names)
    for name, expected in names.items():
        rows = faults.filter(pl.col("fault") == name)
        assert rows.height >= 1 and set(rows["expected"]) == {expected}
        for file, line, key in rows.select("file", "line", "key").rows():
            sent = (tmp_path / "with/landing/simulated" / file).read_text().split("\n")[line - 1].split(",")
            assert sent[0] == key
            first = table(tmp_path / "clean", "payments").filter(pl.col("payment_no") == key)
            if name == "before_opening":
                assert first.is_empty() and sent[2] < "2018-01-01"
            else:
                assert (first["amount"].item() == sent[3]) == (name == "redelivered")
