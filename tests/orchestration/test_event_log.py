"""Tests of the event log that keeps its connections open: it stores the same events as Dagster's own event log."""

import hashlib
import inspect
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from dagster_project.defs.event_log import KeptEventLog, batch_of_events
from dagster_project.defs.instance import open_instance
from support.homes import pipeline_in

DAYS = [f"2020-01-{day:02}" for day in range(1, 11)]
KEY = dg.AssetKey("landing")


@pytest.fixture
def instance(tmp_path) -> Iterator[dg.DagsterInstance]:
    """Return the Dagster instance of a new home."""
    with open_instance(pipeline_in(tmp_path).settings) as instance:
        yield instance


def log_of(instance: dg.DagsterInstance) -> KeptEventLog:
    log = instance.event_log_storage
    assert isinstance(log, KeptEventLog)
    return log


@dg.asset(key=KEY, partitions_def=dg.DynamicPartitionsDefinition(name="days"))
def landing(context: dg.AssetExecutionContext) -> None:
    """Report ten partitions as materialized in one batch, as a night does."""
    with batch_of_events(context.instance):
        for day in DAYS:
            context.log_event(dg.AssetMaterialization(KEY, partition=day))


@dg.asset_check(asset=KEY)
def days_are_whole() -> dg.AssetCheckResult:
    """Return a check result that has passed."""
    return dg.AssetCheckResult(passed=True)


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("days", ["2020-01-31"])
    definitions = dg.Definitions(assets=[landing], asset_checks=[days_are_whole])
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, partition_key="2020-01-31")


def test_replaced_method_is_the_one_this_was_written_for():
    """Dagster's method `_connect`, which `KeptEventLog` overrides, is the version that the override was written for.

    The parameters of Dagster's constructor are also unchanged. If this test fails, Dagster was upgraded. Compare
    Dagster's `_connect` with `KeptEventLog._connect`, adapt the latter if necessary, and put the new hash into this
    test.
    """
    text = inspect.getsource(SqliteEventLogStorage._connect)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "b8435f2665689760"
    takes = inspect.signature(SqliteEventLogStorage.__init__).parameters
    assert list(takes) == ["self", "base_dir", "inst_data"]


def test_dagsters_own_class_reads_the_same_events(instance, tmp_path):
    result = run(instance)
    assert result.success
    own = SqliteEventLogStorage(log_of(instance)._base_dir)
    own.register_instance(instance)
    theirs = own.get_records_for_run(result.run_id).records
    ours = log_of(instance).get_records_for_run(result.run_id).records
    assert [r.event_log_entry for r in theirs] == [r.event_log_entry for r in ours] and len(ours) > 20
    assert own.get_materialized_partitions(KEY) == {*DAYS, "2020-01-31"}
    (check,) = own.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "days_are_whole"), limit=5)
    assert check.status.value == "SUCCEEDED"


def test_other_process_reads_and_writes_while_the_connection_is_open(instance):
    """Another process can read and write events while this process keeps its connection open.

    The UI and the daemon of Dagster use the same databases as a night.
    """
    run(instance)
    code = (
        "import dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        f"    assert instance.get_latest_materialization_event(dg.AssetKey({KEY.path!r}))\n"
        "    instance.report_runless_asset_event(dg.AssetMaterialization('other'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert instance.get_latest_materialization_event(dg.AssetKey("other"))
    assert run(instance).success


def test_batch_that_fails_stores_none_of_its_events(instance):
    instance.report_runless_asset_event(dg.AssetMaterialization("before"))
    with pytest.raises(RuntimeError, match="stopped"), batch_of_events(instance):
        instance.report_runless_asset_event(dg.AssetMaterialization("inside"))
        raise RuntimeError("stopped")
    instance.report_runless_asset_event(dg.AssetMaterialization("after"))
    before, inside, after = (
        instance.get_latest_materialization_event(dg.AssetKey(name)) for name in ("before", "inside", "after")
    )
    assert before and after and inside is None


def test_old_connections_are_closed(instance):
    for _ in range(6):
        run(instance)
    assert len(log_of(instance)._kept) == 4
    assert len(instance.get_runs()) == 6
