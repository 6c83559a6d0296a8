"""Commands that inspect a home: show its status, verify it, and compare two versions of a month."""

import json
import sys
from datetime import datetime
from typing import Annotated

import typer

from dagster_project.cli.shared import AsJson, environment_pipeline, err, out, progress_bar, stop

commands = typer.Typer()


@commands.command()
def status(as_json: AsJson = False) -> None:
    """Show the published snapshot, the last night, and each source's deliveries, quarantine and champion.

    Exit codes: 0 shown, 1 the manifest of the current snapshot is missing or unreadable, 2 usage.

    Example: creditloom status --json
    """
    from dataclasses import asdict

    from dagster_project.operations.status import status as read_status
    from dagster_project.reporting.summary import status_tables
    from dagster_project.snapshots.snapshot import SnapshotCorruptionError

    try:
        values = asdict(read_status(environment_pipeline()))
    except SnapshotCorruptionError as error:
        stop(str(error), 1, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(values, default=lambda moment: moment.isoformat()) + "\n")
    else:
        out.print(status_tables(values))


@commands.command()
def verify(as_json: AsJson = False) -> None:
    """Verify that nothing in the home was changed or lost: receipts, files, audit chain, snapshots and champions.

    Nothing is repaired. For each fault, the command prints what is wrong and what to do about it.

    Exit codes: 0 no faults, 1 at least one fault, or a night is running, 2 usage.

    Example: creditloom verify --json
    """
    from dataclasses import asdict

    from dagster_project.home.locks import NightRunningError, home_lock
    from dagster_project.operations.verify import verify as verify_home

    pipeline = environment_pipeline()
    try:
        with home_lock(pipeline.settings.home), progress_bar(shown=not as_json) as progress:
            found = verify_home(pipeline, progress)
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
    faults = f"[bold red]{len(found.faults)} faults[/]" if found.faults else "[bold green]No faults[/]"
    out.print(f"{faults} in {counts}", highlight=False)
    raise typer.Exit(code)


@commands.command()
def restate(
    month: Annotated[datetime, typer.Argument(formats=["%Y-%m"], help="The month to compare, for example 2026-06.")],
    source: Annotated[
        str | None, typer.Option(help="Compare only this source; default: every source that reported the month.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a month as first reported with the same month as known now.

    The command shows the figures of both versions, and the late or corrected rows that explain the differences.

    Exit codes: 0 compared; 1 failed, or a loan changed and no late or corrected row explains it; 2 usage, or the month
    was never reported.

    Example: creditloom restate 2026-06
    """
    from dagster_project.home.locks import NightRunningError
    from dagster_project.ingestion.lake.files import LakeCorruptionError
    from dagster_project.operations.restate import month_end, restate_month
    from dagster_project.reporting.summary import comparison_tables
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
    found = [comparison for comparison in comparisons if comparison]
    if not found:
        stop(f"{source or 'no source'} has {'not ' if source else ''}reported {month:%Y-%m}", 2, as_json=as_json)
    code = int(any(comparison.unexplained for comparison in found))
    if as_json:
        values = {"exit": code, "month": f"{month:%Y-%m}", "sources": [comparison.as_values() for comparison in found]}
        sys.stdout.write(json.dumps(values, default=str) + "\n")
    else:
        for comparison in found:
            out.print(comparison_tables(comparison))
    raise typer.Exit(code)
