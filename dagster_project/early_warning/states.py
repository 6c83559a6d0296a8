"""The state machine of an indicator: up at once, down by one state after calm months, and never past amber."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from dagster_project.early_warning.rules import State

NEH, GREEN, AMBER, RED = State.NOT_ENOUGH_HISTORY, State.GREEN, State.AMBER, State.RED
OPEN = frozenset({AMBER, RED})
_ORDER = (GREEN, AMBER, RED)

# From each state, those that may follow it a month later. What cannot be judged is in no other state.
LEGAL: Mapping[State, frozenset[State]] = {
    NEH: frozenset(State),
    GREEN: frozenset(State),
    AMBER: frozenset(State),
    RED: frozenset({RED, AMBER, NEH}),
}


@dataclass(frozen=True)
class Standing:
    """A state, the month in which it began, the months in a row that pointed below it, and for how long it is open.

    `opened_on`: the month in which a warning that is still open was first amber or red.
    """

    state: State = NEH
    since: dt.date | None = None
    calm: int = 0
    opened_on: dt.date | None = None


def step(standing: Standing, signal: State, month_on: dt.date, calm_months: int) -> Standing:
    """The standing a month later. `signal`: where this month's figures alone would put it."""
    before = standing.state
    if signal is NEH or before is NEH:
        return _moved(standing, signal, month_on)
    if _ORDER.index(signal) >= _ORDER.index(before):
        return _moved(standing, signal, month_on)
    if standing.calm + 1 < calm_months:
        return Standing(before, standing.since, standing.calm + 1, standing.opened_on)
    return _moved(standing, _ORDER[_ORDER.index(before) - 1], month_on)


def _moved(standing: Standing, state: State, month_on: dt.date) -> Standing:
    since = standing.since if state is standing.state and standing.since else month_on
    opened_on = (standing.opened_on or month_on) if state in OPEN else None
    return Standing(state, since, 0, opened_on)
