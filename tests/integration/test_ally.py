"""Car loans beside the cards: every tape accounted for, write-offs where they were, order of loading without effect.

The tapes are not part of the project: without them these tests are skipped, in so many words.
"""

import datetime as dt
import random
from pathlib import Path

import duckdb
import polars as pl
import pytest
from tests_support import copy_home, pipeline_in, shared_night

from dagster_project.dbt_project import published_models, run_dbt
from dagster_project.ingestion.deliver import ingest, ingest_files
from dagster_project.ingestion.lake import select
from dagster_project.ingestion.landing import land_folder, land_packaged, waiting
from dagster_project.instance import prepare_home
from dagster_project.night import Exit, NightResult, run_night
from dagster_project.publishing.snapshot import current_snapshot
from dagster_project.settings import PROJECT_ROOT

TAPES = PROJECT_ROOT.parent / "shared" / "data" / "ally_2017_3"
pytestmark = pytest.mark.skipif(not TAPES.exists(), reason="the car loan tapes are not here; nothing of them is tested")

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
BUILD = ["build", "--exclude-resource-type", "unit_test", "test"]


@pytest.fixture(scope="module")
def both(first_night, tmp_path_factory):
    """The first night's home after the tapes have arrived and a second night has run."""

    def second_night(home: Path) -> NightResult:
        pipeline = pipeline_in(copy_home(first_night, home))
        assert len(land_folder(pipeline.sources["ally_auto"], pipeline.border, TAPES)) == 45
        return run_night(pipeline)

    home = shared_night(tmp_path_factory, "both-sources", second_night)
    return pipeline_in(home), current_snapshot(home / "published")


def query(home: Path, sql: str) -> pl.DataFrame:
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.sql(sql).pl()


def test_absent_source_takes_no_part(first_night):
    pipeline = pipeline_in(first_night)
    assert pipeline.active_sources() == ["taiwan_cards"]


def test_tapes_are_accounted_for_to_the_cent(both):
    pipeline, snapshot = both
    metrics = snapshot.metrics()
    assert metrics["ingest.ally_auto.deliveries"] == 45
    assert metrics["ingest.ally_auto.accepted_rows"] == metrics["ingest.ally_auto.landed_rows"] == 3_513 + 109_095
    assert metrics["ingest.ally_auto.accepted_minor"] == metrics["ingest.ally_auto.landed_minor"] == 6_196_195_295
    (row,) = query(
        pipeline.settings.home,
        "select count(*) as months, sum(paid) as paid,"
        " count(distinct case when is_default then loan_id end) as defaults,"
        " count(case when deferral_suspected then 1 end) as deferred_months,"
        " count(distinct case when deferral_suspected then loan_id end) as deferred_loans"
        " from marts.fct_loan_months where source = 'ally_auto'",
    ).rows(named=True)
    assert (row["months"], str(row["paid"]), row["defaults"]) == (109_095, "61961952.95", 103)
    assert (row["deferred_months"], row["deferred_loans"]) == (1_480, 581)


def test_write_offs_are_in_the_months_that_the_outcomes_say(both):
    pipeline, _ = both
    found = query(
        pipeline.settings.home,
        "select loan_id, cast(min(month_on) as varchar) as month from marts.fct_loan_months"
        " where source = 'ally_auto' and is_default group by loan_id order by loan_id",
    )
    told = pl.read_csv(TAPES / "outcomes.csv", infer_schema=False).filter(pl.col("charged_off") == "1")
    assert found.rows() == told.select("assetNumber", "charged_off_on").sort("assetNumber").rows()


def test_spring_deferrals_are_no_defaults(both):
    """Months without a payment never make a default by themselves, however long they last."""
    pipeline, _ = both
    (row,) = query(
        pipeline.settings.home,
        "select count(*) as loans, count(case when wrote_off then 1 end) as written_off from (select loan_id,"
        " max(is_default) as wrote_off from marts.fct_loan_months where source = 'ally_auto' group by loan_id"
        " having max(deferral_suspected)) as d",
    ).rows(named=True)
    assert row == {"loans": 581, "written_off": 9}


def test_behavioural_model_is_judged_out_of_fold(both):
    _, snapshot = both
    model = {k.removeprefix("model.ally_auto."): v for k, v in snapshot.metrics().items() if "model.ally_auto." in k}
    assert (model["judged_on"], model["calibrated_on"]) == ("out_of_fold", "out_of_fold")
    assert model["cv_auc"] >= 0.78
    assert 0.60 < model["auc_low"] < model["auc"] < model["auc_high"]
    assert 0.8 <= model["slope"] <= 1.25
    assert model["excluded_thinned"] > 40_000  # three of twelve months are kept
    assert model["excluded_lost_sight"] == 183
    assert snapshot.metrics()["scores.ally_auto.count"] == 1_500


