"""Helpers that ingest a small simulated book into an otherwise empty home."""

import csv
import datetime as dt
from dataclasses import replace
from pathlib import Path

import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import State
from dagster_project.night.pipeline import Pipeline, load_pipeline
from support.contracts import policy_for, write_policy

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def simulated_in(home: Path, observe_from_month: int = 1, observations_per_year: int = 1) -> Pipeline:
    """Return a pipeline for `home`, with the default policy and the simulated source as the only source."""
    entry = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())["sources"]["simulated"]
    entry |= {"observe_from_month": observe_from_month, "observations_per_year": observations_per_year}
    write_policy(home, policy_for("simulated", entry))
    return load_pipeline(Settings(home=home, policy=home / "policy.yaml"))


def with_corrections(pipeline: Pipeline, *more: str) -> Pipeline:
    """Return the same pipeline, changed so that the simulated source accepts corrections of some tables.

    These tables are `payments`, `schedules` and those named in `more`. A correction is a newer version of a row.
    """
    source = pipeline.sources["simulated"]
    tables = tuple(replace(t, corrections=t.name in ("payments", "schedules", *more)) for t in source.contract.tables)
    source = replace(source, contract=replace(source.contract, tables=tables))
    return replace(pipeline, sources={"simulated": source})


def correct(clean: Path, landing: Path, every: int) -> None:
    """Drop correction files for some of the payment and instalment files of a clean book.

    Every `every`-th file gets a correction file, which is dated 45 days later and contains a new version of the first
    row. A new version of a payment has a different amount, a different loan or an earlier payment date. A new version
    of an instalment has an amount and a principal that are higher by 1.00, and the same date of becoming known as the
    old one.
    """
    payments, schedules = (sorted(clean.glob(f"{table}-*.csv")) for table in ("payments", "schedules"))
    for n, path in enumerate([*payments[::every], *schedules[::every]]):
        with path.open(newline="") as file:
            (header, *rows), day = csv.reader(file), path.stem.split("-", 1)[1]
        row = dict(zip(header, rows[0], strict=True))
        later = dt.date.fromisoformat(day[:10]) + dt.timedelta(days=45)
        if path in schedules:
            row |= {"amount": f"{float(row['amount']) + 1:.2f}", "principal": f"{float(row['principal']) + 1:.2f}"}
        else:
            earlier = dt.date.fromisoformat(row["paid_on"]) - dt.timedelta(days=20)
            kinds = ({"amount": f"{float(row['amount']) * 2:.2f}"}, {"loan_no": rows[-1][1]}, {"paid_on": str(earlier)})
            row |= kinds[n % len(kinds)] | {"booked_on": str(later)}
        name = f"{path.stem.split('-', 1)[0]}-{later}-correction-{n}.csv"
        (landing / name).write_text("\n".join([",".join(header), ",".join(row.values()), ""]))


def opened_later(clean: Path, landing: Path, day: dt.date) -> None:
    """Drop a correction file in which the first loan of a clean book was opened on the later date `day`."""
    with next(iter(sorted(clean.glob("loans-*.csv")))).open(newline="") as file:
        header, first, *_ = csv.reader(file)
    row = dict(zip(header, first, strict=True)) | {"opened_on": str(day)}
    (landing / f"loans-{day}-correction.csv").write_text("\n".join([",".join(header), ",".join(row.values()), ""]))


def one_file_a_table(landing: Path) -> None:
    """Merge the daily files of each table into one file per table.

    Ingesting 3,000 files takes minutes. No information is lost, because each row contains its date.
    """
    for table in {path.name.split("-", 1)[0] for path in landing.iterdir()}:
        files = sorted(landing.glob(f"{table}-*.csv"))
        header = files[0].read_bytes().split(b"\n", 1)[0] + b"\n"
        rows = [f.read_bytes().split(b"\n", 1)[1] for f in files]
        for file in files:
            file.unlink()
        files[-1].write_bytes(header + b"".join(rows))


def take_in_whole(pipeline: Pipeline) -> None:
    """Ingest a clean book and select its lake files for dbt.

    Fails if a file is not accepted, or if a row is quarantined or a duplicate.
    """
    one_file_a_table(pipeline.settings.landing / "simulated")
    receipts = ingest(pipeline.sources["simulated"], pipeline.ingest_context, NOW)
    assert {r.state for r in receipts} == {State.ACCEPTED}, [r.reason for r in receipts]
    assert sum(r.quarantined_rows + r.duplicate_rows for r in receipts) == 0
    select(pipeline.settings.lake, pipeline.settings.selection, "simulated", receipts)
