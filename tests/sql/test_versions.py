"""A corrected row: staging shows its newest version, and the one before to whoever asks as of before."""

import datetime as dt
from dataclasses import replace

import duckdb
import polars as pl
from simulated_support import simulated_in

from dagster_project.dbt_project import run_dbt
from dagster_project.ingestion.deliver import ingest
from dagster_project.ingestion.lake import select

FIRST, SECOND = dt.datetime(2026, 1, 2), dt.datetime(2026, 1, 9)


def test_newest_version_is_staged_and_the_older_one_as_of_before(tmp_path):
    (tmp_path / "home").mkdir()
    pipeline = simulated_in(tmp_path / "home")
    source = pipeline.sources["simulated"]
    tables = tuple(replace(t, corrections=t.name == "payments") for t in source.contract.tables)
    source = replace(source, contract=replace(source.contract, tables=tables))
    landing = pipeline.settings.landing / "simulated"
    landing.mkdir(parents=True)
    head = ",".join(source.contract.layout_of("payments-2024-01-01.csv").schema)
    for day, when, rows in (
        ("01", FIRST, ["1,7,2024-01-01,5.00,EUR,transfer,,2024-01-01", "2,7,2024-01-01,6.00,EUR,cash,,2024-01-01"]),
        ("05", SECOND, ["1,7,2024-01-01,5.50,EUR,transfer,,2024-01-05"]),
    ):
        (landing / f"payments-2024-01-{day}.csv").write_text("\n".join([head, *rows, ""]))
        ingest(source, pipeline.border, when)
    receipts = pipeline.border.book.all()
    select(pipeline.settings.lake, pipeline.settings.selection, "simulated", receipts)

    def staged(as_of: dt.datetime) -> dict[str, float]:
        build = ["build", "--select", "stg_payments"]
        done = run_dbt(pipeline.settings, pipeline.policy, build, quiet=True, known_as_of=str(as_of))
        assert done.returncode == 0, done.stdout[-3000:]
        with duckdb.connect(str(pipeline.settings.warehouse_file), read_only=True) as db:
            rows = db.sql("select payment_id, amount from staging.stg_payments").pl()
        return dict(rows.with_columns(pl.col("amount").cast(pl.Float64)).sort("payment_id").rows())

    assert staged(SECOND) == {"1": 5.5, "2": 6}
    assert staged(FIRST) == {"1": 5, "2": 6}
