"""Tests of bad input. Each case states in advance which outcome is expected for a file or a line, and by which rule.

The cases written by hand are ingested together: damaged files in one drop, and bad lines in one file per kind. These
files are long, so that the bad lines are only a small part of each. Hypothesis generates further cases, and many more
of them in `make torture`.
"""

import datetime as dt
import gzip
import io
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.landing import strays, unfinished
from dagster_project.ingestion.lake.receipts import State
from dagster_project.keys.master import load_keys
from dagster_project.keys.store import KeyStore

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
SIMULATED = load_sources()["simulated"]
HEADER = {t.name: ",".join(t.schema) for t in SIMULATED.contract.layouts}
ROWS = 150
GOOD = {  # a good line of each kind of file; {n} is its own number
    "payments": "P{n},L1,2024-03-01,12.50,EUR,transfer,,2024-03-01",
    "loans": "{n:08},C1,car_loan,web,2024-01-01,9000.00,,36,0.049,269.00,EUR,open",
    "schedules": "L{n},2024-01-01,1,2024-02-01,269.00,230.00,39.00",
    "borrowers": "C{n},Ann Example,A1,2024-01-01,2000.00,12,3",
    "statements": "L{n},2024-03-31,100.00,500.00,20.00,10.00,15.00",
    "events": "L{n},2024-03-31,write_off",
    "funding": "L{n},own,2024-01-01,0.25",
    "client_money": "B{n},2024-03-01,received,,100.00",
    "cases": "K{n},L1,2024-03-01,dispute",
    "attributes": "C{n},2024-01-01,1,40",
}


def border_in(home: Path) -> IngestContext:
    (home / "landing/simulated").mkdir(parents=True)
    keys = load_keys(None, None, production=False)
    store = KeyStore(home / "elsewhere/keys.sqlite", keys)
    return IngestContext(home / "landing", home / "lake", keys, 0.01, store, home / "audit.head")


def content(kind: str, first: int, count: int = ROWS) -> bytes:
    lines = [GOOD[kind].format(n=n) for n in range(first, first + count)]
    return "\n".join([HEADER[f"{kind}_file"], *lines, ""]).encode()


def taken_in(context: IngestContext):
    receipts = {r.file_name: r for r in ingest(SIMULATED, context, NOW)}
    for r in receipts.values():
        assert r.landed_rows == r.accepted_rows + r.quarantined_rows + r.duplicate_rows, r.file_name
        assert r.landed_minor == r.accepted_minor + r.quarantined_minor + r.duplicate_minor, r.file_name
    return receipts


def rules_by_line(context: IngestContext, receipt) -> dict[int, str]:
    files = [context.lake / f.path for f in receipt.files if f.table == "quarantine"]
    return {n: rule for f in files for n, rule in pl.read_parquet(f, columns=["line_no", "rule"]).rows()}


# Whole files --------------------------------------------------------------------------------------------------------


class File(NamedTuple):
    """A file to deliver, and its expected outcome.

    `expected`: the state of an accepted file, or the rule by which the whole file is refused. The value `all_bad`
    stands for a file in which every row breaks a row rule. `lines`: the number of lines that the receipt must count as
    landed, or None if this is not checked. `manifest`: the text of the manifest delivered with the file, or None for no
    manifest.
    """

    name: str
    content: bytes
    expected: State | str
    lines: int | None = None
    manifest: str | None = None


def zipped(name: str, inner: bytes, *, mode: int = 0o100644, more: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in [name, more] if more else [name]:
            info = zipfile.ZipInfo(entry)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, inner)
    return buffer.getvalue()


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def frame_of(text: bytes) -> pl.DataFrame:
    return pl.read_csv(text, infer_schema=False)


class Damage(NamedTuple):
    """A change to a clean payments file, and the expected outcome.

    `damage`: a function that returns the changed content. `ending`: the ending of the file's name. The other fields are
    those of `File`.
    """

    damage: Callable[[bytes], bytes]
    expected: State | str
    lines: int | None = None
    ending: str = ".csv"
    manifest: str | None = None


