"""Commands for personal data and keys: erase, hold, reveal, and rotate the master key."""

import json
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.cli.shared import AsJson, environment_pipeline, out, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

commands = typer.Typer()
Borrower = Annotated[str, typer.Argument(help="The source's number of the borrower, or a pseudonym.")]
OneSource = Annotated[
    str | None, typer.Option("--source", help="The borrower's source; needed if several sources have this number.")
]


@commands.command()
def erase(borrower: Borrower, source: OneSource = None, as_json: AsJson = False) -> None:
    """Erase a borrower's identifying data: destroy the data key, then search the home to prove that nothing is left.

    No figure changes, because the borrower's rows stay under a pseudonym.

    Exit codes: 0 erased and proven, 1 not erased or not proven, 2 usage, 3 not erased because of a hold or the
    retention period.

    Example: creditloom erase 10000421 --source simulated
    """
    from dataclasses import asdict

    from dagster_project.operations import data_subjects
    from dagster_project.reporting.summary import erasure_table

    with _person_command(as_json=as_json):
        done = data_subjects.erase_person(environment_pipeline(), borrower, source)
        if as_json:
            sys.stdout.write(json.dumps(asdict(done), default=lambda day: day.isoformat()) + "\n")
        else:
            out.print(erasure_table(asdict(done)), highlight=False)
        raise typer.Exit(3 if done.held else 1 if not done.proof or done.proof.left else 0)


@commands.command()
def hold(
    borrower: Borrower,
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day after the hold.")],
    reason: Annotated[str, typer.Option(help="The reason, without personal data.")],
    source: OneSource = None,
) -> None:
    """Put a retention hold on a borrower's data, which prevents an erasure until a given day.

    An earlier hold on the same borrower is replaced.

    Example: creditloom hold 10000421 --until 2031-01-01 --reason "investigation 17"
    """
    from dagster_project.operations import data_subjects

    with _person_command():
        name = data_subjects.hold_person(environment_pipeline(), borrower, source, until.date(), reason)
        out.print(f"{name} is held until {until:%Y-%m-%d}", highlight=False)


@commands.command()
def reveal(
    borrower: Borrower,
    reason: Annotated[str, typer.Option(help="Why the vault is read. It is recorded, so write no personal data.")],
    source: OneSource = None,
) -> None:
    """Show the personal data of a borrower or payer as delivered, for a letter or an access request.

    The access and its reason are recorded in the audit chain.

    Example: creditloom reveal 10000421 --reason "adverse action letter"
    """
    from dagster_project.operations import data_subjects

    with _person_command():
        for kept in data_subjects.reveal_person(environment_pipeline(), borrower, source, reason):
            for row in kept.rows:
                out.print(f"delivery {kept.delivery_id}, {kept.layout}", highlight=False)
                for column, value in row.items():
                    out.print(f"  {column}: {value or ''}", highlight=False, markup=False)


@commands.command("rotate-keys")
def rotate_keys(
    new_key_file: Annotated[
        Path, typer.Argument(help="File with the new master key: 64 hex digits.", exists=True, dir_okay=False)
    ],
) -> None:
    """Encrypt all data keys with a new master key. Pseudonyms do not change.

    Afterwards, set CREDITLOOM_MASTER_KEY_FILE to the new file. If the rotation is interrupted, the old key stays valid.

    Example: creditloom rotate-keys /etc/creditloom/master-2027.key
    """
    from dagster_project.operations import data_subjects

    with _person_command():
        count = data_subjects.rotate_keys(environment_pipeline(), new_key_file)
        out.print(
            f"{count:,} data keys are wrapped with the new master key. Set CREDITLOOM_MASTER_KEY_FILE={new_key_file} "
            "now; the old key no longer opens anything in this home",
            highlight=False,
        )


@contextmanager
def _person_command(*, as_json: bool = False) -> "Iterator[None]":
    """Turn errors that a user can cause into a message and an exit code.

    An unknown person or an invalid master key ends the command with exit code 2. Other expected errors end it with exit
    code 1.
    """
    from dagster_project.audit.chain import AuditError
    from dagster_project.home.locks import NightRunningError
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.lake.files import LakeCorruptionError
    from dagster_project.ingestion.persons.erasure import ErasureError
    from dagster_project.keys.master import MasterKeyError
    from dagster_project.keys.store import KeyDestroyedError
    from dagster_project.operations.data_subjects import UnknownPersonError

    try:
        yield
    except (UnknownPersonError, MasterKeyError) as error:
        stop(str(error), 2, as_json=as_json)
    except (
        AuditError,
        ErasureError,
        HomeVersionError,
        KeyDestroyedError,
        LakeCorruptionError,
        NightRunningError,
    ) as error:
        stop(str(error), 1, as_json=as_json)
