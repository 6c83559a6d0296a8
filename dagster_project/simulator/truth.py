"""The truth about a simulated book: the state and the true PD of each loan in each month.

The true PD of a loan at a month-end is the probability that a default starts within the next 12 months. It is
calculated from the loan's state, age and hazard at the month-end, and from the stress and the segment drift (see
`macro` and `drift`). The stress and the drift of the next 12 months count as known; both continue beyond the end of the
book. The PD is exact: the probabilities of the Markov chain (see `behaviour`) are carried back month by month from the
end of the 12 months.

A restructuring cannot change the PD. It changes only amounts and the month of the last instalment. It is granted only
if the last instalment, before and after the change, lies outside every 12-month window that contains the restructuring.

A payment holiday (see `deferral`) is granted to a drawn loan if it has no unpaid instalment at the previous month-end.
During the holiday, the state of the loan does not change. So the PD of a drawn loan is carried back twice, once without
the holiday and once with it. At the month-end before the holiday, a loan without unpaid instalments changes from the
first calculation to the second. The drawn month counts as known, like the stress.
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
    """Return the true PD as an array of shape (4, months, loans). The first index is the number of unpaid instalments.

    The PD is 0 if a loan with that many unpaid instalments is already closed. `months` is the number of months in the
    book. `stress` has values for these months and the HORIZON months after them. `shift` is added to x of the hazard
    model. It is one number for all, or an array by month and loan that covers the same months as `stress`.
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
    """Return the true PD of loans that were drawn for a payment holiday, as two arrays.

    The first array applies while the holiday has not been granted, the second once it has been granted. Both have the
    same shape as the result of `true_pd`, and the parameters have the same meaning. `lots` has the month in which each
    loan's holiday would begin.
    """
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
    """The monthly probabilities of loans, either without payment holidays or with one for each loan.

    Attributes:
        miss: The probability of missing an instalment, by number of unpaid instalments, month and loan.
        prepays: The probability that a loan without unpaid instalments prepays if it does not miss its instalment, by
            month.
        is_open: Whether a loan is still open, by number of unpaid instalments, month and loan.
        rests: Whether the month is in a payment holiday, by month and loan.
    """

    miss: Floats
    prepays: Floats
    is_open: NDArray[np.bool_]
    rests: NDArray[np.bool_]

    def carried_back(self, pd: Floats) -> Floats:
        """Extend the window of the PD by one month, and return the PD for the longer window.

        `pd` is an array by number of unpaid instalments, month and loan. The result has one month less than `pd`,
        because the PD at a month-end is calculated from the PD at the next month-end.
        """
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
    """Yield frames with one row per loan and month, from the loan's opening until it is closed.

    Each frame contains the rows of some of the loans. The PD is null for loans in default and closed loans.

    `states` has the state by month and loan. It is NOT_YET before the opening, and after the month in which the loan
    was closed. `drift` has the shift of x by month, and `drifts` states which loans it applies to. `lots` is the month
    in which each loan's payment holiday would begin, and `deferred_from` the month in which it really began. `lots` is
    NEVER for loans that were not drawn, and `deferred_from` for loans that got no holiday.
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
