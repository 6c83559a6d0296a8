"""Suites of checks and their results as frozen dataclasses, with one function for each kind of check."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["critical", "warning"]
_BOUNDS = (("<", "min_value"), (">", "max_value"))
_UNIQUE = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")
_BY_ROW = (
    "ExpectColumnValuesToNotBeNull",
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
    "ExpectColumnPairValuesAToBeGreaterThanB",
    "ExpectTableRowCountToBeBetween",  # only from `some_rows`: a table is not empty if a part is not empty
)


@dataclass(frozen=True)
class Check:
    """One check of a table, which is an expectation of Great Expectations.

    If a `critical` check fails, the night stops. If a `warning` check fails, the failure is only shown.

    Attributes:
        kind: name of the Great Expectations class.
        kwargs: arguments of this class.
        severity: `critical` or `warning`.
        advice: what a person should do if the check fails.
        label: the last part of the check's name. If it is empty, the part is derived from `kind`.
        where: the SQL condition that no row may meet; None if the check was not made by `no_row`.
    """

    kind: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    advice: str = "inspect the failing rows before anything downstream uses them"
    label: str = ""
    where: str | None = None

    @property
    def failing(self) -> str | None:
        """Return the SQL condition that selects the failing rows, or None if the check is not about single rows.

        The condition may contain the placeholder `{batch}` for the name of the table.
        """
        kwargs, column = self.kwargs, self.kwargs.get("column")
        bounds = [f"{column} {sign} {kwargs[end]}" for sign, end in _BOUNDS if kwargs.get(end) is not None]
        keys = ", ".join([column] if column else kwargs.get("column_list", []))
        conditions = {
            "ExpectColumnValuesToNotBeNull": f"{column} is null",
            "ExpectColumnValuesToBeBetween": " or ".join(bounds),
            "ExpectColumnValuesToBeInSet": f"{column} not in ({', '.join(map(repr, kwargs.get('value_set', ())))})",
            "ExpectColumnPairValuesAToBeGreaterThanB": f"{kwargs.get('column_A')} < {kwargs.get('column_B')}",
            "UnexpectedRowsExpectation": self.where,
        }
        for kind in _UNIQUE:
            conditions[kind] = f"({keys}) in (select {keys} from {{batch}} group by all having count(*) > 1)"  # noqa: S608
        return conditions.get(self.kind)

    @property
    def is_by_row(self) -> bool:
        """Return whether the check passes for a table whenever it passes for every part of the table."""
        return self.kind in _BY_ROW

    @property
    def key(self) -> tuple[str, ...]:
        """Return the columns whose values must be unique together. For other kinds of checks, return an empty tuple."""
        if self.kind not in _UNIQUE:
            return ()
        return tuple(self.kwargs.get("column_list") or (self.kwargs["column"],))

    @property
    def name(self) -> str:
        """Return the name of the check, which is unique within its suite.

        It consists of the columns, followed by the label. If the label is empty, the kind of check is used instead.
        """
        what = re.sub(r"(?<!^)(?=[A-Z])", "_", self.kind).lower()
        what = re.sub(r"^expect_(column_values|compound_columns|column|table)?_?", "", what)
        columns = self.kwargs.get("column") or "_".join(self.kwargs.get("column_list", ()))
        return "__".join(part for part in (columns, self.label or what) if part)


@dataclass(frozen=True)
class Suite:
    """A named list of checks for one table. `table` is the name of this table in the database that the runner opens."""

    name: str
    table: str
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        """Check that no two checks of the suite have the same name.

        Raises:
            ValueError: two checks have the same name.
        """
        names = [c.name for c in self.checks]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"suite {self.name}: two checks are called {', '.join(twice)}")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. It contains counts and the keys of failing rows, but no other values of the data.

    Attributes:
        name: name of the check.
        passed: whether the check was evaluated and passed.
        severity: severity of the check.
        advice: what a person should do if the check failed.
        rows: number of rows in the table; None if they were not counted.
        failing_rows: number of failing rows; None if they were not counted.
        error: why the check could not be evaluated; None if it was evaluated.
        places: keys of the first failing rows; empty if the check passed or has no keys to show.
    """

    name: str
    passed: bool
    severity: Severity
    advice: str
    rows: int | None = None
    failing_rows: int | None = None
    error: str | None = None
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuiteResult:
    """The results of one suite.

    `declared` is the number of checks in the suite. `checks` contains the results in the order of the suite.
    """

    suite: str
    declared: int
    checks: tuple[CheckResult, ...] = field(default=())

    @property
    def blocking_failures(self) -> tuple[CheckResult, ...]:
        """Return the results of the critical checks that did not pass."""
        return tuple(c for c in self.checks if not c.passed and c.severity == "critical")


def not_null(column: str) -> Check:
    """Return a check that every row has a value in this column."""
    return Check("ExpectColumnValuesToNotBeNull", {"column": column})


def unique(*columns: str) -> Check:
    """Return a check that no two rows have the same values in these columns."""
    if len(columns) == 1:
        return Check("ExpectColumnValuesToBeUnique", {"column": columns[0]})
    return Check("ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def between(
    column: str, low: float | None, high: float | None, severity: Severity = "critical", advice: str | None = None
) -> Check:
    """Return a check that every value of a column is between `low` and `high`, including these two values.

    If `low` or `high` is None, there is no limit on that side. Nulls pass. If `advice` is None, the default advice of
    `Check` is used.
    """
    kwargs = {"column": column, "min_value": low, "max_value": high}
    named = {"advice": advice} if advice else {}
    return Check("ExpectColumnValuesToBeBetween", kwargs, severity, **named)


def one_of(column: str, values: tuple[Any, ...], severity: Severity = "critical", advice: str | None = None) -> Check:
    """Return a check that every value of a column is one of `values`.

    Nulls pass. If `advice` is None, the default advice of `Check` is used.
    """
    named = {"advice": advice} if advice else {}
    return Check("ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)}, severity, **named)


def no_row(label: str, where: str, advice: str, severity: Severity = "critical") -> Check:
    """Return a check that no row meets the SQL condition `where`.

    The query of the check returns a constant for each failing row, so that the result contains no values of the data.
    """
    query = f"select 1 as failing from {{batch}} where {where}"  # noqa: S608
    return Check("UnexpectedRowsExpectation", {"unexpected_rows_query": query}, severity, advice, label, where)


def some_rows(severity: Severity = "critical") -> Check:
    """Return a check that the table is not empty."""
    return Check(
        "ExpectTableRowCountToBeBetween",
        {"min_value": 1},
        severity,
        advice="check what was ingested: a missing delivery leaves an empty table",
    )
