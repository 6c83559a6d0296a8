"""The test that Dagster's daemon ingests and scores a dropped file without manual work.

The nightly schedule must then skip a night, because nothing is new.
"""

import os
import signal
import subprocess
import sys
import time
from importlib import metadata

import polars as pl
from dagster import DagsterInstance

from dagster_project.defs.instance import open_instance
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.operations.servers import free_port
from dagster_project.snapshots.snapshot import current_snapshot

PATIENCE_SECONDS = 600


def wait_for(what, server):
    """Call `what` once a second until it returns a true value, and return that value.

    Fails if the server process ends, or if `PATIENCE_SECONDS` have passed.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, "the servers ended"
        found = what()
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain")


def ticks(instance: DagsterInstance, name: str, status: str):
    states = [s for s in instance.all_instigator_state() if s.instigator_name == name]
    return [
        t for s in states for t in instance.get_ticks(s.instigator_origin_id, s.selector_id) if t.status.value == status
    ]


def test_dropped_delivery_becomes_scores_and_the_schedule_finds_nothing_new(pipeline, tmp_path):
    home = pipeline.settings.home
    policy = tmp_path / "policy.yaml"
    text = (PROJECT_ROOT / "policy/default.yaml").read_text()
    policy.write_text(text.replace("quiet_seconds: 30", "quiet_seconds: 1"))
    environment = os.environ | {
        "CREDITLOOM_HOME": str(home),
        "CREDITLOOM_POLICY": str(policy),
        "CREDITLOOM_NIGHT_CRON": "* * * * *",
    }
    landing = home / "landing/taiwan_cards"
    landing.mkdir(parents=True)
    card_file = next(f for f in metadata.files("mercury-robust") if f.name == "UCI_Credit_card.csv").locate()
    arriving = landing / ".cards.csv.arriving"
    arriving.write_bytes(card_file.read_bytes())
    line = [sys.executable, "-m", "dagster_project.cli", "up"]
    line += ["--dagster-port", str(free_port(33000)), "--mlflow-port", str(free_port(35000))]
    server = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        arriving.rename(landing / "cards.csv")
        snapshot = wait_for(lambda: current_snapshot(home / "published"), server)
        scores = pl.read_parquet(snapshot.folder / "scores.parquet")
        assert scores.height == 30_000
        assert [r.file_name for r in pipeline.ingest_context.book.all()] == ["cards.csv"]
        with open_instance(pipeline.settings) as instance:
            asked = wait_for(lambda: ticks(instance, "landing", "SUCCESS"), server)
            assert any(t.run_ids for t in asked)
            skipped = lambda: [t.skip_reason for t in ticks(instance, "every_night", "SKIPPED")]
            # Ticks that find the sensor's night running leave it alone.
            assert wait_for(lambda: any("nothing new" in reason for reason in skipped()), server)
            assert instance.get_dynamic_partitions("landing_day_taiwan_cards")
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
