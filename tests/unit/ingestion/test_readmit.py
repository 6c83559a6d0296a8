"""Tests that quarantined rows and files are readmitted once a newer contract accepts them."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from dagster_project.ingestion.contracts.source import Source, load_sources
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import IdentityError, ReceiptBook, State
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.quarantine import counts, held
from dagster_project.ingestion.readmit import readmit
from support.homes import pipeline_in
from support.simulated_files import raw_rows

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)
SIMULATED = load_sources()["simulated"]
FIRST = SIMULATED.contract.version
COLUMNS = list(SIMULATED.contract.layout_of("payments-2024-01-01.csv").schema)


def changed(version: str, **columns) -> Source:
    """Return the simulated source under a contract with another version and other columns of the payments file.

    Each further argument is named after a column. For an existing column, the argument is a dictionary of the changed
    fields. For a column that the file does not have, pass None: the column is added as optional text.
    """
    contract, layouts = SIMULATED.contract, []
    for layout in contract.layouts:
        if layout.name == "payments_file":
            own = [replace(c, **(columns.get(c.name) or {})) for c in layout.columns]
            method = next(c for c in own if c.name == "method")
            own += [replace(method, name=name, pattern=None, required=False) for name in columns if name not in COLUMNS]
            layouts.append(replace(layout, columns=tuple(own)))
        else:
            layouts.append(layout)
    return replace(SIMULATED, contract=replace(contract, version=version, layouts=tuple(layouts)))


@pytest.fixture
def context(tmp_path):
    return pipeline_in(tmp_path / "home").ingest_context


def drop(context, name, *rows, header=COLUMNS):
    folder = context.landing / "simulated"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([",".join(header), *rows]) + "\n")


def payment(number, amount="5.00", method="transfer", more=""):
    return f"{number},7,2024-01-01,{amount},EUR,{method},,2024-01-01{more}"


def many(first, count):
    return [payment(n) for n in range(first, first + count)]


def accepted(context):
    return sorted(int(n) for n in raw_rows(context.lake, context.book.all(), "payments")["payment_id"])


def identity(context):
    """Return the totals of all receipts as (landed, accepted, quarantined, duplicate), for rows and for cents.

    Also assert that landed is the sum of the other three, and that the rows still in quarantine add up to the
    quarantined totals.
    """
    receipts = context.book.all()
    units = []
    for unit in ("rows", "minor"):
        landed, *others = (
            sum(getattr(r, f"{what}_{unit}") for r in receipts)
            for what in ("landed", "accepted", "quarantined", "duplicate")
        )
        assert landed == sum(others)
        units.append((landed, *others))
    open_rows = held(context).filter(pl.col("state") == "open")
    assert (open_rows["lines"].sum(), open_rows["minor"].sum()) == (units[0][2], units[1][2])
    return tuple(units)


MENDED = changed("2.1.0", method={"pattern": "^(direct_debit|transfer|cash|card)$"}, amount={"minimum": None})


def test_rows_come_back_that_the_newer_contract_accepts_and_no_other(context):
    drop(context, "payments-2024-01-01.csv", *many(1, 300), payment(301, method="card"), payment(302, "1e3"))
    ingest(SIMULATED, context, NOW)
    assert identity(context)[0] == (302, 300, 2, 0)
    assert readmit(SIMULATED, context, LATER).receipts == (), "nothing is good under the same contract"
    (receipt,) = readmit(MENDED, context, LATER).receipts
    assert receipt.state is State.READMITTED
    assert (receipt.landed_rows, receipt.accepted_rows, receipt.quarantined_rows) == (0, 1, -1)
    assert identity(context) == ((302, 301, 1, 0), (150_500, 150_500, 0, 0))
    assert accepted(context) == list(range(1, 302))
    states = held(context).select("line_no", "rule", "state", "contract_version").rows()
    assert states == [(302, "method:pattern", "readmitted", FIRST), (303, "amount:money", "open", FIRST)]
    assert counts(held(context)).rows() == [
        ("simulated", "amount:money", 1, 1, 0),
        ("simulated", "method:pattern", 1, 0, 1),
    ]
    assert held(context, until=NOW.replace(tzinfo=None))["state"].to_list() == ["open", "open"]
    # Idempotent; and the night reads both files of the delivery.
    assert readmit(MENDED, context, LATER).receipts == ()
    rows = select(context.lake, context.lake.parent / "selection", "simulated", context.book.all())
    assert rows["payments"] == 301
    assert pl.read_parquet(context.lake.parent / "selection/simulated/payments/*.parquet").height == 301


def test_row_keeps_its_line_and_is_known_since_it_is_taken_back(context):
    drop(context, "payments-2024-01-01.csv", *many(1, 300), payment(301, method="card"))
    ingest(SIMULATED, context, NOW)
    (receipt,) = readmit(MENDED, context, LATER).receipts
    (file,) = [f for f in receipt.files if f.table == "payments"]
    row = pl.read_parquet(context.lake / file.path).row(0, named=True)
    assert (row["line_no"], row["delivery_id"]) == (302, receipt.delivery_id)
    assert row["ingested_at"] == LATER.replace(tzinfo=None)
    assert row["known_at"] == dt.date(2024, 1, 1)


def test_amount_that_could_not_be_read_is_counted_when_it_can_be(context):
    """An amount above the contract's maximum counts as 0 cents until a newer contract allows it.

    The full amount is counted when the row is readmitted. The totals of cents add up before and after the readmission.
    """
    limited = changed("1.9.0", amount={"maximum": 100})
    drop(context, "payments-2024-01-01.csv", *many(1, 300), payment(301, "250.00"))
    ingest(limited, context, NOW)
    assert identity(context)[1] == (150_000, 150_000, 0, 0)
    (receipt,) = readmit(SIMULATED, context, LATER).receipts
    assert (receipt.landed_minor, receipt.accepted_minor, receipt.quarantined_minor) == (25_000, 25_000, 0)
    assert identity(context)[1] == (175_000, 175_000, 0, 0)


def test_file_with_a_new_column_comes_back_once_the_contract_has_it(context):
    """A file that was refused for an unknown column is readmitted once the contract has the column.

    The file was quarantined as a whole. When it is readmitted, its 300 good rows are accepted, and the bad row is
    quarantined under the rule that it breaks.
    """
    rows = [payment(n, more=",x") for n in range(1, 301)] + [payment(301, "1e3", more=",x")]
    drop(context, "payments-2024-01-01.csv", *rows, header=[*COLUMNS, "note"])
    ingest(SIMULATED, context, NOW)
    assert held(context).select("line_no", "lines", "rule").rows() == [(0, 301, "schema_drift")]
    newer = changed("3.0.0", note=None)
    assert len(readmit(newer, context, LATER).receipts) == 1
    assert identity(context) == ((301, 300, 1, 0), (150_000, 150_000, 0, 0))
    states = held(context).select("line_no", "rule", "state", "contract_version").rows()
    assert states == [(0, "schema_drift", "readmitted", FIRST), (302, "amount:money", "open", "3.0.0")]
    assert readmit(newer, context, LATER).receipts == ()
    # Dropped again it is a duplicate, counted as what landed.
    drop(context, "payments-2024-01-01.csv", *rows, header=[*COLUMNS, "note"])
    (again,) = ingest(newer, context, LATER)
    assert (again.state, again.landed_rows, again.landed_minor) == (State.DUPLICATE, 301, 150_000)
    identity(context)


def test_row_of_a_readmitted_file_can_come_back_later(context):
    rows = [payment(n, more=",x") for n in range(1, 301)] + [payment(301, method="card", more=",x")]
    drop(context, "payments-2024-01-01.csv", *rows, header=[*COLUMNS, "note"])
    ingest(SIMULATED, context, NOW)
    readmit(changed("3.0.0", note=None), context, LATER)
    newest = changed("3.1.0", note=None, method={"pattern": None})
    (receipt,) = readmit(newest, context, LATER).receipts
    assert (receipt.accepted_rows, receipt.readmits) == (1, 1)
    assert identity(context)[0] == (301, 301, 0, 0)
    assert readmit(newest, context, LATER).receipts == ()


def test_file_dropped_again_and_accepted_leaves_duplicates_behind(context):
    """If a quarantined file is delivered again and accepted, the quarantined rows of the first file become duplicates.

    A readmission finds that the lake already contains these rows. Each payment is in the lake only once.
    """
    rows = [payment(n, method="card") for n in range(1, 5)]
    drop(context, "payments-2024-01-01.csv", *rows)
    ingest(SIMULATED, context, NOW)
    drop(context, "payments-2024-01-02.csv", *rows)
    assert [r.state for r in ingest(MENDED, context, LATER)] == [State.ACCEPTED]
    (receipt,) = readmit(MENDED, context, LATER).receipts
    assert (receipt.accepted_rows, receipt.duplicate_rows, receipt.quarantined_rows) == (0, 4, -4)
    assert accepted(context) == [1, 2, 3, 4]
    assert identity(context)[0] == (8, 4, 0, 4)
    assert set(held(context)["state"]) == {"duplicate"}


def test_file_that_is_still_wrong_in_many_rows_is_not_trusted_in_the_others(context):
    rows = [*many(1, 90), *(payment(n, method="card") for n in range(91, 100)), payment(100, "x"), payment(101, "x")]
    drop(context, "payments-2024-01-01.csv", *rows)
    ingest(SIMULATED, context, NOW)
    assert held(context).height == 101
    assert readmit(MENDED, context, LATER).receipts == (), "2 of 101 rows are bad still"
    drop(
        context, "payments-2024-01-02.csv", *(r.replace(",x,", ",1e3,") for r in [*rows[:-2], *many(200, 50), rows[-1]])
    )
    ingest(SIMULATED, context, NOW)
    (receipt,) = readmit(MENDED, context, LATER).receipts
    assert (receipt.file_name, receipt.accepted_rows) == ("payments-2024-01-02.csv", 149)
    identity(context)


def test_conflict_comes_back_as_a_correction_once_the_contract_declares_them(context):
    drop(context, "payments-2024-01-01.csv", payment(1), payment(2))
    drop(context, "payments-2024-01-02.csv", payment(2, "6.00"))
    ingest(SIMULATED, context, NOW)
    assert held(context)["rule"].to_list() == ["conflict"]
    tables = tuple(replace(t, corrections=t.name == "payments") for t in SIMULATED.contract.tables)
    declares = replace(SIMULATED, contract=replace(SIMULATED.contract, version="2.1.0", tables=tables))
    (receipt,) = readmit(declares, context, LATER).receipts
    assert {f.table for f in receipt.files} == {"payments", "superseded", "readmitted"}
    assert identity(context)[0] == (3, 3, 0, 0)


def test_only_the_delivery_that_was_asked_for(context):
    for day in (1, 2):
        drop(context, f"payments-2024-01-0{day}.csv", payment(day, method="card"))
    _, second = ingest(SIMULATED, context, NOW)
    done = readmit(MENDED, context, LATER, delivery=second.delivery_id[:8])
    assert [r.file_name for r in done.receipts] == ["payments-2024-01-02.csv"]


def test_refusal_by_manifest_is_not_readmitted(context):
    """A file that does not match its manifest is not readmitted.

    It is not the file that its sender meant to send, and no change of the contract can repair that.
    """
    drop(context, "payments-2024-01-01.csv", payment(1))
    (context.landing / "simulated/payments-2024-01-01.csv.done").write_text('{"rows": 2}')
    (refused,) = ingest(SIMULATED, context, NOW)
    assert refused.reason.startswith("row_count")
    assert readmit(MENDED, context, LATER).receipts == ()


def test_missing_original_is_reported(context):
    drop(context, "payments-2024-01-01.csv", payment(1, method="card"))
    ingest(SIMULATED, context, NOW)
    for path in (context.lake / "originals").rglob("*.sealed"):
        path.unlink()
    assert readmit(MENDED, context, LATER).gone == ("payments-2024-01-01.csv",)


@pytest.mark.parametrize("killed_in", [(ReceiptBook, "commit"), (KnownRows, "add"), (KnownRows, "save")])
def test_crash_leaves_all_or_nothing(context, monkeypatch, killed_in):
    """A crash during a readmission leaves either no effect or the whole effect.

    The commit of the receipt decides which of the two. The next readmission completes the work, or does nothing if the
    receipt was committed.
    """
    drop(context, "payments-2024-01-01.csv", *many(1, 300), payment(301, method="card"))
    ingest(SIMULATED, context, NOW)
    with monkeypatch.context() as patch:
        patch.setattr(*killed_in, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            readmit(MENDED, context, LATER)
    committed = killed_in != (ReceiptBook, "commit")
    assert identity(context)[0] == ((301, 301, 0, 0) if committed else (301, 300, 1, 0))
    assert len(readmit(MENDED, context, LATER).receipts) == (0 if committed else 1)
    assert accepted(context) == list(range(1, 302))
    assert identity(context)[0] == (301, 301, 0, 0)


def test_row_cannot_leave_twice(context):
    """A row cannot be readmitted twice.

    If two readmissions both read a row while it is in quarantine, the second one cannot be committed.
    """
    drop(context, "payments-2024-01-01.csv", *many(1, 300), payment(301, method="card"))
    ingest(SIMULATED, context, NOW)
    (receipt,) = readmit(MENDED, context, LATER).receipts
    with pytest.raises(IdentityError, match="more rows readmitted"):
        context.book.commit([receipt])
    assert identity(context)[0] == (301, 301, 0, 0)


def test_file_dropped_right_after_a_readmission_is_a_duplicate(context):
    """A file that is delivered again right after its readmission is a duplicate.

    A readmission leaves no file in the landing folder. The new file must therefore not be mistaken for a file that a
    crash left behind.
    """
    rows = [*many(1, 300), payment(301, method="card")]
    drop(context, "payments-2024-01-01.csv", *rows)
    ingest(SIMULATED, context, NOW)
    assert len(readmit(MENDED, context, LATER).receipts) == 1
    drop(context, "payments-2024-01-01.csv", *rows)
    (again,) = ingest(MENDED, context, LATER)
    assert (again.state, again.duplicate_rows) == (State.DUPLICATE, 301)
