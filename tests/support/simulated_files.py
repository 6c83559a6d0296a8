"""Helpers that build small payment and loan files of the simulated source, ingest them and read the lake."""

import datetime as dt
from dataclasses import replace

import polars as pl

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.intake import ingest

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
SIMULATED = load_sources()["simulated"]
CORRECTED = replace(
    SIMULATED,
    contract=replace(
        SIMULATED.contract,
        tables=tuple(replace(t, corrections=t.name == "payments") for t in SIMULATED.contract.tables),
    ),
)


def drop_file(context, name, *rows):
    folder = context.landing / "simulated"
    folder.mkdir(parents=True, exist_ok=True)
    layout = SIMULATED.contract.layout_of(name)
    (folder / name).write_text("\n".join([",".join(layout.schema), *rows]) + "\n")


def payment(number, amount="5.00", day="2024-01-01", booked=None, currency="EUR", loan="7"):
    return f"{number},{loan},{day},{amount},{currency},transfer,,{booked or day}"


def loan(number, opened_on):
    return f"{number:08},c{number},car_loan,web,{opened_on},100.00,,12,0.05,9.00,EUR,open"


def ingest_waiting(context, source=SIMULATED):
    receipts = ingest(source, context, NOW)
    for r in receipts:
        assert r.landed_rows == r.accepted_rows + r.quarantined_rows + r.duplicate_rows
        assert r.landed_minor == r.accepted_minor + r.quarantined_minor + r.duplicate_minor
    return receipts


def rows(context, table):
    frame = raw_rows(context.lake, context.book.all(), table)
    return frame.sort(frame.columns)


def raw_rows(lake, receipts, table):
    """Return the rows of a raw table in the files that the receipts name. A shared file is read once."""
    paths = {lake / file.path for receipt in receipts for file in receipt.files if file.table == table}
    return pl.concat([pl.read_parquet(path) for path in sorted(paths)])


def accepted(context):
    return dict(rows(context, "payments").select("payment_id", pl.col("amount").cast(pl.Float64)).rows())
