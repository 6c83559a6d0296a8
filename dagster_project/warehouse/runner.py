"""Functions that run dbt with the variables from the policy, and that read its manifest and results."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dagster_project.home.files import replace_text
from dagster_project.home.settings import Settings
from dagster_project.policy import Policy, dbt_vars
from dagster_project.snapshots.fingerprint import values_fingerprint
from dagster_project.warehouse.early_dbt import dbt_started, parsed_early, run_early

_PARSE = ("parse", "--quiet")


class DbtError(RuntimeError):
    """Raised if dbt failed. The message contains dbt's output."""


def dbt_executable() -> str:
    """Return the path of the `dbt` command in this Python environment, which need not be on the PATH."""
    return str(Path(sys.executable).with_name("dbt"))


def arguments(settings: Settings, policy: Policy, command: Sequence[str], **more_vars: object) -> list[str]:
    """Return the arguments with which dbt must be called to run a command.

    They consist of `command`, the folders of the project and the profiles, and the variables.

    Args:
        settings: the settings, which contain the folder of the dbt project.
        policy: the policy from which the variables are taken.
        command: the dbt command with its own arguments, such as `["build", "--full-refresh"]`.
        more_vars: further variables, which replace variables of the policy with the same name.
    """
    values = json.dumps(dbt_vars(policy) | more_vars, sort_keys=True)
    project = str(settings.dbt_project)
    return [*command, "--project-dir", project, "--profiles-dir", project, "--vars", values]


def run_dbt(
    settings: Settings, policy: Policy, command: Sequence[str], *, quiet: bool = False, **more_vars: object
) -> subprocess.CompletedProcess[str]:
    """Run dbt in a separate process and return the completed process. A failed dbt command raises no error.

    If `quiet` is true, the output is captured in the result. Otherwise it is printed. For `command` and `more_vars`,
    see `arguments`.
    """
    line = [dbt_executable(), *arguments(settings, policy, command, **more_vars)]
    return subprocess.run(line, env=_environment(settings), capture_output=quiet, text=True, check=False)


def _environment(settings: Settings) -> dict[str, str]:
    return os.environ | settings.tool_environment | dbt_environment(settings)


def dbt_starting(settings: Settings, policy: Policy) -> AbstractContextManager[None]:
    """Start a dbt process that `prepare_manifest` and `early_build` then use; see `early_dbt`."""
    _make_folders(settings)
    parse = arguments(settings, policy, _PARSE)
    return dbt_started(settings, parse, _environment(settings), project_fingerprint(settings, policy))


def early_build(settings: Settings, policy: Policy, command: Sequence[str]) -> "subprocess.Popen[bytes] | None":
    """Let the dbt process that was started early run a command as Dagster runs it. None if there is no such process.

    Dagster reads dbt's events from the output as JSON.
    """
    environment = dbt_environment(settings) | {"DBT_LOG_FORMAT": "json", "DAGSTER_DBT_CLI": "true"}
    return run_early(settings, project_fingerprint(settings, policy), command, environment)


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that determine where dbt writes its manifest and its logs."""
    return {"DBT_TARGET_PATH": str(settings.dbt_target), "DBT_LOG_PATH": str(settings.dbt_target / "logs")}


def prepare_manifest(settings: Settings, policy: Policy) -> Path:
    """Return the path of an up-to-date manifest of the dbt project.

    dbt parses the project only if one of its files or a variable from the policy has changed since the last call. The
    file is a copy of the manifest that dbt wrote. A copy is needed because every dbt command writes the manifest again,
    and leaves an incomplete file if the disk is full.

    Raises:
        DbtError: dbt cannot parse the project.
    """
    manifest = manifest_file(settings)
    mark = settings.dbt_target / "prepared.txt"
    state = project_fingerprint(settings, policy)
    if manifest.exists() and mark.exists() and mark.read_text() == state:
        return manifest
    _make_folders(settings)
    error = parsed_early(settings, state)
    if error is None:
        done = run_dbt(settings, policy, _PARSE, quiet=True)
        error = f"{done.stdout}{done.stderr}" if done.returncode else ""
    if error:
        raise DbtError(f"dbt cannot parse {settings.dbt_project}:\n{error}")
    written = (settings.dbt_target / "manifest.json").read_text()
    json.loads(written)  # raises an error if another dbt process is writing the manifest
    replace_text(manifest, written)
    replace_text(mark, state)
    return manifest


def _make_folders(settings: Settings) -> None:
    settings.dbt_target.mkdir(parents=True, exist_ok=True)
    settings.warehouse.mkdir(parents=True, exist_ok=True)


def manifest_file(settings: Settings) -> Path:
    """Return the path of the manifest that `prepare_manifest` writes."""
    return settings.dbt_target / "prepared_manifest.json"


def project_fingerprint(settings: Settings, policy: Policy) -> str:
    """Return the sha256 of everything that determines the manifest: the files of the dbt project and its variables."""
    endings = {".sql", ".yml"}
    files = sorted(p for p in settings.dbt_project.rglob("*") if p.suffix in endings)
    contents = {str(p.relative_to(settings.dbt_project)): p.read_text() for p in files}
    return values_fingerprint({"files": contents, "vars": dbt_vars(policy)})


def published_models(manifest: Path) -> dict[str, tuple[str, list[str]]]:
    """Return the dbt models to publish, by name.

    Each value is a pair. It consists of the name of the model's table with its schema, such as `marts.dim_loans`, and
    the columns by which the published rows are sorted.
    """
    nodes: Iterable[dict[str, Any]] = json.loads(manifest.read_text())["nodes"].values()
    found = {}
    for node in nodes:
        keys = node.get("config", {}).get("meta", {}).get("publish_sorted_by")
        if node["resource_type"] == "model" and keys:
            found[node["name"]] = (f"{node['schema']}.{node['alias']}", list(keys))
    return found


def declared_tests(manifest: Path) -> set[str]:
    """Return the unique ids of all data tests in the dbt project."""
    nodes = json.loads(manifest.read_text())["nodes"]
    return {name for name, node in nodes.items() if node["resource_type"] == "test"}


def failed_tests(settings: Settings) -> dict[str, str]:
    """Return the data tests that failed in dbt's last run.

    The keys are the names of the tests. The values are texts with the number of failing rows and the names of the
    tested models.
    """
    results = json.loads((settings.dbt_target / "run_results.json").read_text())["results"]
    nodes = json.loads(manifest_file(settings).read_text())["nodes"]
    failed = [r for r in results if r["unique_id"].startswith("test.") and r["status"] in ("fail", "error")]
    return {
        nodes[r["unique_id"]]["name"]: f"{r['failures'] or 'some'} rows of "
        + ", ".join(sorted(nodes[p]["name"] for p in nodes[r["unique_id"]]["depends_on"]["nodes"] if p in nodes))
        for r in failed
    }


def test_verdicts(settings: Settings) -> dict[str, str]:
    """Return the status of each data test in dbt's last run, by the unique id of the test.

    The status is `pass`, `warn`, `fail`, `error` or `skipped`.
    """
    results = json.loads((settings.dbt_target / "run_results.json").read_text())["results"]
    return {r["unique_id"]: r["status"] for r in results if r["unique_id"].startswith("test.")}
