"""What is really so: each loan-month's state and its true probability of default, written beside the book.

The true PD of a loan at a month-end is the probability that a default starts within the next 12 months, given its
state, its borrower's latent risk and its age at that month-end, and the macro path and its segment's drift as they
turned out, the 12 months after it included (both run on beyond the book). It is exact: the chain's probabilities,
carried back from the end of the window month by month. A restructuring cannot change it: it moves amounts and the last
instalment, and is only granted where neither the old nor the new last instalment is within any window that sees it
coming.
"""

from collections.abc import Iterator

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

HORIZON = 12
STATES = pl.Enum(["current", "1 behind", "2 behind", "3 behind", "default", "closed"])
NOT_YET = -1
_LOANS_AT_ONCE = 20_000


def true_pd(
    hazard: Floats, opened_month: Ints, instalments: Ints, stress: Floats, months: int, shift: Floats | float = 0.0
) -> Floats:
    """PD by months behind, month and loan; 0 where a loan that far behind is closed.

    `stress` covers `months` and the HORIZON after them; `shift`, by month and loan, is added to x.
    """
    age = np.arange(months + HORIZON)[:, None] - opened_month
    index = hazard_index(hazard, np.maximum(age, 0), stress[:, None]) + shift
    miss = np.stack([miss_probability(b, index) for b in BEHIND])
    prepays = prepay_probability(stress)[:, None]
    is_open = np.stack([age - b < instalments for b in BEHIND])
    pd = np.zeros_like(miss)  # of a window of no months
    for _ in range(HORIZON):
        later, p, q = pd[:, 1:], miss[:, 1 : pd.shape[1]], prepays[1 : pd.shape[1]]
        pd = np.empty_like(later)
        pd[0] = p[0] * later[1] + (1 - p[0]) * (1 - q) * later[0]
        for b in BEHIND[1:]:
            missed = later[b + 1] if b + 1 < DEFAULT else 1.0
            paid = CATCH_UP * later[0] + STEP_DOWN * later[b - 1] + (1 - CATCH_UP - STEP_DOWN) * later[b]
            pd[b] = p[b] * missed + (1 - p[b]) * paid
        pd *= is_open[:, : pd.shape[1]]
    return pd


def loan_months(
    number: Ints,
    hazard: Floats,
    opened_month: Ints,
    instalments: Ints,
    states: NDArray[np.int8],
    stress: Floats,
    drift: Floats,
    drifts: NDArray[np.bool_],
    calendar: Calendar,
) -> Iterator[pl.DataFrame]:
    """One row a loan and month from its opening until it is closed, a part of the loans at a time.

    `drifts`: the loans whose x is shifted by `drift`, by month. `states`: by month and loan, NOT_YET before the opening
    and after the month in which a loan was closed.
    """
    ends = calendar.starts[1 : calendar.months + 1] - 1
    for begin in range(0, len(number), _LOANS_AT_ONCE):
        part = slice(begin, begin + _LOANS_AT_ONCE)
        shift = drift[:, None] * drifts[part]
        pd = true_pd(hazard[part], opened_month[part], instalments[part], stress, calendar.months, shift)
        loan, month = np.nonzero(states[:, part].T != NOT_YET)
        state = states[:, part][month, loan]
        known = state < DEFAULT
        value = np.where(known, pd[np.where(known, state, 0), month, loan], np.nan)
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
