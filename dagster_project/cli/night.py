"""Commands that run a single night, or a backfill of a range of landing days."""

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.cli.shared import AsJson, environment_pipeline, err, out, progress_bar, stop

if TYPE_CHECKING:
    from dagster_project.ingestion.lake.receipts import Receipt
    from dagster_project.night.pipeline import Pipeline
    from dagster_project.operations.run_night import NightResult

commands = typer.Typer()
_INSTANTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]


@commands.command()
def night(
    force: Annotated[bool, typer.Option(help="Run even if nothing is new.")] = False,
    on: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Replay: treat this day as today, and leave out files of later days."),
    ] = None,
    known_as_of: Annotated[
        datetime | None,
        typer.Option(formats=_INSTANTS, help="Rebuild the night as of this instant (UTC). `current` stays."),
    ] = None,
    intake: Annotated[
        bool, typer.Option(help="Take in landed files, or leave them and build on the lake as it is.")
    ] = True,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Take in only this source's files (may be repeated). All sources are built."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a whole night: take in the landed files, build the tables, check them, score the accounts, and publish.

    Exit codes: 0 published (or nothing new), 1 failed, 2 usage, 3 a blocking check stopped the night.

    Example: CREDITLOOM_HOME=/data/creditloom creditloom night
    """
    from dagster_project.home.disk_space import DiskFullError
    from dagster_project.home.locks import NightRunningError
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.lake.context import ClockError
    from dagster_project.operations.run_night import run_night
    from dagster_project.snapshots.snapshot import SnapshotCorruptionError

    if on and known_as_of:
        stop("use --on (replay) or --known-as-of (rebuild), not both", 2, as_json=as_json)
    only = frozenset(source) if source else None
    pipeline = environment_pipeline(on=on.date() if on else None, known_as_of=known_as_of, intake=intake, only=only)
    try:
        keys = pipeline.ingest_context.keys
        if keys.is_development and not as_json:
            err.print(
                "[bold yellow]Development key:[/] pseudonyms are made with a PUBLIC key and protect nobody. "
                "Set CREDITLOOM_MASTER_KEY_FILE before real data arrives."
            )
        if as_json:
            result = run_night(pipeline, force=force)
        else:
            with err.status("Running the night ..."):
                result = run_night(pipeline, force=force)
    except (NightRunningError, DiskFullError, SnapshotCorruptionError, HomeVersionError) as error:
        stop(str(error), 1, as_json=as_json)
    except ClockError as error:
        stop(str(error), 2, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(night_as_json(result)) + "\n")
    else:
        show_night(pipeline, result)
    raise typer.Exit(int(result.exit))


@commands.command()
def backfill(
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First landing day; default: the earliest.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last landing day; default: the latest.")
    ] = None,
    replay: Annotated[
        bool, typer.Option(help="Run a whole night on each day, by that day's clock, instead of one at the end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take in the files of a range of landing days, one day after the other, then run one night.

    With --replay, a whole night runs for each day instead. If a backfill is interrupted, run the same command again: it
    continues with the files that remain.

    Exit codes: as for `night`. 2 also means that --replay found no day to replay.

    Example: creditloom backfill --from 2017-06-15 --to 2018-06-15
    """
    from dagster_project.home.disk_space import DiskFullError
    from dagster_project.home.locks import NightRunningError
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.lake.context import ClockError
    from dagster_project.operations.backfill import BackfillError, load_range, replay_range
    from dagster_project.snapshots.snapshot import SnapshotCorruptionError

    if since and until and since > until:
        stop(f"--from {since:%Y-%m-%d} is after --to {until:%Y-%m-%d}", 2, as_json=as_json)
    pipeline = environment_pipeline()
    run = replay_range if replay else load_range
    try:
        with progress_bar(shown=not as_json) as progress:
            result = run(pipeline, since and since.date(), until and until.date(), progress)
    except (NightRunningError, DiskFullError, SnapshotCorruptionError, HomeVersionError, BackfillError) as error:
        stop(str(error), 1, as_json=as_json)
    except ClockError as error:
        stop(str(error), 2, as_json=as_json)
    if result is None:
        stop(f"{pipeline.ingest_context.landing} has no files of a day in this range", 2, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(night_as_json(result)) + "\n")
    else:
        show_night(pipeline, result)
    raise typer.Exit(int(result.exit))


