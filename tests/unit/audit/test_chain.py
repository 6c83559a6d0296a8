"""Tests of the audit chain: it detects five kinds of tampering, and damage to the log or its head."""

import json
import os
import random
import sqlite3

import pytest

from dagster_project.audit.chain import AuditError, AuditLog, Entry, Kind

SEED = int(os.environ.get("SEED", "1"))
ROWS = 60


def entries(count, begin=0):
    kinds = list(Kind)
    return [Entry(kinds[n % len(kinds)], f"thing {n}", {"n": n, "of": "a"}) for n in range(begin, begin + count)]


@pytest.fixture
def log(tmp_path):
    made = AuditLog(tmp_path / "lake/audit.sqlite", tmp_path / "elsewhere/audit.head", b"k" * 32)
    made.append(entries(ROWS))
    return made


def rows_of(log):
    with sqlite3.connect(log.path) as db:
        return db.execute("select * from audit order by row_no").fetchall()


def rewrite(log, rows):
    """Replace all rows of the log with `rows`, as a person could who can write to the file but does not have the key.

    The triggers that forbid changes are dropped first.
    """
    with sqlite3.connect(log.path) as db:
        db.execute("drop trigger audit_keeps")
        db.execute("drop trigger audit_keeps_rows")
        db.execute("delete from audit")
        db.executemany("insert into audit values (?, ?, ?, ?, ?, ?, ?)", rows)


def edited(rows, draw):
    place = draw.randrange(len(rows))
    number, *values = rows[place]
    column = draw.randrange(6)
    old = values[column]
    values[column] = 1 - old if isinstance(old, int) else old[:-1] + ("x" if old[-1] != "x" else "y")
    return [*rows[:place], (number, *values), *rows[place + 1 :]], number


def deleted(rows, draw):
    """Return the rows without one random row, and the number of the deleted row.

    The last row is never deleted. In half of the cases, the later rows are renumbered to leave no gap in the numbers.
    """
    place = draw.randrange(len(rows) - 1)
    after = rows[place + 1 :]
    if draw.random() < 0.5:
        after = [(n - 1, *rest) for n, *rest in after]
    return [*rows[:place], *after], place + 1


def swapped(rows, draw):
    one, other = sorted(draw.sample(range(len(rows)), 2))
    changed = list(rows)
    changed[one], changed[other] = (rows[one][0], *rows[other][1:]), (rows[other][0], *rows[one][1:])
    return changed, one + 1


def inserted(rows, draw):
    """Return the rows with one more row at a random place, and the number of the inserted row.

    The new row is either a copy of a random row, or a copy of the row that follows it with another subject. The copy
    keeps its seal. The later rows are renumbered.
    """
    place = draw.randrange(1, len(rows))
    like = draw.choice(rows) if draw.random() < 0.5 else (*rows[place][:3], "made up", *rows[place][4:])
    moved = [(n + 1, *rest) for n, *rest in rows[place:]]
    return [*rows[:place], (place + 1, *like[1:]), *moved], place + 1


def cut(rows, draw):
    kept = len(rows) - draw.randrange(1, 10)
    return rows[:kept], kept


@pytest.mark.parametrize("tamper", [edited, deleted, swapped, inserted, cut], ids=lambda t: t.__name__)
def test_every_tampering_is_found_and_its_first_row_named(log, tamper):
    """Each kind of tampering is found in forty random attempts, and the message names the first affected row.

    This tests promise S2 in `docs/promises.md`.
    """
    original, draw, found = rows_of(log), random.Random(f"{SEED}:{tamper.__name__}"), 0
    assert log.faults() == []
    for _ in range(40):
        changed, number = tamper(original, draw)
        rewrite(log, changed)
        faults = log.faults()
        assert faults, (SEED, tamper.__name__, number)
        named = f"ends with row {number}," if tamper is cut else f"{number}"
        assert named in " ".join(faults), (SEED, faults)
        found += 1
    assert found == 40
    rewrite(log, original)
    assert log.faults() == []


