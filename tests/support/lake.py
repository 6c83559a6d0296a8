"""Helpers that drop deliveries of the young lender and compare its lake with the reference in `oracles/kill.py`."""

import gzip
import io
import os
import zipfile
from pathlib import Path

import polars as pl

from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import State
from dagster_project.night.pipeline import Pipeline
from support.oracles.kill import Delivery, Reference
from support.young_lender import SOURCE, empty_lender

SEED = int(os.environ.get("SEED", "1"))
OUTCOMES = ("landed", "accepted", "quarantined", "duplicate")


def empty_home(home: Path) -> Path:
    empty_lender(home)
    return home


def _packed(delivery: Delivery) -> bytes:
    """Return the bytes of a delivery, compressed with gzip or zip if its name ends in `.gz` or `.zip`."""
    content = delivery.text.encode()
    if delivery.name.endswith(".gz"):
        return gzip.compress(content)
    if not delivery.name.endswith(".zip"):
        return content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", content)
    return packed.getvalue()


def drop(home: Path, delivery: Delivery) -> None:
    folder = home / "landing" / SOURCE
    arriving = folder / f".{delivery.name}.arriving"
    arriving.write_bytes(_packed(delivery))
    arriving.rename(folder / delivery.name)


def lake_of(pipeline: Pipeline, selection: Path) -> Reference:
    """Return the content of the lake as a night would read it, for comparison with a reference.

    Reading the lake also verifies the hash of each file. Fails if the lake contains statements of a file that was
    quarantined as a whole.
    """
    found, receipts = Reference(), pipeline.ingest_context.book.all()
    rows = select(pipeline.ingest_context.lake, selection, SOURCE, receipts)
    for receipt in receipts:
        for outcome in OUTCOMES:
            found.rows[outcome] += getattr(receipt, f"{outcome}_rows")
            found.cents[outcome] += getattr(receipt, f"{outcome}_minor")
        assert receipt.state is not State.QUARANTINED or not [f for f in receipt.files if f.table == "statements"]
    frame = pl.read_parquet(selection / SOURCE / "statements" / "*.parquet")
    assert frame.height == rows["statements"]
    statements = frame.select("loan_id", pl.col("month_on").cast(pl.String), "balance", "paid")
    for loan, month, opens, paid in statements.iter_rows():
        found.statements[(loan, month, int(opens * 100), int(paid * 100))] += 1
    return found


def assert_lake_is(pipeline: Pipeline, selection: Path, expected: Reference, why: object) -> None:
    """Check that the lake contains exactly the expected statements, rows and amounts.

    Also check that landed = accepted + quarantined + duplicate, both in rows and in cents. `why` is the message of a
    failure.
    """
    found = lake_of(pipeline, selection)
    assert +found.rows == +expected.rows, why
    assert +found.cents == +expected.cents, why
    assert found.statements == expected.statements, why
    for unit in (found.rows, found.cents):
        assert unit["landed"] == unit["accepted"] + unit["quarantined"] + unit["duplicate"], why
