"""Receipts: one row per delivery, written last. The receipt is the commit; a file without one does not exist.

Each receipt states what the delivery's lines and cents became, and the transaction refuses it unless
landed = accepted + quarantined + duplicate, for both.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

_SCHEMA = """
create table if not exists receipts (
  receipt_no       integer primary key autoincrement,
  source           text not null,
  delivery_id      text not null,
  sha256           text not null,
  file_name        text not null,
  state            text not null check (state in ('ACCEPTED', 'PARTIAL', 'QUARANTINED', 'DUPLICATE')),
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
  archived         integer not null default 0,
  check (landed_rows = accepted_rows + quarantined_rows + duplicate_rows),
  check (landed_minor = accepted_minor + quarantined_minor + duplicate_minor)
);
create table if not exists key_mark (mark text not null);
create index if not exists receipts_landed on receipts (source) where archived = 0;
create unique index if not exists receipts_once
  on receipts (source, sha256, contract_version) where state <> 'DUPLICATE';
"""


class State(StrEnum):
    """What became of a delivery."""

    ACCEPTED = "ACCEPTED"
    PARTIAL = "PARTIAL"
    QUARANTINED = "QUARANTINED"
    DUPLICATE = "DUPLICATE"


class IdentityError(RuntimeError):
    """The lines or cents of a delivery do not add up; nothing was committed."""


@dataclass(frozen=True)
class LakeFile:
    """A Parquet file that a receipt names: its table, its path inside the lake, and the hash of its bytes."""

    table: str
    path: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Receipt:
    """One delivery's outcome. Amounts are the contract's control amount in minor units."""

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


_COLUMNS = tuple(Receipt.__dataclass_fields__)


class ReceiptBook:
    """All receipts, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            connection.execute("pragma synchronous = full")
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
        finally:
            connection.close()

    def commit(self, receipts: Sequence[Receipt]) -> list[int]:
        """Write receipts in one transaction, all or none; returns their numbers.

        Raises:
            IdentityError: the rows or cents of one do not add up, or its content already has a receipt.
        """
        insert = f"insert into receipts ({', '.join(_COLUMNS)}) values ({', '.join(':' + c for c in _COLUMNS)})"  # noqa: S608
        numbers = []
        with self._open() as db:
            for receipt in receipts:
                row = asdict(receipt) | {
                    "ingested_at": receipt.ingested_at.isoformat(),
                    "files": json.dumps([asdict(f) for f in receipt.files]),
                }
                try:
                    numbers.append(int(db.execute(insert, row).lastrowid or 0))
                except sqlite3.IntegrityError as error:
                    raise IdentityError(f"delivery {receipt.delivery_id} of {receipt.source}: {error}") from error
        return numbers

    def key_mark(self, mark: str) -> str:
        """The mark of the key that this lake's pseudonyms are made with; the first one to come is kept."""
        with self._open() as db:
            db.execute("insert into key_mark select ? where not exists (select 1 from key_mark)", (mark,))
            return str(db.execute("select mark from key_mark").fetchone()[0])

    def mark_archived(self, receipt_nos: Iterable[int]) -> None:
        """Note that the originals of these receipts have left the landing folder."""
        with self._open() as db:
            db.executemany("update receipts set archived = 1 where receipt_no = ?", [(n,) for n in receipt_nos])

    def unarchived(self, source: str, sha256: str, file_name: str) -> int | None:
        """Number of the receipt of this very file, if a crash kept its original in the landing folder."""
        query = "select receipt_no from receipts where source = ? and sha256 = ? and file_name = ? and archived = 0"
        with self._open() as db:
            found = db.execute(query, (source, sha256, file_name)).fetchone()
        return int(found[0]) if found else None

    def all_unarchived(self, source: str) -> list[tuple[int, str]]:
        """Numbers and file names of the receipts whose originals are not known to have left the landing folder."""
        query = "select receipt_no, file_name from receipts where source = ? and archived = 0"
        with self._open() as db:
            return [(int(number), str(name)) for number, name in db.execute(query, (source,))]

    def find(self, source: str, sha256: str, contract_version: str) -> Receipt | None:
        """The receipt of this content, unless it was quarantined whole under another version of the contract."""
        where = (
            "source = ? and sha256 = ? and state <> 'DUPLICATE' and (state <> 'QUARANTINED' or contract_version = ?)"
        )
        found = self._select(where, (source, sha256, contract_version))
        return found[0] if found else None

    def has_accepted(self, source: str) -> bool:
        """Whether any delivery of a source was accepted, in whole or in part."""
        return bool(self._select("source = ? and state in ('ACCEPTED', 'PARTIAL')", (source,)))

    def all(self, source: str | None = None) -> list[Receipt]:
        """Every receipt, oldest first; of one source if given."""
        where, values = ("source = ?", (source,)) if source else ("true", ())
        return self._select(where, values)

    def numbers(self) -> list[tuple[str, int]]:
        """Source and number of every receipt, oldest first."""
        with self._open() as db:
            found = db.execute("select source, receipt_no from receipts order by receipt_no")
            return [(str(source), int(number)) for source, number in found]

    def numbered(self) -> list[tuple[int, Receipt]]:
        """Every receipt with its number, oldest first."""
        query = f"select {', '.join(_COLUMNS)}, receipt_no from receipts order by receipt_no"  # noqa: S608
        with self._open() as db:
            return [(int(row[-1]), _receipt(row[:-1])) for row in db.execute(query)]

    def _select(self, where: str, values: tuple[str, ...]) -> list[Receipt]:
        query = f"select {', '.join(_COLUMNS)} from receipts where {where} order by receipt_no"  # noqa: S608
        with self._open() as db:
            return [_receipt(row) for row in db.execute(query, values)]


def _receipt(row: tuple[object, ...]) -> Receipt:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["state"] = State(str(values["state"]))
    values["ingested_at"] = datetime.fromisoformat(str(values["ingested_at"]))
    values["files"] = tuple(LakeFile(**f) for f in json.loads(str(values["files"])))
    return Receipt(**values)  # type: ignore[arg-type]
