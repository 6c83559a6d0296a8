"""Tests with car loan tapes that are ingested beside the cards.

They check that every row and cent is accounted for, that write-offs are in the right months, and that the order of
ingestion does not matter. The tapes are not part of the project. If they are missing, these tests are skipped with a
message.
"""

import datetime as dt
import random
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.defs.instance import prepare_home
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.intake import ingest, ingest_files
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.landing import land_folder, land_packaged, waiting
from dagster_project.operations.run_night import Exit, NightResult, run_night
from dagster_project.snapshots.snapshot import current_snapshot
from dagster_project.warehouse.runner import published_models, run_dbt
from support.homes import copy_home, pipeline_in, shared_night

TAPES = PROJECT_ROOT.parent / "shared" / "data" / "ally_2017_3"
pytestmark = pytest.mark.skipif(not TAPES.exists(), reason="the car loan tapes are not here; nothing of them is tested")

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
BUILD = ["build", "--exclude-resource-type", "unit_test", "test"]


@pytest.fixture(scope="module")
def both(first_night, tmp_path_factory):
    """Return the pipeline and the current snapshot of a home with cards and car loans.

    The car loan tapes arrived after the first night, and a second night ingested them. All test workers share this
    home, so a test must not change it.
    """

    def second_night(home: Path) -> NightResult:
        pipeline = pipeline_in(copy_home(first_night, home))
        assert len(land_folder(pipeline.sources["ally_auto"], pipeline.ingest_context, TAPES).copied) == 45
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
    charged_off = pl.read_csv(TAPES / "outcomes.csv", infer_schema=False).filter(pl.col("charged_off") == "1")
    assert found.rows() == charged_off.select("assetNumber", "charged_off_on").sort("assetNumber").rows()


def test_spring_deferrals_are_no_defaults(both):
    """A loan does not default because of months without a payment, however many there are.

    Of the 581 loans with a suspected deferral, only the 9 that were written off are ever in default.
    """
    pipeline, _ = both
    (row,) = query(
        pipeline.settings.home,
        "select count(*) as loans, count(case when wrote_off then 1 end) as written_off from (select loan_id,"
        " max(is_default) as wrote_off from marts.fct_loan_months where source = 'ally_auto' group by loan_id"
        " having max(deferral_suspected)) as d",
    ).rows(named=True)
    assert row == {"loans": 581, "written_off": 9}


@pytest.fixture(scope="module")
def published(both):
    """Return a function that reads a published table by name and keeps only the rows of the car loans."""
    _, snapshot = both

    def read(name: str) -> pl.DataFrame:
        return pl.read_parquet(snapshot.folder / f"{name}.parquet").filter(pl.col("source") == "ally_auto")

    return read


def test_vintages_equal_an_independent_computation(published):
    """The published vintages equal those that Polars computes from the published loan months.

    In the newest month, 103 of the 3,513 loans have defaulted.
    """
    months = published("fct_loan_months").join(published("dim_loans"), on="loan_id")
    months = months.with_columns(cohort_on=pl.col("opened_on").dt.month_end())
    is_bad = (pl.col("dpd_max") >= 90) | pl.col("state").is_in(["90+", "written_off"]) | pl.col("is_default")
    loans = months.group_by("loan_id", "cohort_on", "original_amount").agg(
        first=pl.col("month_on").min(),
        bad=pl.col("month_on").filter(is_bad).min(),
        default=pl.col("month_on").filter("is_default").min(),
    )
    last, expected = months["month_on"].max(), []
    for (cohort,), rows in loans.group_by("cohort_on"):
        for end in pl.date_range(rows["first"].min().replace(day=1), last, "1mo", eager=True).dt.month_end():
            bad, default = rows.filter(pl.col("bad") <= end), rows.filter(pl.col("default") <= end)
            mob = (end.year - cohort.year) * 12 + end.month - cohort.month
            amounts = [part["original_amount"].sum() or 0 for part in (bad, default)]
            expected.append((cohort, mob, rows.height, bad.height, default.height, *amounts))
    columns = ["cohort_on", "mob", "loans", "ever_90_loans", "default_loans", "ever_90_amount", "default_amount"]
    vintages = published("port_vintages").sort("cohort_on", "mob")
    assert vintages.select(columns).rows() == sorted(expected)
    assert vintages.height > 500
    newest = vintages.filter(pl.col("month_on") == last)
    assert (newest["default_loans"].sum(), newest["loans"].sum()) == (103, 3_513)
    rate = vintages["ever_90_loans"] / vintages["loans"]
    assert (vintages["ever_90_rate"] - rate).abs().max() < 1e-8


