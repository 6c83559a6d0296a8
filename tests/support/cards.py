"""Helpers to build deliveries of the source `taiwan_cards` with a few accounts, and to ingest them."""

import datetime as dt

import polars as pl

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.intake import ingest

HEADER = (
    "ID,LIMIT_BAL,SEX,EDUCATION,MARRIAGE,AGE,PAY_0,PAY_2,PAY_3,PAY_4,PAY_5,PAY_6,"
    "BILL_AMT1,BILL_AMT2,BILL_AMT3,BILL_AMT4,BILL_AMT5,BILL_AMT6,"
    "PAY_AMT1,PAY_AMT2,PAY_AMT3,PAY_AMT4,PAY_AMT5,PAY_AMT6,default.payment.next.month"
)


def line(account: int, paid: str = "100.0", **other: str) -> str:
    """Return the line of one account, as text.

    The account pays `paid` in September 2005 and 1.50 in August 2005. `other` replaces values by column name.
    """
    values = dict(zip(HEADER.split(","), ["0"] * 25, strict=True))
    values |= {"ID": str(account), "LIMIT_BAL": "1000.0", "SEX": "1", "EDUCATION": "2", "MARRIAGE": "1", "AGE": "30"}
    values |= {"PAY_AMT1": paid, "PAY_AMT2": "1.50"} | other
    return ",".join(values.values())


def card_file(*lines: str, header: str = HEADER, end: str = "\n") -> bytes:
    return (end.join([header, *lines]) + end).encode()


NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
CARDS = load_sources()["taiwan_cards"]


def take_in(pipeline, drop, name, content):
    drop(pipeline, name, content)
    (receipt,) = ingest(CARDS, pipeline.ingest_context, NOW)
    assert receipt.landed_rows == receipt.accepted_rows + receipt.quarantined_rows + receipt.duplicate_rows
    assert receipt.landed_minor == receipt.accepted_minor + receipt.quarantined_minor + receipt.duplicate_minor
    return receipt


def raw(pipeline, receipt, table):
    paths = [pipeline.ingest_context.lake / f.path for f in receipt.files if f.table == table]
    return pl.read_parquet(paths)
