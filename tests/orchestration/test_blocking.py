"""Tests of what stops or fails a night, and of the snapshot that stays current after such a night.

A failed blocking check stops the night with exit code 3, and the previous snapshot stays current.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from dagster_project.defs.instance import open_instance
from dagster_project.defs.run_failures import FAILED_IN, STOPPED_BY
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.night.pipeline import load_pipeline
from dagster_project.night.publish import UnauditedError, audited_results, publish_night
from dagster_project.operations.run_night import Exit, run_night
from dagster_project.snapshots.snapshot import current_snapshot
from expectations.suite import no_row
from support.homes import copy_home, damage, pipeline_in

RAW = [
    f"raw_taiwan_cards_{t}" for t in ("borrowers", "borrower_attributes", "loans", "statements", "payments", "outcomes")
]
SUITES = ["features", "training_set_taiwan_cards", "scores"]
BROKEN = no_row("planted__to_fail", "1 = 1", "this one fails on purpose")


@pytest.mark.parametrize("suite", SUITES)
def test_broken_expectation_stops_the_night(home_after_night, suite):
    pipeline = pipeline_in(home_after_night, extra_checks={suite: (BROKEN,)})
    before = current_snapshot(pipeline.settings.published)
    scores_before = pipeline.scores_file.stat().st_mtime_ns
    result = run_night(pipeline, force=True)
    assert result.exit is Exit.STOPPED
    assert any("planted__to_fail" in f and "fails on purpose" in f for f in result.failures)
    after = current_snapshot(pipeline.settings.published)
    assert (after.sha256, after.folder) == (before.sha256, before.folder)
    assert "published__snapshot" not in result.stages
    if suite != "scores":
        assert pipeline.scores_file.stat().st_mtime_ns == scores_before, "nothing downstream ran"


def test_broken_expectation_of_any_raw_table_stops_the_night(home_after_night):
    pipeline = pipeline_in(home_after_night, extra_checks=dict.fromkeys(RAW, (BROKEN,)))
    before = current_snapshot(pipeline.settings.published)
    result = run_night(pipeline, force=True)
    assert result.exit is Exit.STOPPED
    assert len([f for f in result.failures if "planted__to_fail" in f]) == len(RAW)
    assert "build_warehouse" not in result.stages
    assert current_snapshot(pipeline.settings.published).sha256 == before.sha256
    why = tags_of(pipeline, result)[STOPPED_BY]
    assert re.match(
        r"raw/taiwan_cards/\w+: planted__to_fail; [\d,]+ rows, first UCI_Credit_card\.csv "
        r"\(delivery [0-9a-f]{16}\), line 2\. this one fails on purpose",
        why,
    ), why


def tags_of(pipeline, result):
    with open_instance(pipeline.settings) as instance:
        return instance.get_run_by_id(result.run_id).tags


def test_failed_dbt_test_stops_the_night_too(home_after_night):
    """A dbt test that fails stops the night, so the rows that break it are not published."""
    pipeline = pipeline_in(home_after_night)
    damage(pipeline, "taiwan_cards", "payments", lambda rows: rows.head(rows.height // 2))
    before = current_snapshot(pipeline.settings.published)
    result = run_night(pipeline, force=True)
    assert result.exit is Exit.STOPPED
    assert any("payments_equal_statements" in f for f in result.failures)
    assert current_snapshot(pipeline.settings.published).sha256 == before.sha256


def test_corrupt_lake_fails_the_night_with_exit_1(home_after_night):
    pipeline = pipeline_in(home_after_night)
    path = next((home_after_night / "lake/raw/taiwan_cards/statements").glob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    result = run_night(pipeline, force=True)
    assert result.exit is Exit.FAILED
    assert "statements" in result.failures[0]
    assert "restore the file from a backup" in result.failures[0]
    why = tags_of(pipeline, result)[FAILED_IN]
    assert why.startswith("ingest_taiwan_cards: LakeCorruptionError: ")
    assert "restore the file from a backup" in why


def test_nothing_is_published_from_checks_of_another_run(home_after_night):
    pipeline = pipeline_in(home_after_night)
    with pytest.raises(UnauditedError, match="0 were evaluated in this run"):
        publish_night(pipeline, "another-run", 0)


def test_declared_but_not_evaluated_is_not_audited(home_after_night):
    run_id = json.loads((home_after_night / "warehouse/build/checks/scores.json").read_text())["run_id"]
    audited_results(pipeline_in(home_after_night), run_id)
    with pytest.raises(UnauditedError, match="scores"):
        audited_results(pipeline_in(home_after_night, extra_checks={"scores": (BROKEN,)}), run_id)


def test_nothing_is_published_over_a_failed_check(home_after_night):
    """A snapshot is not published if a critical check failed, even if somebody materialises the asset by hand."""
    pipeline = pipeline_in(home_after_night)
    path = home_after_night / "warehouse/build/checks/scores.json"
    recorded = json.loads(path.read_text())
    recorded["checks"][0]["passed"] = False
    path.write_text(json.dumps(recorded))
    with pytest.raises(UnauditedError, match="critical checks failed: scores"):
        publish_night(pipeline, recorded["run_id"], 0)


def test_candidate_that_fails_the_gate_scores_nobody(tmp_path, first_night):
    """If the first candidate fails the gate, the night fails with exit code 1 and nothing is published.

    No model becomes champion. The policy of this test has limits that no model can meet.
    """
    home = copy_home(first_night, tmp_path / "home")
    (home / "mlflow/promotions.sqlite").unlink()
    policy = tmp_path / "policy.yaml"
    policy.write_text((PROJECT_ROOT / "policy/default.yaml").read_text().replace("slope_min: 0.8", "slope_min: 1.2"))
    pipeline = load_pipeline(Settings(home=home, policy=policy))
    before = current_snapshot(pipeline.settings.published)
    result = run_night(pipeline)
    assert result.exit is Exit.FAILED
    assert "was rejected: calibration slope" in result.failures[0]
    assert pipeline.champion("taiwan_cards") is None
    assert current_snapshot(pipeline.settings.published).sha256 == before.sha256


@pytest.mark.parametrize("verdict", ["fail", "error", "skipped", None])
def test_nothing_is_published_over_a_dbt_test_without_a_pass(home_after_night, verdict):
    pipeline = pipeline_in(home_after_night)
    path = home_after_night / "warehouse/build/checks/dbt_tests.json"
    recorded = json.loads(path.read_text())
    some = sorted(recorded["verdicts"])[0]
    recorded["verdicts"] = {k: v for k, v in recorded["verdicts"].items() if k != some}
    recorded["verdicts"] |= {some: verdict} if verdict else {}
    path.write_text(json.dumps(recorded))
    with pytest.raises(UnauditedError, match=some):
        publish_night(pipeline, recorded["run_id"], 0)


def test_killed_night_does_not_hold_up_the_next(home_after_night):
    """A night killed with SIGKILL during its run does not block the next night.

    The next night marks the killed run as failed, which frees its slot, and then publishes.
    """
    environment = os.environ | {"CREDITLOOM_HOME": str(home_after_night)}
    log = home_after_night / "logs/night.log"
    log.unlink()
    line = [sys.executable, "-m", "dagster_project.cli", "night", "--force"]
    with subprocess.Popen(line, env=environment, start_new_session=True, stderr=subprocess.DEVNULL) as night:
        until = time.monotonic() + 120
        while not (log.exists() and "START" in log.read_text()):
            assert night.poll() is None, "the night ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.05)
        os.killpg(night.pid, signal.SIGKILL)
    # In a process of its own, with an end: without the burial it would wait for the dead run's slot for ever.
    subprocess.run(line, env=environment, timeout=240, check=True, capture_output=True)
    pipeline = pipeline_in(home_after_night)
    with open_instance(pipeline.settings) as instance:
        states = [run.status.name for run in instance.get_runs()]  # newest first
    assert states == ["SUCCESS", "FAILURE", "SUCCESS"]


@pytest.mark.parametrize(
    ("environment", "code", "says"),
    [
        ({"CREDITLOOM_POLICY": "nowhere.yaml"}, 2, "nowhere.yaml"),
        ({"CREDITLOOM_PROFILE": "prod"}, 2, "CREDITLOOM_PROFILE"),
        ({"CREDITLOOM_PROFILE": "production"}, 2, "CREDITLOOM_MASTER_KEY_FILE"),
        ({"CREDITLOOM_MASTER_KEY_FILE": "/nowhere/key"}, 2, "cannot be read"),
        ({"CREDITLOOM_TIMEZONE": "Mars/Phobos"}, 2, "is not a time zone"),
        ({"CREDITLOOM_HOME": ""}, 2, "the data folder is empty"),
        ({"CREDITLOOM_HOME": "/dev/null"}, 2, "is not a folder"),
        ({"CREDITLOOM_HOME": "it's here"}, 2, "a quote"),
    ],
)
def test_usage_errors_say_what_to_do(tmp_path, environment, code, says):
    line = [sys.executable, "-m", "dagster_project.cli", "night"]
    done = subprocess.run(
        line, env=os.environ | {"CREDITLOOM_HOME": str(tmp_path)} | environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr
