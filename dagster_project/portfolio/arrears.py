"""The arrears states of a loan month: the one list that policy, SQL and reports take them from."""

# Days past due at the month-end that a state goes up to, both states and days rising; the last one has no upper bound.
DPD_MAX: dict[str, int | None] = {"current": 0, "1-30": 30, "31-60": 60, "61-90": 90, "90+": None}
OPEN_STATES = tuple(DPD_MAX)
ENDED_STATES = ("written_off", "closed")
ARREARS_STATES = (*OPEN_STATES, *ENDED_STATES)


def open_states_over(dpd: int) -> tuple[str, ...]:
    """The open states of loans that are more than `dpd` days past due; `dpd` is the upper bound of a state."""
    return tuple(state for state, dpd_max in DPD_MAX.items() if dpd_max is None or dpd_max > dpd)
