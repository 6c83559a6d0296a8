"""Commands for deliveries: copy files into the landing folder, list quarantined lines, and readmit them."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dagster_project.cli.shared import AsJson, check_source, environment_pipeline, err, out, stop

commands = typer.Typer()
Source = Annotated[str | None, typer.Option(help="Only this source.")]
Delivery = Annotated[str | None, typer.Option(help="Only the delivery whose id begins with this.")]


@commands.command()
def land(
    source: Annotated[str, typer.Argument(help="Name of the source, as in the policy.")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that holds the files; its subfolders are searched too.", exists=True, file_okay=False
        ),
    ],
) -> None:
    """Copy the files of a source from a folder into the source's landing folder.

    Files whose names match no layout of the source's contract are not copied, and listed. If two files with different
    content have the same name, nothing is copied.

    Example: creditloom land ally_auto ~/tapes
    """
    from dagster_project.ingestion.lake.landing import LandingError, land_folder

    pipeline = environment_pipeline()
    if source not in pipeline.sources:
        stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2)
    try:
        landed = land_folder(pipeline.sources[source], pipeline.ingest_context, folder)
    except LandingError as error:
        stop(str(error), 2)
    for paths, reason in (
        (landed.passed_over, f"no layout of {source} has a pattern for the name"),
        (landed.repeated, "the same file is waiting already"),
    ):
        for path in paths:
            err.print(f"[bold yellow]Not copied:[/] {escape(path)} ({reason})", highlight=False)
    if not landed.copied and not landed.repeated:
        patterns = ", ".join(layout.file_pattern for layout in pipeline.sources[source].contract.layouts)
        stop(f"{folder} holds no file that matches a layout of {source} ({patterns})", 2)
    out.print(
        f"{len(landed.copied)} files copied into {pipeline.ingest_context.landing / source}; run `creditloom night`",
        highlight=False,
    )


@commands.command()
def quarantine(
    source: Source = None,
    delivery: Delivery = None,
    everything: Annotated[bool, typer.Option("--all", help="Also list the lines that were readmitted.")] = False,
    as_json: AsJson = False,
) -> None:
    """List quarantined lines and files, with the rule that refused them and its message.

    The text of the lines is not shown, because it may contain personal data. It stays encrypted.

    Example: creditloom quarantine --source simulated
    """
    import polars as pl

    from dagster_project.ingestion.quarantine import OPEN, held
    from dagster_project.reporting.summary import held_rows

    pipeline = environment_pipeline()
    check_source(pipeline, source, as_json=as_json)
    rows = held(pipeline.ingest_context, source).drop("minor")
    if delivery:
        rows = rows.filter(pl.col("delivery_id").str.starts_with(delivery))
    if not everything:
        rows = rows.filter(pl.col("state") == OPEN)
    if as_json:
        sys.stdout.write(json.dumps({"held": rows.to_dicts()}, default=lambda moment: moment.isoformat()) + "\n")
    else:
        out.print(held_rows(rows))


@commands.command()
def readmit(source: Source = None, delivery: Delivery = None, as_json: AsJson = False) -> None:
    """Accept quarantined rows that are valid now, for example because the contract was corrected.

    The rows are read again from the original files, under the current contract. Rows that are still invalid stay in
    quarantine. The next night uses the readmitted rows.

    Exit codes: 0 done (even if no row is valid yet), 1 failed, 2 usage.

    Example: creditloom readmit --source simulated
    """
    from dagster_project.defs.instance import prepare_home
    from dagster_project.home.locks import NightRunningError, home_lock
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.readmit import readmit as readmit_source

    pipeline = environment_pipeline()
    check_source(pipeline, source, as_json=as_json)
    try:
        prepare_home(pipeline.settings)
        with home_lock(pipeline.settings.home):
            done = {
                name: readmit_source(pipeline.sources[name], pipeline.ingest_context, pipeline.now(), delivery)
                for name in ([source] if source else pipeline.sources)
            }
    except (NightRunningError, HomeVersionError) as error:
        stop(str(error), 1, as_json=as_json)
    receipts = [r for found in done.values() for r in found.receipts]
    gone = [f"{name}/{file}" for name, found in done.items() for file in found.gone]
    if as_json:
        readmitted = [
            {"source": r.source, "file": r.file_name, "delivery": r.delivery_id}
            | {"accepted": r.accepted_rows, "duplicate": r.duplicate_rows, "left": -r.quarantined_rows}
            for r in receipts
        ]
        sys.stdout.write(json.dumps({"exit": 0, "readmitted": readmitted, "originals_gone": gone}) + "\n")
        return
    for file in gone:
        err.print(f"[bold yellow]Original missing:[/] {file} cannot be read again", highlight=False)
    for r in receipts:
        out.print(
            f"{r.source}/{r.file_name}: {r.accepted_rows:,} lines accepted, {r.duplicate_rows:,} duplicate,"
            f" {-r.quarantined_rows:,} left the quarantine",
            highlight=False,
        )
    advice = "run `creditloom night` to build on them" if receipts else "no quarantined line is valid yet"
    out.print(f"{sum(r.accepted_rows for r in receipts):,} lines readmitted; {advice}", highlight=False)
