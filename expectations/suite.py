"""Suites and their results as frozen values."""

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
    "ExpectTableRowCountToBeBetween",  # as `some_rows` uses it: a table with a non-empty part is not empty
)


@dataclass(frozen=True)
class Check:
    """One expectation: the name of its Great Expectations class, its arguments, and what to do when it fails.

    A failed `critical` check stops the night; a failed `warning` is only shown. `where`: the condition that no row may
    meet, for a check by `no_row`.
    """

    kind: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    advice: str = "inspect the failing rows before anything downstream uses them"
    label: str = ""
    where: str | None = None

    @property
    def failing(self) -> str | None:
        """The SQL condition of the failing rows, over `{batch}`; None if the check is not about single rows."""
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
        """Whether it holds for a table if it holds for each part of the table."""
        return self.kind in _BY_ROW

    @property
    def key(self) -> tuple[str, ...]:
        """The columns in which no two rows may agree; empty if the check is not about uniqueness."""
        if self.kind not in _UNIQUE:
            return ()
        return tuple(self.kwargs.get("column_list") or (self.kwargs["column"],))

    @property
    def name(self) -> str:
        """Unique within its suite: the column or label, then the expectation."""
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
    """The outcome of one check: counts, and the places of the first failing rows; no other value of the data."""

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
    """All outcomes of one suite, in the suite's order."""

    suite: str
    declared: int
    checks: tuple[CheckResult, ...] = field(default=())

    @property
    def blocking_failures(self) -> tuple[CheckResult, ...]:
        """The critical checks that failed."""
        return tuple(c for c in self.checks if not c.passed and c.severity == "critical")


def not_null(column: str) -> Check:
    """Every row has a value."""
    return Check("ExpectColumnValuesToNotBeNull", {"column": column})


def unique(*columns: str) -> Check:
    """No two rows agree in these columns."""
    if len(columns) == 1:
        return Check("ExpectColumnValuesToBeUnique", {"column": columns[0]})
    return Check("ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def between(
    column: str, low: float | None, high: float | None, severity: Severity = "critical", advice: str | None = None
) -> Check:
    """Every value lies in the closed range; nulls pass."""
    kwargs = {"column": column, "min_value": low, "max_value": high}
    named = {"advice": advice} if advice else {}
    return Check("ExpectColumnValuesToBeBetween", kwargs, severity, **named)


def one_of(column: str, values: tuple[Any, ...], severity: Severity = "critical", advice: str | None = None) -> Check:
    """Every value is one of these; nulls pass."""
    named = {"advice": advice} if advice else {}
    return Check("ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)}, severity, **named)


def no_row(label: str, where: str, advice: str, severity: Severity = "critical") -> Check:
    """No row meets the condition; the query returns no column of the data."""
    query = f"select 1 as failing from {{batch}} where {where}"  # noqa: S608
    return Check("UnexpectedRowsExpectation", {"unexpected_rows_query": query}, severity, advice, label, where)


def some_rows(severity: Severity = "critical") -> Check:
    """The table is not empty."""
    return Check(
        "ExpectTableRowCountToBeBetween",
        {"min_value": 1},
        severity,
        advice="check what was ingested: a missing delivery leaves an empty table",
    )
