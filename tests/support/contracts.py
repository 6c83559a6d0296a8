"""Builds the contracts of small lenders as YAML text, one line per column, so that a test can replace a line.

Also writes a home that holds one such contract and a policy for it. The whole contracts that `docs/your-own-files.md`
points to are written out in `tests/integration/test_generic.py`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dagster_project.home.settings import PROJECT_ROOT

KEY, REQUIRED = "primaryKey: true", "required: true"
IDENTIFIER, PERSONAL, SENSITIVE = (f"classification: {name}" for name in ("identifier", "personal", "sensitive"))


def column(name: str, *more: str, kind: str = "string", origin: str = "") -> str:
    """A column of a file or table; a number is an amount. `origin`: the file's column that it comes from."""
    parts = [f"name: {name}", f"logicalType: {kind}", "description: Column.", *more]
    if kind == "number":
        parts.append('physicalType: "decimal(18,2)"')
    if origin:
        parts.append(f"transformSourceObjects: [{origin}]")
    return "      - {" + ", ".join(parts) + "}"


def constant(name: str, value: str) -> str:
    """A required text column of a table that has the same value in all rows."""
    return column(name, REQUIRED, f"transformLogic: \"'{value}'\"")


def file_layout(name: str, columns: Iterable[str], pattern: str | None = None, **properties: str) -> str:
    """The layout of a kind of file; without a pattern, its files' names begin with its own."""
    return _object(name, "file", columns, filePattern=f"'{pattern or name + '*'}'", **properties)


def table(name: str, event_on: str, columns: Iterable[str], **properties: str) -> str:
    """A canonical table; `event_on`: the file's column with the day on which a row happened."""
    return _object(name, "table", columns, eventOn=event_on, **properties)


def contract(lender: str, known_at_lag_days: int, *objects: str) -> str:
    """The contract of a lender: its file layouts and tables, in euros."""
    head = f"apiVersion: v3.0.2\nkind: DataContract\nid: {lender}\nname: A lender\nversion: 1.0.0\nstatus: active\n"
    properties = _properties(currency="EUR", knownAtLagDays=str(known_at_lag_days))
    return "\n".join((f"{head}customProperties: {properties}\nschema:", *objects))


def policy_for(lender: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The default policy with one source alone."""
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    return policy | {"sources": {lender: dict(entry)}}


def write_home(home: Path, lender: str, contract_text: str, policy: Mapping[str, Any]) -> None:
    """Write a lender's contract and the policy into a home."""
    folder = home / "contracts" / lender
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contract.yaml").write_text(contract_text)
    write_policy(home, policy)


def write_policy(home: Path, policy: Mapping[str, Any]) -> None:
    """Write `policy.yaml` into a home."""
    (home / "policy.yaml").write_text(yaml.safe_dump(dict(policy), sort_keys=False))


def _object(name: str, kind: str, columns: Iterable[str], **properties: str) -> str:
    head = f"  - name: {name}\n    physicalType: {kind}\n    description: {name}.\n"
    return f"{head}    customProperties: {_properties(**properties)}\n    properties:\n" + "\n".join(columns)


def _properties(**properties: str) -> str:
    return "[" + ", ".join(f"{{property: {name}, value: {value}}}" for name, value in properties.items()) + "]"
