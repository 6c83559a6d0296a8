"""Measure loss given default from workouts. Open workouts are extrapolated from others that were open at their age."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.portfolio.policy import LossPolicy


@dataclass(frozen=True)
class Loss:
    """Loss given default as a share of the exposure.

    `given_default`: the value to use, from 0 to 1. `own`: the measured value; None without any workout.
    `extrapolated`: the share of the exposure that open workouts are still expected to recover. `workouts`: their
    number. `why_policy`: why `given_default` is the policy's value; None if it is the measured value.
    """

    given_default: float
    own: float | None
    extrapolated: float
    workouts: int
    why_policy: str | None


def loss_given_default(curve: pl.DataFrame, policy: LossPolicy) -> Loss:
    """Compute loss given default from a recovery curve: `1 - sum of discounted recoveries / exposure`.

    A workout that is still open at age a is expected to recover as much as other workouts after that age:
    `sum over k > a of r_k * product over a < j < k of (1 - e_j)`. r_k is the exposure recovered at age k, and e_k the
    exposure of workouts that ended at age k, both as shares of the exposure open at that age.

    Args:
        curve: one row per month since default, from 0 on, with months_since_default, open_loans, open_exposure,
            ended_exposure and recovered (discounted to the date of default).
        policy: the value to use if there are too few workouts, or if they were followed for too short a time.
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
    """Return (loss, extrapolated recoveries), both as shares of the exposure at default."""
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
