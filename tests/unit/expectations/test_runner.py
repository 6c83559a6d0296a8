"""Tests of the suite runner: it counts checks and failing rows, keeps no values, and reports checks that cannot run."""

import duckdb
import pytest

from expectations import runner
from expectations.runner import IncompleteSuiteError, run_suite
from expectations.suite import Suite, between, no_row, not_null, one_of, some_rows, unique


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("create schema s")
        db.execute("create table s.t as select i as k, case when i <> 3 then i * 1.5 end as v from range(1, 6) r(i)")
    return path


def verdicts(database, *checks):
    result = run_suite(Suite("x", "t", checks), database, "s")
    assert result.declared == len(result.checks) == len(checks)
    return {c.name: c.passed for c in result.checks}


def test_verdicts_are_right(database):
    assert verdicts(
        database,
        some_rows(5),
        unique("k"),
        not_null("v"),
        between("v", 0, 6),
        one_of("k", (1, 2, 3, 4, 5)),
        no_row("k__positive", "k <= 0", "x"),
        no_row("k__small", "k > 4", "x"),
    ) == {
        "row_count_to_be_between": True,
        "k__to_be_unique": True,
        "v__to_not_be_null": False,
        "v__to_be_between": False,
        "k__to_be_in_set": True,
        "k__positive": True,
        "k__small": False,
    }


def test_counts_and_no_values(database):
    result = run_suite(Suite("x", "t", (between("v", 0, 6), no_row("k__small", "k > 3", "ask"))), database, "s")
    ranged, query = result.checks
    assert (ranged.rows, ranged.failing_rows) == (5, 1)
    assert query.failing_rows == 2
    assert "7.5" not in repr(result)
    assert [c.name for c in result.blocking_failures] == ["v__to_be_between", "k__small"]


def test_check_that_cannot_be_evaluated_fails_and_says_so(database):
    result = run_suite(Suite("x", "t", (not_null("absent"), no_row("q", "absent > 1", "x"))), database, "s")
    assert [c.passed for c in result.checks] == [False, False]
    assert all("could not be evaluated" in c.error for c in result.checks)


def test_missing_verdict_is_an_error(database, monkeypatch):
    """A suite that has fewer results than declared checks raises an error.

    A suite must never count as passed because its checks were not evaluated.
    """
    keep = runner._expectation
    monkeypatch.setattr(runner, "_expectation", lambda gx, c: keep(gx, between("k", 0, 9)))
    with pytest.raises(IncompleteSuiteError, match="2 checks are declared, 1 were evaluated"):
        run_suite(Suite("x", "t", (not_null("k"), not_null("v"))), database, "s")


def test_memory_is_what_was_given(database):
    given = no_row("memory", "current_setting('memory_limit') <> '95.3 MiB'", "x")
    assert run_suite(Suite("x", "t", (given,)), database, "s", "100MB").checks[0].passed
    assert not run_suite(Suite("x", "t", (given,)), database, "s").checks[0].passed
