"""The test that staging keeps all versions of a corrected row, each with the date on which it was superseded.

A build as of an earlier instant must show only the versions that had been ingested by then.
"""

import datetime as dt
from dataclasses import replace

import duckdb

from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import select
from dagster_project.warehouse.runner import run_dbt
from support.simulated import simulated_in

FIRST, SECOND, THIRD = (dt.datetime(2026, 1, day) for day in (2, 9, 16))


def test_each_version_is_staged_until_the_next_and_the_older_one_as_of_before(tmp_path):
    (tmp_path / "home").mkdir()
    pipeline = simulated_in(tmp_path / "home")
    source = pipeline.sources["simulated"]
    tables = tuple(replace(t, corrections=t.name == "payments") for t in source.contract.tables)
    source = replace(source, contract=replace(source.contract, tables=tables))
    landing = pipeline.settings.landing / "simulated"
    landing.mkdir(parents=True)
    head = ",".join(source.contract.layout_of("payments-2024-01-01.csv").schema)
    payment = "{},7,2024-01-01,{},EUR,transfer,,2024-01-{}".format
    for day, when, rows in (
        ("01", FIRST, [payment(1, "5.00", "01"), payment(2, "6.00", "01")]),
        ("09", SECOND, [payment(1, "5.90", "09")]),
        ("05", THIRD, [payment(1, "5.50", "05")]),  # known before the one that arrived before it
    ):
        (landing / f"payments-2024-01-{day}.csv").write_text("\n".join([head, *rows, ""]))
        ingest(source, pipeline.ingest_context, when)
    receipts = pipeline.ingest_context.book.all()
    select(pipeline.settings.lake, pipeline.settings.selection, "simulated", receipts)

    def staged(as_of: dt.datetime) -> list[tuple[str, float, int, int | None]]:
        build = ["build", "--full-refresh", "--select", "base_payments", "stg_payments"]
        build += ["--indirect-selection", "cautious"]  # other staging models are not there
        done = run_dbt(pipeline.settings, pipeline.policy, build, quiet=True, known_as_of=str(as_of))
        assert done.returncode == 0, done.stdout[-3000:]
        with duckdb.connect(str(pipeline.settings.warehouse_file), read_only=True) as db:
            return db.sql(
                "select payment_id, amount::double, day(known_on), day(superseded_on)"
                " from staging.stg_payments order by all"
            ).fetchall()

    assert staged(THIRD) == [("1", 5, 1, 5), ("1", 5.5, 5, 9), ("1", 5.9, 9, None), ("2", 6, 1, None)]
    assert staged(SECOND) == [("1", 5, 1, 9), ("1", 5.9, 9, None), ("2", 6, 1, None)]
    assert staged(FIRST) == [("1", 5, 1, None), ("2", 6, 1, None)]
