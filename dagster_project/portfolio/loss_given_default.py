"""Measurement of the loss given default from workouts.

The later recoveries of an open workout are estimated from other workouts that were still open at the same age.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.portfolio.policy import LossPolicy


@dataclass(frozen=True)
class Loss:
    """The loss given default, as a share of the exposure.

    Attributes:
        given_default: the value to use, from 0 to 1.
        own: the value measured from workouts; None if there is no workout.
        extrapolated: the recoveries that are still expected from open workouts, as a share of the exposure.
        workouts: number of workouts.
        why_policy: why `given_default` is the policy's value; None if it is the measured value.
    """

    given_default: float
    own: float | None
    extrapolated: float
    workouts: int
    why_policy: str | None


def loss_given_default(curve: pl.DataFrame, policy: LossPolicy) -> Loss:
    """Compute the loss given default from a recovery curve: `1 - sum of discounted recoveries / exposure`.

    A workout that is still open at age a is expected to recover as much as other workouts did after that age: `sum over
    k > a of r_k * product over a < j < k of (1 - e_j)`. r_k is the amount recovered at age k, and e_k is the exposure
    of the workouts that ended at age k. Both are shares of the exposure that was open at age k.

    Args:
        curve: one row per month since default, beginning with 0, with the columns months_since_default, open_loans,
            open_exposure, ended_exposure and recovered (discounted to the date of default).
        policy: the required number and length of workouts, and the value to use if the workouts do not meet this.
    """
    rows = curve.sort("months_since_default")
    workouts = int(rows["open_loans"][0]) if rows.height else 0
    followed = int(rows["months_since_default"].to_numpy().max()) if rows.height else 0
    if workouts < policy.min_workouts:
        why = f"{workouts} workouts, {policy.min_workouts} are needed"
    elif followed < policy.min_months:
        why = f"workouts were followed for {followed} months, {policy.min_months} are needed"
    else:
        why = None
    own, extrapolated = _measured(rows) if workouts else (None, 0.0)
    chosen = own if own is not None and why is None else policy.given_default
    return Loss(min(max(chosen, 0.0), 1.0), own, extrapolated, workouts, why)


def _measured(rows: pl.DataFrame) -> tuple[float, float]:
    """Return the loss given default and the recoveries still expected, both as shares of the exposure at default."""
    ages = rows["months_since_default"].to_numpy()
    size = int(ages.max()) + 1
    ended, recovered = np.zeros(size), np.zeros(size)
    # at an age without a row, nothing was recovered and nothing ended: its open exposure is that of the next row
    exposure = rows["open_exposure"].cast(pl.Float64).to_numpy()[np.searchsorted(ages, np.arange(size))]
    for column, into in (("ended_exposure", ended), ("recovered", recovered)):
        into[ages] = rows[column].cast(pl.Float64).to_numpy()
    share = np.divide(recovered, exposure, out=np.zeros(size), where=exposure > 0)
    ends = np.divide(ended, exposure, out=np.zeros(size), where=exposure > 0)
    further = np.zeros(size)
    for age in range(size - 2, -1, -1):
        further[age] = share[age + 1] + (1 - ends[age + 1]) * further[age + 1]
    still_open = exposure - ended - np.append(exposure[1:], 0.0)
    extrapolated = float((still_open * further).sum())
    return 1 - (float(recovered.sum()) + extrapolated) / exposure[0], extrapolated / exposure[0]
