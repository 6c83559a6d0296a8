"""Faults that real platforms make in their files. They are planted in files that are already written, and listed.

A fault damages the delivered files, but not the simulated book behind them. The correct content of damaged files and
rows is sent again in a file with the next day's date and another file ending. So all files together contain every loan
and every cent of the clean book, with two exceptions. The faulty attributes files (`schema_change`) are never
corrected; only monitoring uses them. And a wrong amount (`correction`) is not replaced, but reversed and booked again
in two additional rows. No file is drawn for two faults.

The list is written to `truth/dirt.parquet` and has one row per fault. It contains the class of fault, the file, the
line, the number of the payment, loan or customer, and the expected outcome. The header is line 1. The line is null for
a fault of a whole file.

Some faults show only in comparison with other files: a payment that a later delivery repeats, with the same or
different content, and a payment that is dated before its loan's opening. They are planted only if `redeliver` is true.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import polars as pl

from dagster_project.simulator.clock import generator

# Share of the payment files that get each class of fault: at least one file, as long as files are left. A file with a
# bad row needs more than LONG lines, because ingestion quarantines a whole file if more than 1 % of its rows are bad.
RATE = 0.004
LONG = 250
_UNKNOWN_LOAN = b"99999999"


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        fault: The class of fault.
        file: The name of the file.
        line: The line in the file, where the header is line 1. None for a fault of a whole file.
        key: The number of the payment, loan or customer. None for a fault of a whole file.
        expected: What ingestion should do with it. This is the quarantine rule that should be reported, or one of
            ACCEPTED, DUPLICATE, duplicate_row, suspense, late, conflict and before_opening.
    """

    fault: str
    file: str
    line: int | None
    key: str | None
    expected: str


