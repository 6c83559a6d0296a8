"""Receipts, which record the outcome of each delivery in one row of a SQLite file.

The receipt is written last, and commits the delivery: lake files that no receipt names are ignored. A receipt counts
the lines and cents of the delivery by outcome. It is refused unless landed = accepted + quarantined + duplicate, both
for lines and for cents.

A readmission of rows from quarantine has its own receipt (READMITTED), whose counts are changes. For example, if 5
lines are readmitted, it counts 0 landed, 5 accepted and -5 quarantined lines. The sums over all receipts are therefore
the current totals.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from dagster_project.home.sqlite import transaction

_SCHEMA = """
create table if not exists receipts (
  receipt_no       integer primary key autoincrement,
  source           text not null,
  delivery_id      text not null,
  sha256           text not null,
  file_name        text not null,
  state            text not null check (state in ('ACCEPTED', 'PARTIAL', 'QUARANTINED', 'DUPLICATE', 'READMITTED')),
  contract_version text not null,
  ingested_at      text not null,
  landed_rows      integer not null,
  accepted_rows    integer not null,
  quarantined_rows integer not null,
  duplicate_rows   integer not null,
  landed_minor     integer not null,
  accepted_minor   integer not null,
  quarantined_minor integer not null,
  duplicate_minor  integer not null,
  reason           text,
  files            text not null,
  readmits         integer references receipts (receipt_no),
  archived         integer not null default 0,
  check ((state = 'READMITTED') = (readmits is not null)),
  check (landed_rows = accepted_rows + quarantined_rows + duplicate_rows),
  check (landed_minor = accepted_minor + quarantined_minor + duplicate_minor)
);
create table if not exists key_mark (mark text not null);
create index if not exists receipts_landed on receipts (source) where archived = 0;
create unique index if not exists receipts_once
  on receipts (source, sha256, contract_version) where state not in ('DUPLICATE', 'READMITTED');
