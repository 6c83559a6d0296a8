"""The adapter for sources without an adapter module: it maps delivered to canonical columns as the contract states.

In a `table` object of the contract, each property states where its values come from. This is either a delivered column
(`layout.column` in `transformSourceObjects`) or a constant (such as `'USD'` in `transformLogic`). All columns of a
table come from the same layout.

Two custom properties of the object name date columns of this layout. `eventOn` names the column with the day of the
event. `knownOn` names the column with the day on which the row was known, if that is a different column. The contract's
lag is added to the day in `knownOn`, or to the day in `eventOn` if `knownOn` is missing.
"""

import polars as pl

from dagster_project.ingestion.contracts.canonical import PERSONS
from dagster_project.ingestion.contracts.contract import Contract, ContractError, Table


def adapt(layout: str, delivered: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    """Build the canonical tables that are made from one layout.

    `delivered` has the typed columns of the layout, and `line_no`. Returns the tables by name.
    """
    return {t.name: _table(t, delivered, contract) for t in contract.tables if t.made_from == layout}


def check_mapping(where: str, contract: Contract) -> None:
    """Check that the contract of a source without an adapter module maps all columns.

    `where` is the path of the contract, for error messages.

    Raises:
        ContractError: at least one of these is true:
            - A column has neither an origin nor a constant, or its origin does not exist.
            - The columns of a table come from several layouts, or from none.
            - `eventOn` or `knownOn` does not name a date column of the layout.
            - A table of persons allows corrections.
    """
    layouts = {layout.name: layout for layout in contract.layouts}
    for table in contract.tables:
        at = f"{where}: {table.name}"
        if table.made_from not in layouts:
            raise ContractError(f"{at}: its columns must come from one of the layouts {sorted(layouts)}")
        schema = layouts[table.made_from].schema
        if table.event_on not in schema or schema[table.event_on] != pl.Date:
            raise ContractError(f"{at}: eventOn must name a date column of {table.made_from}")
        if table.corrections and table.name in PERSONS:
            raise ContractError(f"{at}: a table of persons keeps each person's first row; it cannot have corrections")
        if table.known_on is not None and schema.get(table.known_on) != pl.Date:
            raise ContractError(f"{at}: knownOn must name a date column of {table.made_from}")
        for column in table.columns:
            if column.origin is None and column.constant is None:
                raise ContractError(f"{at}.{column.name}: name its origin (transformSourceObjects) or a constant")
            if column.origin is not None and column.origin not in schema:
                raise ContractError(f"{at}.{column.name}: {table.made_from} has no column {column.origin!r}")


def refuse_corrections(where: str, contract: Contract) -> None:
    """Check that the contract of a source with an adapter module does not allow corrections.

    With an adapter module, one line can become many rows, so corrections are not supported. `where` is the path of the
    contract, for error messages.

    Raises:
        ContractError: a table allows corrections.
    """
    for table in contract.tables:
        if table.corrections:
            raise ContractError(f"{where}: {table.name}: corrections are for sources without an adapter")


def _table(table: Table, delivered: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    columns = [
        pl.lit(c.constant, dtype=c.dtype).alias(c.name)
        if c.origin is None
        else pl.col(c.origin).cast(c.dtype).alias(c.name)
        for c in table.columns
    ]
    event = pl.col(str(table.event_on))
    known_on = pl.col(str(table.known_on or table.event_on)) + pl.duration(days=contract.known_at_lag_days)
    return delivered.select(*columns, "line_no", event.alias("event_on"), known_on.alias("known_at"))
