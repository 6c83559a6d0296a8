"""Tests of the retraining job, which trains a candidate that is held while the champion continues to score."""

import sqlite3

import numpy as np
import polars as pl

from dagster_project.operations.run_night import Exit, run_night
from expectations.suite import no_row
from ml.calibrate import logistic_line
from support.homes import pipeline_in, retrain


def decisions(pipeline) -> list[tuple[str, str, str]]:
    with sqlite3.connect(pipeline.settings.ledger_file) as db:
        return db.execute("select decision, model_version, sha256 from promotions order by decision_no").fetchall()


def in_mlflow(pipeline) -> list[list[tuple]]:
    with sqlite3.connect(pipeline.settings.mlflow / "mlflow.db") as db:
        wanted = ("run_uuid, name from runs", "version, description from model_versions", "* from model_version_tags")
        return [db.execute(f"select {what}").fetchall() for what in (*wanted, "* from registered_model_aliases")]


def test_nothing_is_learned_from_a_warehouse_that_was_not_published(home_after_night):
    """Retraining does not train a model on the tables of a night that a check stopped.

    Such a night leaves its tables in the warehouse.
    """
    pipeline = pipeline_in(home_after_night, extra_checks={"features": (no_row("planted", "1 = 1", "on purpose"),)})
    assert run_night(pipeline, force=True).exit is Exit.STOPPED
    decisions = pipeline.ledger.champion("taiwan_cards")
    with sqlite3.connect(pipeline.settings.ledger_file) as db:
        (before,) = db.execute("select count(*) from promotions").fetchone()
    assert retrain(pipeline).success
    with sqlite3.connect(pipeline.settings.ledger_file) as db:
        assert db.execute("select count(*) from promotions").fetchone() == (before,)
    assert pipeline.ledger.champion("taiwan_cards") == decisions


def test_candidate_is_held_and_the_champion_stays(home_after_night):
    pipeline = pipeline_in(home_after_night)
    before = pipeline.champion("taiwan_cards")
    shown = in_mlflow(pipeline)
    assert retrain(pipeline).success
    first, second = decisions(pipeline)
    assert (first[0], second[0]) == ("promoted", "held")
    assert first[1:] == second[1:], "the same data give the same bytes, and those have one registered version"
    assert pipeline.champion("taiwan_cards") == before
    assert in_mlflow(pipeline) == shown, "the champion again is no run, no version, and no candidate"


def test_broken_training_set_stops_the_retraining(home_after_night):
    broken = no_row("planted__to_fail", "1 = 1", "this one fails on purpose")
    pipeline = pipeline_in(home_after_night, extra_checks={"training_set_taiwan_cards": (broken,)})
    assert not retrain(pipeline).success
    assert [d[0] for d in decisions(pipeline)] == ["promoted"], "nothing was trained"


def test_source_whose_outcomes_cannot_be_calibrated_is_published_unscored(home_after_night, monkeypatch):
    """If the first model of a source cannot be calibrated, the night publishes the source without scores.

    Calibration is impossible here because the model separates all defaults from non-defaults. The metrics contain the
    reason.
    """
    pipeline_in(home_after_night).settings.ledger_file.unlink()

    def train(*_):
        logistic_line(np.array([1.0, 2, 3, 4]), np.array([0.0, 0, 1, 1]))

    monkeypatch.setattr("dagster_project.night.champion.train_candidate", train)
    night = run_night(pipeline_in(home_after_night), force=True)
    assert night.exit is Exit.PUBLISHED, night.failures
    metrics = night.snapshot.metrics()
    assert metrics["model.taiwan_cards.state"].startswith("not enough history: the classes are separated")
    assert metrics["checks.evaluated"] == metrics["checks.declared"] > metrics["checks.skipped"] > 0
    assert pl.read_parquet(night.snapshot.folder / "scores.parquet").is_empty()
