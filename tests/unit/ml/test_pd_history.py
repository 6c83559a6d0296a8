"""Tests of the PDs at earlier month-ends: what is kept from the build before equals what is computed from scratch."""

import datetime as dt
from dataclasses import fields
from types import SimpleNamespace

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.night import pd_history as module
from dagster_project.night.incremental_build import Build
from dagster_project.night.pd_history import PdHistory, month_number, pd_history
from dagster_project.night.pipeline import MARTS
from support.training import POLICY, book

SOURCE = "ally_auto"
OBSERVED_FROM = POLICY.sources[SOURCE].observe_from_month
LOANS, MONTHS, SHOWN = 60, 40, 28


def month_end(number: int) -> dt.date:
    return dt.date(2020 + number // 12, number % 12 + 1, 1) + dt.timedelta(days=27)


def features(seed: int) -> pl.DataFrame:
    """Return features of loans that begin in different months, and of two that have no month old enough to learn from.

    Every seventh loan is in default in every fifth month.
    """
    parts = []
    for month in range(MONTHS):
        rows = book(LOANS, 100 * seed + month).with_columns(source=pl.lit(SOURCE), month_on=pl.lit(month_end(month)))
        begun = pl.col("loan_id").cast(pl.Int32).is_between(0, 2 + 3 * month) | (month >= 20)
        young = pl.col("loan_id").is_in(["00058", "00059"]) & (month < MONTHS - OBSERVED_FROM + 1)
        in_default = (pl.col("loan_id").cast(pl.Int32) % 7 == 0) & (month % 5 == 0)
        parts.append(rows.filter(begun & ~young).with_columns(in_default=in_default))
    return pl.concat(parts)


class Home:
    """A warehouse in memory with the tables that `pd_history` reads, and a count of the rows that it scores."""

    def __init__(self, folder, model, monkeypatch):
        self.db, self.model, self.champion, self.build, self.scored = duckdb.connect(), model, "m1", None, 0
        self.pipeline = SimpleNamespace(
            policy=POLICY, pd_history_file=lambda source: folder / f"{source}.parquet", known_as_of=None
        )
        self.db.execute(f"create schema {MARTS}; create schema intermediate")
        monkeypatch.setattr(module, "load_champion", lambda *_: (self, SimpleNamespace(sha256=self.champion)))
        monkeypatch.setattr(module, "current_build", lambda _: self.build)

    @property
    def fit(self):
        return self.model.fit

    def pd(self, rows, *, pd_floor):
        self.scored += rows.height
        return self.model.pd(rows, pd_floor=pd_floor)

    def holds(self, rows: pl.DataFrame, build: Build | None, rebuilt: pl.DataFrame | None = None) -> None:
        """Replace the warehouse by one with these features, which was built by `build`."""
        self.build, self.scored = build, 0
        rebuilt = rebuilt if rebuilt is not None else rows.select("source", "loan_id", from_month="month_on").clear()
        for table, frame in {
            f"{MARTS}.feat_loan_months": rows,
            f"{MARTS}.fct_loan_months": rows.select("source", "loan_id", "month_on"),
            f"{MARTS}.port_exposures": rows.select("source", "loan_id", "month_on").filter(
                pl.col("month_on") >= pl.col("month_on").max().dt.offset_by("-1mo")
            ),
            f"{MARTS}.dim_loans": rows.select("source", "loan_id").unique(),
            "intermediate.int_observations_to_rebuild": rebuilt,
        }.items():
            self.db.register("frame", frame)
            self.db.execute(f"create or replace table {table} as select * from frame")

    def history(self) -> PdHistory:
        return pd_history(self.pipeline, self.db, SOURCE)


@pytest.fixture
def home(tmp_path, model, monkeypatch):
    return Home(tmp_path, model, monkeypatch)


def same(one: PdHistory, other: PdHistory) -> bool:
    values = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(PdHistory))
    return all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f") for a, b in values
    )


def test_each_loan_has_the_models_pd_in_each_month_and_in_the_first_one(home):
    rows = features(1)
    home.holds(rows, None)
    history = home.history()
    scored = rows.with_columns(pd=pl.Series(home.model.pd(rows, pd_floor=POLICY.scale.pd_floor)))
    newest, since = month_end(MONTHS - 1), month_end(MONTHS - SHOWN)
    assert history.since <= month_number(since)
    for month in (since, newest):
        of_month = scored.filter(pl.col("month_on") == month).select("loan_id", "pd").sort("loan_id")
        assert history.pds_in(month).equals(of_month) and of_month.height > 30
    first = scored.sort("month_on").group_by("loan_id", maintain_order=True).agg(pl.all().slice(OBSERVED_FROM - 1, 1))
    first = first.explode(pl.exclude("loan_id")).drop_nulls("pd").sort("loan_id")
    assert first.height == LOANS - 2, "two loans are too young to have a first PD"
    assert history.first().select("loan_id", "pd_first").equals(first.select("loan_id", pd_first="pd"))
    assert history.first()["first_month"].to_list() == [month_number(m) for m in first["month_on"]]
    unknown = pl.DataFrame({"loan_no": [module.NO_LOAN], "month": [month_number(newest)]})
    assert history.of(unknown).select("pd", "pd_first").row(0) == (None, None)


def test_second_call_scores_nothing(home):
    home.holds(features(1), Build("b1", None))
    once = home.history()
    scored, home.scored = home.scored, 0
    assert scored and same(once, home.history())
    assert home.scored == 0


@pytest.mark.parametrize("seed", range(5))
def test_only_rebuilt_months_are_scored_and_the_result_is_that_of_a_full_computation(home, seed):
    """A month ends, payments arrive late for some loans, a loan appears, and one is no longer there."""
    rows, other = features(seed), features(seed + 50)
    old = rows.filter((pl.col("month_on") < month_end(MONTHS - 1)) & (pl.col("loan_id") != "00040"))
    home.holds(old, Build("b1", None))
    home.history()
    rng = np.random.default_rng(seed)
    late = {f"{i:05}": int(rng.integers(0, MONTHS)) for i in rng.choice(LOANS, 9, replace=False)}
    late["00040"] = 0
    from_month = {loan: month_end(late.get(loan, MONTHS - 1)) for loan in rows["loan_id"].unique()}
    start = pl.col("loan_id").replace_strict(from_month, return_dtype=pl.Date)
    now = pl.concat([rows.filter(pl.col("month_on") < start), other.filter(pl.col("month_on") >= start)])
    now = now.filter(pl.col("loan_id") != "00001")
    rebuilt = pl.DataFrame({"source": SOURCE, "loan_id": list(from_month), "from_month": list(from_month.values())})
    home.holds(now, Build("b2", "b1"), rebuilt)
    added, scored = home.history(), home.scored
    home.holds(now, None)
    assert same(added, home.history())
    assert scored < home.scored / 2


def test_another_champion_or_a_build_on_something_else_is_computed_in_full(home):
    home.holds(features(1), Build("b1", None))
    home.history()
    whole = home.scored
    home.champion = "m2"
    home.holds(features(1), Build("b1", None))
    home.history()
    assert home.scored == whole, "another champion"
    for build in (Build("b3", "b2"), Build("b4", None)):
        home.holds(features(2), build)
        computed = home.history()
        assert home.scored == whole, build
        home.holds(features(2), None)
        assert same(computed, home.history())