def test_roll_rates_equal_an_independent_computation(published):
    """The number and balance of the loans that move from one state to another equal those that Polars computes.

    The comparison is made for each month and each pair of states. Loans that disappear are counted as moves to `lost`,
    but they are not included in any rate.
    """
    months = published("fct_loan_months").sort("loan_id", "month_on")
    months = months.with_columns(
        to_state=pl.col("state").shift(-1).over("loan_id"), to_on=pl.col("month_on").shift(-1).over("loan_id")
    ).filter(pl.col("month_on") < pl.col("month_on").max())
    follows = pl.col("to_on") == pl.col("month_on").dt.offset_by("1d").dt.month_end()
    stays = pl.col("state").is_in(["closed", "written_off"])
    to_state = pl.when(follows).then("to_state").when(stays).then("state").otherwise(pl.lit("lost"))
    expected = (
        months.with_columns(to_state=to_state, balance=pl.max_horizontal("balance", pl.lit(0, pl.Decimal(18, 2))))
        .group_by("month_on", "to_state", from_state="state")
        .agg(pl.len().alias("n"), pl.col("balance").sum().alias("owed"))
    )
    rates = published("port_roll_rates")
    both = rates.join(expected, on=["month_on", "from_state", "to_state"], how="full")
    assert both.height == rates.height == expected.height > 500
    assert (both["loans"] == both["n"]).all() and (both["balance"] == both["owed"]).all()
    observed = both.filter(pl.col("to_state") != "lost")
    whole = observed.group_by("month_on", "from_state").agg(pl.col("n").sum(), pl.col("rate").sum())
    assert (whole["rate"] - 1).abs().max() < 1e-8
    checked = observed.join(whole, on=["month_on", "from_state"], suffix="_i")
    assert (checked["rate"] - checked["n"] / checked["n_i"]).abs().max() < 1e-8
    assert rates.filter(pl.col("to_state") == "lost")["loans"].sum() > 0


def test_expected_loss_of_the_car_loans(both, published):
    """Every car loan with an exposure has an expected loss, and the movement adds up to the closing amount to the cent.

    A metric reports that the LGD is the policy's value, because no workouts are available.
    """
    _, snapshot = both
    metrics = {k.removeprefix("portfolio.ally_auto."): v for k, v in snapshot.metrics().items() if ".ally_auto." in k}
    losses, movement = published("port_expected_losses"), published("port_loss_movement").sort("position")
    exposed = published("port_exposures").filter(pl.col("month_on") == pl.col("month_on").max())
    assert losses.height == exposed.height >= 1_500
    amounts = dict(movement.select("component", "amount").iter_rows())
    closing = amounts.pop("closing")
    assert sum(amounts.values()) == closing == losses["expected_loss"].sum() > 0
    assert amounts["pd"] != 0 and amounts["stage_moves"] != 0 and amounts["derecognised"] < 0
    assert losses["expected_loss"].sum() < losses["stressed_loss"].sum() < losses["exposure_at_default"].sum()
    by_stage = losses.group_by("stage").agg(pl.col("expected_loss").sum() / pl.col("exposure_at_default").sum())
    assert by_stage.sort("stage")["expected_loss"].is_sorted()
    assert metrics["coverage.expected_loss"] == metrics["coverage.vintages"] == "available"
    assert metrics["coverage.loss_given_default"].startswith("short: the policy's value is used: 0 workouts")
    assert metrics["loss_given_default"] == 0.45
    assert sum(metrics[f"stage_{s}.loans"] for s in (1, 2, 3) if f"stage_{s}.loans" in metrics) == losses.height


def test_share_in_stage_2_is_that_of_the_expected_losses(published):
    """The newest early warning figure for the share in stage 2 equals the share computed from the expected losses.

    This is checked for the share of accounts and for the share of the balance. There are figures for 28 months, and the
    number of accounts never rises.
    """
    owed = published("port_exposures").select("loan_id", "balance", as_of_on="month_on")
    losses = published("port_expected_losses").filter(pl.col("stage") < 3).join(owed, on=["loan_id", "as_of_on"])
    bad = losses.filter(pl.col("stage") == 2)
    history = published("early_warnings").filter(indicator="stage_2_share", segment_kind="book").sort("month_on")
    newest = history.row(-1, named=True)
    assert newest["month_on"] == losses["as_of_on"].max() and newest["accounts"] == losses.height
    assert newest["value"] == pytest.approx(bad.height / losses.height, abs=1e-9) and newest["value"] > 0.01
    by_amount = float(bad["balance"].sum() / losses["balance"].sum())
    assert newest["value_by_amount"] == pytest.approx(by_amount, abs=1e-9)
    with_figures = history.drop_nulls("value")
    assert with_figures.height == 28
    assert with_figures["accounts"].is_sorted(descending=True), "a pool that was closed shrinks"


