"""The arrears states that a loan can have at a month-end. The policy, the SQL models and the reports use this list."""

from typing import Literal, get_args

# The states of loans that are still open, by their days past due at the month-end.
OpenState = Literal["current", "1-30", "31-60", "61-90", "90+"]
OPEN_STATES: tuple[OpenState, ...] = get_args(OpenState)
# The highest number of days past due in each open state; None: no upper bound.
DPD_MAX: dict[str, int | None] = dict(zip(OPEN_STATES, (0, 30, 60, 90, None), strict=True))
ENDED_STATES = ("written_off", "closed")
ARREARS_STATES = (*OPEN_STATES, *ENDED_STATES)


def open_states_over(dpd: int) -> tuple[str, ...]:
    """Return the open states whose loans are all more than `dpd` days past due.

    `dpd` must be the highest number of days of a state, such as 30 or 90.
    """
    return tuple(state for state, dpd_max in DPD_MAX.items() if dpd_max is None or dpd_max > dpd)
