"""Tests that compare a month as it was first reported with the same month as it is known now.

One book is ingested over time: its first half year at once, and later months one at a time, with some rows late. The
expected figures come from a warehouse that the test builds with one run of dbt. The test selects sets of raw rows, such
as those known at a given time, and each set is a separate source in that warehouse.
"""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from dagster_project.home.settings import Settings
from dagster_project.ingestion.contracts.canonical import CANONICAL, raw_schema
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.receipts import ReceiptBook
from dagster_project.night.pipeline import Pipeline
from dagster_project.operations.restate import restate_month
from dagster_project.policy import load_policy
from dagster_project.reporting.month_comparison import MonthComparison
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.warehouse.runner import run_dbt
from support.raw_tables import write_selection
from support.simulated import correct, one_file_a_table, simulated_in, with_corrections
from support.young_lender import lender

FIRST, *LATER = [dt.date(2018, 7, 1), dt.date(2018, 8, 1), dt.date(2018, 9, 1)]
# A month that came with later ones and one that was the newest of its night; each was observed on the day after.
HISTORY, LIVE = dt.date(2018, 3, 31), dt.date(2018, 7, 31)
LATE_DAY = "2018-07-16"  # its loans and their schedules come a month late
FIGURES = {
    "loans": "count(*)",
    "balance": "sum(balance)",
    "due": "sum(due)",
    "paid": "sum(paid)",
    "defaults": "count(*) filter (where is_default)",
    "loans.closed": "count(*) filter (where state = 'closed')",
    "loans.open": "count(*) filter (where state not in ('closed', 'written_off'))",
    "loans.30+": "count(*) filter (where dpd_end > 30 and state not in ('closed', 'written_off'))",
    "balance.90+": "coalesce(sum(balance) filter (where dpd_end > 90 and state not in ('closed', 'written_off')), 0)",
}


@dataclass(frozen=True)
class Case:
    """The comparison of one month, and the home with the test's own warehouse.

    `found`: the comparison as `restate_month` returned it. `checked`: the home of the warehouse in which each set of
    rows is a separate source.
    """

    found: MonthComparison
    checked: Path

    def figures(self, source: str) -> dict:
        columns = ", ".join(f'{sql} as "{name}"' for name, sql in FIGURES.items())
        where = f"source = '{source}' and month_on = '{self.found.month_on}'"
        with duckdb.connect(str(self.checked / "warehouse/creditloom.duckdb"), read_only=True) as db:
            return db.sql(f"select {columns} from marts.fct_loan_months where {where}").pl().row(0, named=True)

    def figures_of_side(self, side: str) -> dict:
        return {f.name: getattr(f, side) for f in self.found.figures if f.name in FIGURES}


def arrive(pipeline: Pipeline, waiting: Path, until: dt.date) -> None:
    """Ingest the files that are dated up to the day `until`, merged into one file per table, and then the corrections.

    The loans and schedules of `LATE_DAY` are withheld until the last delivery.
    """
    landing = pipeline.settings.landing / "simulated"
    for path in list(waiting.iterdir()):
        table, day = path.stem.split("-", 1)
        is_late = day == LATE_DAY and table != "payments" and until < LATER[-1]
        if dt.date.fromisoformat(day) <= until and not is_late:
            path.rename(landing / path.name)
    one_file_a_table(landing)
    now = dt.datetime.combine(until, dt.time(2))
    ingest(pipeline.sources["simulated"], pipeline.ingest_context, now)
    for path in list(waiting.with_name("corrections").iterdir()):  # not in one file with what they correct
        if path.name.split("-", 1)[1][:10] <= str(until):
            path.rename(landing / path.name)
    ingest(pipeline.sources["simulated"], pipeline.ingest_context, now)


def raw_rows(home: Path) -> dict[str, pl.DataFrame]:
    """Return the rows of each canonical table, read from the lake files that the receipts list.

    A table without files gives an empty frame. Files of duplicates may be in the lake as well, but are not read,
    because no receipt lists them.
    """
    paths: dict[str, set[Path]] = {table: set() for table in CANONICAL}
    for file in (f for r in ReceiptBook(home / "lake/receipts.sqlite").all() for f in r.files if f.table in paths):
        paths[file.table].add(home / "lake" / file.path)
    return {
        t: pl.read_parquet(sorted(found)) if found else pl.DataFrame(schema=raw_schema(t)) for t, found in paths.items()
    }


