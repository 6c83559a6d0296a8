"""Leakage traps: information from the future, planted where a careless feature would use it.

Some traps are payments and reversals that are booked long after their day and become known only then (`booked_on`).
Other traps are in the loans and borrowers files. Their rows are dated at the loan's opening, but some columns contain
values as of the end of the book. These are the loan's status, its terms and principal after a restructuring, and the
borrower's income, which is missing more often if the borrower defaulted.

Two other groups of traps are elsewhere: those that depend on the cohort are in `risk_shifts`, and the collection cases
are in `cases`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dagster_project.simulator.behaviour import CLOSED, DEFAULT
from dagster_project.simulator.bookings import BOUNCE, Bookings
from dagster_project.simulator.clock import Floats, Ints, generator
from dagster_project.simulator.ledger import Ledger, Rescheduled
from dagster_project.simulator.planted import noted
from dagster_project.simulator.products import Loans

LATE_SHARE, LATE_DAYS = 0.05, (5, 45)
REVERSAL_DAYS = (35, 65)
MISSING, MISSING_IN_DEFAULT = 0.03, 0.6


def delay(seed: int, names: frozenset[str], bookings: Bookings, month: int) -> tuple[Bookings, list[pl.DataFrame]]:
    """Delay the date on which some bookings become known.

    The traps `late_payments` and `late_reversals` do this, if `names` contains them. Return all bookings, and the rows
    for the list of planted items.
    """
    random, known_on, listed = generator(seed, "leaks", month), bookings.known_on.copy(), []
    chance, wait = random.random((2, len(known_on)))
    for name, hit, (least, most) in (
        ("late_payments", (chance < LATE_SHARE) & (bookings.amount > 0), LATE_DAYS),
        ("late_reversals", bookings.number % 10 == BOUNCE[1], REVERSAL_DAYS),
    ):
        if name in names:
            known_on[hit] += (least + wait[hit] * (most - least)).astype(np.int64)
            listed.append(noted(name, payment_id=bookings.number[hit], day=known_on[hit]))
    return replace(bookings, known_on=known_on), listed


class Exports:
    """The traps in the loans and borrowers files, which replace columns by their values at the end of the book."""

    def __init__(self, seed: int, names: frozenset[str], loans: Loans) -> None:
        self._seed, self._names, self._loans = seed, names, loans
        self._principal = np.zeros(len(loans.number), dtype=np.int64)

    def restructured(self, changed: Rescheduled, arrears: Ints) -> None:
        """Record what each restructured loan owed at its restructuring, including arrears."""
        self._principal[changed.loan] = changed.principal + arrears[changed.loan]

    def write(self, landing: Path, ledger: Ledger, ever_in_default: Ints, customer_no: Ints) -> list[pl.DataFrame]:
        """Write the values at the end of the book into the files that were already delivered.

        Only the traps that the plan contains are written. `ever_in_default` states whether each loan was ever in
        default. `customer_no` has the customer number of each loan. Return the rows for the list of planted items.
        """
        number, listed = self._loans.number, []
        changed = self._principal > 0
        now = pl.DataFrame({"loan_no": number.astype(str)})
        if "current_status" in self._names:
            status = np.where(ledger.state == CLOSED, "closed", np.where(ledger.state == DEFAULT, "default", "open"))
            now = now.with_columns(pl.Series("status", np.where(ledger.is_written_off, "written_off", status)))
            listed.append(noted("current_status", loan_id=number))
        if "current_terms" in self._names:
            terms = {"term_months": ledger.instalments.astype(str), "instalment": _text(ledger.instalment)}
            now = now.with_columns(_where(changed, name, values) for name, values in terms.items())
            listed.append(noted("current_terms", loan_id=number[changed]))
        if "capitalised_balances" in self._names:
            now = now.with_columns(_where(changed, "amount", _text(self._principal)))
            listed.append(noted("capitalised_balances", loan_id=number[changed]))
        if now.width > 1:
            _rewrite(landing, "loans", now)
        if "missing_income" in self._names:
            defaulted = np.unique(customer_no[ever_in_default])
            people = np.unique(customer_no)
            chance: Floats = generator(self._seed, "leaks", 1_000).random(len(people))
            gone = people[chance < np.where(np.isin(people, defaulted), MISSING_IN_DEFAULT, MISSING)]
            _rewrite(landing, "borrowers", pl.DataFrame({"customer_no": gone.astype(str), "income": ""}))
            listed.append(noted("missing_income", customer_no=gone))
        return listed


def _text(cents: Ints) -> pl.Series:
    return pl.Series(cents // 100).cast(pl.String) + "." + pl.Series(cents % 100).cast(pl.String).str.zfill(2)


def _where(hit: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], name: str, values: Any) -> pl.Series:
    return pl.Series(name, values, dtype=pl.String).set(pl.Series(~hit), None)


def _rewrite(landing: Path, table: str, now: pl.DataFrame) -> None:
    """Replace values in the files of a table by the values in `now`.

    The first column of `now` is the key of the rows. An empty text in `now` empties the field. A null, or a key that
    `now` does not contain, leaves the field as it is.
    """
    key, *columns = now.columns
    for path in sorted(landing.glob(f"{table}-*.csv")):
        rows = pl.read_csv(path, infer_schema=False)
        joined = rows.join(now, on=key, how="left", suffix="_now", maintain_order="left")
        shown = joined.with_columns(pl.coalesce(f"{name}_now", name).replace("", None).alias(name) for name in columns)
        shown.select(rows.columns).write_csv(path)
