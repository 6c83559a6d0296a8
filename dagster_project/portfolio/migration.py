"""Migration matrices: transition probabilities, and statistics of how loans move between grades or states.

Probabilities are estimated from the moves and from the time spent in each state, with the duration (or generator)
estimator `lambda_ij = N_ij / integral of Y_i` and `P(t) = expm(Q t)`. The bandwidths and the z-tests of cells follow
the ECB's instructions for validation reporting (February 2019), 2.5.5.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def generator(moves: Floats, years: Floats) -> Floats:
    """Return the matrix Q of yearly transition intensities, of shape (K, K) for K states.

    `moves` has shape (K, K) and contains the number of moves; its diagonal is ignored. `years` has shape (K,) and
    contains the total time spent in each state. If no time was spent in a state, the intensities of this state are 0.
    """
    counted = np.where(np.eye(len(moves), dtype=bool), 0.0, moves)
    rates = np.divide(counted, years[:, None], out=np.zeros_like(counted), where=years[:, None] > 0)
    return cast(Floats, rates - np.diag(rates.sum(axis=1)))


def transition_matrix(intensities: Floats, years: float) -> Floats:
    """Return the transition probabilities `P(t) = expm(Q t)`, of shape (K, K). Each row adds up to 1.

    `intensities` is the matrix Q, and `years` is the time t.
    """
    from scipy.sparse.linalg import expm_multiply

    # scipy's `expm` treats triangular matrices apart, and is wrong if loans leave two states at the same rate.
    found = np.clip(expm_multiply(intensities * years, np.eye(len(intensities))), 0.0, 1.0)
    return cast(Floats, found / found.sum(axis=1, keepdims=True))


def bandwidth(counts: Floats) -> tuple[float, float]:
    """Return the normalised upper and lower bandwidth of a matrix that counts moves between grades.

    The upper bandwidth is about moves to later grades, and the lower one is about moves to earlier grades. Each is the
    total distance of these moves, divided by the largest total distance that the same loans could have moved in any
    direction. It is 0 if there is no such move.
    """
    grade = np.arange(len(counts))
    apart = np.abs(grade[:, None] - grade[None, :])
    farthest = np.maximum(grade, len(counts) - 1 - grade)
    found = []
    for moved in (np.triu(counts, 1), np.tril(counts, -1)):
        most = float((farthest * moved.sum(axis=1)).sum())
        found.append(float((apart * moved).sum()) / most if most else 0.0)
    return found[0], found[1]


def cell_z(counts: Floats, row: int, cell: int) -> float:
    """Return a z statistic that compares a cell of a matrix of moves with its neighbour.

    The neighbour is the next cell in the same row towards the diagonal. The statistic is the share of the neighbour
    minus the share of the cell, in standard errors. It is negative if the cell has more loans than the neighbour, and 0
    if the variance is 0. `cell` must not be on the diagonal.
    """
    total = counts[row].sum()
    share = counts[row] / total
    neighbour = cell - 1 if cell > row else cell + 1
    near, far = share[neighbour], share[cell]
    variance = (far * (1 - far) + near * (1 - near) + 2 * far * near) / total
    return float((near - far) / np.sqrt(variance)) if variance > 0 else 0.0


def herfindahl(shares: Floats) -> float:
    """Return the sum of the squared shares, which is 1 if one share is the whole."""
    return float((shares**2).sum())
