"""Tests of how quarantined rows are shown in Dagster and on the command line: with counts and places, but no values."""

import datetime as dt
import io
import json

import dagster as dg
import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.definitions import build_defs
from dagster_project.defs.asset_keys import QUARANTINE_ASSET
from dagster_project.defs.instance import open_instance
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.quarantine import held
from dagster_project.reporting.summary import held_rows
from support.homes import pipeline_in

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
AMOUNT = "4711.0815"


@pytest.fixture
def home(tmp_path):
    """Return a home with three quarantine entries.

    One row has an invalid amount, one row contradicts an accepted row, and one file has an unexpected column.
    """
    home = tmp_path / "home"
    pipeline = pipeline_in(home)
    source = pipeline.sources["simulated"]
    landing = home / "landing/simulated"
    landing.mkdir(parents=True)
    head = ",".join(source.contract.layout_of("payments-1.csv").schema)
    row = "{},7,2024-01-01,{},EUR,transfer,,2024-01-01"
    good = [row.format(n, "5.00") for n in range(200)]
    (landing / "payments-1.csv").write_text("\n".join([head, *good, row.format(999, AMOUNT), ""]))
    (landing / "payments-2.csv").write_text("\n".join([head, row.format(1, "6.00"), ""]))
    (landing / "payments-3.csv").write_text("\n".join([head + ",note", row.format(2000, "5.00") + ",x", ""]))
    ingest(source, pipeline.ingest_context, NOW)
    return home


def run(home, *arguments):
    done = CliRunner().invoke(app, arguments, env={"CREDITLOOM_HOME": str(home)})
    assert AMOUNT not in done.output
    return done


def test_asset_shows_counts_and_warns(home):
    pipeline = pipeline_in(home)
    asset = dg.AssetKey(QUARANTINE_ASSET)
    with open_instance(pipeline.settings) as instance:
        job = build_defs(pipeline).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, asset_selection=[asset])
        assert result.success
        (event,) = result.asset_materializations_for_node("quarantine__held_rows")
        shown = event.metadata["by source and rule"].value
        checks = {e.check_name: (e.passed, e.severity) for e in result.get_asset_check_evaluations()}
    for rule in ("amount:money", "conflict", "schema_drift"):
        assert f"| simulated | {rule} | 1 | 1 | 0 |" in shown
    assert (event.metadata["open lines"].value, event.metadata["dagster/row_count"].value) == (3, 3)
    warn = dg.AssetCheckSeverity.WARN
    assert checks == {"no_conflict": (False, warn), "no_schema_drift": (False, warn)}
    written = pl.read_parquet(event.metadata["path"].value)
    assert written.columns == [c.name for c in event.metadata["dagster/column_schema"].value.columns]
    assert {"minor", "sealed_row"}.isdisjoint(written.columns)


def test_commands_list_and_take_back(home):
    listed = json.loads(run(home, "quarantine", "--source", "simulated", "--json").output)["held"]
    assert [(r["file_name"], r["line_no"], r["rule"], r["state"]) for r in listed] == [
        ("payments-1.csv", 202, "amount:money", "open"),
        ("payments-2.csv", 2, "conflict", "open"),
        ("payments-3.csv", 0, "schema_drift", "open"),
    ]
    one = json.loads(run(home, "quarantine", "--delivery", listed[1]["delivery_id"][:6], "--json").output)["held"]
    assert one == listed[1:2]
    assert run(home, "readmit", "--source", "nobody", "--json").exit_code == 2
    assert json.loads(run(home, "readmit", "--json").output) == {"exit": 0, "readmitted": [], "originals_gone": []}


def test_list_says_where_and_why(home):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(held_rows(held(pipeline_in(home).ingest_context)))
    text = console.export_text()
    for place in ("simulated/payments-1.csv", "202", "all 1", "amount is no amount with at most 2 decimals"):
        assert place in text
    assert AMOUNT not in text