def show_night(pipeline: "Pipeline", result: "NightResult") -> None:
    """Print the outcome of a night on the terminal.

    Deliveries with quarantined lines are printed first. Then comes the summary of the published snapshot, or the reason
    why nothing was published.
    """
    from dagster_project.operations.run_night import Exit
    from dagster_project.reporting.summary import summary, where_to_look

    snapshot = result.snapshot
    for receipt in result.receipts:
        if receipt.state != "ACCEPTED":
            err.print(f"[bold yellow]{receipt.state}:[/] {_quarantined(pipeline, receipt)}", highlight=False)
    if result.exit is not Exit.PUBLISHED or snapshot is None:
        stopped = "a blocking check stopped the night" if result.exit is Exit.STOPPED else "the night failed"
        err.print(f"[bold red]Not published:[/] {stopped}.")
        for failure in result.failures:
            err.print(f"  - {failure}", highlight=False)
        current = f"snapshot {snapshot.snapshot_id} is still current" if snapshot else "nothing is published yet"
        err.print(f"{current}; see run {result.run_id} in the Dagster UI (make up).", highlight=False)
        return
    if result.run_id is None:
        out.print(
            f"[bold green]Nothing new:[/] snapshot {snapshot.snapshot_id} is current"
            f" ({result.seconds:.1f} s). Put a file into {pipeline.settings.landing}/<source>/, or use --force."
        )
        return
    out.print(summary(snapshot.metrics(), pipeline.active_sources(), result.stages))
    shown = snapshot.folder if pipeline.known_as_of else pipeline.settings.published / "current"
    outcome = "Published" if result.changed else "Published again with the same content"
    if pipeline.known_as_of:
        outcome = f"Rebuilt as of {pipeline.known_as_of}"
    out.print(f"[bold green]{outcome}:[/] snapshot {snapshot.snapshot_id} in {result.seconds:.1f} s")
    absent = ", ".join(name for name in pipeline.sources if not pipeline.has_delivered(name))
    if absent:
        out.print(f"[dim]Not delivered yet: {absent}. Use `creditloom land SOURCE FOLDER` to land a source's files.[/]")
    out.print(where_to_look(pipeline.settings.home, shown), soft_wrap=True)


def _quarantined(pipeline: "Pipeline", receipt: "Receipt") -> str:
    """Return a text about a delivery with quarantined lines, for the terminal.

    It contains the file name, the numbers of lines, the reason, and the path of the quarantined rows if there is one.
    """
    text = f"{receipt.source}/{receipt.file_name}: {receipt.quarantined_rows:,} of {receipt.landed_rows:,} lines"
    text += f" quarantined, {receipt.duplicate_rows:,} duplicate; {receipt.reason}"
    paths = [f.path for f in receipt.files if f.table == "quarantine"]
    return text + (f" ({pipeline.settings.lake / paths[0]})" if paths else "")


def night_as_json(result: "NightResult") -> dict[str, object]:
    """Return the outcome of a night as the object that `--json` prints."""
    snapshot = result.snapshot
    return {
        "exit": int(result.exit),
        "snapshot_id": snapshot.snapshot_id if snapshot else None,
        "snapshot_sha256": snapshot.sha256 if snapshot else None,
        "nothing_new": result.run_id is None,
        "changed": result.changed,
        "run_id": result.run_id,
        "seconds": round(result.seconds, 1),
        "stages": result.stages,
        "failures": list(result.failures),
        "deliveries": [
            {"source": r.source, "file": r.file_name, "state": r.state, "reason": r.reason} for r in result.receipts
        ],
    }
