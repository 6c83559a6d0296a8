"""The adapter for sources without an adapter module: the contract maps delivered columns to canonical columns.

In a `table` object each property names its origin in `transformSourceObjects` (`layout.column`), or a constant in
`transformLogic` (`'USD'`). The object's custom property `eventOn` names the date column that gives each row's event
day. `knownOn` names the date column with the day on which a row was known, if that is a different column. All columns
of a table come from one layout.
"""

import polars as pl

from dagster_project.ingestion.contracts.canonical import PERSONS
from dagster_project.ingestion.contracts.contract import Contract, ContractError, Table


def adapt(layout: str, delivered: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    """Build the canonical tables that come from one layout.

    `delivered` holds the layout's typed columns and `line_no`.
    """
    return {t.name: _table(t, delivered, contract) for t in contract.tables if t.made_from == layout}


def check_mapping(where: str, contract: Contract) -> None:
    """Refuse a contract without an adapter module if its mapping is incomplete.

    Raises:
        ContractError: a column has no origin, or its origin does not exist; a table comes from several layouts;
            `eventOn` or `knownOn` does not name a date column; a table of persons declares corrections.
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
    """Refuse corrections in a source with an adapter module, because there one line can become many rows.

    Raises:
        ContractError: a table declares corrections.
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
