"""Tests of Dagster's definitions: which assets, checks, jobs and schedules exist, and what loading them must not do."""

import os
import subprocess
import sys

import dagster as dg
import pytest

from dagster_project.definitions import build_defs
from dagster_project.defs.asset_keys import guarded_asset
from dagster_project.defs.jobs import NIGHTLY
from dagster_project.home.locks import home_lock
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.night.guards import guards_of
from support.homes import pipeline_in


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return pipeline_in(tmp_path_factory.mktemp("definitions"))


@pytest.fixture(scope="module")
def defs(pipeline):
    return build_defs(pipeline)


def test_assets_read_as_the_way_of_a_payment(defs):
    graph = defs.resolve_asset_graph()
    groups = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(graph.get(key).group_name, set()).add(key.to_user_string())
    assert set(groups) == {
        "landing",
        "raw",
        "quarantine",
        "staging",
        "intermediate",
        "marts",
        "model",
        "scores",
        "portfolio",
        "early_warning",
        "published",
    }
    tables = {
        "taiwan_cards": ("borrowers", "borrower_attributes", "loans", "statements", "payments", "outcomes"),
        "ally_auto": ("borrowers", "loans", "statements", "payments"),
        "simulated": tuple(t.name for t in load_sources()["simulated"].contract.tables),
    }
    assert groups["landing"] == {f"landing/{source}" for source in tables}
    assert groups["raw"] == {f"raw/{source}/{t}" for source, names in tables.items() for t in names}
    assert groups["model"] == {f"model/{source}/{a}" for source in tables for a in ("training_set", "champion")}
    parents_of = lambda model: {k.to_user_string() for k in graph.get(dg.AssetKey(["warehouse", model])).parent_keys}
    assert parents_of("stg_payments") == {"warehouse/base_payments"}
    assert parents_of("base_payments") == {
        "raw/taiwan_cards/payments",
        "raw/ally_auto/payments",
        "raw/simulated/payments",
    }
    raw = dg.AssetKey(["raw", "taiwan_cards", "payments"])
    snapshot = dg.AssetKey(["published", "snapshot"])
    assert {k.to_user_string() for k in graph.get(raw).parent_keys} == {"landing/taiwan_cards"}
    assert snapshot in dg.AssetSelection.assets(raw).downstream().resolve(graph)
    assert all(graph.get(k).description for k in graph.get_all_asset_keys())


def test_every_critical_check_blocks(defs, pipeline):
    graph = defs.resolve_asset_graph()
    declared = {(guarded_asset(g), c.name): c.severity for g in guards_of(pipeline) for c in g.suite.checks}
    found = {(tuple(k.asset_key.path), k.name): graph.get_check_spec(k) for k in graph.asset_check_keys}
    assert declared.keys() <= found.keys()
    for key, severity in declared.items():
        assert found[key].blocking == (severity == "critical"), key


def test_schedule_runs_the_night_at_two_in_the_settings_time_zone(defs, pipeline):
    schedule = defs.resolve_schedule_def("every_night")
    assert schedule.job_name == NIGHTLY
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", pipeline.settings.timezone)
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_job_runs_in_one_process(defs):
    assert defs.resolve_job_def(NIGHTLY).executor_def.name == "in_process"


def test_landing_days_of_a_source_are_its_partitions_and_a_job_loads_them(defs):
    graph = defs.resolve_asset_graph()
    partitioned = {k.to_user_string(): graph.get(k).partitions_def for k in graph.get_all_asset_keys()}
    assert {k: p.name for k, p in partitioned.items() if p} == {
        f"landing/{source}": f"landing_day_{source}" for source in ("taiwan_cards", "ally_auto", "simulated")
    }
    job = defs.resolve_job_def("load_ally_auto")
    assert job.asset_layer.selected_asset_keys == {dg.AssetKey(["landing", "ally_auto"])}


def test_dagster_modules_of_the_workspace_load_and_slow_imports_wait(tmp_path):
    """Loading the definitions in a new process does not import any of the slow packages."""
    slow = ["great_expectations", "mlflow", "xgboost", "sklearn", "matplotlib", "pandas"]
    code = (
        "import sys, dagster_project.definitions as d; "
        f"n = len(list(d.defs().assets)); print(n, [m for m in {slow} if m in sys.modules])"
    )
    environment = os.environ | {"CREDITLOOM_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]", "imported while loading"


def test_importing_the_module_touches_no_home(tmp_path):
    environment = os.environ | {"CREDITLOOM_HOME": str(tmp_path / "untouched")}
    code = "import dagster_project.definitions"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "untouched").exists()


def test_tick_skips_where_nothing_is_new_and_runs_where_a_file_waits(home_after_night):
    pipeline = pipeline_in(home_after_night)
    schedule = build_defs(pipeline).resolve_schedule_def("every_night")
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert not tick.run_requests
    assert "nothing new" in tick.skip_message
    (home_after_night / "landing/taiwan_cards/new.csv").write_text("x")
    assert len(schedule.evaluate_tick(dg.build_schedule_context()).run_requests) == 1
    with home_lock(home_after_night):  # as the night that the landing sensor began
        assert "is running" in schedule.evaluate_tick(dg.build_schedule_context()).skip_message


def test_dg_check_defs_is_clean(tmp_path):
    from pathlib import Path

    environment = os.environ | {"CREDITLOOM_HOME": str(tmp_path)}
    dg_command = str(Path(sys.executable).with_name("dg"))
    done = subprocess.run(
        [dg_command, "check", "defs"], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr
