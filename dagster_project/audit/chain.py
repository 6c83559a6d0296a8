"""The audit chain: an append-only log whose rows are sealed one after the other with a key. Knows no Dagster.

Each row's seal is an HMAC-SHA256 over the row and the seal before it, so that nobody without the key can edit, delete,
swap or insert one. What a chain cannot show is that its end was cut off: the newest row's number and seal, the head, is
therefore kept in a second place, and is best kept where whoever can write the log cannot. What goes into the log is
the business of others; no row holds personal data.
"""

import fcntl
import hmac
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from dagster_project.home.files import replace_text

_SCHEMA = """
create table if not exists audit (
  row_no  integer primary key,
  at      text not null,
  kind    text not null,
  subject text not null,
  facts   text not null,
  late    integer not null,
  seal    text not null
);
create index if not exists audit_by_kind on audit (kind, subject);
create trigger if not exists audit_keeps before update on audit
  begin select raise(abort, 'the audit log is append-only'); end;
create trigger if not exists audit_keeps_rows before delete on audit
  begin select raise(abort, 'the audit log is append-only'); end;
"""
_COLUMNS = "row_no, at, kind, subject, facts, late, seal"
_GENESIS = "0" * 64
_STEP = 10_000

Fact = str | int | float | bool | None
# Called with how many rows are done, and how many there are.
Progress = Callable[[int, int], None]


class Kind(StrEnum):
    """What a row tells of."""

    DELIVERY = "delivery"
    PUBLISH = "publish"
    PROMOTION = "promotion"
    WAIVER = "waiver"
    ERASURE = "erasure"
    VAULT_READ = "vault read"
    REPLAY = "replay"
    REBUILD = "rebuild"


class AuditError(RuntimeError):
    """The log and its head do not belong together: nothing is appended, and the home is not to be trusted."""


@dataclass(frozen=True)
class Entry:
    """What is to be written down: no personal data, neither in `subject` nor in `facts`."""

    kind: Kind
    subject: str
    facts: Mapping[str, Fact]


@dataclass(frozen=True)
class Row:
    """A row as it stands in the log. `at`: UTC; `facts`: JSON; `late`: a start after a crash wrote it."""

    number: int
    at: str
    kind: str
    subject: str
    facts: str
    late: bool
    seal: str

    def parsed_facts(self) -> dict[str, Fact]:
        """The facts."""
        found: dict[str, Fact] = json.loads(self.facts)
        return found


@dataclass(frozen=True)
class Head:
    """The newest row, as it is kept apart from the log."""

    number: int
    seal: str


