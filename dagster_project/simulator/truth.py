"""The truth: the state and the true probability of default (PD) of each loan in each month, written beside the book.

The true PD of a loan at a month-end is the probability that a default starts within the next 12 months. It is
calculated given the loan's state and age at the month-end, its borrower's latent risk, and the realised macro path and
segment drift, including their values in the next 12 months (both paths extend beyond the book). It is exact: the
chain's probabilities are carried back month by month from the end of the window. A restructuring cannot change the PD.
It changes amounts and the last instalment, and is granted only if neither the old nor the new last instalment is in a
window that contains the restructuring.

A payment holiday (`deferral`) is granted by lot to loans that are 0 behind at a month-end; during the holiday, the
state of the chain does not change. So there are two worlds, without and with the holiday. At the month-end before the
holiday, a loan that is 0 behind passes to the world with the holiday. The probability is carried back in both worlds.
The lot counts as known, like the macro path.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.simulator.behaviour import (
    BEHIND,
    CATCH_UP,
    DEFAULT,
    STEP_DOWN,
    hazard_index,
    miss_probability,
    prepay_probability,
)
from dagster_project.simulator.clock import Calendar, Floats, Ints
from dagster_project.simulator.deferral import NEVER, is_resting, months_rested

HORIZON = 12
STATES = pl.Enum(["current", "1 behind", "2 behind", "3 behind", "default", "closed"])
NOT_YET = -1
_LOANS_AT_ONCE = 20_000


def true_pd(
    hazard: Floats, opened_month: Ints, instalments: Ints, stress: Floats, months: int, shift: Floats | float = 0.0
) -> Floats:
    """Return the PD by months behind, month and loan; 0 if a loan that far behind is closed.

    `stress` covers `months` and the HORIZON months after them. `shift`, by month and loan, is added to x.
    """
    world = _world(hazard, opened_month, instalments, stress, months, shift)
    pd = np.zeros_like(world.miss)  # for a window of 0 months
    for _ in range(HORIZON):
        pd = world.carried_back(pd)
    return pd


def true_pd_with_holiday(
    hazard: Floats,
    opened_month: Ints,
    instalments: Ints,
    stress: Floats,
    months: int,
    lots: Ints,
    shift: Floats | float = 0.0,
) -> tuple[Floats, Floats]:
    """Like `true_pd`, for loans with a lot: return (PD while no holiday is granted, PD once it is granted)."""
    without = _world(hazard, opened_month, instalments, stress, months, shift)
    within = _world(hazard, opened_month, instalments, stress, months, shift, lots)
    before, after = np.zeros_like(without.miss), np.zeros_like(within.miss)
    for _ in range(HORIZON):
        before, after = without.carried_back(before), within.carried_back(after)
        loan = np.flatnonzero(lots <= before.shape[1])
        before[0, lots[loan] - 1, loan] = after[0, lots[loan] - 1, loan]
    return before, after


@dataclass(frozen=True)
class _World:
    """The chain's probabilities, by months behind, month and loan.

    `miss` and `prepays`: the probabilities to miss and to prepay. `is_open`: whether a loan that far behind is open.
    `rests`: whether the loan has a holiday.
    """

    miss: Floats
    prepays: Floats
    is_open: NDArray[np.bool_]
    rests: NDArray[np.bool_]

    def carried_back(self, pd: Floats) -> Floats:
        """Return the probabilities for windows that are one month longer; the result covers one month less."""
        later, count = pd[:, 1:], pd.shape[1]
        p, q = self.miss[:, 1:count], self.prepays[1:count]
        pd = np.empty_like(later)
        pd[0] = p[0] * later[1] + (1 - p[0]) * (1 - q) * later[0]
        for b in BEHIND[1:]:
            missed = later[b + 1] if b + 1 < DEFAULT else 1.0
            paid = CATCH_UP * later[0] + STEP_DOWN * later[b - 1] + (1 - CATCH_UP - STEP_DOWN) * later[b]
            pd[b] = p[b] * missed + (1 - p[b]) * paid
        if self.rests.any():
            pd = np.where(self.rests[1:count], later, pd)
        pd *= self.is_open[:, : pd.shape[1]]
        return pd


def _world(
    hazard: Floats,
    opened_month: Ints,
    instalments: Ints,
    stress: Floats,
    months: int,
    shift: Floats | float,
    begun: Ints | int = NEVER,
) -> _World:
    month = np.arange(months + HORIZON)[:, None]
    age = month - opened_month - months_rested(np.asarray(begun), month)
    index = hazard_index(hazard, np.maximum(age, 0), stress[:, None]) + shift
    miss = np.stack([miss_probability(b, index) for b in BEHIND])
    is_open = np.stack([age - b < instalments for b in BEHIND])
    return _World(miss, prepay_probability(stress)[:, None], is_open, is_resting(np.asarray(begun), month))


def loan_months(
    number: Ints,
    hazard: Floats,
    opened_month: Ints,
    instalments: Ints,
    states: NDArray[np.int8],
    stress: Floats,
    drift: Floats,
    drifts: NDArray[np.bool_],
    lots: Ints,
    deferred_from: Ints,
    calendar: Calendar,
) -> Iterator[pl.DataFrame]:
    """Yield one row per loan and month, from the opening until the loan is closed. Each frame has a part of the loans.

    `states`: by month and loan; NOT_YET before the opening and after the month in which the loan was closed. `drifts`:
    whether `drift` (by month) shifts the loan's x. `lots`: the month in which a loan's holiday would begin.
    `deferred_from`: the month in which the loan's holiday began.
    """
    ends = calendar.starts[1 : calendar.months + 1] - 1
    for begin in range(0, len(number), _LOANS_AT_ONCE):
        part = slice(begin, begin + _LOANS_AT_ONCE)
        shift = drift[:, None] * drifts[part]
        pd = true_pd(hazard[part], opened_month[part], instalments[part], stress, calendar.months, shift)
        drawn = begin + np.flatnonzero(lots[part] < NEVER)
        if len(drawn):
            before, after = true_pd_with_holiday(
                hazard[drawn],
                opened_month[drawn],
                instalments[drawn],
                stress,
                calendar.months,
                lots[drawn],
                drift[:, None] * drifts[drawn],
            )
            is_granted = np.arange(calendar.months)[:, None] >= deferred_from[drawn]
            pd[:, :, drawn - begin] = np.where(is_granted, after, before)
        loan, month = np.nonzero(states[:, part].T != NOT_YET)
        state = states[:, part][month, loan]
        is_performing = state < DEFAULT
        value = np.where(is_performing, pd[np.where(is_performing, state, 0), month, loan], np.nan)
        yield pl.DataFrame(
            {
                "loan_id": number[part][loan],
                "month_on": ends[month].astype(np.int32),
                "state": state,
                "pd_12m": value,
            }
        ).with_columns(
            pl.col("loan_id").cast(pl.String),
            pl.col("month_on").cast(pl.Date),
            pl.col("state").cast(pl.UInt32).replace_strict(dict(enumerate(STATES.categories)), return_dtype=STATES),
            pl.col("pd_12m").fill_nan(None),
        )
