"""Tests over complete nights that personal data does not leak (promises S1 and S5 in `docs/promises.md`).

No value that identifies a person may appear in a sink, that is, in a folder that a night writes to or in the output of
a command. And the erasure of a person must not change any published figure. The tests use canaries: borrowers whose
identifying values all contain the same rare word. Canaries are in accepted rows, in quarantined rows, in refused files,
and in a night that a failing check stops. At the end, everything that the nights left on the disk is unpacked and
searched for the word.
"""

import base64
import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.persons.originals import open_original
from dagster_project.ingestion.persons.scan import find_words, forms
from dagster_project.operations.run_night import Exit, run_night
from dagster_project.snapshots.snapshot import current_snapshot
from expectations.suite import no_row
from support.homes import once
from support.persons import agreement, book, csv_of, lender_in, person

MARK = "Zqxv7Canary"  # in every value that identifies a canary, and nowhere else
CANARIES = {n: f"{MARK}{n:03}" for n in (5, 6, 7, 1001, 1002, 1003, 1004)}
YOUNG, OLD = 4, 30  # months of the book
BROKEN = no_row("planted__to_fail", "1 = 1", "this one fails on purpose")
SINKS = ("lake", "warehouse", "published", "mlflow", "dagster", "dbt", "logs", "outbox", "said")


def canary(n: int, **other: str) -> dict[str, str]:
    mark = CANARIES[n]
    identifiers = {
        "customer_no": f"C-{mark}",
        "name": f"Rosa {mark}",
        "street": f"{mark} Allee",
        "account_no": f"DE{mark}",
    }
    return person(n) | identifiers | {"reported_on": "2017-12-15"} | other


def files(months: int = YOUNG) -> dict[str, bytes]:
    """Return the lender's files by name.

    Canaries are in good rows, in rows that break different kinds of rules, and in files that are refused as a whole.
    """
    tables = book(months=months)
    people, agreements = tables["people"], tables["agreements"]
    for n in (5, 6, 7):
        people[n] = canary(n)
        agreements[n] |= {"customer_no": canary(n)["customer_no"]}
    bad = [
        canary(1001, reported_on=CANARIES[1001]),
        canary(1002, sex=CANARIES[1002]),
        canary(1003, account_no=""),
        canary(1004),
        canary(1004, name=f"Other {MARK}"),
    ]
    ragged = f"{MARK},ragged,{MARK}\n"
    payer = {"L9": canary(6)["customer_no"]}
    transfers = [row | {"payer_no": payer.get(row["loan_no"], "")} for row in tables["transfers"]]
    wrong = agreement(9000, customer_no=canary(7)["customer_no"], lent=f"{MARK}.00")
    return {
        "people-1.csv": csv_of("people", *people, *bad, more=ragged),
        "people-2.csv": csv_of("people", canary(1001)).replace(b"sex", MARK.encode()),
        "people-3.csv": csv_of("people", canary(1002)) + b'"never closed ' + MARK.encode(),
        "people-4.csv": csv_of("people", canary(1003)).decode().encode("utf-16"),
        "people-5.parquet": b"PAR1" + MARK.encode(),
        "people-6.csv": csv_of("people", *(canary(1004, customer_no=f"{MARK}{n}", sex="male") for n in range(20))),
        "agreements-1.csv": csv_of("agreements", *agreements, wrong),
        "months-1.csv": csv_of("months", *tables["months"]),
        "transfers-1.csv": csv_of("transfers", *transfers),
        "notes.txt": MARK.encode(),
    }


