"""Tests of the state machine of early warnings."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dagster_project.early_warning.rules import State
from dagster_project.early_warning.states import LEGAL, Status, step
from support.warning_figures import month

SIGNALS = st.lists(st.sampled_from(list(State)), max_size=60)
RANK = {State.GREEN: 0, State.AMBER: 1, State.RED: 2}


def walk(signals, calm_months):
    status, seen = Status(), []
    for n, signal in enumerate(signals):
        status = step(status, signal, month(n), calm_months)
        seen.append(status)
    return seen


@given(SIGNALS, st.integers(1, 4))
def test_no_move_is_illegal(signals, calm_months):
    seen = walk(signals, calm_months)
    for before, after in pairwise([Status(), *seen]):
        assert after.state in LEGAL[before.state]
        assert (after.since == before.since) == (after.state is before.state and before.since is not None)
        assert (after.opened_on is not None) == (after.state in RANK and RANK[after.state] > 0)
    assert State.GREEN not in LEGAL[State.RED], "red goes down by amber"


@given(SIGNALS, st.integers(1, 4))
def test_a_state_is_never_better_than_its_month_and_worse_only_for_want_of_calm(signals, calm_months):
    for n, (signal, status) in enumerate(zip(signals, walk(signals, calm_months), strict=True)):
        if signal is State.NOT_ENOUGH_HISTORY:
            assert status.state is State.NOT_ENOUGH_HISTORY
            continue
        assert RANK[status.state] >= RANK[signal]
        if RANK[status.state] > RANK[signal]:
            lately = signals[max(n - 2 * calm_months + 1, 0) : n + 1]
            assert any(RANK.get(s, 0) >= 1 for s in lately[:-1]), "something was amber or red not long ago"


def test_red_goes_down_by_one_state_after_calm_months():
    green, red = State.GREEN, State.RED
    seen = [s.state.value for s in walk([green, red, green, red, green, green, green, green, green], 2)]
    assert seen == ["green", "red", "red", "red", "red", "amber", "amber", "green", "green"]
