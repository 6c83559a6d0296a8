"""Tests of backfills over a range of landing days, on a book that is too young for a model.

The days are loaded one by one, or replayed with one night per day. Some backfills are killed and started again.
"""

import datetime as dt
import json
import os
import shutil
import signal
import time

import dagster as dg
import polars as pl
import pytest
import yaml

from dagster_project.defs.asset_keys import landing_asset
from dagster_project.defs.instance import open_instance
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import warehouse_is_published
from dagster_project.operations.run_night import Exit, run_night
from dagster_project.snapshots.snapshot import current_snapshot
from support.young_lender import MONTH_ENDS, POLICY, command, lender, pipeline_of


def filled(pipeline: Pipeline) -> set[str]:
    """Return the landing days of the young lender that Dagster shows as materialized, in the form YYYY-MM-DD."""
    with open_instance(pipeline.settings) as instance:
        return instance.get_materialized_partitions(dg.AssetKey(landing_asset("young_lender")))


@pytest.mark.long
def test_backfill_that_was_killed_goes_on_and_ends_as_one_load_does(tmp_path):
    at_once = run_night(lender(tmp_path / "at-once"))
    assert at_once.exit is Exit.PUBLISHED, at_once.failures

    pipeline = lender(tmp_path / "cut-off")
    with command(pipeline.settings.home, "backfill", "--json") as run:
        while len(pipeline.ingest_context.book.all()) < 4:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
    taken_in = len(pipeline.ingest_context.book.all())
    assert taken_in < 11
    with command(pipeline.settings.home, "backfill", "--json") as run:
        said = json.loads(run.communicate()[0].splitlines()[-1])
    assert said["exit"] == 0
    assert said["snapshot_sha256"] == at_once.snapshot.sha256
    assert [r.state for r in pipeline.ingest_context.book.all()] == ["ACCEPTED"] * 11
    with open_instance(pipeline.settings) as instance:
        days = set(instance.get_dynamic_partitions("landing_day_young_lender"))
    assert {str(end + dt.timedelta(days=3)) for end in MONTH_ENDS} < days
    # The day whose run was killed after its receipt is the one that may lack its mark.
    assert len(days - filled(pipeline)) <= 1


def test_range_is_loaded_and_what_is_outside_goes_on_waiting(tmp_path):
    pipeline = lender(tmp_path / "home")
    with command(pipeline.settings.home, "backfill", "--from", "2024-03-01", "--to", "2024-05-31", "--json") as run:
        said = json.loads(run.communicate()[0].splitlines()[-1])
    assert said["exit"] == 0
    assert [r.file_name for r in pipeline.ingest_context.book.all()] == ["2024-02.csv", "2024-03.csv", "2024-04.csv"]
    assert len(list((pipeline.settings.landing / "young_lender").iterdir())) == 8
    assert filled(pipeline) == {"2024-03-03", "2024-04-03", "2024-05-03"}
    assert run_night(pipeline).exit is Exit.PUBLISHED
    assert len(filled(pipeline)) == 11


@pytest.mark.long
def test_young_book_is_published_unscored_and_its_replay_only_goes_forward(tmp_path):
    """A book that is too young for a model is published without scores, and a replay cannot go back in time.

    A replayed night publishes only what was known on its day. A night on a day before the last replayed day, or on a
    day in the future, is refused. A night that is rebuilt as of an earlier day does not change the current snapshot,
    and its warehouse does not count as published.
    """
    pipeline = lender(tmp_path / "home")
    with command(pipeline.settings.home, "backfill", "--replay", "--to", "2024-04-30") as run:
        said, complaint = run.communicate()
    assert run.returncode == 0, complaint
    assert "young_lender is not scored" in said
    snapshot = current_snapshot(pipeline.settings.published)
    assert snapshot.metrics()["model.young_lender.state"].startswith("not enough history: 0 usable observations")
    assert pl.read_parquet(snapshot.folder / "scores.parquet").is_empty()
    months = pl.read_parquet(snapshot.folder / "fct_loan_months.parquet")["month_on"]
    assert months.unique().sort().to_list() == MONTH_ENDS[:3]
    assert [str(r.ingested_at.date()) for r in pipeline.ingest_context.book.all()] == [
        "2024-01-05", "2024-02-03", "2024-03-03", "2024-04-03"
    ]  # fmt: skip
    late = pipeline.settings.landing / "young_lender/2024-01.csv"
    late.write_text((pipeline.settings.landing / "young_lender/2024-05.csv").read_text())
    with command(pipeline.settings.home, "night", "--on", "2024-02-04") as run:
        _, complaint = run.communicate()
    assert run.returncode == 2
    assert "a replay only goes forward" in " ".join(complaint.split())
    assert late.exists()
    with command(pipeline.settings.home, "night", "--on", "2999-01-01", "--json") as run:
        assert json.loads(run.communicate()[0])["exit"] == run.wait() == 2

    rebuilt = run_night(pipeline_of(pipeline.settings.home, known_as_of=dt.datetime(2024, 3, 10)))
    assert rebuilt.exit is Exit.PUBLISHED, rebuilt.failures
    months = pl.read_parquet(rebuilt.snapshot.folder / "fct_loan_months.parquet")["month_on"]
    assert months.unique().sort().to_list() == MONTH_ENDS[:2]
    assert current_snapshot(pipeline.settings.published).sha256 == snapshot.sha256
    assert not warehouse_is_published(pipeline), "nobody may learn from what was rebuilt"


