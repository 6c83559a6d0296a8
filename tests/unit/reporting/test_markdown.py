"""Tests of tables and bar charts in Markdown."""

import polars as pl

from dagster_project.reporting.markdown import bars, table


def test_bars_keep_the_order_of_the_scale_and_leave_out_what_is_not_there():
    text = bars(pl.Series("grade", ["R10", "R2", "R10", "R10"]), ["R1", "R2", "R10"])
    rows = [line.split("|") for line in text.splitlines()[2:]]
    assert [(r[1].strip(), r[2].strip(), r[3].strip()) for r in rows] == [("R2", "1", "25.0%"), ("R10", "3", "75.0%")]
    assert rows[0][4].count("\u2588") * 3 == rows[1][4].count("\u2588")


def test_numbers_are_aligned_right():
    assert table(["a", "b"], [["x", 1234.5]]).splitlines()[1:] == ["|:--|--:|", "| x | 1,234.5 |"]
