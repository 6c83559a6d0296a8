"""The policy, which contains every threshold of the pipeline and is read from one file.

- `model` defines the values, with their bounds and meanings.
- `file` reads the policy file and reports errors with their line numbers.
- `keys` lists the path, type and bounds of each key.
- `page` writes docs/policy.md.
- `dbt` selects the values that SQL needs.
"""

from dagster_project.policy.dbt import dbt_vars
from dagster_project.policy.file import PolicyError, load_policy, problem_at
from dagster_project.policy.model import Policy

__all__ = ["Policy", "PolicyError", "dbt_vars", "load_policy", "problem_at"]
