"""Tests of early warnings and static pools on simulated books, for which it is known whether and when they deteriorate.

If arrears rise in one segment, early warnings must report it in time. If nothing changes, there must be no false alarm.
Static pools must forecast that a cohort will hit a trigger before the cohort does so.

Each book has 20,000 loans over 48 months, in an economy that does not change. The segment that deteriorates is the car
loans; it has about 3,300 accounts when its arrears start to rise. One book of each kind is used by `make test`, and
twenty by `make warnings`.
"""

import datetime as dt
import os
import sys

import polars as pl
import pytest

from dagster_project.early_warning.evaluate import evaluate
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import load_policy
from dagster_project.portfolio.pools import static_pools
from dagster_project.simulator.simulate import Plan
from support.homes import pipeline_in
from support.simulated_warnings import compiled_model, figures_by_truth, figures_of, vintages_of

WHOLE_POLICY = load_policy(PROJECT_ROOT / "policy/default.yaml")
POLICY = WHOLE_POLICY.early_warning
LOANS, MONTHS, RISES_FROM = int(os.environ.get("LOANS", "20000")), 48, 40
LAST_BEFORE = dt.date(2021, 5, 31)  # the month-end from which it rises
CLEAN = 24
# A year of cohorts, and triggers above what they usually come to. Before the two oldest no cohort has gone.
COHORTS_OF, POOLS_RISE_FROM, OLDEST = 12, 20, 2
AMBER, RED = 1.3, 1.6


@pytest.fixture(scope="module")
def sql(tmp_path_factory) -> str:
    return compiled_model(pipeline_in(tmp_path_factory.mktemp("compiled") / "home"))


@pytest.fixture
def history_of(sql, tmp_path):
    """Return a function that returns the history of early warnings of a simulated book.

    It uses the mart's SQL and the evaluation that a night uses. If `drift_month` is None, no segment deteriorates, and
    the indicators that need a model are included, with each loan's true PD in place of a model's. If `drift_month` is
    given, these indicators are left out, because the true PD would anticipate the rise.
    """

    def _history_of(seed: int, drift_month: int | None) -> pl.DataFrame:
        plan, folder = (
            Plan(LOANS, MONTHS, seed, steady=True, drift_month=drift_month),
            tmp_path / f"{seed}-{drift_month}",
        )
        if drift_month is None:
            return evaluate(figures_by_truth(plan, sql, folder, WHOLE_POLICY), POLICY)
        return evaluate(figures_of(plan, sql, folder), POLICY)

    return _history_of


@pytest.fixture(scope="module")
def vintages_sql(tmp_path_factory) -> str:
    return compiled_model(pipeline_in(tmp_path_factory.mktemp("compiled_vintages") / "home"), "port_vintages")


@pytest.fixture
def cohorts_of(vintages_sql, tmp_path):
    """Return a function that counts the car loan cohorts that hit a trigger, and those for which this was forecast.

    The function takes a seed and returns the two counts of `hits` for two books: `bad`, in which arrears rise, and
    `usual`, the same book without the rise. It uses the mart's SQL and the forecast that a night uses. The triggers are
    multiples of the final default rate of the usual book.
    """

    def vintages(seed: int, drift_month: int | None) -> pl.DataFrame:
        plan = Plan(LOANS, MONTHS, seed, steady=True, opened_within=COHORTS_OF, drift_month=drift_month)
        found = vintages_of(plan, vintages_sql, tmp_path / f"{seed}-{drift_month}")
        return found.filter(pl.col("product") == "car_loan")

    def _cohorts_of(seed: int) -> dict[str, tuple[int, int]]:
        usual, bad = vintages(seed, None), vintages(seed, POOLS_RISE_FROM)
        newest = usual.filter(pl.col("month_on") == pl.col("month_on").max())
        level = newest["default_loans"].sum() / newest["loans"].sum()
        triggers = {"amber": AMBER * level, "red": RED * level}
        policy = WHOLE_POLICY.portfolio.static_pools.model_copy(update=triggers)
        return {name: hits(static_pools(rows, policy)) for name, rows in (("bad", bad), ("usual", usual))}

    return _cohorts_of


def hits(pools: pl.DataFrame) -> tuple[int, int]:
    """Return how many cohorts hit a trigger, and for how many of these this was forecast in an earlier month.

    The two oldest cohorts are left out, because too few older cohorts exist from which to forecast their defaults.
    """
    younger = pools.filter(pl.col("cohort_on").rank("dense") > OLDEST)
    first = lambda kind: pl.col("month_on").filter(pl.col("status").str.starts_with(kind)).min()
    found = younger.group_by("cohort_on").agg(hit=first("hit"), forecast=first("forecast")).drop_nulls("hit")
    return found.height, int((found["forecast"] < found["hit"]).sum())


