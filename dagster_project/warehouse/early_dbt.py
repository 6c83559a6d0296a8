"""Starts dbt at the beginning of a night: it is imported and has parsed the project when the night needs it.

A night needs dbt twice: it reads the manifest before its first step, and builds the warehouse later. Two processes
would each import dbt and parse the project, while this one waits. `dbt_started` starts one process (`dbt_worker`) for
both. Outside of its `with` statement, the functions here return None, and the caller runs dbt by itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dagster_project.home.settings import Settings


@dataclass
class _Worker:
    """A process that parses, and waits for its command. `state`: fingerprint of what it parses."""

    process: subprocess.Popen[bytes]
    report: TextIO
    state: str


_workers: dict[Path, _Worker] = {}  # by the folder that dbt writes to


@contextmanager
def dbt_started(settings: Settings, parse: Sequence[str], environment: Mapping[str, str], state: str) -> Iterator[None]:
    """Start dbt in a process of its own, and end it after the body of the `with` statement.

    Args:
        settings: the settings of the home.
        parse: the arguments of `dbt parse`.
        environment: the environment of the process.
        state: the fingerprint of the project's files and variables.
    """
    reader, writer = os.pipe()
    line = [sys.executable, "-m", "dagster_project.warehouse.dbt_worker", json.dumps(list(parse)), str(writer)]
    process = subprocess.Popen(
        line,
        env=dict(environment),
        pass_fds=(writer,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=settings.dbt_project,
    )
    os.close(writer)
    with os.fdopen(reader) as report:
        _workers[settings.dbt_target] = _Worker(process, report, state)
        try:
            yield
        finally:
            _workers.pop(settings.dbt_target, None)
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
    process.wait()


def parsed_early(settings: Settings, state: str) -> str | None:
    """Wait for the parse of the process that was started early. Return its error; the text is empty if it succeeded.

    Return None if no process was started, or if it parsed other files or variables than those of `state`.
    """
    worker = _workers.get(settings.dbt_target)
    if worker is None or worker.state != state:
        return None
    reported = worker.report.readline()
    if not reported:
        return None  # the process is gone
    return json.loads(reported)["error"] or ""


def run_early(
    settings: Settings, state: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes] | None":
    """Let the process that was started early run a dbt command, and return it.

    Return None if no process was started, if it parsed other files or variables than those of `state`, or if it has
    run its command.
    """
    worker = _workers.get(settings.dbt_target)
    if worker is None or worker.state != state or worker.process.poll() is not None:
        return None
    del _workers[settings.dbt_target]
    order = json.dumps({"arguments": list(arguments), "environment": dict(environment)})
    if worker.process.stdin is None:
        return None
    worker.process.stdin.write(order.encode() + b"\n")
    worker.process.stdin.flush()
    worker.process.args = ["dbt", *arguments]  # Dagster shows it if the command fails
    return worker.process
