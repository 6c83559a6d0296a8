"""Small Markdown tables for the Dagster UI. They hold only figures and the names of columns or groups."""

from collections.abc import Mapping, Sequence

import polars as pl

Cell = str | int | float
_LONGEST_BAR = 24


def markdown(rows: Mapping[str, Cell], *head: str) -> str:
    """A Markdown table with one row per name and value. `head`: the two column titles; empty titles by default."""
    return table(list(head) or ["", ""], [[name, value] for name, value in rows.items()])


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table. Columns of numbers are aligned to the right.

    >>> print(table(["block", "rows"], [["train", 1200]]))
    | block | rows |
    |:--|--:|
    | train | 1,200 |
    """
    numeric = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    lines = [head, ["--:" if n else ":--" for n in numeric], *([_text(cell) for cell in row] for row in rows)]
    rule = 1
    return "\n".join(
        f"|{'|'.join(line)}|" if i == rule else f"| {' | '.join(map(str, line))} |" for i, line in enumerate(lines)
    )


def bars(values: pl.Series, order: Sequence[str]) -> str:
    """A Markdown table with the count and share of each value, in the given order, and a bar for the count."""
    counts = dict(values.value_counts().iter_rows())
    largest = max(counts.values(), default=1)
    rows: list[list[Cell]] = [
        [
            value,
            counts[value],
            f"{counts[value] / len(values):.1%}",
            "█" * round(counts[value] / largest * _LONGEST_BAR),
        ]
        for value in order
        if value in counts
    ]
    return table([values.name, "count", "share", ""], rows)


def _text(cell: Cell) -> str:
    if isinstance(cell, bool | str):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.6g}"
