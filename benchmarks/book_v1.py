"""The frozen book of `floor_v1.py`: the files of a simulated lender with a multiple of 2,000 loans.

The folder `frozen/` has one Parquet file per table, with the rows of 2,000 loans over 37 months as the simulator wrote
them when the unit was frozen, and the policy of that time. Larger books contain every loan several times, each time
under another number. The simulator may change, but this book does not. So times on it can be compared over the years.

The number of boosting rounds is fixed for each size. The copies of a loan are in all blocks, so a model that learns
them by heart improves on each block, and early stopping would never stop. The rounds are about those of the floor on
simulated books when the unit was frozen: 106 at 10,000 loans, 273 at 100,000 and 566 at 1,000,000.
"""

from pathlib import Path

import polars as pl
import yaml

FOLDER = Path(__file__).resolve().parent / "frozen"
POLICY = FOLDER / "policy.yaml"
LOANS = 2_000
# What is added to a number for each copy of the book. Numbers of payments and cases are a loan's number and 4 digits,
# and numbers of client money bookings are a payment's number and 1 digit.
STEPS = {
    "customer_no": LOANS,
    "account_no": LOANS,
    "payer_no": LOANS,
    "loan_no": LOANS,
    "case_no": LOANS * 10_000,
    "payment_no": LOANS * 10_000,
    "booking_no": LOANS * 100_000,
}


def rounds(loans: int) -> int:
    """Return the number of boosting rounds for a book of this size."""
    return int(106 * (loans / 10_000) ** 0.364)


def write_policy(path: Path, loans: int) -> None:
    """Write the frozen policy with the number of boosting rounds for a book of this size."""
    policy = yaml.safe_load(POLICY.read_text())
    policy["training"]["max_rounds"] = rounds(loans)
    path.write_text(yaml.safe_dump(policy, sort_keys=False))


def write(landing: Path, loans: int) -> None:
    """Write the CSV files of a book with `loans` loans to a new folder, one file per table and day.

    Raises:
        ValueError: `loans` is not a positive multiple of 2,000.
    """
    copies, remainder = divmod(loans, LOANS)
    if remainder or not copies:
        raise ValueError(f"the frozen book has a multiple of {LOANS:,} loans; {loans:,} is none")
    landing.mkdir(parents=True)
    for file in sorted(FOLDER.glob("*.parquet")):
        for (day,), rows in pl.read_parquet(file).partition_by("day", as_dict=True, include_key=False).items():
            numbered = [name for name in STEPS if name in rows.columns]
            pl.concat(
                rows.with_columns(pl.col(name) + copy * STEPS[name] for name in numbered) for copy in range(copies)
            ).write_csv(landing / f"{file.stem}-{day}.csv")