class AuditLog:
    """The log in one SQLite file, and its head in a file elsewhere.

    Args:
        path: the log.
        head: where its head is kept.
        key: seals the rows; derived from the master key.
    """

    def __init__(self, path: Path, head: Path, key: bytes) -> None:
        self.path, self.head_file, self._key = path, head, key

    def append(self, entries: Sequence[Entry], *, late: bool = False) -> None:
        """Write entries, all or none, then the head.

        Args:
            entries: in the order in which they happened.
            late: what they tell of happened before a crash, and is written down by the start after it.

        Raises:
            AuditError: the log does not end as its head says; see `creditloom verify`.
        """
        if not entries:
            return
        at = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        with self._alone(), self._open() as db:
            last = self._last(db)
            rows = []
            for entry in entries:
                facts = json.dumps(dict(entry.facts), sort_keys=True, separators=(",", ":"))
                row = Row(last.number + 1, at, entry.kind.value, entry.subject, facts, late, "")
                last = Head(row.number, self._seal(row, last.seal))
                rows.append((row.number, at, row.kind, row.subject, facts, int(late), last.seal))
            with db:
                db.executemany(f"insert into audit ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
            self._write_head(last)

    def rows(self, kind: Kind | None = None) -> list[Row]:
        """The rows in their order; of one kind if given."""
        if not self.path.exists():
            return []
        where, values = ("where kind = ?", (kind.value,)) if kind else ("", ())
        with self._open() as db:
            return [_row(r) for r in db.execute(f"select {_COLUMNS} from audit {where} order by row_no", values)]  # noqa: S608

    def subjects(self, kind: Kind) -> set[str]:
        """What the rows of one kind are about."""
        if not self.path.exists():
            return set()
        with self._open() as db:
            return {str(s) for (s,) in db.execute("select distinct subject from audit where kind = ?", (kind.value,))}

    def newest(self, kind: Kind) -> Row | None:
        """The newest row of a kind."""
        if not self.path.exists():
            return None
        with self._open() as db:
            query = f"select {_COLUMNS} from audit where kind = ? order by row_no desc limit 1"  # noqa: S608
            found = db.execute(query, (kind.value,)).fetchone()
        return _row(found) if found else None

    def faults(self, progress: Progress = lambda _done, _all: None) -> list[str]:
        """What is wrong with the log, in words; empty if every row is the one that was written, and none is missing."""
        if not self.path.exists():
            return [f"{self.path} is missing, and its head is not"] if self.head_file.exists() else []
        try:
            with self._open() as db:
                return self._faults(db, progress)
        except sqlite3.DatabaseError as error:
            return [f"{self.path} cannot be read: {error}"]

    def _faults(self, db: sqlite3.Connection, progress: Progress) -> list[str]:
        total = int(db.execute("select count(*) from audit").fetchone()[0])
        found: list[str] = []
        wrong: list[int] = []
        missing: list[int] = []
        due, before, head = 1, _GENESIS, self._read_head()
        head_seal = _GENESIS if head and head.number == 0 else None
        for done, values in enumerate(db.execute(f"select {_COLUMNS} from audit order by row_no")):  # noqa: S608
            row = _row(values)
            if done % _STEP == 0:
                progress(done, total)
            missing += range(due, row.number)
            if not hmac.compare_digest(self._seal(row, before), row.seal):
                wrong.append(row.number)
            if head and row.number == head.number:
                head_seal = row.seal
            due, before = max(due, row.number + 1), row.seal
        progress(total, total)
        found += [f"{_spans(missing)} of the log: gone"] if missing else []
        found += [f"{_spans(wrong)} of the log: not as written, or not in this place"] if wrong else []
        if head is None and not total and not self.head_file.exists():
            return found  # a crash on the way to the first row
        if head is None:
            found += [
                f"the head {self.head_file} is missing or unreadable: whether the log's end was cut off is unknown"
            ]
        elif head.number >= due:
            found += [f"the log ends with row {due - 1}, its head names row {head.number}: the end was cut off"]
        elif head_seal != head.seal:
            found += [f"row {head.number} of the log is another one than its head {self.head_file} names"]
        return found

    def _seal(self, row: Row, before: str) -> str:
        sealed = [before, row.number, row.at, row.kind, row.subject, row.facts, int(row.late)]
        return hmac.digest(self._key, json.dumps(sealed, separators=(",", ":")).encode(), "sha256").hex()

    def _last(self, db: sqlite3.Connection) -> Head:
        """The newest row, after looking that the log still holds what the head names, and goes on from there."""
        head = self._read_head()
        count, newest = db.execute("select count(*), coalesce(max(row_no), 0) from audit").fetchone()
        if head is None and not newest and not self.head_file.exists():
            head = Head(0, _GENESIS)
            self._write_head(head)  # before the first row: a log with rows and without a head is then no crash's doing
        if head is None or head.number > newest or count != newest:
            raise self._torn()
        last = head
        query = f"select {_COLUMNS} from audit where row_no >= ? order by row_no"  # noqa: S608
        for values in db.execute(query, (head.number,)):
            row = _row(values)
            if row.number == head.number:
                if row.seal != head.seal:
                    raise self._torn()
                continue
            # Rows that a crash kept out of the head: they must follow from it.
            if not hmac.compare_digest(self._seal(row, last.seal), row.seal):
                raise self._torn()
            last = Head(row.number, row.seal)
        return last

    def _torn(self) -> AuditError:
        return AuditError(
            f"the audit log {self.path} does not end as its head {self.head_file} says: rows were taken from it, or "
            "one of the two is from another time. `creditloom verify` says what is missing; restore both from one "
            "backup. Nothing was appended"
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process appends at a time, log and head together."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            connection.execute("pragma synchronous = full")
            connection.execute("pragma recursive_triggers = on")  # `insert or replace` deletes, too
            connection.executescript(_SCHEMA)
            yield connection
        finally:
            connection.close()

    def _read_head(self) -> Head | None:
        try:
            found = json.loads(self.head_file.read_text())
            return Head(int(found["row"]), str(found["seal"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_head(self, head: Head) -> None:
        self.head_file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self.head_file, json.dumps({"row": head.number, "seal": head.seal}) + "\n")


def _row(values: tuple[int, str, str, str, str, int, str]) -> Row:
    number, at, kind, subject, facts, late, seal = values
    return Row(number, at, kind, subject, facts, bool(late), seal)


def _spans(numbers: Sequence[int]) -> str:
    """Numbers in words: rows 3 to 5, 9."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    words = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in spans)
    return f"row {words}" if len(numbers) == 1 else f"rows {words}"