def behind(found: MonthComparison, table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return only those of `rows` that the comparison `found` lists for a table.

    The comparison lists a row that moved to another loan under both loans. Here, such a row is looked up under its new
    loan. If the comparison lists no row of the table, the result is an empty frame.
    """
    moved = pl.col("changed").list.eval(
        pl.element().filter(pl.element().struct.field("column") == "loan_id").struct.field("after")
    )
    reported_rows = found.rows.filter(pl.col("table") == table).rename({"line": "line_no"})
    reported_rows = reported_rows.with_columns(moved.list.first().fill_null(pl.col("loan_id")).alias("loan_id"))
    place = ["line_no", "known_at", "ingested_at", "loan_id"]
    return rows.join(reported_rows, on=place, how="semi") if table in set(found.rows["table"]) else rows.clear()


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("restated")
    home, checked = folder / "home", folder / "checked"
    simulate(Plan(250, 9, seed=5, opened_within=8, planted=frozenset({"late_payments", "late_reversals"})), home)
    pipeline = with_corrections(simulated_in(home))
    waiting = (home / "landing/simulated").rename(home / "waiting")
    (home / "corrections").mkdir()
    correct(waiting, home / "corrections", every=3)
    (home / "landing/simulated").mkdir()
    found, choices = {}, {}

    def compare(name: str, month_on: dt.date, is_visible: pl.Expr) -> None:
        restated, rows = restate_month(pipeline, "simulated", month_on, lambda _step: None), raw_rows(home)
        then = {table: frame.filter(is_visible) for table, frame in rows.items()}
        explained = {t: pl.concat([then[t], behind(restated, t, frame)]) for t, frame in rows.items()}
        place = ["delivery_id", "line_no"]
        there = pl.concat([explained[t].select(place) for t in ("payments", "schedules")])
        explained["superseded"] = rows["superseded"].join(there, on=place, how="semi")
        choices.update({f"{name}_then": then, f"{name}_explained": explained, f"{name}_now": rows})
        found[name] = restated

    arrive(pipeline, waiting, FIRST)
    compare("history", HISTORY, pl.col("known_at") <= HISTORY + dt.timedelta(days=1))
    for day in LATER:
        arrive(pipeline, waiting, day)
    compare("live", LIVE, pl.col("ingested_at") <= dt.datetime.combine(LATER[0], dt.time(2)))

    policy = yaml.safe_load((home / "policy.yaml").read_text())
    policy["sources"] = dict.fromkeys(choices, policy["sources"]["simulated"])
    checked.mkdir()
    (checked / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    settings = Settings(home=checked, policy=checked / "policy.yaml")
    for name, tables in choices.items():
        write_selection(tables, settings.selection, name)
    done = run_dbt(settings, load_policy(settings.policy), ["run", "--select", "+fct_loan_months"], quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return {name: Case(restated, checked) for name, restated in found.items()}


@pytest.mark.parametrize("name", ["history", "live"])
def test_both_sides_are_the_months_of_the_rows_that_were_known(cases, name):
    case = cases[name]
    assert case.found.reported.as_newest == (name == "live")
    assert case.figures_of_side("reported") == case.figures(f"{name}_then")
    assert case.figures_of_side("restated") == case.figures(f"{name}_now")
    assert case.figures_of_side("reported") != case.figures_of_side("restated")


@pytest.mark.parametrize("name", ["history", "live"])
def test_listed_rows_explain_every_difference(cases, name):
    """The rows known at the first report, plus the rows that the comparison lists, give the figures known now."""
    case = cases[name]
    assert case.figures(f"{name}_explained") == case.figures_of_side("restated")
    assert case.found.unexplained == ()
    assert set(case.found.rows["loan_id"]) == set(case.found.loans["loan_id"])
    assert min(f.loans for f in case.found.figures if f.difference) > 0


def test_late_payments_reversals_and_loans_are_reported(cases):
    history, live = cases["history"].found, cases["live"].found
    paid = history.rows.filter(pl.col("table") == "payments")
    came_late = paid.filter(~pl.col("is_correction"))
    assert paid["known_at"].min() > HISTORY + dt.timedelta(days=1) and came_late["event_on"].max() <= HISTORY
    assert set(live.rows["table"]) == {"loans", "schedules", "payments"}
    came = live.rows.filter(pl.col("table") == "loans")
    assert set(came["event_on"]) == {dt.date.fromisoformat(LATE_DAY)}
    assert set(came["file"].str.head(13)) == {"loans-2018-08"}  # the test's one file of the month
    assert set(came["ingested_at"].dt.date()) == {LATER[-1]}
    assert live.loans.join(came, on="loan_id")["state"].null_count() == came.height
    amounts = [c["after"] for row in live.rows["changed"] for c in row if c["column"] == "amount"]
    assert any(amount.startswith("-") for amount in amounts)


@pytest.mark.parametrize("name", ["history", "live"])
def test_corrections_are_listed_with_the_value_before(cases, name):
    """A correction of a payment is listed with the old and the new value of each changed column.

    The corrected columns include amounts and payment dates. A payment that moved to another loan is listed under both
    loans.
    """
    corrections = cases[name].found.rows.filter(pl.col("is_correction") & (pl.col("table") == "payments"))
    changed = corrections.explode("changed").unnest("changed")
    assert {"amount", "paid_on"} <= set(changed["column"])
    assert changed["before"].null_count() == 0
    moved = changed.filter(pl.col("column") == "loan_id")
    assert moved.filter(pl.col("loan_id") == pl.col("before")).height > 0
    assert moved.filter(pl.col("loan_id") == pl.col("after")).height > 0


def test_nothing_personal_is_reported(cases, tmp_path):
    rows = raw_rows(cases["live"].checked.with_name("home"))
    said = json.dumps(cases["live"].found.as_values(), default=str)
    for table, column in (("loans", "borrower_id"), ("payments", "payer_id"), ("borrowers", "account_id")):
        pseudonyms = rows[table][column].drop_nulls()
        assert pseudonyms.len() > 0 and not [p for p in pseudonyms if p in said]


def test_nothing_stays_of_the_private_place(cases):
    home = cases["live"].checked.with_name("home")
    assert list((home / "warehouse").iterdir()) == []


def test_late_tape_brings_its_own_month_and_moves_the_next(tmp_path):
    """A tape that arrives late also changes the figures of the following month.

    The amounts due are imputed from the months before. Once March's tape is known, the loan L0 is one month in arrears
    at the end of April.
    """
    pipeline = lender(tmp_path / "home")
    source, landing = pipeline.sources["young_lender"], pipeline.settings.landing / "young_lender"
    for month in ("2024-03", "2024-04"):
        tape = (landing / f"{month}.csv").read_text()
        (landing / f"{month}.csv").write_text(tape.replace("00.00,100.00", "00.00,0.00", 1))
    late = (landing / "2024-03.csv").rename(tmp_path / "2024-03.csv")
    ingest(source, pipeline.ingest_context, dt.datetime(2024, 5, 3, 2), on=dt.date(2024, 5, 3))
    late.rename(landing / "2024-03.csv")
    ingest(source, pipeline.ingest_context, dt.datetime(2024, 5, 10, 2), on=dt.date(2024, 5, 10))
    april = restate_month(pipeline, "young_lender", dt.date(2024, 4, 30), lambda _step: None)
    assert april.reported.as_newest and april.reported.taken_in_by == dt.datetime(2024, 5, 3, 2)
    moved = {f.name: (f.reported, f.restated) for f in april.figures if f.loans}
    assert (moved["loans.current"], moved["loans.1-30"]) == ((40, 39), (0, 1))
    assert "paid" not in moved and "loans" not in moved
    assert april.loans.select("loan_id", "dpd_end", "dpd_end_now").rows() == [("L0", 0, 30)]
    (row,) = april.rows.iter_rows(named=True)
    assert (row["table"], row["file"], row["line"]) == ("statements", "2024-03.csv", 2)
    assert row["known_at"] == dt.date(2024, 4, 3) and row["ingested_at"] == dt.datetime(2024, 5, 10, 2)
    assert {"column": "paid", "before": None, "after": "0.00"} in row["changed"]
