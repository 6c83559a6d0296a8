"""Tests of the joint ingestion of small files.

Apart from the lake files, the result must be the same as if the files were ingested one by one.
"""

import datetime as dt
from dataclasses import asdict, replace

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.ingestion import intake
from dagster_project.ingestion.contracts.canonical import SUPERSEDED
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import LakeCorruptionError, select
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.persons.vault import read_payer, read_person
from dagster_project.ingestion.quarantine import held
from dagster_project.ingestion.readmit import readmit
from dagster_project.keys.master import load_keys
from dagster_project.keys.store import KeyStore
from dagster_project.operations.verify import verify
from support.homes import pipeline_in
from support.persons import agreement, csv_of, deliver, lender_in, person, pseudonym, transfer
from support.simulated_files import CORRECTED, SIMULATED, drop_file, ingest_waiting, loan, payment, raw_rows

KEYS = load_keys(None, None, production=False)
LATER = dt.datetime(2026, 1, 3, tzinfo=dt.UTC)


def paths_of(receipt, table):
    return [f.path for f in receipt.files if f.table == table]


def raw(context, table):
    """Return the rows of a raw table, sorted by delivery and line; None if no receipt names a file of the table."""
    receipts = [r for r in context.book.all() if paths_of(r, table)]
    return raw_rows(context.lake, receipts, table).sort("delivery_id", "line_no") if receipts else None


def test_receipts_share_a_lake_file_and_count_their_own_rows(context):
    for n in range(1, 6):
        drop_file(context, f"payments-2024-01-0{n}.csv", *(payment(100 * n + k, f"{n}.25") for k in range(n)))
    receipts = ingest_waiting(context)
    assert len({path for r in receipts for path in paths_of(r, "payments")}) == 1
    assert [f.rows for r in receipts for f in r.files] == [r.accepted_rows for r in receipts] == [1, 2, 3, 4, 5]
    assert [r.accepted_minor for r in receipts] == [n * n * 100 + 25 * n for n in range(1, 6)]
    rows = raw(context, "payments")
    for receipt in receipts:
        own = rows.filter(pl.col("delivery_id") == receipt.delivery_id)
        assert own["line_no"].to_list() == list(range(2, receipt.landed_rows + 2))


# One payment: its number, amount, day and currency. Some are bad, and some repeat or contradict others.
PAYMENT = st.builds(
    payment,
    st.integers(1, 40),
    st.sampled_from(["5.00", "5.00", "5.00", "7.50", "-1.00", "1.005", "", '"9.00"', "x"]),
    st.sampled_from(["2024-01-01", "2024-01-01", "2024-02-01", "2023-01-01", "2024-02-30"]),
    currency=st.sampled_from(["EUR", "EUR", "EUR", "EUR", "USD"]),
)
GOOD = st.integers(41, 10**6).map(payment)
# The rows of a file and how it ends or is described.
FILE = st.tuples(
    st.one_of(st.lists(GOOD, min_size=1, max_size=4), st.lists(st.one_of(GOOD, PAYMENT), max_size=4)),
    st.sampled_from(["plain", "plain", "plain", "plain", "cut off", "right manifest", "wrong manifest", "windows"]),
)


def _drop(context, number, rows, form):
    name = f"payments-2024-03-{number:02}.csv"
    drop_file(context, name, *rows)
    path = context.landing / "simulated" / name
    if form == "cut off":
        path.write_bytes(path.read_bytes()[:-1])
    if form == "windows":
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    if form.endswith("manifest"):
        path.with_name(name + ".done").write_text(f'{{"rows": {len(rows) + (form == "wrong manifest")}}}')


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(FILE, min_size=2, max_size=8), is_correctable=st.booleans())
def test_together_is_the_same_as_one_by_one(files, is_correctable, tmp_path_factory):
    source, homes = (CORRECTED if is_correctable else SIMULATED), []
    for most in (intake.MAX_FILES, 1):
        home = tmp_path_factory.mktemp("home")
        store = KeyStore(home / "elsewhere/keys.sqlite", KEYS)
        context = IngestContext(home / "landing", home / "lake", KEYS, 0.3, store, home / "audit.head")
        drop_file(context, "loans-2024-01-01.csv", loan(7, "2023-06-01"))
        for number, (rows, form) in enumerate(files, 1):
            _drop(context, number, [row.replace(",7,", ",00000007,") for row in rows], form)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(intake, "MAX_FILES", most)
            ingest_waiting(context, source)
        homes.append(context)
    together, one_by_one = homes
    receipts = [[asdict(replace(r, files=())) for r in home.book.all()] for home in homes]
    assert receipts[0] == receipts[1]
    for table in ("payments", SUPERSEDED):
        one, other = raw(together, table), raw(one_by_one, table)
        assert (one is None) == (other is None) and (one is None or one.equals(other))
    quarantined = [held(home).drop("first_seen_at").sort("receipt_no", "line_no") for home in homes]
    assert quarantined[0].equals(quarantined[1])


def test_file_that_needs_a_decision_is_ingested_alone(context):
    for n in range(1, 9):
        drop_file(context, f"payments-2024-01-0{n}.csv", payment(n, "x" if n == 5 else "5.00"))
    receipts = ingest_waiting(context)
    assert [r.state for r in receipts] == [*[State.ACCEPTED] * 4, State.QUARANTINED, *[State.ACCEPTED] * 3]
    assert [paths_of(r, "payments") for r in receipts[:4]] == [paths_of(receipts[0], "payments")] * 4
    assert paths_of(receipts[4], "payments") == []


