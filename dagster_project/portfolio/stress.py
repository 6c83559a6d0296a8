"""Probabilities of default in good and bad years, by Vasicek's one-factor model."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def stressed_pd(pd: Floats, factor: float, correlation: float) -> Floats:
    """Return the PDs in a year with the economic factor `factor`.

    The formula is `PD(z) = Phi((Phi^-1(PD) - sqrt(rho) z) / sqrt(1 - rho))`. z is `factor`, and rho is `correlation`. A
    year with z > 0 is a good year, and z = 0 is the median year. A PD of 0 or 1 does not change.
    """
    from scipy.special import ndtr, ndtri

    return cast(Floats, ndtr((ndtri(pd) - np.sqrt(correlation) * factor) / np.sqrt(1 - correlation)))
