"""Functions that several commands share: the terminal, the configured pipeline, error exits and the progress bar."""

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
    """Return the pipeline that the environment variables configure.

    The arguments are passed on to `load_pipeline`. If a setting, the policy, a contract, the master key or the version
    of the home is invalid, the command ends with exit code 2. If the database of receipts cannot be read, it ends with
    exit code 1.
    """
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
    """End the command with exit code 2 if `source` is the name of a source that the policy does not have."""
    if source is not None and source not in pipeline.sources:
        stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2, as_json=as_json)


def stop(message: str, code: int, *, as_json: bool = False) -> NoReturn:
    """Print an error message to stderr and end the command with the exit code `code`.

    With `as_json`, the message is also printed to stdout as a JSON object.
    """
    if as_json:
        sys.stdout.write(json.dumps({"exit": code, "failures": [message]}) + "\n")
    err.print(f"[bold red]creditloom:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def progress_bar(*, shown: bool) -> "Iterator[Callable[[date | str, int, int], None]]":
    """Show a progress bar on stderr while the block runs, and yield the function that updates it.

    The function takes a day or the name of a step, the number of items done, and the total number of items. If `shown`
    is false, nothing is displayed.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not shown, transient=True) as bar:
        task = bar.add_task("Starting ...", total=None)
        yield lambda day, done, total: bar.update(task, description=f"{day}", completed=done, total=total)
