"""Tests of the landing sensor and of the status.

Once all files of a drop are complete, the sensor requests one night for it and adds its landing day as a partition. The
status counts the waiting files.
"""

import os
import time
from dataclasses import asdict

import dagster as dg

from dagster_project.definitions import build_defs
from dagster_project.defs.instance import open_instance
from dagster_project.home.locks import home_lock
from dagster_project.operations.status import status


def test_drop_asks_for_a_night_once_it_is_complete(pipeline, drop):
    sensor = build_defs(pipeline).resolve_sensor_def("landing")
    with open_instance(pipeline.settings) as instance:

        def tick():
            return sensor.evaluate_tick(dg.build_sensor_context(instance=instance))

        assert "has no new files" in tick().skip_message
        path = drop(pipeline, "cards.csv", b"x")
        assert "more may follow" in tick().skip_message
        (hidden := path.with_name(".second.csv.arriving")).write_bytes(b"y")
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))
        assert "more may follow" in tick().skip_message, "an old file that was moved in just now"
        quiet = pipeline.policy.ingestion.quiet_seconds
        assert quiet > 0

        later = time.time() + quiet + 1
        real = time.time
        try:
            time.time = lambda: later
            (request,) = tick().run_requests
            assert request.tags["creditloom/files_of_taiwan_cards"] == "1"
            assert [r.run_key for r in tick().run_requests] == [request.run_key], "the same drop, the same run"
            with home_lock(pipeline.settings.home, "backfill"):
                assert "a backfill is running" in tick().skip_message
            hidden.rename(path.with_name("second.csv"))
            later += quiet + 1
            assert [r.run_key for r in tick().run_requests] != [request.run_key]
        finally:
            time.time = real
        today = time.strftime("%Y-%m-%d", time.gmtime())
        assert instance.get_dynamic_partitions("landing_day_taiwan_cards") == [today]
    (pipeline.settings.landing / "tawian_cards").mkdir()
    (pipeline.settings.landing / "tawian_cards/cards.csv").write_text("x")
    found = status(pipeline)
    assert found.strays == ("tawian_cards/cards.csv",)
    cards = found.sources[0]
    assert (cards.waiting_files, cards.deliveries, cards.model) == (2, 0, "none yet")


def test_status_after_a_night_agrees_with_its_metrics(home_after_night):
    from support.homes import pipeline_in

    found = status(pipeline_in(home_after_night))
    assert (found.freshness, found.last_night.state, found.last_night.why) == ("fresh", "success", None)
    cards = asdict(found.sources[0])
    assert (cards["accepted_rows"], cards["quarantined_rows"], cards["scored"]) == (30_000, 0, 30_000)
    assert (cards["model"], cards["model_version"]) == ("champion", "1")
    record = home_after_night / "published/inputs.json"
    for hours, word in ((31, "late"), (55, "stale")):
        old = time.time() - hours * 3600
        os.utime(record, (old, old))
        assert status(pipeline_in(home_after_night)).freshness == word
