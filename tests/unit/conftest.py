"""Small hand-made card files: a few accounts in the layout of the contract."""

import pytest

HEADER = (
    "ID,LIMIT_BAL,SEX,EDUCATION,MARRIAGE,AGE,PAY_0,PAY_2,PAY_3,PAY_4,PAY_5,PAY_6,"
    "BILL_AMT1,BILL_AMT2,BILL_AMT3,BILL_AMT4,BILL_AMT5,BILL_AMT6,"
    "PAY_AMT1,PAY_AMT2,PAY_AMT3,PAY_AMT4,PAY_AMT5,PAY_AMT6,default.payment.next.month"
)


def line(account: int, paid: str = "100.0", **other: str) -> str:
    """One account's line; it pays `paid` in September 2005 and 1.50 in August."""
    values = dict(zip(HEADER.split(","), ["0"] * 25, strict=True))
    values |= {"ID": str(account), "LIMIT_BAL": "1000.0", "SEX": "1", "EDUCATION": "2", "MARRIAGE": "1", "AGE": "30"}
    values |= {"PAY_AMT1": paid, "PAY_AMT2": "1.50"} | other
    return ",".join(values.values())


def card_file(*lines: str, header: str = HEADER, end: str = "\n") -> bytes:
    return (end.join([header, *lines]) + end).encode()


@pytest.fixture
def cards():
    """(card_file, line), so that tests need not import from here."""
    return card_file, line
