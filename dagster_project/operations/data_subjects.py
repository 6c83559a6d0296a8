"""Data subject requests, and key rotation. No Dagster.

All of them hold the home's lock and are recorded in the audit chain. Each read of the vault is recorded, with the user
id of the caller, before any of the vault's content is shown.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from dagster_project.audit.chain import Entry, Fact, Kind
from dagster_project.defs.instance import prepare_home
from dagster_project.home.locks import home_lock
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.persons.erasure import Erasure, Person, erase, find_person
from dagster_project.ingestion.persons.vault import Kept, read_payer, read_person
from dagster_project.keys.master import load_keys
from dagster_project.keys.store import Hold
from dagster_project.night import audit_entries
from dagster_project.night.pipeline import Pipeline


class UnknownPersonError(LookupError):
    """No source has this borrower, or more than one has."""


def erase_person(pipeline: Pipeline, borrower: str, source: str | None) -> Erasure:
    """Erase a borrower, unless a hold or the retention prevents it; see `ingestion.persons.erasure.erase`.

    Raises:
        UnknownPersonError: no source has the borrower, or more than one has.
        ErasureError: files of the source have not been taken in yet.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        owner, person = _find_owner(pipeline, borrower, source, "erase")
        years = pipeline.policy.personal_data.retention_years
        done = erase(pipeline.ingest_context, owner, person, _sinks(pipeline), _now(), years)
        audit_entries.record_erasure(pipeline, done)
        return done


def hold_person(pipeline: Pipeline, borrower: str, source: str | None, until: date, reason: str) -> str:
    """Put a retention hold on a borrower's data until a day, and return the pseudonym.

    Raises:
        UnknownPersonError: no source has the borrower, or more than one has.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        owner, person = _find_owner(pipeline, borrower, source, "hold")
        for pseudonym in person.pseudonyms:
            pipeline.ingest_context.key_store.hold(owner.name, pseudonym, Hold(until, reason))
    return person.pseudonyms[0]


def reveal_person(pipeline: Pipeline, borrower: str, source: str | None, reason: str) -> list[Kept]:
    """The vault's rows about a borrower, or a payer's rows in the originals. Records the reason in the audit chain.

    Raises:
        UnknownPersonError: no source has the borrower, or more than one has.
        KeyDestroyedError: the borrower was erased.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        owner, person = _find_owner(pipeline, borrower, source, "reveal", reason)
        keys = pipeline.ingest_context.key_store.known_persons(owner.name, person.pseudonyms)
        kept = [kept for pseudonym in keys for kept in read_person(pipeline.ingest_context, owner.name, pseudonym)]
        return kept + read_payer(pipeline.ingest_context, owner, person.pseudonyms)


def rotate_keys(pipeline: Pipeline, new_key_file: Path) -> int:
    """Wrap all data keys with the master key in a file, and return the number of data keys.

    Raises:
        MasterKeyError: the old or the new master key is invalid.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        new = load_keys(None, new_key_file, production=pipeline.settings.profile == "production")
        return pipeline.ingest_context.key_store.rotate(new)


@contextmanager
def _prepared_and_locked(pipeline: Pipeline) -> Iterator[None]:
    """Upgrade the home to this code's version if needed, then hold its lock.

    Raises:
        NightRunningError: a night is running in this home.
        HomeVersionError: the home cannot be upgraded.
    """
    prepare_home(pipeline.settings)
    with home_lock(pipeline.settings.home):
        yield


def _find_owner(
    pipeline: Pipeline, borrower: str, source: str | None, why: str, reason: str | None = None
) -> tuple[Source, Person]:
    """Return the source that has a borrower, and the person. Record in the audit chain that the vault was read.

    Raises:
        UnknownPersonError: no source has the borrower, or more than one has.
    """
    if source is not None and source not in pipeline.sources:
        raise UnknownPersonError(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}")
    searched = [pipeline.sources[source]] if source else list(pipeline.sources.values())
    found = [(owner, person) for owner in searched if (person := find_person(pipeline.ingest_context, owner, borrower))]
    subjects = [f"{owner.name}/{pseudonym}" for owner, person in found for pseudonym in person.pseudonyms]
    facts: dict[str, Fact] = {"why": why, "reason": reason, "user_id": os.getuid()}
    pipeline.ingest_context.audit.append([Entry(Kind.VAULT_READ, subject, facts) for subject in subjects])
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(owner.name for owner, _ in found)
        raise UnknownPersonError(f"{names} each have a borrower with this number: choose one with --source")
    names = ", ".join(owner.name for owner in searched)
    raise UnknownPersonError(
        f"no delivery of {names} has this borrower, or their contracts declare no column that identifies a person"
    )


def _sinks(pipeline: Pipeline) -> list[Path]:
    """The folders of a home that must not contain identifying values in clear text."""
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
    """The real time in UTC, also in a replay, because tombstones and holds depend on the day of the request."""
    return datetime.now(UTC).replace(tzinfo=None)
