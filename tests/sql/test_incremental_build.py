"""Tests that a build that processes only new files gives the same tables as a full build, to the byte.

This must be true for any order in which the files arrive.
"""

import datetime as dt
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import select
from dagster_project.night.incremental_build import begin_build, end_build
from dagster_project.night.pipeline import Pipeline
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.warehouse.runner import run_dbt
from support.simulated import correct, opened_later, simulated_in, with_corrections

SOURCE = "simulated"
SEED = int(os.environ.get("SEED", "1"))
MARTS = ("fct_loan_months", "fct_defaults", "fct_payments", "feat_loan_months", "label_loan_months", "dim_loans")


@pytest.fixture
def book(tmp_path) -> Path:
    """Return a landing folder with the files of a book, none of which has been ingested.

    The book has planted faults, late rows and corrected rows.
    """
    clean = Plan(150, 14, seed=SEED, deferral_month=6)
    simulate(clean, tmp_path / "clean")
    simulate(replace(clean, dirt=True, redeliver=True), tmp_path / "book")
    correct(tmp_path / "clean/landing" / SOURCE, tmp_path / "book/landing" / SOURCE, every=7)
    # So late that it has no months any more.
    opened_later(tmp_path / "clean/landing" / SOURCE, tmp_path / "book/landing" / SOURCE, dt.date(2019, 5, 20))
    return tmp_path / "book/landing" / SOURCE


@pytest.mark.parametrize("nights", [4, pytest.param(30, marks=pytest.mark.long)])
def test_nights_in_any_order_end_where_one_full_build_does(book, tmp_path, nights):
    """Several nights with files in random order give the same tables, to the byte, as one full build of all files.

    The first night takes in at least half of the files. Because the files are shuffled, later nights also bring early
    months.
    """
    home = tmp_path / "home"
    home.mkdir()
    pipeline = with_corrections(simulated_in(home), "loans")
    files = sorted(book.iterdir())
    chance = random.Random(SEED)
    chance.shuffle(files)
    bounds = [0, *sorted(chance.sample(range(len(files) // 2, len(files)), nights - 1)), len(files)]
    computed = []
    for number, (begin, end) in enumerate(pairwise(bounds)):
        is_full = night(pipeline, files[begin:end], number)
        assert is_full == (number == 0)
        computed.append(count(pipeline, "intermediate.int_ledger_to_rebuild"))
    assert count(pipeline, "marts.fct_defaults") > 3
    found = published(pipeline, tmp_path / "news")
    assert count(pipeline, "staging.stg_payments where superseded_on is not null") > 20
    superseded_months = "intermediate.int_loan_months where superseded_on is not null"
    assert count(pipeline, superseded_months) > 50, "months with the version of then and the version of now"
    assert min(computed[1:]) < computed[0], "some night has less to do than all"
    assert build(pipeline, full=True)
    listed, numbered = (count(pipeline, f"intermediate.int_ledger_{name}") for name in ("to_rebuild", "loans"))
    assert listed > numbered > 100
    assert published(pipeline, tmp_path / "full") == found


def test_nothing_new_is_nothing_to_compute_and_a_changed_rule_is_all(book, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    pipeline = simulated_in(home)
    assert night(pipeline, sorted(book.iterdir()), 0)
    assert not build(pipeline)
    assert count(pipeline, "intermediate.int_ledger_to_rebuild") == 0
    assert count(pipeline, "marts.feat_loan_months") > 500
    changed = simulated_in(home, observe_from_month=2)
    with duckdb.connect(str(changed.settings.warehouse_file)) as db:
        db.execute("create table intermediate.of_older_code as select 1 as one")
    (changed.settings.warehouse / "of_older_code").mkdir()
    assert build(changed), "another policy counts for all months"
    assert count(changed, "duckdb_tables() where table_name = 'of_older_code'") == 0
    assert not (changed.settings.warehouse / "of_older_code").exists()
    line = [sys.executable, "-m", "dagster_project.cli", "dbt", "ls", "--quiet"]
    given = {"CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(home / "policy.yaml")}
    subprocess.run(line, env=os.environ | given, check=True, capture_output=True)
    assert build(changed), "who runs dbt by hand may have built some models on some loans"
    assert not begin_build(changed).is_full
    assert begin_build(changed).is_full, "a build that did not end well counts for nothing"


def night(pipeline: Pipeline, files: list[Path], number: int) -> bool:
    landing = pipeline.settings.landing / SOURCE
    landing.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, landing)
    ingest(
        pipeline.sources[SOURCE], pipeline.ingest_context, dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(number)
    )
    return build(pipeline)


def build(pipeline: Pipeline, *, full: bool = False) -> bool:
    """Build the warehouse as a night does, and return whether this was a full build.

    If `full` is true, a full build runs even if only some files are new.
    """
    settings = pipeline.settings
    select(settings.lake, settings.selection, SOURCE, pipeline.receipts(SOURCE))
    start = begin_build(pipeline)
    is_full = start.is_full or full
    # What is added is computed in other batches than the whole.
    how = (["--full-refresh"], {}) if is_full else ([], {"loans_per_batch": 40})
    done = run_dbt(settings, pipeline.policy, ["run", *how[0]], quiet=True, **how[1])
    assert done.returncode == 0, done.stdout[-3000:]
    end_build(pipeline, replace(start, built_on=None) if is_full else start)
    return is_full


def count(pipeline: Pipeline, table: str) -> int:
    with pipeline.read_warehouse() as db:
        return int(db.execute(f"select count(*) from {table}").fetchall()[0][0])


def published(pipeline: Pipeline, folder: Path) -> dict[str, bytes]:
    """Write the marts in `MARTS` and the loan months to sorted Parquet files, and return their bytes by table name.

    The files are in `folder`, which must not exist yet.
    """
    folder.mkdir()
    found = {}
    for name in (*(f"marts.{mart}" for mart in MARTS), "intermediate.int_loan_months"):
        with duckdb.connect(str(pipeline.settings.warehouse_file), read_only=True) as db:
            db.execute(f"copy (select * from {name} order by all) to '{folder / name}.parquet' (format parquet)")
        found[name] = (folder / f"{name}.parquet").read_bytes()
    return found
