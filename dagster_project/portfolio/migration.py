"""Migration matrices: transition probabilities from moves and times spent in states, and statistics of a matrix.

Formulas: the duration (or generator) estimator `lambda_ij = N_ij / integral of Y_i` with `P(t) = expm(Q t)`; bandwidth
and z-tests of cells as in the ECB's instructions for validation reporting (February 2019), 2.5.5.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def generator(moves: Floats, years: Floats) -> Floats:
    """The matrix Q of yearly intensities, for K states.

    `moves`: (K, K) counts of moves; the diagonal is ignored. `years`: (K,) total time spent in each state. A state
    without any time has intensities of 0.
    """
    counted = np.where(np.eye(len(moves), dtype=bool), 0.0, moves)
    rates = np.divide(counted, years[:, None], out=np.zeros_like(counted), where=years[:, None] > 0)
    return cast(Floats, rates - np.diag(rates.sum(axis=1)))


def transition_matrix(intensities: Floats, years: float) -> Floats:
    """The transition probabilities P(t) = expm(Q t), of shape (K, K), for t in years. Each row adds up to 1."""
    from scipy.sparse.linalg import expm_multiply

    # scipy's `expm` treats triangular matrices apart, and is wrong if loans leave two states at the same rate.
    found = np.clip(expm_multiply(intensities * years, np.eye(len(intensities))), 0.0, 1.0)
    return cast(Floats, found / found.sum(axis=1, keepdims=True))


def bandwidth(counts: Floats) -> tuple[float, float]:
    """The normalised (upper, lower) bandwidth of a grade migration matrix of counts N_ij; 0 without moves that way."""
    grade = np.arange(len(counts))
    apart = np.abs(grade[:, None] - grade[None, :])
    farthest = np.maximum(grade, len(counts) - 1 - grade)
    found = []
    for moved in (np.triu(counts, 1), np.tril(counts, -1)):
        most = float((farthest * moved.sum(axis=1)).sum())
        found.append(float((apart * moved).sum()) / most if most else 0.0)
    return found[0], found[1]


def cell_z(counts: Floats, row: int, cell: int) -> float:
    """The z statistic of the difference between the neighbouring cell towards the diagonal and the cell itself.

    It is negative if the cell has more loans than that neighbour.
    """
    total = counts[row].sum()
    share = counts[row] / total
    neighbour = cell - 1 if cell > row else cell + 1
    near, far = share[neighbour], share[cell]
    variance = (far * (1 - far) + near * (1 - near) + 2 * far * near) / total
    return float((near - far) / np.sqrt(variance)) if variance > 0 else 0.0


def herfindahl(shares: Floats) -> float:
    """The sum of squared shares. It is 1 if one share is the whole."""
    return float((shares**2).sum())
