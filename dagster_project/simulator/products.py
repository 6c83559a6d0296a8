"""The credit products, and the static data of each simulated loan.

The static data of a loan are its borrower, product, sales channel, opening day, amount or limit, number of instalments,
interest rate and due day.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dagster_project.simulator.borrowers import Borrowers
from dagster_project.simulator.clock import Floats, Ints, generator
from dagster_project.simulator.schedules import annuity

FIRST_LOAN = 10_000_001
# Due days leave room at both ends of a month, so that months behind and days past due agree; see `behaviour`.
FIRST_DUE_DAY, LAST_DUE_DAY = 3, 27
ENDLESS = 10_000  # number of instalments of a card, which has no end
CHANNELS = (("branch", 0.35), ("web", 0.45), ("partner", 0.20))


@dataclass(frozen=True)
class Product:
    """A kind of credit, such as a car loan. Annual interest rates are fractions.

    Attributes:
        name: The name in the delivered files.
        share: The product's share of all loans.
        terms: The possible numbers of instalments.
        typical_amount: The median amount of a loan, or the median limit of a card, in euros.
        rate: The annual interest rate of the safest borrowers.
        markup: The riskiest borrowers pay up to this rate in addition to `rate`.
        hazard: The part of a loan's hazard that depends on the product (see `behaviour`).
    """

    name: str
    share: float
    terms: tuple[int, ...]
    typical_amount: float
    rate: float
    markup: float
    hazard: float


PRODUCTS = (
    Product("instalment_loan", 0.55, (12, 24, 36), 4_000, 0.065, 0.14, 0.0),
    Product("car_loan", 0.25, (36, 48, 60), 14_000, 0.045, 0.08, -0.4),
    Product("merchant_cash_loan", 0.10, (6, 9, 12), 8_000, 0.22, 0.25, 0.4),
    Product("card", 0.10, (ENDLESS, ENDLESS, ENDLESS), 2_500, 0.14, 0.10, 0.1),
)
CARD = next(n for n, p in enumerate(PRODUCTS) if p.name == "card")


@dataclass(frozen=True)
class Loans:
    """The loans of a book, as arrays with one entry per loan. Amounts are in cents.

    `borrower`, `product` and `channel` are indexes in the book's borrowers, in PRODUCTS and in CHANNELS. `opened_month`
    is counted from the book's first month. `amount` is the amount lent or, for a card, its limit. `term` is the number
    of instalments. A card has no end, so its `term` is ENDLESS. `hazard` is the part of the loan's hazard that never
    changes.
    """

    number: Ints
    borrower: Ints
    product: Ints
    channel: Ints
    opened_month: Ints
    opened_day: Ints  # day of the month, counted from 0
    due_day: Ints  # day of the month, counted from 1
    amount: Ints
    term: Ints
    annual_rate: Floats
    instalment: Ints
    hazard: Floats

    @cached_property
    def is_card(self) -> NDArray[np.bool_]:
        """Return whether each loan is a card, as an array of booleans."""
        return np.asarray(self.product == CARD)


def assign_borrowers(seed: int, loans: int) -> Ints:
    """Return the index of the borrower of each loan.

    About one loan in seven goes to a borrower who already has a loan. Every other loan gets a new borrower.
    """
    random = generator(seed, "loans", 1)
    is_new = random.random(loans) >= 0.15
    is_new[0] = True
    borrowers_so_far = np.cumsum(is_new)
    return np.where(is_new, borrowers_so_far - 1, (random.random(loans) * borrowers_so_far).astype(np.int64))


def make_loans(seed: int, borrower: Ints, borrowers: Borrowers, opened_within: int) -> Loans:
    """Make one loan for each entry of `borrower`, sorted by opening day.

    `borrower` has the index of each loan's borrower in `borrowers`. The opening days are spread evenly over the first
    `opened_within` months of the book. The interest rate depends on the risk that the lender observes, which is the
    latent risk plus noise of the same variance.
    """
    random, count = generator(seed, "loans"), len(borrower)
    opened = np.sort(random.integers(0, opened_within * 28, count))
    product = random.choice(len(PRODUCTS), count, p=[p.share for p in PRODUCTS])
    terms = np.array([p.terms for p in PRODUCTS])[product, random.integers(0, 3, count)]
    typical = np.array([p.typical_amount for p in PRODUCTS])[product]
    amount = np.clip(np.exp(np.log(typical) + 0.5 * random.standard_normal(count)), 500, 60_000)
    amount = np.rint(amount / 50).astype(np.int64) * 5_000
    seen = borrowers.risk[borrower] + random.standard_normal(count)
    rate = np.array([p.rate for p in PRODUCTS])[product]
    rate = np.round(rate + np.array([p.markup for p in PRODUCTS])[product] / (1 + np.exp(-seen)), 4)
    return Loans(
        number=np.arange(count, dtype=np.int64) + FIRST_LOAN,
        borrower=borrower,
        product=product,
        channel=generator(seed, "channels").choice(len(CHANNELS), count, p=[share for _, share in CHANNELS]),
        opened_month=opened // 28,
        opened_day=opened % 28,
        due_day=random.integers(FIRST_DUE_DAY, LAST_DUE_DAY + 1, count),
        amount=amount,
        term=terms,
        annual_rate=rate,
        instalment=annuity(amount, rate, terms),
        hazard=0.7 * borrowers.risk[borrower] + np.array([p.hazard for p in PRODUCTS])[product],
    )
