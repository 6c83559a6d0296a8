"""Tests that the files of a simulated book match the contract."""

import datetime as dt

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.parsing.records import read_records
from dagster_project.ingestion.parsing.row_rules import check_rows, read_as


def test_files_are_what_the_contract_says(book):
    contract = load_sources()["simulated"].contract
    files = sorted((book / "landing/simulated").iterdir())
    assert all(str(contract.arrives_on(path.name)) == path.stem.split("-", 1)[1] for path in files)
    assert {contract.layout_of(path.name) for path in files} == set(contract.layouts)
    for layout in contract.layouts:
        mine = [path.read_bytes().split(b"\n", 1) for path in files if contract.layout_of(path.name) == layout]
        assert len({header for header, _ in mine}) == 1, layout.name
        content = mine[0][0] + b"\n" + b"".join(rows for _, rows in mine)
        checked = check_rows(read_as(read_records(content, layout).text, layout), layout)
        assert checked.bad.is_empty() and checked.duplicates.is_empty(), layout.name


def test_a_payment_is_known_when_it_is_booked(book):
    source = load_sources()["simulated"]
    path = book / "landing/simulated/payments-2019-03-20.csv"
    layout = source.contract.layout_of(path.name)
    checked = check_rows(read_as(read_records(path.read_bytes(), layout).text, layout), layout)
    rows = source.adapt(layout.name, checked.good, source.contract)["payments"].sort("line_no")
    assert (rows["known_at"] == dt.date(2019, 3, 20)).all() and rows["event_on"].min() < dt.date(2019, 3, 1)
    assert rows["event_on"].equals(checked.good.sort("line_no")["paid_on"], check_names=False)
