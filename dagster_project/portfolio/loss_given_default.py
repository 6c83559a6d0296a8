"""Loss given default from workouts; open ones are extrapolated by the recoveries of others at the same age."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.portfolio.policy import LossPolicy


@dataclass(frozen=True)
class Loss:
    """`given_default`: share of the exposure, in [0, 1]; `own`: as measured, None without any workout.

    `extrapolated`: the share of the exposure that open workouts are still expected to recover. `why_policy`: why
    `given_default` is the policy's value; None where it is `own`.
    """

    given_default: float
    own: float | None
    extrapolated: float
    workouts: int
    why_policy: str | None


def loss_given_default(curve: pl.DataFrame, policy: LossPolicy) -> Loss:
    """From a recovery curve: one row per month since default, from 0 on.

    `1 - sum of discounted recoveries / exposure`. A workout that is still open at age a is expected to recover as those
    did that were open at its age: `sum over k > a of r_k * product over a < j < k of (1 - e_j)`, where r_k is what was
    recovered and e_k what ended at age k, each as a share of the exposure that was open.

    Args:
        curve: months_since_default, open_loans, open_exposure, ended_exposure, recovered, discounted to the default.
        policy: the value where workouts are too few or were not followed long enough.
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
    """(loss, extrapolated recoveries), both as shares of the whole exposure."""
    ages = rows["months_since_default"].to_numpy()
    size = int(ages.max()) + 1
    ended, recovered = np.zeros(size), np.zeros(size)
    # at an age without a row nothing was recovered or ended: what is open is that of the next age with a row
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
