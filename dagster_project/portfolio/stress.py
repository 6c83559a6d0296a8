"""Probabilities of default in better or worse years, by Vasicek's model with one factor."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def stressed_pd(pd: Floats, factor: float, correlation: float) -> Floats:
    """The PD in a year with this factor: `PD(z) = Phi((Phi^-1(PD) - sqrt(rho) z) / sqrt(1 - rho))`.

    z is `factor` and rho is `correlation`. z > 0 is a good year, 0 the median year.

    A PD of 0 or 1 does not change.
    """
    from scipy.special import ndtr, ndtri

    return cast(Floats, ndtr((ndtri(pd) - np.sqrt(correlation) * factor) / np.sqrt(1 - correlation)))
