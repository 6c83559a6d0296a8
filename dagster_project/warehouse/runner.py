"""Run dbt with the policy's variables, and read its manifest and results."""

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
    """dbt failed. The message is dbt's own."""


def dbt_executable() -> str:
    """The path of the `dbt` of this Python environment. It need not be on PATH."""
    return str(Path(sys.executable).with_name("dbt"))


def arguments(settings: Settings, policy: Policy, command: Sequence[str], **more_vars: object) -> list[str]:
    """The arguments of a dbt command: the command, project, profiles folder and variables (`more_vars` added)."""
    values = json.dumps(dbt_vars(policy) | more_vars, sort_keys=True)
    project = str(settings.dbt_project)
    return [*command, "--project-dir", project, "--profiles-dir", project, "--vars", values]


def run_dbt(
    settings: Settings, policy: Policy, command: Sequence[str], *, quiet: bool = False, **more_vars: object
) -> subprocess.CompletedProcess[str]:
    """Run dbt in its own process. `quiet`: capture its output instead of printing it."""
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
    """The environment variables that set where dbt writes its manifest and logs."""
    return {"DBT_TARGET_PATH": str(settings.dbt_target), "DBT_LOG_PATH": str(settings.dbt_target / "logs")}


def prepare_manifest(settings: Settings, policy: Policy) -> Path:
    """The path of the project's current manifest. dbt parses the project only if a file or a policy value has changed.

    The manifest is a copy, because dbt rewrites its own with every command, and truncates it if the disk is full.

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
    """The path to which `prepare_manifest` writes the manifest."""
    return settings.dbt_target / "prepared_manifest.json"


def project_fingerprint(settings: Settings, policy: Policy) -> str:
    """The sha256 of everything that the manifest depends on: dbt's files and variables."""
    endings = {".sql", ".yml"}
    files = sorted(p for p in settings.dbt_project.rglob("*") if p.suffix in endings)
    contents = {str(p.relative_to(settings.dbt_project)): p.read_text() for p in files}
    return values_fingerprint({"files": contents, "vars": dbt_vars(policy)})


def published_models(manifest: Path) -> dict[str, tuple[str, list[str]]]:
    """The published models: name -> (schema-qualified relation, columns to sort by)."""
    nodes: Iterable[dict[str, Any]] = json.loads(manifest.read_text())["nodes"].values()
    found = {}
    for node in nodes:
        keys = node.get("config", {}).get("meta", {}).get("publish_sorted_by")
        if node["resource_type"] == "model" and keys:
            found[node["name"]] = (f"{node['schema']}.{node['alias']}", list(keys))
    return found


def declared_tests(manifest: Path) -> set[str]:
    """The unique ids of all data tests of the dbt project."""
    nodes = json.loads(manifest.read_text())["nodes"]
    return {name for name, node in nodes.items() if node["resource_type"] == "test"}


def failed_tests(settings: Settings) -> dict[str, str]:
    """The data tests that failed in dbt's last build: name -> text with the number of failing rows and the models."""
    results = json.loads((settings.dbt_target / "run_results.json").read_text())["results"]
    nodes = json.loads(manifest_file(settings).read_text())["nodes"]
    failed = [r for r in results if r["unique_id"].startswith("test.") and r["status"] in ("fail", "error")]
    return {
        nodes[r["unique_id"]]["name"]: f"{r['failures'] or 'some'} rows of "
        + ", ".join(sorted(nodes[p]["name"] for p in nodes[r["unique_id"]]["depends_on"]["nodes"] if p in nodes))
        for r in failed
    }


def test_verdicts(settings: Settings) -> dict[str, str]:
    """The data tests of dbt's last build: unique id -> status (pass, warn, fail, error or skipped)."""
    results = json.loads((settings.dbt_target / "run_results.json").read_text())["results"]
    return {r["unique_id"]: r["status"] for r in results if r["unique_id"].startswith("test.")}
