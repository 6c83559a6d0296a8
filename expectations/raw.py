"""Checks of the raw tables: every accepted row obeys the contract's rules for its columns."""

from collections.abc import Iterable
from typing import Any, Protocol

from expectations.suite import Check, Suite, between, not_null, one_of, some_rows, unique


class ColumnRules(Protocol):
    """The properties of a column in a contract that the checks use."""

    @property
    def name(self) -> str:
        """Return the name of the column."""
        ...

    @property
    def required(self) -> bool:
        """Return whether every row must have a value in the column."""
        ...

    @property
    def minimum(self) -> float | None:
        """Return the smallest allowed value, or None if there is no lower limit."""
        ...

    @property
    def maximum(self) -> float | None:
        """Return the largest allowed value, or None if there is no upper limit."""
        ...

    @property
    def documented_values(self) -> tuple[Any, ...]:
        """Return the codes that the source documents for the column. An empty tuple means that any value is allowed.

        A row with another code is accepted, but the check gives a warning.
        """
        ...


_UNDOCUMENTED = "the source sends codes that its documentation lacks; ask the source, or extend the contract"
_KNOWN_EARLY = Check(
    "ExpectColumnPairValuesAToBeGreaterThanB",
    {"column_A": "known_at", "column_B": "event_on", "or_equal": True},
    advice="a row is known before it happened: the contract's lag or the delivery's dates are wrong",
    label="known_at__not_before_event_on",
)


def suite(
    source: str, table: str, columns: Iterable[ColumnRules], key: tuple[str, ...], *, delivered_again: bool = False
) -> Suite:
    """Return the suite of checks for one canonical table of a source.

    Args:
        source: the name of the source.
        table: the name of the canonical table.
        columns: the rules of the contract for the columns of the table.
        key: the columns of the table's key.
        delivered_again: whether later deliveries may contain the same key, for example to correct a row. If so, the key
            must be unique only within each delivery. Otherwise it must be unique in all rows of the source.
    """
    whole_key = ("source", "delivery_id", *key) if delivered_again else ("source", *key)
    checks: list[Check] = [some_rows("warning"), unique(*whole_key), _KNOWN_EARLY]
    for column in columns:
        if column.required:
            checks.append(not_null(column.name))
        if column.minimum is not None or column.maximum is not None:
            checks.append(between(column.name, column.minimum, column.maximum))
        if column.documented_values:
            checks.append(one_of(column.name, column.documented_values, "warning", _UNDOCUMENTED))
    return Suite(f"raw_{source}_{table}", table, tuple(checks))
