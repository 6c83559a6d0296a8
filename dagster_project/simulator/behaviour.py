"""How loans behave from month to month: a Markov chain whose probabilities come from a hazard model.

The state of a loan is the number of instalments that are not paid in full at a month-end: 0, 1, 2 or 3. The loan is
then said to be that many instalments behind. Payments always go to the oldest unpaid instalment first. A loan with four
unpaid instalments is in default.

Instalments fall due between the 3rd and the 27th of a month. So a loan with one unpaid instalment is past due at every
month-end. With three unpaid instalments it is at most 89 days past due, and with four at least 93. Therefore a loan is
in default exactly if it is 90 or more days past due at the month-end.

The probabilities of one month depend on the stress z of the month (see `macro`), the loan's age k (the number of
instalments due so far) and the number b of unpaid instalments at the previous month-end:

    The loan misses its instalment (b becomes b + 1) with probability p_b:
        p_b       = sigmoid(MISS[b] + WEIGHT[b] * x)
        x         = hazard + season(k) + STRESS * z
        season(k) = 0.6 * (k / 9) * exp(1 - k / 9) - 0.3
    If it does not miss its instalment and b = 0:
        it prepays the whole loan with probability q = sigmoid(PREPAY - PREPAY_STRESS * z)
        it pays its instalment with probability 1 - q
    If it does not miss its instalment and b > 0:
        it pays everything that is due (b becomes 0) with probability CATCH_UP
        it pays two instalments (b becomes b - 1) with probability STEP_DOWN
        it pays one instalment (b does not change) otherwise

`hazard` is 0.7 times the borrower's latent risk plus the product's hazard. A loan of n instalments is closed as soon as
nothing is left to pay: at age k and with b unpaid instalments, this is the case if k - b >= n.

The chain ends in default. After that, a loan is cured with probability CURE per month. If it has not been cured after
WRITE_OFF_AFTER months, it is written off. Recoveries may still be paid after the write-off.
"""

import numpy as np
from numpy.typing import NDArray

from dagster_project.simulator.clock import Floats, Ints

DEFAULT, CLOSED = 4, 5
BEHIND = (0, 1, 2, 3)

MISS = np.array([-4.2, -0.9, -0.2, 0.4])
WEIGHT = np.array([1.0, 0.6, 0.4, 0.4])
STRESS = 0.35
PREPAY, PREPAY_STRESS = -4.5, 0.3
CATCH_UP, STEP_DOWN = 0.35, 0.25
CURE, WRITE_OFF_AFTER = 0.02, 12


def hazard_index(hazard: Floats, age: Ints, stress: Floats | float) -> Floats:
    """Return x of the hazard model in the module's docstring.

    The higher x is, the likelier it is that a loan misses its instalment.
    """
    return hazard + 0.6 * (age / 9) * np.exp(1 - age / 9) - 0.3 + STRESS * stress


def miss_probability(behind: Ints | int, index: Floats) -> Floats:
    """Return the probability that a loan misses its instalment (p_b of the model in the module's docstring).

    `behind` is the number of unpaid instalments at the previous month-end. `index` is x of the model.
    """
    return np.asarray(1 / (1 + np.exp(-(MISS[behind] + WEIGHT[behind] * index))))


def prepay_probability(stress: Floats | float) -> Floats:
    """Return the probability that a loan prepays (q of the model in the module's docstring).

    It applies to loans that had no unpaid instalment at the previous month-end and do not miss the instalment of this
    month.
    """
    return np.asarray(1 / (1 + np.exp(-(PREPAY - PREPAY_STRESS * np.asarray(stress)))))


def next_state(behind: Ints, index: Floats, stress: float, uniform: Floats) -> Ints:
    """Return the states at the month-end of loans that were not in default at the start of the month.

    `behind` has their states at the start of the month. `uniform` has one random number from 0 to 1 per loan. In the
    result, CLOSED means that the loan prepaid. A loan that pays its last instalment does not get this state here.
    """
    miss = miss_probability(behind, index)
    rest = np.clip((uniform - miss) / (1 - miss), 0, 1)  # for loans that do not miss, this is uniform on 0 to 1 again
    paid = np.where(rest < CATCH_UP, 0, np.where(rest < CATCH_UP + STEP_DOWN, behind - 1, behind))
    paid = np.where(behind > 0, paid, np.where(rest < prepay_probability(stress), CLOSED, 0))
    return np.where(uniform < miss, behind + 1, paid)


def transitions(index: Floats, stress: float) -> NDArray[np.float64]:
    """Return the probabilities of each loan's transitions in one month, as an array of shape (loans, 6, 6).

    The rows are the states before the month, and the columns are the states after it: 0 to 3 unpaid instalments,
    DEFAULT and CLOSED. Here, a loan never leaves DEFAULT or CLOSED. `truth` uses the same probabilities without this
    array.
    """
    matrix = np.zeros((len(index), 6, 6))
    prepay = prepay_probability(stress)
    for b in BEHIND:
        miss = miss_probability(b, index)
        matrix[:, b, b + 1] = miss
        if b == 0:
            matrix[:, 0, CLOSED] = (1 - miss) * prepay
            matrix[:, 0, 0] = (1 - miss) * (1 - prepay)
        else:
            matrix[:, b, 0] += (1 - miss) * CATCH_UP
            matrix[:, b, b - 1] += (1 - miss) * STEP_DOWN
            matrix[:, b, b] += (1 - miss) * (1 - CATCH_UP - STEP_DOWN)
    matrix[:, DEFAULT, DEFAULT] = matrix[:, CLOSED, CLOSED] = 1
    return matrix
