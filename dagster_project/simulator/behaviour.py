"""How a loan behaves: the hazard model, a Markov chain over the number of unpaid instalments (months behind).

A state is the number of instalments that are not paid in full at a month-end: 0, 1, 2 or 3. Payments pay the oldest
instalment first. With four unpaid instalments, the loan is in default. Instalments fall due between the 3rd and the
27th of a month. So with one unpaid instalment, a loan is past due at every month-end. With three, it is at most 89 days
past due, and with four, at least 93. In every month, default is therefore the same as 90 days past due at the
month-end.

In a month with stress z, a loan of age k (number of instalments due so far) that was b behind at the last month-end

    misses (b to b + 1)          with  p_b = sigmoid(MISS[b] + WEIGHT[b] * x),
                                       x = hazard + season(k) + STRESS * z,
                                       season(k) = 0.6 * (k / 9) * exp(1 - k / 9) - 0.3
    else, b = 0: prepays         with  q = sigmoid(PREPAY - PREPAY_STRESS * z)
          b = 0: pays            with  1 - q
    else, b > 0: catches up to 0 with  CATCH_UP, to b - 1 with STEP_DOWN, and pays one instalment otherwise.

`hazard` is 0.7 times the borrower's latent risk plus the product's hazard. A loan of n instalments is closed once
nothing is left to pay: at age k and b behind, if k - b >= n. The chain ends in default. A loan in default is cured with
probability CURE per month for WRITE_OFF_AFTER months. It is then written off; recoveries continue after that.
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
    """Return x of the model."""
    return hazard + 0.6 * (age / 9) * np.exp(1 - age / 9) - 0.3 + STRESS * stress


def miss_probability(behind: Ints | int, index: Floats) -> Floats:
    """Return p_b of the model: the probability that a loan misses an instalment."""
    return np.asarray(1 / (1 + np.exp(-(MISS[behind] + WEIGHT[behind] * index))))


def prepay_probability(stress: Floats | float) -> Floats:
    """Return q of the model: the probability that a loan prepays."""
    return np.asarray(1 / (1 + np.exp(-(PREPAY - PREPAY_STRESS * np.asarray(stress)))))


def next_state(behind: Ints, index: Floats, stress: float, uniform: Floats) -> Ints:
    """Return the states at the month-end of loans that are not in default.

    Here CLOSED means prepaid. It does not mean that the last instalment was paid.
    """
    miss = miss_probability(behind, index)
    rest = np.clip((uniform - miss) / (1 - miss), 0, 1)  # for loans that do not miss, this is uniform on 0 to 1 again
    paid = np.where(rest < CATCH_UP, 0, np.where(rest < CATCH_UP + STEP_DOWN, behind - 1, behind))
    paid = np.where(behind > 0, paid, np.where(rest < prepay_probability(stress), CLOSED, 0))
    return np.where(uniform < miss, behind + 1, paid)


def transitions(index: Floats, stress: float) -> NDArray[np.float64]:
    """Return each loan's transition probabilities in one month as a matrix of shape (loans, 6, 6).

    The rows are the states before the month, the columns the states after it: 0 to 3 behind, DEFAULT and CLOSED.
    DEFAULT and CLOSED are absorbing here. `truth` uses the same probabilities without the matrix.
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
