"""The audit chain: an append-only log whose rows are linked by keyed hashes.

The seal of a row is an HMAC-SHA256 of the row and of the previous row's seal. So any change, deletion, swap or
insertion by someone without the key is detected. The chain alone cannot show whether rows were removed at its end. The
number and the seal of the newest row, called the head, are therefore stored in a second file. This file should be in a
place where people who can change the log have no access.

Callers decide what is logged. No row may contain personal data. This module does not use Dagster.
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
# A function that is called with the number of checked rows and the number of all rows.
Progress = Callable[[int, int], None]


class Kind(StrEnum):
    """The kind of a row, which names the action that the row records."""

    DELIVERY = "delivery"
    PUBLISH = "publish"
    PROMOTION = "promotion"
    WAIVER = "waiver"
    ERASURE = "erasure"
    VAULT_READ = "vault read"
    REPLAY = "replay"
    REBUILD = "rebuild"


class AuditError(RuntimeError):
    """Raised if the end of the log does not match its head, so that the data in the home cannot be trusted.

    Nothing was appended to the log.
    """


@dataclass(frozen=True)
class Entry:
    """An action to be recorded as a row of the log. No field may contain personal data.

    Attributes:
        kind: the kind of the action.
        subject: the object of the action, such as the id of a snapshot.
        facts: details of the action, by name.
    """

    kind: Kind
    subject: str
    facts: Mapping[str, Fact]


@dataclass(frozen=True)
class Row:
    """A row of the log.

    Attributes:
        number: the number of the row; the first row has number 1.
        at: the time in UTC at which the row was written, in ISO format.
        kind: the kind of the action, which is a value of `Kind`.
        subject: the object of the action.
        facts: details of the action as a JSON object.
        late: whether a crash prevented the row from being written at the time of the action, so that a later run wrote
            it.
        seal: the keyed hash of the row and of the previous row's seal, in hexadecimal.
    """

    number: int
    at: str
    kind: str
    subject: str
    facts: str
    late: bool
    seal: str

    def parsed_facts(self) -> dict[str, Fact]:
        """Return the details of the action as a dictionary."""
        parsed: dict[str, Fact] = json.loads(self.facts)
        return parsed


@dataclass(frozen=True)
class Head:
    """The number and the seal of the newest row, which are stored in a file outside the log."""

    number: int
    seal: str


class AuditLog:
    """The audit log in an SQLite file, together with the file of its head.

    Args:
        path: the SQLite file of the log. It is created when the first row is appended.
        head: the file of the head.
        key: the secret key of the seals. It is derived from the root key.
    """

    def __init__(self, path: Path, head: Path, key: bytes) -> None:
        self.path, self.head_file, self._key = path, head, key

    def append(self, entries: Sequence[Entry], *, late: bool = False) -> None:
        """Append a row for each entry in a single transaction, and then update the head.

        Does nothing if there are no entries.

        Args:
            entries: the entries, in chronological order.
            late: whether a crash prevented the rows from being written at the time of the actions.

        Raises:
            AuditError: the end of the log does not match the head. `creditloom verify` lists what is missing.
        """
        if not entries:
            return
        at = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        with self._lock(), self._open() as db:
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
        """Return all rows, or only those of one kind if `kind` is given, oldest first.

        Returns an empty list if the log does not exist.
        """
        if not self.path.exists():
            return []
        where, values = ("where kind = ?", (kind.value,)) if kind else ("", ())
        with self._open() as db:
            return [_row(r) for r in db.execute(f"select {_COLUMNS} from audit {where} order by row_no", values)]  # noqa: S608

    def subjects(self, kind: Kind) -> set[str]:
        """Return the distinct subjects of all rows of one kind.

        Returns an empty set if there are no such rows, or if the log does not exist.
        """
        if not self.path.exists():
            return set()
        with self._open() as db:
            return {str(s) for (s,) in db.execute("select distinct subject from audit where kind = ?", (kind.value,))}

    def newest(self, kind: Kind) -> Row | None:
        """Return the newest row of one kind, or None if there is no such row."""
        if not self.path.exists():
            return None
        with self._open() as db:
            query = f"select {_COLUMNS} from audit where kind = ? order by row_no desc limit 1"  # noqa: S608
            found = db.execute(query, (kind.value,)).fetchone()
        return _row(found) if found else None

    def faults(self, progress: Progress = lambda _done, _all: None) -> list[str]:
        """Verify the whole log and return a message for each fault, or an empty list if no row was changed or removed.

        `progress` is called from time to time with the number of rows that were verified and the total number of rows.
        """
        if not self.path.exists():
            return [f"{self.path} is missing, but its head exists"] if self.head_file.exists() else []
        try:
            with self._open() as db:
                return self._faults(db, progress)
        except sqlite3.DatabaseError as error:
            return [f"{self.path} cannot be read: {error}"]

    def _faults(self, db: sqlite3.Connection, progress: Progress) -> list[str]:
        total = int(db.execute("select count(*) from audit").fetchone()[0])
        faults: list[str] = []
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
        faults += [f"{_spans(missing)} of the log: missing"] if missing else []
        faults += [f"{_spans(wrong)} of the log: changed or moved"] if wrong else []
        if head is None and not total and not self.head_file.exists():
            return faults  # a crash happened before the first row was written
        if head is None:
            faults += [
                f"the head {self.head_file} is missing or unreadable: nobody can tell whether the log's end was cut off"
            ]
        elif head.number >= due:
            faults += [f"the log ends with row {due - 1}, its head names row {head.number}: the end was cut off"]
        elif head_seal != head.seal:
            faults += [f"row {head.number} of the log does not match its head {self.head_file}"]
        return faults

    def _seal(self, row: Row, before: str) -> str:
        sealed = [before, row.number, row.at, row.kind, row.subject, row.facts, int(row.late)]
        return hmac.digest(self._key, json.dumps(sealed, separators=(",", ":")).encode(), "sha256").hex()

    def _last(self, db: sqlite3.Connection) -> Head:
        """Return the number and the seal of the newest row, after verifying the end of the log.

        After a crash, the log may contain rows that are newer than the head. These are accepted if their seals are
        valid.

        Raises:
            AuditError: rows are missing, or the seal of a row at the end of the log is wrong.
        """
        head = self._read_head()
        count, newest = db.execute("select count(*), coalesce(max(row_no), 0) from audit").fetchone()
        if head is None and not newest and not self.head_file.exists():
            head = Head(0, _GENESIS)
            self._write_head(head)  # before the first row, so that a crash cannot leave a log with rows and no head
        if head is None or head.number > newest or count != newest:
            raise self._mismatch()
        last = head
        query = f"select {_COLUMNS} from audit where row_no >= ? order by row_no"  # noqa: S608
        for values in db.execute(query, (head.number,)):
            row = _row(values)
            if row.number == head.number:
                if row.seal != head.seal:
                    raise self._mismatch()
                continue
            # A crash happened after this row and before the write of the head. The row's seal must follow from the
            # head.
            if not hmac.compare_digest(self._seal(row, last.seal), row.seal):
                raise self._mismatch()
            last = Head(row.number, row.seal)
        return last

    def _mismatch(self) -> AuditError:
        return AuditError(
            f"the end of the audit log {self.path} does not match its head {self.head_file}: rows were removed, or one "
            "of the two files is older than the other. `creditloom verify` lists what is missing; restore both files "
            "from the same backup. Nothing was appended"
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Lock the log, so that only one process at a time can append rows and update the head."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            connection.execute("pragma synchronous = full")
            connection.execute("pragma recursive_triggers = on")  # `insert or replace` then fires the delete trigger
            connection.executescript(_SCHEMA)
            yield connection
        finally:
            connection.close()

    def _read_head(self) -> Head | None:
        try:
            head = json.loads(self.head_file.read_text())
            return Head(int(head["row"]), str(head["seal"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_head(self, head: Head) -> None:
        self.head_file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self.head_file, json.dumps({"row": head.number, "seal": head.seal}) + "\n")


def _row(values: tuple[int, str, str, str, str, int, str]) -> Row:
    number, at, kind, subject, facts, late, seal = values
    return Row(number, at, kind, subject, facts, bool(late), seal)


def _spans(numbers: Sequence[int]) -> str:
    """Return row numbers as text, for example `rows 3 to 5, 9`. `numbers` must be sorted."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    text = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in spans)
    return f"row {text}" if len(numbers) == 1 else f"rows {text}"
