"""Tests that a replayed history publishes the same snapshots, to the byte, as the nights that really ran.

A night that is rebuilt as of the day on which it ran must give the same snapshot, too. Some rows come late and some are
corrected, so what a night knew differs from what is known now.
"""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
import yaml

from dagster_project.operations.backfill import replay_range
from dagster_project.operations.run_night import Exit, run_night
from dagster_project.snapshots.snapshot import current_snapshot
from support.young_lender import LOANS, MONTH_ENDS, book_file, empty_lender, pipeline_of

pytestmark = pytest.mark.long

LATE, CORRECTED = "L1", "L2"


def lender_that_corrects(home: Path) -> Path:
    """Create a home whose contract accepts corrections of statements, and return its landing folder.

    The landing folder contains the loan book.
    """
    landing = empty_lender(home)
    path = home / "contracts/young_lender/contract.yaml"
    contract = yaml.safe_load(path.read_text())
    (statements,) = [o for o in contract["schema"] if o["name"] == "statements"]
    statements["customProperties"].append({"property": "corrections", "value": True})
    path.write_text(yaml.safe_dump(contract, sort_keys=False))
    (landing / "book-all.csv").write_text(book_file())
    return landing


def month_file(number: int) -> str:
    """Return the text of the file of one month, numbered from 0.

    The file has no row for the loan `LATE`. From month 1 on, it also has two rows for the month before: the late row of
    the loan `LATE`, and a correction that raises the balance of the loan `CORRECTED` by 7.
    """
    row = lambda loan, m, more=0: f"{loan},{MONTH_ENDS[m]},{1000 - 100 * min(m + 1, 9) + more}.00,100.00\n"
    rows = [row(loan, number) for loan in LOANS if loan != LATE]
    rows += [row(LATE, number - 1), row(CORRECTED, number - 1, more=7)] if number else []
    return "loan,end,open,paid\n" + "".join(rows)


@pytest.mark.parametrize("months", [2, 8])
def test_replayed_history_gives_the_nights_that_were(tmp_path, months):
    names = [f"{end:%Y-%m}.csv" for end in MONTH_ENDS[:months]]
    days = [end + dt.timedelta(days=3) for end in MONTH_ENDS[:months]]
    landing, published = lender_that_corrects(tmp_path / "live"), []
    for number, (name, day) in enumerate(zip(names, days, strict=True)):
        (landing / name).write_text(month_file(number))
        night = run_night(pipeline_of(tmp_path / "live", on=day))
        assert night.exit is Exit.PUBLISHED, night.failures
        published.append(night.snapshot.sha256)
    assert len(set(published)) == months
    newest = pl.read_parquet(night.snapshot.folder / "fct_loan_months.parquet").filter(month_on=MONTH_ENDS[months - 2])
    assert newest.height == len(LOANS), "the late row is there"
    (balance,) = newest.filter(loan_id=CORRECTED)["balance"]
    assert balance == 1000 - 100 * (months - 1) + 7, "the corrected one counts"

    landing, replayed = lender_that_corrects(tmp_path / "replayed"), []
    for number, name in enumerate(names):
        (landing / name).write_text(month_file(number))
    home = tmp_path / "replayed"
    after_day = lambda _day, number, _days: replayed.append(current_snapshot(home / "published")) if number else None
    assert replay_range(pipeline_of(home), None, None, after_day).exit is Exit.PUBLISHED
    replayed.append(current_snapshot(home / "published"))
    assert [snapshot.sha256 for snapshot in replayed] == published

    for place, number in (("live", 0), ("replayed", months // 2)):
        instant = dt.datetime.combine(days[number], dt.time(12))
        rebuilt = run_night(pipeline_of(tmp_path / place, known_as_of=instant))
        assert rebuilt.exit is Exit.PUBLISHED, rebuilt.failures
        assert rebuilt.snapshot.sha256 == published[number], place
