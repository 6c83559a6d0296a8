"""Small Markdown tables for the Dagster UI. They contain only figures and the names of columns or groups."""

from collections.abc import Mapping, Sequence

import polars as pl

Cell = str | int | float
_LONGEST_BAR = 24


def markdown(rows: Mapping[str, Cell], *head: str) -> str:
    """Return a Markdown table with one row per name and value.

    `head` contains the titles of the two columns. If it is left out, the titles are empty.
    """
    return table(list(head) or ["", ""], [[name, value] for name, value in rows.items()])


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a Markdown table. Columns that contain only numbers are aligned to the right.

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
    """Return a Markdown table with the count, the share and a bar for each value.

    The rows have the order of `order`. Values that do not occur, or that `order` does not contain, have no row.
    """
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
