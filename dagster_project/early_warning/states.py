"""The state machine of an indicator. A state rises at once; it falls by one step at a time, after calm months."""

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
    """A state and how long it has lasted.

    `since`: the month in which the state began. `calm`: number of months in a row whose figures gave a lower state.
    `opened_on`: the month in which an open warning first became amber or red; None if no warning is open.
    """

    state: State = NEH
    since: dt.date | None = None
    calm: int = 0
    opened_on: dt.date | None = None


def step(status: Status, signal: State, month_on: dt.date, calm_months: int) -> Status:
    """The status after one more month. `signal`: the state that only this month's figures give."""
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
