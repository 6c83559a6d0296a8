"""The economy: one number per month, the stress, which moves every borrower's hazard."""

import numpy as np

from dagster_project.simulator.clock import Floats, generator

PERSISTENCE = 0.9
SHOCK, SHOCK_MONTHS = 2.5, 6


def macro_path(seed: int, months: int, shock_month: int | None = None, *, steady: bool = False) -> Floats:
    """Return the stress by month; higher is worse.

    The stress is an AR(1) process with unit variance. In a steady economy it is always 0, the mean of the process. From
    `shock_month` (counted from 0) on, SHOCK is added for SHOCK_MONTHS months and then fades at the rate of the process.
    There is no shock if `shock_month` is None.
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
