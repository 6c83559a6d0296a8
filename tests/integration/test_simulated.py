"""A simulated book goes through ingestion and dbt, and every month of every loan is what the simulator says it is."""

from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest
from simulated_support import NOW, simulated_in, take_in_whole

from dagster_project.dbt_project import run_dbt
from dagster_project.ingestion.deliver import ingest
from dagster_project.ingestion.receipts import State
from dagster_project.resources import Pipeline
from dagster_project.simulator.deferral import MONTHS as HOLIDAY
from dagster_project.simulator.dirt import FILES, ONCE, ROWS, TEXTS
from dagster_project.simulator.simulate import Plan, simulate

LOANS, MONTHS = 2_000, 24
RULES_ELSEWHERE = {"key_conflict", "duplicate_file", "rate_in_percent", "negative_instalment", "schema_change"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Pipeline:
    """The book in a home whose policy is the default one with the simulated source, taken in and built by dbt."""
    home = tmp_path_factory.mktemp("simulated") / "home"
    simulate(Plan(LOANS, MONTHS, seed=7, shock_month=12, deferral_month=9), home)
    pipeline = simulated_in(home)
    take_in_whole(pipeline)
    done = run_dbt(pipeline.settings, pipeline.policy, ["build", "--exclude-resource-type", "unit_test"], quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return pipeline


def months_of(home: Path) -> pl.DataFrame:
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.sql(
            "select loan_id, month_on, dpd_max, dpd_end, state, due, paid, is_default, balance"
            " from marts.fct_loan_months"
        ).pl()


def test_every_month_is_what_the_simulator_says(built):
    found = months_of(built.settings.home)
    truth = pl.read_parquet(built.settings.home / "truth/loan_months/*.parquet")
    # The book's last month is not over yet: what is known of a month is complete a day (the lag) after its end.
    truth = truth.filter(pl.col("month_on") < truth["month_on"].max())
    both = truth.join(found, on=["loan_id", "month_on"], how="full", coalesce=True)
    assert both.height == truth.height == found.height, "no month more or less"
    wrong = both.filter((pl.col("state") == "default") != pl.col("is_default"))
    assert wrong.is_empty(), wrong
    said = {"current": "current", "1 behind": "1-30", "closed": "closed"}
    for state, bucket in said.items():
        in_state = both.filter(pl.col("state") == state)
        assert in_state.height > 100
        assert in_state.filter(pl.col("state_right") != bucket).is_empty(), in_state
    most = {"2 behind": (28, 62), "3 behind": (59, 89), "default": (93, 10_000)}
    for state, (low, high) in most.items():
        in_state = both.filter(pl.col("state") == state)
        assert in_state.height > 100
        assert in_state.filter(~pl.col("dpd_end").is_between(low, high)).is_empty(), in_state
    assert both.filter((pl.col("state") == "closed") & (pl.col("balance") != 0)).is_empty()


def test_a_holiday_makes_no_arrears(built):
    found = months_of(built.settings.home)
    deferred = pl.read_parquet(built.settings.home / "truth/loans.parquet").drop_nulls("deferred_from")
    within = found.join(deferred, on="loan_id").filter(
        pl.col("month_on").is_between(
            pl.col("deferred_from"), pl.col("deferred_from").dt.offset_by(f"{HOLIDAY}mo"), closed="left"
        )
    )
    assert deferred.height > 50 and within.height == HOLIDAY * deferred.height
    assert (within["dpd_max"] == 0).all() and (within["due"] == 0).all() and (within["paid"] == 0).all()


def test_cards_owe_what_their_statements_say(built):
    """The ledger's balance is the statement's in every month, and a card goes through all states."""
    found = months_of(built.settings.home)
    with duckdb.connect(str(built.settings.home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        stated = db.sql("select loan_id, month_on, balance as stated, due, paid from staging.stg_statements").pl()
    both = stated.join(found, on=["loan_id", "month_on"])
    assert both.height > 2_000 and both.height >= stated.height * 0.9
    assert both.filter(pl.col("balance") != pl.col("stated")).is_empty()
    assert both.filter(pl.col("paid") != pl.col("paid_right")).is_empty()
    assert both.filter((pl.col("paid") <= pl.col("due")) & (pl.col("due") != pl.col("due_right"))).is_empty()
    assert set(found.join(stated.select("loan_id").unique(), on="loan_id")["state"]) >= {
        "current",
        "1-30",
        "90+",
        "closed",
    }


def test_book_holds_what_it_should(built):
    """What the comparison is worth: how often each case occurs."""
    with duckdb.connect(str(built.settings.home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        (row,) = (
            db.sql(
                "select (select count(*) from marts.fct_payments where amount < 0) as taken_back,"
                " (select count(distinct loan_id) from staging.stg_schedules where instalment_no = 1 and principal > 0"
                "  and due_on = valid_from) as prepaid,"
                " (select count(*) from (select loan_id from staging.stg_schedules group by loan_id"
                "  having count(distinct case when due_on > valid_from then valid_from end) > 1)) as restructured,"
                " (select count(*) from marts.fct_loan_months where is_default) as defaults"
            )
            .pl()
            .rows(named=True)
        )
    assert row["taken_back"] > 100 and row["prepaid"] > 100 and row["defaults"] > 100, row
    assert row["restructured"] >= 5, row


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """A book with planted faults taken in, as (pipeline, receipts, the list of faults), and the clean book's folder."""
    base = tmp_path_factory.mktemp("dirty")
    plan = Plan(12_000, 5, seed=9, opened_within=1)
    simulate(plan, base / "clean")
    simulate(replace(plan, dirt=True), base / "home")
    pipeline = simulated_in(base / "home")
    receipts = ingest(pipeline.sources["simulated"], pipeline.border, NOW)
    return pipeline, receipts, pl.read_parquet(base / "home/truth/dirt.parquet"), base / "clean"


def test_every_planted_fault_is_found_and_no_other(dirty):
    """Planted = found: by file, line and rule."""
    pipeline, receipts, planted, _ = dirty
    lake = pipeline.settings.lake
    found = set()
    for receipt in receipts:
        assert receipt.landed_rows == receipt.accepted_rows + receipt.quarantined_rows + receipt.duplicate_rows
        assert receipt.landed_minor == receipt.accepted_minor + receipt.quarantined_minor + receipt.duplicate_minor
        rows = [pl.read_parquet(lake / f.path) for f in receipt.files if f.table == "quarantine"]
        found |= {(receipt.file_name, line, rule) for r in rows for line, rule in r.select("line_no", "rule").rows()}
        if receipt.state is State.DUPLICATE:
            found.add((receipt.file_name, None, "DUPLICATE"))
        elif not receipt.files:
            found.add((receipt.file_name, None, receipt.reason.split(":")[0]))
    by_rule = planted.filter(~pl.col("expected").is_in(["ACCEPTED", "duplicate_row", "suspense", "late"]))
    assert found == set(by_rule.select("file", "line", "expected").rows())
    assert by_rule["fault"].n_unique() == len((*FILES, *ONCE, *ROWS)) + len(RULES_ELSEWHERE)

    assert set(planted["fault"]) >= RULES_ELSEWHERE | {name for name, _ in TEXTS} | {"correction"}

    state = {r.file_name: r for r in receipts}
    for fault, file in planted.filter(pl.col("expected").is_in(["ACCEPTED", "late"])).select("fault", "file").rows():
        assert state[file].state is State.ACCEPTED, (fault, file)
    repeated = {r.file_name for r in receipts if r.duplicate_rows and r.state is not State.DUPLICATE}
    assert repeated == set(planted.filter(pl.col("expected") == "duplicate_row")["file"])


def test_the_book_is_whole_in_spite_of_its_faults(dirty):
    """What was damaged came again: payments, loans and schedules are the clean book's, and orphans beside them."""
    pipeline, receipts, planted, clean = dirty
    paths = lambda table: [pipeline.settings.lake / f.path for r in receipts for f in r.files if f.table == table]
    payments = pl.read_parquet(paths("payments")).select("payment_id", "loan_id", "paid_on", "amount")
    loans = pl.read_parquet(paths("loans"))
    orphans = payments.join(loans, on="loan_id", how="anti")
    assert set(orphans["payment_id"]) == set(planted.filter(pl.col("expected") == "suspense")["key"])
    whole = [pl.read_csv(f, infer_schema=False) for f in sorted((clean / "landing/simulated").glob("payments-*.csv"))]
    expected = pl.concat(whole).select(
        pl.col("payment_no").alias("payment_id"),
        pl.col("loan_no").alias("loan_id"),
        pl.col("paid_on").str.to_date(),
        pl.col("amount").cast(pl.Decimal(18, 2)),
    )
    corrections = planted.filter(pl.col("fault") == "correction")
    corrected = payments.filter(pl.col("payment_id").is_in(corrections["key"].implode()))
    whole_of = {n: p for n, p in expected.select("payment_id", "amount").rows() if n in set(corrections["key"])}
    assert corrected["amount"].sum() == sum(whole_of.values()) and corrected.height == 3 * len(whole_of)
    expected = expected.filter(~pl.col("payment_id").is_in(list(whole_of)))
    kept = payments.join(orphans, on="payment_id", how="anti").join(corrected, on="payment_id", how="anti")
    assert kept.sort("payment_id").equals(expected.sort("payment_id"))
    assert loans["loan_id"].n_unique() == loans.height == 12_000
    schedules = [pl.read_csv(f) for f in (clean / "landing/simulated").glob("schedules-*.csv")]
    assert pl.read_parquet(paths("schedules")).height == pl.concat(schedules).height


def test_early_warning_figures_are_the_truths(built):
    """Counts of every segment and month, from the truth's states and the loans, shares and statements in the lake."""
    home = built.settings.home
    read = lambda table: pl.read_parquet(home / f"lake/raw/simulated/{table}/*.parquet")
    landed = read("loans").select("loan_id", "product", "channel", "opened_on")
    shares = read("funding_shares").filter(pl.col("partner") != "own").select("loan_id", "partner")
    truth = pl.read_parquet(home / "truth/loan_months/*.parquet").with_columns(pl.col("state").cast(pl.String))
    truth = truth.filter(pl.col("month_on") < truth["month_on"].max())
    number = lambda day: day.dt.year() * 12 + day.dt.month().cast(pl.Int32)
    months = truth.join(landed, on="loan_id").with_columns(
        n=number(pl.col("month_on")), age=number(pl.col("month_on")) - number(pl.col("opened_on"))
    )
    before = months.select("loan_id", pl.col("n") + 1, pl.col("state").alias("state_before"))
    used = pl.col("balance").cast(pl.Float64) / pl.col("limit_amount").cast(pl.Float64)
    cards = read("statements").select("loan_id", "month_on", used=used)
    months = months.join(before, on=["loan_id", "n"], how="left").join(cards, on=["loan_id", "month_on"], how="left")
    late = pl.col("state").is_in(["2 behind", "3 behind", "default"])
    performing = ~pl.col("state").is_in(["default", "closed"])
    wanted = {
        "share_30_plus": (performing, late),
        "roll_0_to_30": (pl.col("state_before") == "current", pl.col("state") == "1 behind"),
        "first_payment_default": (pl.col("age") == 2, late),
        "mob3_30_plus": (pl.col("age") == 3, late),
        "utilisation": (performing & pl.col("used").is_not_null(), pl.col("used").clip(0, 1.5).round(6)),
    }
    places = pl.concat(
        [
            landed.select("loan_id", segment_kind=pl.lit("book"), segment=pl.lit("all")),
            landed.select("loan_id", segment_kind=pl.lit("product"), segment="product"),
            landed.select("loan_id", segment_kind=pl.lit("channel"), segment="channel"),
            shares.select("loan_id", segment_kind=pl.lit("partner"), segment="partner"),
        ]
    )
    keys = ["indicator", "segment_kind", "segment", "month_on"]
    expected = pl.concat(
        months.filter(those)
        .join(places, on="loan_id")
        .group_by("segment_kind", "segment", "month_on")
        .agg(pl.len().cast(pl.Int64).alias("accounts"), hit.cast(pl.Float64).sum().round(6).alias("total"))
        .with_columns(indicator=pl.lit(name))
        .select(*keys, "accounts", "total")
        for name, (those, hit) in wanted.items()
    )
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        found = db.sql("select * from marts.monitor_early_warning_figures").pl()
    assert expected.height > 1_200
    assert found.select(*keys, "accounts", pl.col("total").round(6)).sort(keys).equals(expected.sort(keys))
    book = found.filter(indicator="share_30_plus", segment_kind="book").select("month_on", "amount", "amount_of")
    owed = (
        months_of(home)
        .filter(~pl.col("is_default"), pl.col("state") != "closed")
        .group_by("month_on")
        .agg(
            pl.col("balance").filter(pl.col("dpd_end") > 30).sum().alias("amount"),
            pl.col("balance").sum().alias("amount_of"),
        )
    )
    assert (
        book.sort("month_on")
        .cast({"amount": pl.Float64, "amount_of": pl.Float64})
        .equals(owed.sort("month_on").cast({"amount": pl.Float64, "amount_of": pl.Float64}))
    )