def test_static_pools_of_the_car_loans(published):
    """Each vintage has a row in the static pools, and no forecast rate is below the default rate already reached.

    More than 300 rows have a forecast, and every row has one of the six known statuses.
    """
    pools = published("port_static_pools")
    assert pools.height == published("port_vintages").height
    forecasts = pools.drop_nulls("forecast_rate")
    assert forecasts.height > 300
    assert (forecasts["forecast_rate"] >= forecasts["default_rate"]).all()
    assert set(pools["status"]) <= {"clear", "no_forecast", "forecast_amber", "forecast_red", "hit_amber", "hit_red"}


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
    """A night that is rebuilt as of the moment before the tapes arrived has the same content hash as the first night.

    Marts, scores and metrics are therefore the same to the byte. The current snapshot is not changed by the rebuild.
    """
    pipeline, together = both
    home = copy_home(pipeline.settings.home, tmp_path / "home")
    tapes_came = min(r.ingested_at for r in pipeline.ingest_context.book.all("ally_auto"))
    then = pipeline_in(home, known_as_of=tapes_came - dt.timedelta(microseconds=1))
    assert then.active_sources() == ["taiwan_cards"]
    result = run_night(then)
    assert result.exit is Exit.PUBLISHED, result.failures
    assert result.snapshot.sha256 == current_snapshot(first_night / "published").sha256
    assert current_snapshot(home / "published").sha256 == together.sha256


def test_cards_are_what_they_were_without_the_tapes(both, first_night):
    """The metrics and scores of the cards are the same whether or not the snapshot also contains the car loans."""
    cards_only = current_snapshot(first_night / "published")
    _, together = both
    figures = {k: v for k, v in cards_only.metrics().items() if ".taiwan_cards." in k}
    assert figures == {k: v for k, v in together.metrics().items() if ".taiwan_cards." in k}
    scores = [pl.read_parquet(s.folder / "scores.parquet") for s in (cards_only, together)]
    assert scores[0].equals(scores[1].filter(pl.col("source") == "taiwan_cards"))


def _marts(pipeline) -> dict[str, bytes]:
    """Build the warehouse with dbt and return every published mart by name.

    Each mart is sorted by its key and returned as the bytes of a Parquet file.
    """
    done = run_dbt(pipeline.settings, pipeline.policy, ["run", "--full-refresh"], quiet=True)
    assert done.returncode == 0, done.stdout[-2000:]
    result = {}
    for name, (relation, keys) in published_models(pipeline.settings.dbt_target / "manifest.json").items():
        path = pipeline.settings.build / f"{name}.parquet"
        query(pipeline.settings.home, f"select * from {relation}").sort(keys).write_parquet(path)
        result[name] = path.read_bytes()
    return result


@pytest.mark.parametrize("order", ["in order", "shuffled"])
def test_order_of_loading_changes_no_mart(tmp_path, order):
    """Ingesting the car loan files one by one, in order or shuffled, gives the same marts as ingesting all at once.

    The marts are compared byte by byte.
    """
    marts = {}
    for how in (order, "at once"):
        pipeline = pipeline_in(tmp_path / how.replace(" ", "-"))
        prepare_home(pipeline.settings)
        source, context = pipeline.sources["ally_auto"], pipeline.ingest_context
        land_folder(source, context, TAPES)
        files = waiting(source, context)
        if how == "shuffled":
            random.Random(7).shuffle(files)
        if how == "at once":
            ingest(source, context, NOW)
        else:
            for n, path in enumerate(files):
                ingest_files([path], source, context, NOW + dt.timedelta(days=n))
        for name in pipeline.sources:
            select(context.lake, pipeline.settings.selection, name, context.book.all(name))
        marts[how] = _marts(pipeline)
    assert marts[order] == marts["at once"]


@pytest.mark.parametrize("seed", range(3))
def test_features_cannot_see_what_became_known_later(tmp_path, seed):
    """The features of a month stay the same if all rows are deleted that became known too late for them.

    A row is too late if it became known more than `feature_lag_days` after the month-end. The test covers cards and car
    loans.
    """
    pipeline = pipeline_in(tmp_path / "home")
    prepare_home(pipeline.settings)
    land_folder(pipeline.sources["ally_auto"], pipeline.ingest_context, TAPES)
    for name, source in pipeline.sources.items():
        land_packaged(source, pipeline.ingest_context)
        ingest(source, pipeline.ingest_context, NOW)
        select(pipeline.ingest_context.lake, pipeline.settings.selection, name, pipeline.ingest_context.book.all(name))
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
    expected = features()
    for name, frame in whole.items():
        assert frame.height > 1000
        assert frame.equals(expected[name]), name
