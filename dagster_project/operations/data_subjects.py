"""Data subject requests (erase, hold, reveal) and the rotation of the master key.

All of these operations hold the home's lock. Erasures and reads of the vault are recorded in the audit chain. A read of
the vault is recorded with the caller's user id before any content of the vault is shown. This module starts no Dagster
run.
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
    """The borrower was found in no source or in several sources, or the given source does not exist."""


def erase_person(pipeline: Pipeline, borrower: str, source: str | None) -> Erasure:
    """Erase a borrower's identifying data, unless a hold or the retention period prevents it.

    If the erasure is prevented, nothing is changed and `held` of the result contains the hold. If `source` is None, all
    sources are searched for the borrower.

    Raises:
        UnknownPersonError: the borrower was found in no source or in several sources, or `source` does not exist.
        ErasureError: files of the source still wait in the landing folder.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        owner, person = _find_owner(pipeline, borrower, source, "erase")
        years = pipeline.policy.personal_data.retention_years
        done = erase(pipeline.ingest_context, owner, person, _sinks(pipeline), _now(), years)
        audit_entries.record_erasure(pipeline, done)
        return done


def hold_person(pipeline: Pipeline, borrower: str, source: str | None, until: date, reason: str) -> str:
    """Put a retention hold on a borrower's data, and return the first of the borrower's pseudonyms.

    The hold prevents an erasure. `until` is the first day on which the data may be erased again. If `source` is None,
    all sources are searched for the borrower.

    Raises:
        UnknownPersonError: the borrower was found in no source or in several sources, or `source` does not exist.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        owner, person = _find_owner(pipeline, borrower, source, "hold")
        for pseudonym in person.pseudonyms:
            pipeline.ingest_context.key_store.hold(owner.name, pseudonym, Hold(until, reason))
    return person.pseudonyms[0]


def reveal_person(pipeline: Pipeline, borrower: str, source: str | None, reason: str) -> list[Kept]:
    """Return a person's personal data as delivered, and record the access and its reason in the audit chain.

    The data of borrowers comes from the vault. The data of payers comes from the original files. If `source` is None,
    all sources are searched for the person.

    Raises:
        UnknownPersonError: the person was found in no source or in several sources, or `source` does not exist.
        KeyDestroyedError: the person was erased.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        owner, person = _find_owner(pipeline, borrower, source, "reveal", reason)
        keys = pipeline.ingest_context.key_store.known_persons(owner.name, person.pseudonyms)
        kept = [kept for pseudonym in keys for kept in read_person(pipeline.ingest_context, owner.name, pseudonym)]
        return kept + read_payer(pipeline.ingest_context, owner, person.pseudonyms)


def rotate_keys(pipeline: Pipeline, new_key_file: Path) -> int:
    """Encrypt all data keys with the new master key in `new_key_file`, and return the number of data keys.

    The data itself is not encrypted again.

    Raises:
        MasterKeyError: the old or the new master key is invalid, or one of them is the public development key.
        NightRunningError: a night is running in this home.
    """
    with _prepared_and_locked(pipeline):
        new = load_keys(None, new_key_file, production=pipeline.settings.profile == "production")
        return pipeline.ingest_context.key_store.rotate(new)


@contextmanager
def _prepared_and_locked(pipeline: Pipeline) -> Iterator[None]:
    """Upgrade the home to the version of this code if necessary, then hold the home's lock while the block runs.

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
    """Find a borrower, and return the source that has the borrower together with the person found there.

    If `source` is None, all sources are searched. The search reads the vault, so an audit row is written for each
    pseudonym found. The row contains `why`, `reason` and the caller's user id.

    Raises:
        UnknownPersonError: the borrower was found in no source or in several sources, or `source` does not exist.
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
    """Return the folders of a home that must not contain unencrypted identifying values."""
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
    """Return the real time in UTC, even if the pipeline replays an earlier day.

    Erasures and holds depend on the day of the request, not on the day that is replayed.
    """
    return datetime.now(UTC).replace(tzinfo=None)
