"""The names that sqlfluff renders dbt's SQL with, beside its stand-ins for dbt: variables, and dispatch.

Every public name here is a name in the templates. The variables are those of the default policy, so that the linted SQL
is the SQL that runs.
"""

from collections.abc import Callable
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import dbt_vars, load_policy

_VARS = dbt_vars(load_policy(PROJECT_ROOT / "policy/default.yaml")) | {"known_as_of": "9999-12-31 00:00:00"}

execute = False  # as while dbt parses: no macro looks at relations of the warehouse


def var(name: str, default: object = None) -> Any:
    """A variable of the project, or of the policy."""
    return _VARS.get(name, default)


class _Adapter:
    @pass_context
    def dispatch(self, context: Context, name: str) -> Callable[..., str]:
        """The macro of this name for DuckDB, which is the default one."""
        found: Callable[..., str] = context.resolve(f"default__{name}")
        return found


adapter = _Adapter()