def _amount(value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda fields: [*fields[:3], value, *fields[4:]]


def _loan(value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda fields: [fields[0], value, *fields[2:]]


# Faults of a whole file: (class, function that changes its bytes, expected outcome). The faults in ONCE are planted in
# one file only, because a second empty file would be a duplicate of the first.
FILES: tuple[tuple[str, Callable[[bytes], bytes], str], ...] = (
    ("truncated", lambda c: c[: c.rstrip(b"\n").rindex(b"\n") + 8], "truncated"),
    ("latin_1", lambda c: c.replace(b",EUR", b",\xa4UR", 1), "encoding"),
    ("utf_16", lambda c: c.decode().encode("utf-16"), "nul_byte"),
    ("nul_byte", lambda c: c.replace(b",EUR", b",E\x00R", 1), "nul_byte"),
    ("unclosed_quote", lambda c: c.replace(b",EUR", b',"EUR', 1), "unclosed_quote"),
    ("wrong_delimiter", lambda c: c.replace(b",", b";"), "schema_drift"),
    ("column_renamed", lambda c: c.replace(b"paid_on", b"value_on", 1), "schema_drift"),
    ("column_missing", lambda c: b"\n".join(line.rpartition(b",")[0] for line in c.split(b"\n")), "schema_drift"),
    ("header_repeated", lambda c: c + c.split(b"\n", 1)[0] + b"\n", "header_repeated"),
)
ONCE: tuple[tuple[str, Callable[[bytes], bytes], str], ...] = (
    ("empty_file", lambda _: b"", "empty_file"),
    ("header_only", lambda c: c.split(b"\n", 1)[0] + b"\n", "header_only"),
)
HARMLESS: tuple[tuple[str, Callable[[bytes], bytes], str], ...] = (
    ("bom", lambda c: b"\xef\xbb\xbf" + c, "ACCEPTED"),
    ("crlf", lambda c: c.replace(b"\n", b"\r\n"), "ACCEPTED"),
)
# Faults of one row of a file: (class, function that changes the row's fields, expected rule). The fields are
# payment_no, loan_no, paid_on, amount, currency, method, payer_no and booked_on.
ROWS: tuple[tuple[str, Callable[[list[bytes]], list[bytes]], str], ...] = (
    ("nan", _amount(b"NaN"), "amount:money"),
    ("inf", _amount(b"inf"), "amount:money"),
    ("exponent", _amount(b"1e3"), "amount:money"),
    ("decimal_comma", _amount(b'"12,50"'), "amount:money"),
    ("three_decimals", _amount(b"12.505"), "amount:money"),
    ("no_amount", _amount(b""), "amount:required"),
    ("impossible_date", lambda fields: [*fields[:2], fields[2][:5] + b"02-30", *fields[3:]], "paid_on:date"),
    ("other_currency", lambda fields: [*fields[:4], b"USD", *fields[5:]], "currency:pattern"),
    ("no_loan", _loan(b""), "loan_no:required"),
    ("field_over_1_mb", _loan(b"9" * 1_000_001), "loan_no:size"),
    ("ragged", lambda fields: fields[:4], "ragged"),
)
# Unusual but valid names in the borrowers file: (class, function that changes the name).
TEXTS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("text_with_equals", lambda name: b"=" + name),
    ("text_with_plus", lambda name: b"+" + name),
    ("text_with_minus", lambda name: b"-" + name),
    ("text_with_at", lambda name: b"@" + name),
    ("newline_in_quotes", lambda name: b'"' + name.replace(b" ", b"\n", 1) + b'"'),
)
_WRONG = 10  # a wrong amount is the right amount times this factor


def plant(seed: int, landing: Path, listing: Path, *, redeliver: bool) -> int:
    """Plant faults in the files of a clean book, write the list of faults to `listing`, and return their number.

    If `redeliver` is true, the faults that show only in comparison with other files are planted as well.
    """
    faults = _Planting(seed, landing).all(redeliver=redeliver)
    schema = {"fault": pl.String, "file": pl.String, "line": pl.Int64, "key": pl.String, "expected": pl.String}
    rows = [(f.fault, f.file, f.line, f.key, f.expected) for f in faults]
    pl.DataFrame(rows, schema=schema, orient="row").sort("file", "line", "fault").write_parquet(listing)
    return len(faults)


class _Planting:
    """The planting of faults in the files of one landing folder.

    Payment files are drawn without replacement, so that no file gets two faults.
    """

    def __init__(self, seed: int, landing: Path) -> None:
        self._random, self._landing = generator(seed, "dirt"), landing
        # Content is sent again one day later, and a late file comes three days later. So the last files must stay
        # clean.
        files = sorted(landing.glob("payments-*.csv"))[:-4]
        self._count = len(files)
        self._files = [files[i] for i in self._random.permutation(len(files))]
        self._long = [f for f in self._files if f.read_bytes().count(b"\n") > LONG]
        self._faults: list[Fault] = []

    def all(self, *, redeliver: bool) -> list[Fault]:
        """Plant all classes of faults, and return the planted faults.

        Classes that need a long file come first. If no suitable file is left, a class is skipped.
        """
        for name, change, rule in ROWS:
            self._each(partial(self._bad_row, name, change, rule), long=True)
        self._each(self._key_conflict, long=True)
        for name, damage, rule in FILES:
            self._each(partial(self._bad_file, name, damage, rule))
        for name, damage, rule in ONCE:
            self._each(partial(self._bad_file, name, damage, rule), most=1)
        for name, damage, state in HARMLESS:
            self._each(partial(self._harmless, name, damage, state))
        self._each(self._correction)
        for plant_one in (self._twice, self._row_twice, self._orphan, self._late, self._missing_day):
            self._each(plant_one)
        if redeliver:
            for plant_one in (self._again, self._again_otherwise, self._before_opening):
                self._each(plant_one)
        self._unit_mistakes()
        self._negative_instalments()
        self._texts()
        self._schema_change()
        return self._faults

    def _each(self, plant_one: Callable[[Path], None], *, long: bool = False, most: int | None = None) -> None:
        wanted = max(1, round(RATE * self._count))
        for _ in range(min(wanted, most or wanted)):
            left = self._long if long else self._files
            if left:
                path = left[0]
                self._files.remove(path)
                self._long = [f for f in self._long if f != path]
                plant_one(path)

    def _bad_file(self, name: str, damage: Callable[[bytes], bytes], rule: str, path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(damage(content))
        self._next(path, "resent").write_bytes(content)
        self._note(name, path, rule)

    def _harmless(self, name: str, damage: Callable[[bytes], bytes], state: str, path: Path) -> None:
        path.write_bytes(damage(path.read_bytes()))
        self._note(name, path, state)

    def _bad_row(self, name: str, change: Callable[[list[bytes]], list[bytes]], rule: str, path: Path) -> None:
        lines, place = self._draw(path)
        row = lines[place]
        fields = row.split(b",")
        lines[place] = b",".join(change(fields))
        path.write_bytes(b"\n".join(lines))
        self._next(path, "resent").write_bytes(lines[0] + b"\n" + row + b"\n")
        self._note(name, path, rule, place + 1, fields[0])

    def _key_conflict(self, path: Path) -> None:
        """Plant a second row with the number of an existing payment, but for another loan.

        Ingestion can accept neither row, so the correct row is sent again the next day.
        """
        lines, place = self._draw(path)
        row = lines[place]
        fields = row.split(b",")
        lines.insert(place + 1, b",".join([fields[0], _UNKNOWN_LOAN, *fields[2:]]))
        path.write_bytes(b"\n".join(lines))
        self._next(path, "resent").write_bytes(lines[0] + b"\n" + row + b"\n")
        for line in (place + 1, place + 2):
            self._note("key_conflict", path, "key_conflict", line, fields[0])

    def _twice(self, path: Path) -> None:
        again = self._next(path, "again")
        again.write_bytes(path.read_bytes())
        self._note("duplicate_file", again, "DUPLICATE")

    def _row_twice(self, path: Path) -> None:
        lines, place = self._draw(path)
        lines.insert(place + 1, lines[place])
        path.write_bytes(b"\n".join(lines))
        self._note("duplicate_row", path, "duplicate_row", place + 2, lines[place].split(b",")[0])

    def _orphan(self, path: Path) -> None:
        """Plant a payment for a loan that does not exist."""
        lines, place = self._draw(path)
        fields = lines[place].split(b",")
        number = fields[0] + b"9"
        lines.insert(place + 1, b",".join([number, _UNKNOWN_LOAN, *fields[2:]]))
        path.write_bytes(b"\n".join(lines))
        self._note("orphan_payment", path, "suspense", place + 2, number)

    def _correction(self, path: Path) -> None:
        """Plant an amount that is ten times too high, and its correction on the next day.

        The correction consists of two rows: the reversal of the wrong amount, and the right amount.
        """
        lines, place = self._draw(path)
        right = lines[place].split(b",")
        wrong = f"{float(right[3]) * _WRONG:.2f}"
        lines[place] = b",".join([*right[:3], wrong.encode(), *right[4:]])
        path.write_bytes(b"\n".join(lines))
        later = self._next(path, "correction")
        reversed_amount = f"{-float(wrong):.2f}".encode()
        rows = [[right[0] + b"8", *right[1:3], reversed_amount, *right[4:]], [right[0] + b"7", *right[1:]]]
        later.write_bytes(b"\n".join([lines[0], *(b",".join(row) for row in rows), b""]))
        self._note("correction", path, "ACCEPTED", place + 1, right[0])
        for n, row in enumerate(rows, 2):
            self._note("correction", later, "ACCEPTED", n, row[0])

    def _again(self, path: Path) -> None:
        """Plant a second delivery of an existing payment, with the same content."""
        lines, place = self._draw(path)
        self._send_again("redelivered", path, lines[0], lines[place].split(b","), "duplicate_row")

    def _again_otherwise(self, path: Path) -> None:
        """Plant a second delivery of an existing payment, with another amount."""
        lines, place = self._draw(path)
        fields = lines[place].split(b",")
        changed = [*fields[:3], b"1" + fields[3].lstrip(b"-"), *fields[4:]]
        self._send_again("redelivered_otherwise", path, lines[0], changed, "conflict")

    def _before_opening(self, path: Path) -> None:
        """Plant a payment that is dated before any loan was opened."""
        lines, place = self._draw(path)
        fields = lines[place].split(b",")
        early = [fields[0] + b"6", fields[1], b"2000-01-31", *fields[3:]]
        self._send_again("before_opening", path, lines[0], early, "before_opening")

    def _send_again(self, name: str, path: Path, header: bytes, fields: list[bytes], expected: str) -> None:
        later = self._next(path, name)
        later.write_bytes(header + b"\n" + b",".join(fields) + b"\n")
        self._note(name, later, expected, 2, fields[0])

    def _late(self, path: Path) -> None:
        late = self._next(path, "late", days=3)
        path.replace(late)
        self._note("late_file", late, "late")

    def _missing_day(self, path: Path) -> None:
        """Plant a day without deliveries: all files of the day arrive on the next day instead."""
        day = path.stem.split("-", 1)[1]
        for file in sorted(self._landing.glob(f"*-{day}.csv")):
            late = self._next(file, "missed")
            file.replace(late)
            self._note("missing_day", late, "late")

    def _unit_mistakes(self) -> None:
        """Write the interest rates of some loan files as percentages instead of fractions, in every row."""
        for path in self._some("loans"):
            content = path.read_bytes()
            lines = content.rstrip(b"\n").split(b"\n")
            rate = lines[0].split(b",").index(b"annual_rate")
            for n, line in enumerate(lines[1:], 1):
                fields = line.split(b",")
                fields[rate] = f"{float(fields[rate]) * 100:.2f}".encode()
                lines[n] = b",".join(fields)
                self._note("rate_in_percent", path, "annual_rate:maximum", n + 1, fields[0])
            path.write_bytes(b"\n".join(lines) + b"\n")
            self._next(path, "resent").write_bytes(content)

    def _negative_instalments(self) -> None:
        """Plant a negative amount in a row of some schedules files. Only payments may have negative amounts."""
        for path in self._some("schedules", at_least=LONG):
            lines, place = self._draw(path)
            row = lines[place]
            fields = row.split(b",")
            lines[place] = b",".join([*fields[:4], b"-" + fields[4], *fields[5:]])
            path.write_bytes(b"\n".join(lines))
            self._next(path, "resent").write_bytes(lines[0] + b"\n" + row + b"\n")
            self._note("negative_instalment", path, "amount:minimum", place + 1, fields[0])

    def _texts(self) -> None:
        """Plant valid customer names that spreadsheets or simple CSV readers misinterpret."""
        for (name, change), path in zip(TEXTS, self._some("borrowers", most=len(TEXTS)), strict=False):
            lines, place = self._draw(path)
            fields = lines[place].split(b",")
            lines[place] = b",".join([fields[0], change(fields[1]), *fields[2:]])
            path.write_bytes(b"\n".join(lines))
            self._note(name, path, "ACCEPTED", place + 1, fields[0])

    def _schema_change(self) -> None:
        """Add a column that is not in the contract to the attributes files of the second half of the book.

        Files that already have a fault are left out.
        """
        files = sorted(self._landing.glob("attributes-*.csv"))
        listed = {fault.file for fault in self._faults}
        for path in files[len(files) // 2 :]:
            if path.name not in listed:
                header, *rows = path.read_bytes().rstrip(b"\n").split(b"\n")
                path.write_bytes(b"\n".join([header + b",nationality", *(row + b",XX" for row in rows), b""]))
                self._note("schema_change", path, "schema_drift")

    def _some(self, table: str, *, at_least: int = 0, most: int | None = None) -> list[Path]:
        """Return randomly drawn files of a table that have more than `at_least` lines.

        The result has at most `most` files. If `most` is None, it has a share RATE of the table's files, but at least
        one. It has fewer if there are not enough suitable files.
        """
        files = [f for f in sorted(self._landing.glob(f"{table}-*.csv"))[:-4] if f.stem.count(".") == 0]
        drawn = [files[i] for i in self._random.permutation(len(files))]
        long = (f for f in drawn if not at_least or f.read_bytes().count(b"\n") > at_least)
        return list(islice(long, most or max(1, round(RATE * len(files)))))

    def _draw(self, path: Path) -> tuple[list[bytes], int]:
        """Return the lines of a file, and the index of a random line below the header."""
        lines = path.read_bytes().split(b"\n")
        return lines, int(self._random.integers(1, len(lines) - 1))

    @staticmethod
    def _next(path: Path, ending: str, days: int = 1) -> Path:
        """Return the path for a file of the same table that is dated `days` later and has another file ending."""
        table, day = path.stem.split("-", 1)
        return path.with_name(f"{table}-{dt.date.fromisoformat(day) + dt.timedelta(days=days)}.{ending}")

    def _note(self, name: str, path: Path, expected: str, line: int | None = None, key: bytes | None = None) -> None:
        self._faults.append(Fault(name, path.name, line, key.decode() if key else None, expected))
