"""Tests of blanking the fields that identify a person in a delivered file."""

import io

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.ingestion.persons.identity import PersonSearch, hide
from support.persons import DAY, lender_in

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.sampled_from(["C1", "C2", "C3"]), NAMES, NAMES), min_size=1, max_size=8))
def test_hiding_blanks_exactly_the_fields_of_the_person(rows, tmp_path_factory):
    """`hide` blanks the fields that identify customer C1, and nothing else, whatever characters the names contain.

    The changed file has the same records on the same lines. Line breaks inside a blanked field are kept. If no record
    is of C1, `hide` returns None.
    """
    from csv import writer

    from dagster_project.ingestion.parsing.records import DeliveryRefusedError, read_records

    lender = LENDERS[0] if LENDERS else LENDERS.append(lender_in(tmp_path_factory.mktemp("any"))) or LENDERS[0]
    source, keys = lender.sources["lender"], lender.ingest_context.keys
    layout = source.contract.layout_of("people-1.csv")
    out = io.StringIO(newline="")
    write = writer(out, lineterminator="\n")
    write.writerow(layout.schema)
    for number, name, street in rows:
        write.writerow([number, name, street, "DE1", "1", DAY])
    content = out.getvalue().encode()
    try:
        before = read_records(content, layout)
    except DeliveryRefusedError:
        return
    name = keys.pseudonyms(pl.Series(["C1"]), "lender.borrower_id")["pseudonym"].item()
    found = hide(content, layout, source, keys, PersonSearch(frozenset({name})))
    assert (found is None) == all(number != "C1" for number, _, _ in rows)
    if found is None:
        return
    after = read_records(found[0], layout)
    assert after.landed == before.landed
    hers = pl.col("customer_no") == "C1"
    blank = [pl.when(hers).then(None).otherwise(c).alias(c) for c in ("name", "street", "account_no", "customer_no")]
    same = before.text.with_columns(blank)
    gone = pl.col("customer_no").is_null()
    # A field that spanned lines still does: only its lines are left of it.
    assert after.text.filter(~gone).equals(same.filter(~gone))
    left = after.text.filter(gone)
    assert left.select("line_no", "lines", "sex").equals(same.filter(gone).select("line_no", "lines", "sex"))
    assert all(set(v) <= {"\n"} for c in ("name", "street", "account_no", "customer_no") for v in left[c].drop_nulls())


LENDERS: list = []
