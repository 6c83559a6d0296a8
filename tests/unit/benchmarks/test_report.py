"""Tests of the benchmark report, with made-up figures."""

from pathlib import Path

import report


def figures(loans: int, first: float, floor: float, *, exit_code: int = 0, peak: float = 1000) -> dict:
    """Return made-up benchmark figures for a book of `loans` loans, measured once.

    `first` and `floor` are the seconds of the first night and of the floor. The load and the raw checks take 30 s in
    the first night, and a tenth of that in the next night. `peak` is the peak memory in MB.
    """

    def one(seconds: float, stages: dict[str, float]) -> dict:
        return {
            "exit": exit_code,
            "seconds": seconds,
            "cpu_seconds": seconds,
            "peak_mb": peak,
            "reported": {},
            "stages": stages,
        }

    turn = {
        "first night": one(first, {"load": 20.0, "raw checks": 10.0, "dbt": first - 30}),
        "next night": one(10.0, {"load": 1.0, "raw checks": 2.0}),
        "retrain": one(5.0, {"training": 4.0}),
        "floor": one(floor, {"load": 3.0, "loan months": 4.0, "features": 2.0}),
    }
    simulated = {"seconds": 60.0, "peak_mb": 700, "reported": {"payment_rows": loans * 21}}
    machine = {"cores": 2, "memory_gb": 24, "python": "3.11", "load_before": 0.0}
    return {"loans": loans, "machine": machine, "simulate": simulated, "turns": [turn]}


def test_verdicts_say_what_was_met_missed_and_not_measured():
    both = [figures(100_000, 100, 40), figures(1_000_000, 160, 100)]
    words = [line.split()[0] for line in report.verdicts(both).splitlines()]
    assert words == ["PASS"] * 7
    assert report.verdicts([figures(1_000_000, 166, 100)]).startswith("MISSED")
    assert {line.split()[0] for line in report.verdicts([]).splitlines()} == {"OPEN"}


def test_a_night_that_failed_has_no_ratio_and_meets_nothing():
    failed = [figures(1_000_000, 10, 100, exit_code=1)]
    words = [line.split()[0] for line in report.verdicts(failed).splitlines()]
    assert words[:3] == ["MISSED"] * 3
    assert "| failed | failed |  |  |" in report.table(failed)


def test_stages_of_the_floor_are_compared_with_those_of_a_night():
    found = figures(10_000, 60, 30)
    assert report.stage(found, "floor", "dbt") == 6.0
    assert report.stage(found, "first night", "dbt") == 30.0
    assert "| 10,000 | 210,000 | 30.0 s | 60.0 s | 2.0 | 2.0 |" in report.table([found])


def test_page_has_the_marks_that_the_tables_go_between():
    page = Path(report.PAGE).read_text()
    assert page.count(report.BEGIN) == page.count(report.END) == 1
    assert page.index(report.BEGIN) < page.index(report.END)