create index if not exists receipts_readmitted on receipts (readmits) where readmits is not null;
"""


class State(StrEnum):
    """The state of a file in the landing folder, or of a receipt.

    - WAITING: the file is incomplete. It has no receipt yet.
    - ACCEPTED: rows were accepted, and none were quarantined.
    - PARTIAL: some rows were quarantined, and the others were accepted or are duplicates.
    - QUARANTINED: all rows were quarantined.
    - DUPLICATE: all rows were delivered before.
    - READMITTED: the receipt is about rows that left the quarantine, not about a file in the landing folder.
    """

    WAITING = "WAITING"
    ACCEPTED = "ACCEPTED"
    PARTIAL = "PARTIAL"
    QUARANTINED = "QUARANTINED"
    DUPLICATE = "DUPLICATE"
    READMITTED = "READMITTED"


# The states of receipts that have accepted rows.
TAKEN_IN = (State.ACCEPTED, State.PARTIAL, State.READMITTED)


class IdentityError(RuntimeError):
    """A receipt was refused, so nothing was committed; `ReceiptBook.commit` lists the possible causes."""


@dataclass(frozen=True)
class LakeFile:
    """A Parquet file of the lake that a receipt names.

    `table` is the name of the table that the file belongs to. `path` is relative to the folder of the lake. `rows` is
    the number of the delivery's rows in the file. If small files were ingested together, their receipts name the same
    file.
    """

    table: str
    path: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Receipt:
    """The outcome of one delivery, or of one readmission.

    Attributes with the suffix `_rows` are numbers of raw lines. Attributes with the suffix `_minor` are control amounts
    in minor units (cents). `reason` explains the state. It is None if some rows were accepted and none quarantined.
    `files` are the lake files that were written.

    In the receipt of a readmission, `readmits` is the number of the receipt whose quarantined rows are readmitted, and
    the counts are changes. In all other receipts, `readmits` is None.
    """

    source: str
    delivery_id: str
    sha256: str
    file_name: str
    state: State
    contract_version: str
    ingested_at: datetime
    landed_rows: int
    accepted_rows: int
    quarantined_rows: int
    duplicate_rows: int
    landed_minor: int
    accepted_minor: int
    quarantined_minor: int
    duplicate_minor: int
    reason: str | None
    files: tuple[LakeFile, ...]
    readmits: int | None = None


_COLUMNS = tuple(Receipt.__dataclass_fields__)


class ReceiptBook:
    """All receipts of a lake, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._path, _SCHEMA)

    def commit(self, receipts: Sequence[Receipt]) -> list[int]:
        """Write receipts in one transaction.

        Returns the numbers of the receipts, in the same order. If a receipt is refused, none is committed.

        Raises:
            IdentityError: the lines or cents of a receipt do not add up, or a file with this content already has a
                receipt under this contract version, or a receipt readmits more rows than are in quarantine.
        """
        columns = (*_COLUMNS, "archived")
        insert = f"insert into receipts ({', '.join(columns)}) values ({', '.join(':' + c for c in columns)})"  # noqa: S608
        numbers = []
        with self._open() as db:
            for receipt in receipts:
                row = asdict(receipt) | {
                    "ingested_at": receipt.ingested_at.isoformat(),
                    "files": json.dumps([asdict(f) for f in receipt.files]),
                    "archived": receipt.readmits is not None,  # a readmission has no file in the landing folder
                }
                try:
                    numbers.append(int(db.execute(insert, row).lastrowid or 0))
                except sqlite3.IntegrityError as error:
                    raise IdentityError(f"delivery {receipt.delivery_id} of {receipt.source}: {error}") from error
                if receipt.readmits is not None:
                    _check_quarantined(db, receipt)
        return numbers

    def key_mark(self, mark: str) -> str:
        """Return the mark that identifies this lake's root key.

        The first call stores `mark` as the mark of this lake. Later calls return the stored mark.
        """
        with self._open() as db:
            db.execute("insert into key_mark select ? where not exists (select 1 from key_mark)", (mark,))
            return str(db.execute("select mark from key_mark").fetchone()[0])

    def mark_archived(self, receipt_nos: Iterable[int]) -> None:
        """Record that the files of these receipts are no longer in the landing folder."""
        with self._open() as db:
            db.executemany("update receipts set archived = 1 where receipt_no = ?", [(n,) for n in receipt_nos])

    def unarchived(self, source: str, sha256: str, file_name: str) -> int | None:
        """Return the number of the receipt of a file that was committed but not yet archived.

        This happens if a crash left the file in the landing folder. Returns None if there is no such receipt.
        """
        query = "select receipt_no from receipts where source = ? and sha256 = ? and file_name = ? and archived = 0"
        with self._open() as db:
            row = db.execute(query, (source, sha256, file_name)).fetchone()
        return int(row[0]) if row else None

    def all_unarchived(self, source: str) -> list[tuple[int, str]]:
        """Return the numbers and file names of the source's receipts that are not marked as archived.

        The files of these receipts may still be in the landing folder.
        """
        query = "select receipt_no, file_name from receipts where source = ? and archived = 0"
        with self._open() as db:
            return [(int(number), str(name)) for number, name in db.execute(query, (source,))]

    def find(self, source: str, sha256: str, contract_version: str) -> Receipt | None:
        """Return the receipt of the first delivery of this content, or None if the content should be ingested.

        If a file was quarantined as a whole under another contract version, and none of its rows were readmitted, its
        receipt is ignored, so that the file is ingested again under the current contract.

        The landed counts in the result include the changes from later readmissions, because these may count the file
        differently.
        """
        where = (
            "source = ? and sha256 = ? and state not in ('DUPLICATE', 'READMITTED') and (state <> 'QUARANTINED'"
            " or contract_version = ? or receipt_no in (select readmits from receipts where source = ? and sha256 = ?))"
        )
        receipts = self.numbered(where, (source, sha256, contract_version, source, sha256))
        if not receipts:
            return None
        number, receipt = receipts[0]
        readmissions = [later for _, later in self.numbered("readmits = ?", (number,))]
        return replace(
            receipt,
            landed_rows=receipt.landed_rows + sum(r.landed_rows for r in readmissions),
            landed_minor=receipt.landed_minor + sum(r.landed_minor for r in readmissions),
        )

    def contents(self, source: str) -> set[str]:
        """The sha256 of each content that has a receipt."""
        with self._open() as db:
            return {str(sha256) for (sha256,) in db.execute("select sha256 from receipts where source = ?", (source,))}

    def has_accepted(self, source: str) -> bool:
        """Return whether any delivery of a source was accepted, entirely or in part."""
        return any(receipt.state in TAKEN_IN for receipt in self.all(source))

    def all(self, source: str | None = None) -> list[Receipt]:
        """Return all receipts, or only those of one source if `source` is given, oldest first."""
        return [receipt for _, receipt in self._stored() if source in (None, receipt.source)]

    def _stored(self) -> tuple[tuple[int, Receipt], ...]:
        """All receipts with their numbers. A night asks for them often, so they are read again only after a change."""
        with self._open():  # creates the file
            return _read_all(self._path, _state_of(self._path))

    def numbers(self) -> list[tuple[str, int]]:
        """Return the source and the number of each receipt, oldest first."""
        with self._open() as db:
            rows = db.execute("select source, receipt_no from receipts order by receipt_no")
            return [(str(source), int(number)) for source, number in rows]

    def numbered(self, where: str = "true", values: Sequence[str | int] = ()) -> list[tuple[int, Receipt]]:
        """Return the receipts that meet an SQL condition, with their numbers, oldest first.

        `where` is the condition on the columns of the table of receipts. `values` are the values of its placeholders.
        """
        query = f"select receipt_no, {', '.join(_COLUMNS)} from receipts where {where} order by receipt_no"  # noqa: S608
        with self._open() as db:
            return [(int(number), _receipt(tuple(row))) for number, *row in db.execute(query, values)]


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes whenever a transaction changes an SQLite file: its change counter, its time and its size."""
    with path.open("rb") as file:
        header = file.read(100)
        stat = os.fstat(file.fileno())
    return int.from_bytes(header[24:28], "big"), stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=4)
def _read_all(path: Path, state: tuple[int, ...]) -> tuple[tuple[int, Receipt], ...]:  # noqa: ARG001
    """All receipts of a file with their numbers; `state` is the file's state, see `_state_of`."""
    return tuple(ReceiptBook(path).numbered())


def _check_quarantined(db: sqlite3.Connection, receipt: Receipt) -> None:
    """Raise an IdentityError if the receipt readmits more rows than are in quarantine.

    This prevents a row from being readmitted twice.
    """
    query = "select sum(quarantined_rows) from receipts where receipt_no = ? or readmits = ?"
    left = db.execute(query, (receipt.readmits, receipt.readmits)).fetchone()[0]
    if left < 0:
        raise IdentityError(
            f"delivery {receipt.delivery_id} of {receipt.source}: more rows readmitted than quarantined"
        )


def _receipt(row: tuple[object, ...]) -> Receipt:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["state"] = State(str(values["state"]))
    values["ingested_at"] = datetime.fromisoformat(str(values["ingested_at"]))
    values["files"] = tuple(LakeFile(**f) for f in json.loads(str(values["files"])))
    return Receipt(**values)  # type: ignore[arg-type]
