"""Messages about changes of state: which messages are due, and which text the owner of the indicator receives."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.early_warning.rules import MEASURES, EarlyWarningPolicy, Rule, State
from dagster_project.early_warning.states import OPEN

SERIES = ("source", "indicator", "segment_kind", "segment")
Series = tuple[str, ...]


@dataclass(frozen=True)
class Reported:
    """The last message that was stored about a series: its id, and the state that it reported."""

    message_id: str
    state: State


@dataclass(frozen=True)
class Message:
    """A message that a series has changed from the state `previous` to the state `state`.

    `body` is the content to send. It contains a text and the figures of a segment, but no personal data.
    """

    message_id: str
    series: Series
    month_on: str
    previous: State
    state: State
    body: Mapping[str, Any]


def newest(history: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a history that belong to the newest month of their source."""
    return history.filter(pl.col("month_on") == pl.col("month_on").max().over("source"))


def changes(history: pl.DataFrame, reported: Mapping[Series, Reported], policy: EarlyWarningPolicy) -> list[Message]:
    """Return the messages that are due.

    A message is due for each series whose state in the newest month differs from the state that was last reported. A
    series that was never reported counts as green. A change between green and `not_enough_history` is not reported.

    Args:
        history: the result of `evaluate`.
        reported: the last message about each series. A series without a message has no entry.
        policy: the indicators and their thresholds, which are part of the text.
    """
    found = []
    for row in newest(history).iter_rows(named=True):
        series = tuple(row[name] for name in SERIES)
        last = reported.get(series)
        previous, state = last.state if last else State.GREEN, State(row["state"])
        if state is not previous and OPEN & {state, previous}:
            found.append(_message(row, series, last.message_id if last else "", previous, policy))
    return found


def _message(
    row: Mapping[str, Any], series: Series, after: str, previous: State, policy: EarlyWarningPolicy
) -> Message:
    state, month = State(row["state"]), row["month_on"].isoformat()
    # The id of the previous message is part of the id. So the same change, if it happens again, gets a new id, and no
    # change is reported twice.
    parts = "|".join((*series, month, previous, state, after))
    message_id = hashlib.sha256(parts.encode()).hexdigest()[:16]
    body = {
        "message_id": message_id,
        **dict(zip(SERIES, series, strict=True)),
        "month_on": month,
        "state": state.value,
        "previous_state": previous.value,
        "since": row["since"].isoformat() if row["since"] else None,
        **{name: row[name] for name in ("accounts", "value", "base", "move", "p_adjusted", "owner", "escalation")},
        "text": _text(row, previous, policy),
    }
    return Message(message_id, series, month, previous, state, body)


def _text(row: Mapping[str, Any], previous: State, policy: EarlyWarningPolicy) -> str:
    state, title = State(row["state"]), MEASURES[row["indicator"]].title
    since = "" if row["since"] == row["month_on"] else f" since {row['since']:%Y-%m}"
    change = f"{state.value.replace('_', ' ').upper()}{since} (was {previous.value})"
    sentences = [f"{change}: {title}, {place(row)} of {row['source']}", figures(row, policy)]
    if state in OPEN and row["signal"] != state:
        sentences.append(f"This month alone is {row['signal']}; a warning goes down after calm months")
    if state in OPEN:
        sentences.append(f"Owner: {row['owner']}. {row['escalation']}")
    return ". ".join(sentences)


def place(row: Mapping[str, Any]) -> str:
    """Return the name of a row's segment as text, for example `car_loan (product)` or `the whole book`."""
    return "the whole book" if row["segment_kind"] == "book" else f"{row['segment']} ({row['segment_kind']})"


def figures(row: Mapping[str, Any], policy: EarlyWarningPolicy) -> str:
    """Return the value, the base and the move of a row as text, or the reason why there is no comparison."""
    month = f"{row['month_on']:%Y-%m}"
    if row["base"] is None:
        return f"{month} cannot be judged: {row['note']}"
    indicator, test = policy.indicators[row["indicator"]], MEASURES[row["indicator"]].test
    of = "on average of" if test == "mean" else "of"
    lag = indicator.base_lag_months
    before = "in the months before" if lag == 1 else f"{lag} months before"
    compared = "expected by the model" if test == "expected" else before
    text = f"{month}: {row['value']:.2%} {of} {row['accounts']:,} accounts, {row['base']:.2%} {compared}"
    if row["move"] is None:
        return text
    limits = f"amber from {_move(indicator.amber, indicator.rule)}, red from {_move(indicator.red, indicator.rule)}"
    return f"{text}: {_move(row['move'], indicator.rule)} ({limits})"


def _move(move: float, rule: Rule) -> str:
    if rule == "points":
        return f"{100 * move:+.1f} points"
    return f"{move:.2f} times" if rule == "multiple" else f"{move:+.1f} deviations"


def open_series(history: pl.DataFrame) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of the newest month whose state is amber or red. Red rows come first."""
    rows = newest(history).filter(pl.col("state").is_in([s.value for s in OPEN]))
    yield from rows.sort(pl.col("state") != State.RED.value, *SERIES).iter_rows(named=True)
