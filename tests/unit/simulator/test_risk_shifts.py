"""Tests that a simulated book contains the planted risk shifts and leakage traps."""

import polars as pl

from support.simulated_tables import table


def test_risk_shifts_and_leakage_traps_are_in_the_book(book):
    people, attributes = table(book, "borrowers"), table(book, "attributes")
    by_sex = people.join(attributes, on="customer_no").with_columns(pl.col("region").cast(int), pl.col("sex").cast(int))
    assert by_sex.select(pl.corr("region", "sex")).item() > 0.5
    loans, months = table(book, "loans"), pl.read_parquet(book / "truth/loan_months/*.parquet")
    lent = loans.with_columns(is_late=pl.col("opened_on") >= "2018-08-01", is_partner=pl.col("channel") == "partner")
    share = dict(lent.group_by("is_late").agg(pl.col("is_partner").mean()).iter_rows())
    assert share[False] < 0.25 and share[True] > 0.45
    hazard = pl.read_parquet(book / "truth/loans.parquet").join(lent, left_on="loan_id", right_on="loan_no")
    means = dict(
        hazard.drop_nulls("hazard").filter("is_late").group_by("is_partner").agg(pl.col("hazard").mean()).rows()
    )
    assert means[True] - means[False] > 0.6
    defaulted = months.filter(pl.col("state") == "default")["loan_id"].unique()
    owners = loans.filter(pl.col("loan_no").is_in(defaulted.implode()))["customer_no"]
    missing = people.with_columns(bad=pl.col("customer_no").is_in(owners.implode()), no=pl.col("income").is_null())
    share = dict(missing.group_by("bad").agg(pl.col("no").mean()).iter_rows())
    assert share[True] > 0.4 and share[False] < 0.06
    ended = months.filter(pl.col("state") == "closed")["loan_id"]
    assert set(loans.filter(pl.col("status") == "closed")["loan_no"]) == set(ended)
