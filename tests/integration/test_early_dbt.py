"""The dbt process that a night starts first parses and builds as dbt's own program does, and ends with the night."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dagster_project.home.settings import Settings
from dagster_project.warehouse import runner
from dagster_project.warehouse.runner import DbtError, dbt_starting, early_build, prepare_manifest
from support.homes import pipeline_in


def refuse(*_args, **_more):
    raise AssertionError("dbt was started a second time")


def nodes_of(manifest: Path) -> dict:
    """What the manifest says of each node, without the times and identifiers of the run."""
    nodes = json.loads(manifest.read_text())["nodes"]
    return {name: {key: value for key, value in node.items() if key != "created_at"} for name, node in nodes.items()}


def test_manifest_is_that_of_dbts_own_program(tmp_path, monkeypatch):
    pipeline = pipeline_in(tmp_path / "home")
    own = nodes_of(prepare_manifest(pipeline.settings, pipeline.policy))
    for name in ("prepared_manifest.json", "prepared.txt", "partial_parse.msgpack"):
        (pipeline.settings.dbt_target / name).unlink()
    with dbt_starting(pipeline.settings, pipeline.policy), monkeypatch.context() as patch:
        patch.setattr(runner, "run_dbt", refuse)
        assert nodes_of(prepare_manifest(pipeline.settings, pipeline.policy)) == own


def test_process_runs_one_command_and_gives_its_exit_code(tmp_path):
    pipeline = pipeline_in(tmp_path / "home")
    with dbt_starting(pipeline.settings, pipeline.policy):
        command = runner.arguments(pipeline.settings, pipeline.policy, ["build", "--select", "no_such_model+"])
        process = early_build(pipeline.settings, pipeline.policy, command)
        lines = [json.loads(line) for line in process.stdout]
        assert process.wait() == 0 and {line["info"]["name"] for line in lines} >= {"MainReportVersion"}
        assert early_build(pipeline.settings, pipeline.policy, command) is None, "it runs one command"
    with dbt_starting(pipeline.settings, pipeline.policy):
        process = early_build(pipeline.settings, pipeline.policy, [*command, "--no-such-option"])
        process.stdout.read()
        assert process.wait() == 2


def test_project_that_cannot_be_parsed_is_told_with_dbts_words(tmp_path, monkeypatch):
    pipeline = pipeline_in(tmp_path / "home")
    project = tmp_path / "dbt"
    (project / "models").mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml"):
        (project / name).write_bytes((pipeline.settings.dbt_project / name).read_bytes())
    (project / "models" / "broken.sql").write_text("select * from {{ ref('nothing_of_this_name') }}")
    monkeypatch.setattr(Settings, "dbt_project", property(lambda _: project))
    with dbt_starting(pipeline.settings, pipeline.policy), pytest.raises(DbtError, match="nothing_of_this_name"):
        prepare_manifest(pipeline.settings, pipeline.policy)


def test_process_with_another_policy_is_not_used(tmp_path):
    pipeline = pipeline_in(tmp_path / "home")
    changed = {
        name: source.model_copy(update={"feature_lag_days": 9}) for name, source in pipeline.policy.sources.items()
    }
    other = pipeline.policy.model_copy(update={"sources": changed})
    with dbt_starting(pipeline.settings, pipeline.policy):
        assert early_build(pipeline.settings, other, []) is None


NIGHT = """
import sys, time
from pathlib import Path
from support.homes import pipeline_in
from dagster_project.warehouse.runner import dbt_starting
pipeline = pipeline_in(Path(sys.argv[1]))
with dbt_starting(pipeline.settings, pipeline.policy):
    from dagster_project.warehouse.early_dbt import _workers
    print(next(iter(_workers.values())).process.pid, flush=True)
    time.sleep(600)
"""


def test_killed_night_leaves_no_dbt_process(tmp_path):
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    night = subprocess.Popen(
        [sys.executable, "-c", NIGHT, str(tmp_path / "home")],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = Path("/proc") / night.stdout.readline().strip()
    assert worker.exists()
    night.send_signal(signal.SIGKILL)
    night.wait()
    until = time.monotonic() + 60
    while worker.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not worker.exists()
