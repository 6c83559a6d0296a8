"""Tests of early warnings in Dagster.

Their checks never stop a night, and messages are sent only about results that were published.
"""

import json
from dataclasses import replace
from datetime import date, datetime

import dagster as dg
import duckdb
import polars as pl
import pytest
from pydantic import SecretStr

from dagster_project.defs.asset_keys import EARLY_WARNINGS_ASSET, NOTIFICATIONS_ASSET
from dagster_project.defs.assets.early_warnings import build_early_warning_assets
from dagster_project.defs.resources import NIGHT, build_night_resource
from dagster_project.early_warning.evaluate import KEYS
from dagster_project.night.notify import EARLY_WARNINGS, channels, outbox, send_pending
from dagster_project.night.pipeline import Pipeline
from dagster_project.reporting.metrics import warning_metrics
from dagster_project.reporting.summary import _warnings
from dagster_project.snapshots.snapshot import table_of, write_snapshot
from support.homes import pipeline_in
from support.warning_figures import POLICY, series


@pytest.fixture
def book(tmp_path):
    """Return a pipeline, and a function that fills the pipeline's warehouse with given early warning figures.

    The warehouse contains no other tables. Each call of the function replaces the figures.
    """
    pipeline = pipeline_in(tmp_path / "home")
    pipeline.settings.warehouse.mkdir(parents=True)
    pipeline.settings.build.mkdir()

    def put(*figures: pl.DataFrame) -> None:
        rows = pl.concat(figures)
        with duckdb.connect(str(pipeline.settings.warehouse_file)) as db:
            db.execute("create schema if not exists marts")
            db.register("rows", rows)
            db.execute("create or replace table marts.monitor_early_warning_figures as select * from rows")

    return pipeline, put


def run(pipeline: Pipeline, key: tuple[str, ...]) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        build_early_warning_assets(pipeline),
        selection=[dg.AssetKey(key)],
        resources={NIGHT: build_night_resource(pipeline)},
    )


def published(pipeline: Pipeline) -> pl.DataFrame:
    """Publish the early warnings that were evaluated, as the next step of the night would, and return them."""
    history = pl.read_parquet(pipeline.early_warnings_file)
    write_snapshot(pipeline.settings.published, [table_of(EARLY_WARNINGS, history, KEYS)], warning_metrics(history), {})
    return history


def test_a_check_an_indicator_fails_by_policy_and_stops_nothing(book):
    pipeline, put = book
    put(series([200] * 20 + [300]), series([450] * 12 + [470], indicator="roll_0_to_30"))
    result = run(pipeline, EARLY_WARNINGS_ASSET)
    assert result.success
    checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert set(checks) == set(POLICY.indicators) and not any(e.blocking for e in checks.values())
    red = checks["share_30_plus"]
    assert not red.passed and red.severity is dg.AssetCheckSeverity.ERROR
    assert red.description.startswith("RED: loan (product) of lender. 2021-09: 3.00% of 10,000 accounts, 2.00% in")
    assert red.metadata["what to do"].value == POLICY.indicators["share_30_plus"].escalation.red
    assert (red.metadata["red"].value, red.metadata["not enough history"].value) == (1, 1)
    assert checks["roll_0_to_30"].passed and checks["roll_0_to_30"].description.startswith("Nothing can be judged")
    put(series([200] * 20 + [260]))
    amber = {e.check_name: e for e in run(pipeline, EARLY_WARNINGS_ASSET).get_asset_check_evaluations()}
    assert not amber["share_30_plus"].passed and amber["share_30_plus"].severity is dg.AssetCheckSeverity.WARN


def test_published_results_are_reported_once(book):
    pipeline, put = book
    put(series([200] * 20 + [300]))
    run(pipeline, EARLY_WARNINGS_ASSET)
    assert run(pipeline, NOTIFICATIONS_ASSET).success and not pipeline.settings.warnings_log.exists(), (
        "nothing is published"
    )
    history = published(pipeline)
    rebuilt = replace(pipeline, known_as_of=datetime(2026, 1, 1))
    config = {"resources": {NIGHT: {"config": {"known_as_of": "2026-01-01"}}}}
    dg.materialize(
        build_early_warning_assets(rebuilt),
        selection=[dg.AssetKey(NOTIFICATIONS_ASSET)],
        resources={NIGHT: build_night_resource(rebuilt)},
        run_config=config,
    )
    assert not pipeline.settings.warnings_log.exists(), "a rebuilt night sends no message"
    for _ in range(2):
        assert run(pipeline, NOTIFICATIONS_ASSET).success
    (line,) = pipeline.settings.warnings_log.read_text().splitlines()
    body = json.loads(line)
    assert (body["source"], body["segment"], body["state"]) == ("lender", "loan", "red")
    row = history.filter(segment="loan").row(-1, named=True)
    assert (body["value"], body["base"], body["p_adjusted"]) == (row["value"], row["base"], row["p_adjusted"])
    assert outbox(pipeline).waiting() == [] and send_pending(pipeline).taken == {"log": 0}


def test_a_replay_posts_nothing(book):
    pipeline, _ = book
    with_hook = replace(
        pipeline, settings=pipeline.settings.model_copy(update={"warnings_webhook": SecretStr("http://x/")})
    )
    assert [channel.name for channel in channels(with_hook)] == ["log", "webhook"]
    assert [channel.name for channel in channels(replace(with_hook, on=date(2026, 1, 1)))] == ["log"]
    assert [channel.name for channel in channels(pipeline)] == ["log"]


def test_metrics_and_summary_show_the_state(book):
    pipeline, put = book
    put(series([200] * 20 + [300]), series([100] * 21, segment=("channel", "web"), source="other"))
    run(pipeline, EARLY_WARNINGS_ASSET)
    metrics = warning_metrics(published(pipeline))
    assert (metrics["warnings.red"], metrics["warnings.amber"]) == (1, 0)
    assert metrics["warnings.lender.month"] == "2021-09" and metrics["warnings.other.green"] == 1
    assert (
        metrics["warnings.lender.open"] == "red share_30_plus of loan (product)" and not metrics["warnings.other.open"]
    )
    assert _warnings(metrics) == "1 red, 0 amber\nlender 2021-09: red share_30_plus of loan (product)"