def rise(history: pl.DataFrame) -> list[str]:
    """Return the worst state of the car loans, over all indicators, in each of five months in order.

    The first is the last month before their arrears rise, and the others are the four months of the rise.
    """
    states = history.filter(
        pl.col("segment") == "car_loan",
        pl.col("month_on").is_between(LAST_BEFORE, dt.date(2021, 9, 30)),
    )
    order = {"not_enough_history": -1, "green": 0, "amber": 1, "red": 2}
    by_month = states.group_by("month_on").agg(pl.col("state").sort_by(pl.col("state").replace_strict(order)).last())
    return by_month.sort("month_on")["state"].to_list()


def in_time(states: list[str]) -> bool:
    """Return whether a warning came in time, given the states that `rise` returns.

    The state must be green before the rise, amber or red by the second month of the rise, and red by the third.
    """
    return states[0] == "green" and bool({"amber", "red"} & set(states[1:3])) and "red" in states[1:4]


def opened(history: pl.DataFrame) -> tuple[int, set[str]]:
    """Return in how many of the last 24 months a warning opened, and which indicators were red in any of these months.

    Each red indicator is named with its segment, as "indicator of segment".
    """
    months = history["month_on"].unique().sort()[-CLEAN:]
    late = history.filter(pl.col("month_on").is_in(months.implode()))
    is_open = late.filter(pl.col("state").is_in(["amber", "red"]) & (pl.col("since") == pl.col("month_on")))
    red = late.filter(pl.col("state") == "red")
    return is_open["month_on"].n_unique(), set(red["indicator"] + " of " + red["segment"])


def test_planted_segment_is_seen_in_time(history_of):
    history = history_of(1, RISES_FROM)
    assert in_time(rise(history)), rise(history)
    others = history.filter(segment_kind="product", month_on=LAST_BEFORE.replace(month=9, day=30)).filter(
        pl.col("segment") != "car_loan"
    )
    assert not {"amber", "red"} & set(others["state"]), "no other product is warned of"


def test_nothing_is_red_where_nothing_changes(history_of):
    history = history_of(1, None)
    assert opened(history) == (0, set())
    newest = history.filter(pl.col("month_on") == pl.col("month_on").max())
    assert newest.filter(state="green").height > 30, "and it is judged: most of it is green"
    judged = history.filter(state="green")["indicator"].unique()
    assert set(judged) == set(POLICY.indicators), "each indicator is"


def test_pools_that_will_overshoot_are_named_before_they_do(cohorts_of):
    found = cohorts_of(1)
    assert found["bad"] == (COHORTS_OF - OLDEST, COHORTS_OF - OLDEST)
    assert found["usual"][0] <= 1


@pytest.mark.long
def test_planted_segment_is_seen_in_time_in_19_of_20_books(history_of, capsys):
    found = {seed: rise(history_of(seed, RISES_FROM)) for seed in range(1, 21)}
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(f"{seed}: {', '.join(states)}" for seed, states in found.items()) + "\n")
    assert sum(map(in_time, found.values())) >= 19


@pytest.mark.long
def test_no_red_in_19_of_20_clean_books_and_no_more_false_alarms_than_declared(history_of, capsys):
    found = {seed: opened(history_of(seed, None)) for seed in range(1, 21)}
    alarms = sum(months for months, _ in found.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\nwarnings opened in {alarms} of {20 * CLEAN} months; red: {[r for _, r in found.values() if r]}\n"
        )
    assert sum(not red for _, red in found.values()) >= 19
    assert alarms / (20 * CLEAN) <= POLICY.false_alarm_rate


@pytest.mark.long
def test_pools_that_will_overshoot_are_named_before_they_do_in_19_of_20_books(cohorts_of, capsys):
    """In at least 19 of 20 books with a rise, at least nine cohorts hit a trigger as forecast in an earlier month.

    In each of these books, at most one cohort hits a trigger without such a forecast. Of the same 20 books without the
    rise, at least 19 have at most one cohort that hits a trigger.
    """
    found = {seed: cohorts_of(seed) for seed in range(1, 21)}
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(f"{seed}: {cohorts}" for seed, cohorts in found.items()) + "\n")
    assert (
        sum(
            hit >= named >= hit - 1 and named >= COHORTS_OF - OLDEST - 1
            for hit, named in (of["bad"] for of in found.values())
        )
        >= 19
    )
    assert sum(of["usual"][0] <= 1 for of in found.values()) >= 19