HEAD = HEADER["payments_file"].encode()
COLUMNS = HEADER["payments_file"].split(",")


def swap(old: bytes, new: bytes, count: int = 1) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, count)


def without(place: int) -> Callable[[bytes], bytes]:
    """Return a function that removes the column at position `place`, counted from 0, from a CSV file."""
    keep = lambda line: b",".join(f for i, f in enumerate(line.split(b",")) if i != place)
    return lambda content: b"\n".join(keep(line) for line in content.split(b"\n"))


def whole(content: bytes) -> bytes:
    return content


def no_text() -> Iterator[Damage]:
    """Yield changes that make a file empty, cut it off, or make it invalid as UTF-8 or CSV text."""
    yield Damage(lambda c: b"", "empty_file", 0)
    yield Damage(lambda c: b"\xef\xbb\xbf", "empty_file", 0)
    yield Damage(lambda c: b"\n\n \n", "empty_file")
    yield Damage(lambda c: HEAD + b"\n", "header_only", 0)
    yield Damage(lambda c: HEAD + b"\r\n", "header_only", 0)
    for cut in (5, 9, 20, 30, 40):
        yield Damage(lambda c, cut=cut: c[:-cut], "truncated", ROWS)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        yield Damage(lambda c, e=encoding: c.decode().encode(e), "nul_byte")
    for sign in (b"\xe9", b"\xa4", b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf"):
        yield Damage(swap(b",transfer", b",tr" + sign), "encoding", ROWS)
    for place in (b"P", b",EUR", b"\n"):
        yield Damage(swap(place, place + b"\x00"), "nul_byte", ROWS)
    yield Damage(lambda c: b"\x7fELF" + bytes(range(256)) * 20, "nul_byte")
    for place in (b",EUR", b",transfer", b",L1", b",12.50"):
        yield Damage(swap(place, b',"' + place[1:]), "unclosed_quote", ROWS)
    yield Damage(swap(b",EUR", b',"EUR"x'), "unclosed_quote", ROWS)


def other_headers() -> Iterator[Damage]:
    for delimiter in (b";", b"\t", b"|", b" "):
        yield Damage(swap(b",", delimiter, -1), "schema_drift", ROWS)
    for i, column in enumerate(COLUMNS):
        yield Damage(swap(column.encode(), column.encode() + b"_x"), "schema_drift", ROWS)
        yield Damage(without(i), "schema_drift", ROWS)
    for i in range(len(COLUMNS) - 1):
        swapped = ",".join([*COLUMNS[:i], COLUMNS[i + 1], COLUMNS[i], *COLUMNS[i + 2 :]])
        yield Damage(swap(HEAD, swapped.encode()), "schema_drift", ROWS)
    spaced, twice = HEAD.replace(b",", b", "), HEAD.replace(b"loan_no", b"payment_no")
    for header in (HEAD.upper(), spaced, twice, HEAD + b",note", HEAD + b","):
        yield Damage(swap(HEAD, header), "schema_drift", ROWS)
    yield Damage(lambda c: c.removeprefix(HEAD + b"\n"), "schema_drift", ROWS - 1)
    yield Damage(lambda c: b"\n" + c, "schema_drift")
    yield Damage(lambda c: c + HEAD + b"\n", "header_repeated", ROWS + 1)
    yield Damage(swap(b"\n", b"\n" + HEAD + b"\n"), "header_repeated", ROWS + 1)


def many_bad_rows() -> Iterator[Damage]:
    yield Damage(swap(b",12.50", b",x", 2), "too_many_bad_rows", ROWS)
    yield Damage(swap(b",EUR", b",USD", -1), "all_bad", ROWS)


def parquet_files() -> Iterator[Damage]:
    yield Damage(lambda c: parquet(frame_of(c)), State.ACCEPTED, ROWS, ".parquet")
    yield Damage(lambda c: parquet(frame_of(c))[:-30], "parquet", 0, ".parquet")
    yield Damage(lambda c: b"PAR1" + b"x" * 100, "parquet", 0, ".parquet")
    yield Damage(lambda c: parquet(frame_of(c).rename({"amount": "value"})), "schema_drift", ROWS, ".parquet")
    yield Damage(lambda c: parquet(frame_of(c).drop("booked_on")), "schema_drift", ROWS, ".parquet")


def archives() -> Iterator[Damage]:
    gz, packed, bomb = ".csv.gz", ".csv.zip", bytes(5_000_000)
    yield Damage(gzip.compress, State.ACCEPTED, ROWS, gz)
    yield Damage(lambda c: gzip.compress(c[:900]) + gzip.compress(c[900:]), State.ACCEPTED, ROWS, gz)
    yield Damage(lambda c: zipped("payments.csv", c), State.ACCEPTED, ROWS, packed)
    yield Damage(lambda c: zipped("any/where.csv", c), State.ACCEPTED, ROWS, packed)
    yield Damage(lambda c: gzip.compress(c.replace(b",", b";")), "schema_drift", ROWS, gz)
    for damage in (lambda c: gzip.compress(c)[:-30], whole, lambda c: b"\x1f\x8b"):
        yield Damage(damage, "archive", 0, gz)
    yield Damage(gzip.compress, "archive", 0)  # its name does not say so
    yield Damage(lambda c: zipped("p.csv", c)[:-30], "archive", 0, packed)
    yield Damage(whole, "archive", 0, packed)
    yield Damage(lambda c: zipped("p.csv", c, more="q.csv"), "archive", 0, packed)
    yield Damage(lambda c: zipped("folder/", b""), "archive", 0, packed)
    yield Damage(lambda c: _encrypted(zipped("p.csv", c)), "archive", 0, packed)
    yield Damage(lambda c: _lying(zipped("p.csv", bomb)), "archive", 0, packed)
    for path in ("../p.csv", "a/../../p.csv", "/etc/p.csv", "..\\p.csv", "C:\\p.csv", "\\p.csv"):
        yield Damage(lambda c, p=path: zipped(p, c), "archive_path", 0, packed)
    yield Damage(lambda c: zipped("p.csv", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "archive_link", 0, packed)
    yield Damage(lambda c: zipped("p.csv", bomb), "archive_bomb", 0, packed)
    yield Damage(lambda c: gzip.compress(bomb), "archive_bomb", 0, gz)
    yield Damage(lambda c: gzip.compress(gzip.compress(c)), "archive_nested", 0, gz)
    yield Damage(lambda c: zipped("p.zip", zipped("p.csv", c)), "archive_nested", 0, packed)


def manifests() -> Iterator[Damage]:
    total = str(Decimal("12.50") * ROWS)
    yield Damage(whole, State.ACCEPTED, ROWS, manifest="")
    yield Damage(whole, State.ACCEPTED, ROWS, manifest=json.dumps({"rows": ROWS, "control_total": total}))
    yield Damage(whole, "row_count", ROWS, manifest=json.dumps({"rows": ROWS + 1}))
    shorter = lambda c: c[: c[:-1].rindex(b"\n") + 1]
    yield Damage(shorter, "row_count", ROWS - 1, manifest=json.dumps({"rows": ROWS}))
    yield Damage(whole, "control_total", ROWS, manifest=json.dumps({"control_total": "1874.99"}))
    yield Damage(swap(b"12.50", b"12.51"), "control_total", ROWS, manifest=json.dumps({"control_total": total}))
    yield Damage(whole, "bad_hash", ROWS, manifest=json.dumps({"sha256": "0" * 64}))
    for wrong in ("rows: 3", "[1]", '{"lines": 3}', '{"rows": "3"}', '{"rows": true}', '{"control_total": "x"}', "{"):
        yield Damage(whole, "manifest", ROWS, manifest=wrong)


def harmless() -> Iterator[Damage]:
    yield Damage(lambda c: b"\xef\xbb\xbf" + c, State.ACCEPTED, ROWS)
    yield Damage(swap(b"\n", b"\r\n", -1), State.ACCEPTED, ROWS)
    yield Damage(lambda c: c[:-1], State.ACCEPTED, ROWS)
    yield Damage(swap(b",transfer", b',"transfer"', -1), State.ACCEPTED, ROWS)
    yield Damage(swap(b"12.50", b"-12.50"), State.ACCEPTED, ROWS)
    yield Damage(swap(b",transfer,,", b",transfer,\xc3\x89mile,"), State.ACCEPTED, ROWS)


GROUPS = (no_text, other_headers, many_bad_rows, parquet_files, archives, manifests, harmless)


def files() -> list[File]:
    """Return the cases of whole files. No two files have a payment number in common."""
    made = [File("readme.txt", b"hello\nworld\n", "unknown_file", 1)]
    made.append(File("Payments-1.csv", content("payments", 900_000), "unknown_file", ROWS))
    for n, (damage, expected, lines, ending, manifest) in enumerate(case for group in GROUPS for case in group()):
        name = f"payments-{n:03}{ending}"
        made.append(File(name, damage(content("payments", 1_000 * n)), expected, lines, manifest))
    return made


def _encrypted(archive: bytes) -> bytes:
    """Return a zip archive that both of its headers mark as encrypted, although its content is not."""
    changed = bytearray(archive)
    changed[6] |= 1
    changed[archive.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def _lying(archive: bytes) -> bytes:
    """Return a zip archive whose two headers state a false unpacked size of 1,000 bytes for the file in it."""
    changed, central = bytearray(archive), archive.rindex(b"PK\x01\x02")
    changed[22:26] = changed[central + 24 : central + 28] = (1000).to_bytes(4, "little")
    return bytes(changed)


FILES = files()


@pytest.fixture(scope="module")
def dropped(tmp_path_factory):
    context = border_in(tmp_path_factory.mktemp("files"))
    for file in FILES:
        path = context.landing / "simulated" / file.name
        path.write_bytes(file.content)
        if file.manifest is not None:
            path.with_name(path.name + ".done").write_text(file.manifest)
    return context, taken_in(context)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.name}-{f.expected}")
def test_whole_file(dropped, file):
    context, receipts = dropped
    receipt = receipts[file.name]
    if isinstance(file.expected, State):
        assert (receipt.state, receipt.reason) == (file.expected, None)
        assert receipt.accepted_rows == receipt.landed_rows
    else:
        assert receipt.state is State.QUARANTINED
        assert receipt.accepted_rows == 0
        if file.expected in ("too_many_bad_rows", "all_bad"):
            rules = set(rules_by_line(context, receipt).values())
            assert rules >= ({file.expected} if file.expected == "too_many_bad_rows" else {"currency:pattern"})
        else:
            assert receipt.reason.split(":")[0] == file.expected
    if file.lines is not None:
        assert receipt.landed_rows == file.lines


def test_nothing_is_left_in_the_landing_folder(dropped):
    context, _ = dropped
    assert not [p for p in context.landing.rglob("*") if p.is_file()]


# Rows ---------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A line with one changed field, and the rule by which it must be quarantined.

    `kind`: the kind of file. `column`: the changed column. `text`: the new text of the field. `rule`: the expected
    rule, or an empty string if the line must be accepted.
    """

    kind: str
    column: str
    text: str
    rule: str


NO_AMOUNTS = (
    *(
        "NaN",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "1e3",
        "1E3",
        "1e-2",
        "12.505",
        "0.001",
        "+5.00",
        "5.",
        ".5",
        "--5",
        "-",
    ),
    *(
        "0x10",
        "1_000",
        "1 000",
        "1'000",
        "5EUR",
        "€5",
        "٣٤",
        "\uff11\uff12",
        "12345678901234567.00",
        "null",
        "None",
        "TRUE",
        "5 ",
    ),
    *(" 5", "5-", "(5.00)", '"12,50"', '"1,000.00"', "#REF!", "=1+1", "12.50.1"),
)
NO_DATES = (
    *("2024-02-30", "2023-02-29", "2024-13-01", "2024-00-10", "2024-01-00", "2024-01-32", "2024-1-1", "24-01-01"),
    *("01/02/2024", "20240101", "2024-01-01T00:00", "2024-01-01 ", " 2024-01-01", "2024/01/01", "01.02.2024", "today"),
    *("45000", "1900-02-29", "٢٠٢٤-01-01", "-2024-01-01"),
)
NO_INTEGERS = ("1.0", "1.5", "1e2", "", "ten", "2147483648", "99999999999", "0x1", "--1", " 1", "1 ", "+1")
NO_RATES = ("NaN", "5%", '"0,05"', "1e-2", "0.1234567", ".05", "four", "1/3")
ROWS_BAD = [
    *(Row("payments", "amount", text, "amount:money") for text in NO_AMOUNTS),
    Row("payments", "amount", "", "amount:required"),
    *(Row("payments", column, text, f"{column}:date") for column in ("paid_on", "booked_on") for text in NO_DATES),
    Row("payments", "paid_on", "", "paid_on:required"),
    *(Row("payments", "currency", text, "currency:pattern") for text in ("USD", "eur", "EUR ", " EUR", "EURO", "€")),
    Row("payments", "currency", "", "currency:required"),
    *(Row("payments", "method", text, "method:pattern") for text in ("card", "TRANSFER", "transfer;cash", "=cmd")),
    Row("payments", "loan_no", "", "loan_no:required"),
    Row("payments", "payment_no", "", "payment_no:required"),
    Row("payments", "loan_no", "9" * 1_000_001, "loan_no:size"),
    *(Row("loans", "annual_rate", text, "annual_rate:rate") for text in NO_RATES),
    *(Row("loans", "annual_rate", text, "annual_rate:maximum") for text in ("4.9", "1.000001")),
    Row("loans", "annual_rate", "-0.01", "annual_rate:minimum"),
    *(Row("loans", "term_months", text, "term_months:integer") for text in NO_INTEGERS if text),
    *(Row("loans", "term_months", text, "term_months:minimum") for text in ("0", "-12")),
    Row("loans", "term_months", "121", "term_months:maximum"),
    Row("loans", "amount", "-1.00", "amount:minimum"),
    *(Row("loans", "loan_no", text, "loan_no:pattern") for text in ("123", "1234567A", "123456789")),
    Row("loans", "product", "mortgage", "product:pattern"),
    Row("schedules", "amount", "-269.00", "amount:minimum"),
    *(Row("schedules", "instalment_no", t, "instalment_no:integer") for t in NO_INTEGERS if t),
    Row("schedules", "principal", "", "principal:required"),
    Row("statements", "limit", "-1.00", "limit:minimum"),
    Row("statements", "balance", "n/a", "balance:money"),
    Row("events", "kind", "died", "kind:pattern"),
    Row("funding", "share", "1.5", "share:maximum"),
    Row("funding", "share", "-0.1", "share:minimum"),
    Row("client_money", "kind", "stolen", "kind:pattern"),
    Row("cases", "kind", "", "kind:required"),
    Row("attributes", "age", "4O", "age:integer"),
]
ROWS_GOOD = [  # unusual and right
    *(
        Row("payments", "amount", text, "")
        for text in ("-12.50", "0", "0.00", "-0.00", "007.10", "9999999999999999.99")
    ),
    *(Row("borrowers", "name", text, "") for text in ("=1+1", "+49 1", "-", "@a", '"a\nb"', '"a ""b"""', "Zoë", "名")),
    Row("statements", "balance", "-5.00", ""),  # a credit balance
    Row("payments", "payer_no", "NULL", ""),
]


def changed(row: Row, number: int) -> str:
    fields = GOOD[row.kind].format(n=number).split(",")
    fields[HEADER[f"{row.kind}_file"].split(",").index(row.column)] = row.text
    return ",".join(fields)


@pytest.fixture(scope="module")
def long_files(tmp_path_factory):
    """Ingest one long file for each kind of file, and return the line numbers of its cases and the rules found by line.

    Each file has a hundred or more good lines per case. After these come the lines of the cases, and then two lines
    with the wrong number of fields. The first result maps each case to its line number, and each kind of file to the
    first of the last two lines. The second maps each kind of file to a dict from line number to rule, for the
    quarantined lines.
    """
    context, lines = border_in(tmp_path_factory.mktemp("rows")), {}
    for kind in GOOD:
        cases = [row for row in (*ROWS_BAD, *ROWS_GOOD) if row.kind == kind]
        body, line = content(kind, 1, 100 * (3 + len(cases))).decode(), 0
        line = body.count("\n") + 1
        for place, row in enumerate(cases):
            lines[row] = line
            body += changed(row, 90_000_000 + place) + "\n"
            line += 1 + row.text.count("\n")
        short, long = (",".join(GOOD[kind].format(n=n).split(",")[:-1]) for n in (1, 2))
        body += f"{short}\n{long},x,y\n"
        lines[kind] = line
        (context.landing / "simulated" / f"{kind}-2024-03-01.csv").write_text(body)
    receipts = taken_in(context)
    rules = {name.split("-")[0]: rules_by_line(context, receipt) for name, receipt in receipts.items()}
    return lines, rules


@pytest.mark.parametrize("row", [*ROWS_BAD, *ROWS_GOOD], ids=lambda r: f"{r.kind}.{r.column}={r.text[:20]!r}")
def test_row(long_files, row):
    lines, rules = long_files
    assert rules[row.kind].get(lines[row], "") == row.rule


@pytest.mark.parametrize("kind", GOOD)
def test_ragged_rows_and_no_other(long_files, kind):
    lines, rules = long_files
    bad = {lines[row]: row.rule for row in ROWS_BAD if row.kind == kind}
    assert rules[kind] == bad | {lines[kind]: "ragged", lines[kind] + 1: "ragged"}


def test_there_are_cases_enough():
    assert len(FILES) + len(ROWS_BAD) + len(ROWS_GOOD) + len(GOOD) >= 200


# What is not a matter of content ------------------------------------------------------------------------------------


def test_link_in_the_landing_folder_is_never_followed(tmp_path):
    context = border_in(tmp_path / "home")
    secret = tmp_path / "secret.csv"
    secret.write_bytes(content("payments", 1))
    (context.landing / "simulated/payments-2024-03-01.csv").symlink_to(secret)
    assert taken_in(context) == {}
    assert secret.exists() and strays(context, ["simulated"]) == ["simulated/payments-2024-03-01.csv"]


def test_hidden_file_waits(tmp_path):
    context = border_in(tmp_path)
    path = context.landing / "simulated/.payments-2024-03-01.csv"
    path.write_bytes(content("payments", 1)[:500])
    assert taken_in(context) == {}
    assert unfinished(SIMULATED, context) == [path]


# Drawn cases --------------------------------------------------------------------------------------------------------

DIGITS = st.integers(0, 10**9)
BAD_AMOUNT = st.one_of(
    st.builds(lambda n, d: f"{n}.{d:03}", DIGITS, st.integers(1, 999)),
    st.builds(lambda n, e: f"{n}e{e}", DIGITS, st.integers(0, 9)),
    st.builds(lambda n, d: f'"{n},{d:02}"', DIGITS, st.integers(0, 99)),
    st.builds(lambda n: f"{n}{'0' * 17}", st.integers(1, 9)),
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Nd", "Cs", "Cc", "Zl", "Zp"], exclude_characters=',"'),
        min_size=1,
    ),
)
BAD_DATE = st.one_of(
    st.builds(lambda y, m: f"{y}-{m:02}-01", st.integers(1000, 9999), st.integers(13, 99)),
    st.builds(lambda y, m, d: f"{y}-{m:02}-{d}", st.integers(1000, 9999), st.integers(1, 12), st.integers(32, 99)),
    st.builds(lambda y, m: f"{y}-{m:02}-31", st.integers(1000, 9999), st.sampled_from([2, 4, 6, 9, 11])),
    st.dates().map(lambda day: f"{day:%d.%m.%Y}"),
)
BAD_FIELD = st.one_of(
    BAD_AMOUNT.map(lambda text: Row("payments", "amount", text, "amount:money")),
    BAD_DATE.map(lambda text: Row("payments", "paid_on", text, "paid_on:date")),
    st.from_regex(r"[A-Z]{3}", fullmatch=True)
    .filter(lambda code: code != "EUR")
    .map(lambda code: Row("payments", "currency", code, "currency:pattern")),
)