def test_night_rebuilt_as_of_between_two_loads_is_the_one_published_then(both, first_night, tmp_path):
    """Byte for byte, marts, scores and metrics; and what is published now stays."""
    pipeline, together = both
    home = copy_home(pipeline.settings.home, tmp_path / "home")
    tapes_came = min(r.ingested_at for r in pipeline.border.book.all("ally_auto"))
    then = pipeline_in(home, known_as_of=tapes_came - dt.timedelta(microseconds=1))
    assert then.active_sources() == ["taiwan_cards"]
    result = run_night(then)
    assert result.exit is Exit.PUBLISHED, result.failures
    assert result.snapshot.sha256 == current_snapshot(first_night / "published").sha256
    assert current_snapshot(home / "published").sha256 == together.sha256


def test_cards_are_what_they_were_without_the_tapes(both, first_night):
    """One snapshot holds every source, and a second one moves no figure of the first."""
    alone = current_snapshot(first_night / "published")
    _, together = both
    figures = {k: v for k, v in alone.metrics().items() if ".taiwan_cards." in k}
    assert figures == {k: v for k, v in together.metrics().items() if ".taiwan_cards." in k}
    scores = [pl.read_parquet(s.folder / "scores.parquet") for s in (alone, together)]
    assert scores[0].equals(scores[1].filter(pl.col("source") == "taiwan_cards"))


def _marts(pipeline) -> dict[str, bytes]:
    """Every published mart, sorted by its key, as the bytes of a Parquet file."""
    done = run_dbt(pipeline.settings, pipeline.policy, ["run"], quiet=True)
    assert done.returncode == 0, done.stdout[-2000:]
    result = {}
    for name, (relation, keys) in published_models(pipeline.settings.dbt_target / "manifest.json").items():
        path = pipeline.settings.build / f"{name}.parquet"
        query(pipeline.settings.home, f"select * from {relation}").sort(keys).write_parquet(path)
        result[name] = path.read_bytes()
    return result


@pytest.mark.parametrize("order", ["in order", "shuffled"])
def test_order_of_loading_changes_no_mart(tmp_path, order):
    """44 tapes one by one, in order or shuffled, against all at once: byte-equal marts."""
    marts = {}
    for how in (order, "at once"):
        pipeline = pipeline_in(tmp_path / how.replace(" ", "-"))
        prepare_home(pipeline.settings)
        source, border = pipeline.sources["ally_auto"], pipeline.border
        land_folder(source, border, TAPES)
        files = waiting(source, border)
        if how == "shuffled":
            random.Random(7).shuffle(files)
        if how == "at once":
            ingest(source, border, NOW)
        else:
            for n, path in enumerate(files):
                ingest_files([path], source, border, NOW + dt.timedelta(days=n))
        for name in pipeline.sources:
            select(border.lake, pipeline.settings.selection, name, border.book.all(name))
        marts[how] = _marts(pipeline)
    assert marts[order] == marts["at once"]


@pytest.mark.parametrize("seed", range(3))
def test_features_cannot_see_what_became_known_later(tmp_path, seed):
    """Features at t are the same after everything that was known after t + lag is deleted: cards and car loans."""
    pipeline = pipeline_in(tmp_path / "home")
    prepare_home(pipeline.settings)
    land_folder(pipeline.sources["ally_auto"], pipeline.border, TAPES)
    for name, source in pipeline.sources.items():
        land_packaged(source, pipeline.border)
        ingest(source, pipeline.border, NOW)
        select(pipeline.border.lake, pipeline.settings.selection, name, pipeline.border.book.all(name))
    cuts = {"taiwan_cards": random.Random(seed).choice(["2005-06-30", "2005-07-31", "2005-08-31"])}
    year, month = random.Random(seed).choice([(2018, 3), (2019, 1), (2019, 11), (2020, 5)])
    cuts["ally_auto"] = str(dt.date(year + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1))

    def features() -> dict[str, pl.DataFrame]:
        _marts(pipeline)
        sql = (
            "select * exclude (is_live) from marts.feat_loan_months"
            " where source = '{}' and month_on = '{}' order by loan_id"
        )
        return {name: query(pipeline.settings.home, sql.format(name, cut)) for name, cut in cuts.items()}

    whole = features()
    for name, cut in cuts.items():
        visible = dt.date.fromisoformat(cut) + dt.timedelta(days=pipeline.policy.sources[name].feature_lag_days)
        for path in (pipeline.settings.selection / name).rglob("*.parquet"):
            kept = pl.read_parquet(path).filter(pl.col("known_at") <= visible)
            path.unlink()  # a link to the lake's own file, which stays as it is
            kept.write_parquet(path)
    known = features()
    for name, frame in whole.items():
        assert frame.height > 1000
        assert frame.equals(known[name]), name
