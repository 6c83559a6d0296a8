"""The state machine of an indicator: up at once; down by one state at a time, after calm months."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from dagster_project.early_warning.rules import State

NEH, GREEN, AMBER, RED = State.NOT_ENOUGH_HISTORY, State.GREEN, State.AMBER, State.RED
OPEN = frozenset({AMBER, RED})
_ORDER = (GREEN, AMBER, RED)

# The states that may follow each state a month later. A month that cannot be judged is always NOT_ENOUGH_HISTORY.
LEGAL: Mapping[State, frozenset[State]] = {
    NEH: frozenset(State),
    GREEN: frozenset(State),
    AMBER: frozenset(State),
    RED: frozenset({RED, AMBER, NEH}),
}


@dataclass(frozen=True)
class Status:
    """A state and the month in which it began (`since`). `calm`: months in a row whose figures gave a lower state.

    `opened_on`: the month in which a warning that is still open was first amber or red.
    """

    state: State = NEH
    since: dt.date | None = None
    calm: int = 0
    opened_on: dt.date | None = None


def step(status: Status, signal: State, month_on: dt.date, calm_months: int) -> Status:
    """The status a month later. `signal`: the state by this month's figures alone."""
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
