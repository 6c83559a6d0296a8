"""Commands that look back: status, verification, restatement of a month."""

import json
import sys
from datetime import datetime
from typing import Annotated

import typer

from dagster_project.cli.shared import AsJson, environment_pipeline, err, out, progress_bar, stop

commands = typer.Typer()


@commands.command()
def status(as_json: AsJson = False) -> None:
    """How things stand: what is published, the last night, deliveries, quarantine and champions.

    Example: creditloom status --json
    """
    from dataclasses import asdict

    from dagster_project.operations.status import status as look
    from dagster_project.reporting.summary import standing
    from dagster_project.snapshots.snapshot import SnapshotCorruptionError

    try:
        found = look(environment_pipeline())
    except SnapshotCorruptionError as error:
        stop(str(error), 1, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), default=lambda moment: moment.isoformat()) + "\n")
    else:
        out.print(standing(asdict(found)))


@commands.command()
def verify(as_json: AsJson = False) -> None:
    """Look whether everything is what was written down: receipts and files, audit chain, snapshots, champions.

    Exit codes: 0 all is, 1 something is not, and is named.

    Example: creditloom verify --json
    """
    from dataclasses import asdict

    from dagster_project.home.locks import NightRunningError, home_lock
    from dagster_project.operations.verify import verify as look

    pipeline = environment_pipeline()
    try:
        with home_lock(pipeline.settings.home), progress_bar(shown=not as_json) as progress:
            found = look(pipeline, progress)
    except NightRunningError as error:
        stop(str(error), 1, as_json=as_json)
    code = 1 if found.faults else 0
    if as_json:
        sys.stdout.write(json.dumps({"exit": code, **asdict(found)}) + "\n")
        raise typer.Exit(code)
    for fault in found.faults:
        err.print(f"[bold red]{fault.part}:[/] {fault.what}\n  {fault.advice}", highlight=False)
    for note in found.notes:
        out.print(note, highlight=False)
    counts = ", ".join(f"{count:,} {name}" for name, count in found.checked.items())
    words = f"[bold red]{len(found.faults)} faults[/]" if found.faults else "[bold green]All is as it was written[/]"
    out.print(f"{words}: {counts}", highlight=False)
    raise typer.Exit(code)


@commands.command()
def restate(
    month: Annotated[datetime, typer.Argument(formats=["%Y-%m"], help="The month, for example 2026-06.")],
    source: Annotated[str | None, typer.Option(help="This source alone; default: all that reported the month.")] = None,
    as_json: AsJson = False,
) -> None:
    """A month's figures as they were reported and as they are known now, and the late or corrected rows between.

    Exit codes: 0 told, 1 failed, or a difference that no row explains, 2 usage.

    Example: creditloom restate 2026-06
    """
    from dagster_project.home.locks import NightRunningError
    from dagster_project.ingestion.lake.files import LakeCorruptionError
    from dagster_project.operations.restate import month_end, restate_month
    from dagster_project.reporting.summary import restated
    from dagster_project.warehouse.runner import DbtError

    pipeline = environment_pipeline()
    if source and source not in pipeline.sources:
        stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2, as_json=as_json)
    names = [source] if source else pipeline.active_sources()
    try:
        with err.status("Reading the lake ...") as status:
            comparisons = [restate_month(pipeline, name, month_end(month.date()), status.update) for name in names]
    except (NightRunningError, LakeCorruptionError, DbtError) as error:
        stop(str(error), 1, as_json=as_json)
    found = [one for one in comparisons if one]
    if not found:
        stop(f"{source or 'no source'} has {'not ' if source else ''}reported {month:%Y-%m}", 2, as_json=as_json)
    code = int(any(one.unexplained for one in found))
    if as_json:
        said = {"exit": code, "month": f"{month:%Y-%m}", "sources": [one.as_values() for one in found]}
        sys.stdout.write(json.dumps(said, default=str) + "\n")
    else:
        for one in found:
            out.print(restated(one))
    raise typer.Exit(code)
