"""Dagster's web server and daemon, and MLflow's server.

They run as child processes of one command. When the command ends, or when one of them ends, all of them are stopped.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dagster_project.defs.instance import open_instance, prepare_home
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.night.pipeline import Pipeline
from dagster_project.warehouse.runner import prepare_manifest

_HOST = "127.0.0.1"
_WORKSPACE = ("-w", str(PROJECT_ROOT / "workspace.yaml"))
# Without the parameter, MLflow shows its pages for chats and agents first.
_MLFLOW_PAGE = "/#/experiments?workflowType=machine_learning"
_START_SECONDS = 90
_STOP_SECONDS = 15


def serve(pipeline: Pipeline, dagster_port: int, mlflow_port: int, report: Callable[[str], None]) -> int:
    """Start the three servers, report their addresses, and wait until the user or a failure ends them.

    The wait ends with Ctrl-C, with SIGTERM or SIGHUP, or when one of the servers ends. In each case all servers are
    stopped. If a port is in use, the next free port is used. `report` is called with each line of text for the user.

    Returns:
        The exit code: 0 if the user ended the servers, 1 if a server failed.
    """
    settings = pipeline.settings
    logs = settings.home / "logs"
    children: dict[str, subprocess.Popen[bytes]] = {}
    for ending in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        signal.signal(ending, _interrupt)
    try:
        prepare_home(settings)
        # Create the databases before any server opens them: two servers that create a SQLite file at once can break it.
        with ThreadPoolExecutor(
            1
        ) as background:  # in parallel, because MLflow's import is slow and its database is separate
            upgraded = background.submit(upgrade_mlflow, settings)
            open_instance(settings).dispose()
            prepare_manifest(settings, pipeline.policy)
            upgraded.result()
        environment = os.environ | settings.tool_environment
        logs.mkdir(exist_ok=True)
        ports = free_port(dagster_port), free_port(mlflow_port)
        for name, command in _commands(pipeline, *ports).items():
            with (logs / f"{name.lower().replace(' ', '-')}.log").open("ab") as log:
                children[name] = subprocess.Popen(
                    command,
                    env=environment,
                    cwd=PROJECT_ROOT,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # so that Ctrl-C reaches only this process, which ends the servers
                )
        pages = {"Dagster UI": (ports[0], ""), "MLflow UI": (ports[1], _MLFLOW_PAGE)}
        for name, (port, page) in pages.items():
            address = f"http://{_HOST}:{port}"
            wait_until_up(name, address, children[name])
            report(f"{name:<15} {address}{page}")
        report(f"{'Dagster daemon':<15} running (schedules and sensors)")
        report(f"{'logs':<15} {logs}")
        report("Press Ctrl-C to end all three.")
        while all(child.poll() is None for child in children.values()):
            time.sleep(0.5)
        report(f"{_first_ended(children)} ended unexpectedly; see {logs}")
        return 1
    except KeyboardInterrupt:
        report("Stopping ...")
        return 0
    except ServerError as error:
        report(f"{error}; see {logs}")
        return 1
    finally:
        end(children)


def _commands(pipeline: Pipeline, dagster_port: int, mlflow_port: int) -> dict[str, list[str]]:
    return {
        "Dagster UI": dagster_command(dagster_port),
        "Dagster daemon": [_tool("dagster-daemon"), "run", *_WORKSPACE],
        "MLflow UI": mlflow_command(pipeline.settings, mlflow_port),
    }


def dagster_command(port: int) -> list[str]:
    """Return the command line of Dagster's web server. The home is passed in environment variables."""
    return [_tool("dagster-webserver"), "-h", _HOST, "-p", str(port), *_WORKSPACE]


def mlflow_command(settings: Settings, port: int) -> list[str]:
    """Return the command line of MLflow's server, with the home's database and its folder for artifacts."""
    stores = ["--backend-store-uri", settings.mlflow_uri]
    stores += ["--default-artifact-root", (settings.mlflow / "artifacts").as_uri()]
    return [_tool("mlflow"), "server", "--host", _HOST, "--port", str(port), "--workers", "1", *stores]


def _tool(name: str) -> str:
    """Return the path of an executable in this Python environment, so that the environment need not be on PATH."""
    return str(Path(sys.executable).with_name(name))


class ServerError(RuntimeError):
    """A server could not be started: no port is free, the preparation failed, or the server did not answer."""


def free_port(wanted: int) -> int:
    """Return the port `wanted` if it is free, or the next free port above it.

    Raises:
        ServerError: neither `wanted` nor any of the 99 ports above it is free.
    """
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_HOST, port))
            return port
    raise ServerError(f"no free port between {wanted} and {wanted + 99}")


def upgrade_mlflow(settings: Settings) -> None:
    """Upgrade MLflow's database to the schema of the installed MLflow version.

    Call this before a server opens the database.

    Raises:
        ServerError: the upgrade failed.
    """
    command = [_tool("mlflow"), "db", "upgrade", settings.mlflow_uri]
    environment = os.environ | settings.tool_environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"MLflow's database could not be prepared: {done.stderr.strip() or done.stdout.strip()}")


def wait_until_up(name: str, address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers at its address.

    `name` is used in error messages.

    Raises:
        ServerError: the server process ended, or the server did not answer within 90 seconds.
    """
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise ServerError(f"{name} ended during its start")
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):  # noqa: S310
            return
        time.sleep(0.25)
    raise ServerError(f"{name} did not answer at {address} within {_START_SECONDS} s")


def end(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """End the servers and their child processes.

    Each process group gets SIGTERM first. Groups that do not end within 15 seconds get SIGKILL.
    """
    for child in children.values():
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
    until = time.monotonic() + _STOP_SECONDS
    for child in children.values():
        try:
            child.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _first_ended(children: dict[str, subprocess.Popen[bytes]]) -> str:
    return next(name for name, child in children.items() if child.poll() is not None)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
