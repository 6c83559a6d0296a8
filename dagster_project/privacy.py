"""What the command line does about persons and keys: under the home's lock, and written down. No Dagster.

Each look into the vault is a row of the audit chain before anything of it is shown, with the user id of who asked.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from dagster_project import trail
from dagster_project.alone import alone_in
from dagster_project.audit import Entry, Fact, Kind
from dagster_project.ingestion.erasure import Erasure, Person, erase, find_person
from dagster_project.ingestion.key_store import Hold
from dagster_project.ingestion.keys import load_keys
from dagster_project.ingestion.source import Source
from dagster_project.ingestion.vault import Kept, read_payer, read_person
from dagster_project.instance import prepare_home
from dagster_project.resources import Pipeline


class UnknownPersonError(LookupError):
    """No source knows this borrower, or more than one does."""


def erase_person(pipeline: Pipeline, borrower: str, source: str | None) -> Erasure:
    """Erase a borrower, unless a hold wins; see `ingestion.erasure.erase`.

    Raises:
        UnknownPersonError: see there.
        ErasureError: files of the source wait.
        NightRunningError: a night is running in this home.
    """
    with _alone_in(pipeline):
        known, person = _known(pipeline, borrower, source, "erase")
        years = pipeline.policy.personal_data.retention_years
        done = erase(pipeline.border, known, person, _sinks(pipeline), _now(), years)
        trail.erased(pipeline, done)
        return done


def hold_person(pipeline: Pipeline, borrower: str, source: str | None, until: date, reason: str) -> str:
    """Hold a borrower's data until a day; returns the pseudonym.

    Raises:
        UnknownPersonError: see there.
        NightRunningError: a night is running in this home.
    """
    with _alone_in(pipeline):
        known, person = _known(pipeline, borrower, source, "hold")
        for pseudonym in person.pseudonyms:
            pipeline.border.key_store.hold(known.name, pseudonym, Hold(until, reason))
    return person.pseudonyms[0]


def reveal_person(pipeline: Pipeline, borrower: str, source: str | None, reason: str) -> list[Kept]:
    """What the vault holds of a borrower, and the originals of a payer; the reason is a row of the audit chain.

    Raises:
        UnknownPersonError: see there.
        KeyDestroyedError: the borrower was erased.
        NightRunningError: a night is running in this home.
    """
    with _alone_in(pipeline):
        known, person = _known(pipeline, borrower, source, "reveal", reason)
        keys = pipeline.border.key_store.known_persons(known.name, person.pseudonyms)
        kept = [kept for pseudonym in keys for kept in read_person(pipeline.border, known.name, pseudonym)]
        return kept + read_payer(pipeline.border, known, person.pseudonyms)


def rotate_keys(pipeline: Pipeline, new_key_file: Path) -> int:
    """Wrap all data keys with the master key of a file; returns how many.

    Raises:
        MasterKeyError: one of the two keys cannot be used.
        NightRunningError: a night is running in this home.
    """
    with _alone_in(pipeline):
        new = load_keys(None, new_key_file, production=pipeline.settings.profile == "production")
        return pipeline.border.key_store.rotate(new)


@contextmanager
def _alone_in(pipeline: Pipeline) -> Iterator[None]:
    """Hold the home's lock; the home is of this code's version.

    Raises:
        NightRunningError: a night is running in this home.
        HomeVersionError: the home cannot be upgraded.
    """
    prepare_home(pipeline.settings)
    with alone_in(pipeline.settings.home):
        yield


def _known(
    pipeline: Pipeline, borrower: str, source: str | None, why: str, reason: str | None = None
) -> tuple[Source, Person]:
    """The source that knows a borrower, and the person; that the vault was read for it is written down.

    Raises:
        UnknownPersonError: no source does, or several.
    """
    if source is not None and source not in pipeline.sources:
        raise UnknownPersonError(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}")
    asked = [pipeline.sources[source]] if source else list(pipeline.sources.values())
    found = [(known, person) for known in asked if (person := find_person(pipeline.border, known, borrower))]
    subjects = [f"{known.name}/{pseudonym}" for known, person in found for pseudonym in person.pseudonyms]
    asker: dict[str, Fact] = {"why": why, "reason": reason, "user_id": os.getuid()}
    pipeline.border.audit.append([Entry(Kind.VAULT_READ, subject, asker) for subject in subjects])
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(known.name for known, _ in found)
        raise UnknownPersonError(f"{names} each know a borrower of this number: say which with --source")
    names = ", ".join(known.name for known in asked)
    raise UnknownPersonError(
        f"no delivery of {names} told of this borrower, or their contracts class nothing that identifies one"
    )


def _sinks(pipeline: Pipeline) -> list[Path]:
    """The folders of a home in which nothing that identifies may stand in the clear."""
    s = pipeline.settings
    return [
        s.lake,
        s.warehouse,
        s.published,
        s.mlflow,
        s.dagster_home,
        s.dbt_target,
        s.home / "logs",
        s.outbox_file.parent,
    ]


def _now() -> datetime:
    """The real clock: a tombstone, and what a hold is compared with, are of the day on which somebody asked."""
    return datetime.now(UTC).replace(tzinfo=None)