def said(home: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command of `creditloom` and return the completed process.

    Its output is saved in the folder `said` of the home, which is one of the sinks.
    """
    environment = os.environ | {"CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(home / "policy.yaml")}
    done = subprocess.run(
        [sys.executable, "-m", "dagster_project.cli", *command],
        env=environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    (home / "said").mkdir(exist_ok=True)
    (home / "said" / f"{'-'.join(command)}.txt").write_text(done.stdout + done.stderr)
    return done


def a_night(home: Path, months: int) -> None:
    """Run two nights in a new home: one that publishes, and one that is stopped by a failing check.

    The check reports the rows that failed. `months` is the number of months in the lender's book.
    """
    pipeline = lender_in(home)
    folder = pipeline.settings.landing / "lender"
    folder.mkdir(parents=True)
    for name, content in files(months).items():
        (folder / name).write_bytes(content)
    done = said(home, "night")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {f"raw_lender_{t}": (BROKEN,) for t in ("borrowers", "loans", "payments")}
    assert run_night(lender_in(home, extra_checks=checks), force=True).exit is Exit.STOPPED


@pytest.fixture(
    scope="module", params=[pytest.param(p, marks=pytest.mark.long) for p in (YOUNG, OLD)], ids=["young", "old"]
)
def canary_night(request, tmp_path_factory) -> Path:
    """Return the home after the two nights of `a_night`. All test workers share this home.

    There are two homes: one with a book that is too young for a model, and one with a book that has a champion and
    scores. Both run only in the long suite.
    """
    months = request.param
    return once(tmp_path_factory, f"canary-night-{months}", lambda home: a_night(home, months))


def test_the_canaries_went_through_every_kind_of_outcome(canary_night):
    """Canaries were in accepted rows, in quarantined rows and in refused files.

    Without this check, the search for canaries might find nothing because there were none.
    """
    pipeline = lender_in(canary_night)
    receipts = {r.file_name: r for r in pipeline.ingest_context.book.all("lender")}
    states = {name: receipt.state for name, receipt in receipts.items()}
    assert states["people-1.csv"] is states["agreements-1.csv"] is State.PARTIAL
    assert states["transfers-1.csv"] is State.ACCEPTED
    refused = ("people-2.csv", "people-3.csv", "people-4.csv", "people-5.parquet", "people-6.csv", "notes.txt")
    assert {states[name] for name in refused} == {State.QUARANTINED}
    assert receipts["people-1.csv"].quarantined_rows == 6
    kept = [
        open_original(pipeline.ingest_context, "lender", r.sha256) for r in receipts.values() if r.file_name in files()
    ]
    assert sum(MARK.encode() in content or MARK.encode("utf-16-le") in content for content in kept) == 9
    snapshot = current_snapshot(pipeline.settings.published)
    assert (snapshot.metrics()["model.lender.state"] == "champion") == canary_night.name.endswith(str(OLD))


def test_no_sink_holds_a_canary(canary_night):
    """No sink contains a canary, and no folder of the home is left out of the search (promise S1).

    The sinks are the lake, the warehouse with its journal, the snapshots, MLflow, Dagster, dbt, the logs, the outbox,
    and the output of the commands.
    """
    folders = [canary_night / name for name in SINKS]
    missing = [f.name for f in folders if not any(p.is_file() for p in f.rglob("*"))]
    assert not missing, "every sink has something in it"
    assert find_words(folders, [MARK]) == []
    others = [f for f in canary_night.iterdir() if f.name not in (*SINKS, "contracts", "landing", "policy.yaml")]
    assert [f.name for f in others if f.is_dir()] == [], "no sink is left out"
    assert not any((canary_night / "landing").rglob("*.csv"))


SHOWN = f"Rosa {MARK}005"


def _in_parquet(path: Path) -> None:
    rows = pl.DataFrame({"a": [f"{SHOWN}{n % 7}" for n in range(1000)]}).select(pl.struct("a").alias("s"))
    rows.write_parquet(path, compression="gzip", statistics=False)
    assert MARK.encode() not in path.read_bytes(), "to be found only by unpacking"


def _in_sqlite(path: Path) -> None:
    """Write a canary to an SQLite database, in a compressed value that is so far only in the database's journal."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table t (v blob)")
        db.execute("insert into t values (?)", (gzip.compress(SHOWN.encode() * 9),))
        db.commit()
        for ending in ("", "-wal"):
            shutil.copyfile(f"{path}{ending}", path.with_name(f"copy-{path.name}{ending}"))
    path.unlink()


def _in_duckdb(path: Path, *, checkpoint: bool) -> None:
    with duckdb.connect(str(path)) as db:
        db.execute("pragma force_compression = 'zstd'")
        db.execute("create schema s; create table s.t as select 'x' || i as v from range(200000) t(i)")
        db.execute("checkpoint")
        if not checkpoint:
            db.execute("set checkpoint_threshold = '1GB'; pragma disable_checkpoint_on_shutdown")
        db.execute(f"insert into s.t select '{SHOWN}' || (i % 1000) from range(200000) t(i)")
    assert not checkpoint or MARK.encode() not in path.read_bytes(), "to be found only by unpacking"


def _zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", gzip.compress(SHOWN.encode() * 5))


PLANTED = {
    "lake/quarantine/lender/message.parquet": _in_parquet,
    "warehouse/creditloom2.duckdb": lambda path: _in_duckdb(path, checkpoint=True),
    "warehouse/journal.duckdb": lambda path: _in_duckdb(path, checkpoint=False),
    "dagster/history/runs.db": _in_sqlite,
    "dagster/storage/compute.err": lambda path: path.write_text(f"ValueError: {SHOWN}"),
    "mlflow/mlflow2.db": _in_sqlite,
    "mlflow/artifacts/1/model.ubj": lambda path: path.write_bytes(b"\x00{" + SHOWN.encode() + b"\xff"),
    "mlflow/artifacts/1/data.zip": _zipped,
    "dbt/manifest.json": lambda path: path.write_text(
        f'{{"a": "{base64.b64encode(b"ab" + SHOWN.encode()).decode()}"}}'
    ),
    "logs/night.log": lambda path: path.write_text(SHOWN.encode().hex().upper()),
    "said/stderr.txt": lambda path: path.write_bytes(SHOWN.encode("utf-16-le")),
    "published/x/scores.parquet": _in_parquet,
    "published/x/card.json.gz": lambda path: path.write_bytes(gzip.compress(SHOWN.encode())),
}


@pytest.mark.parametrize("sink", PLANTED)
def test_the_scan_finds_a_planted_canary(tmp_path, sink):
    """The search finds a canary in every kind of sink, in a form that it could have there.

    This shows that an empty result of the search means something.
    """
    path = tmp_path / sink
    path.parent.mkdir(parents=True)
    PLANTED[sink](path)
    assert len(find_words([tmp_path], [MARK])) >= 1
    assert find_words([tmp_path], ["Nowhere7Canary"]) == []


def test_every_form_of_a_word_is_found_in_every_place():
    for before in range(7):
        for after in range(4):
            encoded = base64.urlsafe_b64encode(b"?" * before + "Zoë>~7Canary".encode() + b"\xff" * after)
            assert any(form in encoded for form in forms("Zoë>~7Canary")), (before, after)


@pytest.mark.long
def test_an_erasure_changes_no_figure(canary_night, tmp_path):
    """After a borrower is erased, a new night publishes the same snapshot, to the byte.

    The originals that can still be decrypted no longer contain the borrower's data. The data of other canaries is still
    in them.
    """
    home = tmp_path / "home"
    shutil.copytree(canary_night, home, symlinks=True)
    keys = lender_in(canary_night).settings.key_store_file
    shutil.copytree(keys.parent, lender_in(home).settings.key_store_file.parent)
    before = current_snapshot(home / "published")
    assert said(home, "erase", f"C-{MARK}006").returncode == 0, (home / "said" / f"erase-C-{MARK}006.txt").read_text()
    night = said(home, "night", "--force")
    assert night.returncode == 0, night.stdout + night.stderr
    assert "Published again with the same content" in night.stdout
    after = current_snapshot(home / "published")
    assert after.sha256 == before.sha256
    context = lender_in(home).ingest_context
    kept = context.key_store.delivery_keys("lender")  # but for refused files that could not be searched
    receipts = [r for r in context.book.all("lender") if r.sha256 in kept]
    left = {r.file_name: open_original(context, "lender", r.sha256) for r in receipts}
    assert not [name for name, content in left.items() if f"{MARK}006".encode() in content]
    assert f"Rosa {MARK}005".encode() in left["people-1.csv"]
    shutil.rmtree(home / "said")  # the command line was given the number, and says nothing of it but that
    assert find_words([home], [MARK]) == []
