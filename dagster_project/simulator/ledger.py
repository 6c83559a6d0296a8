"""The accounts of all loans: what each loan owes, and what it pays in each month so that its arrears match its state.

All amounts are in cents, and arrays have one entry per loan. A loan's state is the number of its unpaid instalments
(see `behaviour`). In the state `b` at a month-end, the last `b` amounts due are not paid in full. Only the oldest of
these can be paid in part; `part` is the amount paid. So if payments are assigned to the oldest unpaid amount first, the
days past due agree with the state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dagster_project.simulator.behaviour import (
    CLOSED,
    CURE,
    DEFAULT,
    WRITE_OFF_AFTER,
    hazard_index,
    next_state,
)
from dagster_project.simulator.cards import Statements, minimum_due, paid_above, purchases
from dagster_project.simulator.clock import Floats, Ints, generator
from dagster_project.simulator.deferral import NEVER, is_resting, months_rested
from dagster_project.simulator.drift import in_segment
from dagster_project.simulator.products import Loans
from dagster_project.simulator.schedules import annuity, split

# A restructuring is for loans that are 2 or 3 behind and have at least MONTHS_LEFT instalments left (see `truth`). It
# adds MORE_MONTHS instalments. For some loans it also multiplies the rate by RATE_LEFT, which is a loss to the lender.
RESTRUCTURE, MONTHS_LEFT, MORE_MONTHS = 0.06, 16, 12
CONCESSION, RATE_LEFT = 0.3, 0.5
PARTIAL, RECOVERY = 0.25, 0.2


@dataclass(frozen=True)
class Rescheduled:
    """New versions of schedules, as arrays with one entry per loan. Each is valid from the first day of a month.

    `loan` is the loan's index in the book. `principal` is the scheduled principal not repaid yet, in cents. `term` is
    the number of instalments in the new version.
    """

    loan: Ints
    principal: Ints
    annual_rate: Floats
    instalment: Ints
    term: Ints


@dataclass(frozen=True)
class Paid:
    """The payments of one month, as arrays with one entry per loan that was simulated. Amounts are in cents.

    A settlement is the payment of a loan that prepays, or of a card that pays more than its minimum.

    Attributes:
        loan: The index of the loan in the book.
        before: The loan's state at the start of the month.
        behind: The loan's state at the end of the month. This is never CLOSED, even if the loan is closed in the month.
        due: The amount due in the month. For a settlement, this is the whole amount to pay.
        amount: The amount paid in the month, or 0.
        principal: The principal of a settlement, or 0 if there is no settlement.
        interest: The interest of a settlement, or 0 if there is no settlement.
    """

    loan: Ints
    before: Ints
    behind: Ints
    due: Ints
    amount: Ints
    principal: Ints
    interest: Ints


class Ledger:
    """The accounts of a book at the last simulated month-end.

    `stress` and `drift` have one value per month (see `macro` and `drift`). `lots` is the month in which each loan's
    payment holiday would begin (see `deferral`). In each month, call `restructure`, `defer`, `advance` and
    `close_statements`, in this order.
    """

    def __init__(self, loans: Loans, seed: int, stress: Floats, drift: Floats, lots: Ints) -> None:
        count = len(loans.number)
        self.loans, self._seed, self._stress, self._drift = loans, seed, stress, drift
        self._drifts = in_segment(loans)
        self.state = np.zeros(count, dtype=np.int8)
        self.instalments = loans.term.copy()  # number of instalments in all versions together
        self.deferred_from = np.full(count, NEVER)
        self.written_off_now = np.empty(0, dtype=np.int64)  # in the last simulated month
        self._lots = lots
        self.in_default_since = np.full(count, -1, dtype=np.int64)
        self._instalment = loans.instalment.copy()
        self._rate = loans.annual_rate.copy()
        self._balance = np.where(loans.is_card, 0, loans.amount)  # scheduled principal; for a card, the whole debt
        self._minimum = np.zeros(count, dtype=np.int64)  # of a card's last statement
        self._paid = np.zeros(count, dtype=np.int64)  # in the last simulated month; needed for cards
        self._part = np.zeros(count, dtype=np.int64)
        self._arrears = np.zeros(count, dtype=np.int64)
        self._dues = np.zeros((DEFAULT, count), dtype=np.int64)  # the last amounts due, the newest first
        self._is_restructured = np.zeros(count, dtype=np.bool_)
        self._is_written_off = np.zeros(count, dtype=np.bool_)

    def restructure(self, month: int) -> Rescheduled:
        """Restructure some loans that are 2 or 3 instalments behind, and return their new schedules.

        A restructured loan gets MORE_MONTHS more instalments, and in some cases also a lower rate. A loan can be
        restructured only once, and only if it has at least MONTHS_LEFT instalments left. Cards are never restructured.
        """
        random = generator(self._seed, "restructures", month)
        loan = np.flatnonzero((self.state == 2) | (self.state == 3))
        left = self.instalments[loan] - self._age(loan, month) + 1
        granted = (random.random(len(loan)) < RESTRUCTURE) & (left >= MONTHS_LEFT) & ~self._is_restructured[loan]
        granted &= ~self.loans.is_card[loan]
        cheaper = (random.random(len(loan)) < CONCESSION)[granted]
        loan, left = loan[granted], left[granted]
        term = left + MORE_MONTHS
        self._is_restructured[loan] = True
        self.instalments[loan] += MORE_MONTHS
        self._rate[loan] *= np.where(cheaper, RATE_LEFT, 1.0)
        self._instalment[loan] = annuity(self._balance[loan], self._rate[loan], term)
        return Rescheduled(loan, self._balance[loan], self._rate[loan], self._instalment[loan], term)

    def defer(self, month: int) -> Rescheduled:
        """Start the payment holidays that begin in a month, and return the new schedules of the loans concerned.

        The loan's remaining instalments stay the same and follow after the holiday.
        """
        loan = np.flatnonzero((self._lots == month) & (self.state == 0))
        left = self.instalments[loan] - self._age(loan, month - 1)
        self.deferred_from[loan] = month
        return Rescheduled(loan, self._balance[loan], self._rate[loan], self._instalment[loan], left)

    def _age(self, loan: Ints, month: int) -> Ints:
        """Return the number of instalments of each loan that have fallen due by the end of `month`.

        No instalment falls due during a payment holiday.
        """
        return month - self.loans.opened_month[loan] - months_rested(self.deferred_from[loan], month)

    def advance(self, month: int) -> Paid:
        """Simulate one month and return its payments.

        This covers every loan that was opened in an earlier month, is not closed and has no payment holiday in this
        month.
        """
        random = generator(self._seed, "behaviour", month)
        runs = (self.state != CLOSED) & (self.loans.opened_month < month) & ~is_resting(self.deferred_from, month)
        loan = np.flatnonzero(runs)
        uniform, second, fraction = random.random((3, len(loan)))
        age = self._age(loan, month)
        left = self.instalments[loan] - age + 1
        due, principal, interest = self._fall_due(loan, left)
        before = self.state[loan].astype(np.int64)

        index = hazard_index(self.loans.hazard[loan], age, float(self._stress[month]))
        index = index + self._drift[month] * self._drifts[loan]
        behind = next_state(np.minimum(before, DEFAULT - 1), index, float(self._stress[month]), uniform)
        prepays = (behind == CLOSED) & (left > 1)
        behind = np.where(behind == CLOSED, 0, behind)  # the last instalment cannot be prepaid
        was_default = before == DEFAULT
        is_cured = was_default & (uniform < CURE) & ~self._is_written_off[loan]
        behind = np.where(was_default, np.where(is_cured, 0, DEFAULT), behind)

        due = np.where(prepays, self._balance[loan] + interest, due)
        is_card = self.loans.is_card[loan]
        transacts = is_card & (before == 0) & (behind == 0) & ~prepays
        due = due + paid_above(self._balance[loan] - due, second, fraction) * transacts
        owed = self._arrears[loan] + due
        amount = self._amount(loan, before, behind, due, owed, second, fraction)
        self._arrears[loan] = owed - amount
        self._dues[1:, loan] = self._dues[:-1, loan]
        self._dues[0, loan] = due
        self._balance[loan] -= np.where(is_card, amount, np.where(prepays, self._balance[loan], principal))
        self._paid[loan] = amount
        is_closed = (self._arrears[loan] == 0) & ((left <= 1) | prepays)
        self.state[loan] = np.where(is_closed, CLOSED, behind)
        self._follow_defaults(loan, behind == DEFAULT, month)
        settled = np.where(prepays | (transacts & (due > self._minimum[loan])), due - interest, 0)
        return Paid(loan, before, behind, due, amount, settled, np.where(prepays, interest, 0))

    def _fall_due(self, loan: Ints, left: Ints) -> tuple[Ints, Ints, Ints]:
        """Return (amount, principal, interest) of the instalment that falls due in the month, in cents.

        For a card, the amount is the minimum of its last statement, and principal and interest are 0. For a loan
        without instalments left, all three are 0.
        """
        principal, interest = split(self._balance[loan], self._rate[loan], self._instalment[loan], left)
        is_due = (left > 0) & ~self.loans.is_card[loan]
        return (principal + interest) * is_due + self._minimum[loan], principal * is_due, interest * is_due

    def close_statements(self, month: int) -> Statements:
        """Add interest and purchases to the balances of the cards, and return the statements of the month-end.

        Each statement sets the minimum that is due in the next month. Cards that are closed or written off get no
        statement.
        """
        is_open = self.loans.is_card & (self.loans.opened_month <= month) & (self.state != CLOSED)
        card = np.flatnonzero(is_open & ~self._is_written_off)
        normal = generator(self._seed, "cards", month).standard_normal(len(card))
        limit, arrears, due = self.loans.amount[card], self._arrears[card], self._minimum[card]
        owed = self._balance[card] + np.rint(self._balance[card] * self.loans.annual_rate[card] / 12).astype(np.int64)
        bought = purchases(owed, arrears, limit, (self.state[card] != DEFAULT).astype(np.int64), normal)
        balance = owed + bought
        self._balance[card] = balance
        self._minimum[:] = 0
        self._minimum[card] = minimum_due(balance, arrears)
        # Recoveries are a part of this amount. It is the smallest minimum that may be unpaid, because a part of the
        # last minimum could pay several older ones in full.
        least = np.minimum(self._instalment[card], self._minimum[card])
        self._instalment[card] = np.where(self.state[card] == 0, self._minimum[card], least)
        rest = balance - arrears - self._minimum[card]
        return Statements(card, balance, limit, bought, due, self._paid[card], self._minimum[card], rest)

    def _amount(
        self, loan: Ints, before: Ints, behind: Ints, due: Ints, owed: Ints, second: Floats, fraction: Floats
    ) -> Ints:
        """Return the amount that each loan pays in the month, in cents.

        A loan pays exactly as much as its state at the month-end requires. If it misses an instalment, it may still pay
        a part of its oldest unpaid one. A loan that stays in default pays a small recovery or nothing. `owed` is the
        arrears plus `due`. `second` and `fraction` are random numbers from 0 to 1.
        """
        dues = np.vstack([due[None, :], self._dues[: DEFAULT - 1, loan]])
        unpaid = np.cumsum(np.vstack([np.zeros_like(due)[None, :], dues]), axis=0)
        misses = behind > before
        part = self._part[loan]
        # Some loans that miss still pay a part of their oldest unpaid instalment, but never the whole instalment.
        oldest = dues[np.maximum(behind, 1) - 1, np.arange(len(loan))]
        more = np.where(misses & (second < PARTIAL), (fraction * (oldest - part - 1)).astype(np.int64), 0)
        part = np.where(misses, part + more, 0)
        required = owed - (unpaid[behind, np.arange(len(loan))] - part)
        # In default, a month's recovery is less than an instalment, so the loan never catches up.
        recovered = np.where(second < RECOVERY, (0.5 * fraction * self._instalment[loan]).astype(np.int64), 0)
        recovered = np.minimum(recovered, owed // 2)
        self._part[loan] = part
        return np.where((before == DEFAULT) & (behind == DEFAULT), recovered, required)

    def _follow_defaults(self, loan: Ints, is_default: NDArray[np.bool_], month: int) -> None:
        since = np.where(is_default, self.in_default_since[loan], -1)
        since = np.where(is_default & (since < 0), month, since)
        self.in_default_since[loan] = since
        given_up = is_default & (month - since >= WRITE_OFF_AFTER) & ~self._is_written_off[loan]
        self.written_off_now = loan[given_up]
        self._is_written_off[loan] |= given_up

    @property
    def arrears(self) -> Ints:
        """Return the arrears of each loan in cents, that is, the amounts that fell due and are not paid."""
        return self._arrears.copy()

    @property
    def instalment(self) -> Ints:
        """Return the currently agreed instalment of each loan, in cents."""
        return self._instalment.copy()

    @property
    def is_written_off(self) -> NDArray[np.bool_]:
        """Return whether each loan has been written off, as an array of booleans."""
        return self._is_written_off
