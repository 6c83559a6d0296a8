"""Code that generates the YAML file with the declarations of dbt's sources from the canonical tables.

`make sources` writes the file. A test checks that the file agrees with the canonical tables.
"""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from dagster_project.ingestion.contracts.canonical import (
    CANONICAL,
    DESCRIPTIONS,
    LINEAGE,
    MONEY,
    RATE,
    SUPERSEDED,
)

SOURCE, CHANGED_FILES = "lake", "lake_changed"
# The tables whose new rows an incremental build reads: tables that the warehouse appends to, and the inputs of loan
# months.
INCREMENTAL_TABLES = ("loans", "schedules", "payments", "statements", "loan_events", "client_money", SUPERSEDED)
SOURCES_FILE = Path("_lake__sources.yml")
_NOTE = "# Generated from the canonical tables by `make sources`; edit those, not this file.\n"
_SQL_TYPES: dict[pl.DataType, str] = {
    pl.String(): "string",
    pl.Int32(): "integer",
    pl.Int64(): "bigint",
    pl.Date(): "date",
    pl.Datetime("us"): "timestamp",
    MONEY: "decimal(18,2)",
    RATE: "decimal(9,6)",
}


def sources_yaml() -> str:
    """Return the YAML text of the file that declares dbt's sources.

    The source `lake` has every canonical table with its columns. The source `lake_changed` has the tables from which an
    incremental build reads only new rows, which are in the lake files that the previous build did not read. Each source
    also has the path of its files.
    """
    lake = {
        "name": SOURCE,
        "description": "The accepted rows of every source, in canonical tables: the lake files that receipts name.",
        "config": _files_in("selection"),
        "tables": [
            {"name": table, "description": DESCRIPTIONS[table], "columns": _columns(columns)}
            for table, columns in CANONICAL.items()
        ],
    }
    changed = {
        "name": CHANGED_FILES,
        "description": "The rows of the lake files that the previous build did not have.",
        "config": _files_in("changed_files"),
        "tables": [{"name": table, "description": DESCRIPTIONS[table]} for table in INCREMENTAL_TABLES],
    }
    return _NOTE + yaml.safe_dump({"version": 2, "sources": [lake, changed]}, sort_keys=False, width=120)


def _files_in(folder: str) -> dict[str, Any]:
    path = f"{{{{ env_var('CREDITLOOM_HOME') }}}}/warehouse/{folder}/*/{{name}}/*.parquet"
    return {"meta": {"external_location": f"read_parquet('{path}')"}}


def _columns(columns: dict[str, tuple[pl.DataType, str]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "description": description, "data_type": _SQL_TYPES[dtype]}
        for name, (dtype, description) in (columns | LINEAGE).items()
    ]


if __name__ == "__main__":
    (Path("dbt/models/staging") / SOURCES_FILE).write_text(sources_yaml())
