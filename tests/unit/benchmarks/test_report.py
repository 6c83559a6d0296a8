"""Tests of the benchmark report, which use made-up figures."""

from pathlib import Path

import report


def figures(loans: int, first: float, floor: float, *, exit_code: int = 0, peak: float = 1000) -> dict:
    """Return made-up benchmark figures for a book of `loans` loans, measured in one turn.

    `first` and `floor` are the seconds of the first night and of the floor. Loading and the raw checks take 30 s in the
    first night, and a tenth of that in the next night. `peak` is the peak memory in MB, and `exit_code` the exit code
    of all runs.
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
        "unit": one(floor, {"load": 3.0, "loan months": 4.0, "features": 2.0}),
    }
    simulated = {"seconds": 60.0, "peak_mb": 700, "reported": {"payment_rows": loans * 21}}
    machine = {"cores": 2, "memory_gb": 24, "python": "3.11", "load_before": 0.0}
    return {"loans": loans, "machine": machine, "simulate": simulated, "turns": [turn]}


def cards(nothing_new: float) -> dict:
    seconds = {"first night": 50.0, "nothing new": nothing_new, "import dagster": 2.0}
    runs = {name: {"exit": 0, "seconds": value, "peak_mb": 800} for name, value in seconds.items()}
    return {"turns": [runs]}


def test_verdicts_say_what_was_met_missed_and_not_measured():
    sizes = [figures(10_000, 100, 10), figures(100_000, 170, 40), figures(1_000_000, 330, 100)]
    words = [line.split()[0] for line in report.verdicts(sizes, cards(3.9)).splitlines()]
    assert words == ["PASS"] * len(words)
    million = report.verdicts([figures(1_000_000, 341, 100)], cards(4.1)).splitlines()
    missed = [line for line in million if line.startswith("MISSED")]
    assert [line.rsplit(": ", 1)[1] for line in missed] == ["3.41, at most 3.40", "2.05, at most 2.00"]
    assert sum(line.startswith("OPEN") for line in million) == 4
    assert {line.split()[0] for line in report.verdicts([]).splitlines()} == {"OPEN"}


def test_a_night_that_failed_has_no_ratio_and_meets_nothing():
    failed = [figures(1_000_000, 10, 100, exit_code=1)]
    words = [line.split()[0] for line in report.verdicts(failed).splitlines()]
    assert words == ["OPEN", "OPEN", "MISSED", "OPEN", "MISSED", "MISSED", "MISSED", "OPEN", "OPEN", "PASS", "PASS"]
    assert "| failed |  |  |  |" in report.table(failed)


def test_stages_of_the_floor_are_compared_with_those_of_a_night():
    found = figures(10_000, 60, 30)
    assert report.stage(found, "floor", "dbt") == 6.0
    assert report.stage(found, "first night", "dbt") == 30.0
    assert "| 10,000 | 210,000 | 30.0 s | 30.0 s | 60.0 s | 2.0 | 2.0 | 2.0 |" in report.table([found])


def test_a_run_that_was_not_measured_is_left_out():
    """Figures without the unit, as in older benchmarks, are shown without multiples of the unit."""
    old = figures(10_000, 60, 30)
    del old["turns"][0]["unit"]
    assert report.ratio(old, "first night") is None
    assert "| 10,000 | 210,000 |  | 30.0 s | 60.0 s |  | 2.0 | 2.0 |" in report.table([old])
    assert "OPEN    first night at 10,000 loans" in report.verdicts([old])


def test_page_has_the_marks_that_the_tables_go_between():
    page = Path(report.PAGE).read_text()
    assert page.count(report.BEGIN) == page.count(report.END) == 1
    assert page.index(report.BEGIN) < page.index(report.END)