@pytest.mark.long
def test_source_that_lost_its_months_is_not_published(tmp_path):
    """A source that suddenly has no loan months is not published, and the previous snapshot stays current.

    Here the policy changes the arrears basis to `ledger`, but the source delivers no schedules. A check of rows would
    not notice this, because an empty table passes every such check.
    """
    pipeline = lender(tmp_path / "home")
    before = run_night(pipeline).snapshot
    policy = tmp_path / "home/policy.yaml"
    ledger = {k: v for k, v in POLICY.items() if k != "write_off_min"} | {
        "arrears_basis": "ledger",
        "default_dpd_min": 90,
    }
    values = yaml.safe_load(policy.read_text()) | {"sources": {"young_lender": ledger}}
    policy.write_text(yaml.safe_dump(values, sort_keys=False))
    result = run_night(pipeline_of(tmp_path / "home"))
    assert result.exit is not Exit.PUBLISHED
    assert current_snapshot(pipeline.settings.published).sha256 == before.sha256


def test_book_without_a_day_in_its_name_belongs_to_every_range(tmp_path):
    """A backfill of a range also takes in a file without a date in its name, and reports any quarantined file.

    The file without a date is the loan book. Statements are useless without the loans that they refer to.
    """
    pipeline = lender(tmp_path / "home")
    landing = pipeline.settings.landing / "young_lender"
    (landing / "book-2024-01-02.csv").rename(landing / "book-all.csv")
    (landing / "2024-02.csv").write_text("loan,end,open,paid\nL0,2024-02-29,900.00,ten\n")
    with command(pipeline.settings.home, "backfill", "--from", "2024-02-01", "--to", "2024-03-31", "--json") as run:
        said = json.loads(run.communicate()[0].splitlines()[-1])
    assert said["exit"] == 0
    assert {d["file"]: d["state"] for d in said["deliveries"]} == {
        "book-all.csv": "ACCEPTED", "2024-01.csv": "ACCEPTED", "2024-02.csv": "QUARANTINED"
    }  # fmt: skip


@pytest.mark.parametrize(
    "options", [("--from", "2024-06-01", "--to", "2024-01-01"), ("--from", "2030-01-01", "--replay")]
)
def test_range_that_cannot_be_is_a_usage_error(tmp_path, options):
    pipeline = lender(tmp_path / "home")
    with command(pipeline.settings.home, "backfill", *options, "--json") as run:
        assert json.loads(run.communicate()[0])["exit"] == run.wait() == 2
    assert pipeline.ingest_context.book.all() == []


def test_scores_of_a_night_without_a_model_have_the_shape_of_scores(first_night, pipeline):
    from ml.score import no_scores

    scores = pl.read_parquet(first_night / "published/current/scores.parquet")
    assert no_scores(pipeline.policy.reasons).schema == scores.schema


@pytest.mark.parametrize(
    ("config", "says"),
    [({"on": "today"}, "write a day as"), ({"on": "2024-01-01", "known_as_of": "2024-01-01"}, "not both")],
)
def test_night_config_that_says_nothing_usable_is_refused(pipeline, config, says):
    from dagster_project.defs.resources import NightConfigError, build_night_resource

    with pytest.raises(NightConfigError, match=says):
        list(build_night_resource(pipeline).resource_fn(dg.build_init_resource_context(config=config)))


def test_rebuild_may_be_asked_for_in_the_config_of_a_run(home_after_night):
    """A night can be rebuilt through the configuration of a Dagster run, without options of the command line.

    Dagster's web interface starts runs in this way. The rebuilt snapshot replaces a deleted one and has the same
    content.
    """
    from dagster_project.definitions import build_defs
    from support.homes import pipeline_in

    pipeline = pipeline_in(home_after_night)
    before = current_snapshot(pipeline.settings.published)
    shutil.rmtree(pipeline.settings.published / before.snapshot_id)
    with open_instance(pipeline.settings) as instance:
        done = build_defs(pipeline).resolve_job_def("nightly").execute_in_process(
            instance=instance,
            run_config={"resources": {"night": {"config": {"known_as_of": dt.datetime.now(dt.UTC).isoformat()}}}},
        )  # fmt: skip
    assert done.success
    assert current_snapshot(pipeline.settings.published).sha256 == before.sha256
