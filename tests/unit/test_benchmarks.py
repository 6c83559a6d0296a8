"""The benchmarks' runner and report, on figures that are made up; how long anything takes is never asserted."""

import sys
from pathlib import Path

import ingest
import pytest
import report
import run


def figures(loans: int, first: float, floor: float, *, exit_code: int = 0, peak: float = 1000) -> dict:
    """One turn at a size; the next night takes in and checks for a tenth of what the first one does."""

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


def test_stages_of_the_floor_stand_under_those_of_a_night():
    found = figures(10_000, 60, 30)
    assert report.stage(found, "floor", "dbt") == 6.0
    assert report.stage(found, "first night", "dbt") == 30.0
    assert "| 10,000 | 210,000 | 30.0 s | 60.0 s | 2.0 | 2.0 |" in report.table([found])


def test_the_last_day_is_held_back(tmp_path):
    names = [
        "client_money-2020-01-31.csv",
        "loans-2020-01-31.csv",
        "client_money-2020-02-01.csv",
        "payments-2020-02-01.csv",
    ]
    for name in names:
        (tmp_path / name).write_text("")
    first, last = run.split(tmp_path)
    assert [f.name for f in first] == names[:2] and [f.name for f in last] == names[2:]


def test_a_process_is_measured_with_its_children(tmp_path):
    # The child holds its memory for a second, because it is looked at ten times a second from outside.
    child = "b = bytearray(200_000_000); import time; time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('{{\"a\": 1}}')"
    measured = run.measure([sys.executable, "-c", code], {}, tmp_path / "log")
    assert measured.exit == 0 and measured.reported == {"a": 1}
    assert measured.peak_mb > 200


def test_policy_of_the_benchmark_names_the_simulated_source_alone(tmp_path):
    from dagster_project.policy import load_policy

    assert list(load_policy(run.write_policy(tmp_path / "policy.yaml")).sources) == ["simulated"]


def test_page_has_the_marks_that_the_tables_go_between():
    page = Path(report.PAGE).read_text()
    assert page.count(report.BEGIN) == page.count(report.END) == 1
    assert page.index(report.BEGIN) < page.index(report.END)


def payments_taken_in(ratio: float, peak: float = 300) -> dict:
    def one(seconds: float) -> dict:
        return {"seconds": seconds, "cpu_seconds": seconds, "peak_mb": peak}

    files = {"files": 365, "rows": 15_000_000, "bytes": 1_000_000_000}
    machine = {"cores": 2, "memory_gb": 24, "python": "3.11", "load_before": 0.0}
    return {"files": files, "machine": machine, "turns": [{"scan": one(10.0), "ingest": one(10 * ratio)}] * 3}


@pytest.mark.parametrize(
    ("ratio", "peak", "verdicts"),
    [
        (2.5, 300, ["PASS", "PASS", "PASS"]),
        (3.01, 300, ["MISSED", "MISSED", "PASS"]),
        (3.0, 2_000, ["PASS", "PASS", "MISSED"]),
    ],
)
def test_payments_taken_in_are_judged_by_the_ratio_and_the_memory(ratio, peak, verdicts):
    told = ingest.section(payments_taken_in(ratio, peak))
    assert [line.split()[0] for line in told.split("```text\n")[1].splitlines()[:3]] == verdicts
    assert "| bare scan to Parquet | 10.0 | 10.0 | 100 |" in told


def test_section_of_the_page_is_made_anew_and_the_rest_stays():
    page = report.PAGE.read_text()
    assert page.count(ingest.BEGIN) == page.count(ingest.END) == 1
    once = ingest.write_section(page, payments_taken_in(2.5))
    assert ingest.write_section(once, payments_taken_in(2.5)) == once
    assert once.split(ingest.BEGIN)[0] == page.split(ingest.BEGIN)[0]
    assert once.split(ingest.END)[1] == page.split(ingest.END)[1]


def test_payments_of_the_benchmark_are_taken_in_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ingest, "DAYS", 2)
    told = ingest.make_payments(tmp_path / "home/landing/simulated", 0.0005)
    ingest.take_in(tmp_path / "home")
    assert f'"rows": {told["rows"]}' in capsys.readouterr().out
    ingest.make_payments(tmp_path / "bare/landing/simulated", 0.0005)
    ingest.scan(tmp_path / "bare")
    assert f'"rows": {told["rows"]}' in capsys.readouterr().out
