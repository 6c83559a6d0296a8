"""The canonical raw tables: the one shape that every source's deliveries are brought into.

A contract's `table` objects choose from these columns and add a source's own descriptions and bounds; a column that a
source does not have is null in its rows. dbt's sources are made from this list, so a new source adds no SQL to
staging.
"""

import polars as pl

MONEY = pl.Decimal(18, 2)
RATE = pl.Decimal(9, 6)

_TEXT, _DAY, _COUNT = pl.String(), pl.Date(), pl.Int32()

# What ingestion itself notes; no contract makes it.
SUPERSEDED = "superseded"

DESCRIPTIONS: dict[str, str] = {
    "borrowers": "One row a borrower, by pseudonym.",
    "borrower_attributes": "Attributes for fairness monitoring only; never features.",
    "loans": "One row a loan or account.",
    "statements": "One row a loan and month, as the source reported it.",
    "schedules": "One row an instalment, in each version of a loan's schedule.",
    "payments": "One row a payment.",
    "loan_events": "One row a thing that a source tells of a loan: write_off, restructured, deferral_start and _end.",
    "funding_shares": "One row a loan and who funds a share of it; a loan without rows is the lender's own.",
    "client_money": "One row a booking on the account that holds the money of others.",
    "disputes": "One row a case: a dispute of a booking, a complaint, a collection.",
    "outcomes": "What became of a loan after an observation, where the source says so itself.",
    SUPERSEDED: "One row a row of another table that has a newer version; its lineage is that of the newer version.",
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
        "channel": (_TEXT, "How the loan came about: branch, web, partner."),
        "currency": (_TEXT, "ISO 4217 code."),
        "opened_on": (_DAY, "Day of opening; the first of the month where only the month is given."),
        "limit_amount": (MONEY, "Credit limit; null for loans without one."),
        "original_amount": (MONEY, "Amount lent; null for revolving credit."),
        "term_months": (_COUNT, "Agreed term."),
        "annual_rate": (RATE, "Agreed interest rate a year, as a fraction."),
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
        "valid_from": (_DAY, "Day from which this version of the schedule holds; the opening day for the first."),
        "instalment_no": (_COUNT, "Number of the instalment in its version."),
        "due_on": (_DAY, "Day on which the instalment is due."),
        "amount": (MONEY, "Amount due."),
        "principal": (MONEY, "Part of the amount that repays principal; null where not told."),
        "interest": (MONEY, "Part of the amount that is interest; null where not told."),
    },
    "payments": {
        "payment_id": (_TEXT, "The source's payment, or loan and month."),
        "loan_id": (_TEXT, "The source's loan or account number."),
        "paid_on": (_DAY, "Day of payment; the month-end where only the month is given."),
        "amount": (MONEY, "Amount paid; negative is a reversal."),
        "currency": (_TEXT, "ISO 4217 code."),
        "method": (_TEXT, "How it was paid: direct_debit, transfer, cash."),
        "payer_id": (_TEXT, "Pseudonym of who paid; null where it was the borrower."),
    },
    "loan_events": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "occurred_on": (_DAY, "Day of the event."),
        "kind": (_TEXT, "write_off, restructured, deferral_start or deferral_end."),
    },
    "funding_shares": {
        "loan_id": (_TEXT, "The source's loan or account number."),
        "partner": (_TEXT, "Who funds the share; `own` is the lender."),
        "funded_on": (_DAY, "Day from which the share holds."),
        "share": (RATE, "Fraction of the loan; those of a loan add up to 1."),
    },
    "client_money": {
        "booking_id": (_TEXT, "The source's booking."),
        "booked_on": (_DAY, "Day of the booking."),
        "kind": (_TEXT, "received, allocated (to a loan) or refunded."),
        "loan_id": (_TEXT, "The loan; null where it is about none, or about many."),
        "amount": (MONEY, "Amount; negative takes one back."),
        "currency": (_TEXT, "ISO 4217 code."),
    },
    "disputes": {
        "case_id": (_TEXT, "The source's case."),
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
        "table_name": (_TEXT, "The table that the older version stands in."),
        "old_delivery_id": (_TEXT, "The delivery of the older version."),
        "old_line_no": (pl.Int64(), "The line of the older version."),
    },
}

# Columns that a table cannot do without; the warehouse asks for a value in each row.
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

# Tables of persons: whoever comes back with another loan is delivered again, and is one row where it was first known.
PERSONS = ("borrowers", "borrower_attributes")

# Columns that hold pseudonyms wherever they stand; those of persons first.
BORROWER, PAYER = "borrower_id", "payer_id"
PERSON_IDS = (BORROWER, PAYER)
PSEUDONYMS = (*PERSON_IDS, "account_id")

# The one table that may hold sensitive values in the clear: fairness is monitored with them, and nothing else.
FAIRNESS = "borrower_attributes"

LINEAGE: dict[str, tuple[pl.DataType, str]] = {
    "source": (_TEXT, "Name of the source (its contract)."),
    "delivery_id": (_TEXT, "First 16 hex digits of the sha256 of the delivered content."),
    "line_no": (pl.Int64(), "Line of the delivered file, the header being line 1."),
    "event_on": (_DAY, "When it happened in the world."),
    "known_at": (_DAY, "First day on which the lender could know it."),
    "ingested_at": (pl.Datetime("us"), "When this system committed the delivery, in UTC; audit only."),
}


def raw_schema(table: str) -> dict[str, pl.DataType]:
    """Columns of a canonical table as stored: its own, then the lineage."""
    return {name: dtype for name, (dtype, _) in (CANONICAL[table] | LINEAGE).items()}