def _bad_rows(bad, tmp_path_factory):
    context = border_in(tmp_path_factory.mktemp("drawn"))
    lines = [changed(row, 1_000 + n) for n, row in enumerate(bad)]
    body = content("payments", 5_000, 100 * len(bad)).decode() + "\n".join([*lines, ""])
    (context.landing / "simulated/payments-2024-03-01.csv").write_text(body)
    (receipt,) = taken_in(context).values()
    first = 2 + 100 * len(bad)
    assert receipt.state is State.PARTIAL
    assert rules_by_line(context, receipt) == {first + n: row.rule for n, row in enumerate(bad)}


def _cut(at, tmp_path_factory):
    """A file that was cut off at any byte is refused as a whole if its manifest describes the complete file.

    The manifest gives the number of rows and the control total.
    """
    context = border_in(tmp_path_factory.mktemp("cut"))
    whole = content("payments", 1, 20)
    path = context.landing / "simulated/payments-2024-03-01.csv"
    path.write_bytes(whole[: at % (len(whole) - 1)])
    path.with_name(path.name + ".done").write_text('{"rows": 20, "control_total": 250}')
    (receipt,) = taken_in(context).values()
    assert (receipt.state, receipt.accepted_rows) == (State.QUARANTINED, 0)


def _noise(noise, at, tmp_path_factory):
    """If random bytes are inserted in a file, each line has exactly one outcome, or the whole file is refused."""
    context = border_in(tmp_path_factory.mktemp("noise"))
    whole = content("payments", 1, 200)
    at %= len(whole)
    (context.landing / "simulated/payments-2024-03-01.csv").write_bytes(whole[:at] + noise + whole[at:])
    (receipt,) = taken_in(context).values()
    assert receipt.accepted_rows <= 201 + noise.count(b"\n")


quick = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
many = settings(quick, max_examples=1_000)
ROWS_DRAWN = st.lists(BAD_FIELD, min_size=1, max_size=8)
test_drawn_rows = quick(given(bad=ROWS_DRAWN)(_bad_rows))
test_cut_file = quick(given(at=st.integers(0, 10**6))(_cut))
test_noise = quick(given(noise=st.binary(min_size=1, max_size=12), at=st.integers(0, 10**6))(_noise))
test_many_drawn_rows = pytest.mark.long(many(given(bad=ROWS_DRAWN)(_bad_rows)))
test_many_cut_files = pytest.mark.long(many(given(at=st.integers(0, 10**6))(_cut)))
test_much_noise = pytest.mark.long(
    many(given(noise=st.binary(min_size=1, max_size=12), at=st.integers(0, 10**6))(_noise))
)
