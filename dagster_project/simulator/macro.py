"""The economy of a simulation: one number per month, the stress, which raises or lowers the hazard of all borrowers."""

import numpy as np

from dagster_project.simulator.clock import Floats, generator

PERSISTENCE = 0.9
SHOCK, SHOCK_MONTHS = 2.5, 6


def macro_path(seed: int, months: int, shock_month: int | None = None, *, steady: bool = False) -> Floats:
    """Return the stress of each month. Higher values mean a worse economy.

    The stress is an AR(1) process with a mean of 0 and unit variance. If `steady` is true, it is 0 in all months. A
    shock adds SHOCK to the stress for SHOCK_MONTHS months, starting in `shock_month` (counted from 0). After that, it
    fades by the factor PERSISTENCE per month. If `shock_month` is None, there is no shock.
    """
    noise = np.zeros(months) if steady else generator(seed, "macro").standard_normal(months)
    path = np.empty(months)
    path[0] = noise[0]
    for m in range(1, months):
        path[m] = PERSISTENCE * path[m - 1] + np.sqrt(1 - PERSISTENCE**2) * noise[m]
    if shock_month is not None:
        since = np.arange(months) - shock_month
        faded = PERSISTENCE ** np.maximum(since - SHOCK_MONTHS + 1, 0)
        path += np.where(since >= 0, SHOCK * faded, 0.0)
    return path
