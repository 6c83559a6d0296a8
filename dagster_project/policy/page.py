"""The writer of docs/policy.md, which lists every key of the policy with its meaning, allowed values and default.

`make policy-page` runs this module.
"""

from collections.abc import Iterator, Mapping
from inspect import getdoc
from pathlib import Path
from typing import Any

import yaml

from dagster_project.policy.keys import ANY, Key, keys

PAGE, DEFAULTS = Path("docs/policy.md"), Path("policy/default.yaml")
_LONG = 100  # most characters of a default on the page; for a longer one the page refers to the file
_TOP = f"""# The policy file

Every threshold of the pipeline is in one file, `{DEFAULTS}`; `CREDITLOOM_POLICY` names another one. The file is
checked when it is read. All errors are reported together, each as `file:line: key: what is wrong; what is allowed`: a
value of another type or out of its bounds, two values in the wrong order, a key that is missing, unknown (with the
nearest known name) or given twice.

`make policy-page` writes this page from the model that reads the file. `{ANY}` stands for a name that the file chooses.
A key with a default in brackets may be left out.
"""
_HEADER = "| key | meaning | allowed | in the default policy |\n|---|---|---|---|\n"


def page(defaults: Mapping[str, Any]) -> str:
    """Return the text of docs/policy.md.

    Args:
        defaults: the content of the default policy file, as returned by `yaml.safe_load`.
    """
    parts = [_TOP]
    top_values = [key for key in keys() if len(key.path) == 1 and key.is_value]
    parts.append(_HEADER + "".join(_rows(top_values, defaults)))
    for top in (key for key in keys() if len(key.path) == 1 and not key.is_value):
        inner = [key for key in keys() if key.path[0] == top.path[0] and len(key.path) > 1]
        parts.append(f"## `{top.dotted}`\n\n{_meaning(top)}\n")
        parts.append(_HEADER + "".join(_rows(inner, defaults)))
    return "\n".join(parts)


def _rows(chosen: list[Key], defaults: Mapping[str, Any]) -> Iterator[str]:
    for key in chosen:
        if key.is_value:
            yield f"| `{key.dotted}` | {_meaning(key)} | {key.allowed()} | {_default(key, defaults)} |\n"
        elif key.path[-1] != ANY:
            yield f"| `{key.dotted}` | {_meaning(key)} | | |\n"


def _meaning(key: Key) -> str:
    """Return the description of a key for the column `meaning`.

    A section without a description is described by the first paragraph of its class's docstring.
    """
    if key.field.description or key.path[-1] == ANY:
        return key.field.description or "See above."
    section = getdoc(key.section) if key.section else None
    return section.split("\n\n")[0].replace("\n", " ") if section else ""


def _default(key: Key, defaults: Mapping[str, Any]) -> str:
    found = list(_values(key.path, defaults))
    shown = ", ".join(f"{name} {_text(value)}" if name else _text(value) for name, value in found)
    if len(shown) > _LONG:
        shown = "see the file"
    if key.field.is_required():
        return shown
    left_out = "none" if key.field.default is None else str(key.field.default)
    return f"{shown} ({left_out})".strip()


def _values(path: tuple[str, ...], values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) for each value at a path in the policy.

    The path can contain `ANY` for a name that the file chooses. Then there is one value per name, and `name` is the
    chosen name. Otherwise there is at most one value, and `name` is empty.
    """
    if not path:
        yield name, values
    elif path[0] == ANY:
        for chosen, inner in values.items():
            yield from _values(path[1:], inner, chosen)
    elif path[0] in values:
        yield from _values(path[1:], values[path[0]], name)


def _text(value: Any) -> str:
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))), encoding="utf-8")
