"""Tests of the unit of the benchmarks, which is frozen: its book and its results must never change."""

import json
import subprocess
import sys
from pathlib import Path

import book_v1
import polars as pl
import pytest


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    """Return a landing folder with a frozen book that contains each loan twice."""
    landing = tmp_path_factory.mktemp("unit") / "landing"
    book_v1.write(landing, 2 * book_v1.LOANS)
    return landing


def test_each_copy_of_a_loan_has_numbers_of_its_own(landing):
    keys = {"loans": "loan_no", "payments": "payment_no", "client_money": "booking_no", "cases": "case_no"}
    for table, key in keys.items():
        rows = pl.concat(pl.read_csv(file, infer_schema=False) for file in landing.glob(f"{table}-*.csv"))
        once = pl.read_parquet(book_v1.FOLDER / f"{table}.parquet")
        assert rows.height == 2 * once.height == rows[key].n_unique()
        assert "" not in rows[key] and set(once[key].cast(pl.String)) < set(rows[key])


def test_number_of_loans_is_a_multiple_of_the_book(tmp_path):
    with pytest.raises(ValueError, match="multiple of 2,000"):
        book_v1.write(tmp_path / "landing", 3_000)


def test_rounds_grow_with_the_book_as_the_floors_did():
    assert [book_v1.rounds(loans) for loans in (10_000, 100_000, 1_000_000)] == [106, 245, 566]


def test_results_are_those_of_the_day_it_was_frozen(landing, tmp_path):
    script = Path(book_v1.__file__).with_name("floor_v1.py")
    done = subprocess.run([sys.executable, script, landing, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    computed = ("loan_months", "features", "labels", "training", "scores")
    assert {name: found["rows"][name] for name in computed} == {
        "loan_months": 100_944,
        "features": 100_944,
        "labels": 58_398,
        "training": 5_774,
        "scores": 1_732,
    }
    assert (found["checks"], found["failing"]) == (178, {})
    assert found["auc"] == pytest.approx(0.8511, abs=0.001)
