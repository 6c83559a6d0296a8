"""The rules by which the state of a series changes from month to month.

A state rises at once. It falls by one step at a time, and only after some calm months in a row.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from dagster_project.early_warning.rules import State

NEH, GREEN, AMBER, RED = State.NOT_ENOUGH_HISTORY, State.GREEN, State.AMBER, State.RED
OPEN = frozenset({AMBER, RED})
_ORDER = (GREEN, AMBER, RED)

# The states that may follow each state a month later. If a month cannot be judged, its state is NOT_ENOUGH_HISTORY.
LEGAL: Mapping[State, frozenset[State]] = {
    NEH: frozenset(State),
    GREEN: frozenset(State),
    AMBER: frozenset(State),
    RED: frozenset({RED, AMBER, NEH}),
}


@dataclass(frozen=True)
class Status:
    """The state of a series, and how long it has lasted.

    Attributes:
        state: the state after the last month.
        since: the month in which the state began; None before the first month.
        calm: number of months in a row, up to the last one, whose figures alone gave a lower state.
        opened_on: the month in which the open warning first became amber or red; None if no warning is open.
    """

    state: State = NEH
    since: dt.date | None = None
    calm: int = 0
    opened_on: dt.date | None = None


def step(status: Status, signal: State, month_on: dt.date, calm_months: int) -> Status:
    """Return the status after one more month.

    If `signal` is lower than the present state, the state falls by one step, but not before `calm_months` such months
    in a row. Until then it stays as it is. In all other cases, `signal` becomes the state at once. This includes months
    before or after which there is not enough history.

    Args:
        status: the status after the month before.
        signal: the state that the figures of this month alone give.
        month_on: the month-end of this month.
        calm_months: number of calm months in a row that are needed before the state falls.
    """
    before = status.state
    if signal is NEH or before is NEH:
        return _moved(status, signal, month_on)
    if _ORDER.index(signal) >= _ORDER.index(before):
        return _moved(status, signal, month_on)
    if status.calm + 1 < calm_months:
        return Status(before, status.since, status.calm + 1, status.opened_on)
    return _moved(status, _ORDER[_ORDER.index(before) - 1], month_on)


def _moved(status: Status, state: State, month_on: dt.date) -> Status:
    since = status.since if state is status.state and status.since else month_on
    opened_on = (status.opened_on or month_on) if state in OPEN else None
    return Status(state, since, 0, opened_on)
