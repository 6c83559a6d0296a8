"""The unit of the benchmarks: `floor.py` of 2026-12-01, frozen together with its book. Do not change it.

The cost of a night is given as a multiple of this script's time in the same turn. So the figures of different versions
can be compared. `floor.py` is changed when the project's rules change; this script is not.

The script does the work of a first night on the source `simulated` with DuckDB, Polars and XGBoost only. Its input is
the book that `book_v1.py` writes, and by default the policy in `frozen/policy.yaml`.

    python benchmarks/floor_v1.py LANDING_FOLDER OUTPUT_FOLDER [--policy FILE]

It prints one JSON object: seconds, CPU seconds and peak memory, by stage and in total, rows, and the model's AUC.
"""

import argparse
import datetime as dt
import hashlib
import hmac
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import polars as pl
import xgboost as xgb
import yaml

BOOK = Path(__file__).resolve().parent / "frozen"
SOURCE = "simulated"
THREADS, MEMORY = 2, "2GB"
BYTES_A_BUCKET = 128_000_000  # of CSV, about 50,000 loans; one bucket at a time is sorted and searched in memory
MARTS = ("loan_months", "features", "labels")


class Table(NamedTuple):
    """A delivered table: its columns, and the rules for its rows.

    Attributes:
        columns: The names and SQL types of the columns.
        key: The columns that together identify a row.
        event: The column with the event date of a row.
        booked: The column with the date on which a row became known. If it is None, this is the event date.
        faults: SQL conditions that must not be true for any row.
        optional: The columns that may be null.
        identifiers: The columns that are replaced by pseudonyms, each with the namespace of its pseudonyms.
    """

    columns: str
    key: str
    event: str
    booked: str | None = None
    faults: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    identifiers: tuple[tuple[str, str], ...] = ()

    @property
    def types(self) -> dict[str, str]:
        """Return the SQL type of each column.

        DuckDB needs them, because it does not infer types here.
        """
        return dict(column.split(" ", 1) for column in self.columns.split(", "))


TABLES = {
    "borrowers": Table(
        "customer_no VARCHAR, name VARCHAR, account_no VARCHAR, reported_on DATE, income DECIMAL(18,2),"
        " tenure_months INT, region INT",
        key="customer_no",
        event="reported_on",
        faults=("income < 0",),
        optional=("income", "tenure_months", "region"),
        identifiers=(("customer_no", "borrower_id"), ("account_no", "account_id")),
    ),
    "attributes": Table(
        "customer_no VARCHAR, reported_on DATE, sex INT, age INT",
        key="customer_no",
        event="reported_on",
        optional=("sex", "age"),
        identifiers=(("customer_no", "borrower_id"),),
    ),
    "loans": Table(
        "loan_no VARCHAR, customer_no VARCHAR, product VARCHAR, channel VARCHAR, opened_on DATE, amount DECIMAL(18,2),"
        " limit DECIMAL(18,2), term_months INT, annual_rate DECIMAL(9,6), instalment DECIMAL(18,2), currency VARCHAR,"
        " status VARCHAR",
        key="loan_no",
        event="opened_on",
        faults=(
            "amount < 0",
            '"limit" < 0',
            "term_months not between 1 and 120",
            "annual_rate not between 0 and 1",
            "instalment < 0",
            "currency <> 'EUR'",
            "not regexp_full_match(loan_no, '[0-9]{8}')",
            "product not in ('instalment_loan', 'car_loan', 'merchant_cash_loan', 'card')",
            "channel not in ('branch', 'web', 'partner')",
        ),
        optional=("amount", "limit", "term_months", "instalment", "status"),
        identifiers=(("customer_no", "borrower_id"),),
    ),
    "schedules": Table(
        "loan_no VARCHAR, valid_from DATE, instalment_no INT, due_on DATE, amount DECIMAL(18,2),"
        " principal DECIMAL(18,2), interest DECIMAL(18,2)",
        key="loan_no, valid_from, instalment_no",
        event="valid_from",
        faults=("amount < 0", "due_on < valid_from"),
    ),
    "payments": Table(
        "payment_no VARCHAR, loan_no VARCHAR, paid_on DATE, amount DECIMAL(18,2), currency VARCHAR, method VARCHAR,"
        " payer_no VARCHAR, booked_on DATE",
        key="payment_no",
        event="paid_on",
        booked="booked_on",
        faults=("currency <> 'EUR'", "method not in ('direct_debit', 'transfer', 'cash')"),
        optional=("payer_no",),
        identifiers=(("payer_no", "payer_id"),),
    ),
    "statements": Table(
        "loan_no VARCHAR, month_on DATE, balance DECIMAL(18,2), limit DECIMAL(18,2), purchases DECIMAL(18,2),"
        " due DECIMAL(18,2), paid DECIMAL(18,2)",
        key="loan_no, month_on",
        event="month_on",
        faults=('"limit" < 0', "due < 0"),
    ),
    "events": Table(
        "loan_no VARCHAR, event_on DATE, kind VARCHAR",
        key="loan_no, event_on, kind",
        event="event_on",
        faults=("kind not in ('write_off', 'restructured', 'deferral_start', 'deferral_end')",),
    ),
    "funding": Table(
        "loan_no VARCHAR, partner VARCHAR, funded_on DATE, share DECIMAL(9,6)",
        key="loan_no, partner",
        event="funded_on",
        faults=("share not between 0 and 1",),
    ),
    "client_money": Table(
        "booking_no VARCHAR, booked_on DATE, kind VARCHAR, loan_no VARCHAR, amount DECIMAL(18,2)",
        key="booking_no",
        event="booked_on",
        faults=("kind not in ('received', 'allocated', 'refunded')",),
        optional=("loan_no",),
    ),
    "cases": Table(
        "case_no VARCHAR, loan_no VARCHAR, opened_on DATE, kind VARCHAR",
        key="case_no",
        event="opened_on",
        faults=("kind not in ('dispute', 'complaint', 'collection')",),
    ),
}
LEDGER = ("loans", "schedules", "payments")  # loan months are computed from these tables, in buckets of loans
REFERENCES = (
    ("attributes", "customer_no", "borrowers"),
    ("loans", "customer_no", "borrowers"),
    *((name, "loan_no", "loans") for name in ("schedules", "payments", "statements", "events", "funding", "cases")),
)
# The features of a ledger source: name, direction of risk, reason code, and the lowest and highest possible value.
FEATURES: tuple[tuple[str, int, str, float, float], ...] = (
    ("dpd_now", 1, "RC01", 0, np.inf),
    ("max_dpd_3m", 1, "RC02", 0, np.inf),
    ("max_dpd_6m", 1, "RC02", 0, np.inf),
    ("max_dpd_12m", 1, "RC02", 0, np.inf),
    ("cnt_dpd1_6m", 1, "RC02", 0, 6),
    ("cnt_dpd30_6m", 1, "RC02", 0, 6),
    ("cnt_dpd60_6m", 1, "RC02", 0, 6),
    ("cnt_dpd30_12m", 1, "RC02", 0, 12),
    ("months_since_dpd1", -1, "RC02", 0, 99),
    ("months_since_dpd30", -1, "RC02", 0, 99),
    ("roll_up_6m", 1, "RC02", 0, 6),
    ("pay_ratio_3m", -1, "RC13", 0, 3),
    ("pay_ratio_6m", -1, "RC13", 0, 3),
    ("pay_ratio_12m", -1, "RC13", 0, 3),
    ("min_pay_ratio_6m", -1, "RC13", 0, 3),
    ("full_pay_streak", -1, "RC13", 0, 12),
    ("util_now", 1, "RC04", 0, 1.5),
    ("util_mean_3m", 1, "RC04", 0, 1.5),
    ("util_mean_6m", 1, "RC04", 0, 1.5),
    ("util_mean_12m", 1, "RC04", 0, 1.5),
    ("util_trend_6m", 1, "RC05", -1.5, 1.5),
    ("util_3m_over_6m", 1, "RC05", 0, 2),
    ("mob", -1, "RC07", 0, np.inf),
    ("bal_to_orig", 1, "RC15", 0, 2),
    ("annual_rate", 1, "RC16", 0, np.inf),
    ("limit_amount", -1, "RC14", 0, np.inf),
    ("bill_amount", 0, "RC04", -np.inf, np.inf),
    ("pay_amount_last", -1, "RC13", -np.inf, np.inf),
    ("pay_amount_mean_3m", -1, "RC13", -np.inf, np.inf),
    ("pay_amount_mean_6m", -1, "RC13", -np.inf, np.inf),
)
NAMES = [name for name, *_ in FEATURES]
FAMILIES = ("RC01", "RC02", "RC04", "RC05", "RC07", "RC13", "RC14", "RC15", "RC16")
SPAN = 1 << 12  # at least twice the months of the longest loan: loan * SPAN + month is one number for both
DAYS = 1 << 17  # more than twice the number of days since 1970: loan * DAYS + day is one number for both
LEVELS = 1 << 40  # more cents than any loan has: loan * LEVELS + cents is one number for both

