"""The policy: every threshold of the pipeline, read from one file.

`model`: the values with their bounds and meanings. `file`: reads the file and reports errors with their lines. `keys`:
the path, type and bounds of each key. `page`: writes docs/policy.md. `dbt`: the values that SQL needs.
"""

from dagster_project.policy.dbt import dbt_vars
from dagster_project.policy.file import PolicyError, load_policy, problem_at
from dagster_project.policy.model import Policy

__all__ = ["Policy", "PolicyError", "dbt_vars", "load_policy", "problem_at"]
