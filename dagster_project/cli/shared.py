"""Functions that all commands share: the terminal, the environment's pipeline, the progress bar, and error exits."""

import json
import sqlite3
import sys
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dagster_project.night.pipeline import Pipeline

# They use the real streams, because a running night redirects stdout and stderr to a file.
out, err = Console(file=sys.stdout), Console(file=sys.stderr)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def environment_pipeline(**night: Any) -> "Pipeline":
    """The pipeline built from the environment's settings. An invalid setting ends the command with a usage error."""
    from pydantic import ValidationError

    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.contracts.contract import ContractError
    from dagster_project.keys.master import MasterKeyError
    from dagster_project.night.pipeline import load_pipeline
    from dagster_project.policy import PolicyError

    try:
        pipeline = load_pipeline(**night)
        _ = pipeline.ingest_context
    except ValidationError as error:
        first = error.errors()[0]
        stop(f"CREDITLOOM_{str(first['loc'][0]).upper()}: {first['msg']}", 2)
    except (HomeVersionError, PolicyError, ContractError, MasterKeyError) as error:
        stop(str(error), 2)
    except sqlite3.DatabaseError as error:
        stop(f"{pipeline.settings.lake / 'receipts.sqlite'} cannot be read ({error}): restore it from a backup", 1)
    return pipeline


def check_source(pipeline: "Pipeline", source: str | None, *, as_json: bool) -> None:
    """End the command with a usage error if the policy does not have this source."""
    if source is not None and source not in pipeline.sources:
        stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2, as_json=as_json)


def stop(message: str, code: int, *, as_json: bool = False) -> NoReturn:
    """Print a message to stderr, with `as_json` also as JSON to stdout, and end the command with an exit code."""
    if as_json:
        sys.stdout.write(json.dumps({"exit": code, "failures": [message]}) + "\n")
    err.print(f"[bold red]creditloom:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def progress_bar(*, shown: bool) -> "Iterator[Callable[[date | str, int, int], None]]":
    """Show a progress bar. Call the yielded function with a day or step, the number done, and the total number."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not shown, transient=True) as bar:
        task = bar.add_task("Starting ...", total=None)
        yield lambda day, done, total: bar.update(task, description=f"{day}", completed=done, total=total)