Json = dict[str, Any]


# --- measuring -------------------------------------------------------------------------------------------------------


class Meter:
    """Measures seconds, CPU seconds and peak memory by stage.

    If a stage is run several times, its seconds are added up, and its peak memory is the highest of all runs.
    """

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body of a `with` statement as one run of the stage `name`."""
        Path("/proc/self/clear_refs").write_text("5")  # resets the kernel's peak memory of this process
        began, cpu = time.perf_counter(), _cpu()
        yield
        totals = self.stages.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0.0})
        totals["seconds"] += time.perf_counter() - began
        totals["cpu_seconds"] += _cpu() - cpu
        totals["peak_mb"] = max(totals["peak_mb"], _peak_mb())

    def rounded(self) -> dict[str, dict[str, float]]:
        """Return the figures of each stage, rounded to two decimals."""
        return {name: {what: round(value, 2) for what, value in totals.items()} for name, totals in self.stages.items()}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


# --- reading and checking --------------------------------------------------------------------------------------------


def load(db: duckdb.DuckDBPyConnection, landing: Path, raw: Path, buckets: int) -> None:
    """Write the daily CSV files of each table as Parquet, and create a view of each table.

    Identifiers are replaced by pseudonyms. The tables in `LEDGER` are split into `buckets` buckets of loans, so that
    all rows of a loan are in the same bucket.
    """
    for name, table in TABLES.items():
        (raw / name).mkdir(parents=True)
        replaced = [f"{pseudonym(column, domain)} as {column}" for column, domain in table.identifiers]
        if "name" in table.types:
            replaced.append("left(name, 0) as name")  # the empty text keeps only whether there is a name
        columns = f"* replace ({', '.join(replaced)})" if replaced else "*"
        bucket = f"hash(loan_no) % {buckets}" if name in LEDGER else "0"
        db.execute(
            f"copy (select {columns}, {table.booked or table.event} as known_at, {bucket} as bucket from read_csv("
            f"'{landing}/{name}-*.csv', header = true, auto_detect = false, columns = {table.types}))"
            f" to '{raw / name}' (format parquet, partition_by (bucket), compression zstd, compression_level 1)"
        )
        db.execute(f"create view {name} as from read_parquet('{raw / name}/*/*.parquet', hive_partitioning = true)")


def pseudonym(column: str, domain: str) -> str:
    """Return the SQL expression that computes the pseudonym of a column: an HMAC-SHA256 with the development key.

    `domain` is the namespace of the pseudonyms. SQL is faster here than Python, which would compute row by row.
    """
    master = hashlib.sha256(b"creditloom: development key, public on purpose").digest()
    key = hmac.digest(master, f"pseudonym:{SOURCE}.{domain}".encode(), "sha256").ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in key).hex() for pad in (0x36, 0x5C))
    return f"left(sha256(unhex('{outer}') || unhex(sha256(unhex('{inner}') || encode({column})))), 32)"


def check_raw(db: duckdb.DuckDBPyConnection, lag: int) -> dict[str, int]:
    """Return the number of rows that fail each check of the raw tables.

    `lag` is the number of days from the end of a month until the month is observed.
    """
    failing: dict[str, int] = {}
    for name, table in TABLES.items():
        missing = [f'"{column}" is null' for column in table.types if column not in table.optional]
        failing |= _count(db, name, [*missing, *table.faults, f"known_at < {table.event}"])
        if table.booked:
            failing |= _count(db, name, [f"month_no({table.booked} - {lag}) > month_no({table.event})"])
        failing[f"{name}: key"] = _rows(db, f"select 1 from {name} group by {table.key} having count(*) > 1")
    for name, key, other in REFERENCES:
        failing[f"{name}: {key} in {other}"] = _rows(db, f"select 1 from {name} anti join {other} using ({key})")
    failing["schedules: none before the opening"] = _rows(
        db, "select 1 from schedules join loans using (loan_no) where valid_from < opened_on"
    )
    return failing


def check_marts(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the number of rows that fail each check of the loan months, features and labels."""
    failing: dict[str, int] = {}
    for table in MARTS:
        key = f"select 1 from {table} group by loan_id, month_on having count(*) > 1"
        failing[f"{table}: key"] = _rows(db, key)
    needed = ("loan_id", "month_on", "known_on", "dpd_max", "dpd_end", "due", "paid", "balance", "state")
    failing |= _count(db, "loan_months", [f"{column} is null" for column in needed])
    bounds = [
        f"{name} not between {low} and {high if np.isfinite(high) else 1e9}"
        for name, _, _, low, high in FEATURES
        if np.isfinite(low)
    ]
    flags = [f"{flag} is null" for flag in ("loan_id", "month_on", "borrower_id", "is_live", "in_default")]
    windows = "max_dpd_3m > max_dpd_6m or max_dpd_6m > max_dpd_12m or dpd_now > max_dpd_3m"
    failing |= _count(db, "features", [*flags, *bounds, windows])
    failing |= _count(db, "labels", ["label is null and exclusion_reason is null"])
    failing["labels: features"] = _rows(db, "select 1 from labels anti join features using (loan_id, month_on)")
    failing["loan_months: payments"] = _rows(
        db,
        "select month_on, sum(paid) as paid from loan_months group by all having paid <> 0 except"
        " select last_day(greatest(paid_on, opened_on)), sum(p.amount)"
        " from payments as p join loans using (loan_no) group by all",
    )
    return failing


def check_training(db: duckdb.DuckDBPyConnection, training: pl.DataFrame, policy: Json) -> dict[str, int]:
    """Return the number of rows that fail each check of the training set."""
    db.register("training", training)
    low, high = policy["training_data"]["min_default_rate"], policy["training_data"]["max_default_rate"]
    failing = _count(db, "training", ["label not in (0, 1)", "bucket not between 0 and 99", "in_default"])
    failing["training: key"] = _rows(db, "select 1 from training group by loan_id, month_on having count(*) > 1")
    failing["training: one side"] = _rows(
        db,
        "select 1 from training where block <> 'oot' group by borrower_id having count(distinct block) > 1",
    )
    failing["training: default rate"] = _rows(
        db, f"select avg(label) as rate from training having rate not between {low} and {high}"
    )
    return failing


def check_scores(db: duckdb.DuckDBPyConnection, scores: pl.DataFrame, policy: Json) -> dict[str, int]:
    """Return the number of rows that fail each check of the scores."""
    db.register("scores", scores)
    scale = policy["scale"]
    failing = _count(
        db,
        "scores",
        [
            *(f"{column} is null" for column in ("pd", "score", "grade", "band", "reason_1")),
            f"pd not between {scale['pd_floor']} and 1",
            f"score not between {scale['score_min']} and {scale['score_max']}",
            "(grade = 'D') <> in_default or in_default and pd < 1",
            "reason_2 is not null and reason_1 = 'none' or reason_3 is not null and reason_2 is null"
            " or reason_4 is not null and reason_3 is null",
        ],
    )
    failing["scores: key"] = _rows(db, "select 1 from scores group by loan_id having count(*) > 1")
    risen = "score > min(score) over (order by pd rows between unbounded preceding and 1 preceding)"
    failing["scores: fall with pd"] = _rows(db, f"select 1 from (select {risen} as risen from scores) where risen")
    return failing


def _count(db: duckdb.DuckDBPyConnection, table: str, conditions: list[str]) -> dict[str, int]:
    counted = ", ".join(f"count(*) filter (where {condition})" for condition in conditions)
    row = db.execute(f"select count(*), {counted} from {table}").fetchall()[0]
    names = [f"{table}: {condition}" for condition in conditions]
    return {f"{table}: empty": int(row[0] == 0), **dict(zip(names, row[1:], strict=True))}


def _rows(db: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(db.execute(f"select count(*) from ({query})").fetchall()[0][0])


# --- loan months: days past due, first in, first out -----------------------------------------------------------------


def tables_of_bucket(db: duckdb.DuckDBPyConnection, bucket: int) -> dict[str, pl.DataFrame]:
    """Return the loans, plans, instalments and payments of one bucket of loans. Payments are summed by day.

    Money is in cents. A plan is a version of a loan's schedule that is valid at one or more month-ends. A loan without
    a schedule, for example a card before its first statement, has a plan without instalments.

    If an instalment of a version is due after the next version becomes valid, it is void (`is_void`). A plan consists
    of all instalments of its own and earlier versions that are not void, followed by the void instalments of its own
    version.
    """
    db.execute(
        "create or replace temp table loan as select cast(row_number() over (order by loan_no) - 1 as int) as loan,"
        " loan_no, customer_no, opened_on, month_no(opened_on) as opened, annual_rate, cents(amount) as lent,"
        ' cents("limit") as credit, given_up from loans'
        " left join (select loan_no, month_no(min(event_on)) as given_up from events"
        " where kind = 'write_off' group by 1) using (loan_no) where bucket = $1",
        [bucket],
    )
    db.execute(
        "create or replace temp table instalment as select loan, valid_from, instalment_no, due_on,"
        " cents(s.amount) as amount, cents(least(greatest(principal, 0), s.amount)) as principal"
        " from schedules as s join loan using (loan_no) where bucket = $1",
        [bucket],
    )
    db.execute(
        "create or replace temp table version as with scheduled as (select distinct loan, valid_from from instalment),"
        " begun as (select *, true as is_scheduled from scheduled union all"
        " select loan, opened_on, false from loan anti join scheduled"
        " on loan.loan = scheduled.loan and valid_from <= opened_on)"
        " select *, cast(row_number() over (order by loan, valid_from) - 1 as int) as version,"
        " lead(valid_from) over (partition by loan order by valid_from) as next_from from begun"
    )
    plans = db.sql(
        "select version, loan, is_scheduled, month_no(valid_from) as first_month,"
        " month_no(next_from) - 1 as last_month from version"
        " where next_from is null or month_no(next_from) > month_no(valid_from) order by version"
    ).pl()
    instalments = db.sql(
        "select loan, version, due_on, instalment_no, amount, principal,"
        " coalesce(due_on >= next_from, false) as is_void"
        " from instalment join version using (loan, valid_from) where due_on >= valid_from"
    ).pl()
    payments = db.sql(
        "select loan, greatest(paid_on, opened_on) as day, cast(sum(cents(amount)) as bigint) as paid"
        f" from payments join loan using (loan_no) where bucket = {bucket} group by all"
    ).pl()
    return {
        "loans": db.sql("from loan order by loan").pl(),
        "plans": plans,
        "instalments": instalments.sort(
            (pl.col("version").cast(pl.Int64) * DAYS + pl.col("due_on").to_physical()) * SPAN + pl.col("instalment_no")
        ),
        "payments": payments,
    }


def loan_months(tables: Mapping[str, pl.DataFrame], reported: int, default_dpd: int) -> pl.DataFrame:
    """Compute one row per loan and month, up to the month `reported`. Money is in cents.

    Days past due can only grow between two payments. So their maximum in a month is reached on the day before a payment
    or on the last day of the month, and only these days are computed. The oldest unpaid instalment on such a day is the
    first one whose cumulative due exceeds the cumulative payments. It is found by binary search.
    """
    instalments = tables["instalments"].with_columns(
        cum_due=_cumulative("amount"), cum_principal=_cumulative("principal")
    )
    holding, void = instalments.filter(~pl.col("is_void")), instalments.filter("is_void")
    totals = instalments.group_by("version").agg(pl.last("cum_due", "cum_principal").name.prefix("plan_"))
    plans = tables["plans"].join(totals, on="version", how="left", maintain_order="left")
    months = _months(plans, tables["payments"], reported)
    days = _days_past_due(_days(tables["payments"], months, reported), holding)
    owed = pl.coalesce("lent", "plan_cum_principal") - pl.col("repaid")
    of_loan = ("loan", "lent", "credit", "opened", "annual_rate", "given_up")
    is_written_off = (pl.col("month") >= pl.col("given_up")).fill_null(value=False)
    return (
        months.hstack(_by_month(days, holding, void))
        .with_columns(
            due=_due_in_month(holding, months),
            is_closed=pl.col("is_scheduled") & pl.col("repaid").is_null(),
        )
        .join(tables["loans"].select(*of_loan), on="loan", maintain_order="left")
        .with_columns(
            balance=pl.when("is_closed").then(0).when("is_scheduled").then(owed.clip(0)).otherwise(pl.col("lent")),
            is_default=(pl.col("dpd_end") >= default_dpd) | is_written_off,
            is_written_off=is_written_off,
        )
        # A closed loan has no further rows, except for months with a payment or a new version.
        .filter(~pl.col("is_closed") | pl.col("has_payment") | (pl.col("month") == pl.col("first_month")))
        .select(
            *("loan", "month", "day", "dpd_max", "dpd_end", "due", "paid", pl.col("balance").fill_null(0)),
            *of_loan[1:],
            *("is_closed", "is_default", "is_written_off"),
        )
    )


def _cumulative(column: str) -> pl.Expr:
    """Return an expression for the running sum of a column over the instalments of each plan.

    It first adds up the loan's instalments that are not void, and then the void instalments of the plan's own version.
    """
    holds = pl.when("is_void").then(0).otherwise(column).alias(column)
    return _running(holds, "loan") + _running(pl.col(column) - holds, "version")


def _days(payments: pl.DataFrame, months: pl.DataFrame, reported: int) -> pl.DataFrame:
    """Return one row per day with a payment, and one row per month-end, sorted by loan and day.

    If a payment is made on a month-end, the row of the month-end follows the row of the payment. `level` is the total
    that the loan has paid by the end of the day.

    `on` is the day on which days past due are measured, and `before` is the total paid by then. For a payment, these
    are the day before it and the total without it. For a month-end, they are the month-end and the full total.
    """
    paid = payments.filter(_month_no("day") <= reported).with_columns(is_end=pl.lit(0, pl.Int8))
    ends = months.select("loan", "day", "version", is_end=pl.lit(1, pl.Int8))
    is_end = pl.col("is_end") == 1
    return (
        pl.concat([paid, ends], how="diagonal")
        .with_columns(pl.col("paid").fill_null(0))
        .sort(pl.col("loan").cast(pl.Int64) * DAYS + pl.col("day").to_physical() * 2 + pl.col("is_end"))
        .with_columns(pl.col("version").backward_fill(), level=_running(pl.col("paid"), "loan"))
        .with_columns(
            on=pl.when(is_end).then("day").otherwise(pl.col("day").dt.offset_by("-1d")),
            before=pl.when(is_end).then("level").otherwise(pl.col("level") - pl.col("paid")),
        )
    )


def _days_past_due(days: pl.DataFrame, holding: pl.DataFrame) -> pl.DataFrame:
    """Add the index of the oldest unpaid instalment (`place`) and the days past due (`dpd`) to each row of `days`.

    `holding` has the instalments that are not void. Void instalments are not needed here, because they are due after
    their plan has ended. If no instalment is unpaid, `place` is null and `dpd` is 0. `dpd` is also 0 for a payment on
    the first day of a month, because the day before belongs to the previous month.
    """
    days = days.with_columns(place=_oldest_unpaid(days, "before", holding, "loan"))
    overdue = (pl.col("on") - pl.lit(holding["due_on"]).gather("place")).dt.total_days().clip(0).cast(pl.Int32)
    in_month = (pl.col("is_end") == 1) | (pl.col("day").dt.day() > 1)  # the day before a 1st is in the month before
    return days.with_columns(dpd=pl.when(in_month).then(overdue).fill_null(0))


def _oldest_unpaid(days: pl.DataFrame, level: str, instalments: pl.DataFrame, group: str) -> pl.Series:
    """Return the index of the oldest unpaid instalment for each row of `days`, or null if there is none.

    This is the first instalment of the same plan whose cumulative due exceeds the total paid. `level` is the column
    with the total paid. `group` is the column that rows and instalments are matched by.
    """
    key = pl.col(group).cast(pl.Int64) * LEVELS
    levels = instalments.select(key + pl.col("cum_due")).to_series()
    place = levels.search_sorted(days.select(key + pl.col(level).clip(0, LEVELS - 1)).to_series(), side="right")
    place = place.set(place >= instalments.height, None)
    found = instalments.select(pl.col(group, "version").gather(place))
    is_of_plan = (found[group] == days[group]) & (found["version"] <= days["version"])
    return place.set(~is_of_plan, None)


def _by_month(days: pl.DataFrame, holding: pl.DataFrame, void: pl.DataFrame) -> pl.DataFrame:
    """Compute one row per loan and month from the rows of `days` in the month."""
    month = pl.col("is_end").cast(pl.Int64).cum_sum() - pl.col("is_end")  # a number that is unique across all loans
    marked = days.with_columns(
        # `month * DAYS` rises with each month, so the running maximum never keeps a value of an earlier month.
        dpd_max=(month * DAYS + pl.col("dpd")).cum_max() - month * DAYS,
        paid_so_far=pl.col("paid").cum_sum(),
        row=pl.int_range(pl.len()),
    )
    ends = marked.filter(pl.col("is_end") == 1)
    return ends.select(
        pl.col("dpd_max").cast(pl.Int32),
        pl.col("dpd").alias("dpd_end"),
        (pl.col("row") - pl.col("row").shift(fill_value=-1) > 1).alias("has_payment"),
        (pl.col("paid_so_far") - pl.col("paid_so_far").shift(fill_value=0)).alias("paid"),
        repaid=_repaid(ends, holding, void),
    )


def _repaid(ends: pl.DataFrame, holding: pl.DataFrame, void: pl.DataFrame) -> pl.Series:
    """Return the principal repaid by each month-end, or null if the whole plan has been paid."""
    place = ends.select(pl.coalesce("place", _oldest_unpaid(ends, "level", void, "version") + holding.height))
    wanted = pl.col("cum_due", "principal", "cum_principal")
    oldest = pl.concat([holding, void]).select(wanted.gather(place.to_series()))
    # A payment to the oldest unpaid instalment covers interest and fees first, and then principal.
    into_principal = (ends["level"] - pl.col("cum_due") + pl.col("principal")).clip(0)
    return oldest.select(pl.col("cum_principal") - pl.col("principal") + into_principal).to_series()


def _due_in_month(holding: pl.DataFrame, months: pl.DataFrame) -> pl.Series:
    """Return the amount that falls due in each month, without void instalments.

    It is the difference between two cumulative sums.
    """
    place = pl.col("loan").cast(pl.Int64) * DAYS
    keys = holding.select(place + pl.col("due_on").to_physical()).to_series()
    so_far = pl.concat([pl.Series([0]), holding["amount"].cum_sum()])
    until_end = keys.search_sorted(months.select(place + pl.col("day").to_physical()).to_series(), side="right")
    first_day = pl.col("day").to_physical() - pl.col("day").dt.day() + 1
    before = keys.search_sorted(months.select(place + first_day).to_series(), side="left")
    return so_far.gather(until_end) - so_far.gather(before)


def _months(plans: pl.DataFrame, payments: pl.DataFrame, reported: int) -> pl.DataFrame:
    """Return one row per plan and month, sorted by loan and month. `day` is the last day of the month.

    A loan that is fully paid ends in the month of its last payment. If its last version is valid only from a later
    month, it ends in that month.
    """
    paid = payments.group_by("loan").agg(pl.sum("paid"), _month_no("day").max().alias("paid_until"))
    plans = plans.join(paid, on="loan", how="left", maintain_order="left")
    end = pl.when(pl.col("paid") >= pl.col("plan_cum_due")).then(pl.max_horizontal("paid_until", "first_month"))
    last = pl.min_horizontal(pl.coalesce("last_month", end, pl.lit(reported)), pl.lit(reported))
    earliest = int(plans.select(pl.min("first_month")).item())
    first, until = (dt.date(number // 12, number % 12 + 1, 1) for number in (earliest, reported))
    ends = pl.date_range(first, until, "1mo", eager=True).dt.month_end()
    columns = ("loan", "version", "is_scheduled", "plan_cum_principal", "first_month")
    return (
        plans.filter(pl.col("first_month") <= reported)
        .select(*columns, month=pl.int_ranges("first_month", last + 1))
        .explode("month", empty_as_null=False)
        .with_columns(day=pl.lit(ends).gather(pl.col("month") - earliest))
    )


def _running(value: pl.Expr, group: str) -> pl.Expr:
    """Return an expression for the running sum of a value, which restarts when the group changes from row to row."""
    total = value.cum_sum()
    begins = pl.col(group).ne_missing(pl.col(group).shift())
    return total - pl.when(begins).then(total - value).forward_fill()


def _month_no(day: str) -> pl.Expr:
    return pl.col(day).dt.year() * 12 + pl.col(day).dt.month() - 1


# --- features and labels ---------------------------------------------------------------------------------------------


def features(months: pl.DataFrame, reported: int) -> pl.DataFrame:
    """Compute the features of each loan and month.

    `months` must be sorted by loan and month. A feature over a window is null if the window is longer than the loan's
    history. So rolling windows may run over the rows of all loans, because a window that reaches into another loan's
    rows gives null.
    """
    at = pl.col("loan").cast(pl.Int64) * SPAN + pl.col("month")
    frame = months.lazy().with_columns(at=at).with_columns(
        # The row k rows above is k months earlier, unless the history has a gap or begins in between.
        *(_is_whole(k).alias(f"has_{k}m") for k in (3, 6, 12)),
        months_seen=pl.sum_horizontal((pl.col("at").shift(k, fill_value=-SPAN) > pl.col("at") - 12) for k in range(12)),
        ratio=_ratio(pl.col("paid"), pl.col("due")),
        util=_over(pl.col("balance"), pl.col("credit")).clip(0, 1.5),
        rose=((pl.col("dpd_max") > pl.col("dpd_max").shift()) & _is_whole(2)).fill_null(value=False).cast(pl.Int32),
    )  # fmt: skip

    def window(k: int, value: pl.Expr) -> pl.Expr:
        return pl.when(f"has_{k}m").then(value)

    def late_months(k: int, dpd: int) -> pl.Expr:
        return window(k, (pl.col("dpd_max") >= dpd).cast(pl.Int32).rolling_sum(k))

    def since(is_so: pl.Expr) -> pl.Expr:
        """Return the number of months since a condition was last true.

        The result is null if that was 12 or more months ago, or if the condition was never true.
        """
        last = pl.when(is_so).then("at").otherwise(-SPAN).cum_max()
        return pl.when(pl.col("at") - last < 12).then(pl.col("at") - last)

    def total(column: str, k: int) -> pl.Expr:
        return window(k, pl.col(column).rolling_sum(k))

    def util_mean(k: int) -> pl.Expr:
        return window(k, pl.col("util").rolling_mean(k))

    # The least-squares slope through six points at x = -2.5 to 2.5; the squares of x add up to 17.5.
    util_trend = sum(((2.5 - k) / 17.5 * pl.col("util").shift(k) for k in range(6)), pl.lit(0.0))
    streak = pl.coalesce(since(pl.col("paid") < pl.col("due")), "months_seen")
    return frame.select(
        "loan",
        month_on="day",
        is_live=(pl.col("month") == reported) & (pl.col("credit").is_not_null() | (pl.col("balance") > 0)),
        in_default="is_default",
        zero_balance=pl.col("balance") == 0,
        dpd_now="dpd_end",
        max_dpd_3m=window(3, pl.col("dpd_max").rolling_max(3)),
        max_dpd_6m=window(6, pl.col("dpd_max").rolling_max(6)),
        max_dpd_12m=window(12, pl.col("dpd_max").rolling_max(12)),
        cnt_dpd1_6m=late_months(6, 1),
        cnt_dpd30_6m=late_months(6, 30),
        cnt_dpd60_6m=late_months(6, 60),
        cnt_dpd30_12m=late_months(12, 30),
        months_since_dpd1=since(pl.col("dpd_max") >= 1).fill_null(99).cast(pl.Int32),
        months_since_dpd30=since(pl.col("dpd_max") >= 30).fill_null(99).cast(pl.Int32),
        roll_up_6m=window(6, pl.col("rose").rolling_sum(6)),
        pay_ratio_3m=_ratio(total("paid", 3), total("due", 3)),
        pay_ratio_6m=_ratio(total("paid", 6), total("due", 6)),
        pay_ratio_12m=_ratio(total("paid", 12), total("due", 12)),
        min_pay_ratio_6m=window(6, pl.col("ratio").rolling_min(6, min_samples=1)),
        full_pay_streak=streak.cast(pl.Int32),
        util_now=pl.col("util").round(9),
        util_mean_3m=util_mean(3).round(9),
        util_mean_6m=util_mean(6).round(9),
        util_mean_12m=util_mean(12).round(9),
        util_trend_6m=window(6, util_trend).round(9),
        util_3m_over_6m=_over(util_mean(3), util_mean(6)).round(9),
        mob=pl.col("month") - pl.col("opened"),
        bal_to_orig=_over(pl.col("balance"), pl.col("lent")).clip(0, 2).round(9),
        annual_rate=pl.col("annual_rate").cast(pl.Float64),
        limit_amount=pl.col("credit") / 100,
        bill_amount=pl.col("balance") / 100,
        pay_amount_last=pl.col("paid") / 100,
        pay_amount_mean_3m=(total("paid", 3) / 100 / 3).round(9),
        pay_amount_mean_6m=(total("paid", 6) / 100 / 6).round(9),
    ).collect()


def _is_whole(k: int) -> pl.Expr:
    return (pl.col("at").shift(k - 1) == pl.col("at") - (k - 1)).fill_null(value=False)


def _ratio(paid: pl.Expr, due: pl.Expr) -> pl.Expr:
    return _over(paid, due).clip(0, 3).round(9)


def _over(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole != 0).then(part / whole)


def labels(months: pl.DataFrame, reported: int, horizon: int, observe_from: int) -> pl.DataFrame:
    """Return the label of each observation whose whole horizon has been reported.

    If an observation is excluded, its label is null and `exclusion_reason` gives the reason.
    """
    at = pl.col("loan").cast(pl.Int64) * SPAN + pl.col("month")
    far = (1 << 31) * SPAN
    next_default = pl.when("is_default").then(at).otherwise(far).cum_min(reverse=True).shift(-1, fill_value=far) - at
    followed = next_default < SPAN // 2  # otherwise the next default belongs to another loan
    lost = (pl.col("month").last().over("loan") < pl.col("month") + horizon) & ~pl.col("is_closed").any().over("loan")
    reason = (
        pl.when("is_default")
        .then(pl.lit("in_default"))
        .when(pl.col("balance") <= 0)
        .then(pl.lit("zero_exposure"))
        .when(lost & ~followed)
        .then(pl.lit("lost_sight"))
    )
    return (
        months.with_columns(
            label=(next_default <= horizon).cast(pl.Int32),
            exclusion_reason=reason,
            place=pl.int_range(pl.len()).over("loan"),
        )
        .filter((pl.col("place") >= observe_from - 1) & (pl.col("month") + horizon <= reported))
        .select(
            "loan",
            pl.col("day").alias("month_on"),
            pl.when(pl.col("exclusion_reason").is_null()).then("label").alias("label"),
            "exclusion_reason",
        )
    )


# --- the training set and the model ----------------------------------------------------------------------------------


def training_set(db: duckdb.DuckDBPyConnection, policy: Json) -> pl.DataFrame:
    """Return the training set: the usable observations of one month per borrower and year, each with its block.

    The month is drawn by a hash of the borrower and the year from the months of that year.
    """
    split = policy["split"]
    drawn = f"cast('0x' || left(sha256('{split['salt']}|' || borrower_id || '|' || year(month_on)), 12) as bigint)"
    db.execute(
        "create temp table observation as with usable as (select loan_id, borrower_id, month_on, label from labels"
        " join (select loan_no as loan_id, customer_no as borrower_id from loans) using (loan_id)"
        " where exclusion_reason is null), months as (select month_on,"
        " row_number() over (partition by year(month_on) order by month_on) - 1 as place,"
        " count(*) over (partition by year(month_on)) as months_in_year from (select distinct month_on from labels))"
        " select loan_id, borrower_id, month_on, label from usable join months using (month_on)"
        f" where (place + {drawn}) % months_in_year = 0"
    )
    ranges = {name: split[name] for name in ("train", "val", "cal", "oos")}
    block = " ".join(f"when bucket between {low} and {high} then '{name}'" for name, (low, high) in ranges.items())
    cohorts = [month for (month,) in db.execute("select distinct month_on from observation order by 1").fetchall()]
    late = cohorts[-split["oot_months"]] if len(cohorts) >= split["oot_min_cohorts"] else dt.date.max
    training: pl.DataFrame = db.sql(
        f"with bucketed as (select borrower_id, hashed('{split['salt']}|' || borrower_id) % 100 as bucket"
        " from (select distinct borrower_id from observation))"
        " select loan_id, month_on, borrower_id, label, bucket, in_default,"
        f" case when month_on >= date '{late}' then 'oot' {block} end as block, {', '.join(NAMES)}"
        " from observation join bucketed using (borrower_id)"
        " join (select * exclude borrower_id from features) using (loan_id, month_on) order by loan_id, month_on"
    ).pl()
    return training


class Model:
    """A trained model: the booster, its Platt calibration, and the reference values for reasons.

    The booster is trained with early stopping. The reference values are the medians of the features over good loans,
    and the mean contributions.
    """

    def __init__(self, training: pl.DataFrame, policy: Json) -> None:
        blocks = {name: training.filter(pl.col("block") == name) for name in ("train", "val", "cal")}
        given = policy["training"]
        names = (
            "learning_rate",
            "max_depth",
            "min_child_weight",
            "subsample",
            "colsample_bytree",
            "reg_lambda",
            "seed",
        )
        self.booster = xgb.train(
            {name: given[name] for name in names}
            | {
                "objective": "binary:logistic",
                "tree_method": "hist",
                "eval_metric": "logloss",
                "nthread": given["threads"],
                "monotone_constraints": {name: sign for name, sign, *_ in FEATURES if sign},
            },
            _matrix(blocks["train"], with_label=True),
            num_boost_round=given["max_rounds"],
            evals=[(_matrix(blocks["val"], with_label=True), "val")],
            early_stopping_rounds=given["early_stopping_rounds"],
            verbose_eval=False,
        )
        self.rounds = int(self.booster.best_iteration) + 1
        self.intercept, self.slope = _platt(self.margin(blocks["cal"]), blocks["cal"]["label"].to_numpy())
        good = blocks["train"].filter(pl.col("label") == 0)
        self.typical: dict[str, float | None] = good.select(pl.col(NAMES).cast(pl.Float64).median()).row(0, named=True)
        self.mean_contribution = np.zeros(len(NAMES))

    def measure_reasons_against(self, train: pl.DataFrame) -> None:
        """Set the mean contributions to the means over these rows.

        A contribution above its mean is adverse.
        """
        self.mean_contribution = self.contributions(train)[:, :-1].mean(axis=0)

    def margin(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the raw output of the booster for each row, in logits."""
        raw = self.booster.predict(_matrix(frame), iteration_range=(0, self.rounds), output_margin=True)
        return np.asarray(raw, dtype=np.float64)

    def contributions(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the SHAP contributions of each row, in logits.

        The result has one column per feature, and the bias as an additional last column.
        """
        raw = self.booster.predict(_matrix(frame), iteration_range=(0, self.rounds), pred_contribs=True)
        return np.asarray(raw, dtype=np.float64)

    def pd(self, margin: np.ndarray) -> np.ndarray:
        """Return the calibrated PD for each margin, before the PD floor."""
        pd = 1 / (1 + np.exp(-(self.intercept + self.slope * margin)))
        return np.asarray(np.clip(np.round(pd, 9), 1e-9, 1 - 1e-9))


def _matrix(frame: pl.DataFrame, *, with_label: bool = False) -> xgb.DMatrix:
    values = frame.select(pl.col(NAMES).cast(pl.Float32)).to_numpy()  # XGBoost's own type
    label = frame["label"].to_numpy() if with_label else None
    return xgb.DMatrix(values, label=label, feature_names=NAMES, missing=np.nan, nthread=THREADS)


def _platt(margin: np.ndarray, outcome: np.ndarray) -> tuple[float, float]:
    """Fit the logistic line of the outcome on the margin, and return (intercept, slope).

    Newton's method starts from (0, 1), which is the line of a model that is already calibrated. If a step lowers the
    likelihood, it is halved.

    Raises:
        ValueError: If the method does not converge within 50 steps.
    """
    design = np.column_stack([np.ones_like(margin), margin])

    def likelihood(line: np.ndarray) -> float:
        return float((outcome * (design @ line) - np.logaddexp(0, design @ line)).sum())

    line = np.array([0.0, 1.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(design @ line)))
        step = np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]), design.T @ (outcome - p))
        while likelihood(line + step) < likelihood(line) and np.abs(step).max() >= 1e-10:
            step = step / 2
        line = line + step
        if np.abs(step).max() < 1e-10:
            return float(line[0]), float(line[1])
    raise ValueError("the logistic line did not converge")


def auc(outcome: np.ndarray, risk: np.ndarray) -> float:
    """Return the area under the ROC curve. Ties count one half.

    `outcome` is 1 for a default, and else 0. Higher values of `risk` mean more risk.
    """
    ranks = pl.Series(risk).rank("average").to_numpy()
    bad = outcome == 1
    return float((ranks[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * (~bad).sum()))


# --- scores ----------------------------------------------------------------------------------------------------------


def score(model: Model, live: pl.DataFrame, policy: Json) -> pl.DataFrame:
    """Return the PD, score, grade, band and proven reasons of every loan in `live`."""
    scale, anchor = policy["scale"], policy["sources"][SOURCE]["score_anchor"]
    margin = model.margin(live)
    pd = np.maximum(model.pd(margin), scale["pd_floor"])
    pd = np.where(live["in_default"].to_numpy(), 1.0, pd)
    with np.errstate(divide="ignore"):
        points = anchor["score"] + scale["points_to_double_odds"] * np.log2((1 - pd) / pd / anchor["odds"])
    points = np.floor(np.clip(points, scale["score_min"], scale["score_max"]) + 0.5).astype(np.int32)
    grades, edges = zip(*scale["grade_edges"].items(), strict=True)
    bands, lowest = zip(*scale["bands"].items(), strict=True)
    grade = np.array(grades)[np.searchsorted(edges, pd, side="right") - 1]
    return live.select("loan_id", pl.col("month_on").alias("as_of_on"), "in_default", "zero_balance").with_columns(
        pl.Series("pd", pd),
        pl.Series("score", points),
        pl.Series("grade", np.where(live["in_default"].to_numpy(), "D", grade)),
        pl.Series("band", np.array(bands)[np.searchsorted(lowest, points, side="right") - 1]),
        *reasons(model, live, margin, policy["reasons"]),
    )


def reasons(model: Model, live: pl.DataFrame, margin: np.ndarray, policy: Json) -> list[pl.Series]:
    """Return the proven reason codes of each loan, as the columns `reason_1`, `reason_2` and so on, strongest first.

    A reason is proven if it meets three conditions: its contribution is adverse enough, the stated fact is true of the
    loan, and the margin falls enough if its features get the values of a typical good loan. If a loan has no proven
    reason, its `reason_1` is `none`. Other columns without a reason are null.
    """
    above_mean = model.contributions(live)[:, :-1] - model.mean_contribution
    members = [[i for i, (_, _, family, *_) in enumerate(FEATURES) if family == code] for code in FAMILIES]
    adverse = np.column_stack([above_mean[:, columns].sum(axis=1) for columns in members])
    small = policy["small_pay_ratio"]
    facts = live.select(
        RC01=pl.col("dpd_now") > 0,
        RC02=pl.max_horizontal("max_dpd_6m", "max_dpd_12m") > 0,
        RC04=pl.col("util_now") >= policy["high_utilisation"],
        RC05=(pl.col("util_trend_6m") > 0) & (pl.col("util_now") > pl.col("util_mean_6m")),
        RC07=pl.col("mob") < (model.typical["mob"] or 0),
        RC13=(pl.max_horizontal("pay_ratio_3m", "pay_ratio_6m") < small) & (pl.col("bill_amount") > 0),
        RC14=pl.col("limit_amount") < (model.typical["limit_amount"] or 0),
        RC15=pl.col("bal_to_orig") > (model.typical["bal_to_orig"] or 0),
        RC16=pl.col("annual_rate") > (model.typical["annual_rate"] or 0),
    )
    fact = facts.with_columns(pl.all().fill_null(value=False)).to_numpy()
    share = policy["min_share_of_adverse"] * adverse.clip(min=0).sum(axis=1, keepdims=True)
    proven = fact & (adverse > policy["min_contribution_logit"]) & (adverse >= share)
    for k, columns in enumerate(members):
        rows = np.flatnonzero(proven[:, k])
        if len(rows):
            names = [NAMES[i] for i in columns]
            usual = live[rows].with_columns(pl.lit(model.typical[n], dtype=pl.Float64).alias(n) for n in names)
            proven[rows, k] = margin[rows] - model.margin(usual) >= policy["min_margin_fall"]
    strength = np.where(proven, adverse, -np.inf)
    order = np.argsort(-strength, axis=1, kind="stable")[:, : policy["max_reasons"]]
    stated = np.isfinite(np.take_along_axis(strength, order, axis=1))
    codes = np.array(FAMILIES, dtype=object)[order]
    codes[~stated] = None
    codes[~stated[:, 0], 0] = "none"
    return [pl.Series(f"reason_{place + 1}", codes[:, place].tolist(), pl.String) for place in range(codes.shape[1])]


# --- the whole floor, in order ---------------------------------------------------------------------------------------


def run(landing: Path, out: Path, policy: Json, buckets: int | None = None) -> Json:
    """Run the floor on a landing folder, write the results as Parquet into `out`, and return the figures.

    If `buckets` is None, the number of buckets depends on the size of the files.
    """
    buckets = buckets or 1 + sum(file.stat().st_size for file in landing.iterdir()) // BYTES_A_BUCKET
    meter, db = Meter(), connect(out)
    with meter.stage("load"):
        load(db, landing, out / "raw", buckets)
    with meter.stage("raw checks"):
        failing = check_raw(db, policy["sources"][SOURCE]["feature_lag_days"])
    build_marts(db, out, policy["sources"][SOURCE], buckets, meter)
    with meter.stage("mart checks"):
        failing |= check_marts(db)
    with meter.stage("training set"):
        training = training_set(db, policy)
        training.write_parquet(out / "training.parquet")
        failing |= check_training(db, training, policy)
    with meter.stage("training"):
        model = Model(training, policy)
        oos = training.filter(pl.col("block") == "oos")
        found = auc(oos["label"].to_numpy(), model.margin(oos))
    with meter.stage("mean contributions"):
        train = training.filter(pl.col("block") == "train")
        model.measure_reasons_against(train.gather_every(-(-train.height // policy["training"]["sample_rows"])))
    with meter.stage("scoring"):
        live = db.sql("from features where is_live order by loan_id").pl()
        scores = score(model, live, policy)
        scores.write_parquet(out / "scores.parquet")
        failing |= check_scores(db, scores, policy)
    counted = {name: _rows(db, f"from {name}") for name in (*TABLES, *MARTS)}
    return {
        "stages": meter.rounded(),
        "seconds": round(sum(stage["seconds"] for stage in meter.stages.values()), 2),
        "cpu_seconds": round(_cpu(), 2),
        "peak_mb": round(max(stage["peak_mb"] for stage in meter.stages.values())),
        "rows": counted | {"training": training.height, "scores": scores.height},
        "checks": len(failing),
        "failing": {name: rows for name, rows in failing.items() if rows},
        "auc": round(found, 9),
        "rounds": model.rounds,
    }


def connect(out: Path) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB database, and create the macros that several queries use.

    `out` must not exist yet. The database writes data that do not fit into memory to a folder in `out`.
    """
    out.mkdir(parents=True)
    db = duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY, "temp_directory": str(out / "spill")})
    db.execute("set preserve_insertion_order = false")
    db.execute("create macro month_no(day) as cast(year(day) * 12 + month(day) - 1 as int)")
    db.execute("create macro cents(amount) as cast(amount * 100 as bigint)")
    db.execute("create macro hashed(value) as cast('0x' || left(sha256(value), 16) as ubigint)")
    return db


def build_marts(db: duckdb.DuckDBPyConnection, out: Path, lender: Json, buckets: int, meter: Meter) -> None:
    """Write loan months, features and labels as Parquet, bucket by bucket, and create a view of each."""
    lag = lender["feature_lag_days"]
    for name in MARTS:
        (out / name).mkdir()
    with meter.stage("loan months"):
        reported = reported_month(db, lag)
    for bucket in range(buckets):
        part = f"part-{bucket:03}.parquet"
        with meter.stage("loan months"):
            tables = tables_of_bucket(db, bucket)
            months = loan_months(tables, reported, lender["default_dpd_min"])
            names = tables["loans"].select("loan", borrower_id="customer_no", loan_id="loan_no")
            _write(_shown(months, lag), names.drop("borrower_id"), out / "loan_months" / part)
        with meter.stage("features"):
            _write(features(months, reported), names, out / "features" / part)
            labelled = labels(months, reported, lender["label_horizon_months"], lender["observe_from_month"])
            _write(labelled, names.drop("borrower_id"), out / "labels" / part)
    for name in MARTS:
        db.execute(f"create view {name} as from read_parquet('{out / name}/*.parquet')")


def reported_month(db: duckdb.DuckDBPyConnection, lag: int) -> int:
    """Return the last month that ended at least `lag` days before the newest row, as year * 12 + month - 1."""
    newest = " union all ".join(f"select max(known_at) as day from {name}" for name in LEDGER)
    query = f"select month_no(max(day) - {lag} + 1) - 1 from ({newest})"
    return int(db.execute(query).fetchall()[0][0])


def _shown(months: pl.DataFrame, lag: int) -> pl.DataFrame:
    """Return the loan months in the format of a night, with money in currency units and the state as text."""
    dpd = pl.col("dpd_end")
    state = pl.lit("90+")
    for most, word in ((90, "61-90"), (60, "31-60"), (30, "1-30"), (0, "current")):
        state = pl.when(dpd <= most).then(pl.lit(word)).otherwise(state)
    return months.select(
        "loan",
        month_on="day",
        known_on=pl.col("day") + dt.timedelta(days=lag),
        dpd_max="dpd_max",
        dpd_end="dpd_end",
        **{name: pl.col(name).cast(pl.Decimal(20, 2)) / 100 for name in ("due", "paid", "balance")},
        limit_amount=pl.col("credit").cast(pl.Decimal(20, 2)) / 100,
        state=pl.when("is_written_off")
        .then(pl.lit("written_off"))
        .when("is_closed")
        .then(pl.lit("closed"))
        .otherwise(state),
        is_default="is_default",
    )


def _write(frame: pl.DataFrame, names: pl.DataFrame, path: Path) -> None:
    """Write the rows of one bucket as Parquet.

    The numbers that loans have within the bucket are replaced by the columns of `names`, which contain the delivered
    numbers.
    """
    named = frame.join(names, on="loan", how="left", maintain_order="left").drop("loan")
    named.write_parquet(path, compression="zstd", compression_level=1)


def main() -> None:
    """Run the floor with the arguments of the command line, and print its figures as JSON."""
    parser = argparse.ArgumentParser(description="Do the bare work of a first night.")
    parser.add_argument("landing", type=Path, help="folder with the daily CSV files of the source `simulated`")
    parser.add_argument("out", type=Path, help="folder to make and to write Parquet into")
    parser.add_argument("--policy", type=Path, default=BOOK / "policy.yaml")
    parser.add_argument("--buckets", type=int, help="number of buckets of loans; default: by the size of the files")
    given = parser.parse_args()
    policy = yaml.safe_load(given.policy.read_text())
    sys.stdout.write(json.dumps(run(given.landing, given.out, policy, given.buckets)) + "\n")


if __name__ == "__main__":
    main()
