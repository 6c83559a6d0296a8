"""Suites of checks, and their results, as frozen dataclasses; and one function per kind of check."""

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
    """One expectation: the name of its Great Expectations class, its arguments, and what to do when it fails.

    A failed `critical` check stops the night; a failed `warning` is only shown. `kind`: name of the class. `label`: a
    part of the check's name; empty for the default. `where`: the SQL condition that no row may meet; None if the check
    was not made by `no_row`.
    """

    kind: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    advice: str = "inspect the failing rows before anything downstream uses them"
    label: str = ""
    where: str | None = None

    @property
    def failing(self) -> str | None:
        """The SQL condition that failing rows meet; None if the check is not about single rows.

        The placeholder `{batch}` means the table.
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
        """Whether a table passes the check whenever each part of the table passes it."""
        return self.kind in _BY_ROW

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that must be unique together; empty if the check is not about uniqueness."""
        if self.kind not in _UNIQUE:
            return ()
        return tuple(self.kwargs.get("column_list") or (self.kwargs["column"],))

    @property
    def name(self) -> str:
        """The name of the check, unique within its suite: the columns, then the label or the expectation's name."""
        what = re.sub(r"(?<!^)(?=[A-Z])", "_", self.kind).lower()
        what = re.sub(r"^expect_(column_values|compound_columns|column|table)?_?", "", what)
        columns = self.kwargs.get("column") or "_".join(self.kwargs.get("column_list", ()))
        return "__".join(part for part in (columns, self.label or what) if part)


@dataclass(frozen=True)
class Suite:
    """The checks of one table. `table` is its name in the database that the runner opens."""

    name: str
    table: str
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        """Refuse two checks of the same name.

        Raises:
            ValueError: a name occurs twice.
        """
        names = [c.name for c in self.checks]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"suite {self.name}: two checks are called {', '.join(twice)}")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. It contains counts and the keys of failing rows, but no other value of the data.

    `rows`, `failing_rows`: None if not counted. `error`: why the check could not be evaluated; None if it was.
    `places`: the keys of the first failing rows.
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
    """The results of one suite, in the suite's order. `declared`: the number of checks in the suite."""

    suite: str
    declared: int
    checks: tuple[CheckResult, ...] = field(default=())

    @property
    def blocking_failures(self) -> tuple[CheckResult, ...]:
        """The critical checks that failed."""
        return tuple(c for c in self.checks if not c.passed and c.severity == "critical")


def not_null(column: str) -> Check:
    """Check that every row has a value in this column."""
    return Check("ExpectColumnValuesToNotBeNull", {"column": column})


def unique(*columns: str) -> Check:
    """Check that no two rows have the same values in these columns."""
    if len(columns) == 1:
        return Check("ExpectColumnValuesToBeUnique", {"column": columns[0]})
    return Check("ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def between(
    column: str, low: float | None, high: float | None, severity: Severity = "critical", advice: str | None = None
) -> Check:
    """Check that every value is from `low` to `high`, both inclusive. None means no limit; nulls pass."""
    kwargs = {"column": column, "min_value": low, "max_value": high}
    named = {"advice": advice} if advice else {}
    return Check("ExpectColumnValuesToBeBetween", kwargs, severity, **named)


def one_of(column: str, values: tuple[Any, ...], severity: Severity = "critical", advice: str | None = None) -> Check:
    """Check that every value is one of `values`; nulls pass."""
    named = {"advice": advice} if advice else {}
    return Check("ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)}, severity, **named)


def no_row(label: str, where: str, advice: str, severity: Severity = "critical") -> Check:
    """Check that no row meets the condition `where`. The query returns no column of the data."""
    query = f"select 1 as failing from {{batch}} where {where}"  # noqa: S608
    return Check("UnexpectedRowsExpectation", {"unexpected_rows_query": query}, severity, advice, label, where)


def some_rows(severity: Severity = "critical") -> Check:
    """Check that the table is not empty."""
    return Check(
        "ExpectTableRowCountToBeBetween",
        {"min_value": 1},
        severity,
        advice="check what was ingested: a missing delivery leaves an empty table",
    )
