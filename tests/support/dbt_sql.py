"""The SQL of the dbt project for a given policy.

The project's templates are rendered without dbt and without a warehouse.
"""

import json
import re
from functools import cache
from itertools import chain
from types import SimpleNamespace

import jinja2
import yaml

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import Policy, dbt_vars

DBT = PROJECT_ROOT / "dbt"
_MACRO = re.compile(r"\{%-?\s*macro\s+(\w+).*?endmacro\s*-?%\}", re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*")


class _Returned(Exception):
    """The exception that carries the value of a macro's `return` statement out of the template."""


def _return(value):
    raise _Returned(value)


@cache
def _templates() -> tuple[dict[str, jinja2.Template], dict[str, jinja2.Template]]:
    """Return the project's macros by name, and its models and tests by file name."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)  # noqa: S701
    macros = {
        found[1]: environment.from_string(found[0])
        for path in sorted((DBT / "macros").glob("*.sql"))
        for found in _MACRO.finditer(path.read_text())
    }
    files = sorted(chain((DBT / "models").rglob("*.sql"), (DBT / "tests").glob("*.sql")))
    return macros, {path.name: environment.from_string(path.read_text()) for path in files}


def compiled(policy: Policy) -> dict[str, str]:
    """Return the SQL of every model and test without comments, by file name.

    Other models and sources appear under their plain names. Incremental models are rendered as for a first build.
    """
    return _compiled(json.dumps(dbt_vars(policy), sort_keys=True))


@cache
def _compiled(policy_vars: str) -> dict[str, str]:
    macros, files = _templates()
    values = yaml.safe_load((DBT / "dbt_project.yml").read_text())["vars"] | json.loads(policy_vars)
    names: dict[str, object] = {
        "var": lambda name, *default: values.get(name, *default) if default else values[name],
        "ref": lambda name: name,
        "source": lambda *name: ".".join(name),
        "config": lambda **_: "",
        "return": _return,
        "is_incremental": lambda: False,
        "execute": False,
        "this": "this",
        "adapter": SimpleNamespace(dispatch=lambda name, *_: names[f"default__{name}"]),
        "exceptions": SimpleNamespace(raise_compiler_error=_return),
    }

    def caller(macro):
        def call(*args, **more):
            try:
                return getattr(macro.make_module(names), name_of[macro])(*args, **more)
            except _Returned as returned:
                return returned.args[0]

        return call

    name_of = {macro: name for name, macro in macros.items()}
    names |= {name: caller(macro) for name, macro in macros.items()}
    return {file: _COMMENT.sub("", template.render(names)) for file, template in files.items()}
