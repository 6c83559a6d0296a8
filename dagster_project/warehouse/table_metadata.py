"""Functions that read the columns, row counts and column lineage of the warehouse's tables for the Dagster UI.

They read the warehouse and dbt's compiled SQL after dbt has closed the warehouse file. Dagster's own method works
through dbt's adapter. It takes twenty times as long, and it keeps the warehouse file open in this process, so that the
checks could not open it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.home.settings import Settings
from dagster_project.warehouse.runner import manifest_file

# (name of a model or lake table, name of a column)
ColumnOf = tuple[str, str]
# Columns that staging models rename: name in staging -> name in the lake.
_LAKE_NAMES = {"known_on": "known_at"}
# schema -> table -> column -> type, as sqlglot expects it.
Schema = dict[str, Any]


@dataclass(frozen=True)
class TableMetadata:
    """The metadata of the table or view that a dbt model creates.

    Attributes:
        rows: the number of rows, or None for a view.
        columns: the name and the type of each column.
        descriptions: the descriptions of columns, by the name of the column.
        made_from: the columns of other tables from which each column is derived, by the name of the column.
    """

    rows: int | None
    columns: tuple[tuple[str, str], ...]
    descriptions: Mapping[str, str]
    made_from: Mapping[str, tuple[ColumnOf, ...]]


def read_table_metadata(settings: Settings) -> dict[str, TableMetadata]:
    """Return the metadata of all dbt models in the warehouse, by the name of the model.

    Models that are not in the warehouse, or that dbt has not compiled, are left out.
    """
    from sqlglot.schema import ensure_schema

    manifest = json.loads(manifest_file(settings).read_text())
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    schema, rows = _read(settings.warehouse_file)
    loaded_schema = ensure_schema(
        schema, dialect="duckdb"
    )  # converted once here; otherwise each query would convert it
    found = {}
    for node in models:
        columns = schema.get(node["schema"], {}).get(node["alias"])
        compiled = settings.dbt_target / "compiled" / manifest["metadata"]["project_name"] / node["original_file_path"]
        if columns is None or not compiled.exists():
            continue
        found[node["name"]] = TableMetadata(
            rows.get((node["schema"], node["alias"])),
            tuple(columns.items()),
            {name: column["description"] for name, column in node["columns"].items()},
            _made_from(compiled, columns, loaded_schema, _lake_tables(node, manifest)),
        )
    return found


def _read(warehouse: Path) -> tuple[Schema, dict[tuple[str, str], int]]:
    """Return the types of all columns in the warehouse, and the number of rows of each table.

    The types are nested by schema, table or view, and column. The row counts are keyed by (schema, table).
    """
    schema: Schema = {}
    with duckdb.connect(str(warehouse), read_only=True) as db:
        columns = "select table_schema, table_name, column_name, data_type from information_schema.columns"
        for where, table, name, kind in db.sql(f"{columns} order by ordinal_position").fetchall():
            schema.setdefault(where, {}).setdefault(table, {})[name] = kind.lower()
        tables = db.sql("select schema_name, table_name from duckdb_tables() where not internal").fetchall()
        counted = {(s, t): db.sql(f'select count(*) from "{s}"."{t}"').fetchall()[0][0] for s, t in tables}  # noqa: S608
    return schema, counted


def _lake_tables(node: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the lake tables that a staging model reads, or an empty list for models of other layers."""
    if node["schema"] != "staging":
        return []
    return [manifest["sources"][p]["name"] for p in node["depends_on"]["nodes"] if p in manifest["sources"]]


def _made_from(
    compiled: Path, columns: Mapping[str, str], schema: Any, lake: list[str]
) -> dict[str, tuple[ColumnOf, ...]]:
    if lake:  # a staging model reads one lake table and keeps nearly all of its column names
        return {name: ((lake[0], _LAKE_NAMES.get(name, name)),) for name in columns}
    import sqlglot
    from sqlglot import exp
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    parsed = sqlglot.parse_one(compiled.read_text(), dialect="duckdb")
    for table in parsed.find_all(exp.Table):
        table.set("catalog", None)  # remove the database's name, which `schema` does not contain
    qualified = qualify(parsed, schema=schema, dialect="duckdb", validate_qualify_columns=False, identify=False)
    nodes = lineage(
        None, qualified, schema, dialect="duckdb", scope=build_scope(qualified), trim_selects=False, copy=False
    )
    return {name: _parents(nodes[name], exp.Table) for name in columns}


def _parents(node: Any, table: type) -> tuple[ColumnOf, ...]:
    """Return the table columns from which a column is ultimately derived, as sorted pairs of table and column.

    `node` is the column's node in sqlglot's lineage graph, and `table` is sqlglot's class for tables.
    """
    leaves = (n for n in node.walk() if isinstance(n.source, table))
    return tuple(sorted({(n.source.name, n.name.split(".")[-1]) for n in leaves}))
