"""Checks of the raw tables: every accepted row meets the contract's rules for its columns."""

from collections.abc import Iterable
from typing import Any, Protocol

from expectations.suite import Check, Suite, between, not_null, one_of, some_rows, unique


class ColumnRules(Protocol):
    """The properties of a contract's column that the checks need."""

    @property
    def name(self) -> str:
        """The name of the column."""
        ...

    @property
    def required(self) -> bool:
        """Whether nulls are refused."""
        ...

    @property
    def minimum(self) -> float | None:
        """The smallest allowed value; None if there is no limit."""
        ...

    @property
    def maximum(self) -> float | None:
        """The largest allowed value; None if there is no limit."""
        ...

    @property
    def documented_values(self) -> tuple[Any, ...]:
        """The codes that the source documents; empty if any value is allowed. Other codes are kept, with a warning."""
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
    """Build the suite of one canonical table from its contract.

    `delivered_again`: check that a key is unique within a delivery, and not in the whole table, because later
    deliveries may repeat a person or correct a row.
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