def test_row_of_a_shared_file_is_found_when_it_comes_again(context):
    for n in (1, 2, 3):
        drop_file(context, f"payments-2024-01-0{n}.csv", payment(n), payment(10 + n))
    first = ingest_waiting(context)
    drop_file(context, "payments-2024-01-04.csv", payment(12), payment(13, "9.00"), *map(payment, range(20, 60)))
    (again,) = ingest_waiting(context)
    assert (again.duplicate_rows, again.quarantined_rows, again.accepted_rows) == (1, 1, 40)
    (conflict,) = held(context).filter(pl.col("rule") == "conflict").to_dicts()
    assert (conflict["against_delivery_id"], conflict["against_line_no"]) == (first[2].delivery_id, 3)


def test_correction_supersedes_one_row_of_a_shared_file(context):
    for n in (1, 2, 3):
        drop_file(context, f"payments-2024-01-0{n}.csv", payment(n), payment(10 + n))
    first = ingest_waiting(context, CORRECTED)
    drop_file(context, "payments-2024-02-01.csv", payment(12, "8.00", booked="2024-02-01"))
    ingest_waiting(context, CORRECTED)
    (old,) = raw(context, SUPERSEDED).to_dicts()
    assert (old["old_delivery_id"], old["old_line_no"]) == (first[1].delivery_id, 3)


def test_night_reads_a_shared_file_once_and_stops_if_it_is_damaged(context, tmp_path):
    for n in (1, 2, 3):
        drop_file(context, f"payments-2024-01-0{n}.csv", payment(n))
    receipts = ingest_waiting(context)
    assert select(context.lake, tmp_path / "selection", "simulated", receipts)["payments"] == 3
    assert pl.read_parquet(tmp_path / "selection/simulated/payments/*.parquet").height == 3
    (path,) = {context.lake / path for r in receipts for path in paths_of(r, "payments")}
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LakeCorruptionError, match=path.name):
        select(context.lake, tmp_path / "selection", "simulated", receipts)


def test_verify_checks_a_shared_file_once_and_every_original(tmp_path):
    pipeline = pipeline_in(tmp_path / "home")
    context = pipeline.ingest_context
    for n in (1, 2, 3):
        drop_file(context, f"payments-2024-01-0{n}.csv", payment(n))
    receipts = ingest_waiting(context)
    found = verify(pipeline, lambda *_: None)
    assert (found.faults, found.checked["lake files"], found.checked["originals"]) == ([], 1, 3)
    (context.lake / paths_of(receipts[0], "payments")[0]).unlink()
    assert [fault for fault in verify(pipeline, lambda *_: None).faults if "missing" in str(fault)]


@pytest.fixture
def lender(tmp_path):
    return lender_in(tmp_path / "home")


def test_payer_in_shared_files_is_read_from_the_own_deliveries(lender):
    """The rows of a payer whose deliveries share a lake file are read only from the payer's own deliveries.

    Line 2 of the second and the fourth file belongs to the payer. Line 2 of the first and the third file belongs to
    another payer.
    """
    deliver(lender, {f"transfers-{n}.csv": csv_of("transfers", transfer(n, payer_no=f"P{n % 2}")) for n in range(4)})
    context = lender.ingest_context
    found = read_payer(context, lender.sources["lender"], [pseudonym(lender, "P1", "payer_id")])
    assert len(found) == 2 and {row["payer_no"] for kept in found for row in kept.rows} == {"P1"}


def test_borrowers_in_shared_files_have_their_vault_rows_by_delivery(lender):
    people = {f"people-{n}.csv": csv_of("people", person(n), person(n + 10)) for n in range(3)}
    receipts = deliver(lender, people | {f"agreements-{n}.csv": csv_of("agreements", agreement(n)) for n in range(3)})
    assert len({paths_of(r, "borrowers")[0] for r in receipts if paths_of(r, "borrowers")}) == 1
    context = lender.ingest_context
    (kept,) = read_person(context, "lender", pseudonym(lender, "C100011"))
    assert kept.rows[0]["name"] == "Ilse Quandt-00011"


def test_whole_refused_file_is_readmitted_beside_a_shared_file(context):
    """A refused file is readmitted under a new contract, and the rows in the shared lake file do not change."""
    for n in (1, 2, 4):
        drop_file(context, f"payments-2024-01-0{n}.csv", payment(n))
    drop_file(context, "payments-2024-01-03.csv", payment(3, "5.00").replace("transfer", "giro"))
    ingest_waiting(context)
    before = raw(context, "payments")
    layouts = tuple(
        replace(
            layout,
            columns=tuple(
                replace(column, pattern=None) if column.name == "method" else column for column in layout.columns
            ),
        )
        for layout in SIMULATED.contract.layouts
    )
    newer = replace(SIMULATED, contract=replace(SIMULATED.contract, version="99.0.0", layouts=layouts))
    readmit(newer, context, LATER)
    after = raw(context, "payments")
    assert after.height == 4 and before.equals(after.filter(pl.col("payment_id") != "3"))
