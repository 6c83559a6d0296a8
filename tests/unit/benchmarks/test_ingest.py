"""Tests of the ingestion benchmark: its verdicts, its section in `docs/performance.md`, and its payment files."""

import ingest
import pytest
import report


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
    section = ingest.section(payments_taken_in(ratio, peak))
    assert [line.split()[0] for line in section.split("```text\n")[1].splitlines()[:3]] == verdicts
    assert "| bare scan to Parquet | 10.0 | 10.0 | 100 |" in section


def test_section_of_the_page_is_replaced_and_the_rest_stays():
    page = report.PAGE.read_text()
    assert page.count(ingest.BEGIN) == page.count(ingest.END) == 1
    once = ingest.write_section(page, payments_taken_in(2.5))
    assert ingest.write_section(once, payments_taken_in(2.5)) == once
    assert once.split(ingest.BEGIN)[0] == page.split(ingest.BEGIN)[0]
    assert once.split(ingest.END)[1] == page.split(ingest.END)[1]


def test_payments_of_the_benchmark_are_taken_in_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ingest, "DAYS", 2)
    made = ingest.make_payments(tmp_path / "home/landing/simulated", 0.0005)
    ingest.take_in(tmp_path / "home")
    assert f'"rows": {made["rows"]}' in capsys.readouterr().out
    ingest.make_payments(tmp_path / "bare/landing/simulated", 0.0005)
    ingest.scan(tmp_path / "bare")
    assert f'"rows": {made["rows"]}' in capsys.readouterr().out
