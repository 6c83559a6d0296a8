"""Helpers that build contracts of small lenders as YAML text.

Each column is one line of the text, so that a test can replace it. Other helpers write a home with such a contract and
its policy. The complete contracts that `docs/your-own-files.md` links to are in `tests/integration/test_generic.py`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dagster_project.home.settings import PROJECT_ROOT

KEY, REQUIRED = "primaryKey: true", "required: true"
IDENTIFIER, PERSONAL, SENSITIVE = (f"classification: {name}" for name in ("identifier", "personal", "sensitive"))


def column(name: str, *more: str, kind: str = "string", origin: str = "") -> str:
    """Return the YAML line of a column of a file or a table.

    Columns of kind `number` are amounts with two decimal places. `origin` is the file's column that a table's column is
    taken from. `more` contains further properties as YAML text.
    """
    parts = [f"name: {name}", f"logicalType: {kind}", "description: Column.", *more]
    if kind == "number":
        parts.append('physicalType: "decimal(18,2)"')
    if origin:
        parts.append(f"transformSourceObjects: [{origin}]")
    return "      - {" + ", ".join(parts) + "}"


def constant(name: str, value: str) -> str:
    """Return the YAML line of a required text column that has the same value in all rows of a table."""
    return column(name, REQUIRED, f"transformLogic: \"'{value}'\"")


def file_layout(name: str, columns: Iterable[str], pattern: str | None = None, **properties: str) -> str:
    """Return the YAML text for the layout of one kind of file.

    `pattern` is the pattern of the file names. Without it, the file names must begin with `name`.
    """
    return _object(name, "file", columns, filePattern=f"'{pattern or name + '*'}'", **properties)


def table(name: str, event_on: str, columns: Iterable[str], **properties: str) -> str:
    """Return the YAML text for a canonical table.

    `event_on` is the column of the file that contains the date of each row's event.
    """
    return _object(name, "table", columns, eventOn=event_on, **properties)


def contract(lender: str, known_at_lag_days: int, *objects: str) -> str:
    """Return the YAML text of a lender's contract in euros. `objects` are the texts of its file layouts and tables."""
    head = f"apiVersion: v3.0.2\nkind: DataContract\nid: {lender}\nname: A lender\nversion: 1.0.0\nstatus: active\n"
    properties = _properties(currency="EUR", knownAtLagDays=str(known_at_lag_days))
    return "\n".join((f"{head}customProperties: {properties}\nschema:", *objects))


def policy_for(lender: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default policy with `lender` as its only source. `entry` contains the settings of this source."""
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    return policy | {"sources": {lender: dict(entry)}}


def write_home(home: Path, lender: str, contract_text: str, policy: Mapping[str, Any]) -> None:
    """Write a lender's contract and a policy into a home."""
    folder = home / "contracts" / lender
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contract.yaml").write_text(contract_text)
    write_policy(home, policy)


def write_policy(home: Path, policy: Mapping[str, Any]) -> None:
    """Write a policy into a home as `policy.yaml`."""
    (home / "policy.yaml").write_text(yaml.safe_dump(dict(policy), sort_keys=False))


def _object(name: str, kind: str, columns: Iterable[str], **properties: str) -> str:
    head = f"  - name: {name}\n    physicalType: {kind}\n    description: {name}.\n"
    return f"{head}    customProperties: {_properties(**properties)}\n    properties:\n" + "\n".join(columns)


def _properties(**properties: str) -> str:
    return "[" + ", ".join(f"{{property: {name}, value: {value}}}" for name, value in properties.items()) + "]"
