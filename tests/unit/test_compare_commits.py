"""Tests of `tools/compare_commits.py`, which compares the tables and metrics that two commits publish."""

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest
from compare_commits import (
    METRICS,
    ROWS,
    NotComparableError,
    Renamed,
    Repair,
    compare_metrics,
    compare_snapshots,
    compare_tables,
    load_renamed,
    report,
)

MONTHS = pl.DataFrame(
    {
        "source": ["a", "a", "b"],
        "loan_id": ["1", "2", "1"],
        "known_at": [dt.date(2020, 1, 31)] * 3,
        "balance": [10.5, None, float("nan")],
        "reasons": [["R1"], [], None],
    }
)
NEWER = Renamed(
    {"fct_months": "fct_loan_months"},
    {"*": {"known_at": "known_on"}, "fct_months": {"balance": "owed"}},
    {"model.*.snapshots": "model.*.observations", "scores.count": "scores.rows"},
)


def found_in(before: pl.DataFrame, after: pl.DataFrame) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(d.column, d.rows, d.which) for d in compare_tables("t", before, after)]


def publish(folder: Path, tables: dict[str, pl.DataFrame], metrics: dict[str, object]) -> Path:
    folder.mkdir()
    for name, frame in tables.items():
        frame.write_parquet(folder / f"{name}.parquet")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_equal_tables_have_no_difference_also_with_nulls_and_nan():
    assert compare_tables("t", MONTHS, MONTHS.clone()) == []
    assert compare_tables("t", MONTHS, MONTHS.select(reversed(MONTHS.columns))) == [], "columns go by their names"
    assert compare_tables("t", MONTHS.clear(), MONTHS.clear()) == []


def test_one_value_is_named_with_its_loan():
    other = MONTHS.with_columns(balance=pl.Series([10.5, 0.0, float("nan")]))
    (found,) = compare_tables("t", MONTHS, other)
    assert (found.column, found.rows, found.which) == ("balance", 1, ("a/2",))
    assert found.what == "None -> 0.0"
    assert found_in(MONTHS, MONTHS.with_columns(reasons=pl.Series([["R1"], ["R2"], None]))) == [
        ("reasons", 1, ("a/2",))
    ]


def test_last_digit_of_a_float_counts():
    other = MONTHS.with_columns(balance=pl.Series([10.500000000000002, None, float("nan")]))
    assert found_in(MONTHS, other) == [("balance", 1, ("a/1",))]


def test_row_that_one_side_alone_has_moves_no_other_row():
    assert found_in(MONTHS, MONTHS[[0, 2]]) == [(ROWS, 1, ("a/2",))]
    assert found_in(MONTHS[[0, 2]], MONTHS) == [(ROWS, 1, ("a/2",))]
    other = MONTHS.with_columns(loan_id=pl.Series(["1", "3", "1"]))
    assert found_in(MONTHS, other) == [(ROWS, 1, ("a/2",)), (ROWS, 1, ("a/3",))]
    changed = MONTHS[[0, 2]].with_columns(balance=pl.Series([10.5, 1.0]))
    assert found_in(MONTHS, changed) == [(ROWS, 1, ("a/2",)), ("balance", 1, ("b/1",))]


def test_order_of_rows_and_repeated_rows_are_differences():
    assert found_in(MONTHS, MONTHS.reverse()) == [(ROWS, 3, ())]
    assert found_in(MONTHS, MONTHS[[0, 1, 1, 2]])[0][0] == ROWS


def test_type_and_columns_of_one_side_are_differences():
    other = MONTHS.with_columns(pl.col("known_at").cast(pl.Datetime))
    assert found_in(MONTHS, other) == [("known_at", 3, ())]
    assert found_in(MONTHS, MONTHS.drop("balance")) == [("balance", 0, ())]
    assert found_in(MONTHS.drop("balance"), MONTHS) == [("balance", 0, ())]


def test_renamed_tables_columns_and_metrics_are_the_same(tmp_path):
    metrics = {"model.a.snapshots": 3, "scores.count": 3, "run.seconds": 1.0, "checks.failed": 0}
    before = publish(tmp_path / "before", {"fct_months": MONTHS, "only": MONTHS}, metrics)
    newer = MONTHS.rename({"known_at": "known_on", "balance": "owed"})
    metrics = {"model.a.observations": 3, "scores.rows": 3, "run.seconds": 2.0, "checks.passed": 9}
    after = publish(tmp_path / "after", {"fct_loan_months": newer, "other": MONTHS}, metrics)
    found = [(d.table, d.what) for d in compare_snapshots(before, after, NEWER)]
    assert found == [("only", "table is only in BEFORE"), ("other", "table is only in AFTER")]
    assert compare_snapshots(before, before, NEWER) == [], "a name that both have was not renamed"
    differ = {d.table for d in compare_snapshots(before, after, Renamed())}
    assert differ == {"fct_months", "fct_loan_months", "only", "other", METRICS}


def test_metrics_are_compared_by_value_and_kind():
    assert compare_metrics({"a": 1, "run.id": "x"}, {"a": 1}, Renamed()) == []
    found = compare_metrics({"a": 1, "b": 2, "c": 3}, {"a": 1.0, "b": 2, "d": 3}, Renamed())
    assert [(d.column, d.what) for d in found] == [
        ("a", "1 -> 1.0"),
        ("c", "3 -> '(absent)'"),
        ("d", "'(absent)' -> 3"),
    ]


def test_repair_is_reported_and_is_no_failure():
    repaired = Renamed(repairs=(Repair("t", "balance", "rounded twice"), Repair("t", ROWS, "was forgotten")))
    other = MONTHS.with_columns(balance=pl.Series([1.0, 2.0, float("nan")]))
    lines, meant = report(compare_tables("t", MONTHS, other), repaired)
    assert meant
    assert lines[0] == "repaired: t.balance: rounded twice (2 loans or rows moved)"
    assert "a/1, a/2" in lines[1]
    assert lines[2] == "repaired: t.(rows): was forgotten (0 loans or rows moved)"
    lines, meant = report(compare_tables("t", MONTHS, other.with_columns(source=pl.lit("c"))), repaired)
    assert meant, "rows come and go, and the others are compared"
    lines, meant = report(compare_tables("t", MONTHS, other.drop("reasons")), repaired)
    assert not meant
    assert lines[0] == "different:"


def test_projects_own_mapping_can_be_read(tmp_path):
    load_renamed()
    (tmp_path / "broken.toml").write_text("[[repairs]]\ntable = 't'\n")
    with pytest.raises(NotComparableError, match=r"broken\.toml"):
        load_renamed(tmp_path / "broken.toml")
