"""Tests that a complete night accounts for every fault that the simulator planted in a book.

They take minutes, so they run only with `make truth`, and not in CI.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import duckdb
import polars as pl
import pytest

from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.quarantine import WHOLE_FILE
from dagster_project.night.pipeline import Pipeline
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.snapshots.snapshot import current_snapshot
from support.simulated import simulated_in

pytestmark = pytest.mark.long

LOANS, MONTHS, SEED = 20_000, 8, int(os.environ.get("SEED", "9"))


@dataclass(frozen=True)
class Night:
    """The result of one night on a book with planted faults.

    `held`: the quarantined rows and the files that were refused as a whole. `planted`: the simulator's list of the
    planted faults, with one row per fault.
    """

    pipeline: Pipeline
    held: pl.DataFrame
    planted: pl.DataFrame


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Night:
    home = tmp_path_factory.mktemp("planted") / "home"
    simulate(Plan(LOANS, MONTHS, SEED, opened_within=1, dirt=True, redeliver=True), home)
    shutil.move(home / "truth", home.parent / "truth")  # a night has none
    pipeline = simulated_in(home)
    environment = os.environ | {"CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(pipeline.settings.policy)}
    line = [sys.executable, "-m", "dagster_project.cli", "night", "--source", "simulated"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    held = pl.read_parquet(pipeline.settings.build / "held_rows.parquet")
    return Night(pipeline, held, pl.read_parquet(home.parent / "truth/dirt.parquet"))


def test_planted_is_found_by_class(night):
    """The night finds exactly as many faults of each class as were planted.

    The faults that were found are counted in the table of held rows, in the receipts and in the published payments.
    """
    rows = night.held.filter(pl.col("line_no") != WHOLE_FILE).select("rule").to_series().to_list()
    whole = night.held.filter(pl.col("line_no") == WHOLE_FILE).select("rule").to_series().to_list()
    receipts = night.pipeline.ingest_context.book.all()
    again = [r for r in receipts if r.state is State.DUPLICATE and str(r.reason).startswith("same content")]
    repeated = {r.file_name for r in receipts if r.duplicate_rows and r not in again}
    snapshot = current_snapshot(night.pipeline.settings.home / "published")
    with duckdb.connect() as db:
        payments = f"read_parquet('{snapshot.folder}/fct_payments.parquet')"
        in_suspense = {p for (p,) in db.sql(f"select payment_id from {payments} where in_suspense").fetchall()}
    planted = night.planted
    expected = planted.filter(~pl.col("expected").is_in(["ACCEPTED", "duplicate_row", "suspense", "late", "DUPLICATE"]))
    assert Counter([*rows, *whole]) == Counter(expected["expected"].to_list())
    assert len(again) == planted.filter(pl.col("expected") == "DUPLICATE").height
    assert repeated == set(planted.filter(pl.col("expected") == "duplicate_row")["file"])
    assert in_suspense == set(planted.filter(pl.col("expected") == "suspense")["key"])
    assert planted["fault"].n_unique() > 30


def test_planted_is_found_where_it_was_planted(night):
    """The night quarantines exactly the lines and files with planted faults, each by the expected rule."""
    found = set(night.held.select("file_name", "line_no", "rule").rows())
    expected = night.planted.filter(
        ~pl.col("expected").is_in(["ACCEPTED", "duplicate_row", "suspense", "late", "DUPLICATE"])
    )
    assert found == set(expected.select("file", pl.col("line").fill_null(WHOLE_FILE), "expected").rows())


def test_every_line_and_cent_is_accounted_for(night):
    receipts = night.pipeline.ingest_context.book.all()
    for unit in ("rows", "minor"):
        sums = {
            w: sum(getattr(r, f"{w}_{unit}") for r in receipts)
            for w in ("landed", "accepted", "quarantined", "duplicate")
        }
        assert sums["landed"] == sums["accepted"] + sums["quarantined"] + sums["duplicate"] != 0
        assert min(sums.values()) > 0