def test_row_of_another_history_does_not_fit(log):
    """Genuine rows of an abandoned history are reported if they are put into the log that replaced it.

    The log and its head are set back by five rows, and five other rows are appended. Then the last three rows are
    replaced with rows of the earlier history. Their seals are genuine but do not follow from the row before. The first
    of the three rows is reported, no matter which of the two heads is in place.
    """
    log.append(entries(5, ROWS))
    first_life, head = rows_of(log), log.head_file.read_text()
    rewrite(log, first_life[:-5])
    log.head_file.write_text(json.dumps({"row": ROWS, "seal": first_life[ROWS - 1][-1]}))
    log.append(entries(5, 2 * ROWS))
    assert log.faults() == []
    rewrite(log, [*rows_of(log)[:-3], *first_life[-3:]])
    assert f"row {ROWS + 3} of the log: changed or moved" in log.faults()[0]
    log.head_file.write_text(head)
    assert f"row {ROWS + 3} of the log: changed or moved" in log.faults()[0]


def test_other_key_opens_nothing(log):
    assert log.faults() == []
    assert f"rows 1 to {ROWS} of the log" in AuditLog(log.path, log.head_file, b"x" * 32).faults()[0]


def test_rows_are_kept_by_the_database_too(log):
    with sqlite3.connect(log.path) as db:
        for statement in ("update audit set kind = 'x'", "delete from audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


def test_log_that_was_cut_takes_no_row_more(log):
    """A log that was deleted or has lost its last rows refuses to append new rows.

    Otherwise the next row would replace the head, and nobody could see that rows are missing.
    """
    rewrite(log, rows_of(log)[:-3])
    with pytest.raises(AuditError, match="does not match its head"):
        log.append(entries(1))
    assert "the end was cut off" in log.faults()[0]
    log.path.unlink()
    with pytest.raises(AuditError):
        log.append(entries(1))
    assert log.faults()


def test_missing_head_is_a_fault_and_stops_the_log(log):
    log.head_file.unlink()
    assert "is missing or unreadable" in log.faults()[0]
    with pytest.raises(AuditError):
        log.append(entries(1))


def test_other_head_is_a_fault(log):
    log.head_file.write_text(json.dumps({"row": 5, "seal": rows_of(log)[5][-1]}))
    assert "row 5 of the log does not match" in log.faults()[0]
    with pytest.raises(AuditError):
        log.append(entries(1))
    log.head_file.write_text(json.dumps({"row": ROWS, "seal": "ab" * 32}))
    with pytest.raises(AuditError):
        log.append(entries(1))


def test_crash_before_the_head_was_written_is_no_fault(log):
    """Rows that were written just before a crash, but are not in the head yet, are no fault.

    The seals of these rows follow from the row in the head. The next append continues after them.
    """
    before = log.head_file.read_text()
    log.append(entries(3, ROWS))
    log.head_file.write_text(before)
    assert log.faults() == []
    log.append(entries(1, ROWS + 3), late=True)
    assert log.faults() == []
    rows = log.rows()
    assert [r.number for r in rows] == list(range(1, ROWS + 5))
    assert [r.late for r in rows[-2:]] == [False, True]
    assert json.loads(log.head_file.read_text())["row"] == ROWS + 4


def test_forged_row_after_the_head_stops_the_log(log):
    with sqlite3.connect(log.path) as db:
        db.execute("insert into audit values (?, '2026-01-01', 'publish', 'mine', '{}', 0, ?)", (ROWS + 1, "ab" * 32))
    with pytest.raises(AuditError):
        log.append(entries(1))
    assert f"row {ROWS + 1} of the log" in log.faults()[0]


def test_empty_home_has_no_log_and_no_fault(tmp_path):
    log = AuditLog(tmp_path / "audit.sqlite", tmp_path / "audit.head", b"k" * 32)
    assert log.faults() == log.rows() == []
    assert log.newest(Kind.PUBLISH) is None
    assert not log.path.exists()


def test_unreadable_log_is_a_fault(log):
    log.path.write_bytes(b"not a database" * 100)
    assert "cannot be read" in log.faults()[0]


def test_progress_over_many_rows_is_reported(tmp_path):
    log = AuditLog(tmp_path / "audit.sqlite", tmp_path / "audit.head", b"k" * 32)
    log.append(entries(25_000))
    steps = []
    assert log.faults(lambda done, total: steps.append((done, total))) == []
    assert steps[0] == (0, 25_000)
    assert steps[-1] == (25_000, 25_000)
    assert len(log.subjects(Kind.PUBLISH)) == 25_000 // len(Kind)
