"""dbt's source files, made from the contracts: `make sources` writes them, a test holds them equal."""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from dagster_project.ingestion.contracts import LINEAGE, Column, Contract
from dagster_project.ingestion.deliver import load_sources

_NOTE = "# Made from the contract by `make sources`; change the contract, not this file.\n"
_SQL_TYPES: dict[pl.DataType, str] = {
    pl.String(): "string",
    pl.Int32(): "integer",
    pl.Int64(): "bigint",
    pl.Float64(): "double",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    pl.Datetime("us"): "timestamp",
    pl.Decimal(18, 2): "decimal(18,2)",
}


def sources_yaml(contract: Contract) -> str:
    """The text of a source file: every canonical table, its columns, and where its selected files lie."""
    where = f"{{{{ env_var('CREDITLOOM_HOME') }}}}/warehouse/selection/{contract.source}/{{name}}/*.parquet"
    source = {
        "name": contract.source,
        "description": contract.title,
        "config": {"meta": {"external_location": f"read_parquet('{where}')"}},
        "tables": [
            {
                "name": table.name,
                "description": table.description,
                "columns": [_column(c) for c in (*table.columns, *LINEAGE)],
            }
            for table in contract.tables
        ],
    }
    body = yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False, width=120, allow_unicode=True)
    return _NOTE + body


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name, "description": column.description, "data_type": _SQL_TYPES[column.dtype]}


def sources_file(staging: Path, contract: Contract) -> Path:
    """Where the source file of a contract lies."""
    return staging / contract.source / f"_{contract.source}__sources.yml"


if __name__ == "__main__":
    for source in load_sources().values():
        sources_file(Path("dbt/models/staging"), source.contract).write_text(sources_yaml(source.contract))
