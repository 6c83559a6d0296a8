"""dbt's source file, made from the canonical tables: `make sources` writes it, a test holds it equal."""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from dagster_project.ingestion.canonical import CANONICAL, DESCRIPTIONS, LINEAGE, MONEY, RATE, SUPERSEDED

SOURCE, CHANGED = "lake", "lake_changed"
# The tables that the warehouse appends to, and those that loan months are made of: dbt reads their changed files.
CHANGED_TABLES = ("loans", "schedules", "payments", "statements", "loan_events", "client_money", SUPERSEDED)
SOURCES_FILE = Path("_lake__sources.yml")
_NOTE = "# Made from the canonical tables by `make sources`; change those, not this file.\n"
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
    """The text of the source file: every canonical table, its columns, and where its selected files lie."""
    lake = {
        "name": SOURCE,
        "description": "What the receipts name: the accepted rows of every source in the canonical shape.",
        "config": _files_in("selection"),
        "tables": [
            {"name": table, "description": DESCRIPTIONS[table], "columns": _columns(columns)}
            for table, columns in CANONICAL.items()
        ],
    }
    changed = {
        "name": CHANGED,
        "description": "The rows of the lake that the build before did not have.",
        "config": _files_in("changed_files"),
        "tables": [{"name": table, "description": DESCRIPTIONS[table]} for table in CHANGED_TABLES],
    }
    return _NOTE + yaml.safe_dump({"version": 2, "sources": [lake, changed]}, sort_keys=False, width=120)


def _files_in(folder: str) -> dict[str, Any]:
    where = f"{{{{ env_var('CREDITLOOM_HOME') }}}}/warehouse/{folder}/*/{{name}}/*.parquet"
    return {"meta": {"external_location": f"read_parquet('{where}')"}}


def _columns(columns: dict[str, tuple[pl.DataType, str]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "description": text, "data_type": _SQL_TYPES[dtype]}
        for name, (dtype, text) in (columns | LINEAGE).items()
    ]


if __name__ == "__main__":
    (Path("dbt/models/staging") / SOURCES_FILE).write_text(sources_yaml())
