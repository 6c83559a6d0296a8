"""Retraining is a job of its own: a candidate is trained and held, and the night goes on with the champion."""

import sqlite3

import dagster as dg
from tests_support import pipeline_in

from dagster_project.definitions import build_defs
from dagster_project.instance import open_instance
from dagster_project.jobs import RETRAIN
from expectations.suite import no_row


def retrain(pipeline) -> dg.ExecuteInProcessResult:
    with open_instance(pipeline.settings) as instance:
        job = build_defs(pipeline).resolve_job_def(RETRAIN)
        return job.execute_in_process(instance=instance, raise_on_error=False)


def decisions(pipeline) -> list[tuple[str, str, str]]:
    with sqlite3.connect(pipeline.settings.ledger_file) as db:
        return db.execute("select decision, model_version, sha256 from promotions order by decision_no").fetchall()


def test_candidate_is_held_and_the_champion_stays(home_after_night):
    pipeline = pipeline_in(home_after_night)
    before = pipeline.champion("taiwan_cards")
    assert retrain(pipeline).success
    first, second = decisions(pipeline)
    assert (first[0], second[0]) == ("promoted", "held")
    assert first[1:] == second[1:], "the same data give the same bytes, and those have one registered version"
    assert pipeline.champion("taiwan_cards") == before


def test_broken_training_set_stops_the_retraining(home_after_night):
    broken = no_row("planted__to_fail", "1 = 1", "this one fails on purpose")
    pipeline = pipeline_in(home_after_night, extra_checks={"training_set_taiwan_cards": (broken,)})
    assert not retrain(pipeline).success
    assert [d[0] for d in decisions(pipeline)] == ["promoted"], "nothing was trained"
