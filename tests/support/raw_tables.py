"""Helpers that convert loans defined in a test to the canonical raw tables that dbt reads."""

import datetime as dt
from collections import defaultdict
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import polars as pl

from dagster_project.ingestion.contracts.canonical import CANONICAL, raw_schema
from support.oracles.ledger import Loan


def raw_tables(book: list[Loan], source: str) -> dict[str, pl.DataFrame]:
    """Return the loans of `book` as canonical tables, by table name.

    One payment is added that belongs to an unknown loan. The `line_no` of a row is its position in its table.
    """
    lineage = {"source": source, "delivery_id": "0" * 16, "ingested_at": dt.datetime(2026, 1, 1)}
    money = lambda cents: None if cents is None else Decimal(cents) / 100
    loans, schedules, payments, borrowers, events = [], [], [], [], []
    for loan in book:
        origin = {"event_on": loan.opened_on, "known_at": loan.known_at, "borrower_id": f"b{loan.loan_id}"}
        borrowers.append(origin)
        rate = None if loan.annual_rate is None else Decimal(str(loan.annual_rate))
        amounts = {"original_amount": money(loan.original), "opened_on": loan.opened_on, "annual_rate": rate}
        loans.append(origin | amounts | {"loan_id": loan.loan_id, "product": "loan", "currency": "EUR"})
        for i in loan.instalments:
            parts = {"amount": money(i.amount), "principal": money(i.principal), "interest": money(i.interest)}
            when = {"valid_from": i.valid_from, "due_on": i.due_on, "event_on": i.valid_from, "known_at": i.known_at}
            schedules.append(parts | when | {"loan_id": loan.loan_id, "instalment_no": i.no, "until": i.until})
        for p in loan.payments:
            when = {"paid_on": p.paid_on, "event_on": p.paid_on, "known_at": p.known_at, "until": p.until}
            what = {"payment_id": p.number, "loan_id": loan.loan_id, "amount": money(p.amount), "currency": "EUR"}
            payments.append(when | what)
        for e in loan.events:
            when = {"occurred_on": e.occurred_on, "event_on": e.occurred_on, "known_at": e.known_at}
            events.append(when | {"loan_id": loan.loan_id, "kind": e.kind})
    payments.append(payments[0] | {"payment_id": "suspense", "loan_id": "nobody"})
    rows = {"borrowers": borrowers, "loans": loans, "schedules": schedules, "payments": payments}
    rows["loan_events"] = events
    return lined(rows, lineage)


def lined(rows: dict[str, list[dict]], lineage: dict) -> dict[str, pl.DataFrame]:
    """Convert rows to canonical tables, and add the table `superseded`.

    `rows` contains the rows of each table as dicts, and `lineage` the values that all rows share. Each row gets its
    position in its table as `line_no`.

    Payments, schedule rows or statements with the same key are versions of one row. `superseded` has an entry for each
    pair of an older and a newer version. Versions are ordered by the date on which they became known, and then by
    `until`, the date on which they were replaced.
    """
    keys = {
        "payments": ("payment_id",),
        "schedules": ("loan_id", "valid_from", "instalment_no"),
        "statements": ("loan_id", "month_on"),
    }
    placed = {t: [lineage | {"line_no": n} | row for n, row in enumerate(found)] for t, found in rows.items()}
    placed["superseded"] = []
    for table, key in keys.items():
        versions = defaultdict(list)
        for row in placed.get(table, []):
            versions[tuple(row[c] for c in key)].append(row)
        for of_one in versions.values():
            in_order = sorted(of_one, key=lambda row: (row["known_at"], row["until"] or dt.date.max))
            for old, new in combinations(in_order, 2):
                place = {"old_delivery_id": old["delivery_id"], "old_line_no": old["line_no"], "table_name": table}
                when = {c: new[c] for c in ("event_on", "known_at", "line_no")}
                placed["superseded"].append(lineage | when | place)
    return {table: pl.DataFrame(placed.get(table, []), schema=raw_schema(table)) for table in CANONICAL}


def write_selection(tables: dict[str, pl.DataFrame], selection: Path, source: str) -> None:
    """Write the tables to the folders from which dbt reads the rows of a source."""
    for table, frame in tables.items():
        folder = selection / source / table
        folder.mkdir(parents=True)
        frame.with_columns(source=pl.lit(source)).write_parquet(folder / "rows.parquet")
