"""The definitions of the canonical raw tables, which have the same columns for every source.

The `table` objects of a contract choose from these columns, and add the source's own descriptions and limits. A column
that a source does not deliver is null in the rows of this source. The file that declares the tables to dbt is generated
from them, so a new source needs no SQL in the staging models.
"""

import polars as pl

MONEY = pl.Decimal(18, 2)
RATE = pl.Decimal(9, 6)

_TEXT, _DAY, _COUNT = pl.String(), pl.Date(), pl.Int32()

# Ingestion itself writes this table; no contract declares it.
SUPERSEDED = "superseded"

DESCRIPTIONS: dict[str, str] = {
    "borrowers": "One row per borrower, by pseudonym.",
    "borrower_attributes": "Attributes for fairness monitoring only; never features. One row per borrower.",
    "loans": "One row per loan or account.",
    "statements": "One row per loan and month, as the source reported it.",
    "schedules": "One row per instalment of each version of a loan's schedule.",
    "payments": "One row per payment.",
    "loan_events": "One row per loan event: write_off, restructured, deferral_start or deferral_end.",
    "funding_shares": "One row per loan and funder of a share; the lender alone funds a loan without rows.",
    "client_money": "One row per booking on the account that holds client money.",
    "disputes": "One row per case: a dispute of a booking, a complaint, or a collection.",
    "outcomes": "One row per loan and observation: whether the loan defaulted afterwards, as reported by the source.",
    SUPERSEDED: "One row per superseded row of another table; its lineage columns are those of the newer version.",
}

CANONICAL: dict[str, dict[str, tuple[pl.DataType, str]]] = {
    "borrowers": {
        "borrower_id": (_TEXT, "Pseudonym of the borrower."),
        "account_id": (_TEXT, "Pseudonym of the account that the borrower pays from."),
    },
    "borrower_attributes": {
        "borrower_id": (_TEXT, "Pseudonym of the borrower."),
        "sex": (_COUNT, "Code."),
        "age": (_COUNT, "Years."),
        "marriage": (_COUNT, "Code."),
        "education": (_COUNT, "Code."),
    },
    "loans": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "borrower_id": (_TEXT, "Pseudonym of the borrower."),
        "product": (_TEXT, "Kind of credit."),
        "channel": (_TEXT, "Sales channel: branch, web or partner."),
        "currency": (_TEXT, "ISO 4217 code."),
        "opened_on": (_DAY, "Day of opening; the first of the month where only the month is given."),
        "limit_amount": (MONEY, "Credit limit; null for loans without one."),
        "original_amount": (MONEY, "Amount lent; null for revolving credit."),
        "term_months": (_COUNT, "Agreed term."),
        "annual_rate": (RATE, "Agreed interest rate per year, as a fraction."),
        "instalment": (MONEY, "Agreed monthly payment."),
        "opening_balance": (MONEY, "Balance before the first statement."),
    },
    "statements": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "month_on": (_DAY, "Month-end of the statement."),
        "balance": (MONEY, "Balance at the month-end; negative is a credit balance."),
        "limit_amount": (MONEY, "Credit limit; null for loans without one."),
        "due": (MONEY, "Amount due in the month; null where the source does not give it."),
        "paid": (MONEY, "Paid in the month."),
        "principal": (MONEY, "Part of the payment that repaid principal; null where not given."),
        "status_code": (_COUNT, "The source's own repayment status."),
    },
    "schedules": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "valid_from": (_DAY, "First day of this version of the schedule; the opening day for the first version."),
        "instalment_no": (_COUNT, "Number of the instalment in its version."),
        "due_on": (_DAY, "Day on which the instalment is due."),
        "amount": (MONEY, "Amount due."),
        "principal": (MONEY, "Part of the amount that repays principal; null where not given."),
        "interest": (MONEY, "Part of the amount that is interest; null where not given."),
    },
    "payments": {
        "payment_id": (_TEXT, "The source's payment number, or loan and month."),
        "loan_id": (_TEXT, "The source's loan or account number."),
        "paid_on": (_DAY, "Day of payment; the month-end where only the month is given."),
        "amount": (MONEY, "Amount paid; negative is a reversal."),
        "currency": (_TEXT, "ISO 4217 code."),
        "method": (_TEXT, "Method of payment: direct_debit, transfer or cash."),
        "payer_id": (_TEXT, "Pseudonym of the payer; null if the borrower paid."),
    },
    "loan_events": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "occurred_on": (_DAY, "Day of the event."),
        "kind": (_TEXT, "write_off, restructured, deferral_start or deferral_end."),
    },
    "funding_shares": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "partner": (_TEXT, "The funder of the share; `own` is the lender."),
        "funded_on": (_DAY, "First day of the share."),
        "share": (RATE, "Fraction of the loan; the shares of a loan add up to 1."),
    },
    "client_money": {
        "booking_id": (_TEXT, "The source's booking number."),
        "booked_on": (_DAY, "Day of the booking."),
        "kind": (_TEXT, "received, allocated (to a loan) or refunded."),
        "loan_id": (_TEXT, "The loan; null if the booking concerns no loan, or several."),
        "amount": (MONEY, "Amount; negative is a reversal."),
        "currency": (_TEXT, "ISO 4217 code."),
    },
    "disputes": {
        "case_id": (_TEXT, "The source's case number."),
        "loan_id": (_TEXT, "The source's loan or account number."),
        "opened_on": (_DAY, "Day of opening."),
        "kind": (_TEXT, "dispute, complaint or collection."),
    },
    "outcomes": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "observed_on": (_DAY, "Month-end of the observation."),
        "horizon_months": (_COUNT, "Length of the window after the observation."),
        "defaulted": (_COUNT, "1 if a default started in the window."),
    },
    SUPERSEDED: {
        "table_name": (_TEXT, "The table of the superseded row."),
        "old_delivery_id": (_TEXT, "The delivery of the superseded row."),
        "old_line_no": (pl.Int64(), "The line of the superseded row."),
    },
}

# The columns that each table must have, with a value in every row.
NEEDED: dict[str, tuple[str, ...]] = {
    "borrowers": ("borrower_id",),
    "borrower_attributes": ("borrower_id",),
    "loans": ("loan_id", "borrower_id", "product", "currency"),
    "statements": ("loan_id", "month_on", "balance", "paid"),
    "schedules": ("loan_id", "valid_from", "instalment_no", "due_on", "amount"),
    "payments": ("payment_id", "loan_id", "paid_on", "amount", "currency"),
    "loan_events": ("loan_id", "occurred_on", "kind"),
    "funding_shares": ("loan_id", "partner", "share"),
    "client_money": ("booking_id", "booked_on", "kind", "amount", "currency"),
    "disputes": ("case_id", "loan_id", "opened_on", "kind"),
    "outcomes": ("loan_id", "observed_on", "horizon_months", "defaulted"),
}

# The columns with the day on which something happened or was reported. It must not be after the day of delivery. Days
# that are agreed for the future are not here: `due_on` and `valid_from` of a schedule, `funded_on` of a share.
HAPPENED: dict[str, str] = {
    "loans": "opened_on",
    "statements": "month_on",
    "payments": "paid_on",
    "loan_events": "occurred_on",
    "client_money": "booked_on",
    "disputes": "opened_on",
    "outcomes": "observed_on",
}

# The columns that hold month-ends: rows are joined by them.
MONTH_ENDS: dict[str, str] = {"statements": "month_on", "outcomes": "observed_on"}

# Tables with one row per person. A source delivers a person again with each new loan; the row that was known first is
# kept.
PERSONS = ("borrowers", "borrower_attributes")

# Columns that hold pseudonyms in every table.
BORROWER, PAYER = "borrower_id", "payer_id"
PERSON_IDS = (BORROWER, PAYER)
PSEUDONYMS = (*PERSON_IDS, "account_id")

# Only this table may hold sensitive values as they were delivered; they are used for fairness monitoring only.
FAIRNESS = "borrower_attributes"

LINEAGE: dict[str, tuple[pl.DataType, str]] = {
    "source": (_TEXT, "Name of the source (its contract)."),
    "delivery_id": (_TEXT, "First 16 hex digits of the sha256 of the delivered content."),
    "line_no": (pl.Int64(), "Line of the delivered file; the header is line 1."),
    "event_on": (_DAY, "Day on which the event happened."),
    "known_at": (_DAY, "First day on which the lender could know it."),
    "ingested_at": (pl.Datetime("us"), "Time at which this system committed the delivery, in UTC; for audits only."),
}


def raw_schema(table: str) -> dict[str, pl.DataType]:
    """Return the Polars type of each column of a canonical table as stored in the lake.

    The table's own columns come first, then the lineage columns.
    """
    return {name: dtype for name, (dtype, _) in (CANONICAL[table] | LINEAGE).items()}
